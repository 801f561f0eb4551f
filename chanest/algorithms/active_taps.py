"""The posterior of the few taps that are alive, as a matrix: error variances and covariances follow from it."""

from typing import Any

import torch
from torch import Tensor

from ..operators import PartialDFT, Superposed, tap_domain
from ..operators.tap_domain import ActiveTaps, Correlations


@torch.no_grad()
def active_taps(phi: PartialDFT | Superposed, g: Tensor, noise_variance: Tensor) -> ActiveTaps:
    """P = D (I + D Phi_a^H S^-1 Phi_a D)^-1 D, D^2 = diag(g_a), of the taps a with g > 0.

    Args:
        phi: one for the batch.
        g: (batch, N) tap variances.
        noise_variance: (batch, M), the diagonal of S.
    """
    count = int((g > 0).sum(-1).max().clamp_min(1))
    made = torch.zeros(len(g), count, count, dtype=torch.complex128, device=g.device)
    taps = g.topk(count, -1).indices  # the largest first: those left over have no variance
    for some, chosen in tap_domain.chosen_taps(g):
        found = _of(phi, g[some], noise_variance[some], chosen)
        n = chosen.shape[-1]
        taps[some, :n], made[some, :n, :n] = chosen, found.covariance
    return ActiveTaps(taps, made)


def _of(phi: PartialDFT | Superposed, g: Tensor, noise_variance: Tensor, taps: Tensor) -> ActiveTaps:
    return tap_domain.active_taps(Correlations(phi.to(torch.complex128), 1 / noise_variance.double()), g, taps)


def response_variance(active: ActiveTaps, phi: PartialDFT | Superposed, band: PartialDFT) -> Tensor:
    """Variance of sum_n x_n exp(-2 pi i k tau_n / n_fft) of every layer, (batch, L, n_used), k the rows of ``band``.

    P summed along equal differences of taps, one FFT.
    """
    sums = tap_domain.sums_along_lags(active, band.n_coefficients, band.length, phi.n_layers)
    own = sums.diagonal(dim1=1, dim2=2).movedim(-1, 1)
    return tap_domain.real_spectrum(own)[..., band.bins].clamp_min(0)


@torch.no_grad()
def posterior_variance_of_layers(
    phi: PartialDFT | Superposed, band: PartialDFT, g: Tensor, noise_variance: Tensor
) -> Tensor:
    """:func:`response_variance` of all groups, (batch, L, n_used)."""
    parts = list(tap_domain.chosen_taps(g))
    made = [response_variance(_of(phi, g[some], noise_variance[some], taps), phi, band) for some, taps in parts]
    return torch.cat(made)[torch.cat([some for some, _ in parts]).argsort()]


def response_columns(phi: PartialDFT | Superposed, band: PartialDFT, taps: Tensor, layer: int) -> Tensor:
    """exp(-2 pi i k tau_n / n_fft) of one layer's taps, 0 of others: (batch, A) -> (batch, n_used, A) complex128."""
    n = band.n_coefficients
    return _turned(band, band.bins, taps % n) * (taps // n == layer).unsqueeze(-2)


def _turned(phi: PartialDFT, bins: Tensor, taps: Tensor) -> Any:
    angle = torch.arange(phi.length, dtype=torch.float64, device=taps.device) * (-2 * torch.pi / phi.length)
    table = torch.polar(torch.ones_like(angle), angle)
    first = round(phi.first_tap_samples / phi.spacing_samples)
    return table[bins.unsqueeze(-1) * (taps + first).unsqueeze(-2) % phi.length]
