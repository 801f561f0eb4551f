"""ALISTA and NA-ALISTA for one processor core: sparse iterates, split real and imaginary parts, no temporaries.

An iterate has few taps that are not zero, so Phi x takes those columns of Phi, and W^H Phi x those columns of
W^H Phi: for a partial DFT with W = Phi they are windows of one Toeplitz sequence, which stays in the first cache.
"""

import math
from typing import Any

import numpy as np

from .compiling import compiled
from .rows import LANES, TOGETHER, WIDE, add_real_rows, add_real_rows_together, add_windows

Array = np.ndarray[Any, np.dtype[Any]]
Scalar = Any  # of numba, float32

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
def add_columns(x: Array, active: Array, n_active: int, table: Array, first: Array, spare: Array, total: Array) -> None:
    """total (2, width) += sum over the active j of x[j] times table[:, first[j]:first[j] + width]."""
    offset = active[len(active) // 2 :]
    for a in range(n_active):
        j = active[a]
        spare[0, a], spare[1, a], offset[a] = x[0, j], x[1, j], first[j]
    for column in range(0, total.shape[1], LANES):
        add_windows(table[0], table[1], offset, spare[0], spare[1], 0, n_active, column, total)


@compiled
def start_from(values: Array, total: Array) -> None:
    """total = -values."""
    for n in range(total.shape[1]):
        total[0, n] = -values[0, n]
        total[1, n] = -values[1, n]


@compiled
def sum_of_moduli(v: Array, length: int) -> Scalar:
    total = np.float32(0.0)
    for n in range(length):
        total += np.sqrt(v[0, n] * v[0, n] + v[1, n] * v[1, n])
    return total


@compiled
def least_of_largest(power: Array, n_taps: int, n_wanted: int, maxima: Array) -> Scalar:
    """A number that at least n_wanted entries reach: the n_wanted-th of the maxima of LANES interleaved parts."""
    if n_wanted > LANES:
        return np.float32(0.0)
    maxima[:] = np.float32(-1.0)
    whole = n_taps // LANES * LANES
    for first in range(0, whole, LANES):
        for lane in range(LANES):
            maxima[lane] = max(maxima[lane], power[first + lane])
    for n in range(whole, n_taps):
        maxima[n - whole] = max(maxima[n - whole], power[n])
    for _ in range(n_wanted - 1):
        best = 0
        for lane in range(LANES):
            if maxima[lane] > maxima[best]:
                best = lane
        maxima[best] = np.float32(-2.0)
    most = np.float32(-1.0)
    for lane in range(LANES):
        most = max(most, maxima[lane])
    return most


@compiled
def shrink(
    x: Array,
    c: Array,
    n_taps: int,
    gamma: Scalar,
    theta: Scalar,
    n_exempt: int,
    gain: Array,
    spare: Array,
    largest: Array,
    active: Array,
) -> int:
    """x <- eta_theta(x - gamma c) with the n_exempt largest unshrunk; the taps that are not zero, and how many.

    ``gain`` (N,): by how much each entry was multiplied; ``spare``: room for the powers, and LANES more.
    """
    power, maxima = spare[0], spare[1]
    for n in range(n_taps):
        x[0, n] -= gamma * c[0, n]
        x[1, n] -= gamma * c[1, n]
        power[n] = x[0, n] * x[0, n] + x[1, n] * x[1, n]
    cutoff = theta * theta
    if n_exempt > 0:
        cutoff = min(cutoff, least_of_largest(power, n_taps, n_exempt, maxima[:LANES]))
    n_active = 0
    for n in range(n_taps):  # without a branch, which could not be foreseen
        active[n_active] = n
        n_active += not power[n] < cutoff
    gain[:] = np.float32(0.0)
    for a in range(n_active):
        n = active[a]
        modulus = np.sqrt(power[n])
        gain[n] = max(modulus - theta, np.float32(0.0)) / max(modulus, TINY)
    smallest = 0
    for k in range(n_exempt):  # the first ones, then whatever is larger than the smallest of them
        largest[k] = active[k]
        if power[largest[k]] < power[largest[smallest]]:
            smallest = k
    for a in range(n_exempt, n_active):
        if n_exempt > 0 and power[active[a]] > power[largest[smallest]]:
            largest[smallest] = active[a]
            for k in range(n_exempt):
                if power[largest[k]] < power[largest[smallest]]:
                    smallest = k
    for k in range(n_exempt):
        gain[largest[k]] = np.float32(1.0)
    for n in range(n_taps):
        x[0, n] *= gain[n]
        x[1, n] *= gain[n]
    n_left = 0
    for a in range(n_active):
        active[n_left] = active[a]
        n_left += gain[active[a]] != 0
    return n_left


@compiled
def add_product(v: Array, n: int, matrix: Array, total: Array, group: int) -> None:
    """total[i] += v[i, :n] matrix[:n] for the first vector, or for TOGETHER; the width a multiple of WIDE."""
    for column in range(0, total.shape[1], WIDE):
        if group == TOGETHER:
            add_real_rows_together(matrix, v, n, column, total)
        else:
            add_real_rows(matrix, v[0], n, column, total[0])


@compiled
def empty(n: int, width: int) -> Array:
    """Room for n split vectors, zero at first."""
    return np.zeros((n, 2, width), np.float32)


@compiled
def split(v: Array, parts: Array) -> None:
    """Complex (n,) to (2, n or more)."""
    for n in range(v.shape[0]):
        parts[0, n] = v[n].real
        parts[1, n] = v[n].imag


@compiled
def project(y: Array, adjoint: Array, first: Array, z: Array) -> None:
    """z = W^H y, from the rows of W, conjugate."""
    z[:] = 0
    for column in range(0, z.shape[1], LANES):
        add_windows(adjoint[0], adjoint[1], first, y[0], y[1], 0, len(first), column, z)


@compiled
def alista(
    y: Array,
    tables: tuple[Array, Array, Array, Array, Array, Array],
    gammas: Array,
    thetas: Array,
    exempt: Array,
    found: Array,
    start: int,
    end: int,
) -> None:
    """x <- eta_theta(x - gamma W^H (Phi x - y)) for the rows start...end - 1 of y (B, M), into found (B, N)."""
    gram, first, _, _, adjoint, adjoint_first = tables
    n_taps = found.shape[1]
    width, n_rows = up(n_taps, LANES), up(y.shape[1], LANES)
    zs, c, x = np.empty((2, width), np.float32), np.empty((2, width), np.float32), np.empty((2, width), np.float32)
    ys, spare = np.zeros((2, n_rows), np.float32), np.empty((2, width), np.float32)
    gain, largest, active = np.empty(n_taps, np.float32), np.empty(n_taps, np.int64), np.empty(2 * width, np.int64)
    for row in range(start, end):
        split(y[row], ys)
        project(ys, adjoint, adjoint_first, zs)
        x[:] = 0
        n_active = 0
        for k in range(len(gammas)):
            start_from(zs, c)
            add_columns(x, active, n_active, gram, first, spare, c)
            n_active = shrink(x, c, n_taps, gammas[k], thetas[k], exempt[k], gain, spare, largest, active)
        for n in range(n_taps):
            found[row, n] = complex(x[0, n], x[1, n])


@compiled
def up(n: int, multiple: int) -> int:
    """n, or the next multiple."""
    return (n + multiple - 1) // multiple * multiple


@compiled
def lstm_step(h: Array, cell: Array, gates: Array) -> None:
    """h and cell from the gates (input, forget, cell, output), a quarter each."""
    half, room = np.float32(0.5), len(gates) // 4
    enter, keep, value, leave = gates[:room], gates[room : 2 * room], gates[2 * room : 3 * room], gates[3 * room :]
    for j in range(room):
        cell[j] = (half + half * tanh(half * keep[j])) * cell[j] + (half + half * tanh(half * enter[j])) * tanh(
            value[j]
        )
    for j in range(room):
        h[j] = (half + half * tanh(half * leave[j])) * tanh(cell[j])


@compiled
def standardise(norms: Array, n_read: int, features: Array, read: Array) -> None:
    """What the LSTM reads, from the norms; features: mean and reciprocal deviation."""
    for f in range(n_read):
        read[f] = (np.float32(math.log(max(norms[f], TINY))) - features[0, f]) * features[1, f]


@compiled
def chosen(u: Array, head: tuple[Array, Array]) -> tuple[Scalar, Scalar]:
    """What the head says, before softplus."""
    weight, bias = head
    gamma, theta = bias[0], bias[1]
    for j in range(len(u)):
        p = max(u[j], np.float32(0.0))
        gamma += p * weight[0, j]
        theta += p * weight[1, j]
    return gamma, theta


@compiled
def na_alista(
    y: Array,
    tables: tuple[Array, Array, Array, Array, Array, Array],
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
    """NA-ALISTA's iterations for the rows start...end - 1 of y (B, M), into found (B, N).

    ``scales`` of gamma and theta; ``reads`` of b and c; ``features`` (2, inputs), mean and reciprocal deviation;
    ``lstm`` and ``hidden`` weights transposed, ``initial`` (2, H); H, and every quarter of the gates, filled up with
    zeros to a multiple of WIDE.
    """
    gram, first, columns, columns_first, adjoint, adjoint_first = tables
    weight_in, weight, bias = lstm
    hidden_weight, hidden_bias = hidden
    n_taps, n_rows = found.shape[1], y.shape[1]
    width, room = up(n_taps, LANES), len(hidden_bias)
    zs, c, x = empty(TOGETHER, width), empty(TOGETHER, width), empty(TOGETHER, width)
    ys, b, spare = empty(TOGETHER, up(n_rows, LANES)), empty(TOGETHER, up(n_rows, LANES)), empty(1, width)[0]
    gain, largest, active = (
        np.empty(n_taps, np.float32),
        np.empty(n_taps, np.int64),
        np.empty((TOGETHER, 2 * width), np.int64),
    )
    gates, read = np.empty((TOGETHER, 4 * room), np.float32), np.empty((TOGETHER, 2), np.float32)
    h, cell = np.empty((TOGETHER, room), np.float32), np.empty((TOGETHER, room), np.float32)
    u, n_active = np.empty((TOGETHER, room), np.float32), np.empty(TOGETHER, np.int64)
    n_read = int(reads[0]) + int(reads[1])
    row = start
    while row < end:
        group = TOGETHER if end - row >= TOGETHER else 1
        for i in range(group):
            split(y[row + i], ys[i])
            project(ys[i], adjoint, adjoint_first, zs[i])
            x[i] = 0
            h[i] = initial[0]
            cell[i] = initial[1]
            n_active[i] = 0
        for k in range(len(exempt)):
            for i in range(group):
                start_from(zs[i], c[i])
                add_columns(x[i], active[i], n_active[i], gram, first, spare, c[i])
                if reads[0]:
                    start_from(ys[i], b[i])
                    add_columns(x[i], active[i], n_active[i], columns, columns_first, spare, b[i])
                    read[i, 0] = sum_of_moduli(b[i], n_rows)
                if reads[1]:
                    read[i, n_read - 1] = sum_of_moduli(c[i], n_taps)
                standardise(read[i], n_read, features, read[i])
                gates[i] = bias
                u[i] = hidden_bias
            add_product(read, n_read, weight_in, gates, group)
            add_product(h, len(weight), weight, gates, group)
            for i in range(group):
                lstm_step(h[i], cell[i], gates[i])
            add_product(cell, len(weight), hidden_weight, u, group)
            for i in range(group):
                gamma, theta = chosen(u[i], head)
                gamma, theta = softplus(gamma) * scales[0], softplus(theta) * scales[1]
                n_active[i] = shrink(x[i], c[i], n_taps, gamma, theta, exempt[k], gain, spare, largest, active[i])
        for i in range(group):
            for n in range(n_taps):
                found[row + i, n] = complex(x[i, 0, n], x[i, 1, n])
        row += group
