"""numba, where it is there: loops compiled once per machine, kept on the disk, run on as many threads as torch."""

from collections.abc import Callable
from typing import Any

import numba

_FLAGS = {"contract", "reassoc", "nsz", "arcp"}  # not those that assume that there is no NaN


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as machine code that runs without the interpreter's lock."""
    options: dict[str, Any] = {"nogil": True, "fastmath": _FLAGS, "error_model": "numpy"}
    try:
        made: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache that can be written
        made = numba.njit(**options)(function)
    return made
