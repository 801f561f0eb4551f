"""ALISTA and NA-ALISTA for one processor core: sparse iterates, split real and imaginary parts, no temporaries.

An iterate has few taps that are not zero, so Phi x takes those columns of Phi, and W^H Phi x those columns of
W^H Phi: for a partial DFT with W = Phi they are windows of one Toeplitz sequence, which stays in the first cache.
"""

import math
from typing import Any

import numpy as np

from .compiling import compiled

Array = np.ndarray[Any, np.dtype[Any]]
Scalar = Any  # of numba, float32

TINY = np.float32(1.1754944e-38)


@compiled
def tanh(x: Scalar) -> Scalar:
    """To 3e-7, without a call, so that loops over it become vector instructions.

    Lambert's fraction at x/4, then tanh(2 t) = 2 tanh(t) / (1 + tanh(t)^2), twice.
    """
    t = np.float32(0.25) * min(max(x, np.float32(-10.0)), np.float32(10.0))
    s = t * t
    over = t * (np.float32(135135.0) + s * (np.float32(17325.0) + s * (np.float32(378.0) + s)))
    under = np.float32(135135.0) + s * (np.float32(62370.0) + s * (np.float32(3150.0) + s * np.float32(28.0)))
    t = over / under
    t = np.float32(2.0) * t / (np.float32(1.0) + t * t)
    return np.float32(2.0) * t / (np.float32(1.0) + t * t)


@compiled
def softplus(x: Scalar) -> Scalar:
    """log(1 + exp(x))."""
    return x if x > np.float32(20.0) else np.float32(math.log1p(math.exp(x)))


@compiled
def residual(x: Array, y: Array, active: Array, n_active: int, columns: Array, b: Array) -> None:
    """b = Phi x - y, (2, M) each, from the columns (2, N, M) of the active taps."""
    n_rows = b.shape[1]
    for m in range(n_rows):
        b[0, m] = -y[0, m]
        b[1, m] = -y[1, m]
    for a in range(n_active):
        j = active[a]
        re, im = x[0, j], x[1, j]
        for m in range(n_rows):
            b[0, m] += columns[0, j, m] * re - columns[1, j, m] * im
            b[1, m] += columns[0, j, m] * im + columns[1, j, m] * re


@compiled
def gradient(x: Array, z: Array, active: Array, n_active: int, gram: Array, first: Array, c: Array) -> None:
    """c = W^H Phi x - z, (2, N) each; column j of W^H Phi is gram[:, first[j]:first[j] + N]."""
    n_taps = c.shape[1]
    for n in range(n_taps):
        c[0, n] = -z[0, n]
        c[1, n] = -z[1, n]
    for a in range(0, n_active - 1, 2):
        i, j = active[a], active[a + 1]
        own_re, own_im = gram[0, first[i] : first[i] + n_taps], gram[1, first[i] : first[i] + n_taps]
        next_re, next_im = gram[0, first[j] : first[j] + n_taps], gram[1, first[j] : first[j] + n_taps]
        p, q, r, s = x[0, i], x[1, i], x[0, j], x[1, j]
        for n in range(n_taps):
            c[0, n] += own_re[n] * p - own_im[n] * q + next_re[n] * r - next_im[n] * s
            c[1, n] += own_re[n] * q + own_im[n] * p + next_re[n] * s + next_im[n] * r
    if n_active % 2:
        i = active[n_active - 1]
        own_re, own_im = gram[0, first[i] : first[i] + n_taps], gram[1, first[i] : first[i] + n_taps]
        p, q = x[0, i], x[1, i]
        for n in range(n_taps):
            c[0, n] += own_re[n] * p - own_im[n] * q
            c[1, n] += own_re[n] * q + own_im[n] * p


@compiled
def sum_of_moduli(v: Array, length: int) -> Scalar:
    total = np.float32(0.0)
    for n in range(length):
        total += np.sqrt(v[0, n] * v[0, n] + v[1, n] * v[1, n])
    return total


@compiled
def shrink(
    x: Array, c: Array, gamma: Scalar, theta: Scalar, n_exempt: int, power: Array, largest: Array, active: Array
) -> int:
    """x <- eta_theta(x - gamma c) with the n_exempt largest unshrunk; the taps that are not zero, and how many."""
    n_taps = c.shape[1]
    for n in range(n_taps):
        x[0, n] -= gamma * c[0, n]
        x[1, n] -= gamma * c[1, n]
        power[n] = x[0, n] * x[0, n] + x[1, n] * x[1, n]
    smallest = 0
    for n in range(n_exempt):  # the first ones, then whatever is larger than the smallest of them
        largest[n] = n
        if power[n] < power[largest[smallest]]:
            smallest = n
    if n_exempt > 0:
        limit = power[largest[smallest]]
        for n in range(n_exempt, n_taps):
            if power[n] > limit:
                largest[smallest] = n
                for k in range(n_exempt):
                    if power[largest[k]] < power[largest[smallest]]:
                        smallest = k
                limit = power[largest[smallest]]
    for n in range(n_taps):
        modulus = np.sqrt(power[n])
        power[n] = max(modulus - theta, np.float32(0.0)) / max(modulus, TINY)
    for k in range(n_exempt):
        power[largest[k]] = np.float32(1.0)
    for n in range(n_taps):
        x[0, n] *= power[n]
        x[1, n] *= power[n]
    n_active = 0
    for n in range(n_taps):  # without a branch, which could not be foreseen
        active[n_active] = n
        n_active += power[n] != 0
    return n_active


