"""Ways to look at an `Attribution`: figures, the terminal. They read the result alone, never the model.

The colors mean the same everywhere: red positive, blue negative, purple where a method has no sign, hatched or dim
where nothing is defined. Long inputs are wrapped, and cut to what fits a page only with a note that says what is gone.
"""
