"""Channels of users in motion: how the gains of paths change from OFDM symbol to OFDM symbol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...lazy import torch
from .draw import frequency_response
from .grid import Grid

if TYPE_CHECKING:
    from torch import Tensor

_LOAD = 1e-9  # of a correlation whose symbols are alike


def jakes(doppler_hz: Sequence[float] | np.ndarray, times_s: np.ndarray, others_s: np.ndarray) -> Tensor:
    """J0(2 pi f |t - t'|), what gains of a path correlate where waves come from all around (Clarke 1968, Jakes 1974).

    Args:
        doppler_hz: (D,) maximal Doppler shifts f.
        times_s, others_s: (S,) and (P,).

    Returns:
        (D, S, P) float64.

    >>> jakes([0.0, 100.0], np.zeros(1), np.array([0.0, 0.003827])).round(decimals=2)
    tensor([[[1., 1.]],
    <BLANKLINE>
            [[1., 0.]]], dtype=torch.float64)
    """
    from scipy.special import j0

    lags = np.abs(np.asarray(times_s)[:, None] - np.asarray(others_s))
    return torch.from_numpy(j0(2 * np.pi * np.asarray(doppler_hz)[:, None, None] * lags))


def moving_gains(
    variances: Tensor, times_s: np.ndarray, doppler_hz: Tensor, n_antennas: int, generator: torch.Generator
) -> Tensor:
    """Gaussian gains of paths that change with time, independent from antenna to antenna.

    Args:
        variances: (batch, P).
        times_s: (S,).
        doppler_hz: (batch,) maximal Doppler shifts.
        n_antennas: A.
        generator: of the gains.

    Returns:
        (batch, A, S, P) complex64.

    >>> seeded = torch.Generator().manual_seed(0)
    >>> moving_gains(torch.ones(2, 3), np.arange(14) / 14e3, torch.tensor([0.0, 120.0]), 4, seeded).shape
    torch.Size([2, 4, 14, 3])
    """
    correlation = jakes(doppler_hz.numpy(), times_s, times_s)
    factor = torch.linalg.cholesky(correlation + _LOAD * torch.eye(len(times_s), dtype=torch.float64))
    shape = len(variances), n_antennas, len(times_s), variances.shape[-1]
    gains = torch.randn(shape, dtype=torch.complex64, generator=generator)
    return torch.einsum("bst,batp->basp", factor.to(gains.dtype), gains) * variances.sqrt()[:, None, None]


def moving_response(
    delays_samples: Tensor,
    variances: Tensor,
    grid: Grid,
    times_s: np.ndarray,
    doppler_hz: Tensor,
    n_antennas: int,
    generator: torch.Generator,
) -> Tensor:
    """CFR of paths whose Gaussian gains change with the symbols, independent from antenna to antenna.

    Args:
        delays_samples: (batch, P) float64.
        variances: (batch, P).
        grid: DFT length and used subcarriers.
        times_s: (S,) of the symbols.
        doppler_hz: (batch,) maximal Doppler shifts.
        n_antennas: A.
        generator: of the gains.

    Returns:
        (batch, A, S, n_used) complex64.

    >>> delays, powers = torch.tensor([[0.0, 3.2]], dtype=torch.float64), torch.tensor([[0.7, 0.3]])
    >>> seeded = torch.Generator().manual_seed(0)
    >>> moving_response(delays, powers, Grid(), np.arange(14) / 14e3, torch.tensor([120.0]), 2, seeded).shape
    torch.Size([1, 2, 14, 600])
    """
    n = len(delays_samples)
    gains = moving_gains(variances, times_s, doppler_hz, n_antennas, generator)
    rows = delays_samples.repeat_interleave(n_antennas * len(times_s), 0)
    return frequency_response(rows, gains.reshape(len(rows), -1), grid).view(n, n_antennas, len(times_s), -1)
