"""Phi and W of chanest.operators in TensorFlow; the pilots are a tensor, so one graph serves every pattern.

Vectors have the shape (batch, n), matrices (batch, m, m).
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import tensorflow as tf
from scipy.fft import next_fast_len

from ...operators.base import POWER_ITERATIONS, power_start
from . import namespace as xp
from .namespace import Array


class Operator(ABC):
    """What follows from ``adjoint`` and ``gram``."""

    n_coefficients: int
    dtype: tf.DType

    @abstractmethod
    def adjoint(self, y: tf.Tensor) -> tf.Tensor:
        """W^H y: (batch, M) -> (batch, N)."""

    @abstractmethod
    def gram(self, x: tf.Tensor) -> tf.Tensor:
        """W^H Phi x: (batch, N) -> (batch, N)."""

    def squared_norm(self, n_iterations: int = POWER_ITERATIONS) -> tf.Tensor:
        """The largest eigenvalue of W^H Phi, as LinearOperator.squared_norm finds it: a number."""
        x = tf.cast(tf.constant(power_start(self.n_coefficients).numpy()), self.dtype)[tf.newaxis]

        def step(x: tf.Tensor, norm: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            x = self.gram(x / tf.cast(norm, self.dtype))
            return x, tf.sqrt(xp.sum(xp.abs2(x)))

        start = (x, tf.ones([], self.dtype.real_dtype))
        return tf.while_loop(lambda x, norm: True, step, start, maximum_iterations=n_iterations)[1]


class PartialDFT(Operator):
    """Phi[m, n] = exp(-2 pi i k_m n / length) / sqrt(M), as chanest.PartialDFT.

    Args:
        subcarriers: (M,) int64, k_m counted from DC; distinct.
        n_taps: N; a tensor where the graph knows it late, and then there is no ``gram``.
        first: delay of the first column, in steps from tap to tap.
        length: DFT length over the spacing of the taps; a tensor where N is one.
        dtype: tf.complex64 or tf.complex128.
        window_told: whether the channel is known to lie at these delays.
    """

    def __init__(
        self,
        subcarriers: tf.Tensor,
        n_taps: Array,
        first: Array,
        length: Array,
        dtype: tf.DType,
        window_told: bool = False,
    ) -> None:
        self.subcarriers, self.window_told = subcarriers, window_told
        self.bins = tf.math.floormod(subcarriers, tf.cast(length, subcarriers.dtype))
        self.n_coefficients, self.batch_shape = n_taps, ()
        self.first, self.length, self.dtype = first, length, dtype
        self.n_pilots = tf.size(self.bins)
        self.n_measurements = tf.cast(self.n_pilots, dtype.real_dtype)
        self._unit_phase = self._unit(-self.bins * tf.cast(first, self.bins.dtype))
        self._phase = self._unit_phase / tf.cast(tf.sqrt(self.n_measurements), dtype)
        self._pilot_of_bin = self._inverse_of_bins()
        self._circulant: Any = None if tf.is_tensor(n_taps) else self._toeplitz_eigenvalues()

    def to(self, dtype: tf.DType) -> "PartialDFT":
        """The same operator in another precision."""
        return PartialDFT(self.subcarriers, self.n_coefficients, self.first, self.length, dtype, self.window_told)

    def coarser(self, ratio: int) -> "PartialDFT":
        """The same pilots over delays ``ratio`` times as far apart, from the same first one."""
        n, first, length = (part // ratio for part in (self.n_coefficients, self.first, self.length))
        return PartialDFT(self.subcarriers, n, first, length, self.dtype, self.window_told)

    @property
    def per_cell(self) -> tf.Tensor:
        """Spacing of the taps over what the pilots resolve, float64."""
        span = tf.reduce_max(self.subcarriers) - tf.reduce_min(self.subcarriers) + 1
        return tf.cast(span, tf.float64) / tf.cast(self.length, tf.float64)

    def turned(self, y: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        """y, (batch, M), as if the channels came earlier by some steps, (batch,) int64."""
        return y * self._unit(self.bins * steps[:, tf.newaxis])

    def forward(self, x: tf.Tensor) -> tf.Tensor:
        """Phi x: (batch, N) -> (batch, M)."""
        return tf.gather(self._spectrum(x), self.bins, axis=-1) * self._phase

    def adjoint(self, y: tf.Tensor) -> tf.Tensor:
        y = y * tf.math.conj(self._phase)
        with_nothing = tf.concat([y, tf.zeros_like(y[:, :1])], -1)
        return self._taps(tf.gather(with_nothing, self._pilot_of_bin, axis=-1))

    def gram(self, x: tf.Tensor) -> tf.Tensor:
        padded = tf.pad(x, [[0, 0], [0, self._circulant.shape[0] - self.n_coefficients]])
        return tf.signal.ifft(tf.signal.fft(padded) * self._circulant)[:, : self.n_coefficients]

    def covariance(self, g: tf.Tensor) -> tf.Tensor:
        """Phi diag(g) Phi^H for real g: (..., N) -> (..., M, M)."""
        return self.cross_covariance(self, g)

    def cross_covariance(self, other: "PartialDFT", g: tf.Tensor) -> tf.Tensor:
        """Phi diag(g) Phi'^H for real g and other subcarriers: (..., M, M')."""
        spectrum = self._spectrum(tf.cast(g, self.dtype))
        lag = self._phase[:, tf.newaxis] * tf.math.conj(other._phase)
        return tf.gather(spectrum, self._differences(other), axis=-1) * lag

    def quadratic_diagonal(self, c: tf.Tensor) -> tf.Tensor:
        """diag(Phi^H C Phi), real, for Hermitian C: (batch, M, M) -> (batch, N)."""
        lag = tf.math.conj(self._unit_phase)[:, tf.newaxis] * self._unit_phase
        entries, index = tf.reshape(c * lag, [tf.shape(c)[0], -1]), tf.reshape(self._differences(self), [-1])
        grid = tf.transpose(tf.math.unsorted_segment_sum(tf.transpose(entries), index, self.length))
        return tf.math.real(self._taps(grid)) / self.n_measurements

    # the pieces -------------------------------------------------------------------------------------------

    def _spectrum(self, x: tf.Tensor) -> tf.Tensor:
        return tf.signal.fft(tf.pad(x, [[0, 0]] * (x.shape.rank - 1) + [[0, self.length - self.n_coefficients]]))

    def _taps(self, grid: tf.Tensor) -> tf.Tensor:
        """The first N outputs of the unnormalised inverse DFT: (batch, length) -> (batch, N)."""
        return tf.signal.ifft(grid)[:, : self.n_coefficients] * tf.cast(self.length, grid.dtype)

    def _inverse_of_bins(self) -> tf.Tensor:
        """(length,): which pilot lies on a bin, M where none does. A gather by it is a scatter of the pilots."""
        return tf.tensor_scatter_nd_update(
            tf.fill([self.length], self.n_pilots), self.bins[:, tf.newaxis], tf.range(self.n_pilots)
        )

    def _differences(self, other: "PartialDFT") -> tf.Tensor:
        """(M, M'): (k_m - k'_m') mod length."""
        return tf.math.floormod(self.bins[:, tf.newaxis] - other.bins, tf.cast(self.length, self.bins.dtype))

    def _toeplitz_eigenvalues(self) -> tf.Tensor:
        """Eigenvalues of a circulant matrix whose corner is Phi^H Phi; see chanest.PartialDFT."""
        n, length = self.n_coefficients, next_fast_len(2 * self.n_coefficients - 1)
        per_pilot = tf.ones([self.n_pilots], tf.float64) * self.length / tf.cast(self.n_pilots, tf.float64)
        per_bin = tf.scatter_nd(self.bins[:, tf.newaxis], per_pilot, tf.constant([self.length], self.bins.dtype))
        if length >= self.length:
            return tf.cast(per_bin, self.dtype)
        t = tf.signal.ifft(tf.cast(per_bin, tf.complex128))
        gap = tf.zeros([length - 2 * n + 1], tf.complex128)
        column = tf.concat([t[:n], gap, tf.reverse(tf.math.conj(t[1:n]), [0])], 0)
        return tf.cast(tf.math.real(tf.signal.fft(column)), self.dtype)

    def _unit(self, turns: tf.Tensor) -> tf.Tensor:
        """exp(2 pi i turns / length) for integer turns, reduced first so that large products stay exact."""
        length = tf.cast(self.length, turns.dtype)
        angle = 2 * math.pi * tf.cast(tf.math.floormod(turns, length), tf.float64) / tf.cast(length, tf.float64)
        return tf.cast(tf.complex(tf.cos(angle), tf.sin(angle)), self.dtype)


class AnalyticWeights(Operator):
    """W = A^-1 Phi, column-scaled to W_i^H Phi_i = 1, as chanest.operators.AnalyticWeights.

    A^-1 by a Cholesky factor, since XLA knows no inverse: A = Phi Phi^H + ridge is positive definite.
    """

    def __init__(self, phi: PartialDFT, ridge: float) -> None:
        self.phi, self.n_coefficients, self.dtype = phi, phi.n_coefficients, phi.dtype
        a = phi.to(tf.complex128).covariance(tf.ones([1, phi.n_coefficients], tf.float64))
        load = ridge * tf.reduce_mean(tf.math.real(tf.linalg.diag_part(a)), -1)
        identity = tf.eye(phi.n_pilots, dtype=tf.complex128)
        loaded = a + tf.cast(load, a.dtype)[:, tf.newaxis, tf.newaxis] * identity
        inverse = tf.linalg.cholesky_solve(tf.linalg.cholesky(loaded), identity[tf.newaxis])
        self.inverse = tf.cast((inverse + tf.linalg.adjoint(inverse)) / 2, phi.dtype)
        self.scale = tf.cast(1 / phi.quadratic_diagonal(self.inverse), phi.dtype)

    def adjoint(self, y: tf.Tensor) -> tf.Tensor:
        return self.scale * self.phi.adjoint(tf.linalg.matmul(y, self.inverse[0], transpose_b=True))

    def gram(self, x: tf.Tensor) -> tf.Tensor:
        return self.adjoint(self.phi.forward(x))
