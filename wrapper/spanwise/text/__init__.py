"""Texts, tokens and spans: what the user points at, on the tokenization that the model sees."""
