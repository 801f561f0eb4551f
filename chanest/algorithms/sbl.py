"""Sparse Bayesian learning by EM (Tipping 2001; Wipf & Rao 2004), on covariances built by FFT."""

import torch
from torch import Tensor

from ..operators import LinearOperator, Moments
from . import namespace
from .base import Algorithm, Told
from .namespace import Array, Namespace
from .noise import CEILING, FLOOR, noise_level, noise_of_snapshots
from .results import Posterior, Recovery, Trace


def em_variances(m: Moments, g: Array, xp: Namespace = namespace) -> Array:
    """|mu|^2 + g (1 - g d), the second moment of every tap, (*batch, N)."""
    return xp.abs2(m.mean) + g * xp.clip(1 - g * m.d, 0)


class SBL(Algorithm):
    """g <- |mu|^2 + g (1 - g d): EM for the variances of the taps, from a flat start.

    The noise variance is taken as given, or estimated along with g where unknown. Snapshots share g, and |mu|^2 is its
    mean over them: M-SBL (Wipf & Rao 2007).

    >>> from chanest import PartialDFT, PilotPattern
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=256)
    >>> SBL()(torch.ones(2, 75, dtype=torch.complex64) / 75**0.5, phi).x.shape
    torch.Size([2, 256])
    """

    name = "sbl"
    weighs_delays = True
    complex_only = True
    joint = True

    def __init__(self, n_iterations: int = 25) -> None:
        super().__init__(n_iterations)

    def _iterate(
        self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, noise_variance: Tensor | None
    ) -> Recovery:
        s = noise_level(y, phi, noise_variance)
        g = torch.full((*y.shape[:-1], phi.n_coefficients), 1 / phi.n_coefficients, dtype=s.dtype, device=y.device)
        for _ in range(n_iterations - 1):
            m = phi.posterior_moments(y, g, s)
            trace.add(m.mean)
            g = em_variances(m, g)
            if noise_variance is None:
                s = noise_level(y, phi, m.noise)
        x = phi.posterior_mean(y, g, s)
        trace.add(x)
        return trace.recovery(x, Posterior(g, s))

    def _jointly(self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, told: Told) -> Recovery:
        s = noise_of_snapshots(y, phi, told.variance)
        g = torch.full((*y.shape[:-2], phi.n_coefficients), 1 / phi.n_coefficients, dtype=s.dtype, device=y.device)
        n = phi.n_measurements
        for _ in range(n_iterations - 1):
            m = phi.joint_moments(y, g, s.unsqueeze(-1).expand(*s.shape, n))
            if trace.record:
                trace.add(self._joint_mean(y, phi, g, s))
            g = g * g * m.q2 + g * (1 - g * m.d).clamp_min(0)
            if told.variance is None:
                found = s * (1 + s * (m.surprise - m.information).mean(-1))
                s = found.clamp(FLOOR / n, CEILING / n)
        x = self._joint_mean(y, phi, g, s)
        trace.add(x)
        return trace.recovery(x, Posterior(g, s))

    @staticmethod
    def _joint_mean(y: Tensor, phi: LinearOperator, g: Tensor, s: Tensor) -> Tensor:
        """mu = g Phi^H C^-1 y of every snapshot, (*batch, R, N)."""
        noise = s.unsqueeze(-1).expand(*s.shape, phi.n_measurements)
        return g.unsqueeze(-2) * phi.adjoint(phi.joint_solution(y, g, noise))
