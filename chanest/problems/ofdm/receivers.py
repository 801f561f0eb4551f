"""Receivers of every kind, for training: grids, patterns, timing, antennas, layers, noise that differs, jammers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from ...lazy import torch
from ..base import Batch, Frozen
from .delays import DelayGrid, delay_grid, period_samples, sample_window
from .draw import frequency_response
from .grid import Grid
from .pilots import PilotPattern

if TYPE_CHECKING:
    from torch import Tensor

    from ...operators import PartialDFT, Superposed

Paths = tuple["Tensor", "Tensor"]
_Share = Annotated[float, Field(ge=0, le=1)]
N_FFT = 1024  # only k/n_fft counts
LONGEST = 250.0  # samples that the channels of a scenario may span


class Receivers(Frozen):
    """Shares of the batches of training; those of patterns, ``random`` to ``holes``, add up to 1."""

    n_pilots: tuple[int, int]
    """fewest and most pilots, log-uniform"""
    n_snapshots: tuple[int, int]
    """fewest and most snapshots, log-uniform"""
    single_snapshot: _Share
    """share of the batches with one snapshot"""
    random: _Share
    """of the patterns, random pilots in the scenario's band"""
    narrower: _Share
    """random pilots in a band of any width and place"""
    comb: _Share
    """regular combs, in this band or another"""
    block: _Share
    """contiguous pilots"""
    clusters: _Share
    """two to five groups of pilots"""
    holes: _Share
    """two sidebands with a hole between"""
    window: _Share
    """of single layers, those whose window of delays is told"""
    two_layers: _Share
    """two layers on the same pilots"""
    unequal_noise: _Share
    """noise that differs from pilot to pilot, by up to 15 dB"""
    jammed: _Share
    """up to a tenth of the pilots 5 to 30 dB louder"""
    correlated: _Share
    """snapshots with gains correlated up to 0.98 between neighbours"""
    separate: _Share = 0.0
    """separate paths alone, without clusters and dense multipath"""


@dataclass(frozen=True, eq=False)
class Receiver:
    """One receiver: pilots on a grid, the delays that are looked at, snapshots, layers.

    Attributes:
        pattern: the pilots; the channel is compared on its used subcarriers.
        delays: the grid of taps.
        n_snapshots: R; 0 for one vector at a time, without an axis of snapshots.
        symbols: (L, M), what every layer sends.
        anywhere: whether the channel lies anywhere among the delays, or where the scenario puts it.
        shrink: least and largest factor on the delays of the channel.
        unequal_noise, jammed, correlated: what happens to its pilots, and how its snapshots are drawn.
        separate: whether its channels are separate paths alone.
    """

    pattern: PilotPattern
    delays: DelayGrid
    n_snapshots: int
    symbols: Tensor
    anywhere: bool
    shrink: tuple[float, float]
    unequal_noise: bool
    jammed: bool
    correlated: bool
    separate: bool

    def __len__(self) -> int:
        return len(self.pattern)

    def alone(self, first_tap_samples: int, n_taps: int) -> Receiver:
        """The same pilots for estimators of one vector: one antenna, one layer, one noise level, first path at delay 0.

        Args:
            first_tap_samples, n_taps: the window of taps, a sample apart.
        """
        first, n = sample_window(self.pattern, first_tap_samples, n_taps)
        most = min(1.0, 0.8 * n / LONGEST)
        return Receiver(
            self.pattern,
            DelayGrid(first, n, 1.0, True),
            n_snapshots=0,
            symbols=torch.ones(1, len(self), dtype=torch.complex64),
            anywhere=False,
            shrink=(1.0, 1.0) if n == n_taps else (0.1 * most, most),
            unequal_noise=False,
            jammed=False,
            correlated=False,
            separate=self.separate,
        )

    def operator(self, device: torch.device | str = "cpu") -> PartialDFT | Superposed:
        """Phi from the taps of all layers to the pilots."""
        from ...operators import Superposed

        phi = self.delays.operator(self.pattern, device=device)
        return phi if len(self.symbols) == 1 else Superposed(phi, self.symbols)

    def band(self, subcarriers: Tensor, device: torch.device | str = "cpu") -> PartialDFT:
        """From the taps of one layer to some subcarriers, (n,) int64."""
        from ...operators import PartialDFT

        d = self.delays
        n_fft = self.pattern.n_fft
        return PartialDFT(
            subcarriers, d.n_taps, d.first_tap_samples, n_fft, device=device, spacing_samples=d.spacing_samples
        )


