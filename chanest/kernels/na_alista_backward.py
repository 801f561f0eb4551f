"""The adjoint of NA-ALISTA's iterations, from what :func:`chanest.kernels.na_alista.iterate` has cached.

A gradient of a complex number is that of its real part and i times that of its imaginary part.
"""

import numpy as np

from .alista import add_columns, add_product, empty, split, start_from
from .compiling import Array, Scalar, compiled
from .elementwise import TINY, sigmoid, softplus, tanh
from .na_alista import chosen
from .simd import TOGETHER

_NOTHING = np.float32(1e-30)  # its reciprocal times zero is zero


@compiled
def backward(
    y: Array,
    tables: tuple[Array, Array, Array, Array, Array, Array],
    scales: Array,
    reads: Array,
    features: Array,
    weights: tuple[Array, Array, Array],
    head: tuple[Array, Array],
    workspace: tuple[Array, Array, Array, Array, Array, Array, Array, Array, Array],
    grad_x: Array,
    found: tuple[Array, Array, Array, Array, Array, Array],
    start: int,
    end: int,
) -> None:
    """From the gradient of the last x those of all that is multiplied by weights.

    Args:
        weights: (4 H, H) of the LSTM, (inputs, 4 H) of what it reads, transposed, and (H, H) of the hidden layer.
        workspace: as it was cached.
        grad_x: (B, 2, width); ends as rubbish.
        found: for every iteration and row the gradients of gates (K, B, 4 H), of u (K, B, H) and of the head's answers
            (K, B, 2); of the initial h and cell (2, B, H); of y (B, 2, rows) and z (B, 2, width), zeros at
            first, or (0, ...) where nobody asks.
    """
    gram, first, columns, columns_first, _, _ = tables
    weight, weight_in, hidden_weight = weights
    xs, cs, norms, gains, _, gates, _, cells, us = workspace
    grad_gates, grad_us, grad_head, grad_initial, grad_y, grad_z = found
    n_iterations, n_taps, n_rows, width = len(xs), gains.shape[2], grad_y.shape[2], cs.shape[3]
    n_hidden, n_read = us.shape[2], int(reads[0]) + int(reads[1])
    ys, b, d, spare = empty(1, n_rows)[0], empty(1, n_rows)[0], empty(TOGETHER, width), empty(1, width)[0]
    active, n_active = np.empty((TOGETHER, 2 * width), np.int64), np.empty(TOGETHER, np.int64)
    grad_h, grad_cell = np.zeros((TOGETHER, n_hidden), np.float32), np.zeros((TOGETHER, n_hidden), np.float32)
    grad_norms = np.zeros(2, np.float32)
    row = start
    while row < end:
        group = TOGETHER if end - row >= TOGETHER else 1
        rows = slice(row, row + group)
        grad_h[:], grad_cell[:] = 0, 0
        for i in range(group):
            n_active[i] = find(gains[n_iterations - 1, row + i], active[i])
        for k in range(n_iterations - 1, -1, -1):
            for i in range(group):
                r = row + i
                # through x = eta(x - gamma c); what came through c and the norms of the next iteration is in grad_x
                grad_gamma, grad_theta = shrink_backward(
                    xs[k, r], cs[k, r], gains[k, r], grad_x[r], active[i], n_active[i]
                )
                gamma, theta = chosen(us[k, r], head)
                grad_head[k, r, 0] = grad_gamma * scales[0] * sigmoid(gamma)
                grad_head[k, r, 1] = grad_theta * scales[1] * sigmoid(theta)
                step_size = softplus(gamma) * scales[0]
                for part in range(2):
                    for n in range(width):
                        d[i, part, n] = -step_size * grad_x[r, part, n]
                for j in range(n_hidden):
                    grad = grad_head[k, r, 0] * head[0][0, j] + grad_head[k, r, 1] * head[0][1, j]
                    grad_us[k, r, j] = grad if us[k, r, j] > 0 else np.float32(0.0)
            add_product(grad_us[k, rows], n_hidden, hidden_weight, grad_cell, group)
            for i in range(group):
                r = row + i
                lstm_backward(gates[k, r], cells[k, r], cells[k + 1, r], grad_h[i], grad_cell[i], grad_gates[k, r])
                grad_h[i] = 0
            add_product(grad_gates[k, rows], 4 * n_hidden, weight, grad_h, group)
            for i in range(group):
                r = row + i
                for f in range(n_read):
                    grad_read = np.float32(0.0)
                    for j in range(4 * n_hidden):
                        grad_read += grad_gates[k, r, j] * weight_in[f, j]
                    grad_norms[f] = grad_read * features[1, f] / max(norms[k, r, f], TINY)
                if reads[1]:
                    add_towards(cs[k, r], grad_norms[n_read - 1], d[i])
                b[:] = 0
                n_active[i] = find(gains[k - 1, r], active[i]) if k > 0 else 0
                if reads[0]:
                    split(y[r], ys)
                    start_from(ys, b)
                    if k > 0:
                        add_columns(xs[k - 1, r], active[i], n_active[i], columns, columns_first, spare, b)
                    towards(b, grad_norms[0])
                for a in range(n_active[i]):
                    n = active[i, a]
                    begin, pilot = first[n], columns_first[n]
                    add_inner(gram[0, begin : begin + n_taps], gram[1, begin : begin + n_taps], d[i], grad_x[r], n)
                    if reads[0]:
                        re, im = columns[0, pilot : pilot + n_rows], columns[1, pilot : pilot + n_rows]
                        add_inner(re, im, b, grad_x[r], n)
                if len(grad_y):
                    for part in range(2):
                        for n in range(width):
                            grad_z[r, part, n] -= d[i, part, n]
                        for n in range(n_rows):
                            grad_y[r, part, n] -= b[part, n]
        for i in range(group):
            grad_initial[0, row + i], grad_initial[1, row + i] = grad_h[i], grad_cell[i]
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
def shrink_backward(
    x: Array, c: Array, gain: Array, grad_x: Array, active: Array, n_active: int
) -> tuple[Scalar, Scalar]:
    """grad_x from the gradient of x = eta(v) to that of v = x - gamma c; the gradients of gamma and theta."""
    one = np.float32(1.0)
    grad_gamma, grad_theta = np.float32(0.0), np.float32(0.0)
    for n in range(len(gain)):
        grad_x[0, n] = grad_x[0, n] if gain[n] != 0 else np.float32(0.0)
        grad_x[1, n] = grad_x[1, n] if gain[n] != 0 else np.float32(0.0)
    for a in range(n_active):
        n = active[a]
        if gain[n] != one:  # shrunk: x = v (1 - theta / |v|)
            length = max(np.sqrt(x[0, n] * x[0, n] + x[1, n] * x[1, n]), TINY)
            re, im = x[0, n] / length, x[1, n] / length
            along = re * grad_x[0, n] + im * grad_x[1, n]
            grad_theta -= along
            grad_x[0, n] = gain[n] * grad_x[0, n] + (one - gain[n]) * along * re
            grad_x[1, n] = gain[n] * grad_x[1, n] + (one - gain[n]) * along * im
        grad_gamma -= c[0, n] * grad_x[0, n] + c[1, n] * grad_x[1, n]
    return grad_gamma, grad_theta


