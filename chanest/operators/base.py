"""Linear operators: two methods of their own, everything else derived from them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from .cholesky import diagonal_load, inverse, solve, solve_all

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


@dataclass(frozen=True)
class JointMoments:
    """A posterior of taps whose variances R snapshots share: y_r = Phi x_r + CN(0, diag(s)), x_r ~ CN(0, diag(g)).

    Attributes:
        q2: (*batch, N), the mean over the snapshots of |q|^2, q = Phi^H C^-1 y.
        d: (*batch, N), diag(Phi^H C^-1 Phi).
        fit: (*batch,), the mean of y^H C^-1 y / M: 1 on average where g and the noise variances are right.
        surprise: (*batch, M), the mean of |w|^2, w = C^-1 y.
        information: (*batch, M), the diagonal of C^-1: what ``surprise`` is on average where all is right.
    """

    q2: Tensor
    d: Tensor
    fit: Tensor
    surprise: Tensor
    information: Tensor


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
            noise_variance: (*batch,) s, of an entry of y; or (*batch, M), of each.

        Returns:
            (*batch, M, M), Hermitian.
        """
        c = self.covariance(g)
        power = g.sum(-1)
        if noise_variance.ndim == g.ndim:
            power = power.unsqueeze(-1)
        load = diagonal_load(power, noise_variance, self.n_measurements)
        load = load if noise_variance.ndim == g.ndim else load.unsqueeze(-1)
        return c + torch.diag_embed(load.expand(c.shape[:-1])).to(c.dtype)

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

    def joint_moments(self, y: Tensor, g: Tensor, noise_variance: Tensor, reach: int | None = None) -> JointMoments:
        """The posterior of taps that R snapshots share, by one inverse for all of them.

        Args:
            y: (*batch, R, M).
            g: (*batch, N) tap variances.
            noise_variance: (*batch, M), of every entry of y.
            reach: ``d`` is wanted of taps up to so many steps from one with g > 0; elsewhere it may be larger, up to
                diag(Phi^H S^-1 Phi), S the noise.
        """
        c_inverse = inverse(self.loaded_covariance(g, noise_variance))
        w = (c_inverse @ y.mT).mT
        fit = (y.conj() * w).real.mean((-2, -1))
        if y.shape[-2] == 1:
            q2 = squared(self.adjoint(w.squeeze(-2)))
        else:
            q2 = self.quadratic_diagonal(w.mT @ w.conj() / y.shape[-2])
        d, information = self.quadratic_diagonal(c_inverse), c_inverse.diagonal(dim1=-2, dim2=-1).real
        return JointMoments(q2, d, fit, squared(w).mean(-2), information)

    def flat_moments(self, y: Tensor, total: Tensor, noise_variance: Tensor) -> JointMoments:
        """:meth:`joint_moments` where all taps have the variance ``total``/N and all pilots one noise.

        By the eigenvectors of Phi Phi^H, computed once, without a factorisation.

        Args:
            y: (*batch, R, M).
            total: (*batch,) sum of the variances.
            noise_variance: (*batch,).
        """
        eigenvalues, basis, shares, columns = cached(self, "flat moments", self._flat_parts)
        g = (total / self.n_coefficients).unsqueeze(-1)
        load = diagonal_load(total, noise_variance, self.n_measurements).unsqueeze(-1)
        inverse_ = 1 / (g * eigenvalues + load)
        rotated = y @ basis.conj()
        w = (rotated * inverse_.unsqueeze(-2)) @ basis.mT
        fit = (squared(rotated).mean(-2) * inverse_).sum(-1)
        information = inverse_ @ shares
        if len(eigenvalues) < self.n_measurements:  # on the rest of the space of pilots C is noise alone
            rest = (y - rotated @ basis.mT) / load.unsqueeze(-1)
            w, fit = w + rest, fit + (squared(rest).mean(-2) * load).sum(-1)
            information = information + (1 - shares.sum(0)).clamp_min(0) / load
        q2 = squared(self.adjoint(w)).mean(-2)
        return JointMoments(q2, inverse_ @ columns, fit / self.n_measurements, squared(w).mean(-2), information)

    def _flat_parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Eigenvalues (r,) and eigenvectors (M, r) of Phi Phi^H, their |entries|^2 (r, M), and |Phi^H u|^2 (r, N)."""
        eigenvalues, exact = self.eigenvectors()
        basis = exact.to(self.dtype)
        columns = squared(self.adjoint(basis.mT))
        return eigenvalues.to(columns.dtype), basis, squared(basis).mT.contiguous(), columns

    def eigenvectors(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues (r,) of Phi Phi^H, at least all that are not 0, and eigenvectors (M, r), in double precision."""
        return cached(self, "eigenvectors", self._eigenvectors)

    def _eigenvectors(self) -> tuple[Tensor, Tensor]:
        ones = torch.ones(self.n_coefficients, dtype=self.dtype.to_real(), device=self.device)
        eigenvalues, basis = torch.linalg.eigh(self.covariance(ones).to(torch.complex128))
        return eigenvalues.clamp_min(0), basis

    def joint_solution(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> Tensor:
        """w = C^-1 y of R snapshots by one factorisation, (*batch, R, M); arguments as of :meth:`joint_moments`."""
        return solve_all(self.loaded_covariance(g, noise_variance), y.mT).mT

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


def squared(x: Tensor) -> Tensor:
    """|x|^2, with a gradient at 0."""
    return x.real.square() + x.imag.square() if x.is_complex() else x.square()


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
