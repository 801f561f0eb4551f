"""Gaussian posteriors for given tap variances: chanest.algorithms.gaussian, in double precision.

TensorFlow's Cholesky factorisation stops the program where PyTorch's reports failure, and has nothing to try
again with. So everything that is factorised is built and factorised in double precision, where the loading of
1e-5 keeps it positive whatever the rounding.
"""

import numpy as np
import tensorflow as tf

from ...algorithms import noise
from ...algorithms.gaussian import CHUNK
from ...operators.cholesky import diagonal_load
from . import namespace as xp
from .operators import PartialDFT
from .parts import in_chunks


def covariance(phi: PartialDFT, g: tf.Tensor, noise_variance: tf.Tensor, loaded: bool = True) -> tf.Tensor:
    """C = Phi diag(g) Phi^H + (s + 1e-5 sum(g) / M) I: (batch, M, M) complex128; phi in double precision too.

    The noise variance is (batch,), or (batch, M) of each pilot; without the load where not ``loaded``.
    """
    g, s = xp.double(g), xp.double(noise_variance)
    s = s if s.shape.rank == 2 else s[:, tf.newaxis]
    c = phi.covariance(g)
    load = diagonal_load(xp.sum(g, -1)[:, tf.newaxis], s, phi.n_measurements) if loaded else s
    return tf.linalg.set_diag(c, xp.diagonal(c) + tf.cast(load, c.dtype))


def cholesky(c: tf.Tensor) -> tf.Tensor:
    """Lower Cholesky factors; NaN or Inf in a matrix gives NaN in its factor."""
    sound = tf.reduce_all(tf.math.is_finite(xp.abs2(c)), [-2, -1], keepdims=True)
    factor = tf.linalg.cholesky(tf.where(sound, c, tf.eye(tf.shape(c)[-1], dtype=c.dtype)))
    return tf.where(sound, factor, tf.constant(np.nan, c.dtype))


def inverse(c: tf.Tensor) -> tf.Tensor:
    """C^-1 of Hermitian positive definite matrices."""
    return tf.linalg.cholesky_solve(cholesky(c), tf.eye(tf.shape(c)[-1], batch_shape=tf.shape(c)[:-2], dtype=c.dtype))


def posterior_variance(
    phi: PartialDFT, band: PartialDFT, g: tf.Tensor, noise_variance: tf.Tensor, loaded: bool = True
) -> tf.Tensor:
    """Variance of sqrt(M') (Phi' x) given y, as chanest.algorithms.gaussian has it: (batch, M') real.

    In chunks of the batch, to bound the memory; M' is known before the graph runs.
    """
    exact, other = phi.to(tf.complex128), band.to(tf.complex128)

    def of_chunk(g_part: tf.Tensor, s_part: tf.Tensor) -> tuple[tf.Tensor, ...]:
        g_part = xp.double(g_part)
        factor = cholesky(covariance(exact, g_part, s_part, loaded))
        v = exact.cross_covariance(other, g_part)
        explained = xp.sum(xp.abs2(tf.linalg.triangular_solve(factor, v)), -2)
        return (tf.cast(xp.clip(xp.sum(g_part, -1)[:, tf.newaxis] - other.n_measurements * explained, 0), g.dtype),)

    (variance,) = in_chunks(of_chunk, CHUNK, (g, noise_variance), (g.dtype,))
    return tf.ensure_shape(variance, [None, band.bins.shape[0]])


def noise_level(y: tf.Tensor, phi: PartialDFT, noise_variance: tf.Tensor | None) -> tf.Tensor:
    """The noise variance of an entry of y, told or estimated, within the limits of chanest: (batch,)."""
    if noise_variance is None:
        noise_variance = noise.estimate_noise(xp.double(y), phi.to(tf.complex128), xp)
    return noise.noise_level(y, phi, noise_variance, xp)