@compiled
def lstm_backward(
    gates: Array, cell: Array, new_cell: Array, grad_h: Array, grad_cell: Array, grad_gates: Array
) -> None:
    """Through one step of the LSTM: grad_cell from the new cell's gradient to the old one's, and grad_gates."""
    n, half, one = len(cell), np.float32(0.5), np.float32(1.0)
    for j in range(n):
        input_gate = half + half * tanh(half * gates[j])
        forget_gate = half + half * tanh(half * gates[n + j])
        cell_gate = tanh(gates[2 * n + j])
        output_gate = half + half * tanh(half * gates[3 * n + j])
        bent = tanh(new_cell[j])
        grad = grad_cell[j] + grad_h[j] * output_gate * (one - bent * bent)
        grad_gates[j] = grad * cell_gate * input_gate * (one - input_gate)
        grad_gates[n + j] = grad * cell[j] * forget_gate * (one - forget_gate)
        grad_gates[2 * n + j] = grad * input_gate * (one - cell_gate * cell_gate)
        grad_gates[3 * n + j] = grad_h[j] * bent * output_gate * (one - output_gate)
        grad_cell[j] = grad * forget_gate


@compiled
def add_inner(re: Array, im: Array, v: Array, total: Array, n: int) -> None:
    """total[:, n] += (re + i im)^H v."""
    p, q = np.float32(0.0), np.float32(0.0)
    for i in range(re.shape[0]):
        p += re[i] * v[0, i] + im[i] * v[1, i]
        q += re[i] * v[1, i] - im[i] * v[0, i]
    total[0, n] += p
    total[1, n] += q


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
