"""The threads that compiled loops run on: those of torch, where they can be had."""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch

SHARE = 8  # rows that are worth a thread
PIECES = 8  # for every thread


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
    size = max(SHARE, n_rows // (PIECES * n_threads) // SHARE * SHARE)
    starts = iter(range(0, n_rows, size))  # whoever is free takes the next piece: a core may be busy with other work

    def work() -> None:
        for start in starts:
            run(start, min(start + size, n_rows))

    spread = _in_pool if _openmp() is None else _in_team
    spread(work, n_threads)


def _in_team(work: Callable[[], None], n_threads: int) -> None:
    """On torch's own OpenMP threads: others would share the cores with them, which spin for milliseconds after use."""
    errors: list[BaseException] = []

    def member(_: Any) -> None:
        try:
            work()
        except BaseException as error:  # a callback must not raise
            errors.append(error)

    _openmp().GOMP_parallel(_MEMBER(member), None, n_threads, 0)
    if errors:
        raise errors[0]


def _in_pool(work: Callable[[], None], n_threads: int) -> None:
    others = [_pool(n_threads).submit(work) for _ in range(n_threads - 1)]
    try:
        work()
    finally:
        for other in others:
            other.result()


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads - 1, "chanest")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
_MEMBER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def _openmp() -> Any:
    """The GNU OpenMP library that torch has brought and loaded; None elsewhere."""
    if not hasattr(os, "RTLD_NOLOAD"):
        return None
    for path in (Path(torch.__file__).parent / "lib").glob("libgomp*.so*"):
        try:
            library = ctypes.CDLL(str(path), os.RTLD_NOLOAD | os.RTLD_NOW)
        except OSError:
            continue
        library.GOMP_parallel.argtypes = [_MEMBER, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        library.GOMP_parallel.restype = None
        return library
    return None
