"""Operators of pilots and bands, kept from call to call."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ...lazy import torch
from .grid import Grid
from .pilots import PilotPattern
from .slots import SlotPattern

if TYPE_CHECKING:
    from torch import Tensor

    from ...operators import PartialDFT

_MOST_OPERATORS = 16
_operators: dict[tuple[object, ...], PartialDFT] = {}


def cached_operator(
    pattern: PilotPattern | SlotPattern,
    n_taps: int,
    first_tap_samples: float,
    dtype: torch.dtype,
    device: torch.device | str,
    spacing_samples: float = 1.0,
    window_told: bool = False,
    coarse_ratio: int = 4,
) -> PartialDFT:
    """Phi for a pilot pattern, or the pilots of a slot, with all that it has prepared since it was last asked for.

    Args:
        pattern, n_taps, first_tap_samples, dtype, device, spacing_samples, window_told, coarse_ratio: as for
            :meth:`PilotPattern.operator`.

    >>> call = (PilotPattern.random(75, seed=0), 256, 0, torch.complex64, "cpu")
    >>> cached_operator(*call) is cached_operator(*call)
    True
    """
    how = n_taps, first_tap_samples, pattern.n_fft, dtype, device, spacing_samples, window_told, coarse_ratio
    from ...operators import PartialDFT

    if torch.compiler.is_exporting():
        return PartialDFT(torch.tensor(pattern.subcarriers), *how)
    key = (pattern, *how[:4], str(device), *how[5:], torch.is_inference_mode_enabled())
    phi = _operators.get(key)
    if phi is None:
        while len(_operators) >= _MOST_OPERATORS:
            _operators.pop(next(iter(_operators)), None)
        phi = _operators[key] = PartialDFT(torch.tensor(pattern.subcarriers), *how)
    return phi


@cache
def whole_band(grid: Grid) -> PilotPattern:
    """All used subcarriers of a grid as pilots.

    >>> len(whole_band(Grid()))
    600
    """
    return PilotPattern(grid.used_subcarriers, grid)


def cfr_of(cir: Tensor, grid: Grid, first_tap_samples: float = 0, spacing_samples: float = 1.0) -> Tensor:
    """H[k] = sum_n cir[n] exp(-2 pi i k n / n_fft) on the used subcarriers: (*batch, N) -> (*batch, n_used).

    Args:
        cir: (*batch, N) taps.
        first_tap_samples, spacing_samples: delay of the first tap, and from one to the next.
        grid: DFT length and band.

    >>> cfr_of(torch.ones(256, dtype=torch.complex64), Grid()).shape
    torch.Size([600])
    """
    taps = cir.shape[-1], first_tap_samples
    phi = cached_operator(whole_band(grid), *taps, cir.dtype, cir.device, spacing_samples)
    return phi.forward(cir) * grid.n_used**0.5
