"""The posterior of the few taps that are alive, as a matrix: error variances and covariances follow from it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..operators import PartialDFT, Superposed

_MOST_ENTRIES = 2**22
_TOGETHER = 16  # groups whose taps are filled up to the same number


@dataclass(frozen=True)
class ActiveTaps:
    """Taps of positive variance of every group, and their posterior covariance.

    Attributes:
        taps: (batch, A) int64, filled up with taps of no variance where a group has fewer.
        covariance: (batch, A, A) complex128.
    """

    taps: Tensor
    covariance: Tensor


@torch.no_grad()
def active_taps(phi: PartialDFT | Superposed, g: Tensor, noise_variance: Tensor) -> ActiveTaps:
    """P = D (I + D Phi_a^H S^-1 Phi_a D)^-1 D, D^2 = diag(g_a), of the taps a with g > 0.

    Args:
        phi: one for the batch.
        g: (batch, N) tap variances.
        noise_variance: (batch, M), the diagonal of S.
    """
    count = int((g > 0).sum(-1).max().clamp_min(1))
    taps = g.topk(count, -1).indices.sort(-1).values
    d = g.gather(-1, taps).double().sqrt()
    made = []
    for some in torch.arange(len(g), device=g.device).split(
        max(1, _MOST_ENTRIES // (count * (count + g.shape[-1] // 8)))
    ):
        columns = columns_of(phi, taps[some]) * d[some].unsqueeze(-2)  # (n, M, A)
        normal = columns.mH @ (columns / noise_variance[some].double().unsqueeze(-1))
        normal.diagonal(dim1=-2, dim2=-1).add_(1)
        scale = d[some]
        inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(normal)[0])
        made.append(scale.unsqueeze(-1) * inverse * scale.unsqueeze(-2))
    return ActiveTaps(taps, torch.cat(made))


def columns_of(phi: PartialDFT | Superposed, taps: Tensor) -> Tensor:
    """Columns of Phi, (batch, A) -> (batch, M, A) complex128."""
    layer = phi.layer
    n = layer.n_coefficients
    made = _turned(layer, layer.bins, taps % n) / layer.n_measurements**0.5
    return made * phi.symbols.to(made.dtype)[taps // n].mT


def response_variance(active: ActiveTaps, phi: PartialDFT | Superposed, band: PartialDFT) -> Tensor:
    """Variance of sum_n x_n exp(-2 pi i k tau_n / n_fft) of every layer, (batch, L, n_used), k the rows of ``band``.

    P summed along equal differences of taps, one FFT.
    """
    n_layers, n = phi.n_layers, band.n_coefficients
    place, layer = active.taps % n, active.taps // n
    lag = (place.unsqueeze(-1) - place.unsqueeze(-2)) % band.length
    made = []
    for number in range(n_layers):
        own = layer == number
        inside = (own.unsqueeze(-1) & own.unsqueeze(-2)) * active.covariance
        sums = inside.new_zeros(len(lag), band.length).scatter_add_(-1, lag.flatten(1), inside.flatten(1))
        made.append(torch.fft.fft(sums).real[:, band.bins])
    return torch.stack(made, -2).clamp_min(0)


@torch.no_grad()
def posterior_variance_of_layers(
    phi: PartialDFT | Superposed, band: PartialDFT, g: Tensor, noise_variance: Tensor
) -> Tensor:
    """:func:`response_variance` of all groups, (batch, L, n_used), a few of about as many taps at a time."""
    order = (g > 0).sum(-1).argsort()
    parts = [
        response_variance(active_taps(phi, g[some], noise_variance[some]), phi, band) for some in order.split(_TOGETHER)
    ]
    return torch.cat(parts)[order.argsort()]


def response_columns(phi: PartialDFT | Superposed, band: PartialDFT, taps: Tensor, layer: int) -> Tensor:
    """exp(-2 pi i k tau_n / n_fft) of one layer's taps, 0 of others: (batch, A) -> (batch, n_used, A) complex128."""
    n = band.n_coefficients
    return _turned(band, band.bins, taps % n) * (taps // n == layer).unsqueeze(-2)


def _turned(phi: PartialDFT, bins: Tensor, taps: Tensor) -> Any:
    angle = torch.arange(phi.length, dtype=torch.float64, device=taps.device) * (-2 * torch.pi / phi.length)
    table = torch.polar(torch.ones_like(angle), angle)
    first = round(phi.first_tap_samples / phi.spacing_samples)
    return table[bins.unsqueeze(-1) * (taps + first).unsqueeze(-2) % phi.length]
