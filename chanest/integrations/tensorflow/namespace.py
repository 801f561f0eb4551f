"""The functions of chanest.algorithms.namespace, in TensorFlow."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import torch
from tensorflow import (  # noqa: F401  # noqa: F401
    argmax,
    broadcast_to,
    concat,
    cumsum,
    exp,
    maximum,
    reshape,
    roll,
    shape,
    sigmoid,
    sqrt,
    square,
    stack,
    where,
)
from tensorflow.linalg import eigh, matrix_transpose, matvec  # noqa: F401
from tensorflow.math import conj, real  # noqa: F401

Array = Any  # tf.Tensor, or a number

astype = tf.cast
constant = tf.stop_gradient
diagonal = tf.linalg.diag_part
isfinite = tf.math.is_finite
logsumexp = tf.reduce_logsumexp
max = tf.reduce_max
mean = tf.reduce_mean
min = tf.reduce_min
softmax = tf.nn.softmax
sum = tf.reduce_sum


def abs2(x: tf.Tensor) -> tf.Tensor:
    return tf.square(tf.math.real(x)) + tf.square(tf.math.imag(x))


def arange(n: int, like: tf.Tensor) -> tf.Tensor:
    return tf.range(n, dtype=tf.float64)


def asarray(x: torch.Tensor, like: tf.Tensor) -> tf.Tensor:
    return tf.constant(x.numpy())


def clip(x: tf.Tensor, low: Array, high: Array | None = None) -> tf.Tensor:
    return tf.maximum(x, low) if high is None else tf.clip_by_value(x, low, high)


def double(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.complex128 if x.dtype.is_complex else tf.float64)


def full_like(x: tf.Tensor, value: Array) -> tf.Tensor:
    value = tf.convert_to_tensor(value, dtype_hint=x.dtype)  # a cast takes a number for float32
    return tf.broadcast_to(tf.cast(value, x.dtype), tf.shape(x))


def linspace(start: float, stop: float, n: Array, like: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.linspace(tf.constant(start, tf.float64), tf.constant(stop, tf.float64), n), like.dtype)


def log(x: Array) -> Array:
    return tf.math.log(x) if tf.is_tensor(x) else math.log(x)


def logit(x: tf.Tensor) -> tf.Tensor:
    return tf.math.log(x / (1 - x))


def median_where(x: tf.Tensor, some: tf.Tensor) -> tf.Tensor:
    ordered = tf.sort(tf.where(some, x, np.inf), -1)
    middle = tf.maximum(tf.reduce_sum(tf.cast(some, tf.int32), -1) - 1, 0) // 2
    found = tf.gather(ordered, middle[..., tf.newaxis], axis=-1, batch_dims=x.shape.rank - 1)[..., 0]
    return tf.where(tf.math.is_finite(found), found, 0)


def pad_rows(x: tf.Tensor) -> tf.Tensor:
    return tf.pad(x, [[0, 0]] * (x.shape.rank - 2) + [[1, 1], [0, 0]])


def rows(x: tf.Tensor, n: int) -> tf.Tensor:
    return tf.repeat(x[..., tf.newaxis, :], n, -2)


def softplus(x: tf.Tensor) -> tf.Tensor:
    return tf.where(x > 20, x, tf.nn.softplus(x))  # as PyTorch's


def tiny(x: tf.Tensor) -> float:
    return np.finfo(x.dtype.as_numpy_dtype).tiny


def unflatten(x: tf.Tensor, sizes: Sequence[int]) -> tf.Tensor:
    return tf.reshape(x, tf.concat([tf.shape(x)[:-1], sizes], 0))


def unstack(x: tf.Tensor, axis: int) -> list[tf.Tensor]:
    return tf.unstack(x, axis=axis)
