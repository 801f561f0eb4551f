"""numba: loops compiled once per machine, cached on the disk, run on as many threads as torch."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Scalar = Any  # of numba, float32
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},  # not those that assume that there is no NaN
    "error_model": "numpy",
}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as machine code that runs without the interpreter's lock."""
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder for the cache that can be written
        return numba.njit(**_OPTIONS)(function)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a part of every compiled one that calls it: no call, which costs where little is done."""
    return numba.njit(forceinline=True, **_OPTIONS)(function)