@compiled
def add_product(v: Array, matrix: Array, total: Array) -> None:
    """total += v matrix, four rows at a time."""
    n_rows, n = matrix.shape
    fours = n_rows // 4 * 4
    for i in range(0, fours, 4):
        p, q, r, s = v[i], v[i + 1], v[i + 2], v[i + 3]
        for j in range(n):
            total[j] += p * matrix[i, j] + q * matrix[i + 1, j] + r * matrix[i + 2, j] + s * matrix[i + 3, j]
    for i in range(fours, n_rows):
        p = v[i]
        for j in range(n):
            total[j] += p * matrix[i, j]


@compiled
def split(v: Array, parts: Array) -> None:
    """Complex (n,) to (2, n or more)."""
    for n in range(v.shape[0]):
        parts[0, n] = v[n].real
        parts[1, n] = v[n].imag


@compiled
def alista(
    z: Array, gram: Array, first: Array, gammas: Array, thetas: Array, exempt: Array, found: Array, start: int, end: int
) -> None:
    """x <- eta_theta(x - gamma (W^H Phi x - z)) for the rows start...end - 1 of z (B, N) complex, into found."""
    n_taps = z.shape[1]
    zs, c, x = np.empty((2, n_taps), np.float32), np.empty((2, n_taps), np.float32), np.empty((2, n_taps), np.float32)
    power, active, largest = np.empty(n_taps, np.float32), np.empty(n_taps, np.int64), np.empty(n_taps, np.int64)
    for row in range(start, end):
        split(z[row], zs)
        x[:] = 0
        n_active = 0
        for k in range(len(gammas)):
            gradient(x, zs, active, n_active, gram, first, c)
            n_active = shrink(x, c, gammas[k], thetas[k], exempt[k], power, largest, active)
        for n in range(n_taps):
            found[row, n] = complex(x[0, n], x[1, n])


@compiled
def na_alista(
    y: Array,
    z: Array,
    columns: Array,
    gram: Array,
    first: Array,
    exempt: Array,
    scales: Array,
    reads: Array,
    features: Array,
    lstm: tuple[Array, Array, Array],
    hidden: tuple[Array, Array],
    head: tuple[Array, Array],
    initial: Array,
    found: Array,
    start: int,
    end: int,
) -> None:
    """NA-ALISTA's iterations for the rows start...end - 1 of y (B, M) and z (B, N) = W^H y, into found.

    ``columns`` (2, N, M or more), the rest zero; ``scales`` of gamma and theta; ``reads`` of b and c; ``features``
    (2, inputs), mean and reciprocal deviation; ``lstm`` and ``hidden`` weights transposed, ``initial`` (2, H).
    """
    weight_in, weight, bias = lstm
    hidden_weight, hidden_bias = hidden
    head_weight, head_bias = head
    n_taps, n_rows, n_hidden = z.shape[1], columns.shape[2], len(hidden_bias)
    zs, c, x = np.empty((2, n_taps), np.float32), np.empty((2, n_taps), np.float32), np.empty((2, n_taps), np.float32)
    ys, b = np.zeros((2, n_rows), np.float32), np.empty((2, n_rows), np.float32)
    power, active, largest = np.empty(n_taps, np.float32), np.empty(n_taps, np.int64), np.empty(n_taps, np.int64)
    gates, read = np.empty(4 * n_hidden, np.float32), np.empty(2, np.float32)
    h, cell, u = np.empty(n_hidden, np.float32), np.empty(n_hidden, np.float32), np.empty(n_hidden, np.float32)
    half = np.float32(0.5)
    for row in range(start, end):
        split(y[row], ys)
        split(z[row], zs)
        x[:] = 0
        h[:] = initial[0]
        cell[:] = initial[1]
        n_active = 0
        for k in range(len(exempt)):
            gradient(x, zs, active, n_active, gram, first, c)
            n_read = 0
            if reads[0]:
                residual(x, ys, active, n_active, columns, b)
                read[0] = sum_of_moduli(b, n_rows)
                n_read = 1
            if reads[1]:
                read[n_read] = sum_of_moduli(c, n_taps)
                n_read += 1
            for g in range(4 * n_hidden):
                gates[g] = bias[g]
            for f in range(n_read):
                value = (np.float32(math.log(max(read[f], TINY))) - features[0, f]) * features[1, f]
                for g in range(4 * n_hidden):
                    gates[g] += value * weight_in[f, g]
            add_product(h, weight, gates)
            for j in range(n_hidden):
                enter = half + half * tanh(half * gates[j])
                keep = half + half * tanh(half * gates[n_hidden + j])
                leave = half + half * tanh(half * gates[3 * n_hidden + j])
                cell[j] = keep * cell[j] + enter * tanh(gates[2 * n_hidden + j])
                h[j] = leave * tanh(cell[j])
                u[j] = hidden_bias[j]
            add_product(cell, hidden_weight, u)
            gamma, theta = head_bias[0], head_bias[1]
            for j in range(n_hidden):
                p = max(u[j], np.float32(0.0))
                gamma += p * head_weight[0, j]
                theta += p * head_weight[1, j]
            gamma, theta = softplus(gamma) * scales[0], softplus(theta) * scales[1]
            n_active = shrink(x, c, gamma, theta, exempt[k], power, largest, active)
        for n in range(n_taps):
            found[row, n] = complex(x[0, n], x[1, n])
