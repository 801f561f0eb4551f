"""ALISTA and NA-ALISTA: the loops of chanest.algorithms in TensorFlow."""

import tensorflow as tf

from ...algorithms.error_calibration import residual_base, residual_features
from ...algorithms.na_alista_rules import log_norms, steps_and_thresholds
from ...algorithms.results import Recovery
from ...algorithms.shrinkage import shrinking_gain, support_schedule
from . import namespace as xp
from .gaussian import noise_level
from .operators import AnalyticWeights, Operator, PartialDFT
from .parts import TensorFlowAlgorithm


def soft_threshold(x: tf.Tensor, threshold: tf.Tensor, n_exempt: int) -> tf.Tensor:
    """Shrink the modulus, keep the phase; exactly ``n_exempt`` entries of largest modulus pass unshrunk."""
    modulus = tf.abs(x)
    gain = shrinking_gain(modulus, threshold, xp)
    if n_exempt > 0:
        largest = tf.math.top_k(modulus, min(n_exempt, x.shape[-1]), sorted=False).indices
        exempt = tf.reduce_any(tf.one_hot(largest, x.shape[-1], on_value=True, off_value=False), -2)
        gain = tf.where(exempt, tf.ones_like(gain), gain)
    return tf.cast(gain, x.dtype) * x


class IterativeShrinkage(TensorFlowAlgorithm):
    """What ALISTA and NA-ALISTA share: W, the schedule of support selection, the calibration by residuals."""

    def weights(self, phi: PartialDFT) -> Operator:
        ridge = self.hyperparameters["ridge"]
        return AnalyticWeights(phi, ridge) if ridge > 0 else phi

    def exempt(self) -> tuple[int, ...]:
        h = self.hyperparameters
        return support_schedule(h["sparsity"], h["n_iterations"], h.get("schedule"))

    def error_variance(
        self, found: Recovery, y: tf.Tensor, phi: PartialDFT, band: PartialDFT, noise_variance: tf.Tensor | None
    ) -> tf.Tensor:
        """ResidualCalibration: one variance for all subcarriers."""
        base = residual_base(xp.sum(xp.abs2(y - phi.forward(found.x)), -1), xp)
        level = tf.math.log(noise_level(y, phi, noise_variance) * phi.n_measurements)
        read = residual_features(base, level, phi.n_measurements, xp)
        variance = tf.exp(base[:, tf.newaxis] + self.linear("calibration.linear", read))
        return tf.repeat(variance, band.n_pilots, axis=-1)


class ALISTA(IterativeShrinkage):
    """x <- eta_theta(x - gamma W^H (Phi x - y)), with learned gamma L and theta in each iteration."""

    def __call__(self, y: tf.Tensor, phi: PartialDFT, noise_variance: tf.Tensor | None) -> Recovery:
        w = self.weights(phi)
        norm = w.squared_norm()
        gamma = tf.exp(self.parameter("log_step_size", norm)) / norm
        theta = tf.exp(self.parameter("log_threshold", norm))
        z = w.adjoint(y)
        x = tf.zeros_like(z)
        for k, n_exempt in enumerate(self.exempt()):
            x = soft_threshold(x - tf.cast(gamma[k], x.dtype) * (w.gram(x) - z), theta[k], n_exempt)
        return Recovery(x)


class NAALISTA(IterativeShrinkage):
    """ALISTA whose gamma L and theta an LSTM chooses for each target from log ||Phi x - y||_1 and log ||W^H .||_1."""

    def __call__(self, y: tf.Tensor, phi: PartialDFT, noise_variance: tf.Tensor | None) -> Recovery:
        w = self.weights(phi)
        norm = w.squared_norm()
        z = w.adjoint(y)
        x = tf.zeros_like(z)
        inputs = self.hyperparameters["lstm_inputs"].split(",")
        n = tf.shape(y)[0]
        h, cell = (tf.repeat(self.parameter(f"initial_{s}", norm)[tf.newaxis], n, 0) for s in ("hidden", "cell"))
        for n_exempt in self.exempt():
            if "r" in inputs:
                b = phi.forward(x) - y
                c = w.adjoint(b)
            else:
                b, c = None, w.gram(x) - z
            h, cell = self._lstm(self._features({"r": b, "u": c}, inputs), h, cell)
            chosen = steps_and_thresholds(self.linear("head", tf.nn.relu(self.linear("hidden", cell))), xp)
            gamma, theta = (one[:, tf.newaxis] for one in chosen)
            x = soft_threshold(x - tf.cast(gamma / norm, x.dtype) * c, theta, n_exempt)
        return Recovery(x)

    def _features(self, read: dict[str, tf.Tensor], inputs: list[str]) -> tf.Tensor:
        """Logarithms of 1-norms, standardised: (batch, inputs)."""
        logs = log_norms(tf.stack([tf.reduce_sum(tf.abs(read[name]), -1) for name in inputs], -1), xp)
        return (logs - self.parameter("feature_mean", logs)) / self.parameter("feature_deviation", logs)

    def _lstm(self, features: tf.Tensor, h: tf.Tensor, cell: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One step of an LSTM cell; gates in the order input, forget, cell, output."""
        read, remembered = (
            tf.linalg.matmul(value, self.parameter(f"lstm.weight_{kind}", value), transpose_b=True)
            + self.parameter(f"lstm.bias_{kind}", value)
            for kind, value in (("ih", features), ("hh", h))
        )
        take, keep, new, show = tf.split(read + remembered, 4, axis=-1)
        cell = tf.sigmoid(keep) * cell + tf.sigmoid(take) * tf.tanh(new)
        return tf.sigmoid(show) * tf.tanh(cell), cell
