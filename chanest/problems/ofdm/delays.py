"""Which delays pilots tell apart, and the grid of taps laid over them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ...lazy import torch
from .operator_cache import cached_operator
from .pilots import PilotPattern
from .slots import SlotPattern

if TYPE_CHECKING:
    from ...operators import PartialDFT

TAPS_PER_CELL = 5.5  # about how many fine taps stand within what the pilots resolve
MANY = 300  # pilots, of which more show paths so clearly that twice as many taps are worth it,
MANY_SNAPSHOTS = 8  # and snapshots, of which so many do
COARSEST = 4  # the fine taps of so many steps become one on the coarse grid
FEWEST = 8  # taps of the coarse grid
BEFORE = 4  # a circle begins a fraction of 1/4 before delay 0


@dataclass(frozen=True)
class DelayGrid:
    """Delays at which taps are looked for.

    Attributes:
        first_tap_samples: the first one, a multiple of the spacing.
        n_taps: a multiple of the ratio.
        spacing_samples: a power of two.
        window_told: whether the channel is known to lie here, or these are all delays that the pilots tell apart.
        coarse_ratio: of the grid that is looked at first to this one, 4 or 8.
    """

    first_tap_samples: float
    n_taps: int
    spacing_samples: float
    window_told: bool = False
    coarse_ratio: int = 4

    def operator(
        self,
        pattern: PilotPattern | SlotPattern,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
    ) -> PartialDFT:
        """Phi from these delays to some pilots, in complex64 where nothing is said, kept from call to call."""
        taps, spacing = (self.n_taps, self.first_tap_samples), self.spacing_samples
        return cached_operator(
            pattern, *taps, dtype or torch.complex64, device, spacing, self.window_told, self.coarse_ratio
        )


@lru_cache(maxsize=512)
def period_samples(pattern: PilotPattern) -> float:
    """T: delays so far apart look the same to the pilots, up to a phase per run of them.

    Within a run all differences are multiples of one d, and T is n_fft/d. Several runs count as ambiguous when they are
    few and regular, most steps in them d or 2 d: a comb that skips DC is two of them, the 30 carriers of Wi-Fi's CSI
    two and a single one. Random pilots whose parity happens to change seldom are not.

    >>> period_samples(PilotPattern.comb(8)), period_samples(PilotPattern.random(75, seed=0))
    (128.0, 1024.0)
    """
    steps = np.diff(pattern.subcarriers)
    n = len(pattern)
    most = max(2.5, n / 8) if n >= 8 else 1.5
    for spacing in range(int(steps.max()), 1, -1):
        inside = steps % spacing == 0
        runs = np.diff(np.flatnonzero(np.r_[True, ~inside, True]))
        regular = len(runs) == 1 or (inside.any() and np.median(steps[inside]) <= 2 * spacing)
        if regular and n * n / np.square(runs).sum() <= most:
            return pattern.n_fft / spacing
    return float(pattern.n_fft)


def sample_window(pattern: PilotPattern, first: int, n_taps: int) -> tuple[int, int]:
    """First tap and number of taps, a sample apart, that pilots tell apart in a window of so many.

    A longer window would hold every path twice. At most a quarter of a shorter one lies before delay 0.

    >>> sample_window(PilotPattern.comb(10), -8, 272), sample_window(PilotPattern.comb(2), -8, 272)
    ((-8, 102), (-8, 272))
    """
    n = max(1, math.floor(period_samples(pattern)))
    return (first, n_taps) if n >= n_taps else (max(first, -(n // 4)), n)


def delay_grid(
    pattern: PilotPattern,
    window_samples: tuple[float, float] | None = None,
    n_layers: int = 1,
    n_snapshots: int = 1,
) -> DelayGrid:
    """The taps for some pilots: on all delays that they tell apart, or those of a window.

    A circle of T samples lies at -T/4...3T/4; each of several layers has its share of it. Taps stand at about
    1/:data:`TAPS_PER_CELL` of what the pilots resolve, half of that where the pilots are more than :data:`MANY` or the
    snapshots at least :data:`MANY_SNAPSHOTS`.

    Args:
        pattern: the pilots.
        window_samples: first and last delay, where they are known.
        n_layers: on the same pilots.
        n_snapshots: that share the delays.

    >>> delay_grid(PilotPattern.random(75, seed=0))
    DelayGrid(first_tap_samples=-256.0, n_taps=4096, spacing_samples=0.25, window_told=False, coarse_ratio=4)
    >>> delay_grid(PilotPattern((1, 2))).n_taps
    32
    >>> delay_grid(PilotPattern.comb(8), (-8, 264))
    DelayGrid(first_tap_samples=-8.0, n_taps=512, spacing_samples=0.25, window_told=True, coarse_ratio=4)
    """
    span = pattern.subcarriers[-1] - pattern.subcarriers[0] + 1
    wanted = pattern.n_fft / span / TAPS_PER_CELL
    most = math.floor(math.log2(pattern.n_fft / (COARSEST * FEWEST)))  # so that the fewest taps fit
    spacing = min(2.0 ** min(round(math.log2(wanted)), most), float(pattern.n_fft & -pattern.n_fft) / COARSEST)
    step = spacing * COARSEST
    period = period_samples(pattern) / n_layers
    first, last = -period / BEFORE, period * (1 - 1 / BEFORE)
    if window_samples is not None:
        first = window_samples[0]
        last = min(window_samples[1], first + period)
    first = math.floor(first / step) * step
    n_coarse = max(FEWEST, min(round((last - first) / step), int(pattern.n_fft / step)))
    finer = 2 if len(pattern) > MANY or n_snapshots >= MANY_SNAPSHOTS else 1
    ratio = COARSEST * finer
    return DelayGrid(first, ratio * n_coarse, spacing / finer, window_samples is not None, ratio)
