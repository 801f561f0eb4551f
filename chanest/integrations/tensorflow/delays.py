"""The taps that are looked at: chanest.problems.delay_grid for pilots that a graph knows when it runs."""

import math
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ...problems import Grid, PilotPattern, delay_grid
from ...problems.ofdm.delays import BEFORE, COARSEST, FEWEST, MANY, TAPS_PER_CELL
from .namespace import Array


@dataclass(frozen=True)
class Taps:
    """Numbers where the pilots are known before the graph runs, tensors elsewhere.

    Attributes:
        count: a multiple of 4.
        first: delay of the first one, in steps.
        length: steps that a DFT length has.
        window_told: whether the channel is known to lie here.
    """

    count: Array
    first: Array
    length: Array
    window_told: bool = False

    def delays_samples(self, n_fft: int, dtype: tf.DType) -> tf.Tensor:
        """(count,)."""
        steps = tf.cast(self.first + tf.range(self.count), tf.float64)
        return tf.cast(steps * (n_fft / tf.cast(self.length, tf.float64)), dtype)


def taps_of(subcarriers: tf.Tensor, n_fft: int, window_samples: tuple[float, float] | None) -> Taps:
    """The taps for pilots, (M,) int64 distinct, in any order; arguments as of :func:`chanest.problems.delay_grid`."""
    known = tf.get_static_value(subcarriers)
    told = window_samples is not None
    if known is not None:
        ordered = np.sort(known)
        every = tuple(range(int(ordered[0]), int(ordered[-1]) + 1))
        pattern = PilotPattern(tuple(ordered.tolist()), Grid(n_fft, every))
        grid = delay_grid(pattern, window_samples)
        first, length = grid.first_tap_samples / grid.spacing_samples, n_fft / grid.spacing_samples
        return Taps(grid.n_taps, round(first), round(length), told)
    ordered = tf.sort(subcarriers)
    span = tf.cast(ordered[-1] - ordered[0] + 1, tf.float64)
    most = min(math.log2((n_fft & -n_fft) / COARSEST), math.floor(math.log2(n_fft / (COARSEST * FEWEST))))
    spacing = 2 ** tf.minimum(tf.round(tf.math.log(n_fft / span / TAPS_PER_CELL) / math.log(2)), most)
    step, period = spacing * COARSEST, n_fft / tf.cast(_divisor(ordered), tf.float64)
    first, last = -period / BEFORE, period * (1 - 1 / BEFORE)
    if window_samples is not None:
        first = tf.constant(window_samples[0], tf.float64)
        last = tf.minimum(tf.constant(window_samples[1], tf.float64), first + period)
    first = tf.floor(first / step) * step
    count = tf.maximum(tf.minimum(tf.round((last - first) / step), tf.floor(n_fft / step)), FEWEST)
    spacing = tf.where(tf.size(ordered) > MANY, spacing / 2, spacing)
    count, first, length = (
        tf.cast(tf.round(number), tf.int32) for number in (count * step / spacing, first / spacing, n_fft / spacing)
    )
    return Taps(count, first, length, told)


def _divisor(ordered: tf.Tensor) -> tf.Tensor:
    """n_fft over :func:`chanest.problems.period_samples`: the largest spacing of which regular runs consist."""
    steps, n = ordered[1:] - ordered[:-1], tf.cast(tf.size(ordered), tf.float64)
    most = tf.where(n >= 8, tf.maximum(n / 8, 2.5), 1.5)

    def regular(spacing: tf.Tensor) -> tf.Tensor:
        inside = tf.equal(steps % spacing, 0)
        run = tf.concat([[0], tf.cumsum(tf.cast(tf.logical_not(inside), tf.int64))], 0)
        squares = tf.reduce_sum(tf.cast(tf.equal(run[:, tf.newaxis], run), tf.float64))
        count = tf.reduce_sum(tf.cast(inside, tf.int32))
        own = tf.sort(tf.where(inside, steps, tf.reduce_max(ordered) - tf.reduce_min(ordered) + 1))
        middle = own[tf.maximum(count - 1, 0) // 2] + own[tf.minimum(count // 2, tf.size(own) - 1)]
        few = (run[-1] == 0) | ((count > 0) & (middle <= 4 * spacing))
        return few & (n * n / squares <= most)

    def goes_on(spacing: tf.Tensor) -> tf.Tensor:
        return tf.logical_and(spacing > 1, tf.logical_not(regular(tf.maximum(spacing, 1))))

    return tf.while_loop(goes_on, lambda spacing: (spacing - 1,), (tf.maximum(tf.reduce_max(steps), 1),))[0]
