"""NA-ALISTA for one processor core: the loop of :mod:`chanest.kernels.alista`, steered by an LSTM.

TOGETHER estimates in step. Vectors are split, (..., 2, width), their length filled up with zeros to a multiple of
LANES; hidden units and every quarter of the gates to one of WIDE.
"""

import math

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
from .compiling import Array, Scalar, compiled, inlined
from .elementwise import TINY, softplus, tanh
from .simd import LANES, TOGETHER


@compiled
def lstm_step(h: Array, cell: Array, gates: Array) -> None:
    """h and cell from the gates (input, forget, cell, output), a quarter each."""
    half, n = np.float32(0.5), len(gates) // 4
    input_gate, forget_gate, cell_gate, output_gate = gates[:n], gates[n : 2 * n], gates[2 * n : 3 * n], gates[3 * n :]
    for j in range(n):
        cell[j] = (half + half * tanh(half * forget_gate[j])) * cell[j] + (
            half + half * tanh(half * input_gate[j])
        ) * tanh(cell_gate[j])
    for j in range(n):
        h[j] = (half + half * tanh(half * output_gate[j])) * tanh(cell[j])


@compiled
def standardise(norms: Array, n_read: int, features: Array, read: Array) -> None:
    """The LSTM's input, from the norms; features: mean and reciprocal deviation."""
    for f in range(n_read):
        read[f] = (np.float32(math.log(max(norms[f], TINY))) - features[0, f]) * features[1, f]


@compiled
def chosen(u: Array, head: tuple[Array, Array]) -> tuple[Scalar, Scalar]:
    """The head's answers, before softplus."""
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
def iterate(
    y: Array,
    z: Array,
    tables: tuple[Array, Array, Array, Array, Array, Array],
    exempt: Array,
    scales: Array,
    reads: Array,
    features: Array,
    lstm: tuple[Array, Array, Array],
    hidden: tuple[Array, Array],
    head: tuple[Array, Array],
    initial: Array,
    workspace: tuple[Array, Array, Array, Array, Array, Array, Array, Array, Array],
    cached: bool,
    found: Array,
    start: int,
    end: int,
) -> None:
    """NA-ALISTA's iterations for the rows start...end - 1 of y (B, M), into found (B, N).

    Args:
        z: (B, N) W^H y; (0, N) where it is to be computed.
        exempt: (K,) entries of each iteration.
        scales: (2,) of gamma and theta.
        reads: (2,) whether the LSTM reads b and c.
        features: (2, inputs), mean and reciprocal deviation.
        lstm, hidden: weights, transposed, and biases.
        initial: (2, H).
        workspace: for every iteration and row, where they are to be cached for the gradient: x (K, B, 2, width) after
            it; c (K, B, 2, width) and norms (K, B, 2) before it; gains (K, B, N), by how much every entry was
            multiplied; read (K, B, 2), the LSTM's input; gates (K, B, 4 H) before their nonlinearities; h and cell
            (K + 1, B, H), the initial ones first; u (K, B, H), before the rectifier. Else one iteration overwrites the
            other, (1, TOGETHER, ...) all of them.
    """
    _, _, _, _, adjoint, adjoint_first = tables
    weight_in, weight, bias = lstm
    hidden_weight, hidden_bias = hidden
    xs, cs, norms, gains, read, gates, hs, cells, us = workspace
    n_taps, n_rows = sizes = found.shape[1], y.shape[1]
    n_slots, n_states, width = len(xs), len(hs), xs.shape[3]
    zs, ys, b = empty(TOGETHER, width), empty(TOGETHER, up(n_rows, LANES)), empty(1, up(n_rows, LANES))[0]
    spare, largest = empty(1, width)[0], np.empty(n_taps, np.int64)
    active, n_active = np.empty((TOGETHER, 2 * width), np.int64), np.empty(TOGETHER, np.int64)
    n_read = int(reads[0]) + int(reads[1])
    row = start
    while row < end:
        group = TOGETHER if end - row >= TOGETHER else 1
        place = row if cached else 0
        places = slice(place, place + group)
        for i in range(group):
            split(y[row + i], ys[i])
            if len(z):
                split(z[row + i], zs[i])
            else:
                project(ys[i], adjoint, adjoint_first, zs[i])
            xs[0, place + i] = 0
            hs[0, place + i], cells[0, place + i] = initial[0], initial[1]
            n_active[i] = 0
        for k in range(len(exempt)):
            slot, before, after = k % n_slots, k % n_states, (k + 1) % n_states
            for i in range(group):
                r = place + i
                x, c = xs[slot, r], cs[slot, r]
                if slot > 0:
                    x[:] = xs[slot - 1, r]
                look(x, active[i], n_active[i], ys[i], zs[i], sizes, tables, reads, b, c, spare, norms[slot, r])
                c[:, n_taps:] = 0
                standardise(norms[slot, r], n_read, features, read[slot, r])
                gates[slot, r], us[slot, r] = bias, hidden_bias
                if after > before:
                    cells[after, r] = cells[before, r]
            add_product(read[slot, places], n_read, weight_in, gates[slot, places], group)
            add_product(hs[before, places], len(weight), weight, gates[slot, places], group)
            for i in range(group):
                lstm_step(hs[after, place + i], cells[after, place + i], gates[slot, place + i])
            add_product(cells[after, places], len(weight), hidden_weight, us[slot, places], group)
            for i in range(group):
                r = place + i
                gamma, theta = chosen(us[slot, r], head)
                gamma, theta = softplus(gamma) * scales[0], softplus(theta) * scales[1]
                n_active[i] = shrink(
                    xs[slot, r], cs[slot, r], n_taps, gamma, theta, exempt[k], gains[slot, r], spare, largest, active[i]
                )
        for i in range(group):
            x = xs[n_slots - 1, place + i]
            for n in range(n_taps):
                found[row + i, n] = complex(x[0, n], x[1, n])
        row += group


@compiled
def na_alista(
    y: Array,
    z: Array,
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
    """:func:`iterate` where no gradient is asked for."""
    n_taps, n_hidden = found.shape[1], len(hidden[1])
    width = up(n_taps, LANES)
    workspace = (
        np.empty((1, TOGETHER, 2, width), np.float32),
        np.empty((1, TOGETHER, 2, width), np.float32),
        np.empty((1, TOGETHER, 2), np.float32),
        np.empty((1, TOGETHER, n_taps), np.float32),
        np.empty((1, TOGETHER, 2), np.float32),
        np.empty((1, TOGETHER, 4 * n_hidden), np.float32),
        np.empty((1, TOGETHER, n_hidden), np.float32),
        np.empty((1, TOGETHER, n_hidden), np.float32),
        np.empty((1, TOGETHER, n_hidden), np.float32),
    )
    network = (reads, features, lstm, hidden, head, initial)
    iterate(y, z, tables, exempt, scales, *network, workspace, False, found, start, end)
