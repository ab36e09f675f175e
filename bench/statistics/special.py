"""The functions of scipy.special, which is imported with the first use of one: that takes 0.25 s of any command."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Return a function of scipy.special."""
    import scipy.special

    return getattr(scipy.special, name)
