"""The processes of one training: what torchrun started, or this one alone."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import ChanestError, DeviceError, TrainingError

_SAID, _PATIENCE = "chanest/error", timedelta(seconds=5)
_LONGEST_WAIT = timedelta(hours=6)  # the first process calibrates alone while the others wait
T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among those that train one model; alone when nothing else is said.

    Attributes:
        rank: 0 writes and prints.
        size: how many there are.

    >>> alone = Processes()
    >>> alone.first, alone.share(512), alone.sum(torch.ones(2))
    (True, slice(0, 512, None), tensor([1., 1.]))
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def share(self, n_samples: int) -> slice:
        """The samples of a batch that are this process's; shares differ by one at most.

        Raises:
            TrainingError: fewer samples than processes.

        >>> [Processes(rank, 3).share(16) for rank in range(3)]
        [slice(0, 5, None), slice(5, 10, None), slice(10, 16, None)]
        """
        if n_samples < self.size:
            raise TrainingError(
                f"expected at least one sample for each of {self.size} processes, got {n_samples}", field="batch_size"
            )
        return slice(n_samples * self.rank // self.size, n_samples * (self.rank + 1) // self.size)

    def sum(self, x: Tensor) -> Tensor:
        """The sum over the processes, the same in each; its gradient is that of this process's summand.

        Raises:
            TrainingError: a process has ended.
        """
        return x if self.size == 1 else _Sum.apply(x)

    def sum_gradients(self, parameters: Iterator[Tensor]) -> None:
        """Replace every gradient by its sum over the processes.

        Raises:
            TrainingError: a process has ended.
        """
        if self.size == 1:
            return
        # DistributedDataParallel would hide this sum behind the backward pass. But the K iterations share their
        # parameters, so no gradient is complete before that pass ends; and the loss is no mean over samples.
        gradients = [p.grad for p in parameters if p.grad is not None]
        summed = _summed(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for gradient, part in zip(gradients, summed.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def from_first(self, make: Callable[[], T]) -> T:
        """What ``make`` gives in the first process, in every process; so is the error that it raises.

        Raises:
            ChanestError: as ``make`` does, or a process has ended.
        """
        if self.size == 1:
            return make()
        told: list[Any] = [None, None]
        if self.first:
            try:
                told[0] = make()
            except ChanestError as error:
                told[1] = error
        with _ended_elsewhere():
            dist.broadcast_object_list(told, src=0)
        if told[1] is not None:
            raise told[1]
        return told[0]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _summed(x.detach().clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def _summed(x: Tensor) -> Tensor:
    with _ended_elsewhere():
        dist.all_reduce(x)
    return x


@contextmanager
def _ended_elsewhere() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what gloo and NCCL raise when a peer is gone
        raise TrainingError(
            f"another process of this training ended early ({str(error).splitlines()[0]}); --resume continues"
        ) from None


@contextmanager
def joined(device: str = "auto") -> Iterator[tuple[Processes, str]]:
    """This process among those that torchrun started, told by RANK and WORLD_SIZE, and the name of its device.

    Gloo connects CPUs, NCCL GPUs, one per process by LOCAL_RANK. An error that the first process has too is told there
    alone: the others end quietly, with exit code 2.

    Args:
        device: "auto", "cpu" or "cuda".

    Raises:
        DeviceError: a GPU named for all processes, or fewer than there are processes on this machine.

    >>> with joined("cpu") as (processes, device):
    ...     processes.size, device
    (1, 'cpu')
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes(), device
        return
    store, rank, size = next(dist.rendezvous("env://"))
    try:
        device = _own(device)
        # Adam imports it at its first step, and imported while there is a group it keeps that group, whose threads then
        # meet the end of the interpreter: one abort in about 200 trainings.
        import torch._dynamo

        with _ended_elsewhere():
            backend, gpu = ("gloo", None) if device == "cpu" else ("nccl", torch.device(device))
            if gpu is not None:
                torch.cuda.set_device(gpu)
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=size, timeout=_LONGEST_WAIT, device_id=gpu
            )
        yield Processes(rank, size), device
    except ChanestError as error:
        if rank == 0:
            store.set(_SAID, str(error))
        elif _said(store):
            raise SystemExit(2) from None
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _said(store: Any) -> bool:
    """Whether the first process has told of an error; it may be about to."""
    try:
        store.wait([_SAID], _PATIENCE)
    except RuntimeError:
        return False
    return True


def _own(device: str) -> str:
    """The device of this process among those on its machine."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cuda":
        if device != "cpu":
            raise DeviceError(f"expected auto, cpu or cuda with several processes, got {device}", field="--device")
        return device
    here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    found = torch.cuda.device_count()
    if found < here:
        raise DeviceError(
            f"{here} processes on this machine, found {found} CUDA devices; use --device cpu", field="--device"
        )
    return f"cuda:{os.environ['LOCAL_RANK']}"
