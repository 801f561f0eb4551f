"""numba: loops compiled once per machine, cached on the disk, run on as many threads as torch."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba
import numpy as np
from numba.core.caching import FunctionCache

Array = np.ndarray[Any, np.dtype[Any]]
Scalar = Any  # of numba, float32
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},  # not those that assume that there is no NaN
    "error_model": "numpy",
}


class _Cache(FunctionCache):
    """numba's cache on the disk, without which loops are compiled: where a file of it is torn, or the disk is full."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # unpickling what is torn raises whatever it likes
            with suppress(Exception):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(Exception):
            super().save_overload(sig, data)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as machine code that runs without the interpreter's lock."""
    made = numba.njit(**_OPTIONS)(function)
    with suppress(RuntimeError):  # no folder for the cache that can be written
        made._cache = _Cache(function)
    return made


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a part of every compiled one that calls it: no call, which costs where little is done."""
    return numba.njit(forceinline=True, **_OPTIONS)(function)
