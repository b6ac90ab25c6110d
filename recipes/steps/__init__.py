"""Steps that are longer than a recipe's story: what is tried out on the model, how an engine is called."""
