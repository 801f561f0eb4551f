"""NA-SBL for any receiver in TensorFlow: moments and the loop; rules and calibration are those of chanest.algorithms.

Of single snapshots of one layer.
"""

from dataclasses import fields, replace

import tensorflow as tf

from ...algorithms import na_sbl_circle_rules as rules
from ...algorithms.error_calibration import CORRECTIONS, joint_base, joint_features
from ...algorithms.gaussian import CHUNK, log_rank_deficit
from ...algorithms.na_sbl_circle_rules import COARSE_NEIGHBOURS, FINE_NEIGHBOURS, RATIO, Setting, State
from ...algorithms.results import JointPosterior, Recovery
from ...operators import JointMoments
from . import namespace as xp
from .gaussian import cholesky, covariance, inverse, posterior_variance
from .operators import PartialDFT
from .parts import TensorFlowAlgorithm, in_chunks


class CircleNASBL(TensorFlowAlgorithm):
    """g <- (g^2 |q|^2 + g (1 - g d)) exp(2 f_k(features)), on a coarse grid of delays, then on the operator's own.

    Every tap of the fine grid is computed, and those that are dead stay 0: the shapes do not depend on the data.
    """

    def __call__(self, y: tf.Tensor, phi: PartialDFT, noise_variance: tf.Tensor | None) -> Recovery:
        def of_chunk(*rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
            own, told = rows[0], None if noise_variance is None else tf.repeat(rows[1], tf.shape(y)[-1], -1)
            state = self._infer(own, phi, told)
            return state.g, state.noise, state.s[:, tf.newaxis], _posterior_mean(own, phi, state)

        given = (y,) if noise_variance is None else (y, noise_variance[:, tf.newaxis])
        real = y.dtype.real_dtype
        g, noise, s, x = in_chunks(of_chunk, CHUNK, given, (real, real, real, y.dtype))
        if not tf.is_tensor(phi.n_coefficients):
            g, x = (tf.ensure_shape(part, [None, phi.n_coefficients]) for part in (g, x))
        return Recovery(x, posterior=JointPosterior(g, noise, level=s[:, 0]))

    def error_variance(
        self, found: Recovery, y: tf.Tensor, phi: PartialDFT, band: PartialDFT, noise_variance: tf.Tensor | None
    ) -> tf.Tensor:
        """JointCalibration: the posterior's variance of every subcarrier, corrected by a perceptron."""
        assert found.posterior is not None
        g, noise = found.posterior.variances, found.posterior.noise_variance
        variance = posterior_variance(phi, band, xp.double(g), xp.double(noise), loaded=False)
        base = joint_base(variance[:, tf.newaxis], noise, xp)
        left = (y - phi.forward(found.x))[:, tf.newaxis]
        cells = tf.cast(phi.n_coefficients, tf.float64) * phi.per_cell
        read = joint_features(
            *(base, y[:, tf.newaxis], left, g, noise, xp.double(phi.n_measurements), cells),
            *(noise_variance is not None, 1, xp),
        )
        correction = xp.clip(self.perceptron("calibration", read), *CORRECTIONS)
        corrected = tf.exp(tf.cast(base + correction, y.dtype.real_dtype))
        return corrected[:, 0]

    def coarsely(self, y: tf.Tensor, phi: PartialDFT, noise_variance: tf.Tensor | None) -> State:
        """Where the iterations on the coarse grid of delays end."""
        coarse, known = phi.coarser(RATIO), noise_variance is not None

        def of_chunk(*rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
            told = tf.repeat(rows[1], tf.shape(y)[-1], -1) if known else None
            start = rules.start(xp.abs2(rows[0]), told, None, phi.n_measurements, coarse.n_coefficients, 1, xp)
            state = self._updated(self._coarse_steps, rows[0], coarse, start, known)
            return state.g, state.s[:, tf.newaxis], state.outlier, state.relative

        given = (y,) if noise_variance is None else (y, noise_variance[:, tf.newaxis])
        g, s, outlier, relative = in_chunks(of_chunk, CHUNK, given, (y.dtype.real_dtype,) * 4)
        return State(g, s[:, 0], outlier, relative)

    def _infer(self, y: tf.Tensor, phi: PartialDFT, told: tf.Tensor | None) -> State:
        coarse, known = phi.coarser(RATIO), told is not None
        start = rules.start(xp.abs2(y), told, None, phi.n_measurements, coarse.n_coefficients, 1, xp)
        if not known:  # the level first, from the coarse grid
            found = self._updated(self._coarse_steps, y, coarse, start, False)
            start = replace(start, s=found.s, outlier=found.outlier)
        state = self._run(y, phi, coarse, start, known)
        again = tf.reduce_max(state.outlier, -1) > rules.OUTLYING

        def once_more() -> tuple[tf.Tensor, ...]:
            # jammers found late have misled the taps: once more, knowing them from the start
            informed = replace(start, s=start.s if known else state.s, outlier=state.outlier)
            return _parts(self._run(y, phi, coarse, informed, known))

        pairs = zip(tf.cond(tf.reduce_any(again), once_more, lambda: _parts(state)), _parts(state), strict=True)
        return State(*(_chosen(again, new, old) for new, old in pairs))

    @property
    def _coarse_steps(self) -> range:
        return range(self.hyperparameters["n_coarse"])

    def _run(self, y: tf.Tensor, phi: PartialDFT, coarse: PartialDFT, start: State, known: bool) -> State:
        state = self._updated(self._coarse_steps, y, coarse, start, known)
        state = replace(state, g=rules.refined(state, 1, xp=xp))
        later = range(self.hyperparameters["n_coarse"], self.hyperparameters["n_iterations"] - 1)
        return self._updated(later, y, phi, state, known)

    def _updated(self, which: range, y: tf.Tensor, phi: PartialDFT, state: State, known: bool) -> State:
        deficit = log_rank_deficit(phi, tf.ones([phi.n_coefficients], y.dtype.real_dtype), xp)
        per_cell = tf.cast(phi.per_cell, y.dtype.real_dtype)
        setting = Setting(phi.n_measurements, phi.n_coefficients, 1, 1, per_cell, phi.window_told, known, deficit)
        place = rules.places(phi.n_coefficients, setting, state.g, xp)[:, tf.newaxis]
        for k in which:
            m = moments(y, phi, state.g, state.noise)
            found = rules.read(m, state, setting, xp)
            s = rules.new_level(found, state, setting, self.perceptron(f"noise_rules.{k}", found.shared), xp)
            f = self.perceptron(f"pilot_rules.{k}", found.pilots)
            outlier = rules.new_outliers(found, m, state, setting, s, f, xp)
            outlier = rules.unless_calm(outlier, state.outlier, phi.n_measurements, xp)
            coarse = k in self._coarse_steps
            beside = rules.beside(found.taps, COARSE_NEIGHBOURS if coarse else FINE_NEIGHBOURS, xp)
            everywhere = tf.repeat(place[tf.newaxis], tf.shape(y)[0], 0)
            read = tf.concat([beside, everywhere, xp.rows(found.shared, phi.n_coefficients)], -1)
            f, em = self.perceptron(f"tap_rules.{k}", read), rules.em_variances(m, state.g, xp)
            if coarse:
                g = rules.coarse_variances(em, f, setting, xp)
            else:
                g = rules.fine_variances(em, found.kappa[:, tf.newaxis], f, xp)
            state = State(g, s, outlier, state.relative)
        return state


def moments(y: tf.Tensor, phi: PartialDFT, g: tf.Tensor, noise: tf.Tensor) -> JointMoments:
    """In double precision up to the moments, then in that of y."""
    exact, y_exact = phi.to(tf.complex128), xp.double(y)
    c_inverse = inverse(covariance(exact, g, noise))
    w = tf.linalg.matvec(c_inverse, y_exact)
    q2, d = xp.abs2(exact.adjoint(w)), exact.quadratic_diagonal(c_inverse)
    fit = tf.reduce_mean(xp.real(xp.conj(y_exact) * w), -1)
    made = (q2, d, fit, xp.abs2(w), xp.real(xp.diagonal(c_inverse)))
    return JointMoments(*(tf.cast(part, g.dtype) for part in made))


def _posterior_mean(y: tf.Tensor, phi: PartialDFT, state: State) -> tf.Tensor:
    """g Phi^H C^-1 y by one factorisation."""
    exact = phi.to(tf.complex128)
    factor = cholesky(covariance(exact, state.g, state.noise))
    w = tf.linalg.cholesky_solve(factor, xp.double(y)[..., tf.newaxis])[..., 0]
    return tf.cast(state.g, y.dtype) * tf.cast(exact.adjoint(w), y.dtype)


def _parts(state: State) -> tuple[tf.Tensor, ...]:
    return tuple(getattr(state, f.name) for f in fields(state))


def _chosen(rows: tf.Tensor, new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
    return tf.where(rows if old.shape.rank == 1 else rows[:, tf.newaxis], new, old)
