"""Gaussian posteriors for given tap variances, and the noise level: chanest.algorithms.gaussian and .noise.

TensorFlow's Cholesky factorisation stops the program where PyTorch's reports failure, and has nothing to try
again with. So everything that is factorised is built and factorised in double precision, where the loading of
1e-5 keeps it positive whatever the rounding.
"""

import numpy as np
import tensorflow as tf

from ...algorithms.gaussian import CHUNK, LOADING
from ...algorithms.noise import CEILING, DECAYS, FLOOR, GRID
from .operators import PartialDFT, power, real
from .parts import in_chunks


def covariance(phi: PartialDFT, g: tf.Tensor, noise_variance: tf.Tensor) -> tf.Tensor:
    """C = Phi diag(g) Phi^H + (s + 1e-5 sum(g) / M) I: (batch, M, M) complex128; phi in double precision too."""
    g, s = tf.cast(g, tf.float64), tf.cast(noise_variance, tf.float64)
    c = phi.covariance(g)
    load = s + LOADING * tf.reduce_sum(g, -1) / phi.n_measurements
    return tf.linalg.set_diag(c, tf.linalg.diag_part(c) + tf.cast(load, c.dtype)[:, tf.newaxis])


def cholesky(c: tf.Tensor) -> tf.Tensor:
    """Lower Cholesky factors; NaN or Inf in a matrix gives NaN in its factor."""
    sound = tf.reduce_all(tf.math.is_finite(power(c)), [-2, -1], keepdims=True)
    factor = tf.linalg.cholesky(tf.where(sound, c, tf.eye(tf.shape(c)[-1], dtype=c.dtype)))
    return tf.where(sound, factor, tf.constant(np.nan, c.dtype))


def inverse(c: tf.Tensor) -> tf.Tensor:
    """C^-1 of Hermitian positive definite matrices."""
    identity = tf.eye(tf.shape(c)[-1], batch_shape=tf.shape(c)[:-2], dtype=c.dtype)
    return tf.linalg.cholesky_solve(cholesky(c), identity)


def crowding(phi: PartialDFT, g: tf.Tensor) -> tf.Tensor:
    """log M ||C||^2 / tr(C)^2, C = Phi diag(g) Phi^H, for g (N,): a number."""
    c = phi.covariance(g[tf.newaxis])[0]
    trace = tf.reduce_sum(tf.math.real(tf.linalg.diag_part(c)))
    return tf.math.log(phi.n_measurements * tf.reduce_sum(power(c)) / tf.square(trace))


def posterior_variance(phi: PartialDFT, band: PartialDFT, g: tf.Tensor, noise_variance: tf.Tensor) -> tf.Tensor:
    """Variance of sqrt(M') (Phi' x) given y: p[k] = sum(g) - M' v_k^H C^-1 v_k, v_k = Phi diag(g) Phi'_k^H.

    In chunks of the batch, to bound the memory: (batch, M') real, not negative.
    """
    exact, other = phi.to(tf.complex128), band.to(tf.complex128)

    def of_chunk(g_part: tf.Tensor, s_part: tf.Tensor) -> tuple[tf.Tensor, ...]:
        g_part = tf.cast(g_part, tf.float64)
        factor = cholesky(covariance(exact, g_part, s_part))
        v = exact.cross_covariance(other, g_part)
        explained = tf.reduce_sum(power(tf.linalg.triangular_solve(factor, v)), -2)
        total = tf.reduce_sum(g_part, -1, keepdims=True)
        return (tf.cast(tf.maximum(total - other.n_measurements * explained, 0), g.dtype),)

    return in_chunks(of_chunk, CHUNK, (g, noise_variance), (g.dtype,))[0]


def noise_level(y: tf.Tensor, phi: PartialDFT, noise_variance: tf.Tensor | None) -> tf.Tensor:
    """The noise variance of an entry of y, told or estimated, within the limits of chanest: (batch,)."""
    m = phi.n_measurements
    s = estimate_noise(y, phi) if noise_variance is None else noise_variance
    return tf.clip_by_value(tf.cast(s, real(y.dtype)), FLOOR / m, CEILING / m)


def estimate_noise(y: tf.Tensor, phi: PartialDFT) -> tf.Tensor:
    """Posterior mean of the noise variance when the taps follow some exponential profile; see chanest: (batch,)."""
    phi, m = phi.to(tf.complex128), tf.cast(phi.n_measurements, tf.float64)
    n = np.arange(phi.n_taps)
    profiles = tf.constant(np.stack([np.exp(-n / c) for c in DECAYS]))
    share = tf.constant(GRID.numpy())
    eigenvalues, basis = tf.linalg.eigh(phi.covariance(profiles))
    eigenvalues = tf.math.real(eigenvalues)
    relative = tf.maximum(eigenvalues / tf.reduce_sum(eigenvalues, -1, keepdims=True), 0)
    c = (1 - share)[:, tf.newaxis] * relative[:, tf.newaxis] + share[:, tf.newaxis] / m  # (profile, grid, M)
    seen = power(tf.linalg.matmul(tf.cast(y, tf.complex128)[tf.newaxis], tf.math.conj(basis)))  # (profile, batch, M)
    fit = tf.linalg.matmul(seen, 1 / c, transpose_b=True)
    cost = tf.reduce_sum(tf.math.log(c), -1)[:, tf.newaxis] + fit  # (profile, batch, grid)
    weight = tf.exp(-cost - tf.reduce_max(-cost, [0, 2], keepdims=True))
    weight = tf.reduce_sum(weight, 0)
    mean = tf.linalg.matvec(weight, share) / tf.reduce_sum(weight, -1)
    return tf.cast(mean / m, real(y.dtype))
