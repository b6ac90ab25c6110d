"""How many sequences go through the model at once."""

from spanwise.errors import OptionError, at_least
from spanwise.model.language_model import LanguageModel

_TOKENS = {"cpu": 1024, "cuda": 16384}
"""Tokens in one batch. On two cores larger batches are no faster; a GPU wants work for all its units."""


def choose_batch_size(lm: LanguageModel, asked: int | str, length: int) -> int:
    """Returns the number of sequences in a batch.

    Raises:
        OptionError: Neither "auto" nor an integer of at least 1.
    """
    if asked == "auto":
        return max(1, _TOKENS.get(lm.device.type, _TOKENS["cuda"]) // length)
    if isinstance(asked, str):
        raise OptionError(f"batch_size must be 'auto' or an integer of at least 1, not {asked!r}.")
    return at_least("batch_size", asked, 1)
