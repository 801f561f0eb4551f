"""What stands around an iteration: observations to unit norm, and how much of what was found is returned."""

import math

import numpy as np

from .compiling import Array, compiled
from .elementwise import TINY

_LARGEST = np.float32(
    3.4e38
)  # sums are reordered, and isfinite, which subtracts, may be folded away: NaN compares false


@compiled
def normalise(observed: Array, y: Array, rms: Array, start: int, end: int) -> None:
    """y of unit norm and the RMS, of rows; silence where the largest modulus is no normal number.

    observed and y (n, M) complex64, rms (n,) float32.
    """
    m = observed.shape[1]
    for i in range(start, end):
        peak = np.float32(0.0)
        for j in range(m):
            peak = max(peak, abs(observed[i, j].real), abs(observed[i, j].imag))
        if peak < TINY:
            rms[i] = 0.0
            for j in range(m):
                y[i, j] = 0.0
            continue
        wide = np.float64(peak)  # whose reciprocal float32 may not hold
        total = 0.0
        for j in range(m):
            re, im = observed[i, j].real / wide, observed[i, j].imag / wide
            total += re * re + im * im
        relative = np.float32(math.sqrt(total / m))
        rms[i] = relative * peak
        root = relative * np.float32(math.sqrt(m))
        for j in range(m):
            y[i, j] = complex(observed[i, j].real / wide / root, observed[i, j].imag / wide / root)


@compiled
def all_finite(y: Array) -> bool:
    """Whether y (n, M) complex64 has neither NaN nor Inf."""
    total = np.float32(0.0)
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            total += abs(y[i, j].real) + abs(y[i, j].imag)
    return bool(total <= _LARGEST)


@compiled
def share_of(
    energy: float, power: float, agreeing: float, loud: float, rounding: float, most_band: float, tiny: float
) -> float:
    """How much of what was found is returned (:func:`chanest.models.guard.kept_share`).

    From ||Phi x||^2, ||y||^2, their product, and the mean power in the band, or less than 0 where there is none.
    """
    if not energy + loud <= _LARGEST:
        return 0.0
    returned = 1.0
    if energy - 2 * agreeing > rounding * power:
        returned = min(max(agreeing / max(energy, tiny), 0.0), 1.0)
    if loud >= 0:
        returned = min(returned, math.sqrt(most_band * power / max(loud, tiny)))
    return returned


@compiled
def shares(
    fitted: Array,
    response: Array,
    y: Array,
    rounding: float,
    most_band: float,
    tiny: float,
    share: Array,
    start: int,
    end: int,
) -> None:
    """How much of what was found is returned, of rows.

    fitted and y (n, M) complex64, response (n, n_used) complex64 or (n, 0), share (n,) float32.
    """
    m, n_used = fitted.shape[1], response.shape[1]
    for i in range(start, end):
        energy = power = agreeing = 0.0
        loud = 0.0 if n_used > 0 else -1.0
        for j in range(m):
            f_re, f_im = float(fitted[i, j].real), float(fitted[i, j].imag)
            y_re, y_im = float(y[i, j].real), float(y[i, j].imag)
            energy += f_re * f_re + f_im * f_im
            power += y_re * y_re + y_im * y_im
            agreeing += f_re * y_re + f_im * y_im
        for j in range(n_used):
            re, im = float(response[i, j].real), float(response[i, j].imag)
            loud += re * re + im * im
        share[i] = share_of(energy, power, agreeing, loud, rounding, most_band, tiny)


@compiled
def finish(
    spectrum: Array,
    bins: Array,
    phase: Array,
    pilots: Array,
    y: Array,
    rms: Array,
    rounding: float,
    most_band: float,
    tiny: float,
    share: Array,
    cfr: Array,
    start: int,
    end: int,
) -> None:
    """CFRs from spectra of taps, in the units of the pilots, and how much of them is returned.

    Args:
        spectrum: (n, n_fft) complex64; bins, phase: (n_used,) where a subcarrier lies, and its phase of unit modulus.
        pilots: (M,) which of them are pilots; y (n, M), rms (n,): as of :func:`normalise`.
        share: (n,) float32; cfr: (n, n_used) complex64.
    """
    n_used, m = len(bins), len(pilots)
    root, mean = np.float32(math.sqrt(m)), 1.0 / n_used
    for i in range(start, end):
        energy = power = agreeing = loud = 0.0
        for j in range(n_used):
            value = spectrum[i, bins[j]] * phase[j]
            cfr[i, j] = value
            re, im = float(value.real), float(value.imag)
            loud += re * re + im * im
        for j in range(m):
            value = cfr[i, pilots[j]] / root
            f_re, f_im = float(value.real), float(value.imag)
            y_re, y_im = float(y[i, j].real), float(y[i, j].imag)
            energy += f_re * f_re + f_im * f_im
            power += y_re * y_re + y_im * y_im
            agreeing += f_re * y_re + f_im * y_im
        share[i] = share_of(energy, power, agreeing, loud * mean, rounding, most_band, tiny)
        scale = np.float32(share[i]) * rms[i]
        for j in range(n_used):
            cfr[i, j] = cfr[i, j] * scale if scale > 0 else np.complex64(0.0)
