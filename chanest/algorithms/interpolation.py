"""From pilots to the CFR directly, without taps: least squares with linear or spline interpolation, and LMMSE."""

from abc import ABC, abstractmethod
from math import ceil
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import AlgorithmError
from ..operators import PartialDFT
from .noise import estimate_noise
from .results import BandEstimate

_LOADING = 1e-6  # of the pilots' power: keeps R_pp + s I invertible without noise


class Interpolator(nn.Module, ABC):
    """What fills the used subcarriers from the pilots.

    Attributes:
        name: lower-case name, as on the command line.
        learned, any_n_iterations, n_iterations: as of an Algorithm; nothing is learned or iterated.
    """

    name: ClassVar[str]
    learned: ClassVar[bool] = False
    any_n_iterations: ClassVar[bool] = False
    n_iterations = 1
    gives_error_variance: ClassVar[bool] = True

    def __init__(self, **hyperparameters: Any) -> None:
        super().__init__()
        self.hyperparameters: dict[str, Any] = hyperparameters

    def checked_iterations(self, asked: int | None) -> int:
        """1; AlgorithmError when another number is asked for."""
        if asked not in (None, 1):
            raise AlgorithmError(f"{self.name} does not iterate, asked for {asked}; leave it out", field="iterations")
        return 1

    def rescaled(self, factor: float) -> "Interpolator":
        """The same interpolator where the samples are shorter by a factor; itself where it knows no delays."""
        return self

    complex_only: ClassVar[bool] = True

    def check(self, phi: Any) -> None:
        pass

    def estimate(
        self,
        y: Tensor,
        phi: Any,
        band: Any,
        noise_variance: Tensor | None = None,
        *,
        n_iterations: int | None = None,
        record: bool = False,
        error_variance: bool = False,
    ) -> BandEstimate:
        self.checked_iterations(n_iterations)
        m = phi.n_measurements
        relative = None if noise_variance is None else noise_variance * m
        cfr, variance = self(y * m**0.5, phi.subcarriers, band.subcarriers, phi.n_fft, relative, error_variance)
        return BandEstimate(None, cfr, variance)

    @abstractmethod
    def forward(
        self,
        h: Tensor,
        pilots: Tensor,
        subcarriers: Tensor,
        n_fft: int,
        noise_variance: Tensor | None = None,
        error_variance: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Interpolate.

        Args:
            h: (*batch, M) complex, H + noise at the pilots, of mean power 1.
            pilots: (M,) ascending subcarriers.
            subcarriers: (n,) subcarriers to fill.
            n_fft: DFT length.
            noise_variance: (*batch,) of an entry of h; estimated where it is needed and None.
            error_variance: whether to give it.

        Returns:
            H (*batch, n) complex and its error variance (*batch, n), or None.
        """


class LinearInterpolation(Interpolator):
    """A straight line between neighbouring pilots, constant beyond the outermost: what a receiver does today.

    The error variance is that of the noise alone.

    >>> h = torch.tensor([1.0, 3.0]) + 0j
    >>> args = h, torch.tensor([2, 4]), torch.tensor([1, 2, 3, 4, 9]), 1024, torch.tensor(0.1)
    >>> [t.real.tolist() for t in LinearInterpolation()(*args)][0]
    [1.0, 1.0, 2.0, 3.0, 3.0]
    """

    name = "linear"

    def forward(
        self,
        h: Tensor,
        pilots: Tensor,
        subcarriers: Tensor,
        n_fft: int,
        noise_variance: Tensor | None = None,
        error_variance: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        right = torch.searchsorted(pilots, subcarriers).clamp(1, len(pilots) - 1)
        left = right - 1
        span = pilots[right] - pilots[left]
        fraction = ((subcarriers - pilots[left]).double() / span).clamp(0, 1).to(h.real.dtype)
        estimate = h[..., left] * (1 - fraction) + h[..., right] * fraction
        if not error_variance:
            return estimate, None
        gain = fraction.square() + (1 - fraction).square()
        return estimate, _noise(h, pilots, n_fft, noise_variance).unsqueeze(-1) * gain


class SplineInterpolation(Interpolator):
    """A natural cubic spline through the pilots (scipy's CubicSpline), constant beyond the outermost.

    The error variance is that of the noise alone.

    >>> pilots, used = torch.tensor([-4, -2, 1, 3]), torch.arange(-4, 4)
    >>> h, _ = SplineInterpolation()(pilots + 0j, pilots, used, 64, torch.tensor(0.1))
    >>> torch.allclose(h.real, used.float(), atol=1e-5)
    True
    """

    name = "spline"

    def forward(
        self,
        h: Tensor,
        pilots: Tensor,
        subcarriers: Tensor,
        n_fft: int,
        noise_variance: Tensor | None = None,
        error_variance: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        from scipy.interpolate import CubicSpline

        identity = torch.eye(len(pilots), dtype=torch.float64).numpy()
        kind = "natural" if len(pilots) > 2 else "not-a-knot"
        spline = CubicSpline(pilots.cpu().numpy(), identity, bc_type=kind)
        inside = subcarriers.clamp(pilots[0], pilots[-1]).cpu().numpy()
        weights = torch.from_numpy(spline(inside)).to(h.device, h.real.dtype)  # (n, M)
        estimate = h @ weights.to(h.dtype).mT
        if not error_variance:
            return estimate, None
        return estimate, _noise(h, pilots, n_fft, noise_variance).unsqueeze(-1) * weights.square().sum(-1)


class LMMSE(Interpolator):
    """Wiener interpolation: R_ap (R_pp + s I)^-1 h, R[k, k'] = sum_p power_p exp(-2 pi i (k - k') delay_p/n_fft).

    One eigendecomposition of R_pp serves every noise variance of the batch.

    Args:
        delays_samples, powers: (P,) the delay profile; powers are scaled to the sum 1 - s.

    Raises:
        AlgorithmError: lengths differ, or no power.

    >>> flat = FlatLMMSE(n_taps=8)
    >>> pilots = torch.arange(-30, 31, 4)
    >>> h, error = flat(torch.ones(16) + 0j, pilots, torch.arange(-30, 31), 64, torch.tensor(1e-4))
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

    def forward(
        self,
        h: Tensor,
        pilots: Tensor,
        subcarriers: Tensor,
        n_fft: int,
        noise_variance: Tensor | None = None,
        error_variance: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        at_pilots, at_all = self._exponentials(pilots, n_fft), self._exponentials(subcarriers, n_fft)
        weighted = at_pilots.conj() * self.powers.to(h.device)
        eigenvalues, basis = torch.linalg.eigh(at_pilots @ weighted.mT)  # R_pp
        cross = at_all @ weighted.mT @ basis  # R_ap U
        eigenvalues = eigenvalues.clamp_min(0)
        s = _noise(h, pilots, n_fft, noise_variance).to(eigenvalues)
        signal = (1 - s).clamp_min(0.01)
        gain = 1 / (eigenvalues + ((s + _LOADING) / signal).unsqueeze(-1))  # (*batch, M)
        estimate = (h.to(basis.dtype) @ basis.conj() * gain) @ cross.mT
        if not error_variance:
            return estimate.to(h.dtype), None
        explained = gain @ cross.abs().square().mT
        error = signal.unsqueeze(-1) * (1 - explained).clamp_min(0)
        return estimate.to(h.dtype), error.to(h.real.dtype)

    def _exponentials(self, subcarriers: Tensor, n_fft: int) -> Tensor:
        turns = subcarriers.double().unsqueeze(-1) * self.delays.to(subcarriers.device) / n_fft
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


def _noise(h: Tensor, pilots: Tensor, n_fft: int, noise_variance: Tensor | None) -> Tensor:
    """The noise variance per pilot; where unknown, estimated for delays up to a quarter of the symbol."""
    if noise_variance is not None:
        return noise_variance.expand(h.shape[:-1]).to(h.real.dtype)
    m = len(pilots)
    phi = PartialDFT(pilots % n_fft, n_fft // 4, n_fft=n_fft, dtype=h.dtype, device=h.device)
    return estimate_noise(h / m**0.5, phi) * m
