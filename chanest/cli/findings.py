"""What was found in received pilots, in words."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor


def words_of_findings(columns: Mapping[str, Tensor | np.ndarray], sample_rate_hz: float | None = None) -> str:
    """Medians over the channels, and in how many of them something was sent.

    Args:
        columns: ``noise_variance``, ``snr_db``, ``timing_samples`` and ``detected``, (n,) each.
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
    return f"{', '.join(said)}; something was sent in {int(sent.sum())} of {sent.size}"
