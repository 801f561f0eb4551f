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


def response_columns(phi: PartialDFT | Superposed, band: PartialDFT, taps: Tensor, layer: int) -> Tensor:
    """exp(-2 pi i k tau_n / n_fft) of one layer's taps, 0 of others: (batch, A) -> (batch, n_used, A) complex128."""
    n = band.n_coefficients
    return _turned(band, band.bins, taps % n) * (taps // n == layer).unsqueeze(-2)


def _turned(phi: PartialDFT, bins: Tensor, taps: Tensor) -> Any:
    angle = torch.arange(phi.length, dtype=torch.float64, device=taps.device) * (-2 * torch.pi / phi.length)
    table = torch.polar(torch.ones_like(angle), angle)
    first = round(phi.first_tap_samples / phi.spacing_samples)
    return table[bins.unsqueeze(-1) * (taps + first).unsqueeze(-2) % phi.length]
