"""What a model makes of observations: a solution, and of pilots an estimate."""

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from ..algorithms import Posterior
from .findings import Paths

Array = Tensor | np.ndarray
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Estimate:
    """An estimated channel; NumPy arrays where the pilots were one, else tensors.

    Of several layers, (n_layers,) stands before the last axis of what is estimated of each. ``batch`` are all axes of
    the received pilots before the last one, ``groups`` those before the axes of snapshots.

    Attributes:
        cir: (*batch, n_taps) complex, taps from ``first_tap_samples`` on; None from an interpolator.
        cfr: (*batch, n_used) complex on ``used_subcarriers``, those of the pattern's grid.
        used_subcarriers: (n_used,) int64.
        first_tap_samples: delay of the first tap.
        tap_spacing_samples: from one tap to the next.
        error_variance: (*batch, n_used) float64, expected |error|^2 of the CFR, when asked for.
        iterates: the CIR after every iteration, when recorded.
        step_sizes, thresholds: of every iteration, (K, *batch) or (K,), when recorded; thresholds are
            relative to observations of unit RMS.
        noise_variance: (*groups,) float64 of a received pilot, as told or found; of NA-SBL for any receiver alone, as
            all that follows.
        snr_db: (*groups,) of the received pilots, at least -30.
        timing_samples: (*groups,) delay of the first path, NaN where there is none.
        false_alarm: (*groups,) float64, how likely noise alone is to look so much like a channel.
        detected: (*groups,) bool, whether anything was sent: that probability is below 0.2 %.
        paths: delays, gains, variances, layers and count of paths (:class:`chanest.models.Paths`), when asked for.
        covariance_factor: (*groups, [n_layers,] n_used, A) complex128, F with F F^H the covariance of the CFR's error,
            when asked for.
        doppler_hz, cfo_hz: (*groups,) float64 of a slot, the maximal Doppler shift and the residual carrier frequency
            offset, as told or found. The CFR of a slot is (*batch, [n_layers,] n_symbols, n_used), its error variance
            too, and there is no CIR.
    """

    cir: Any
    cfr: Any
    used_subcarriers: Any
    first_tap_samples: float
    error_variance: Any = None
    iterates: tuple[Any, ...] = ()
    step_sizes: Any = None
    thresholds: Any = None
    tap_spacing_samples: float = 1.0
    noise_variance: Any = None
    snr_db: Any = None
    timing_samples: Any = None
    false_alarm: Any = None
    detected: Any = None
    paths: Any = None
    covariance_factor: Any = None
    doppler_hz: Any = None
    cfo_hz: Any = None


@dataclass(frozen=True)
class Solution:
    """What a model makes of observations, whatever the setting.

    Attributes:
        values: estimates by the name of the quantity: ``cir`` and ``cfr``, ``cfr`` alone, or ``x``.
        error_variance: of the CFR, (*batch, n_used), when asked for and known.
        first_tap_samples: delay of the first coefficient.
        iterates: the coefficients after every iteration, when recorded.
        step_sizes, thresholds, tap_spacing_samples and what follows: as of an :class:`Estimate`; what is no channel is
            None from :meth:`Model.solve`.
        posterior: of NA-SBL for any receiver, tap variances (groups, N) and noise variances of the pilots (groups, M).
    """

    values: dict[str, Tensor]
    error_variance: Tensor | None
    first_tap_samples: float
    iterates: tuple[Tensor, ...] = ()
    step_sizes: Tensor | None = None
    thresholds: Tensor | None = None
    tap_spacing_samples: float = 1.0
    noise_variance: Tensor | None = None
    snr_db: Tensor | None = None
    timing_samples: Tensor | None = None
    false_alarm: Tensor | None = None
    detected: Tensor | None = None
    paths: Paths | None = None
    covariance_factor: Tensor | None = None
    doppler_hz: Tensor | None = None
    cfo_hz: Tensor | None = None
    posterior: Posterior | None = None


def in_kind(result: _Result, given: Array) -> _Result:
    """A dataclass of tensors, with NumPy arrays in their place where one was given."""
    if not isinstance(given, np.ndarray):
        return result

    def array(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(array, value))
        if isinstance(value, Paths):
            return in_kind(value, given)
        return value.detach().resolve_conj().numpy() if isinstance(value, Tensor) else value

    changed = {f.name: array(getattr(result, f.name)) for f in fields(result)}  # type: ignore[arg-type]
    return replace(result, **changed)  # type: ignore[type-var]
