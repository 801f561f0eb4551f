"""Sparse Bayesian learning by EM (Tipping 2001; Wipf & Rao 2004), on covariances built by FFT."""

from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from .. import kernels
from ..kernels.adapters import lags, rows, suits
from ..operators import LinearOperator, PartialDFT
from . import namespace
from .base import Algorithm
from .gaussian import covariance, inverse, loading, solve
from .namespace import Array
from .noise import noise_level
from .results import Posterior, Recovery, Trace


@dataclass(frozen=True)
class Moments:
    """What a Gaussian posterior says of every tap.

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


def moments(y: Tensor, phi: LinearOperator, g: Tensor, noise_variance: Tensor) -> Moments:
    """One inverse, one adjoint, one diagonal: everything that an update of g and of the noise needs."""
    if isinstance(phi, PartialDFT) and suits(y, phi, g):
        return _compiled_moments(y, phi, g, noise_variance)
    c_inverse = inverse(covariance(phi, g, noise_variance))
    w = (c_inverse @ y.unsqueeze(-1)).squeeze(-1)
    q = phi.adjoint(w)
    d = phi.quadratic_diagonal(c_inverse)
    trace = c_inverse.diagonal(dim1=-2, dim2=-1).real.mean(-1)
    misfit = w.abs().square().mean(-1)
    noise = noise_variance * (1 + noise_variance * (misfit - trace))
    return Moments(g * q, q, d, (y.conj() * w).real.mean(-1), noise)


def posterior_mean(y: Tensor, phi: LinearOperator, g: Tensor, noise_variance: Tensor) -> Tensor:
    """mu = g Phi^H C^-1 y by one factorisation: the last iteration needs no more."""
    if isinstance(phi, PartialDFT) and suits(y, phi, g):
        return g * phi.adjoint(_compiled_solution(y, phi, g, noise_variance))
    return g * phi.adjoint(solve(covariance(phi, g, noise_variance), y))


def _compiled_moments(y: Tensor, phi: PartialDFT, g: Tensor, noise_variance: Tensor) -> Moments:
    """:func:`moments` by :func:`chanest.kernels.posterior.posterior`, in torch where a pivot was not positive."""
    from ..kernels.posterior import posterior

    m, pairs = phi.n_measurements, lags(phi)
    spectrum, load = torch.fft.rfft(g, phi.n_fft), loading(g, noise_variance, m)
    observed, spectra, loads = rows(phi.without_delay(y), spectrum, load)
    w, sums = np.empty_like(observed), np.zeros_like(spectra)
    scalars = np.empty((3, len(w)), np.float32)
    given = (spectra, loads, observed, phi.n_fft, pairs.lag, pairs.sign, w, sums, scalars)
    kernels.over_rows(lambda start, end: posterior(*given, start, end), len(w), torch.get_num_threads())
    if np.isnan(scalars[0]).any():
        with kernels.plain():
            return moments(y, phi, g, noise_variance)
    misfit, trace, fit = (torch.from_numpy(row).reshape(load.shape) / m for row in scalars)
    grid = torch.from_numpy(sums).reshape(spectrum.shape)
    d = torch.fft.irfft(grid, phi.n_fft, norm="forward")[..., : phi.n_coefficients] / m
    q = phi.adjoint(phi.with_delay(torch.from_numpy(w).reshape(y.shape)))
    return Moments(g * q, q, d, fit, noise_variance * (1 + noise_variance * (misfit - trace)))


def _compiled_solution(y: Tensor, phi: PartialDFT, g: Tensor, noise_variance: Tensor) -> Tensor:
    """C^-1 y by :func:`chanest.kernels.posterior.solve`, in torch where a pivot was not positive."""
    from ..kernels.posterior import solve as solve_rows

    pairs = lags(phi)
    load = loading(g, noise_variance, phi.n_measurements)
    observed, spectra, loads = rows(phi.without_delay(y), torch.fft.rfft(g, phi.n_fft), load)
    w, solved = np.empty_like(observed), np.empty(len(observed), bool)
    given = (spectra, loads, observed, pairs.lag, pairs.sign, w, solved)
    kernels.over_rows(lambda start, end: solve_rows(*given, start, end), len(w), torch.get_num_threads())
    if not solved.all():
        return solve(covariance(phi, g, noise_variance), y)
    return phi.with_delay(torch.from_numpy(w).reshape(y.shape))


def em_variances(m: Moments, g: Array, xp: ModuleType = namespace) -> Array:
    """|mu|^2 + g (1 - g d), the second moment of every tap, (*batch, N)."""
    return xp.abs2(m.mean) + g * xp.clip(1 - g * m.d, 0)


class SBL(Algorithm):
    """g <- |mu|^2 + g (1 - g d): EM for the variances of the taps, from a flat start.

    The noise variance is taken as given, or estimated along with g where unknown.

    >>> from chanest import PartialDFT, PilotPattern
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=256)
    >>> SBL()(torch.ones(2, 75, dtype=torch.complex64) / 75**0.5, phi).x.shape
    torch.Size([2, 256])
    """

    name = "sbl"
    complex_only = True

    def __init__(self, n_iterations: int = 25) -> None:
        super().__init__(n_iterations)
        del self.hyperparameters["ridge"]

    def forward(
        self,
        y: Tensor,
        phi: LinearOperator,
        n_iterations: int | None = None,
        record: bool = False,
        noise_variance: Tensor | None = None,
    ) -> Recovery:
        n_iterations = self.checked_iterations(n_iterations)
        s = noise_level(y, phi, noise_variance)
        g = torch.full((*y.shape[:-1], phi.n_coefficients), 1 / phi.n_coefficients, dtype=s.dtype, device=y.device)
        trace = Trace(record)
        for _ in range(n_iterations - 1):
            m = moments(y, phi, g, s)
            trace.add(m.mean)
            g = em_variances(m, g)
            if noise_variance is None:
                s = noise_level(y, phi, m.noise)
        x = posterior_mean(y, phi, g, s)
        trace.add(x)
        return trace.recovery(x, Posterior(g, s))
