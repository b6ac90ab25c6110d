"""The whole validation list in one table."""
