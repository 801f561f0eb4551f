"""Linear operators: two methods of their own, everything else derived from them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from .cholesky import diagonal_load, inverse, solve

T = TypeVar("T")

POWER_ITERATIONS = 30


class Weights(Protocol):
    """W: its adjoint, W^H Phi, and the largest eigenvalue of that."""

    def adjoint(self, y: Tensor, /) -> Tensor: ...

    def gram(self, x: Tensor, /) -> Tensor: ...

    def squared_norm(self) -> Tensor: ...


@dataclass(frozen=True)
class Moments:
    """A Gaussian posterior of every tap, x ~ CN(0, diag(g)) and y = Phi x + CN(0, s I), C the covariance of y.

    Attributes:
        mean: (*batch, N), mu = g q.
        q: (*batch, N), Phi^H C^-1 y.
        d: (*batch, N) real, diag(Phi^H C^-1 Phi): the variance of q, and g (1 - g d) that of a tap.
        fit: (*batch,), y^H C^-1 y / M: 1 on average where g and the noise variance are right.
        noise: (*batch,), the EM update of the noise variance.
    """

    mean: Tensor
    q: Tensor
    d: Tensor
    fit: Tensor
    noise: Tensor


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
        return self.forward(columns.expand(-1, *self.batch_shape, -1)).movedim(0, -1)

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

    def loaded_covariance(self, g: Tensor, noise_variance: Tensor) -> Tensor:
        """C = Phi diag(g) Phi^H + (s + 1e-5 sum(g) / M) I.

        Args:
            g: (*batch, N) tap variances.
            noise_variance: (*batch,) s, of an entry of y.

        Returns:
            (*batch, M, M), Hermitian.
        """
        c = self.covariance(g)
        load = diagonal_load(g.sum(-1), noise_variance, self.n_measurements)
        return c + torch.diag_embed(load.unsqueeze(-1).expand(c.shape[:-1])).to(c.dtype)

    def posterior_moments(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> Moments:
        """The posterior of every tap by one inverse, one adjoint, one diagonal.

        Args:
            y: (*batch, M).
            g: (*batch, N) tap variances.
            noise_variance: (*batch,), of an entry of y.
        """
        c_inverse = inverse(self.loaded_covariance(g, noise_variance))
        w = (c_inverse @ y.unsqueeze(-1)).squeeze(-1)
        q, d = self.adjoint(w), self.quadratic_diagonal(c_inverse)
        trace = c_inverse.diagonal(dim1=-2, dim2=-1).real.mean(-1)
        noise = noise_variance * (1 + noise_variance * (w.abs().square().mean(-1) - trace))
        return Moments(g * q, q, d, (y.conj() * w).real.mean(-1), noise)

    def posterior_mean(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> Tensor:
        """mu = g Phi^H C^-1 y alone, by one factorisation: (*batch, N)."""
        return g * self.adjoint(self._solution(y, g, noise_variance))

    def _solution(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> Tensor:
        """C^-1 y: (*batch, M)."""
        return solve(self.loaded_covariance(g, noise_variance), y)

    def column_norms(self) -> Tensor:
        """Euclidean norms of the columns: (*batch_shape, N)."""
        identity = torch.eye(self.n_measurements, dtype=self.dtype, device=self.device)
        return self.quadratic_diagonal(identity.expand(*self.batch_shape, -1, -1)).sqrt()

    def squared_norm(self) -> Tensor:
        """The largest eigenvalue of Phi^H Phi, the L of ISTA, by power iterations, once: (*batch_shape,).

        The start is fixed, so the value is the same in every run. Within a few percent, from below: a step of
        1/L stays well short of the 2/L where ISTA diverges.
        """
        return cached(self, "squared_norm", self._power_iteration)

    def _power_iteration(self, n_iterations: int = POWER_ITERATIONS) -> Tensor:
        x = power_start(self.n_coefficients).to(self.device, self.dtype).expand(*self.batch_shape, -1)
        norm = torch.ones(self.batch_shape, device=self.device, dtype=x.real.dtype)
        for _ in range(n_iterations):
            x = self.gram(x / norm.unsqueeze(-1))
            norm = torch.linalg.vector_norm(x, dim=-1)
        return norm


def cached(owner: object, name: object, make: Callable[[], T]) -> T:
    """The result of ``make``, which depends on nothing but the owner and the name: made once, cached with the owner.

    Outside of inference mode, since it may be used in training later; anew while torch.export traces.

    >>> from chanest.operators import DenseOperator
    >>> phi = DenseOperator(torch.eye(2, 3))
    >>> cached(phi, "three", lambda: 3), cached(phi, "three", lambda: 4)
    (3, 3)
    """
    if torch.compiler.is_exporting():
        return make()
    things: dict[object, T] = owner.__dict__.setdefault("_cached", {})
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
