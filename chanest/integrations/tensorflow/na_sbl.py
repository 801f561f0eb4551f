"""NA-SBL: the loop of chanest.algorithms.na_sbl in TensorFlow, its features and its calibration."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ...algorithms.error_calibration import SPREAD, TINY, WEAK
from ...algorithms.na_sbl import LARGEST, LARGEST_EXPONENT, LOG_SCALE, SMALLEST
from .gaussian import (
    cholesky,
    covariance,
    crowding,
    inverse,
    noise_level,
    posterior_variance,
)
from .operators import PartialDFT, power
from .parts import Posterior, Recovery, TensorFlowAlgorithm, logit


class Moments(NamedTuple):
    """What a Gaussian posterior says of every tap; as chanest.algorithms.sbl.Moments."""

    mean: tf.Tensor
    q: tf.Tensor
    d: tf.Tensor
    fit: tf.Tensor
    noise: tf.Tensor


def moments(y: tf.Tensor, phi: PartialDFT, g: tf.Tensor, s: tf.Tensor) -> Moments:
    """In double precision from C to q and d, then in that of y."""
    exact, y_exact, s_exact = phi.to(tf.complex128), tf.cast(y, tf.complex128), tf.cast(s, tf.float64)
    c_inverse = inverse(covariance(exact, g, s))
    w = tf.linalg.matvec(c_inverse, y_exact)
    q, d = exact.adjoint(w), exact.quadratic_diagonal(c_inverse)
    trace = tf.reduce_mean(tf.math.real(tf.linalg.diag_part(c_inverse)), -1)
    misfit = tf.reduce_mean(power(w), -1)
    noise = s_exact * (1 + s_exact * (misfit - trace))
    fit = tf.reduce_mean(tf.math.real(tf.math.conj(y_exact) * w), -1)
    q = tf.cast(q, y.dtype)
    return Moments(tf.cast(g, y.dtype) * q, q, *(tf.cast(part, g.dtype) for part in (d, fit, noise)))


def posterior_mean(y: tf.Tensor, phi: PartialDFT, g: tf.Tensor, s: tf.Tensor) -> tf.Tensor:
    """mu = g Phi^H C^-1 y by one factorisation: the last iteration needs no more."""
    exact = phi.to(tf.complex128)
    factor = cholesky(covariance(exact, g, s))
    w = tf.linalg.cholesky_solve(factor, tf.cast(y, tf.complex128)[..., tf.newaxis])[..., 0]
    return tf.cast(g, y.dtype) * tf.cast(exact.adjoint(w), y.dtype)


class NASBL(TensorFlowAlgorithm):
    """g <- (|mu|^2 + g (1 - g d)) exp(2 f_k(features)): EM, corrected tap by tap by a perceptron per iteration."""

    def __call__(self, y: tf.Tensor, phi: PartialDFT, noise_variance: tf.Tensor | None) -> Recovery:
        if noise_variance is None:
            _, noise_variance = self._infer(y, phi, None)
        g, s = self._infer(y, phi, noise_variance)
        return Recovery(posterior_mean(y, phi, g, s), Posterior(g, s))

    def _infer(self, y: tf.Tensor, phi: PartialDFT, noise_variance: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """g and s after K - 1 updates, with the noise variance told or not."""
        known = noise_variance is not None
        s = noise_level(y, phi, noise_variance)
        p = self._prior(phi, s.dtype)
        g = tf.repeat(p[tf.newaxis], tf.shape(y)[0], 0)
        crowded = crowding(phi, p)
        for k in range(self.hyperparameters["n_iterations"] - 1):
            m = moments(y, phi, g, s)
            taps, noise = _features(m, g, s, p, phi, known, crowded)
            em = power(m.mean) + g * tf.maximum(1 - g * m.d, 0)
            factor = _factor(self.perceptron(f"tap_rules.{k}", _beside_neighbours(taps)))
            g = tf.clip_by_value(em * factor, SMALLEST, LARGEST)
            s = (s if known else m.noise) * _factor(self.perceptron(f"noise_rules.{k}", noise))
            s = noise_level(y, phi, s)
        return g, s

    def _prior(self, phi: PartialDFT, dtype: tf.DType) -> tf.Tensor:
        """(N,): the prior variances, of sum 1."""
        p = np.exp(-self.hyperparameters["decay"] * np.arange(phi.n_taps) / phi.n_taps)
        return tf.constant(p / p.sum(), dtype)

    def error_variance(
        self, found: Recovery, y: tf.Tensor, phi: PartialDFT, band: PartialDFT, noise_variance: tf.Tensor | None
    ) -> tf.Tensor:
        """PosteriorCalibration: the posterior's variance of every subcarrier, corrected by a perceptron."""
        assert found.posterior is not None
        g, s = found.posterior
        noise = s * phi.n_measurements
        total = tf.reduce_sum(g, -1)
        base = tf.math.log(tf.maximum(posterior_variance(phi, band, g, s), TINY))
        base = tf.maximum(base, tf.math.log(tf.maximum(1e-7 * total, TINY))[:, tf.newaxis])
        r = y - phi.forward(found.x)
        weak = tf.where(g < WEAK * total[:, tf.newaxis], g, 0)
        shared = (
            noise,
            tf.reduce_sum(tf.math.real(tf.math.conj(y) * r), -1) / noise,
            tf.reduce_sum(power(r), -1) / noise,
            tf.square(total) / tf.maximum(tf.reduce_sum(tf.square(g), -1), TINY),
            tf.reduce_sum(weak, -1) / noise,
        )
        own = (base - tf.math.log(noise)[:, tf.newaxis], base - tf.math.log(tf.maximum(total, TINY))[:, tf.newaxis])
        of_all = [tf.math.log(tf.maximum(f, 1e-6)) / LOG_SCALE for f in shared]
        of_all.append(tf.math.log(tf.maximum(tf.reduce_max(g, -1) / tf.maximum(total, TINY), 1e-6)))
        crowded = crowding(phi, tf.ones([phi.n_taps], g.dtype))
        told = tf.constant(float(noise_variance is not None), g.dtype)
        of_all += [tf.fill(tf.shape(s), value) for value in (tf.math.log(phi.n_measurements / 75), told, crowded)]
        everyone = tf.repeat(tf.stack(of_all, -1)[:, tf.newaxis], band.n_pilots, 1)
        features = tf.concat([tf.stack(own, -1) / LOG_SCALE, everyone], -1)
        log_variance = base + self.perceptron("calibration", features)
        mean = tf.math.log(tf.reduce_mean(tf.exp(log_variance), -1, keepdims=True))
        return tf.exp(mean + SPREAD * (log_variance - mean))


