"""Channels at the pilots, and noise under one of two named conventions.

Signals are H-scaled: the observation at pilot k is H[k] + noise with E|H[k]|^2 = E||x||^2 = 1.

``pilot``: noise variance 10^(-SNR/10) at every pilot, the paper's E||Phi x||^2 / E||z||^2.

``reference``: what the published code does. Noise lies SNR dB below the mean power over all n_fft bins, of
which only the M pilots are non-zero, so a pilot sees SNR + 10 log10(n_fft/M) dB; and the levels of a block of
512 samples are broadcast along the wrong axis, so bin i carries the level of sample i // 2 of its block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...lazy import torch
from ..random import BLOCK
from .grid import Grid
from .pilots import PilotPattern

if TYPE_CHECKING:
    from torch import Tensor


def frequency_response(delays: Tensor, gains: Tensor, grid: Grid) -> Tensor:
    """H[k] = sum_p gains_p exp(-2 pi i k delays_p / n_fft) on the used subcarriers: (batch, n_used).

    Exact for any delay, on the sample grid or off it. The band is cut into a rows of b subcarriers, so that
    only a + b exponentials per path are taken instead of a*b.

    Args:
        delays: (batch, paths) float64, samples.
        gains: (batch, paths) complex64.
        grid: DFT length and band.

    >>> frequency_response(torch.zeros(2, 1).double(), torch.ones(2, 1) + 0j, Grid()).shape
    torch.Size([2, 600])
    """
    used = torch.tensor(grid.used_subcarriers)
    first, span = int(used[0]), int(used[-1] - used[0]) + 1
    n_rows = int(np.ceil(np.sqrt(span)))
    step = torch.arange(n_rows, dtype=torch.float64)
    coarse = _phasor(delays, step * n_rows + first, grid.n_fft) * gains.unsqueeze(-1)
    whole = (coarse.mT @ _phasor(delays, step, grid.n_fft)).flatten(-2)
    return whole[..., used - first]


def pilot_noise(at_pilots: Tensor, snr_db: Tensor, pattern: PilotPattern) -> tuple[Tensor, Tensor]:
    """Noise variances under the convention ``pilot``: the mean per sample, and relative to it at each pilot.

    Args:
        at_pilots: (batch, n_pilots), H.
        snr_db: (batch,).

    >>> pilot_noise(torch.ones(1, 75) + 0j, torch.tensor([10.0]), PilotPattern.random(75, 0))[0]
    tensor([0.1000])
    """
    return 10 ** (-snr_db / 10), torch.ones(())


def reference_noise(at_pilots: Tensor, snr_db: Tensor, pattern: PilotPattern) -> tuple[Tensor, Tensor]:
    """Noise variances under the convention ``reference``; arguments and result as of :func:`pilot_noise`.

    ``at_pilots`` has whole blocks of 512 samples, of which the first are used.

    >>> level, relative = reference_noise(torch.ones(512, 75) + 0j, torch.full((2,), 10.0), PilotPattern.random(75, 0))
    >>> round(float(level[0]), 5), relative.shape
    (0.00732, torch.Size([2, 75]))
    """
    n_samples = len(snr_db)
    level = 10 ** (-snr_db / 10) * len(pattern) / pattern.n_fft
    relative = at_pilots.abs().square().mean(-1).view(-1, BLOCK)
    sample_of_pilot = torch.from_numpy(pattern.bins * BLOCK // pattern.n_fft)
    return level, relative[:, sample_of_pilot].repeat_interleave(BLOCK, 0)[:n_samples]


def _phasor(delays: Tensor, k: Tensor, n_fft: int) -> Tensor:
    """exp(-2 pi i k delays / n_fft): (batch, paths), (n,) -> (batch, paths, n) complex64."""
    turns = delays.unsqueeze(-1) * (k / n_fft)
    angle = (-2 * torch.pi * (turns - turns.round())).float()
    return torch.polar(torch.ones_like(angle), angle)
