"""Threads that follow the work and the machine; compiled loops run on those of torch, where they can be had."""

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import torch

from .cores import allowed_cores, idle_cores

SHARE = 8  # rows that are worth a thread
PIECES = 8  # for every thread
SMALL = 90_000  # rows times the square of pilots, below which starting threads takes longer than they save
TURN_S = 5e-3  # what a thread may have to wait for its turn on a core that others use

_most: ContextVar[int | None] = ContextVar("most", default=None)
_inside: set[int] = set()  # threads of this process that estimate now


@contextmanager
def following(work: int, steady: bool = False) -> Iterator[None]:
    """torch on as many threads as some work deserves and as other programs leave cores idle.

    Where they leave none, torch has one thread, whose operations need not wait for others at their end; compiled loops
    that take long still have more, which do not spin (:func:`over_rows`). What torch was set to is the most, and is
    set again.

    Args:
        work: rows times the square of the pilots of each.
        steady: matrix products and factorisations on one thread, for algorithms that magnify their rounding, which
            goes by the number of threads.

    >>> with following(1):
    ...     torch.get_num_threads()
    1
    """
    before, me = torch.get_num_threads(), threading.get_ident()
    if before == 1 or me in _inside:
        yield
        return
    _inside.add(me)
    most = min(before, allowed_cores()) if work >= SMALL else 1
    token = _most.set(most)
    torch.set_num_threads(most if most == 1 else max(1, idle_cores(most) // len(_inside)))
    set_mkl = _mkl_threads() if steady and most > 1 else None
    mkl_before = set_mkl(1) if set_mkl else 0
    try:
        yield
    finally:
        if set_mkl:
            set_mkl(mkl_before)
        torch.set_num_threads(before)
        _most.reset(token)
        _inside.discard(me)


def n_threads() -> int:
    """As many as compiled loops may have.

    >>> with following(1):
    ...     n_threads()
    1
    """
    return _most.get() or torch.get_num_threads()


def over_rows(run: Callable[[int, int], None], n_rows: int, n_threads: int) -> None:
    """run(start, end) for parts of 0...n_rows, on so many threads; in this one where the rows are few.

    On torch's threads, where it has so many now. Else on those of a pool that sleep when they have nothing to do, and
    only where the first part says that all take longer than waiting for a core.

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

    if torch.get_num_threads() >= n_threads and _openmp() is not None:
        _in_team(work, n_threads)
        return
    began = time.perf_counter()
    run(next(starts), size)
    if (time.perf_counter() - began) * (n_rows / size - 1) < TURN_S:
        run(size, n_rows)
    else:
        _in_pool(work, n_threads)


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
            if not other.cancel():  # one that has not begun has nothing left to do
                other.result()


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads - 1, "chanest")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
_MEMBER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def _mkl_threads() -> Any:
    """What sets the threads of torch's own MKL for the calling thread, and returns what it had; None elsewhere."""
    for path in (Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*"):
        try:
            function = ctypes.CDLL(str(path)).MKL_Set_Num_Threads_Local
        except (OSError, AttributeError):
            continue
        function.argtypes, function.restype = [ctypes.c_int], ctypes.c_int
        return function
    return None


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
