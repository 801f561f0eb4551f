"""numba: loops compiled once per machine, cached on the disk, run on as many threads as torch."""

from collections.abc import Callable
from typing import Any

import numba

_FLAGS = {"contract", "reassoc", "nsz", "arcp"}  # not those that assume that there is no NaN


_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": _FLAGS, "error_model": "numpy"}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as machine code that runs without the interpreter's lock."""
    try:
        made: Callable[..., Any] = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder for the cache that can be written
        made = numba.njit(**_OPTIONS)(function)
    return made


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a part of every compiled one that calls it: no call, which costs where little is done."""
    made: Callable[..., Any] = numba.njit(forceinline=True, **_OPTIONS)(function)
    return made
