"""The noise level of pilots that came without one."""

import torch

from ..operators import PartialDFT
from . import namespace
from .namespace import Array, Covariances, Namespace

FLOOR, CEILING = 1e-5, 4.0  # of the mean power of the entries of y
MOST_BY_PROFILES, LEAST_LEFT = 300, 50  # pilots, and directions of theirs in which there is no signal
DECAYS = (2.0, 6.0, 20.0, 60.0, 1e9)  # samples
GRID = torch.logspace(-4, 0, 41, dtype=torch.float64)


def noise_level(y: Array, phi: Covariances, noise_variance: Array | None, xp: Namespace = namespace) -> Array:
    """The noise variance of an entry of y, told or estimated, kept where float32 factorisations stay positive.

    >>> from chanest import PartialDFT, PilotPattern
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=64)
    >>> f"{float(noise_level(torch.ones(2, 75) / 75**0.5, phi, torch.tensor(0.0))[0] * 75):.1e}"
    '1.0e-05'
    """
    m = phi.n_measurements
    s = estimate_noise(y, phi, xp) if noise_variance is None else noise_variance
    return xp.clip(xp.full_like(xp.real(y)[..., 0], s), FLOOR / m, CEILING / m)


def noise_of_snapshots(y: torch.Tensor, phi: Covariances, noise_variance: torch.Tensor | None) -> torch.Tensor:
    """:func:`noise_level` of snapshots (*batch, R, M): one for each group, the mean where it is estimated.

    >>> from chanest import PartialDFT, PilotPattern
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=64)
    >>> noise_of_snapshots(torch.ones(2, 3, 75) / 75**0.5 + 0j, phi, torch.tensor(0.001)).shape
    torch.Size([2])
    """
    if noise_variance is not None:
        return noise_level(y[..., 0, :], phi, noise_variance)
    m = phi.n_measurements
    power = y.abs().square().sum(-1)
    unit = y / power.sqrt().clamp_min(1e-12).unsqueeze(-1)
    found: torch.Tensor = estimate_noise(unit, phi)
    return (found * power).mean(-1).clamp(FLOOR / m, CEILING / m)


def estimate_noise(y: Array, phi: Covariances, xp: Namespace = namespace) -> Array:
    """Posterior mean of the noise variance when the taps follow some exponential profile.

    C = (1 - s) R_c + s/M I, with R_c the covariance of taps of variance proportional to exp(-n/c), scaled to the
    trace 1 (||y|| = 1, so the shares of signal and noise add up to one). Every pair of c = 2, 6, 20, 60 samples or
    no decay at all, and a noise share s from -40 to 0 dB in steps of one, weighs exp(-y^H C^-1 y)/|C|.
    Rough where the pilots leave no direction without signal; an algorithm that re-estimates starts from it. Of more
    than :data:`MOST_BY_PROFILES` pilots, which leave directions enough, it is the mean power on these.

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
    found = _left_over(y, phi)
    if found is not None:
        return found
    m, n_taps = phi.n_measurements, phi.n_coefficients
    shape, dtype = (*phi.batch_shape, n_taps), xp.real(y).dtype
    n = xp.arange(n_taps, y)
    profiles = xp.stack([xp.broadcast_to(xp.astype(xp.exp(-n / c), dtype), shape) for c in DECAYS], 0)
    spectra, bases = xp.eigh(xp.double(phi.covariance(profiles)))
    grid, costs = xp.asarray(GRID, y), []
    share = grid[:, None]
    for i in range(len(DECAYS)):
        eigenvalues, basis = xp.real(spectra[i]), bases[i]
        relative = xp.clip(eigenvalues / xp.sum(eigenvalues, -1)[..., None], 0)
        c = (1 - share) * relative[..., None, :] + share / m  # (*batch_shape, grid, M)
        if phi.batch_shape:
            fit = xp.matvec(1 / c, xp.abs2(xp.matvec(xp.conj(xp.matrix_transpose(basis)), xp.double(y))))
        else:
            fit = xp.abs2(xp.double(y) @ xp.conj(basis)) @ xp.matrix_transpose(1 / c)
        costs.append(xp.sum(xp.log(c), -1) + fit)
    weight = xp.sum(xp.unflatten(xp.softmax(-xp.concat(costs, -1), -1), (len(DECAYS), len(GRID))), -2)
    return xp.astype(xp.matvec(weight, grid) / m, dtype)


def _left_over(y: Array, phi: Covariances) -> Array | None:
    """Mean power of y in the directions that no tap reaches; None where they, or the pilots, are few."""
    if not isinstance(phi, PartialDFT) or phi.n_measurements <= MOST_BY_PROFILES or phi.batch_shape:
        return None
    basis = phi.eigenvectors()[1].to(y.dtype)
    left = phi.n_measurements - basis.shape[-1]
    if left < LEAST_LEFT:
        return None
    rest = y - (y @ basis.conj()) @ basis.mT
    return rest.abs().square().sum(-1) / left
