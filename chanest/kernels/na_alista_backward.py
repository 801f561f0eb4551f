"""NA-ALISTA for training: all iterations forth, kept, and all of them back, TOGETHER estimates in step.

Vectors are split, (..., 2, width), their length filled up with zeros to a multiple of LANES; hidden units and every
quarter of the gates to one of WIDE. A gradient of a complex number is that of its real part and i times that of its
imaginary part.
"""

from typing import Any

import numpy as np

from .alista import add_columns, add_product, empty, shrink, split, start_from, up
from .compiling import compiled
from .elementwise import TINY, sigmoid, softplus, tanh
from .na_alista import chosen, look, lstm_step, standardise
from .simd import LANES, TOGETHER

Array = np.ndarray[Any, np.dtype[Any]]
Scalar = Any  # of numba, float32
_NOTHING = np.float32(1e-30)  # its reciprocal times zero is zero


@compiled
def forth(
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
    kept: tuple[Array, Array, Array, Array, Array, Array, Array, Array, Array],
    start: int,
    end: int,
) -> None:
    """:func:`chanest.kernels.na_alista.na_alista`, and everything that :func:`back` needs.

    Args:
        y, z: (B, M) and (B, N) = W^H y, complex.
        kept: for every iteration k and row, written here: x (K, B, 2, width) after it; c (K, B, 2, width) and
            norms (K, B, 2) before it; gains (K, B, N), by how much every entry was multiplied; read (K, B, 2), what the
            LSTM reads; gates (K, B, 4 H) before their nonlinearities; h and cell (K + 1, B, H), the initial ones first;
            u (K, B, H), before the rectifier.
        The others as there.
    """
    weight_in, weight, bias = lstm
    hidden_weight, hidden_bias = hidden
    xs, cs, norms, gains, reads_of, gates, hs, cells, us = kept
    n_taps, n_rows = sizes = gains.shape[2], y.shape[1]
    width = cs.shape[3]
    zs, ys, b = empty(TOGETHER, width), empty(TOGETHER, up(n_rows, LANES)), empty(1, up(n_rows, LANES))[0]
    spare, largest = empty(1, width)[0], np.empty(n_taps, np.int64)
    active, n_active = np.empty((TOGETHER, 2 * width), np.int64), np.empty(TOGETHER, np.int64)
    n_read = int(reads[0]) + int(reads[1])
    row = start
    while row < end:
        group = TOGETHER if end - row >= TOGETHER else 1
        rows = slice(row, row + group)
        for i in range(group):
            split(y[row + i], ys[i])
            split(z[row + i], zs[i])
            n_active[i] = 0
            hs[0, row + i] = initial[0]
            cells[0, row + i] = initial[1]
        for k in range(len(exempt)):
            for i in range(group):
                r = row + i
                c, x = cs[k, r], xs[k, r]
                if k == 0:
                    x[:] = 0
                else:
                    x[:] = xs[k - 1, r]
                look(x, active[i], n_active[i], ys[i], zs[i], sizes, tables, reads, b, c, spare, norms[k, r])
                c[:, n_taps:] = 0
                standardise(norms[k, r], n_read, features, reads_of[k, r])
                gates[k, r] = bias
                us[k, r] = hidden_bias
                cells[k + 1, r] = cells[k, r]
            add_product(reads_of[k, rows], n_read, weight_in, gates[k, rows], group)
            add_product(hs[k, rows], len(weight), weight, gates[k, rows], group)
            for i in range(group):
                lstm_step(hs[k + 1, row + i], cells[k + 1, row + i], gates[k, row + i])
            add_product(cells[k + 1, rows], len(hidden_weight), hidden_weight, us[k, rows], group)
            for i in range(group):
                r = row + i
                gamma, theta = chosen(us[k, r], head)
                gamma, theta = softplus(gamma) * scales[0], softplus(theta) * scales[1]
                n_active[i] = shrink(
                    xs[k, r], cs[k, r], n_taps, gamma, theta, exempt[k], gains[k, r], spare, largest, active[i]
                )
        row += group


