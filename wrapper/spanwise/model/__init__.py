"""Models: loading them, and holding one still while it is attributed."""
