"""Prompts whose causes are known, and the corpus that the bundled model learned from."""
