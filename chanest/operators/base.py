"""What every linear operator offers: two methods of its own, everything else derived from them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Protocol, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

POWER_ITERATIONS = 30


class Weights(Protocol):
    """W: its adjoint, W^H Phi, and the largest eigenvalue of that."""

    def adjoint(self, y: Tensor, /) -> Tensor: ...

    def gram(self, x: Tensor, /) -> Tensor: ...

    def squared_norm(self) -> Tensor: ...


class LinearOperator(ABC):
    """A linear map Phi from (*batch, N) to (*batch, M).

    Subclasses give ``forward`` and ``adjoint``; they override the rest only where they have a faster way.
    ``batch_shape`` is empty for one Phi, or the leading shape of a Phi per batch entry.
    """

    n_measurements: int
    n_coefficients: int
    dtype: torch.dtype
    device: torch.device
    batch_shape: torch.Size

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Phi x: (*batch, N) -> (*batch, M)."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """Phi^H y: (*batch, M) -> (*batch, N)."""

    def gram(self, x: Tensor) -> Tensor:
        """Phi^H Phi x: (*batch, N) -> (*batch, N)."""
        return self.adjoint(self.forward(x))

    def dense(self) -> Tensor:
        """Phi as a matrix, (*batch_shape, M, N): for tests and small problems."""
        identity = torch.eye(self.n_coefficients, dtype=self.dtype, device=self.device)
        columns = identity.reshape(-1, *(1,) * len(self.batch_shape), self.n_coefficients)
        columns = columns.expand(-1, *self.batch_shape, -1)
        return self.forward(columns).movedim(0, -1)

    def covariance(self, g: Tensor) -> Tensor:
        """Phi diag(g) Phi^H for real g: (*batch, N) -> (*batch, M, M)."""
        phi = self.dense()
        return (phi * g.unsqueeze(-2)) @ phi.mH

    def cross_covariance(self, other: "LinearOperator", g: Tensor) -> Tensor:
        """Phi diag(g) Phi'^H for real g and another operator on the same coefficients: (*batch, M, M')."""
        return (self.dense() * g.unsqueeze(-2)) @ other.dense().mH

    def quadratic_diagonal(self, c: Tensor) -> Tensor:
        """diag(Phi^H C Phi), real, for Hermitian C: (*batch, M, M) -> (*batch, N)."""
        phi = self.dense()
        return (phi.conj() * (c @ phi)).sum(-2).real

    def column_norms(self) -> Tensor:
        """Euclidean norms of the columns: (*batch_shape, N)."""
        identity = torch.eye(self.n_measurements, dtype=self.dtype, device=self.device)
        return self.quadratic_diagonal(identity.expand(*self.batch_shape, -1, -1)).sqrt()

    def squared_norm(self) -> Tensor:
        """The largest eigenvalue of Phi^H Phi, the L of ISTA, by power iterations, once: (*batch_shape,).

        The start is fixed, so the value is the same in every run. Within a few percent, from below: a step of
        1/L stays well short of the 2/L where ISTA diverges.
        """
        return kept(self, "squared_norm", self._power_iteration)

    def _power_iteration(self, n_iterations: int = POWER_ITERATIONS) -> Tensor:
        x = power_start(self.n_coefficients).to(self.device, self.dtype).expand(*self.batch_shape, -1)
        norm = torch.ones(self.batch_shape, device=self.device, dtype=x.real.dtype)
        for _ in range(n_iterations):
            x = self.gram(x / norm.unsqueeze(-1))
            norm = torch.linalg.vector_norm(x, dim=-1)
        return norm


def kept(owner: object, name: object, make: Callable[[], T]) -> T:
    """What ``make`` makes from nothing but the owner and the name: made once, then kept with the owner.

    Outside of inference mode, since it may be used in training later; anew while torch.export traces.

    >>> from chanest.operators import DenseOperator
    >>> phi = DenseOperator(torch.eye(2, 3))
    >>> kept(phi, "three", lambda: 3), kept(phi, "three", lambda: 4)
    (3, 3)
    """
    if torch.compiler.is_exporting():
        return make()
    things: dict[object, T] = owner.__dict__.setdefault("_kept", {})
    if name not in things:
        with torch.inference_mode(False), torch.no_grad():
            things[name] = make()
    return things[name]


@cache
def power_start(n_coefficients: int) -> Tensor:
    """Where the power iteration starts, (n_coefficients,) float64: the same in every run.

    Model files carry it for readers without torch.

    >>> power_start(3).tolist()  # doctest: +ELLIPSIS
    [1.54...
    """
    return torch.randn(n_coefficients, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
