"""Estimates one after the other with as little as possible between the numbers: one pattern, prepared once."""

import math
from typing import Any

import numpy as np
import torch

from ..algorithms import Algorithm, Recovery
from ..errors import ModelError, ObservationError
from ..kernels import following
from ..problems import PilotPattern
from .grids import serving
from .guard import MOST_BAND, ROUNDING, TINY, unsure
from .model import Model
from .precision import converted
from .scaling import noise_of_y
from .trust import leaves_open

Array = np.ndarray[Any, np.dtype[Any]]


class PreparedEstimator:
    """Estimates from the pilots of one pattern on the CPU in single precision, a vector or a few at a time.

    What :meth:`Model.estimate` finds out in every call, the operators, the tables of compiled loops, the estimator's
    weights, is found once, with the weights as they are now; results lie in buffers of the estimator's own that the
    next call fills again. CFRs and error variances are those of :meth:`Model.estimate`, to rounding.

    Args:
        model: any but interpolators and NA-SBL for any receiver (``na-sbl-wide``).
        pattern: the pilots, which leave no large part of the band open.
        n_rows: vectors in a call.
        error_variance: whether it is wanted too.

    Attributes:
        used_subcarriers: (n_used,) int64, of the CFR.

    Raises:
        ModelError: a model or a pattern that :meth:`Model.estimate` has to serve.

    >>> from chanest import PilotPattern, load_model
    >>> pattern = PilotPattern.random(75, seed=0)
    >>> estimate = PreparedEstimator(load_model("na-alista-lte10-m75"), pattern)
    >>> estimate(np.ones((1, 75), np.complex64)).shape
    (1, 600)
    """

    def __init__(self, model: Model, pattern: PilotPattern, n_rows: int = 1, error_variance: bool = False) -> None:
        if not isinstance(model.algorithm, Algorithm) or model.algorithm.circle:
            raise ModelError(f"model {model.name}: {model.algorithm.name} cannot be prepared; take Model.estimate")
        if leaves_open(pattern):
            raise ModelError("pilots that leave part of the band open cannot be prepared; take Model.estimate")
        if error_variance and not model.algorithm.gives_error_variance:
            raise ModelError(f"model {model.name}: {model.algorithm.name} gives no error variance")
        scenario = serving(model, pattern).ofdm
        forward = scenario.forward_model(pattern, torch.complex64, "cpu")
        phi: Any = forward.phi
        band: Any = forward.band
        self._phi, self._band = phi, band
        m, n = phi.n_measurements, phi.n_coefficients
        self._y = torch.zeros(n_rows, m, dtype=torch.complex64)
        self._algorithm = converted(serving(model, pattern).algorithm, self._y)
        self._x = torch.zeros(n_rows, n, dtype=torch.complex64)
        self._rms = torch.zeros(n_rows, 1)
        self._loop = self._algorithm.prepared_loop(self._phi)
        self._share = torch.ones(n_rows)
        self.used_subcarriers = pattern.used_subcarriers
        self._cfr = np.empty((n_rows, len(self.used_subcarriers)), np.complex64)
        at = np.searchsorted(self.used_subcarriers, pattern.subcarriers)
        self._places = band.bins.numpy(), band.phases.numpy(), at
        self._wants_variance = error_variance
        self.error_variance: Array | None = None

    @torch.inference_mode()
    def __call__(self, received_pilots: Array, noise_variance: float | None = None) -> Array:
        """The CFR, (n_rows, n_used) complex64, valid until the next call; its error variance is in ``error_variance``.

        Args:
            received_pilots: (n_rows, n_pilots) complex64, divided by the pilot symbols.
            noise_variance: of a received pilot; found where it is needed and not given.

        Raises:
            ObservationError: another shape or type, NaN or Inf, or an impossible noise variance.
        """
        from ..kernels import scaling

        y, rms = self._y.numpy(), self._rms.numpy()[:, 0]
        if received_pilots.shape != y.shape or received_pilots.dtype != y.dtype:
            raise ObservationError(
                f"expected complex64 of shape {y.shape}, got {received_pilots.dtype} of {received_pilots.shape}",
                field="received_pilots",
            )
        if noise_variance is not None and not 0 <= noise_variance < math.inf:
            raise ObservationError("expected a finite number, not negative", field="noise_variance")
        scaling.normalise(np.ascontiguousarray(received_pilots), y, rms, 0, len(y))
        if not math.isfinite(rms.sum()) or not scaling.all_finite(y):
            raise ObservationError("NaN or Inf", field="received_pilots")
        noise = None
        if noise_variance is not None and (self._loop is None or self._wants_variance):
            noise = noise_of_y(noise_variance, self._rms, y.shape[1])
        with following(0 if len(y) < 2 else y.size * y.shape[1], self._algorithm.weighs_delays):
            if self._loop is None:
                recovery = self._algorithm(self._y, self._phi, noise_variance=noise)
            else:
                recovery = Recovery(self._x)
                self._loop(y, self._x.numpy())
            spectrum = torch.fft.fft(recovery.x, self._band.length).numpy()
            given = *self._places, y, rms, ROUNDING, MOST_BAND, TINY
            scaling.finish(spectrum, *given, self._share.numpy(), self._cfr, 0, len(y))
            if self._wants_variance:
                variance = self._algorithm.error_variance(recovery, self._y, self._phi, self._band, noise)
                self.error_variance = (unsure(variance, self._share, self._y) * self._rms.square()).numpy()
        return self._cfr
