"""One iteration of NA-ALISTA for training, forth and back, on the loops of :mod:`chanest.kernels.shrinking`.

Vectors are split, (B, 2, width), their length filled up with zeros to a multiple of LANES.
"""

from typing import Any

import numpy as np

from .compiling import compiled
from .shrinking import TINY, add_columns, shrink, start_from, sum_of_moduli

Array = np.ndarray[Any, np.dtype[Any]]


@compiled
def step(
    x: Array,
    c: Array,
    y: Array,
    z: Array,
    tables: tuple[Array, Array, Array, Array, Array, Array],
    n_taps: int,
    gamma: Array,
    theta: Array,
    n_exempt: int,
    last: bool,
    new_x: Array,
    new_c: Array,
    norms: Array,
    gains: Array,
    start: int,
    end: int,
) -> None:
    """One iteration, rows start...end - 1: x, c to new_x = eta(x - gamma c), new_c = W^H Phi new_x - z.

    Args:
        x, c, z, new_x, new_c: (B, 2, width); y: (B, 2, rows); gamma, theta: (B,).
        last: whether new_c and the norms may be left out.
        norms: (2, B), ||Phi new_x - y||_1 and ||new_c||_1.
        gains: (B, N), by how much every entry of x - gamma c was multiplied: what :func:`step_back` needs.
    """
    gram, first, columns, columns_first, _, _ = tables
    width, n_rows = x.shape[2], y.shape[2]
    b, spare = np.empty((2, n_rows), np.float32), np.empty((2, width), np.float32)
    active, largest = np.empty(2 * width, np.int64), np.empty(n_taps, np.int64)
    for row in range(start, end):
        own = new_x[row]
        own[:] = x[row]
        n_active = shrink(own, c[row], n_taps, gamma[row], theta[row], n_exempt, gains[row], spare, largest, active)
        if last:
            continue
        start_from(z[row], new_c[row])
        start_from(y[row], b)
        add_columns(own, active, n_active, gram, first, spare, new_c[row])
        add_columns(own, active, n_active, columns, columns_first, spare, b)
        new_c[row, :, n_taps:] = 0
        norms[0, row] = sum_of_moduli(b, n_rows)
        norms[1, row] = sum_of_moduli(new_c[row], n_taps)


@compiled
def step_back(
    c: Array,
    y: Array,
    tables: tuple[Array, Array, Array, Array, Array, Array],
    n_taps: int,
    gamma: Array,
    last: bool,
    new_x: Array,
    new_c: Array,
    gains: Array,
    of_new_x: Array,
    of_new_c: Array,
    of_norms: Array,
    of_x: Array,
    of_c: Array,
    of_y: Array,
    of_z: Array,
    of_gamma: Array,
    of_theta: Array,
    start: int,
    end: int,
) -> None:
    """The adjoint of :func:`step`: from gradients of new_x, new_c and norms those of x, c, y, z, gamma and theta.

    Those of y and z are left out where there is no room for them, (0, 2, width). Entries that the threshold made zero
    pass nothing on.
    """
    gram, first, columns, columns_first, _, _ = tables
    width, n_rows = c.shape[2], y.shape[2]
    b, d = np.zeros((2, n_rows), np.float32), np.zeros((2, width), np.float32)
    spare, active = np.empty((2, width), np.float32), np.empty(2 * width, np.int64)
    one = np.float32(1.0)
    for row in range(start, end):
        n_active = 0
        for n in range(n_taps):
            active[n_active] = n
            n_active += gains[row, n] != 0
        own = new_x[row]
        if not last:
            start_from(y[row], b)
            add_columns(own, active, n_active, columns, columns_first, spare, b)
            towards(b, of_norms[0, row], b)
            d[:] = of_new_c[row]
            add_towards(new_c[row], of_norms[1, row], d)
        if len(of_y):
            start_from(b, of_y[row])
            start_from(d, of_z[row])
        of_x[row] = 0
        of_c[row] = 0
        by_gamma, by_theta = np.float32(0.0), np.float32(0.0)
        for a in range(n_active):
            n = active[a]
            re, im = of_new_x[row, 0, n], of_new_x[row, 1, n]
            if not last:
                begin, pilot = first[n], columns_first[n]
                p, q = product(gram[0, begin : begin + n_taps], gram[1, begin : begin + n_taps], d)
                r, s = product(columns[0, pilot : pilot + n_rows], columns[1, pilot : pilot + n_rows], b)
                re += p + r
                im += q + s
            gain = gains[row, n]
            if gain != one:  # shrunk: x' = v (1 - theta / |v|)
                length = np.sqrt(own[0, n] * own[0, n] + own[1, n] * own[1, n])
                unit_re, unit_im = own[0, n] / max(length, TINY), own[1, n] / max(length, TINY)
                along = unit_re * re + unit_im * im
                by_theta -= along
                re = gain * re + (one - gain) * along * unit_re
                im = gain * im + (one - gain) * along * unit_im
            of_x[row, 0, n], of_x[row, 1, n] = re, im
            of_c[row, 0, n], of_c[row, 1, n] = -gamma[row] * re, -gamma[row] * im
            by_gamma -= c[row, 0, n] * re + c[row, 1, n] * im
        of_gamma[row], of_theta[row] = by_gamma, by_theta


@compiled
def product(re: Array, im: Array, v: Array) -> tuple[Any, Any]:
    """(re + i im)^H v."""
    p, q = np.float32(0.0), np.float32(0.0)
    for i in range(re.shape[0]):
        p += re[i] * v[0, i] + im[i] * v[1, i]
        q += re[i] * v[1, i] - im[i] * v[0, i]
    return p, q


@compiled
def towards(v: Array, scale: Any, out: Array) -> None:
    """out = scale v / |v|, entry by entry."""
    for i in range(v.shape[1]):
        share = scale / max(np.sqrt(v[0, i] * v[0, i] + v[1, i] * v[1, i]), TINY)
        out[0, i] = share * v[0, i]
        out[1, i] = share * v[1, i]


@compiled
def add_towards(v: Array, scale: Any, out: Array) -> None:
    """out += scale v / |v|, entry by entry."""
    for i in range(v.shape[1]):
        share = scale / max(np.sqrt(v[0, i] * v[0, i] + v[1, i] * v[1, i]), TINY)
        out[0, i] += share * v[0, i]
        out[1, i] += share * v[1, i]
