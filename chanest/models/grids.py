"""Models on grids that they were not made for: only k/n_fft counts; no window exceeds what the pilots tell apart."""

from dataclasses import replace
from math import ceil, floor
from typing import Any, TypeVar

from ..problems import PilotPattern, sample_window

_Model = TypeVar("_Model", bound=Any)  # of :mod:`.model`, which asks here


def rescaled(model: _Model, n_fft: int) -> _Model:
    """A model for another DFT length: delays keep their share of the symbol, taps lie denser or wider.

    >>> from chanest import load_model
    >>> scenario = rescaled(load_model("na-alista-wide"), 2048).ofdm
    >>> scenario.n_taps, scenario.first_tap_samples
    (544, -16)
    """
    scenario, factor = model.ofdm, n_fft / model.ofdm.n_fft
    sizes = {
        "n_fft": n_fft,
        "n_taps": max(1, ceil(scenario.n_taps * factor)),
        "first_tap_samples": floor(scenario.first_tap_samples * factor),
        "cp_samples": ceil(scenario.cp_samples * factor),
    }
    return replace(model, algorithm=model.algorithm.rescaled(factor), scenario=scenario.model_copy(update=sizes))


def unambiguous(model: _Model, pattern: PilotPattern) -> _Model:
    """A model whose delay window is no longer than what the pilots tell apart: :func:`chanest.problems.sample_window`.

    >>> from chanest import load_model
    >>> unambiguous(load_model("na-alista-wide"), PilotPattern(tuple(range(-300, 0, 10)))).ofdm.n_taps
    102
    """
    first, n_taps = sample_window(pattern, model.ofdm.first_tap_samples, model.ofdm.n_taps)
    if n_taps == model.ofdm.n_taps:
        return model
    window = {"n_taps": n_taps, "first_tap_samples": first}
    return replace(model, scenario=model.ofdm.model_copy(update=window))


def serving(model: _Model, pattern: PilotPattern) -> _Model:
    """The model for the grid of some pilots: itself where it was made for that.

    >>> from chanest import Grid, load_model
    >>> serving(load_model("na-alista-wide"), PilotPattern.comb(2, 0, Grid(64, tuple(range(-26, 27))))).ofdm.n_taps
    17
    """
    if pattern.n_fft != model.ofdm.n_fft:
        model = rescaled(model, pattern.n_fft)
    return unambiguous(model, pattern)