@compiled
def back(
    y: Array,
    tables: tuple[Array, Array, Array, Array, Array, Array],
    scales: Array,
    reads: Array,
    features: Array,
    weights: tuple[Array, Array, Array],
    head: tuple[Array, Array],
    kept: tuple[Array, Array, Array, Array, Array, Array, Array, Array, Array],
    of_x: Array,
    found: tuple[Array, Array, Array, Array, Array, Array],
    start: int,
    end: int,
) -> None:
    """The adjoint of :func:`forth`: from the gradient of the last x those of all that is multiplied by weights.

    Args:
        weights: (4 H, H) of the LSTM, (inputs, 4 H) of what it reads, transposed, and (H, H) of the hidden layer.
        of_x: (B, 2, width); ends as rubbish.
        found: for every iteration and row the gradients of gates (K, B, 4 H), of u (K, B, H) and of the head's answers
            (K, B, 2); of the initial h and cell (2, B, H); of y (B, 2, rows) and z (B, 2, width), zeros at
            first, or (0, ...) where nobody asks.
    """
    gram, first, columns, columns_first, _, _ = tables
    weight, weight_in, hidden_weight = weights
    xs, cs, norms, gains, _, gates, _, cells, us = kept
    of_gates, of_us, of_head, of_initial, of_y, of_z = found
    n_iterations, n_taps, n_rows, width = len(xs), gains.shape[2], of_y.shape[2], cs.shape[3]
    room, n_read = us.shape[2], int(reads[0]) + int(reads[1])
    ys, b, d, spare = empty(1, n_rows)[0], empty(1, n_rows)[0], empty(TOGETHER, width), empty(1, width)[0]
    active, n_active = np.empty((TOGETHER, 2 * width), np.int64), np.empty(TOGETHER, np.int64)
    of_h, of_cell = np.zeros((TOGETHER, room), np.float32), np.zeros((TOGETHER, room), np.float32)
    of_norms = np.zeros(2, np.float32)
    row = start
    while row < end:
        group = TOGETHER if end - row >= TOGETHER else 1
        rows = slice(row, row + group)
        of_h[:], of_cell[:] = 0, 0
        for i in range(group):
            n_active[i] = find(gains[n_iterations - 1, row + i], active[i])
        for k in range(n_iterations - 1, -1, -1):
            for i in range(group):
                r = row + i
                # through x = eta(x - gamma c); what came through c and the norms of the next iteration is in of_x
                of_gamma, of_theta = shrink_back(xs[k, r], cs[k, r], gains[k, r], of_x[r], active[i], n_active[i])
                gamma, theta = chosen(us[k, r], head)
                of_head[k, r, 0] = of_gamma * scales[0] * sigmoid(gamma)
                of_head[k, r, 1] = of_theta * scales[1] * sigmoid(theta)
                step_size = softplus(gamma) * scales[0]
                for part in range(2):
                    for n in range(width):
                        d[i, part, n] = -step_size * of_x[r, part, n]
                for j in range(room):
                    by = of_head[k, r, 0] * head[0][0, j] + of_head[k, r, 1] * head[0][1, j]
                    of_us[k, r, j] = by if us[k, r, j] > 0 else np.float32(0.0)
            add_product(of_us[k, rows], room, hidden_weight, of_cell, group)
            for i in range(group):
                r = row + i
                lstm_back(gates[k, r], cells[k, r], cells[k + 1, r], of_h[i], of_cell[i], of_gates[k, r])
                of_h[i] = 0
            add_product(of_gates[k, rows], 4 * room, weight, of_h, group)
            for i in range(group):
                r = row + i
                for f in range(n_read):
                    of_read = np.float32(0.0)
                    for j in range(4 * room):
                        of_read += of_gates[k, r, j] * weight_in[f, j]
                    of_norms[f] = of_read * features[1, f] / max(norms[k, r, f], TINY)
                if reads[1]:
                    add_towards(cs[k, r], of_norms[n_read - 1], d[i])
                b[:] = 0
                n_active[i] = find(gains[k - 1, r], active[i]) if k > 0 else 0
                if reads[0]:
                    split(y[r], ys)
                    start_from(ys, b)
                    if k > 0:
                        add_columns(xs[k - 1, r], active[i], n_active[i], columns, columns_first, spare, b)
                    towards(b, of_norms[0])
                for a in range(n_active[i]):
                    n = active[i, a]
                    begin, pilot = first[n], columns_first[n]
                    p, q = product(gram[0, begin : begin + n_taps], gram[1, begin : begin + n_taps], d[i])
                    of_x[r, 0, n] += p
                    of_x[r, 1, n] += q
                    if reads[0]:
                        p, q = product(columns[0, pilot : pilot + n_rows], columns[1, pilot : pilot + n_rows], b)
                        of_x[r, 0, n] += p
                        of_x[r, 1, n] += q
                if len(of_y):
                    for part in range(2):
                        for n in range(width):
                            of_z[r, part, n] -= d[i, part, n]
                        for n in range(n_rows):
                            of_y[r, part, n] -= b[part, n]
        for i in range(group):
            of_initial[0, row + i] = of_h[i]
            of_initial[1, row + i] = of_cell[i]
        row += group


