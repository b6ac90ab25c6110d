"""Two notices of bitsandbytes that say nothing a result's reader can act on, one of them at every product."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_NOTICES = {
    # int8: said for each layer of each forward. `LanguageModel.session` says it once, in the provenance.
    "bitsandbytes.autograd._functions": "MatMul8bitLt: inputs will be cast",
    # 4-bit on the CPU: about a faster kernel without gradients, which attribution could not use.
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward",
}


@contextmanager
def notices_dropped() -> Iterator[None]:
    """Keeps the two notices out of the log inside the block; everything else is logged as before."""

    def drop(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_NOTICES[record.name])

    loggers = [logging.getLogger(name) for name in _NOTICES]
    for logger in loggers:
        logger.addFilter(drop)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(drop)
