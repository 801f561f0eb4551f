"""The noise level of pilots that came without one."""

import torch
from torch import Tensor

from ..operators import LinearOperator

FLOOR, CEILING = 1e-5, 4.0  # of the mean power of the entries of y
DECAYS = (2.0, 6.0, 20.0, 60.0, 1e9)  # samples
GRID = torch.logspace(-4, 0, 41, dtype=torch.float64)


def noise_level(y: Tensor, phi: LinearOperator, noise_variance: Tensor | None) -> Tensor:
    """The noise variance of an entry of y, told or estimated, kept where float32 factorisations stay positive.

    >>> from chanest import PartialDFT, PilotPattern
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=64)
    >>> f"{float(noise_level(torch.ones(2, 75) / 75**0.5, phi, torch.tensor(0.0))[0] * 75):.1e}"
    '1.0e-05'
    """
    m = phi.n_measurements
    s = estimate_noise(y, phi) if noise_variance is None else noise_variance
    return s.to(y.real.dtype).expand(y.shape[:-1]).clamp(FLOOR / m, CEILING / m)


def estimate_noise(y: Tensor, phi: LinearOperator) -> Tensor:
    """Posterior mean of the noise variance when the taps follow some exponential profile.

    C = (1 - s) R_c + s/M I, with R_c the covariance of taps of variance proportional to exp(-n/c), scaled to the
    trace 1 (||y|| = 1, so the shares of signal and noise add up to one). Every pair of c = 2, 6, 20, 60 samples or
    no decay at all, and a noise share s from -40 to 0 dB in steps of one, weighs exp(-y^H C^-1 y)/|C|.
    Rough where the pilots leave no direction without signal; an algorithm that re-estimates starts from it.

    Args:
        y: (*batch, M), ||y|| = 1.
        phi: the operator, one for the batch or one per entry.

    Returns:
        (*batch,) noise variance of an entry of y.

    >>> from chanest import PartialDFT, PilotPattern
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=64)
    >>> noise = torch.randn(100, 75, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    >>> y = noise / torch.linalg.vector_norm(noise, dim=-1, keepdim=True)
    >>> bool((estimate_noise(y, phi) * 75).mean() > 0.7)
    True
    """
    n = torch.arange(phi.n_coefficients, dtype=torch.float64, device=y.device)
    profiles = torch.stack([torch.exp(-n / c) for c in DECAYS]).to(y.real.dtype)
    profiles = profiles.reshape(-1, *(1,) * len(phi.batch_shape), n.numel())
    covariances = phi.covariance(profiles.expand(-1, *phi.batch_shape, -1)).to(_double(y.dtype))
    share = GRID.to(y.device).unsqueeze(-1)
    costs = []
    for eigenvalues, basis in zip(*torch.linalg.eigh(covariances), strict=True):
        relative = (eigenvalues / eigenvalues.sum(-1, keepdim=True)).clamp_min(0)
        c = (1 - share) * relative.unsqueeze(-2) + share / phi.n_measurements  # (*batch_shape, grid, M)
        if phi.batch_shape:
            power = (basis.mH @ y.to(basis.dtype).unsqueeze(-1)).squeeze(-1).abs().square()
            fit = ((1 / c) @ power.unsqueeze(-1)).squeeze(-1)
        else:
            fit = (y.to(basis.dtype) @ basis.conj()).abs().square() @ (1 / c).mT
        costs.append(c.log().sum(-1) + fit)
    weight = torch.softmax(-torch.cat(costs, -1), -1).unflatten(-1, (-1, len(GRID))).sum(-2)
    return (weight @ GRID.to(y.device) / phi.n_measurements).to(y.real.dtype)


def _double(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype.is_complex else torch.float64
