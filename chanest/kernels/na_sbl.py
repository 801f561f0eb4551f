"""NA-SBL's update of the tap and noise variances: features, two perceptrons, one estimate after the other."""

import math

import numpy as np

from .compiling import Array, Scalar, compiled
from .constants import (
    EXPLAINED_MARGIN,
    LARGEST_EXPONENT,
    LOG_SCALE,
    N_OWN,
    N_SHARED,
    OCCUPIED_MARGIN,
    REFERENCE_PILOTS,
)
from .elementwise import TINY, tanh
from .simd import WIDE, add_real_rows

_LARGEST_EXPONENT = np.float32(LARGEST_EXPONENT)


@compiled
def silu(x: Scalar) -> Scalar:
    """x / (1 + exp(-x))."""
    half = np.float32(0.5) * x
    return half + half * tanh(half)


@compiled
def factor(f: Scalar) -> Scalar:
    """exp(2 f), clamped where float32 stays finite."""
    return np.float32(math.exp(min(max(np.float32(2.0) * f, -_LARGEST_EXPONENT), _LARGEST_EXPONENT)))


@compiled
def layer(inputs: Array, n_inputs: int, weight: Array, bias: Array, outputs: Array) -> None:
    """outputs = weight inputs + bias for all taps, (K, width) to (H, width)."""
    for unit in range(outputs.shape[0]):
        total = outputs[unit]
        total[:] = bias[unit]
        for column in range(0, outputs.shape[1], WIDE):
            add_real_rows(inputs, weight[unit], n_inputs, column, total)


@compiled
def activate(values: Array) -> None:
    for unit in range(values.shape[0]):
        row = values[unit]
        for n in range(row.shape[0]):
            row[n] = silu(row[n])


@compiled
def noise_factor(read: Array, rule: tuple[Array, Array, Array, Array, Array, Array]) -> Scalar:
    """The noise perceptron's factor; weights transposed."""
    weight_in, bias_in, weight, bias, weight_out, bias_out = rule
    first, second = bias_in.copy(), bias.copy()
    for k in range(len(read)):
        first += read[k] * weight_in[k]
    for unit in range(len(first)):
        first[unit] = silu(first[unit])
    for k in range(len(first)):
        second += first[k] * weight[k]
    f = bias_out[0]
    for unit in range(len(second)):
        f += silu(second[unit]) * weight_out[0, unit]
    return factor(f)


@compiled
def update(
    q: Array,
    d: Array,
    g: Array,
    s: Array,
    base: Array,
    fit: Array,
    em_noise: Array,
    log_p: Array,
    constants: tuple[Scalar, ...],
    limits: tuple[Scalar, ...],
    of_taps: tuple[Array, Array, Array, Array, Array, Array, Array],
    of_noise: tuple[Array, Array, Array, Array, Array, Array],
    new_g: Array,
    new_s: Array,
    start: int,
    end: int,
) -> None:
    """g and s after one iteration for the rows start...end - 1.

    Args:
        q (B, N) complex, d, g (B, N), s, fit, em_noise (B,): the moments; base (B,): the noise variance that the rule
            corrects.
        log_p: (N,); constants: M, whether s was told, the log rank deficit; limits: smallest and largest g and s.
        of_taps: weights (H, 18) of a tap's own features and of its neighbours', (3, H, 6) of the shared ones, biases.
    """
    own, shared_weight, bias_in, weight, bias, weight_out, bias_out = of_taps
    n_rows, told, rank_deficit = constants
    n_taps, n_hidden = g.shape[1], len(bias)
    width = (n_taps + WIDE - 1) // WIDE * WIDE
    inputs, taps = np.zeros((3 * N_OWN, width), np.float32), np.zeros((N_OWN, width), np.float32)
    first, second = np.empty((n_hidden, width), np.float32), np.empty((n_hidden, width), np.float32)
    out = np.empty((1, width), np.float32)
    shift, of_shared = np.empty(n_hidden, np.float32), np.empty((3, n_hidden), np.float32)
    shared, read = np.empty(N_SHARED, np.float32), np.empty(N_SHARED + 1, np.float32)
    sixth, one, low = np.float32(1.0 / LOG_SCALE), np.float32(1.0), np.float32(OCCUPIED_MARGIN)
    shared[2] = np.float32(math.log(n_rows / np.float32(REFERENCE_PILOTS)))
    shared[3], shared[5] = told, rank_deficit
    for n in range(n_taps):
        taps[5, n] = np.float32(-1.0 + 2.0 * n / (n_taps - 1)) if n_taps > 1 else np.float32(-1.0)
    for b in range(start, end):
        log_s = np.float32(math.log(s[b]))
        occupied = np.float32(0.0)
        for n in range(n_taps):
            modulus = q[b, n].real * q[b, n].real + q[b, n].imag * q[b, n].imag
            log_q, log_d = np.float32(math.log(max(modulus, TINY))), np.float32(math.log(max(d[b, n], TINY)))
            log_g, share = np.float32(math.log(g[b, n])), g[b, n] * d[b, n]
            occupied += share
            share = min(max(g[b, n] * max(d[b, n], TINY), low), one - low)
            taps[0, n] = (log_q + log_g + log_g - log_p[n]) * sixth
            taps[1, n] = np.float32(math.log(share / (one - share))) * sixth
            taps[2, n] = (log_g - log_p[n]) * sixth
            taps[3, n] = (log_p[n] - log_s) * sixth
            taps[4, n] = (log_q - log_d) * sixth
        explained = min(max(occupied / n_rows, np.float32(EXPLAINED_MARGIN)), np.float32(1.0 - EXPLAINED_MARGIN))
        shared[0] = np.float32(math.log(max(fit[b], TINY))) * sixth
        shared[1] = np.float32(math.log(max(em_noise[b], TINY) / s[b])) * sixth
        shared[4] = np.float32(math.log(explained / (one - explained))) * sixth
        read[:N_SHARED] = shared
        read[N_SHARED] = np.float32(math.log(n_rows * s[b])) * sixth
        for f in range(N_OWN):
            inputs[f, 1:n_taps] = taps[f, : n_taps - 1]
            inputs[N_OWN + f] = taps[f]
            inputs[2 * N_OWN + f, : n_taps - 1] = taps[f, 1:n_taps]
        for unit in range(n_hidden):
            shift[unit] = bias_in[unit]
            for side in range(3):
                total = np.float32(0.0)
                for f in range(N_SHARED):
                    total += shared_weight[side, unit, f] * shared[f]
                of_shared[side, unit] = total
                shift[unit] += total
        layer(inputs, 3 * N_OWN, own, shift, first)
        for unit in range(n_hidden):  # beyond the ends are zeros, of the shared features too
            first[unit, 0] -= of_shared[0, unit]
            first[unit, n_taps - 1] -= of_shared[2, unit]
        activate(first)
        layer(first, n_hidden, weight, bias, second)
        activate(second)
        layer(second, n_hidden, weight_out, bias_out, out)
        for n in range(n_taps):
            mean = g[b, n] * g[b, n] * (q[b, n].real * q[b, n].real + q[b, n].imag * q[b, n].imag)
            variance = mean + g[b, n] * max(one - g[b, n] * d[b, n], np.float32(0.0))
            new_g[b, n] = min(max(variance * factor(out[0, n]), limits[0]), limits[1])
        new_s[b] = min(max(base[b] * noise_factor(read, of_noise), limits[2]), limits[3])
