"""Loops that numba compiles, for estimates that need no gradient: NumPy arrays in, NumPy arrays out.

They do what the algorithms do in torch, several times faster; the algorithms choose them where they can. Without
numba everything runs in torch.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from itertools import pairwise

_enabled = ContextVar("enabled", default=True)
_pools: dict[int, ThreadPoolExecutor] = {}
SHARE = 8  # rows that are worth a thread
os.register_at_fork(after_in_child=_pools.clear)


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


def over_rows(run: Callable[[int, int], None], n_rows: int, n_threads: int) -> None:
    """run(start, end) for parts of 0...n_rows, on so many threads; in this one where the rows are few.

    >>> seen = []
    >>> over_rows(lambda start, end: seen.extend(range(start, end)), 100, 2)
    >>> sorted(seen) == list(range(100))
    True
    """
    n_threads = min(n_threads, n_rows // SHARE)
    if n_threads < 2:
        run(0, n_rows)
        return
    pool = _pools.get(n_threads)
    if pool is None:
        pool = _pools.setdefault(n_threads, ThreadPoolExecutor(n_threads - 1, "chanest"))
    edges = [n_rows * part // n_threads for part in range(n_threads + 1)]
    others = [pool.submit(run, start, end) for start, end in pairwise(edges[1:])]
    run(0, edges[1])
    for other in others:
        other.result()


@cache
def _has_numba() -> bool:
    return find_spec("numba") is not None
