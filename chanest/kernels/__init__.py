"""Loops that numba compiles, for estimates that need no gradient: NumPy arrays in, NumPy arrays out.

They do what the algorithms do in torch, several times faster; the algorithms choose them where they can. Without
numba everything runs in torch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec

from .threads import over_rows

__all__ = ["available", "over_rows", "plain"]

_enabled = ContextVar("enabled", default=True)


def available() -> bool:
    """Whether compiled loops are to be used: numba is installed, and nobody asked for :func:`plain`.

    >>> with plain():
    ...     available()
    False
    """
    return _enabled.get() and _has_numba()


@contextmanager
def plain() -> Iterator[None]:
    """Everything in torch, as where a gradient is needed: to compare, or to look for an error.

    >>> with plain():
    ...     pass
    """
    token = _enabled.set(False)
    try:
        yield
    finally:
        _enabled.reset(token)


@cache
def _has_numba() -> bool:
    return find_spec("numba") is not None
