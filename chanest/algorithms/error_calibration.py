"""Error variances where an algorithm has no posterior, or one that is too sure of itself: learned corrections."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import AlgorithmError
from ..operators import LinearOperator
from .gaussian import crowding, posterior_variance
from .noise import noise_level
from .perceptron import Perceptron
from .results import Recovery

LOG_SCALE = 6.0
TINY = 1e-30
WEAK = 0.03
SPREAD = 0.7


class Calibration(nn.Module, ABC):
    """log error variance = base + correction(features), fitted by the Gaussian likelihood of CFR errors."""

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Start at no correction."""

    @abstractmethod
    def read(
        self, recovery: Recovery, y: Tensor, phi: LinearOperator, band: LinearOperator, noise_variance: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Base (*batch, n) and features (*batch, n, F); n is the number of rows of band, or 1."""

    @abstractmethod
    def correction(self, features: Tensor) -> Tensor:
        """(*batch, n, F) -> (*batch, n)."""

    def settled(self, log_variance: Tensor) -> Tensor:
        """The log error variances to report, from base + correction, (*batch, n) both."""
        return log_variance


class ResidualCalibration(Calibration):
    """For algorithms without a posterior: one variance for all subcarriers, from what the estimate leaves over.

    Base: r = log ||y - Phi x||^2. Features: r, t = log M s (s told, or estimated), both over 6, log M/75, r^2, r t
    and t^2; the correction is linear in them.

    Parameters: ``linear/weight`` (1, 6), ``linear/bias`` (1,).

    >>> ResidualCalibration().correction(torch.zeros(2, 1, 6)).shape
    torch.Size([2, 1])
    """

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 1)
        self.initialise(torch.Generator())

    @classmethod
    def from_numbers(cls, numbers: Sequence[float]) -> "ResidualCalibration":
        """One with given weights and, last, the bias: 7 numbers; AlgorithmError when there are more or fewer."""
        made = cls()
        if len(numbers) != 7:
            raise AlgorithmError(f"expected 7 numbers, got {len(numbers)}", field="error_calibration")
        with torch.no_grad():
            made.linear.weight.copy_(torch.tensor([numbers[:6]]))
            made.linear.bias.fill_(numbers[6])
        return made

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        self.linear.weight.zero_()
        self.linear.bias.zero_()

    def read(
        self, recovery: Recovery, y: Tensor, phi: LinearOperator, band: LinearOperator, noise_variance: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        base = (y - phi.forward(recovery.x)).abs().square().sum(-1).clamp_min(1e-6).log()
        level = (noise_level(y, phi, noise_variance) * phi.n_measurements).log()
        return base.unsqueeze(-1), self.features(base, level, phi.n_measurements).unsqueeze(-2)

    def features(self, base: Tensor, level: Tensor, n_measurements: int) -> Tensor:
        """From log ||y - Phi x||^2 and log M s, (*batch,) both: (*batch, 6)."""
        r, t = base / LOG_SCALE, level / LOG_SCALE
        size = torch.full_like(r, math.log(n_measurements / 75))
        return torch.stack([r, t, size, r * r, r * t, t * t], -1)

    def correction(self, features: Tensor) -> Tensor:
        corrected: Tensor = self.linear(features).squeeze(-1)
        return corrected


class PosteriorCalibration(Perceptron, Calibration):
    """Corrects a posterior's variance p[k] of every subcarrier by a perceptron with two hidden layers.

    Base: log p[k]. Features: log p[k]/(M s), log p[k]/sum(g), log M s, log y^H r/(M s) and log ||r||^2/(M s) with
    r = y - Phi x, log of the effective number of taps (sum g)^2/sum(g^2), log of the variance of the weak taps, those
    below 3 % of sum(g), over M s, all over 6; log max(g)/sum(g); log M/75; whether s was told; the :func:`crowding` of
    the pilots.

    What is reported lies nearer to its mean over the band, :data:`SPREAD` of the way in dB: on ray-traced and
    standardised channels, which no training has seen, the best and the worst parts of a band differ less than the
    posterior says (docs/estimators.md).

    Parameters: ``input/weight`` (n_hidden, 11), ``hidden/weight`` (n_hidden, n_hidden), ``output/weight``
    (1, n_hidden), and ``bias`` of each.

    >>> PosteriorCalibration(4).input.weight.shape
    torch.Size([4, 11])
    """

    def __init__(self, n_hidden: int = 48) -> None:
        super().__init__(11, n_hidden)
        self.initialise(torch.Generator().manual_seed(0))

    def read(
        self, recovery: Recovery, y: Tensor, phi: LinearOperator, band: LinearOperator, noise_variance: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        assert recovery.posterior is not None
        g, s = recovery.posterior.variances, recovery.posterior.noise_variance
        noise = s * phi.n_measurements
        total = g.sum(-1)
        base = posterior_variance(phi, band, g, s).clamp_min(TINY).log()
        base = torch.maximum(base, (1e-7 * total).clamp_min(TINY).log().unsqueeze(-1))
        r = y - phi.forward(recovery.x)
        shared = (
            noise,
            (y.conj() * r).real.sum(-1) / noise,
            r.abs().square().sum(-1) / noise,
            total.square() / g.square().sum(-1).clamp_min(TINY),
            (g * (g < WEAK * total.unsqueeze(-1))).sum(-1) / noise,
        )
        own = (base - noise.log().unsqueeze(-1), base - total.clamp_min(TINY).log().unsqueeze(-1))
        of_all = [f.clamp_min(1e-6).log() / LOG_SCALE for f in shared]
        of_all.append((g.amax(-1) / total.clamp_min(TINY)).clamp_min(1e-6).log())
        of_all.append(torch.full_like(s, math.log(phi.n_measurements / 75)))
        of_all.append(torch.full_like(s, float(noise_variance is not None)))
        of_all.append(crowding(phi, torch.ones_like(g.reshape(-1, g.shape[-1])[0])).expand_as(s))
        everyone = torch.stack(of_all, -1).unsqueeze(-2).expand(*base.shape, -1)
        return base, torch.cat([torch.stack(own, -1) / LOG_SCALE, everyone], -1)

    def correction(self, features: Tensor) -> Tensor:
        return self.forward(features)

    def settled(self, log_variance: Tensor) -> Tensor:
        mean = torch.logsumexp(log_variance, -1, keepdim=True) - math.log(log_variance.shape[-1])
        return mean + SPREAD * (log_variance - mean)
