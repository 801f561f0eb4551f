"""Operators over a scenario's band, and those of pilots kept from call to call."""

from functools import cache

import torch
from torch import Tensor

from ..operators import PartialDFT
from ..problems.ofdm.grid import Grid
from ..problems.ofdm.pilots import PilotPattern
from ..problems.ofdm.scenario import Scenario

_MOST_OPERATORS = 16  # that are kept
_operators: dict[tuple[object, ...], PartialDFT] = {}


def cfr_of(cir: Tensor, scenario: Scenario, first_tap_samples: int | None = None) -> Tensor:
    """H[k] = sum_n cir[n] exp(-2 pi i k n / n_fft) on the used subcarriers: (*batch, N) -> (*batch, n_used).

    Taps begin at the scenario's first_tap_samples, or at the given one.

    >>> from chanest import load_scenario
    >>> cfr_of(torch.ones(256, dtype=torch.complex64), load_scenario("lte10")).shape
    torch.Size([600])
    """
    first = scenario.first_tap_samples if first_tap_samples is None else first_tap_samples
    phi = band_operator(scenario, cir.shape[-1], first, cir.dtype, cir.device)
    return phi.forward(cir) * scenario.n_used**0.5


def band_operator(
    scenario: Scenario, n_taps: int, first_tap_samples: int, dtype: torch.dtype, device: torch.device | str
) -> PartialDFT:
    """The operator from taps to the scenario's used subcarriers, scaled as if all of them were pilots.

    >>> from chanest import load_scenario
    >>> band_operator(load_scenario("lte10"), 256, 0, torch.complex64, "cpu").n_measurements
    600
    """
    return kept_operator(whole_band(scenario.grid), n_taps, first_tap_samples, dtype, device)


@cache
def whole_band(grid: Grid) -> PilotPattern:
    """All used subcarriers of a grid as pilots.

    >>> len(whole_band(Grid()))
    600
    """
    return PilotPattern(grid.used_subcarriers, grid)


def kept_operator(
    pattern: PilotPattern, n_taps: int, first_tap_samples: int, dtype: torch.dtype, device: torch.device | str
) -> PartialDFT:
    """Phi for a pilot pattern, with all that it has prepared since it was last asked for.

    Args:
        pattern, n_taps, first_tap_samples, dtype, device: as for :class:`PartialDFT`.

    >>> call = (PilotPattern.random(75, seed=0), 256, 0, torch.complex64, "cpu")
    >>> kept_operator(*call) is kept_operator(*call)
    True
    """
    window = (n_taps, first_tap_samples)
    if torch.compiler.is_exporting():
        return pattern.operator(*window, dtype=dtype, device=device)
    key = (pattern, *window, dtype, str(device), torch.is_inference_mode_enabled())
    phi = _operators.get(key)
    if phi is None:
        while len(_operators) >= _MOST_OPERATORS:
            _operators.pop(next(iter(_operators)), None)
        phi = _operators[key] = pattern.operator(*window, dtype=dtype, device=device)
    return phi
