"""One iteration of NA-ALISTA for training, forth and back, on the loops of :mod:`chanest.kernels.shrinking`."""

from typing import Any

import numpy as np

from .compiling import compiled
from .rows import LANES
from .shrinking import TINY, add_columns, shrink, split, start_from, sum_of_moduli, up

Array = np.ndarray[Any, np.dtype[Any]]


@compiled
def step(
    x: Array,
    c: Array,
    y: Array,
    z: Array,
    tables: tuple[Array, Array, Array, Array, Array, Array],
    gamma: Array,
    theta: Array,
    n_exempt: int,
    new_x: Array,
    new_c: Array,
    norms: Array,
    gains: Array,
    start: int,
    end: int,
) -> None:
    """One iteration for training, rows start...end - 1: x, c to new_x = eta(x - gamma c), new_c = W^H Phi new_x - z.

    Args:
        x, c, z, new_x, new_c: (B, N) complex; y: (B, M); gamma, theta: (B,).
        norms: (2, B), ||Phi new_x - y||_1 and ||new_c||_1.
        gains: (B, N), by how much every entry of x - gamma c was multiplied: what :func:`step_back` needs.
    """
    gram, first, columns, columns_first, _, _ = tables
    n_taps, width, n_rows = x.shape[1], up(x.shape[1], LANES), up(y.shape[1], LANES)
    xs, cs, zs = np.zeros((2, width), np.float32), np.zeros((2, width), np.float32), np.zeros((2, width), np.float32)
    ys, b, spare = (
        np.zeros((2, n_rows), np.float32),
        np.empty((2, n_rows), np.float32),
        np.empty((2, width), np.float32),
    )
    active, largest = np.empty(2 * width, np.int64), np.empty(n_taps, np.int64)
    for row in range(start, end):
        split(x[row], xs)
        split(c[row], cs)
        n_active = shrink(xs, cs, n_taps, gamma[row], theta[row], n_exempt, gains[row], spare, largest, active)
        split(z[row], zs)
        split(y[row], ys)
        start_from(zs, cs)
        start_from(ys, b)
        add_columns(xs, active, n_active, gram, first, spare, cs)
        add_columns(xs, active, n_active, columns, columns_first, spare, b)
        norms[0, row] = sum_of_moduli(b, y.shape[1])
        norms[1, row] = sum_of_moduli(cs, n_taps)
        for n in range(n_taps):
            new_x[row, n] = complex(xs[0, n], xs[1, n])
            new_c[row, n] = complex(cs[0, n], cs[1, n])


@compiled
def step_back(
    c: Array,
    y: Array,
    tables: tuple[Array, Array, Array, Array, Array, Array],
    gamma: Array,
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

    A gradient of a complex number is that of its real part and i times that of its imaginary part. Entries that the
    threshold made zero pass nothing on.
    """
    gram, first, columns, columns_first, _, _ = tables
    n_taps, n_rows, m = c.shape[1], up(y.shape[1], LANES), y.shape[1]
    width = up(n_taps, LANES)
    xs, cs, ds = np.zeros((2, width), np.float32), np.zeros((2, width), np.float32), np.zeros((2, width), np.float32)
    ys, b, spare = (
        np.zeros((2, n_rows), np.float32),
        np.empty((2, n_rows), np.float32),
        np.empty((2, width), np.float32),
    )
    active = np.empty(2 * width, np.int64)
    one = np.float32(1.0)
    for row in range(start, end):
        n_active = 0
        for n in range(n_taps):
            active[n_active] = n
            n_active += gains[row, n] != 0
        split(new_x[row], xs)
        split(new_c[row], cs)
        split(y[row], ys)
        start_from(ys, b)
        add_columns(xs, active, n_active, columns, columns_first, spare, b)
        by_r, by_u = of_norms[0, row], of_norms[1, row]
        for i in range(n_rows):
            scale = by_r / max(np.sqrt(b[0, i] * b[0, i] + b[1, i] * b[1, i]), TINY)
            b[0, i] *= scale
            b[1, i] *= scale
        split(of_new_c[row], ds)
        for n in range(n_taps):
            scale = by_u / max(np.sqrt(cs[0, n] * cs[0, n] + cs[1, n] * cs[1, n]), TINY)
            ds[0, n] += scale * cs[0, n]
            ds[1, n] += scale * cs[1, n]
        for i in range(m):
            of_y[row, i] = complex(-b[0, i], -b[1, i])
        for n in range(n_taps):
            of_z[row, n] = complex(-ds[0, n], -ds[1, n])
            of_x[row, n] = 0
            of_c[row, n] = 0
        step_size = gamma[row]
        by_gamma, by_theta = np.float32(0.0), np.float32(0.0)
        for a in range(n_active):
            n = active[a]
            column_re, column_im = gram[0, first[n] : first[n] + n_taps], gram[1, first[n] : first[n] + n_taps]
            pilot = columns_first[n]
            pilot_re_of, pilot_im_of = columns[0, pilot : pilot + n_rows], columns[1, pilot : pilot + n_rows]
            re, im = np.float32(0.0), np.float32(0.0)
            for i in range(n_taps):
                re += column_re[i] * ds[0, i] + column_im[i] * ds[1, i]
                im += column_re[i] * ds[1, i] - column_im[i] * ds[0, i]
            pilot_re, pilot_im = np.float32(0.0), np.float32(0.0)
            for i in range(n_rows):
                pilot_re += pilot_re_of[i] * b[0, i] + pilot_im_of[i] * b[1, i]
                pilot_im += pilot_re_of[i] * b[1, i] - pilot_im_of[i] * b[0, i]
            re += pilot_re + of_new_x[row, n].real
            im += pilot_im + of_new_x[row, n].imag
            gain = gains[row, n]
            if gain != one:  # shrunk: x' = v (1 - theta / |v|)
                length = np.sqrt(xs[0, n] * xs[0, n] + xs[1, n] * xs[1, n])
                unit_re, unit_im = xs[0, n] / max(length, TINY), xs[1, n] / max(length, TINY)
                along = unit_re * re + unit_im * im
                by_theta -= along
                re = gain * re + (one - gain) * along * unit_re
                im = gain * im + (one - gain) * along * unit_im
            of_x[row, n] = complex(re, im)
            of_c[row, n] = complex(-step_size * re, -step_size * im)
            by_gamma -= c[row, n].real * re + c[row, n].imag * im
        of_gamma[row], of_theta[row] = by_gamma, by_theta
