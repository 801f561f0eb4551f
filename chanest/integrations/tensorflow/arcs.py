"""NA-SBL for any receiver on the circle of delays in TensorFlow: first an arc of it, as chanest.models.arcs."""

from typing import Any

import tensorflow as tf

from ...algorithms import na_sbl_circle_rules as rules
from ...algorithms.gaussian import CHUNK
from ...algorithms.na_sbl_circle_rules import RATIO
from ...algorithms.results import JointPosterior, Recovery
from ...models.arcs import LONGEST
from . import namespace as xp
from .na_sbl_circle import CircleNASBL, moments
from .operators import PartialDFT
from .parts import in_chunks


def worthwhile(phi: PartialDFT, arc: PartialDFT) -> Any:
    """Whether it pays to look at an arc: a bool where the pilots are known before the graph runs, else a tensor."""
    all_apart, short = phi.n_coefficients == phi.length, arc.n_coefficients / phi.n_coefficients <= LONGEST
    return tf.logical_and(all_apart, short) if tf.is_tensor(all_apart) else all_apart and short


def estimated(
    algorithm: CircleNASBL,
    y: tf.Tensor,
    operators: tuple[PartialDFT, PartialDFT],
    on_arc: tuple[PartialDFT, PartialDFT],
    noise_variance: tf.Tensor | None,
    error_variance: bool,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """x (batch, N) on the circle, and the variance of the error of the CFR (batch, n_used) where it is asked for.

    Args:
        algorithm, y, noise_variance: what estimates, and what from.
        operators: of the circle, to the pilots and to the band.
        on_arc: of the window that an arc is taken for.
        error_variance: whether it is asked for.
    """
    (phi, band), (arc, arc_band) = operators, on_arc
    state = algorithm.coarsely(y, phi, noise_variance)
    first, clear = rules.first_of_arc(state, arc.n_coefficients // RATIO, xp.double(phi.n_measurements), xp)
    clear = tf.logical_and(clear, worthwhile(phi, arc))
    index = tf.cast(first, tf.int64) * RATIO

    def nothing() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        rows = tf.shape(y)[0]
        variance = tf.zeros([rows, band.n_pilots if error_variance else 0], y.dtype.real_dtype)
        return tf.zeros([rows, phi.n_coefficients], y.dtype), variance, tf.zeros([rows], tf.bool)

    def of(found: Recovery, seen: tf.Tensor, phi: PartialDFT, band: PartialDFT) -> tf.Tensor:
        if not error_variance:
            return nothing()[1]
        return algorithm.error_variance(found, seen, phi, band, noise_variance)

    def turned() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        seen = phi.turned(y, index + tf.cast(phi.first, tf.int64))
        found = algorithm(seen, arc, noise_variance)
        x = _placed(found.x, index + tf.cast(arc.first, tf.int64), phi.n_coefficients)
        return x, of(found, seen, arc, arc_band), tf.logical_and(clear, tf.logical_not(_outside(seen, found, arc, phi)))

    def whole() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        found = algorithm(y, phi, noise_variance)
        return found.x, of(found, y, phi, band), clear

    x, variance, found = tf.cond(tf.reduce_any(clear), turned, nothing)
    others = tf.cond(tf.reduce_all(found), nothing, whole)
    x, variance = (tf.where(found[:, tf.newaxis], *pair) for pair in zip((x, variance), others[:2], strict=True))
    if not tf.is_tensor(phi.n_coefficients):
        x = tf.ensure_shape(x, [None, phi.n_coefficients])
    return x, variance if error_variance else None


def _placed(x: tf.Tensor, at: tf.Tensor, n: Any) -> tf.Tensor:
    """(batch, n of the arc) on the n taps of the circle, from tap ``at`` on, (batch,) int64."""
    own = tf.shape(x, tf.int64)[-1]
    circle = tf.cast(n, tf.int64)
    of_arc = tf.math.floormod(tf.range(circle) - at[:, tf.newaxis], circle)
    return tf.gather(tf.pad(x, [[0, 0], [0, 1]]), tf.minimum(of_arc, own), axis=1, batch_dims=1)


def _outside(y: tf.Tensor, found: Recovery, arc: PartialDFT, phi: PartialDFT) -> tf.Tensor:
    """(batch,) bool: whether more is left on the rest of the circle than noise leaves there."""
    posterior = found.posterior
    assert isinstance(posterior, JointPosterior)
    circle = PartialDFT(arc.subcarriers, phi.n_coefficients, arc.first, arc.length, arc.dtype)

    def of_chunk(y: tf.Tensor, g: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, ...]:
        wide = tf.pad(g, [[0, 0], [0, phi.n_coefficients - arc.n_coefficients]])
        left = moments(y, circle, wide, noise)
        rest = (left.q2 / tf.maximum(left.d, 1e-12))[:, arc.n_coefficients :]
        return (tf.reduce_max(rest, -1, keepdims=True),)

    loudest = in_chunks(of_chunk, CHUNK, (y, posterior.variances, posterior.noise_variance), (y.dtype.real_dtype,))[0]
    cells = tf.cast(phi.n_coefficients - arc.n_coefficients, tf.float64) * arc.per_cell
    return tf.exp(-xp.double(loudest[:, 0])) * cells < rules.FALSE_ALARMS
