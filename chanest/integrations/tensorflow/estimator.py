"""SparseEstimator: pilots in, channel out, as chanest.Model.estimate; it alone scales."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ...algorithms import Interpolator
from ...errors import ModelError, ObservationError
from ...models import Model, load_model, noise_of_y
from ...models.guard import kept, kept_share, unsure
from ...problems import PilotPattern
from . import arcs
from . import namespace as xp
from .alista import ALISTA, NAALISTA
from .delays import Taps, taps_of
from .na_sbl import NASBL
from .na_sbl_circle import CircleNASBL
from .operators import PartialDFT
from .parts import TensorFlowAlgorithm

ALGORITHMS: dict[str, type[TensorFlowAlgorithm]] = {"alista": ALISTA, "na-alista": NAALISTA, "na-sbl": NASBL}


class ChannelEstimate(NamedTuple):
    """An estimated channel.

    Attributes:
        cir: (*batch, n_taps) complex.
        cfr: (*batch, n_used) complex on the estimator's ``used_subcarriers``.
        error_variance: (*batch, n_used), expected |error|^2 of the CFR, when asked for.
        delays_samples: (n_taps,) real, of the taps of the CIR.
    """

    cir: tf.Tensor
    cfr: tf.Tensor
    error_variance: tf.Tensor | None
    delays_samples: tf.Tensor


class SparseEstimator(tf.Module):
    """A trained ALISTA, NA-ALISTA or NA-SBL in TensorFlow.

    Args:
        model: a shipped model's name, an HDF5 file, or a loaded :class:`chanest.Model`.
        used_subcarriers: where the CFR is wanted, counted from DC; the band of the model's scenario when not given.
        window_samples: first and last delay of the channel, where they are known, for NA-SBL for any receiver
            (``na-sbl-wide``); else it looks at all delays that the pilots tell apart. The others look at those of their
            scenario.

    Attributes:
        used_subcarriers: (n_used,) int64.

    Raises:
        ModelError: no such model, of another algorithm, for the synthetic setting, or subcarriers beyond n_fft/2.

    >>> from chanest import PilotPattern
    >>> estimator = tf.function(SparseEstimator("na-alista-lte10-m75"))
    >>> estimator(tf.ones([2, 75], tf.complex64), PilotPattern.random(75, seed=0)).cfr.shape
    TensorShape([2, 600])
    """

    def __init__(
        self,
        model: str | Path | Model,
        used_subcarriers: Sequence[int] | np.ndarray | None = None,
        window_samples: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(name="sparse_estimator")
        model = model if isinstance(model, Model) else load_model(model)
        algorithm = model.algorithm
        if isinstance(algorithm, Interpolator) or algorithm.name not in ALGORITHMS:
            raise ModelError(
                f"model {model.name}: {algorithm.name} has no TensorFlow version, expected {', '.join(ALGORITHMS)}"
            )
        scenario = model.ofdm
        self.model_name, self.n_fft = model.name, scenario.n_fft
        self._taps = None if algorithm.circle else Taps(scenario.n_taps, scenario.first_tap_samples, scenario.n_fft)
        self._window_samples = window_samples
        self._arc_samples = scenario.window_samples if algorithm.circle and window_samples is None else None
        used = scenario.used_subcarriers if used_subcarriers is None else used_subcarriers
        self.used_subcarriers = np.asarray(used, np.int64)
        most, found = self.n_fft // 2, np.abs(self.used_subcarriers).max()
        expected = f"at most {most} from DC, half the DFT length of model {model.name}"
        ModelError.unless(found <= most, expected, found, "used_subcarriers")
        self.algorithm = (CircleNASBL if algorithm.circle else ALGORITHMS[algorithm.name])(algorithm)

    @tf.autograph.experimental.do_not_convert  # nothing to convert, and tracing takes a third of the time
    def __call__(
        self,
        received_pilots: tf.Tensor,
        pattern: PilotPattern | tf.Tensor,
        noise_variance: tf.Tensor | float | None = None,
        error_variance: bool = False,
    ) -> ChannelEstimate:
        """Estimate channels from received pilots.

        The result scales with the input; all-zero pilots give a zero channel; NaN or Inf give NaN. Inside a
        tf.function the batch may be unknown, with subcarriers for a pattern their number too; compiled by XLA
        both are fixed, and NA-SBL for any receiver needs the pattern itself, or constants.

        Args:
            received_pilots: (*batch, n_pilots) complex64 or complex128, divided by the pilot symbols, in the order of
                the pattern. The precision of the result is theirs.
            pattern: where the pilots lie, or their subcarriers counted from DC, (n_pilots,) integers, distinct.
            noise_variance: complex variance per received pilot, a number or (*batch,); estimated where it is needed
                and not given. The estimates of ALISTA and NA-ALISTA do not use it.
            error_variance: estimate it too, on every used subcarrier.

        Raises:
            ObservationError: real numbers, another number of pilots than the pattern's, another DFT length or band.
        """
        received = tf.convert_to_tensor(received_pilots)
        subcarriers = self._subcarriers(pattern, received)
        taps = self.taps(subcarriers)
        phi, band = self._operators(subcarriers, taps, received.dtype)
        batch = tf.shape(received)[:-1]
        y, rms = normalise(tf.reshape(received, [-1, tf.shape(received)[-1]]))
        noise = None
        if noise_variance is not None:
            told = noise_variance if tf.is_tensor(noise_variance) else tf.constant(noise_variance, tf.float64)
            told = tf.broadcast_to(tf.cast(told, tf.float64), batch)
            noise = noise_of_y(tf.reshape(told, [-1]), rms, xp.double(phi.n_measurements), xp)
        x, variance = self._solved(y, phi, band, noise, error_variance)
        share = kept_share(phi.forward(x), band.forward(x), y, xp)
        cir = tf.cast(rms, received.dtype) * kept(x, share, xp)
        cfr = band.forward(cir) * tf.cast(tf.sqrt(band.n_measurements), received.dtype)
        if variance is not None:
            variance = unsure(variance, share, y, xp) * tf.square(rms)
        cir, cfr, variance = (
            None if part is None else _with_batch(part, batch, received.shape[:-1]) for part in (cir, cfr, variance)
        )
        return ChannelEstimate(cir, cfr, variance, taps.delays_samples(self.n_fft, rms.dtype))

    def taps(self, subcarriers: tf.Tensor) -> Taps:
        """The taps that are looked at for pilots, (M,) int64."""
        return taps_of(subcarriers, self.n_fft, self._window_samples) if self._taps is None else self._taps

    def _operators(self, subcarriers: tf.Tensor, taps: Taps, dtype: tf.DType) -> tuple[PartialDFT, PartialDFT]:
        """From taps to the pilots and to the band."""
        where = taps.count, taps.first, taps.length, dtype, taps.window_told
        return PartialDFT(subcarriers, *where), PartialDFT(tf.constant(self.used_subcarriers), *where)

    def _solved(
        self, y: tf.Tensor, phi: PartialDFT, band: PartialDFT, noise: tf.Tensor | None, error_variance: bool
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """x, and the variance of the error of the CFR where it is asked for."""
        if self._arc_samples is not None and isinstance(self.algorithm, CircleNASBL):
            arc = self._operators(phi.subcarriers, taps_of(phi.subcarriers, self.n_fft, self._arc_samples), y.dtype)
            if arcs.worthwhile(phi, arc[0]) is not False:
                return arcs.estimated(self.algorithm, y, (phi, band), arc, noise, error_variance)
        found = self.algorithm(y, phi, noise)
        return found.x, self.algorithm.error_variance(found, y, phi, band, noise) if error_variance else None

    def _subcarriers(self, pattern: PilotPattern | tf.Tensor, received: tf.Tensor) -> tf.Tensor:
        """The pilots' subcarriers as a tensor, after checks of what is known before the graph runs."""
        if isinstance(pattern, PilotPattern):
            if pattern.n_fft != self.n_fft:
                raise ObservationError(
                    f"model {self.model_name} was made for {self.n_fft}, the pilots have {pattern.n_fft}", field="n_fft"
                )
            if not np.array_equal(pattern.used_subcarriers, self.used_subcarriers):
                raise ObservationError(
                    "the pattern's is not where this estimator gives the CFR; make it with "
                    "used_subcarriers=pattern.used_subcarriers",
                    field="band",
                )
            pattern = tf.constant(pattern.subcarriers, tf.int64)
        subcarriers = tf.cast(pattern, tf.int64)
        dtype = received.dtype
        ObservationError.unless(dtype.is_complex, "complex64 or complex128", dtype.name, "received_pilots")
        if not received.shape[-1:].is_compatible_with(subcarriers.shape):
            raise ObservationError(
                f"expected shape (*batch, {subcarriers.shape[0]}) for as many pilot subcarriers, "
                f"got {tuple(received.shape)}",
                field="received_pilots",
            )
        return subcarriers


def normalise(observations: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """y of unit norm and the RMS of the observations, (batch, M) and (batch, 1): as chanest.models.normalise."""
    parts = tf.stack([tf.math.real(observations), tf.math.imag(observations)])
    peak = tf.reduce_max(tf.abs(parts), [0, 2])[:, tf.newaxis]
    audible = tf.logical_not(peak < np.finfo(peak.dtype.as_numpy_dtype).tiny)  # so is NaN
    peak = tf.where(audible, peak, 1)
    relative = tf.where(audible, parts / peak, 0)
    rms = tf.sqrt(tf.reduce_mean(tf.reduce_sum(tf.square(relative), 0), -1, keepdims=True))
    y = relative / tf.where(rms > 0, rms, 1) / tf.sqrt(tf.cast(tf.shape(observations)[-1], rms.dtype))
    return tf.complex(y[0], y[1]), rms * peak


def _with_batch(part: tf.Tensor, batch: tf.Tensor, known: tf.TensorShape) -> tf.Tensor:
    """(flat, n) -> (*batch, n)."""
    shaped = tf.reshape(part, tf.concat([batch, tf.shape(part)[-1:]], 0))
    return tf.ensure_shape(shaped, known.concatenate(part.shape[-1:]))