def draw_receiver(
    ranges: Receivers, scenario_grid: Grid, window: tuple[float, float], seed: int, step: int
) -> Receiver:
    """The receiver of one step of training."""
    generator = np.random.default_rng([seed, step + 1, 7])
    kinds = ("random", "narrower", "comb", "block", "clusters", "holes")
    shares = np.array([getattr(ranges, kind) for kind in kinds])
    kind = str(generator.choice(kinds, p=shares / shares.sum()))
    n = round(math.exp(generator.uniform(*np.log(ranges.n_pilots))))
    pattern = _pattern(kind, n, scenario_grid, generator)
    n_layers = 2 if generator.random() < ranges.two_layers and len(pattern) >= 24 and kind != "block" else 1
    told = n_layers == 1 and generator.random() < ranges.window
    delays = delay_grid(pattern, window if told else None, n_layers)
    r = 1
    if generator.random() >= ranges.single_snapshot:
        low, high = ranges.n_snapshots
        r = min(high, int(math.exp(generator.uniform(math.log(low), math.log(high + 1)))))
    length = min(delays.n_taps * delays.spacing_samples, period_samples(pattern) / n_layers)
    # what the channel may span, and where it may begin
    most = min(1.0, 0.8 * length / LONGEST)
    shrink = (1.0, 1.0) if told and length >= window[1] - window[0] else (0.1 * most, most)
    if n_layers == 1:
        symbols = torch.ones(1, len(pattern))
    elif generator.random() < 0.6:
        symbols = torch.ones(2, len(pattern))
        symbols[1, 1::2] = -1
    else:
        symbols = torch.tensor(generator.choice([1, 1j, -1, -1j], (2, len(pattern))))
    return Receiver(
        pattern,
        delays,
        r,
        symbols.to(torch.complex64),
        not told,
        shrink,
        bool(generator.random() < ranges.unequal_noise),
        bool(generator.random() < ranges.jammed),
        bool(generator.random() < ranges.correlated),
        bool(generator.random() < ranges.separate),
    )


