"""Posteriors in the domain of the taps: what stands between the factorisations, in one pass over each matrix."""

from .compiling import Array, compiled


@compiled
def fill(strip: Array, taps: Array, root: Array, normal: Array, start: int, end: int) -> None:
    """normal = I + D T_aa D for the groups start...end - 1, the lower triangle.

    Args:
        strip: (B, L, L, 2 N - 1) complex128 or float64, T of every pair of layers from lag N - 1 down to 1 - N.
        taps: (B, A); root: (B, A), the diagonal of D.
        normal: (B, A, A) as strip, zeros.
    """
    n_taps = (strip.shape[3] + 1) // 2
    for b in range(start, end):
        for i in range(taps.shape[1]):
            layer, place = taps[b, i] // n_taps, taps[b, i] % n_taps
            for j in range(i + 1):
                other, at = taps[b, j] // n_taps, taps[b, j] % n_taps
                normal[b, i, j] = strip[b, layer, other, n_taps - 1 - place + at] * (root[b, i] * root[b, j])
            normal[b, i, i] += 1.0


@compiled
def scale(inverse: Array, root: Array, covariance: Array, start: int, end: int) -> None:
    """covariance = D conj(inverse) D^H for the groups start...end - 1, (B, A, A) both; root (B, A), complex, of D."""
    for b in range(start, end):
        for i in range(root.shape[1]):
            for j in range(root.shape[1]):
                covariance[b, i, j] = inverse[b, i, j].conjugate() * (root[b, i] * root[b, j].conjugate())


@compiled
def sum_lags(covariance: Array, taps: Array, n_taps: int, length: int, sums: Array, start: int, end: int) -> None:
    """Sums of P along equal differences of taps, of every pair of layers, for the groups start...end - 1.

    Args:
        covariance: (B, A, A); taps: (B, A).
        sums: (B, L, L, length) complex128, zeros.
    """
    for b in range(start, end):
        for i in range(taps.shape[1]):
            layer, place = taps[b, i] // n_taps, taps[b, i] % n_taps
            for j in range(taps.shape[1]):
                other, at = taps[b, j] // n_taps, taps[b, j] % n_taps
                lag = place - at
                sums[b, layer, other, lag if lag >= 0 else lag + length] += covariance[b, i, j]
