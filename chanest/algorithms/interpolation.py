"""From pilots to the CFR directly, without taps: least squares with linear or spline interpolation, and LMMSE."""

from abc import abstractmethod
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import AlgorithmError
from ..operators import LinearOperator, PartialDFT, cached
from .base import Estimator
from .noise import estimate_noise
from .results import BandEstimate

MOST_DIRECTLY = 256  # pilots up to which R_pp is as good as a smaller matrix
_LOADING = 1e-6  # of the pilots' power: keeps R_pp + s I invertible without noise


class Interpolator(Estimator):
    """Estimators that fill the used subcarriers from the pilots; nothing is learned or iterated."""

    any_n_iterations = False
    complex_only = True
    n_iterations = 1

    def __init__(self, **hyperparameters: Any) -> None:
        super().__init__()
        self.hyperparameters = hyperparameters

    def checked_iterations(self, asked: int | None) -> int:
        """1; AlgorithmError when another number is asked for."""
        if asked not in (None, 1):
            raise AlgorithmError(f"{self.name} does not iterate, asked for {asked}; leave it out", field="iterations")
        return 1

    def forward(
        self,
        y: Tensor,
        phi: PartialDFT,
        band: PartialDFT,
        noise_variance: Tensor | None = None,
        error_variance: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Interpolate.

        Args:
            y: (*batch, M) complex, H + noise at the pilots over sqrt(M), ||y|| = 1.
            phi: the pilots, ascending.
            band: the subcarriers to fill.
            noise_variance: (*batch,) of an entry of y; estimated where it is needed and None.
            error_variance: whether to give it.

        Returns:
            H (*batch, M') complex for pilots sqrt(M) y, and its error variance (*batch, M'), or None.
        """
        m = phi.n_measurements
        noise = None if noise_variance is None else noise_variance * m
        return self._interpolate(y * m**0.5, phi, band, noise, error_variance)

    @abstractmethod
    def _interpolate(
        self, h: Tensor, phi: PartialDFT, band: PartialDFT, noise_variance: Tensor | None, error_variance: bool
    ) -> tuple[Tensor, Tensor | None]:
        """:meth:`forward` for h of mean power 1 and the noise variance of an entry of h."""

    def estimate(
        self,
        y: Tensor,
        phi: LinearOperator,
        band: LinearOperator | None,
        noise_variance: Tensor | None = None,
        *,
        n_iterations: int | None = None,
        record: bool = False,
        error_variance: bool = False,
    ) -> BandEstimate:
        self.checked_iterations(n_iterations)
        response, variance = self(y, phi, band, noise_variance, error_variance)
        return BandEstimate(None, response, variance)


class LinearInterpolation(Interpolator):
    """A straight line between neighbouring pilots, constant beyond the outermost: what a receiver does today.

    The error variance is that of the noise alone.

    >>> phi, band = (PartialDFT(torch.tensor(k), n_taps=1) for k in ([2, 4], [1, 2, 3, 4, 9]))
    >>> y = torch.tensor([1.0, 3.0]) / 2**0.5 + 0j
    >>> [round(h, 6) for h in LinearInterpolation()(y, phi, band, torch.tensor(0.1))[0].real.tolist()]
    [1.0, 1.0, 2.0, 3.0, 3.0]
    """

    name = "linear"

    def _interpolate(
        self, h: Tensor, phi: PartialDFT, band: PartialDFT, noise_variance: Tensor | None, error_variance: bool
    ) -> tuple[Tensor, Tensor | None]:
        pilots, subcarriers = phi.subcarriers, band.subcarriers
        right = torch.searchsorted(pilots, subcarriers).clamp(1, len(pilots) - 1)
        left = right - 1
        span = pilots[right] - pilots[left]
        fraction = ((subcarriers - pilots[left]).double() / span).clamp(0, 1).to(h.real.dtype)
        estimate = h[..., left] * (1 - fraction) + h[..., right] * fraction
        if not error_variance:
            return estimate, None
        gain = fraction.square() + (1 - fraction).square()
        return estimate, _noise(h, phi, noise_variance).unsqueeze(-1) * gain


class SplineInterpolation(Interpolator):
    """A natural cubic spline through the pilots (scipy's CubicSpline), constant beyond the outermost.

    The error variance is that of the noise alone.

    >>> phi, band = (PartialDFT(k, n_taps=1, n_fft=64) for k in (torch.tensor([-4, -2, 1, 3]), torch.arange(-4, 4)))
    >>> h, _ = SplineInterpolation()(phi.subcarriers / 2 + 0j, phi, band, torch.tensor(0.1))
    >>> torch.allclose(h.real, band.subcarriers.float(), atol=1e-5)
    True
    """

    name = "spline"

    def _interpolate(
        self, h: Tensor, phi: PartialDFT, band: PartialDFT, noise_variance: Tensor | None, error_variance: bool
    ) -> tuple[Tensor, Tensor | None]:
        made = cached(phi, (self.name, _subcarriers(band)), lambda: _spline_weights(phi.subcarriers, band.subcarriers))
        weights = made.to(h.device, h.real.dtype)
        estimate = h @ weights.to(h.dtype).mT
        if not error_variance:
            return estimate, None
        return estimate, _noise(h, phi, noise_variance).unsqueeze(-1) * weights.square().sum(-1)


class LMMSE(Interpolator):
    """Wiener interpolation: R_ap (R_pp + s I)^-1 h, R[k, k'] = sum_p power_p exp(-2 pi i (k - k') delay_p/n_fft).

    One eigendecomposition of R_pp serves every noise variance of the batch.

    Args:
        delays_samples, powers: (P,) the delay profile; powers are scaled to the sum 1 - s.

    Raises:
        AlgorithmError: lengths differ, or no power.

    >>> phi, band = (PartialDFT(torch.arange(-30, 31, step), n_taps=8, n_fft=64) for step in (4, 1))
    >>> h, error = FlatLMMSE(n_taps=8)(torch.ones(16) / 4 + 0j, phi, band, torch.tensor(1e-5))
    >>> bool((h - 1).abs().max() < 0.01), error.shape
    (True, torch.Size([61]))
    """

    name = "lmmse"

    def __init__(self, delays_samples: Tensor, powers: Tensor, **hyperparameters: Any) -> None:
        super().__init__(**hyperparameters)
        if delays_samples.shape != powers.shape or not bool((powers >= 0).all() and powers.sum() > 0):
            raise AlgorithmError(f"{self.name}: expected a power, not negative, for each of the delays")
        self.delays, self.powers = delays_samples.double(), powers.double() / powers.double().sum()

    def rescaled(self, factor: float) -> "LMMSE":
        return type(self)(self.delays * factor, self.powers)

    def _interpolate(
        self, h: Tensor, phi: PartialDFT, band: PartialDFT, noise_variance: Tensor | None, error_variance: bool
    ) -> tuple[Tensor, Tensor | None]:
        profile = self.delays.numpy().tobytes(), self.powers.numpy().tobytes()
        key = self.name, *profile, _subcarriers(band)
        eigenvalues, basis, cross = cached(phi, key, lambda: self._parts(phi, band))
        s = _noise(h, phi, noise_variance).to(eigenvalues)
        signal = (1 - s).clamp_min(0.01)
        gain = 1 / (eigenvalues.clamp_min(0) + ((s + _LOADING) / signal).unsqueeze(-1))  # (*batch, M)
        estimate = ((h.to(basis.dtype) @ basis.conj() * gain) @ cross.mT).to(h.dtype)
        if not error_variance:
            return estimate, None
        error = signal.unsqueeze(-1) * (1 - gain @ cross.abs().square().mT).clamp_min(0)
        return estimate, error.to(h.real.dtype)

    def _parts(self, phi: PartialDFT, band: PartialDFT) -> tuple[Tensor, Tensor, Tensor]:
        """Eigenvalues (r,) of R_pp, all that are not 0, eigenvectors U (M, r), and R_ap U."""
        at_pilots, at_all = self._exponentials(phi), self._exponentials(band)
        powers = self.powers.to(phi.device)
        weighted = at_pilots.conj() * powers
        if len(powers) >= len(at_pilots) or len(at_pilots) <= MOST_DIRECTLY:
            eigenvalues, basis = torch.linalg.eigh(at_pilots @ weighted.mT)
        else:  # of the smaller matrix
            root = at_pilots * powers.sqrt()
            eigenvalues, basis = torch.linalg.eigh(root.mH @ root)
            heard = eigenvalues > 1e-12 * eigenvalues[-1]
            eigenvalues = eigenvalues[heard]
            basis = root @ basis[:, heard] / eigenvalues.sqrt()
        return eigenvalues, basis, at_all @ (weighted.mT @ basis)

    def _exponentials(self, phi: PartialDFT) -> Tensor:
        turns = phi.subcarriers.double().unsqueeze(-1) * self.delays.to(phi.device) / phi.n_fft
        return torch.polar(torch.ones_like(turns), -2 * torch.pi * turns)


class FlatLMMSE(LMMSE):
    """LMMSE that knows the longest delay only: equal power on every tap.

    Args:
        n_taps: length of the profile in samples.

    >>> FlatLMMSE(n_taps=4).powers.tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    name = "lmmse-flat"

    def __init__(self, n_taps: int = 256) -> None:
        super().__init__(torch.arange(n_taps), torch.ones(n_taps), n_taps=n_taps)

    def rescaled(self, factor: float) -> "FlatLMMSE":
        return FlatLMMSE(ceil(len(self.delays) * factor))


class ExponentialLMMSE(LMMSE):
    """LMMSE with the profile exp(-n / spread), n = 0...n_taps - 1.

    Args:
        spread_samples: the decay constant, which is also the RMS delay spread.
        n_taps: length of the profile in samples.

    >>> ExponentialLMMSE(spread_samples=20).delays.shape
    torch.Size([256])
    """

    name = "lmmse-exponential"

    def __init__(self, spread_samples: float = 20.0, n_taps: int = 256) -> None:
        n = torch.arange(n_taps, dtype=torch.float64)
        super().__init__(n, torch.exp(-n / spread_samples), spread_samples=spread_samples, n_taps=n_taps)

    def rescaled(self, factor: float) -> "ExponentialLMMSE":
        spread, n_taps = self.hyperparameters["spread_samples"], self.hyperparameters["n_taps"]
        return ExponentialLMMSE(spread * factor, ceil(n_taps * factor))


class TrueLMMSE(LMMSE):
    """LMMSE that is told the scenario's own mean delay profile.

    >>> TrueLMMSE(torch.tensor([0.0, 2.5]), torch.tensor([1.0, 1.0])).powers.tolist()
    [0.5, 0.5]
    """

    name = "lmmse-true"


def _noise(h: Tensor, phi: PartialDFT, noise_variance: Tensor | None) -> Tensor:
    """The noise variance per pilot; where unknown, estimated for delays up to a quarter of the symbol."""
    if noise_variance is not None:
        return noise_variance.expand(h.shape[:-1]).to(h.real.dtype)
    m = phi.n_measurements
    quarter = cached(
        phi,
        ("quarter", h.dtype),
        lambda: PartialDFT(phi.subcarriers, phi.n_fft // 4, n_fft=phi.n_fft, dtype=h.dtype, device=h.device),
    )
    return estimate_noise(h / m**0.5, quarter) * m


def _subcarriers(band: PartialDFT) -> bytes:
    """Those of a band, to know it again; read from its device once."""
    return cached(band, "subcarriers", lambda: band.subcarriers.cpu().numpy().tobytes())


def _spline_weights(pilots: Tensor, used: Tensor) -> Tensor:
    """(n, M) float64: from values at the pilots to those of their spline, which is held beyond the outermost."""
    from scipy.interpolate import CubicSpline

    kind = "natural" if len(pilots) > 2 else "not-a-knot"
    spline = CubicSpline(pilots.cpu().numpy(), np.eye(len(pilots)), bc_type=kind)
    return torch.from_numpy(spline(used.clamp(pilots[0], pilots[-1]).cpu().numpy())).to(pilots.device)
