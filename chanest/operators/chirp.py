"""A few outputs of a long DFT from a few of its inputs, by chirps (Bluestein, 1970; Rabiner, Schafer, Rader, 1969)."""

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor


class ChirpTransform:
    """exp(-2 pi i k n / length) for the k of pilots and n = 0...n_taps - 1, by two FFTs as long as both ranges.

    With k = k_0 + c j, c the greatest common divisor of the pilots' distances, and 2 n j = n^2 + j^2 - (n - j)^2, the
    sum over n or j is a convolution with exp(pi i c (n - j)^2 / length).

    Args:
        subcarriers: (M,) int64, distinct.
        n_taps: N.
        length: of the DFT.

    Attributes:
        size: of the FFTs.

    >>> some = ChirpTransform(torch.tensor([-300, -7, 5, 120]), 16, 1024)
    >>> x = torch.ones(1, 16, dtype=torch.complex128)
    >>> torch.allclose(some.forward(x), torch.fft.fft(x, 1024)[:, [-300, -7, 5, 120]])
    True
    """

    def __init__(self, subcarriers: Tensor, n_taps: int, length: int) -> None:
        first = int(subcarriers.min())
        apart = subcarriers - first
        step = max(1, math.gcd(*apart.tolist()))
        self._at, self.n_taps = apart // step, n_taps
        reach = int(self._at.max()) + 1
        self.size = next_fast_len(reach + n_taps - 1)
        n = torch.arange(n_taps, device=subcarriers.device)
        self._of_taps = turned(-(step * n * n + 2 * first * n), 2 * length)
        self._of_pilots = turned(-step * self._at * self._at, 2 * length)
        lags = torch.arange(1 - n_taps, reach, device=subcarriers.device)
        chirp = turned(step * lags * lags, 2 * length)
        self._spectrum = torch.fft.fft(chirp.new_zeros(self.size).index_copy(0, lags % self.size, chirp))

    def forward(self, x: Tensor) -> Tensor:
        """(*batch, N) -> (*batch, M)."""
        spectrum = torch.fft.fft(x * self._of_taps, self.size).mul(self._spectrum)
        return torch.fft.ifft(spectrum)[..., self._at] * self._of_pilots

    def adjoint(self, y: Tensor) -> Tensor:
        """(*batch, M) -> (*batch, N)."""
        placed = y.new_zeros(*y.shape[:-1], self.size).index_copy(-1, self._at, y * self._of_pilots.conj())
        convolved = torch.fft.ifft(torch.fft.fft(placed).mul(self._spectrum.conj()))
        return convolved[..., : self.n_taps] * self._of_taps.conj()


def turned(index: Tensor, n: int) -> Tensor:
    """exp(2 pi i index / n), (len,) complex128."""
    angle = 2 * torch.pi * (index % n).double() / n
    return torch.polar(torch.ones_like(angle), angle)