@compiled
def find(gain: Array, active: Array) -> int:
    """Where the gain is not zero, and how many these are."""
    n_active = 0
    for n in range(len(gain)):
        active[n_active] = n
        n_active += gain[n] != 0
    return n_active


@compiled
def shrink_back(x: Array, c: Array, gain: Array, of_x: Array, active: Array, n_active: int) -> tuple[Scalar, Scalar]:
    """of_x from the gradient of x = eta(v) to that of v = x - gamma c; the gradients of gamma and theta."""
    one = np.float32(1.0)
    of_gamma, of_theta = np.float32(0.0), np.float32(0.0)
    for n in range(len(gain)):
        of_x[0, n] = of_x[0, n] if gain[n] != 0 else np.float32(0.0)
        of_x[1, n] = of_x[1, n] if gain[n] != 0 else np.float32(0.0)
    for a in range(n_active):
        n = active[a]
        if gain[n] != one:  # shrunk: x = v (1 - theta / |v|)
            length = max(np.sqrt(x[0, n] * x[0, n] + x[1, n] * x[1, n]), TINY)
            re, im = x[0, n] / length, x[1, n] / length
            along = re * of_x[0, n] + im * of_x[1, n]
            of_theta -= along
            of_x[0, n] = gain[n] * of_x[0, n] + (one - gain[n]) * along * re
            of_x[1, n] = gain[n] * of_x[1, n] + (one - gain[n]) * along * im
        of_gamma -= c[0, n] * of_x[0, n] + c[1, n] * of_x[1, n]
    return of_gamma, of_theta


@compiled
def lstm_back(gates: Array, cell: Array, new_cell: Array, of_h: Array, of_cell: Array, of_gates: Array) -> None:
    """Through one step of the LSTM: of_cell from the new cell's gradient to the old one's, and that of the gates."""
    room, half, one = len(cell), np.float32(0.5), np.float32(1.0)
    for j in range(room):
        enter = half + half * tanh(half * gates[j])
        keep = half + half * tanh(half * gates[room + j])
        value = tanh(gates[2 * room + j])
        leave = half + half * tanh(half * gates[3 * room + j])
        bent = tanh(new_cell[j])
        by = of_cell[j] + of_h[j] * leave * (one - bent * bent)
        of_gates[j] = by * value * enter * (one - enter)
        of_gates[room + j] = by * cell[j] * keep * (one - keep)
        of_gates[2 * room + j] = by * enter * (one - value * value)
        of_gates[3 * room + j] = of_h[j] * bent * leave * (one - leave)
        of_cell[j] = by * keep


@compiled
def product(re: Array, im: Array, v: Array) -> tuple[Scalar, Scalar]:
    """(re + i im)^H v."""
    p, q = np.float32(0.0), np.float32(0.0)
    for i in range(re.shape[0]):
        p += re[i] * v[0, i] + im[i] * v[1, i]
        q += re[i] * v[1, i] - im[i] * v[0, i]
    return p, q


@compiled
def towards(v: Array, scale: Scalar) -> None:
    """v <- scale v / |v|, entry by entry."""
    for i in range(v.shape[1]):
        share = scale / max(np.sqrt(v[0, i] * v[0, i] + v[1, i] * v[1, i]), _NOTHING)
        v[0, i] *= share
        v[1, i] *= share


@compiled
def add_towards(v: Array, scale: Scalar, out: Array) -> None:
    """out += scale v / |v|, entry by entry."""
    for i in range(v.shape[1]):
        share = scale / max(np.sqrt(v[0, i] * v[0, i] + v[1, i] * v[1, i]), _NOTHING)
        out[0, i] += share * v[0, i]
        out[1, i] += share * v[1, i]
