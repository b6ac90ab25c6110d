"""What a model and a method need, before a weight is read: bytes, devices, batches, work."""
