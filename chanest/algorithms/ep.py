"""Expectation propagation with a Bernoulli-Gaussian prior, one variance per tap (Minka 2001; Seeger 2008)."""

import math

import torch
from torch import Tensor

from ..errors import AlgorithmError
from ..operators import LinearOperator
from .base import Algorithm
from .noise import noise_level
from .results import Posterior, Recovery, Trace

_SMALLEST, _LARGEST = 1e-9, 4.0  # of the Gaussian sites' variances, for ||y|| = 1


class EP(Algorithm):
    """Exchanges Gaussian messages between y = Phi x + z and x_n = 0 or CN(0, v_n), probability sparsity/N.

    Args:
        n_iterations: K.
        sparsity: expected number of taps.
        decay: v_n is proportional to exp(-decay n/N), so that the expected energy is that of the signal.
        damping: share of the new message.

    Raises:
        AlgorithmError: sparsity or damping out of range.

    >>> from chanest import PartialDFT, PilotPattern
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=256)
    >>> x = torch.zeros(1, 256, dtype=torch.complex64).index_fill(1, torch.tensor([3, 200]), 0.7)
    >>> found = EP()(phi.forward(x), phi, noise_variance=torch.tensor([1e-5])).x
    >>> bool((found - x).abs().max() < 0.02)
    True
    """

    name = "ep"
    weighs_delays = True
    complex_only = True

    def __init__(self, n_iterations: int = 8, sparsity: float = 8, decay: float = 0.0, damping: float = 0.5) -> None:
        super().__init__(n_iterations, sparsity=sparsity, decay=decay, damping=damping)
        AlgorithmError.unless(sparsity > 0, "a positive number", sparsity, "sparsity")
        AlgorithmError.unless(0 < damping <= 1, "a number in 0...1", damping, "damping")
        self.sparsity, self.decay, self.damping = sparsity, decay, damping

    def _iterate(
        self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, noise_variance: Tensor | None
    ) -> Recovery:
        n = phi.n_coefficients
        s = noise_level(y, phi, noise_variance)
        rho = min(self.sparsity / n, 0.999)
        profile = torch.exp(-self.decay * torch.arange(n, dtype=s.dtype, device=s.device) / n)
        v = (1 - phi.n_measurements * s).clamp_min(0.05).unsqueeze(-1) * profile / profile.sum() / rho
        g2 = (1 / (rho * v)).clamp(1 / _LARGEST, 1 / _SMALLEST)
        h2 = torch.zeros_like(g2, dtype=y.dtype)
        for _ in range(n_iterations):
            d = 1 / g2
            m = phi.posterior_moments(y - phi.forward(d * h2), d, s)
            x2 = d * h2 + m.mean
            v2 = (d - d.square() * m.d).clamp_min(1e-3 * _SMALLEST)
            g1, h1 = (1 / v2 - g2).clamp_min(1 / (10 * _LARGEST)), x2 / v2 - h2
            x1, var = bernoulli_gaussian(h1 / g1, 1 / g1, rho, v)
            site = 1 / var - g1
            valid = site > 0
            new_g, new_h = site.clamp(1 / _LARGEST, 1 / _SMALLEST), x1 / var - h1
            g2 = torch.where(valid, (1 - self.damping) * g2 + self.damping * new_g, g2)
            h2 = torch.where(valid, (1 - self.damping) * h2 + self.damping * new_h, h2)
            trace.add(x1)
        return trace.recovery(x1, Posterior(1 / g2, s))


def bernoulli_gaussian(r: Tensor, tau: Tensor, rho: float, v: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of x given r = x + CN(0, tau), x = 0 with probability 1 - rho, else CN(0, v).

    For real r, N(0, .) stands for CN(0, .): the square root of the ratio of densities.

    Args:
        r: (*batch, N), real or complex.
        tau, v: broadcast against r.
        rho: in 0...1.

    Returns:
        mean of r's dtype and real variance, (*batch, N).

    >>> mean, variance = bernoulli_gaussian(torch.tensor([2.0 + 0j]), torch.tensor([1.0]), 1.0, torch.tensor([1.0]))
    >>> mean, variance
    (tensor([1.+0.j]), tensor([0.5000]))
    """
    total = v + tau
    # of "present" against "absent", priors apart
    log_odds = torch.log(tau / total) + r.abs().square() * (v / (tau * total))
    if not r.is_complex():
        log_odds = log_odds / 2
    present = torch.sigmoid(log_odds + math.log(rho / max(1 - rho, 1e-30)))
    wiener = v / total * r
    mean = present * wiener
    variance = present * (v * tau / total + wiener.abs().square()) - mean.abs().square()
    return mean, variance.clamp_min(1e-12)
