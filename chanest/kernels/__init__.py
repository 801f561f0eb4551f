"""Loops that numba compiles, for estimates on the CPU in single precision: NumPy arrays in, NumPy arrays out.

They do what operators and algorithms do in torch, several times faster; these choose them where they can.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .threads import following, n_threads, over_rows

__all__ = ["available", "following", "n_threads", "over_rows", "plain"]

_enabled = ContextVar("enabled", default=True)


def available() -> bool:
    """Whether compiled loops are to be used: nobody asked for :func:`plain`.

    >>> with plain():
    ...     available()
    False
    """
    return _enabled.get()


@contextmanager
def plain() -> Iterator[None]:
    """Everything in torch: to compare, or to look for an error.

    >>> with plain():
    ...     pass
    """
    token = _enabled.set(False)
    try:
        yield
    finally:
        _enabled.reset(token)
