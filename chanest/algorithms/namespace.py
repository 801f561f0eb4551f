"""The array functions in which the maths that several libraries share is written, here in torch.

A function of an algorithm takes such a module as its last argument, ``xp``, and computes in torch without one;
``chanest.integrations.tensorflow.namespace`` has the same functions in TensorFlow. Names and meanings are those of the
Python array API where it has them; arrays bring their operators and indexing themselves.
"""

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import (  # noqa: F401
    Tensor,
    argmax,
    broadcast_to,
    conj,
    cumsum,
    exp,
    isfinite,
    logit,
    logsumexp,
    maximum,
    nn,
    real,
    reshape,
    roll,
    sigmoid,
    softmax,
    sqrt,
    square,
    stack,
    sum,
    where,
)

Array = Any  # of the library at hand
Namespace = ModuleType  # of these functions


class Covariances(Protocol):
    """What shared maths asks of an operator, as :class:`chanest.operators.LinearOperator` has it."""

    n_measurements: Any
    n_coefficients: int
    batch_shape: Any

    def covariance(self, g: Array, /) -> Array: ...


concat = torch.cat
eigh = torch.linalg.eigh
max = torch.amax
mean = torch.mean
min = torch.amin
softplus = nn.functional.softplus
unstack = torch.unbind


def abs2(x: Tensor) -> Tensor:
    """|x|^2."""
    return x.abs().square()


def arange(n: int, like: Tensor) -> Tensor:
    """0...n - 1 in float64, where another array lies."""
    return torch.arange(n, dtype=torch.float64, device=like.device)


def asarray(x: Tensor, like: Tensor) -> Tensor:
    """A constant, kept on the CPU, where another array lies."""
    return x.to(like.device)


def astype(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype)


def clip(x: Tensor, low: float, high: float | None = None) -> Tensor:
    return x.clamp_min(low) if high is None else x.clamp(low, high)


def constant(x: Tensor) -> Tensor:
    """The same without a gradient."""
    return x.detach()


def diagonal(x: Tensor) -> Tensor:
    """(..., n, n) -> (..., n)."""
    return x.diagonal(dim1=-2, dim2=-1)


def double(x: Tensor) -> Tensor:
    """In double precision."""
    return x.to(torch.complex128 if x.is_complex() else torch.float64)


def full_like(x: Tensor, value: Array) -> Tensor:
    """A number, or an array that is broadcast, in the shape and precision of x."""
    return value.to(x).expand_as(x) if isinstance(value, Tensor) else torch.full_like(x, value)


def linspace(start: float, stop: float, n: int, like: Tensor) -> Tensor:
    """n numbers in the precision of another array."""
    return torch.linspace(start, stop, n, dtype=like.dtype, device=like.device)


def log(x: Array) -> Array:
    """Of an array or of a number."""
    return x.log() if isinstance(x, Tensor) else math.log(x)


def matrix_transpose(x: Tensor) -> Tensor:
    return x.mT


def matvec(a: Tensor, x: Tensor) -> Tensor:
    """(..., m, n) and (..., n) or (n,) -> (..., m)."""
    return a @ x if x.ndim == 1 else (a @ x.unsqueeze(-1)).squeeze(-1)


def median_where(x: Tensor, some: Tensor) -> Tensor:
    """The median of some of each row, the lower one of two in the middle; 0 of none: (..., n) -> (...)."""
    return torch.where(some, x, torch.nan).nanmedian(-1).values.nan_to_num(0.0)


def pad_rows(x: Tensor) -> Tensor:
    """(..., n, m) -> (..., n + 2, m): a row of zeros before and after."""
    return nn.functional.pad(x, (0, 0, 1, 1))


def rows(x: Tensor, n: int) -> Tensor:
    """(..., m) -> (..., n, m): the same n times."""
    return x.unsqueeze(-2).expand(*x.shape[:-1], n, -1)


def shape(x: Tensor) -> torch.Size:
    return x.shape


def tiny(x: Tensor) -> float:
    """The smallest normal number in the precision of x."""
    return torch.finfo(x.dtype).tiny


def unflatten(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """(..., product of sizes) -> (..., *sizes)."""
    return x.unflatten(-1, sizes)