def _pattern(kind: str, n: int, grid: Grid, generator: np.random.Generator) -> PilotPattern:
    used = np.asarray(grid.used_subcarriers)
    if (kind != "random" and generator.random() < 0.5) or kind == "narrower":
        share = math.exp(generator.uniform(math.log(0.04 if kind == "narrower" else 0.3), 0.0))
        width = max(int(share * N_FFT), 20)
        low = -(width // 2) if width > 400 else int(generator.integers(-N_FFT // 2, N_FFT // 2 - width + 1))
        used = np.arange(low, low + width)
        if generator.random() < 0.3:
            used = used[used != 0]
    n = min(n, len(used))
    match kind:
        case "random" | "narrower":
            pilots = generator.choice(used, n, replace=False)
        case "comb":
            spacing = max(math.ceil(len(used) / 128), min(round(len(used) / n), 12))
            pilots = used[generator.integers(spacing) :: spacing]
        case "block":
            start = generator.integers(len(used) - n + 1)
            pilots = used[start : start + n]
            used = used[max(0, start - 24) : start + n + 24]
        case "clusters":
            count = int(generator.integers(2, 6))
            step = int(generator.integers(1, 4))
            size = max(3, n // count)
            gaps = generator.dirichlet(np.ones(count + 1)) * max(0, len(used) - count * size * step)
            starts = np.cumsum(gaps[:count]).astype(int) + np.arange(count) * size * step
            index = (starts[:, None] + step * np.arange(size)).ravel()
            index = np.unique(index[index < len(used)])
            pilots = used[index]
            near = np.abs(np.arange(len(used))[:, None] - index).min(1) <= 24
            used = used[near]
        case _:
            width = len(used)
            hole = int(width * generator.uniform(0.1, 0.6))
            begin = int((width - hole) * generator.uniform(0.2, 0.8))
            used = np.r_[used[:begin], used[begin + hole :]]
            if generator.random() < 0.5:
                pilots = generator.choice(used, min(n, len(used)), replace=False)
            else:
                spacing = max(math.ceil(len(used) / 128), min(round(len(used) / n), 19))
                pilots = np.r_[used[:begin][::spacing], used[begin:][generator.integers(spacing) :: spacing]]
    pilots = np.unique(pilots)
    return PilotPattern(tuple(pilots.tolist()), Grid(N_FFT, tuple(used.tolist())))


def draw_received(
    receiver: Receiver, paths: Paths, n_snapshots: int, snr_db: Tensor, generator: torch.Generator
) -> Batch:
    """What a receiver sees: observations (batch, R, M), noise (batch, 1) or (batch, M) without jammers, truth
    (batch, R, L, n_used).

    Args:
        receiver: which.
        paths: per layer delays, and prior variances, (L, batch, paths) both, delays as the scenario draws them.
        n_snapshots: R.
        snr_db: (batch,).
        generator: of everything random.
    """
    delays, variances = paths
    delays = _placed(receiver, delays, generator)
    n_layers, n = delays.shape[:2]
    grid, at = receiver.pattern.grid, np.searchsorted(receiver.pattern.used_subcarriers, receiver.pattern.subcarriers)
    cfr = []
    for layer in range(n_layers):
        gains = _gains(variances[layer], n_snapshots, receiver.correlated, generator)
        flat = gains.reshape(n * n_snapshots, -1)
        response = frequency_response(delays[layer].repeat_interleave(n_snapshots, 0), flat, grid)
        cfr.append(response.view(n, n_snapshots, -1))
    truth = torch.stack(cfr, -2)
    seen = (truth[..., at] * receiver.symbols).sum(-2)
    level = (10 ** (-snr_db / 10)).unsqueeze(-1)
    if receiver.unequal_noise:
        spread = torch.rand((n, 1), generator=generator) * 15
        level = level * 10 ** (spread * torch.rand((n, len(receiver)), generator=generator) / 10)
    variance = level.expand(n, len(receiver)).unsqueeze(-2).expand(-1, n_snapshots, -1)
    if receiver.jammed:
        hit = torch.rand((n, 1, len(receiver)), generator=generator) < 0.1 * torch.rand((n, 1, 1), generator=generator)
        power = 10 ** ((5 + 25 * torch.rand((n, 1, 1), generator=generator)) / 10)
        variance = variance + hit * level.mean(-1)[:, None, None].maximum(torch.tensor(0.1)) * power
    noise = torch.randn(seen.shape, dtype=torch.complex64, generator=generator) * variance.sqrt()
    return Batch(seen + noise, level if receiver.unequal_noise else level.squeeze(-1), {"cfr": truth})


def _gains(variances: Tensor, n_snapshots: int, correlated: bool, generator: torch.Generator) -> Tensor:
    """(batch, R, paths) complex: independent from snapshot to snapshot, or with one correlation between neighbours."""
    gains = torch.randn((len(variances), n_snapshots, variances.shape[-1]), dtype=torch.complex64, generator=generator)
    if correlated:
        rho = torch.rand((len(variances), 1), generator=generator) * 0.98
        for r in range(1, n_snapshots):
            gains[:, r] = rho * gains[:, r - 1] + (1 - rho**2).sqrt() * gains[:, r]
    return gains * variances.sqrt().unsqueeze(1)


def _placed(receiver: Receiver, delays: Tensor, generator: torch.Generator) -> Tensor:
    """Delays (L, batch, paths) shrunk, and moved to where the receiver looks; layers have a timing in common."""
    low, high = receiver.shrink
    n = delays.shape[1]
    delays = delays * (low + (high - low) * torch.rand((n, 1), generator=generator, dtype=torch.float64))
    if not receiver.anywhere:  # nearly at 0: where an arc of a circle begins is not known better
        return delays + 2 * torch.rand((n, 1), generator=generator, dtype=torch.float64) - 1
    grid = receiver.delays
    length = grid.n_taps * grid.spacing_samples
    margin = 0.02 * length
    slack = (length - 2 * margin - delays.amax((0, -1)).unsqueeze(-1)).clamp_min(0)
    shift = slack * torch.rand((n, 1), generator=generator, dtype=torch.float64)
    return delays + grid.first_tap_samples + margin + shift
