"""Attribution as a test: `assert_attributed` fails with a table of what was asked and what was found."""

from spanwise.testing.attributed import assert_attributed

__all__ = ["assert_attributed"]
