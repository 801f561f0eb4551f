"""ALISTA for one processor core: sparse iterates, split real and imaginary parts, no temporaries.

An iterate has few taps that are not zero, so Phi x takes those columns of Phi, and W^H Phi x those columns of
W^H Phi: for a partial DFT with W = Phi they are windows of one Toeplitz sequence, which stays in the first cache.
"""

import numpy as np

from .compiling import Array, Scalar, compiled
from .elementwise import TINY
from .simd import (
    LANES,
    TOGETHER,
    WIDE,
    add_real_rows,
    add_real_rows_together,
    add_windows,
)


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
        total[0, n], total[1, n] = -values[0, n], -values[1, n]


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
        parts[0, n], parts[1, n] = v[n].real, v[n].imag


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
