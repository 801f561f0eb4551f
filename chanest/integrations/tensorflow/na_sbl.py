"""NA-SBL in TensorFlow: moments and the loop; rules and calibration are those of chanest.algorithms."""

import tensorflow as tf

from ...algorithms.error_calibration import CORRECTIONS, nearer_to_the_mean, posterior_base, posterior_features
from ...algorithms.gaussian import log_rank_deficit
from ...algorithms.na_sbl_rules import beside_neighbours, factor, features, prior, updated
from ...algorithms.results import Posterior, Recovery
from ...operators import Moments
from . import namespace as xp
from .gaussian import cholesky, covariance, inverse, noise_level, posterior_variance
from .operators import PartialDFT
from .parts import TensorFlowAlgorithm


def moments(y: tf.Tensor, phi: PartialDFT, g: tf.Tensor, s: tf.Tensor) -> Moments:
    """In double precision from C to q and d, then in that of y."""
    exact, y_exact, s_exact = phi.to(tf.complex128), xp.double(y), xp.double(s)
    c_inverse = inverse(covariance(exact, g, s))
    w = tf.linalg.matvec(c_inverse, y_exact)
    q, d = exact.adjoint(w), exact.quadratic_diagonal(c_inverse)
    trace = tf.reduce_mean(xp.real(xp.diagonal(c_inverse)), -1)
    noise = s_exact * (1 + s_exact * (tf.reduce_mean(xp.abs2(w), -1) - trace))
    fit = tf.reduce_mean(xp.real(xp.conj(y_exact) * w), -1)
    q = tf.cast(q, y.dtype)
    return Moments(tf.cast(g, y.dtype) * q, q, *(tf.cast(part, g.dtype) for part in (d, fit, noise)))


def posterior_mean(y: tf.Tensor, phi: PartialDFT, g: tf.Tensor, s: tf.Tensor) -> tf.Tensor:
    """mu = g Phi^H C^-1 y by one factorisation: the last iteration needs no more."""
    exact = phi.to(tf.complex128)
    w = tf.linalg.cholesky_solve(cholesky(covariance(exact, g, s)), xp.double(y)[..., tf.newaxis])[..., 0]
    return tf.cast(g, y.dtype) * tf.cast(exact.adjoint(w), y.dtype)


class NASBL(TensorFlowAlgorithm):
    """g <- (|mu|^2 + g (1 - g d)) exp(2 f_k(features)): EM, corrected tap by tap by a perceptron per iteration."""

    def __call__(self, y: tf.Tensor, phi: PartialDFT, noise_variance: tf.Tensor | None) -> Recovery:
        if noise_variance is None:
            _, noise_variance = self._infer(y, phi, None)
        g, s = self._infer(y, phi, noise_variance)
        return Recovery(posterior_mean(y, phi, g, s), posterior=Posterior(g, s))

    def _infer(self, y: tf.Tensor, phi: PartialDFT, noise_variance: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """g and s after K - 1 updates, with the noise variance told or not."""
        known = noise_variance is not None
        s = noise_level(y, phi, noise_variance)
        p = prior(phi.n_coefficients, self.hyperparameters["decay"], s, xp)
        g = tf.repeat(p[tf.newaxis], tf.shape(y)[0], 0)
        deficit = log_rank_deficit(phi, p, xp)
        for k in range(self.hyperparameters["n_iterations"] - 1):
            m = moments(y, phi, g, s)
            taps, noise = features(m, g, s, p, phi.n_measurements, known, deficit, xp)
            g = updated(m, g, self.perceptron(f"tap_rules.{k}", beside_neighbours(taps, xp)), xp)
            s = noise_level(y, phi, (s if known else m.noise) * factor(self.perceptron(f"noise_rules.{k}", noise), xp))
        return g, s

    def error_variance(
        self, found: Recovery, y: tf.Tensor, phi: PartialDFT, band: PartialDFT, noise_variance: tf.Tensor | None
    ) -> tf.Tensor:
        """PosteriorCalibration: the posterior's variance of every subcarrier, corrected by a perceptron."""
        assert found.posterior is not None
        g, s = found.posterior.variances, found.posterior.noise_variance
        base = posterior_base(posterior_variance(phi, band, g, s), g, xp)
        deficit = log_rank_deficit(phi, tf.ones([phi.n_coefficients], g.dtype), xp)
        known, r = noise_variance is not None, y - phi.forward(found.x)
        read = posterior_features(base, y, r, g, s, phi.n_measurements, known, deficit, xp)
        correction = xp.clip(self.perceptron("calibration", read), *CORRECTIONS)
        return tf.exp(nearer_to_the_mean(base + correction, xp))