def _features(
    m: Moments, g: tf.Tensor, s: tf.Tensor, p: tf.Tensor, phi: PartialDFT, known: bool, crowded: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """What the two perceptrons read: (batch, N, 12) and (batch, 7)."""
    tiny = np.finfo(g.dtype.as_numpy_dtype).tiny
    d = tf.maximum(m.d, tiny)
    log_g, log_d, log_p = tf.math.log(g), tf.math.log(d), tf.math.log(p)
    log_q = tf.math.log(tf.maximum(power(m.q), tiny))
    of_taps = (
        log_q + 2 * log_g - log_p,
        logit(tf.clip_by_value(g * d, 1e-6, 1 - 1e-6)),
        log_g - log_p,
        log_p - tf.math.log(s)[:, tf.newaxis],
        log_q - log_d,
    )
    explained = tf.reduce_sum(g * m.d, -1) / phi.n_measurements
    shared = (
        tf.math.log(tf.maximum(m.fit, tiny)) / LOG_SCALE,
        tf.math.log(tf.maximum(m.noise, tiny) / s) / LOG_SCALE,
        tf.fill(tf.shape(s), tf.math.log(phi.n_measurements / 75)),
        tf.fill(tf.shape(s), tf.constant(float(known), s.dtype)),
        logit(tf.clip_by_value(explained, 1e-4, 1 - 1e-4)) / LOG_SCALE,
        tf.fill(tf.shape(s), crowded),
    )
    place = tf.zeros_like(g) + tf.constant(np.linspace(-1, 1, g.shape[-1]), g.dtype)
    own = tf.stack([*(f / LOG_SCALE for f in of_taps), place], -1)
    of_all = tf.stack(shared, -1)
    taps = tf.concat([own, tf.repeat(of_all[:, tf.newaxis], g.shape[-1], 1)], -1)
    level = tf.math.log(phi.n_measurements * s) / LOG_SCALE
    return taps, tf.concat([of_all, level[:, tf.newaxis]], -1)


def _factor(f: tf.Tensor) -> tf.Tensor:
    """exp(2 f), kept where float32 stays finite."""
    return tf.exp(tf.clip_by_value(2 * f, -LARGEST_EXPONENT, LARGEST_EXPONENT))


def _beside_neighbours(features: tf.Tensor) -> tf.Tensor:
    """(batch, N, F) -> (batch, N, 3F): the tap before, this one, the next; zeros beyond the ends."""
    padded = tf.pad(features, [[0, 0], [1, 1], [0, 0]])
    return tf.concat([padded[:, :-2], features, padded[:, 2:]], -1)
