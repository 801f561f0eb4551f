"""Functions of one number, in float32."""

import math

import numpy as np

from .compiling import Scalar, compiled

TINY = np.float32(1.1754944e-38)
_LAST, _SEVEN = np.float32(1 / 135135), np.float32(28.0)


@compiled
def tanh(x: Scalar) -> Scalar:
    """To 3e-7, with one division and without a call, so that loops over it become vector instructions.

    Lambert's fraction at x/4, then tanh(2 t) = 2 tanh(t) / (1 + tanh(t)^2), twice, in numerator and denominator.
    """
    t = np.float32(0.25) * min(max(x, np.float32(-10.0)), np.float32(10.0))
    s = t * t
    over = t * (np.float32(1.0) + s * (np.float32(17325 / 135135) + s * (np.float32(378 / 135135) + s * _LAST)))
    under = np.float32(1.0) + s * (np.float32(62370 / 135135) + s * (np.float32(3150 / 135135) + s * _LAST * _SEVEN))
    double = np.float32(2.0) * over * under
    unit = over * over + under * under
    return np.float32(2.0) * double * unit / (double * double + unit * unit)


@compiled
def softplus(x: Scalar) -> Scalar:
    """log(1 + exp(x))."""
    return x if x > np.float32(20.0) else np.float32(math.log1p(math.exp(x)))


@compiled
def sigmoid(x: Scalar) -> Scalar:
    """1 / (1 + exp(-x))."""
    return np.float32(1.0) / (np.float32(1.0) + np.float32(math.exp(-x)))
