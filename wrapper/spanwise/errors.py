"""Everything a user can cause, in one tree.

    AttributionError
    ├── InputError (ValueError)          prompt or target cannot be used
    │   ├── SpanError                    the span is not in the target, or is there several times
    │   ├── BoundaryError                a token straddles prompt and target, under strict_boundary=True
    │   └── LengthError                  more tokens than the model's context holds
    ├── OptionError (ValueError)         an unknown name, or a value out of range
    ├── MethodError                      the method cannot do this here (engine, rows, number of features)
    ├── ModelError                       the model or tokenizer cannot be loaded or used
    │   └── QuantizationError            the quantized weights cannot be made or trusted
    ├── OutOfMemoryError (MemoryError)   the smallest batch allowed does not fit
    ├── DependencyError (ImportError)    an optional package is missing
    ├── NonFiniteError                   the model gave NaN or infinite scores
    └── FileError (OSError)              a file cannot be read or written

Each message says what was asked, what was found and what is allowed.
"""

import difflib
from collections.abc import Iterable


class AttributionError(Exception):
    """The root of every error a user can cause."""


class InputError(AttributionError, ValueError):
    """The prompt or the target cannot be used."""


class SpanError(InputError):
    """The span is not in the target, or is there several times."""


class BoundaryError(InputError):
    """A token straddles the border of prompt and target, and `strict_boundary=True` refuses that."""


class LengthError(InputError):
    """More tokens than the model's context holds."""


class OptionError(AttributionError, ValueError):
    """An unknown name, or a value out of range."""


class MethodError(AttributionError):
    """The method cannot do what was asked here."""


class ModelError(AttributionError):
    """The model or its tokenizer cannot be loaded or used."""


class QuantizationError(ModelError):
    """The quantized weights cannot be made or cannot be trusted."""


class OutOfMemoryError(AttributionError, MemoryError):
    """The smallest batch that is allowed does not fit."""


class DependencyError(AttributionError, ImportError):
    """An optional package is missing."""


class NonFiniteError(AttributionError):
    """The model gave NaN or infinite scores."""


class FileError(AttributionError, OSError):
    """A file cannot be read or written."""


class AttributionWarning(UserWarning):
    """The result is what was asked for, but its reader should know something about it."""


def one_of(kind: str, asked: object, allowed: Iterable[str]) -> str:
    """Returns `asked` when it is one of `allowed`.

    Raises:
        OptionError: It is not; the message names the closest allowed value.
    """
    names = list(allowed)
    if isinstance(asked, str) and asked in names:
        return asked
    close = difflib.get_close_matches(str(asked), names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise OptionError(f"unknown {kind} {asked!r}.{hint} Allowed: {', '.join(names)}.")


def at_least(kind: str, asked: object, least: int) -> int:
    """Returns `asked` when it is an integer of at least `least`.

    Raises:
        OptionError: It is not.
    """
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < least:
        raise OptionError(f"{kind} must be an integer of at least {least}, not {asked!r}.")
    return asked


def require(package: str, extra: str, purpose: str) -> None:
    """Checks that an optional package can be imported.

    Raises:
        DependencyError: It cannot; the message says how to install it.
    """
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise DependencyError(
            f"{purpose} needs the package {package!r}, which is not installed: pip install 'spanwise[{extra}]'."
        )
