"""Where the points of a sweep are measured: here, one after the other, or on the workers of a Dask cluster."""

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..errors import ChanestError, ExtraError

Row = Mapping[str, object]
Note = Callable[[str], None]
_RETRIES = 3  # of a point whose worker died, or whose measurement broke
_SECONDS_TO_CONNECT, _SECONDS_FOR_A_WORKER = 10, 60


@dataclass(frozen=True)
class Task:
    """One point of a sweep.

    Attributes:
        point: its key.
        measure: gives its rows; called with what takes a word about what is being done. Picklable, for Dask.
        after: the key of a point to be measured before, where that one is in the sweep.
    """

    point: tuple[object, ...]
    measure: Callable[[Note], Iterable[Row]]
    after: tuple[object, ...] | None = None


class Executor(Protocol):
    """Measures points."""

    def results(self, tasks: Sequence[Task], note: Note) -> Iterator[tuple[Task, list[Row]]]:
        """Every task with its rows, in any order; a task stands behind the one that it comes after."""


class LocalExecutor:
    """In this process, one after the other.

    >>> task = Task((2,), lambda note: [{"x": 2, "square": 4}])
    >>> [rows for _, rows in LocalExecutor().results([task], print)]
    [[{'x': 2, 'square': 4}]]
    """

    def results(self, tasks: Sequence[Task], note: Note) -> Iterator[tuple[Task, list[Row]]]:
        for task in tasks:
            yield task, list(task.measure(note))


class DaskExecutor:
    """On the workers of a Dask cluster, every point a task.

    Args:
        client: a ``distributed.Client``.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def results(self, tasks: Sequence[Task], note: Note) -> Iterator[tuple[Task, list[Row]]]:
        from distributed import as_completed

        futures: dict[tuple[object, ...], Any] = {}
        task_of = {}
        for task in tasks:
            before = futures.get(task.after) if task.after is not None else None
            future = self._client.submit(_measured, task, before, pure=False, retries=_RETRIES)
            futures[task.point], task_of[future.key] = future, task
        try:
            for future in as_completed(list(futures.values())):
                yield task_of[future.key], _rows(future, task_of[future.key])
        finally:
            self._client.cancel(list(futures.values()))


_ONE_AT_A_TIME = threading.Lock()  # points share torch's and Sionna's global state


def _measured(task: Task, before: object) -> list[Row] | ChanestError:
    """What a worker does; a mistake of the user's comes back as it is, lest it be tried again."""
    from distributed import get_worker

    with _ONE_AT_A_TIME:
        torch.set_num_threads(get_worker().state.nthreads)
        try:
            return list(task.measure(lambda _: None))
        except ChanestError as error:
            return error


def _rows(future: Any, task: Task) -> list[Row]:
    from distributed import KilledWorker

    try:
        rows = future.result()
    except KilledWorker as error:
        raise ChanestError(
            f"point {', '.join(map(str, task.point))}: its worker died {_RETRIES + 1} times ({error})", field="--dask"
        ) from None
    except ImportError as error:
        raise ChanestError(
            f"a worker lacks what this process has ({error}); install it there", field="--dask"
        ) from None
    if isinstance(rows, ChanestError):
        raise rows
    return rows


@contextmanager
def executor(address: str | None = None) -> Iterator[Executor]:
    """The executor at an address.

    Args:
        address: None for this process; ``local`` for a cluster on this machine with a worker per core, ``local:N`` for
            one with N workers, one torch thread each; else where a Dask scheduler listens, ``HOST:PORT``. Every worker
            needs this version of chanest. It measures one point at a time, with as many torch threads as Dask gave it.

    Raises:
        ExtraError: Dask is not installed.
        ChanestError: no scheduler at the address, or one without workers.

    >>> with executor() as here:
    ...     type(here).__name__
    'LocalExecutor'
    """
    if address is None:
        yield LocalExecutor()
        return
    try:
        import distributed
        from dask.system import CPU_COUNT
    except ImportError:
        raise ExtraError("distributed is not installed; pip install 'chanest[dask]'", field="--dask") from None
    with ExitStack() as stack:
        if found := re.fullmatch(r"local(?::(\d+))?", address):
            address = stack.enter_context(_local(int(found[1] or CPU_COUNT)))
        yield DaskExecutor(stack.enter_context(_client(distributed, address)))


@contextmanager
def _local(n_workers: int) -> Iterator[str]:
    from dask import config
    from distributed import LocalCluster

    if not 1 <= n_workers <= 1000:
        raise ChanestError(f"expected 1...1000 workers, got local:{n_workers}", field="--dask")
    with (
        config.set({"distributed.scheduler.allowed-failures": _RETRIES}),
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address="localhost:0",
            silence_logs="CRITICAL",
        ) as cluster,
    ):
        yield cluster.scheduler_address


@contextmanager
def _client(distributed: Any, address: str) -> Iterator[Any]:
    try:
        client = distributed.Client(address, timeout=_SECONDS_TO_CONNECT)
    except (OSError, ValueError):
        raise ChanestError(
            f"no scheduler answers at {address}; start one with `dask scheduler`, or give local", field="--dask"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_SECONDS_FOR_A_WORKER)
        except TimeoutError:
            raise ChanestError(
                f"the scheduler at {address} has no worker; start some with `dask worker {address}`", field="--dask"
            ) from None
        yield client
