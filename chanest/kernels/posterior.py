"""Gaussian posteriors for one processor core: covariance, Cholesky factor, inverse and its diagonal in one pass.

C = U^H U, row after row, in split real and imaginary parts; rows are filled up with zeros to whole vectors, and
every sum is over earlier rows, which lie in the first cache. Of C^-1 = U^-1 U^-H only the sums along equal
differences of pilots are kept: all that diag(Phi^H C^-1 Phi) needs.
"""

import math

import numpy as np

from .alista import split
from .compiling import Array, Scalar, compiled
from .simd import LANES, add_windows


@compiled
def factorise(
    spectrum: Array,
    load: Array,
    scale: Scalar,
    lag: Array,
    sign: Array,
    symbol: Array,
    correlation: Array,
    stop: int,
    re: Array,
    im: Array,
    offset: Array,
    weights: Array,
) -> bool:
    """Rows 0...stop - 1 of U from the spectrum of g; False where a pivot is not positive.

    C[i, j] = scale times spectrum[lag[i, j]], conjugate where sign[i, j] is -1, times the correlation of the symbols of
    i and j, and load[i] more on the diagonal.
    """
    n_rows, width = lag.shape[0], re.shape[1]
    row = np.empty((2, width), np.float32)
    for i in range(stop):
        start = i // LANES * LANES
        row[:, start:] = 0
        for j in range(i, n_rows):
            value = spectrum[lag[i, j]] * correlation[symbol[i], symbol[j]]
            row[0, j], row[1, j] = value.real * scale, value.imag * scale * sign[i, j]
        row[0, i] += load[i]
        for k in range(i):
            weights[0, k], weights[1, k] = -re[k, i], im[k, i]
        for column in range(start, width, LANES):
            add_windows(re, im, offset, weights[0], weights[1], 0, i, column, row)
        pivot = row[0, i]
        if not pivot > 0:
            return False
        reciprocal = np.float32(1.0) / np.sqrt(pivot)
        for j in range(start, width):
            re[i, j], im[i, j] = row[0, j] * reciprocal, row[1, j] * reciprocal
        re[i, start:i] = 0
        im[i, start : i + 1] = 0
    return True


@compiled
def invert_factor(re: Array, im: Array, inv_re: Array, inv_im: Array, offset: Array, weights: Array) -> None:
    """Rows of X = (U^H)^-1, lower triangular."""
    n_rows, width = inv_re.shape
    row = np.empty((2, width), np.float32)
    for i in range(n_rows):
        end = i // LANES * LANES + LANES
        row[:, :end] = 0
        for k in range(i):
            weights[0, k], weights[1, k] = -re[k, i], im[k, i]
        for column in range(0, i, LANES):  # row k ends with column k
            add_windows(inv_re, inv_im, offset, weights[0], weights[1], column, i, column, row)
        reciprocal = np.float32(1.0) / re[i, i]
        for j in range(end):
            inv_re[i, j], inv_im[i, j] = row[0, j] * reciprocal, row[1, j] * reciprocal
        inv_re[i, i], inv_im[i, i] = reciprocal, np.float32(0.0)
        for j in range(i + 1, width):
            inv_re[i, j], inv_im[i, j] = np.float32(0.0), np.float32(0.0)


