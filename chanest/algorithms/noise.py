"""The noise level of pilots that came without one."""

import torch
from torch import Tensor

from ..operators import LinearOperator

_FLOOR, _CEILING = 1e-5, 4.0  # of the mean power of the entries of y
_GRID = torch.logspace(-5, 0, 51, dtype=torch.float64)


def noise_level(y: Tensor, phi: LinearOperator, noise_variance: Tensor | None) -> Tensor:
    """The noise variance of an entry of y, told or estimated, kept where float32 factorisations stay positive.

    >>> from chanest import PartialDFT, PilotPattern
    >>> phi = PartialDFT(PilotPattern.random(75, seed=0), n_taps=64)
    >>> float(noise_level(torch.ones(2, 75) / 75**0.5, phi, torch.tensor(0.0))[0] * 75)  # doctest: +ELLIPSIS
    1.0000...e-05
    """
    m = phi.n_measurements
    s = estimate_noise(y, phi) if noise_variance is None else noise_variance
    return s.to(y.real.dtype).expand(y.shape[:-1]).clamp(_FLOOR / m, _CEILING / m)


def estimate_noise(y: Tensor, phi: LinearOperator) -> Tensor:
    """Maximum likelihood of the noise variance when all taps have one variance, by grid search.

    With Phi Phi^H = U diag(l) U^H and C = (1 - s) / N' diag(l) + s / M I in that basis (||y|| = 1, so that the
    shares of signal and noise add up to one), minimises sum(log C + |U^H y|^2 / C) over the noise share s, in
    steps of half a decibel from -50 to 0 dB. Rough where the pilots leave no direction without signal, as on
    a comb; an algorithm that re-estimates starts from it.

    Args:
        y: (*batch, M), ||y|| = 1.
        phi: the operator, one for the batch or one per entry.

    Returns:
        (*batch,) noise variance of an entry of y.

    >>> from chanest import PartialDFT, PilotPattern
    >>> phi = PartialDFT(PilotPattern.random(75, seed=0), n_taps=64)
    >>> noise = torch.randn(100, 75, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    >>> y = noise / torch.linalg.vector_norm(noise, dim=-1, keepdim=True)
    >>> bool((estimate_noise(y, phi) * 75).mean() > 0.7)
    True
    """
    ones = torch.ones(*phi.batch_shape, phi.n_coefficients, dtype=y.real.dtype, device=y.device)
    return estimate_noise_from(phi.covariance(ones), y)


def estimate_noise_from(covariance: Tensor, y: Tensor) -> Tensor:
    """:func:`estimate_noise` for a signal covariance known up to its scale, (*batch_shape, M, M)."""
    m = y.shape[-1]
    eigenvalues, basis = torch.linalg.eigh(covariance.to(_double(y.dtype)))
    projected = (basis.mH @ y.to(basis.dtype).unsqueeze(-1)).squeeze(-1)
    power = projected.abs().square()
    relative = (eigenvalues / eigenvalues.sum(-1, keepdim=True)).clamp_min(0)
    share = _GRID.to(y.device)
    c = (1 - share).unsqueeze(-1) * relative.unsqueeze(-2) + share.unsqueeze(-1) / m  # (*batch_shape, grid, M)
    cost = c.log().sum(-1) + (power.unsqueeze(-2) @ (1 / c).mT).squeeze(-2)
    return (share[cost.argmin(-1)] / m).to(y.real.dtype)


def _double(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype.is_complex else torch.float64
