"""What was found in received pilots, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def words_of_findings(columns: Mapping[str, Tensor | np.ndarray], sample_rate_hz: float | None = None) -> str:
    """Medians over the channels, and in how many of them something was sent.

    Args:
        columns: ``noise_variance``, ``snr_db``, ``timing_samples`` and ``detected``, (n,) each; ``doppler_hz`` and
            ``cfo_hz`` of users in motion.
        sample_rate_hz: for delays in microseconds, where it is known.

    >>> found = {"noise_variance": np.ones(2), "snr_db": np.array([9.0, 11.0]), "detected": np.array([True, False])}
    >>> words_of_findings({**found, "timing_samples": np.array([3.0, np.nan])}, 15.36e6)
    'noise variance 1, SNR 10.0 dB, first path at 3.0 samples (0.20 µs); something was sent in 1 of 2'
    """
    values = {name: np.asarray(column, np.float64).ravel() for name, column in columns.items()}
    said = [f"noise variance {values['noise_variance'].mean():.3g}", f"SNR {np.median(values['snr_db']):.1f} dB"]
    timing = values["timing_samples"]
    if np.isfinite(timing).any():
        first = float(np.nanmedian(timing))
        seconds = f" ({first / sample_rate_hz * 1e6:.2f} µs)" if sample_rate_hz else ""
        said.append(f"first path at {first:.1f} samples{seconds}")
    sent = values["detected"]
    if "doppler_hz" in values:
        said.append(
            f"Doppler {np.median(values['doppler_hz']):.0f} Hz, frequency offset {np.median(values['cfo_hz']):.0f} Hz"
        )
    return f"{', '.join(said)}; something was sent in {int(sent.sum())} of {sent.size}"


def words_of_delays(
    cir: np.ndarray, spacing_samples: float, n_paths: np.ndarray | None, sample_rate_hz: float | None = None
) -> str:
    """Median RMS delay spread of impulse responses, and how many paths were found where they were looked for.

    Args:
        cir: (n, n_taps) complex; taps wrap round.
        spacing_samples: from tap to tap.
        n_paths: (groups,), or None.
        sample_rate_hz: for microseconds, where it is known.

    >>> words_of_delays(np.array([[1, 0, 1j, 0, 0, 0]]), 0.5, np.array([2, 2, 3]), 1e6)
    'RMS delay spread 0.5 samples (0.500 µs), 2 to 3 paths (median 2)'
    """
    power = np.abs(np.asarray(cir, np.complex128).reshape(-1, cir.shape[-1])) ** 2
    power = power[power.sum(-1) > 0]
    if not len(power):
        return "no energy"
    n = power.shape[-1]
    first = power.argmax(-1)[:, None]
    delays = ((np.arange(n) - first + n // 2) % n - n // 2) * spacing_samples  # about the strongest
    share = power / power.sum(-1, keepdims=True)
    mean = (share * delays).sum(-1, keepdims=True)
    spread = float(np.median(np.sqrt((share * (delays - mean) ** 2).sum(-1))))
    seconds = f" ({spread / sample_rate_hz * 1e6:.3f} µs)" if sample_rate_hz else ""
    said = f"RMS delay spread {spread:.1f} samples{seconds}"
    if n_paths is None or not np.size(n_paths):
        return said
    least, most, middle = int(np.min(n_paths)), int(np.max(n_paths)), float(np.median(n_paths))
    count = (
        f"{most} path{'s' if most != 1 else ''}" if least == most else f"{least} to {most} paths (median {middle:g})"
    )
    return f"{said}, {count}"