@compiled
def posterior(
    spectrum: Array,
    load: Array,
    y: Array,
    n_fft: int,
    lag: Array,
    sign: Array,
    symbol: Array,
    correlation: Array,
    w: Array,
    lags: Array,
    outer: Array,
    diagonals: Array,
    scalars: Array,
    start: int,
    end: int,
) -> None:
    """For the rows start...end - 1, each of R snapshots: w = C^-1 y, sums of C^-1 along equal lags, and numbers.

    Args:
        spectrum: (B, n_fft // 2 + 1) of g; load: (B, M); y: (B, R, M); lag, sign: (M, M).
        symbol: (M,) of each pilot; correlation: (B, P, P) of the taps between symbols.
        w: (B, R, M); lags: (B, n_fft // 2 + 1), zeros.
        outer: as lags, the same sums of the mean of w w^H; (0, 0) where they are not asked for.
        diagonals: (2, B, M): the mean of |w|^2, and the diagonal of C^-1.
        scalars: (3, B): the mean ||w||^2, tr(C^-1), the mean y^H w; NaN where C is not positive definite.
    """
    n_snapshots, n_rows = y.shape[1:]
    width = (n_rows + LANES - 1) // LANES * LANES
    re, im = np.zeros((n_rows, width), np.float32), np.zeros((n_rows, width), np.float32)
    offset = np.arange(n_rows) * width
    inv_re, inv_im = np.empty((n_rows, width), np.float32), np.empty((n_rows, width), np.float32)
    weights, row = np.empty((2, n_rows), np.float32), np.empty((2, width), np.float32)
    ys, ws = np.zeros((2, width), np.float32), np.zeros((n_snapshots, 2, width), np.float32)
    scale, nyquist, two = np.float32(1.0 / n_rows), spectrum.shape[1] - 1, np.float32(2.0)
    share, joint = np.float32(1.0 / n_snapshots), outer.shape[0] > 0
    for b in range(start, end):
        if not factorise(
            spectrum[b], load[b], scale, lag, sign, symbol, correlation[b], n_rows, re, im, offset, weights
        ):
            scalars[:, b] = np.nan
            continue
        invert_factor(re, im, inv_re, inv_im, offset, weights)
        fit, trace, misfit = np.float32(0.0), np.float32(0.0), np.float32(0.0)
        diagonals[0, b] = 0
        for r in range(n_snapshots):
            split(y[b, r], ys)
            row[:] = 0
            for i in range(n_rows):
                sum_re, sum_im = np.float32(0.0), np.float32(0.0)
                for j in range(i // LANES * LANES + LANES):
                    sum_re += inv_re[i, j] * ys[0, j] - inv_im[i, j] * ys[1, j]
                    sum_im += inv_re[i, j] * ys[1, j] + inv_im[i, j] * ys[0, j]
                fit += sum_re * sum_re + sum_im * sum_im
                for j in range(width):  # X^H v
                    row[0, j] += inv_re[i, j] * sum_re + inv_im[i, j] * sum_im
                    row[1, j] += inv_re[i, j] * sum_im - inv_im[i, j] * sum_re
            for i in range(n_rows):
                w[b, r, i] = complex(row[0, i], row[1, i])
                power = row[0, i] * row[0, i] + row[1, i] * row[1, i]
                misfit += power
                diagonals[0, b, i] += power * share
            ws[r] = row
        for i in range(n_rows):
            stop = i // LANES * LANES + LANES
            row[:, :stop] = 0
            for k in range(i, n_rows):
                weights[0, k], weights[1, k] = inv_re[k, i], -inv_im[k, i]
            for column in range(0, stop, LANES):
                add_windows(inv_re, inv_im, offset, weights[0], weights[1], i, n_rows, column, row)
            for j in range(i):
                # both of +-lag fall on the same entry at 0 and at the Nyquist lag
                alike = correlation[b, symbol[i], symbol[j]]
                lags[b, lag[i, j]] += alike * complex(row[0, j], row[1, j] * sign[i, j])
            trace += row[0, i]
            diagonals[1, b, i] = row[0, i]
            if joint:
                row[:, :stop] = 0
                for r in range(n_snapshots):
                    p, q = ws[r, 0, i] * share, ws[r, 1, i] * share
                    for j in range(stop):  # w_i conj(w_j)
                        row[0, j] += p * ws[r, 0, j] + q * ws[r, 1, j]
                        row[1, j] += q * ws[r, 0, j] - p * ws[r, 1, j]
                for j in range(i):
                    alike = correlation[b, symbol[i], symbol[j]]
                    outer[b, lag[i, j]] += alike * complex(row[0, j], row[1, j] * sign[i, j])
        lags[b, 0] = lags[b, 0] * two + trace
        if 2 * nyquist == n_fft:
            lags[b, nyquist] *= two
        if joint:
            outer[b, 0] = outer[b, 0] * two + misfit * share
            if 2 * nyquist == n_fft:
                outer[b, nyquist] *= two
        scalars[0, b], scalars[1, b], scalars[2, b] = misfit * share, trace, fit * share


@compiled
def solve(
    spectrum: Array,
    load: Array,
    y: Array,
    lag: Array,
    sign: Array,
    symbol: Array,
    correlation: Array,
    w: Array,
    solved: Array,
    start: int,
    end: int,
) -> None:
    """w = C^-1 y, (B, R, M) both, for the rows start...end - 1; solved (B,) says where C is positive definite."""
    n_snapshots, n_rows = y.shape[1:]
    width = (n_rows + LANES - 1) // LANES * LANES
    re, im = np.zeros((n_rows, width), np.float32), np.zeros((n_rows, width), np.float32)
    offset = np.arange(n_rows) * width
    weights, v = np.empty((2, n_rows), np.float32), np.empty((2, width), np.float32)
    scale = np.float32(1.0 / n_rows)
    for b in range(start, end):
        solved[b] = factorise(
            spectrum[b], load[b], scale, lag, sign, symbol, correlation[b], n_rows, re, im, offset, weights
        )
        if not solved[b]:
            continue
        for r in range(n_snapshots):
            v[:] = 0
            split(y[b, r], v)
            for i in range(n_rows):  # U^H v = y, column after column of U^H
                p, q = v[0, i] / re[i, i], v[1, i] / re[i, i]
                for j in range(i // LANES * LANES, width):
                    v[0, j] -= re[i, j] * p + im[i, j] * q
                    v[1, j] -= re[i, j] * q - im[i, j] * p
                v[0, i], v[1, i] = p, q
            for i in range(n_rows - 1, -1, -1):  # U w = v
                p, q = v[0, i], v[1, i]
                for j in range(i + 1, n_rows):
                    p -= re[i, j] * v[0, j] - im[i, j] * v[1, j]
                    q -= re[i, j] * v[1, j] + im[i, j] * v[0, j]
                v[0, i], v[1, i] = p / re[i, i], q / re[i, i]
                w[b, r, i] = complex(v[0, i], v[1, i])


@compiled
def evidence(
    spectrum: Array,
    load: Array,
    y: Array,
    lag: Array,
    sign: Array,
    symbol: Array,
    correlation: Array,
    log_determinant: Array,
    agreement: Array,
    start: int,
    end: int,
) -> None:
    """log |C| and the agreement of symbols for every one of D correlations, for the rows start...end - 1.

    Args:
        spectrum, load, y, lag, sign, symbol: as of :func:`posterior`.
        correlation: (D, P, P), the same for all rows.
        log_determinant: (B, D); NaN where C is not positive definite.
        agreement: (B, D, P, P) complex, the sum over the snapshots of y_p^H C^-1 y_p', y_p being y on a symbol alone.
    """
    n_snapshots, n_rows = y.shape[1:]
    n_symbols = correlation.shape[1]
    width = (n_rows + LANES - 1) // LANES * LANES
    re, im = np.zeros((n_rows, width), np.float32), np.zeros((n_rows, width), np.float32)
    offset = np.arange(n_rows) * width
    weights, scale = np.empty((2, n_rows), np.float32), np.float32(1.0 / n_rows)
    v = np.empty((n_symbols, 2, width), np.float32)
    for b in range(start, end):
        for d in range(correlation.shape[0]):
            agreement[b, d] = 0
            if not factorise(
                spectrum[b], load[b], scale, lag, sign, symbol, correlation[d], n_rows, re, im, offset, weights
            ):
                log_determinant[b, d] = np.nan
                continue
            total = np.float32(0.0)
            for i in range(n_rows):
                total += np.float32(2.0) * np.log(re[i, i])
            log_determinant[b, d] = total
            for r in range(n_snapshots):
                v[:] = 0
                for i in range(n_rows):
                    v[symbol[i], 0, i], v[symbol[i], 1, i] = y[b, r, i].real, y[b, r, i].imag
                for p in range(n_symbols):  # U^H v = y_p
                    for i in range(n_rows):
                        x, z = v[p, 0, i] / re[i, i], v[p, 1, i] / re[i, i]
                        for j in range(i // LANES * LANES, width):
                            v[p, 0, j] -= re[i, j] * x + im[i, j] * z
                            v[p, 1, j] -= re[i, j] * z - im[i, j] * x
                        v[p, 0, i], v[p, 1, i] = x, z
                for p in range(n_symbols):
                    for q in range(n_symbols):
                        sum_re, sum_im = np.float32(0.0), np.float32(0.0)
                        for j in range(n_rows):
                            sum_re += v[p, 0, j] * v[q, 0, j] + v[p, 1, j] * v[q, 1, j]
                            sum_im += v[p, 0, j] * v[q, 1, j] - v[p, 1, j] * v[q, 0, j]
                        agreement[b, d, p, q] += complex(sum_re, sum_im)


@compiled
def evidence_of_two(
    spectrum: Array,
    load: Array,
    y: Array,
    lag: Array,
    sign: Array,
    n_first: int,
    rho: Array,
    log_determinant: Array,
    agreement: Array,
    start: int,
    end: int,
) -> None:
    """:func:`evidence` of two symbols, the first of which has the rows 0...n_first - 1, with the correlations rho (D,).

    C = [[A, rho K], [rho K^H, B]]: the factor of A and W = U^-H K are the same for all, of B - rho^2 W^H W one is taken
    for each.
    """
    n_snapshots, n_rows = y.shape[1:]
    width = (n_rows + LANES - 1) // LANES * LANES
    re, im = np.zeros((n_rows, width), np.float32), np.zeros((n_rows, width), np.float32)
    offset = np.arange(n_rows) * width
    base, gram = np.zeros((n_rows, 2, width), np.float32), np.zeros((n_rows, 2, width), np.float32)
    weights, row = np.empty((2, n_rows), np.float32), np.empty((2, width), np.float32)
    v, t = np.zeros((2, width), np.float32), np.zeros((n_snapshots, 2, width), np.float32)
    own, scale = np.zeros(n_snapshots, np.float32), np.float32(1.0 / n_rows)
    one_symbol, alike = np.zeros(n_rows, np.int32), np.ones((1, 1), np.float32)
    for b in range(start, end):
        log_determinant[b] = np.nan
        agreement[b] = 0
        first = factorise(spectrum[b], load[b], scale, lag, sign, one_symbol, alike, n_first, re, im, offset, weights)
        if not first:
            continue
        of_first = np.float32(0.0)
        for i in range(n_first):
            of_first += np.float32(2.0) * np.log(re[i, i])
        for i in range(n_first, n_rows):
            begin = i // LANES * LANES
            base[i, :, begin:] = 0
            for j in range(i, n_rows):
                value = spectrum[b, lag[i, j]]
                base[i, 0, j], base[i, 1, j] = value.real * scale, value.imag * scale * sign[i, j]
            base[i, 0, i] += load[b, i]
            gram[i, :, begin:] = 0
            for k in range(n_first):
                weights[0, k], weights[1, k] = -re[k, i], im[k, i]
            for column in range(begin, width, LANES):
                add_windows(re, im, offset, weights[0], weights[1], 0, n_first, column, gram[i])
        for r in range(n_snapshots):  # U^H v = y of the first symbol, t = W^H v
            v[:] = 0
            for i in range(n_first):
                v[0, i], v[1, i] = y[b, r, i].real, y[b, r, i].imag
            own[r] = 0
            for i in range(n_first):
                p, q = v[0, i] / re[i, i], v[1, i] / re[i, i]
                own[r] += p * p + q * q
                for j in range(i // LANES * LANES, width):
                    v[0, j] -= re[i, j] * p + im[i, j] * q
                    v[1, j] -= re[i, j] * q - im[i, j] * p
            t[r] = -v
        for d in range(len(rho)):
            total, squared = of_first, rho[d] * rho[d]
            positive = True
            for i in range(n_first, n_rows):
                begin = i // LANES * LANES
                for j in range(begin, width):
                    row[0, j] = base[i, 0, j] + squared * gram[i, 0, j]
                    row[1, j] = base[i, 1, j] + squared * gram[i, 1, j]
                for k in range(n_first, i):
                    weights[0, k], weights[1, k] = -re[k, i], im[k, i]
                for column in range(begin, width, LANES):
                    add_windows(re, im, offset, weights[0], weights[1], n_first, i, column, row)
                pivot = row[0, i]
                if not pivot > 0:
                    positive = False
                    break
                reciprocal = np.float32(1.0) / np.sqrt(pivot)
                for j in range(begin, width):
                    re[i, j], im[i, j] = row[0, j] * reciprocal, row[1, j] * reciprocal
                re[i, begin:i] = 0
                im[i, begin : i + 1] = 0
                total -= np.float32(2.0) * np.log(reciprocal)
            if not positive:
                continue
            log_determinant[b, d] = total
            for r in range(n_snapshots):
                both, mine, theirs = complex(0.0, 0.0), np.float32(0.0), np.float32(0.0)
                v[:] = 0
                row[:] = 0
                for i in range(n_first, n_rows):
                    v[0, i], v[1, i] = t[r, 0, i], t[r, 1, i]
                    row[0, i], row[1, i] = y[b, r, i].real, y[b, r, i].imag
                for i in range(n_first, n_rows):
                    reciprocal = np.float32(1.0) / re[i, i]
                    p, q, x, z = (
                        v[0, i] * reciprocal,
                        v[1, i] * reciprocal,
                        row[0, i] * reciprocal,
                        row[1, i] * reciprocal,
                    )
                    mine += p * p + q * q
                    theirs += x * x + z * z
                    both += complex(p * x + q * z, p * z - q * x)
                    for j in range(i // LANES * LANES, width):
                        v[0, j] -= re[i, j] * p + im[i, j] * q
                        v[1, j] -= re[i, j] * q - im[i, j] * p
                        row[0, j] -= re[i, j] * x + im[i, j] * z
                        row[1, j] -= re[i, j] * z - im[i, j] * x
                agreement[b, d, 0, 0] += own[r] + squared * mine
                agreement[b, d, 1, 1] += theirs
                agreement[b, d, 0, 1] -= rho[d] * both
                agreement[b, d, 1, 0] -= rho[d] * both.conjugate()


@compiled
def place_loads(g: Array, s: Array, loading: Scalar, load: Array) -> None:
    """What the diagonals of covariances carry, (n, M), from g (n, N) and s (n,): chanest.operators.cholesky."""
    m = np.float32(load.shape[1])
    for i in range(len(g)):
        total = np.float32(0.0)
        for n in range(g.shape[1]):
            total += g[i, n]
        load[i] = s[i] + loading * total / m


@compiled
def place_pilots(w: Array, bins: Array, grid: Array) -> None:
    """w (n, M) on the bins of spectra (n, n_fft), complex64; 0 elsewhere."""
    for i in range(len(w)):
        grid[i] = 0
        for j in range(w.shape[1]):
            grid[i, bins[j]] = w[i, j]


@compiled
def collect(
    taps: Array, sums: Array, scalars: Array, s: Array, n_rows: int, q: Array, d: Array, fit: Array, em: Array
) -> bool:
    """Moments from the transforms of what :func:`posterior` gave; False where a pivot was not positive.

    taps (n, n_fft) complex64, sums (n, n_fft), scalars (3, n), s (n,); q, d (n, N), fit, em (n,) are filled.
    """
    root, m = np.float32(1.0 / math.sqrt(n_rows)), np.float32(n_rows)
    for i in range(len(taps)):
        if math.isnan(scalars[0, i]):
            return False
        for n in range(q.shape[1]):
            q[i, n] = taps[i, n] * root
            d[i, n] = sums[i, n] / m
        fit[i] = scalars[2, i] / m
        em[i] = s[i] * (np.float32(1.0) + s[i] * (scalars[0, i] - scalars[1, i]) / m)
    return True


@compiled
def unexplained(
    spectrum: Array,
    load: Array,
    lag: Array,
    sign: Array,
    symbol: Array,
    correlation: Array,
    band_lag: Array,
    band_sign: Array,
    total: Array,
    variance: Array,
    start: int,
    end: int,
) -> None:
    """What pilots leave unexplained on subcarriers, p[k] = total - v_k^H C^-1 v_k, at least 0; NaN where a pivot fails.

    Args:
        spectrum, load, lag, sign, symbol, correlation: of :func:`posterior`.
        band_lag, band_sign: (M, n) as lag and sign, between pilots and subcarriers.
        total: (B,) sum of g; variance: (B, n) is filled.
    """
    (n_rows, n), scale = band_lag.shape, np.float32(1.0 / lag.shape[0])
    width, wide = (n_rows + LANES - 1) // LANES * LANES, (n + LANES - 1) // LANES * LANES
    re, im = np.zeros((n_rows, width), np.float32), np.zeros((n_rows, width), np.float32)
    inv_re, inv_im = np.empty((n_rows, width), np.float32), np.empty((n_rows, width), np.float32)
    offset, places = np.arange(n_rows) * width, np.arange(n_rows) * wide
    weights, row = np.empty((2, n_rows), np.float32), np.empty((2, wide), np.float32)
    v_re, v_im = np.zeros((n_rows, wide), np.float32), np.zeros((n_rows, wide), np.float32)
    explained = np.empty(wide, np.float32)
    for b in range(start, end):
        if not factorise(
            spectrum[b], load[b], scale, lag, sign, symbol, correlation[b], n_rows, re, im, offset, weights
        ):
            variance[b] = np.nan
            continue
        invert_factor(re, im, inv_re, inv_im, offset, weights)
        for j in range(n_rows):
            for k in range(n):
                value = spectrum[b, band_lag[j, k]]
                v_re[j, k], v_im[j, k] = value.real, value.imag * band_sign[j, k]
        explained[:] = 0
        for i in range(n_rows):
            row[:] = 0
            for k in range(i + 1):
                weights[0, k], weights[1, k] = inv_re[i, k], inv_im[i, k]
            for column in range(0, wide, LANES):
                add_windows(v_re, v_im, places, weights[0], weights[1], 0, i + 1, column, row)
            for k in range(wide):
                explained[k] += row[0, k] * row[0, k] + row[1, k] * row[1, k]
        for k in range(n):
            variance[b, k] = max(total[b] - explained[k] * scale, np.float32(0.0))
