"""NA-ALISTA for one processor core: the loop of :mod:`chanest.kernels.alista`, steered by an LSTM."""

import math
from typing import Any

import numpy as np

from .alista import (
    add_columns,
    add_product,
    empty,
    project,
    shrink,
    split,
    start_from,
    sum_of_moduli,
    up,
)
from .compiling import compiled, inlined
from .elementwise import TINY, softplus, tanh
from .simd import LANES, TOGETHER

Array = np.ndarray[Any, np.dtype[Any]]
Scalar = Any  # of numba, float32


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


@inlined
def look(
    x: Array,
    active: Array,
    n_active: int,
    y: Array,
    z: Array,
    sizes: tuple[int, int],
    tables: tuple[Array, Array, Array, Array, Array, Array],
    reads: Array,
    b: Array,
    c: Array,
    spare: Array,
    norms: Array,
) -> None:
    """c = W^H (Phi x - y) and, of this and of b = Phi x - y, the norms that are read; ``sizes`` N and M."""
    gram, first, columns, columns_first, _, _ = tables
    start_from(z, c)
    add_columns(x, active, n_active, gram, first, spare, c)
    if reads[0]:
        start_from(y, b)
        add_columns(x, active, n_active, columns, columns_first, spare, b)
        norms[0] = sum_of_moduli(b, sizes[1])
    if reads[1]:
        norms[int(reads[0])] = sum_of_moduli(c, sizes[0])


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
    _, _, _, _, adjoint, adjoint_first = tables
    weight_in, weight, bias = lstm
    hidden_weight, hidden_bias = hidden
    n_taps, n_rows = sizes = found.shape[1], y.shape[1]
    width, room = up(n_taps, LANES), len(hidden_bias)
    zs, c, x = empty(TOGETHER, width), empty(TOGETHER, width), empty(TOGETHER, width)
    ys, b, spare = empty(TOGETHER, up(n_rows, LANES)), empty(1, up(n_rows, LANES))[0], empty(1, width)[0]
    gain, largest, active = (
        np.empty(n_taps, np.float32),
        np.empty(n_taps, np.int64),
        np.empty((TOGETHER, 2 * width), np.int64),
    )
    norms, read = np.empty((TOGETHER, 2), np.float32), np.empty((TOGETHER, 2), np.float32)
    gates = np.empty((TOGETHER, 4 * room), np.float32)
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
                look(x[i], active[i], n_active[i], ys[i], zs[i], sizes, tables, reads, b, c[i], spare, norms[i])
                standardise(norms[i], n_read, features, read[i])
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
