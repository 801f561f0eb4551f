"""Vector approximate message passing with a Bernoulli-Gaussian prior (Rangan, Schniter & Fletcher 2019)."""

import torch
from torch import Tensor

from ..errors import AlgorithmError
from ..operators import LinearOperator, tap_domain
from .base import Algorithm
from .ep import bernoulli_gaussian
from .namespace import double
from .noise import noise_level
from .results import Posterior, Recovery, Trace

_SMALLEST, _LARGEST = 1e-10, 4.0  # of the messages' variances, for ||y|| = 1


class VAMP(Algorithm):
    """Exchanges (r, gamma), a mean and one precision for all entries, between y = Phi x + z and the prior.

    x2 = (Phi^H Phi/s + g2 I)^-1 (Phi^H y/s + g2 r2) comes from one eigendecomposition U diag(e) U^H of
    Phi Phi^H: x2 = r2 + Phi^H U (e + g2 s)^-1 U^H (y - Phi r2), never N x N. The mean a of e/(e + g2 s) over all N
    gives the extrinsic r1 = r2 + (x2 - r2)/a, g1 = g2 a/(1 - a), and the posterior mean and variance under
    x_n = 0 or N(0, v) (CN where y is complex), probability sparsity/N, give the next r2 and g2.

    Bayes-optimal for large matrices without structure, such as Gaussian ones. On the OFDM matrix, whose neighbouring
    columns are alike, it gets worse or diverges from about 20 dB up; there :class:`EP` is its peer. A noise variance
    that is not told is estimated, and estimated again in every iteration by EM (Fletcher & Schniter 2017).

    Args:
        n_iterations: K.
        sparsity: expected number of entries that are not zero; v follows from it and the energy of y.
        damping: share of the new message.

    Raises:
        AlgorithmError: sparsity or damping out of range.

    >>> from chanest import DenseOperator
    >>> generator = torch.Generator().manual_seed(0)
    >>> phi = DenseOperator(torch.randn(60, 120, generator=generator) / 60**0.5)
    >>> x = torch.zeros(1, 120).index_fill(1, torch.tensor([3, 50, 90]), 0.6)
    >>> found = VAMP(sparsity=3)(phi.forward(x), phi, noise_variance=torch.tensor([1e-6])).x
    >>> bool((found - x).abs().max() < 0.02)
    True
    """

    name = "vamp"

    def __init__(self, n_iterations: int = 20, sparsity: float = 8, damping: float = 0.7) -> None:
        super().__init__(n_iterations, sparsity=sparsity, damping=damping)
        AlgorithmError.unless(sparsity > 0, "a positive number", sparsity, "sparsity")
        AlgorithmError.unless(0 < damping <= 1, "a number in 0...1", damping, "damping")
        self.sparsity, self.damping = sparsity, damping

    def _iterate(
        self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, noise_variance: Tensor | None
    ) -> Recovery:
        m, n = phi.n_measurements, phi.n_coefficients
        e, u = _eigen(phi)
        unreached = m - e.shape[-1]  # directions that no coefficient reaches
        s = noise_level(y, phi, noise_variance).unsqueeze(-1)
        rho = min(self.sparsity / n, 0.999)
        v = (1 - m * s).clamp_min(0.05) / (rho * e.sum(-1, keepdim=True))
        g2 = _clamped(1 / (rho * v))
        r2 = torch.zeros_like(phi.adjoint(y))
        for _ in range(n_iterations):
            residual = y - phi.forward(r2)
            b = _apply(u.mH, residual)
            left = g2 * s / (e + g2 * s)  # 1 - e/(e + g2 s), without cancellation
            a = (m - unreached - left.sum(-1, keepdim=True)) / n
            x2 = r2 + phi.adjoint(_apply(u, b / (e + g2 * s)))
            g1, r1 = _clamped(g2 * a / (1 - a)), r2 + (x2 - r2) / a
            x1, var = bernoulli_gaussian(r1, 1 / g1, rho, v)
            eta = 1 / var.mean(-1, keepdim=True)
            new_g = _clamped(eta - g1)
            new_r = (eta * x1 - g1 * r1) / new_g
            if noise_variance is None:
                unexplained = (left * b).abs().square().sum(-1) + (s * (1 - left)).sum(-1)
                if unreached:
                    outside = residual.abs().square().sum(-1) - b.abs().square().sum(-1)
                    unexplained = unexplained + outside.clamp_min(0)
                s = noise_level(y, phi, unexplained / m).unsqueeze(-1)
            g2 = (1 - self.damping) * g2 + self.damping * new_g
            r2 = (1 - self.damping) * r2 + self.damping * new_r
            trace.add(x1)
        site = (1 / (1 / var - g1).clamp_min(1 / _LARGEST)).clamp_min(_SMALLEST)
        return trace.recovery(x1, Posterior(site, s.squeeze(-1)))


def _eigen(phi: LinearOperator) -> tuple[Tensor, Tensor]:
    """Eigenvalues (*batch_shape, r) of Phi Phi^H, all that are not 0, and eigenvectors (*batch_shape, M, r)."""
    if tap_domain.few_taps(phi):
        eigenvalues, basis = phi.eigenvectors()
        return eigenvalues.to(phi.dtype.to_real()), basis.to(phi.dtype)
    ones = torch.ones(*phi.batch_shape, phi.n_coefficients, dtype=phi.dtype.to_real(), device=phi.device)
    e, u = torch.linalg.eigh(double(phi.covariance(ones)))
    return e.clamp_min(0).to(ones.dtype), u.to(phi.dtype)


def _apply(matrix: Tensor, b: Tensor) -> Tensor:
    """One matrix for the batch, or one per entry, times (*batch, M)."""
    return b @ matrix.mT if matrix.ndim == 2 else (matrix @ b.unsqueeze(-1)).squeeze(-1)


def _clamped(precision: Tensor) -> Tensor:
    return precision.clamp(1 / _LARGEST, 1 / _SMALLEST)
