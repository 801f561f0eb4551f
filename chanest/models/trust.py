"""How far an estimate is believed between and beyond the pilots: few of them, blocks, clusters, one side of a band.

No estimator knows a channel far from its pilots, and sparse ones do not say so: they put their paths somewhere and
follow them. Here a path may lie wherever the pilots would hardly tell it from where it is, and what the linear MMSE
estimate of such channels explains of a subcarrier is how far its estimate is believed.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..operators import PartialDFT
from ..problems import PilotPattern, period_samples

_FEW = 16  # pilots
_SHARE, _FAR = 0.1, 2.0  # so much of the band, so many times as far from all pilots as they would stand apart on a comb
_CLEAN = 1e-3  # noise over signal, below which a path is believed to lie where it was found
_TINY, _PER_PATH = 8, 3  # pilots below which paths may be anywhere; numbers that a path has
_REACH, _STEEP = 2, 8  # spans of the pilots beyond them, and how suddenly their reach ends
_SURE = 0.9  # explained, from which on the estimator's own error variance holds
_ENOUGH = 200  # pilots, to say what they explain: of more, every second, third ...
_CHUNK = 64


class Sharpness(NamedTuple):
    """Of the likelihood of a path's delay: a share of the pilots' SNR, and at most so much, up to 30 dB."""

    share: float
    most: float


WEIGHED, POINT = Sharpness(0.3, 30.0), Sharpness(1.0, 10.0)  # of algorithms that weigh delays, and of others


@lru_cache(maxsize=512)
def leaves_open(pattern: PilotPattern) -> bool:
    """Whether pilots leave part of the band open: there are few, or a tenth of it lies far from all.

    >>> [leaves_open(p) for p in (PilotPattern.random(75, seed=0), PilotPattern.comb(12), PilotPattern((1, 2, 3)))]
    [False, False, True]
    """
    if len(pattern) < _FEW:
        return True
    k, used = np.asarray(pattern.subcarriers), np.asarray(pattern.used_subcarriers)
    above = np.clip(np.searchsorted(k, used), 1, len(k) - 1)
    apart = np.minimum(np.abs(used - k[above]), np.abs(used - k[above - 1]))
    return bool(np.quantile(apart, 1 - _SHARE) > _FAR * len(used) / len(k))


def believed(
    x: Tensor, noise: Tensor, phi: PartialDFT, band: PartialDFT, pattern: PilotPattern, sharpness: Sharpness
) -> Tensor:
    """(batch, n_used) in 0...1: how much of the response of x every subcarrier is explained.

    Args:
        x: (batch, R, N) coefficients; R snapshots share their delays.
        noise: (batch,) over the power of the pilots.
        phi, band: from the taps to the pilots and to the used subcarriers.
        pattern: the pilots.
        sharpness: of the algorithm.
    """
    n, m, device = phi.length, phi.n_measurements, x.device
    some = phi.subcarriers[:: max(1, m // _ENOUGH)]  # as noisy as all of them
    where = phi.first_tap_samples, phi.n_fft, torch.complex128, device, phi.spacing_samples
    circle, everywhere = PartialDFT(some, n, *where), PartialDFT(band.subcarriers, n, *where)
    pilots = torch.zeros(n, dtype=torch.float64, device=device).index_fill(0, circle.bins, 1 / len(some))
    alike = torch.fft.fft(pilots).abs().square()  # of two delays so far apart, to the pilots
    apart = torch.arange(n, device=device)
    near = torch.minimum(apart, n - apart) * phi.spacing_samples < period_samples(pattern) / 2
    noise = noise.double().clamp(1e-9, 1 / 1.1)
    ratio = noise / (1 - noise)  # noise over signal
    made = []
    for rows, own in zip(x.split(_CHUNK), ratio.split(_CHUNK), strict=True):
        power = torch.nn.functional.pad(rows.abs().double().square().mean(-2), (0, n - x.shape[-1]))
        total = power.sum(-1, keepdim=True)
        silent = total.squeeze(-1) <= 0
        power = torch.where(silent.unsqueeze(-1), 1.0, power / total.clamp_min(1e-300))
        power = power / power.sum(-1, keepdim=True)
        paths = 1 / power.square().sum(-1)
        steep = sharpness.share * m * x.shape[-2] / (own * paths)
        steep = torch.minimum(steep, sharpness.most * (_CLEAN / own).clamp_min(1))
        likely = torch.exp(steep.unsqueeze(-1) * (alike - 1)) * near
        likely = likely / likely.sum(-1, keepdim=True)
        blurred = torch.fft.ifft(torch.fft.fft(power) * torch.fft.fft(likely)).real.clamp_min(0)
        if m < _TINY:
            unsure = (_PER_PATH * paths / m).clamp_max(1).square().unsqueeze(-1)
            blurred = (1 - unsure) * blurred + unsure * near / near.sum()
        load = (own / m + 1e-9 / m).unsqueeze(-1).expand(-1, len(some))
        root = torch.linalg.cholesky(circle.covariance(blurred) + torch.diag_embed(load).to(torch.complex128))
        white = torch.linalg.solve_triangular(root, circle.cross_covariance(everywhere, blurred), upper=False)
        explained = white.abs().square().sum(-2) * everywhere.n_measurements / blurred.sum(-1, keepdim=True)
        made.append(explained.clamp(0, 1))
    return torch.cat(made) * _within_reach(phi.subcarriers, band.subcarriers)


def _within_reach(pilots: Tensor, used: Tensor) -> Tensor:
    """(n_used,) float64: 1 near the pilots, 0 far beyond twice their span, where nobody follows unresolved paths."""
    first, last = pilots.min(), pilots.max()
    beyond = torch.maximum(first - used, used - last).clamp_min(0) / (_REACH * (last - first + 1))
    return 1 / (1 + beyond.double() ** _STEEP)


@dataclass(frozen=True)
class Found:
    """What was found in pilots, and from what.

    Attributes:
        x, y: (batch, R, N) coefficients, (batch, R, M) observations of mean square 1/M.
        told: (batch,) or (batch, M) noise variance of an entry of y, or None.
        phi, band: from the taps to the pilots and to the used subcarriers.
        pattern: the pilots.
        weighs_delays: of the algorithm.
    """

    x: Tensor
    y: Tensor
    told: Tensor | None
    phi: Any
    band: Any
    pattern: PilotPattern
    weighs_delays: bool

    def doubted(self, cfr: Tensor, variance: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """A response and its error variance where the pilots leave part of the band open, else both as they are.

        The response is shrunk by what is not explained of it, the variance is at least that share of the power where
        it is much.

        Args:
            cfr: (batch, R, n_used), in any units.
            variance: (batch, R, n_used) for pilots of mean power 1, R = 1 where all snapshots have the same; or None.
        """
        if not leaves_open(self.pattern):
            return cfr, variance
        with torch.no_grad():
            noise = _noise_of_power(self.y, self.x, self.phi, self.told)
            sharpness = WEIGHED if self.weighs_delays else POINT
            explained = believed(self.x, noise, self.phi, self.band, self.pattern, sharpness).unsqueeze(1)
            factor = (1 - (1 - explained).square()).to(cfr.real.dtype)
        if variance is not None:
            not_explained = (1 - explained).to(variance.dtype).expand(variance.shape)
            variance = torch.where(explained < _SURE, torch.maximum(variance, not_explained), variance)
        return cfr * factor, variance


def _noise_of_power(y: Tensor, x: Tensor, phi: PartialDFT, told: Tensor | None) -> Tensor:
    """(batch,) noise over the power of the pilots, which is 1: as told, or what the estimate leaves over."""
    if told is None:
        return (y - phi.forward(x)).abs().double().square().mean((-2, -1)) * y.shape[-1]
    told = told.double() * y.shape[-1]
    return told if told.ndim == 1 else 1 / (1 / told).mean(-1)
