"""Error variances where an algorithm has no posterior, or one that is too sure of itself: learned corrections."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..errors import AlgorithmError
from ..kernels.constants import LOG_SCALE, REFERENCE_PILOTS
from ..operators import LinearOperator, PartialDFT, Superposed, TimeVarying, cached, tap_domain
from . import namespace
from .gaussian import log_rank_deficit, posterior_variance
from .namespace import Array, Namespace
from .noise import noise_level
from .perceptron import Perceptron
from .results import JointPosterior, Recovery

TINY = 1e-30
WEAK = 0.03  # of the sum of the variances: a tap below it counts as weak
CORRECTIONS = -1.8, math.log(100.0)  # by perceptrons: hardly any was fitted to less, none to more
SPREAD = 0.7
MOST = 128  # pilots that the training of JointCalibration saw; it is told of no more
TABLE = 64  # values of a base at which its correction is computed, linear between them
LEAST = 0.3  # of what the noise leaves unknown of a single path at a known delay: an error variance is no smaller


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

    def log_variance(
        self, recovery: Recovery, y: Tensor, phi: LinearOperator, band: LinearOperator, noise_variance: Tensor | None
    ) -> Tensor:
        """Base + correction."""
        base, features = self.read(recovery, y, phi, band, noise_variance)
        return base + self.correction(features)

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
        AlgorithmError.unless(len(numbers) == 7, "7 numbers", len(numbers), "error_calibration")
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
        base = residual_base((y - phi.forward(recovery.x)).abs().square().sum(-1))
        level = (noise_level(y, phi, noise_variance) * phi.n_measurements).log()
        return base.unsqueeze(-1), residual_features(base, level, phi.n_measurements).unsqueeze(-2)

    def correction(self, features: Tensor) -> Tensor:
        return self.linear(features).squeeze(-1)


class PosteriorCalibration(Perceptron, Calibration):
    """Corrects a posterior's variance p[k] of every subcarrier by a perceptron with two hidden layers.

    Base: log p[k]. Features: log p[k]/(M s), log p[k]/sum(g), log M s, log y^H r/(M s) and log ||r||^2/(M s) with
    r = y - Phi x, log of the effective number of taps (sum g)^2/sum(g^2), log of the variance of the weak taps, those
    below 3 % of sum(g), over M s, all over 6; log max(g)/sum(g); log M/75; whether s was told; the
    :func:`log_rank_deficit` of the pilots.

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
        base, of = self._seen(recovery, y, phi, band, noise_variance)
        return base, of(base)

    def log_variance(
        self, recovery: Recovery, y: Tensor, phi: LinearOperator, band: LinearOperator, noise_variance: Tensor | None
    ) -> Tensor:
        base, of = self._seen(recovery, y, phi, band, noise_variance)
        if torch.compiler.is_exporting():
            return base + self.correction(of(base)).clamp(*CORRECTIONS)
        return tabled(self, base, of, base.dtype)

    @staticmethod
    def _seen(
        recovery: Recovery, y: Tensor, phi: LinearOperator, band: LinearOperator, noise_variance: Tensor | None
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Base (*batch, n), and what makes the features of any base."""
        assert recovery.posterior is not None
        g, s = recovery.posterior.variances, recovery.posterior.noise_variance
        base = posterior_base(posterior_variance(phi, band, g, s), g)
        ones = torch.ones_like(g.reshape(-1, g.shape[-1])[0])
        deficit = cached(phi, ("log rank deficit of ones", g.dtype), lambda: log_rank_deficit(phi, ones))
        known, r = noise_variance is not None, y - phi.forward(recovery.x)
        return base, lambda base: posterior_features(base, y, r, g, s, phi.n_measurements, known, deficit)

    correction = Perceptron.forward

    def settled(self, log_variance: Tensor) -> Tensor:
        return nearer_to_the_mean(log_variance)


class JointCalibration(Perceptron, Calibration):
    """Corrects a joint posterior's variance p[k] of every subcarrier and layer by a perceptron with two hidden layers.

    Base: log p[k], at least log of :data:`LEAST`/kappa, kappa the mean over the pilots of 1/s_m. Features: log p[k]
    kappa and log p[k]/sum(g); of all subcarriers alike log kappa sum(g), what the estimate leaves over, the means
    of |y - Phi x|^2/s_m and of conj(y) (y - Phi x)/s_m; logs of the effective number of taps and of those that are
    alive, over M; how far single pilots' noise lies above the level; log M/75, M at most 128; whether s was told; log
    R; log of the cells that the delays fill, over M; the number of layers, less 1.

    Parameters: ``input/weight`` (n_hidden, 13), ``hidden/weight`` (n_hidden, n_hidden), ``output/weight``
    (1, n_hidden), and ``bias`` of each.

    >>> JointCalibration(4).input.weight.shape
    torch.Size([4, 13])
    """

    def __init__(self, n_hidden: int = 48) -> None:
        super().__init__(13, n_hidden)
        self.initialise(torch.Generator().manual_seed(0))

    def read(
        self, recovery: Recovery, y: Tensor, phi: LinearOperator, band: LinearOperator, noise_variance: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Base and features, (*batch, L, n) and (*batch, L, n, 13); y and the estimate are (*batch, R, M or L N)."""
        base, of, level = self._seen(recovery, y, phi, band, noise_variance)
        features, batch, dtype = of(base), level.shape, level.dtype
        return base.reshape(*batch, *base.shape[1:]).to(dtype), features.reshape(*batch, *features.shape[1:]).to(dtype)

    def log_variance(
        self, recovery: Recovery, y: Tensor, phi: LinearOperator, band: LinearOperator, noise_variance: Tensor | None
    ) -> Tensor:
        """Base + correction, (*batch, L, n); the correction, in one group a function of the base alone, from a table in
        single precision.

        Args:
            recovery, y, phi, band, noise_variance: as of :meth:`read`.
        """
        base, of, level = self._seen(recovery, y, phi, band, noise_variance)
        return tabled(self, base, of, level.dtype).reshape(*level.shape, *base.shape[1:])

    @staticmethod
    def _seen(
        recovery: Recovery, y: Tensor, phi: LinearOperator, band: LinearOperator, noise_variance: Tensor | None
    ) -> tuple[Tensor, Callable[[Tensor], Tensor], Tensor]:
        """Base (groups, L, n), what makes the features of any base of these groups, and the noise level (*batch,)."""
        posterior = recovery.posterior
        assert isinstance(posterior, JointPosterior)
        assert isinstance(band, PartialDFT)
        assert isinstance(phi, PartialDFT | Superposed)
        m = phi.n_measurements
        g, noise = posterior.variances.reshape(-1, phi.n_coefficients), posterior.noise_variance.reshape(-1, m)
        y, x = y.reshape(len(g), -1, m), recovery.x.reshape(len(g), -1, phi.n_coefficients)
        base = joint_base(tap_domain.variance_of_layers(phi, band, g, noise), noise)
        cells = phi.n_coefficients * phi.spacing_samples / phi.resolution_samples
        shared = y, y - phi.forward(x), g, noise, m, cells, noise_variance is not None, phi.n_layers
        return base, lambda base: joint_features(base, *shared), posterior.level

    correction = Perceptron.forward


class MovingCalibration(Perceptron):
    """Corrects the variance of every subcarrier on every symbol of a user in motion, like :class:`JointCalibration`.

    Its features of all pilots together, and logs of how many independent symbols (``looks``), how many symbols with
    pilots, and how many pilots over 75 there are.

    Parameters: ``input/weight`` (n_hidden, 16), ``hidden/weight`` (n_hidden, n_hidden), ``output/weight``
    (1, n_hidden), and ``bias`` of each.

    >>> MovingCalibration(4).input.weight.shape
    torch.Size([4, 16])
    """

    def __init__(self, n_hidden: int = 48) -> None:
        super().__init__(16, n_hidden)
        self.initialise(torch.Generator().manual_seed(0))

    def read(
        self, variance: Tensor, y: Tensor, residual: Tensor, posterior: JointPosterior, phi: TimeVarying, known: bool
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Base (groups, L, n), and what makes the features (groups, L, n, 16) of any base of these groups.

        Args:
            variance: (groups, L, n) of the posterior.
            y, residual: (groups, R, M), of all pilots, and what the estimate leaves over.
            posterior: variances of taps, noise of all pilots.
            phi: with the correlation that was found.
            known: whether the noise variance was told.
        """
        g, noise = posterior.variances, posterior.noise_variance
        cells = phi.n_coefficients * phi.spacing_samples / phi.resolution_samples
        shared = y, residual, g, noise, y.shape[-1], cells, known, phi.n_layers
        looks = phi.independent
        numbers = (torch.full_like(looks, math.log(n)) for n in (phi.n_symbols, y.shape[-1] / REFERENCE_PILOTS))
        more = torch.stack([looks.log(), *numbers], -1)

        def features(base: Tensor) -> Tensor:
            found = joint_features(base, *shared)
            return torch.cat([found, more.to(found)[:, None, None].expand(*found.shape[:-1], -1)], -1)

        return joint_base(variance, noise), features


def tabled(
    correction: Callable[[Tensor], Tensor], base: Tensor, of: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> Tensor:
    """Base + correction, (groups, L, n); the correction, in one group a function of the base alone, from a table in
    single precision.

    Args:
        correction: of features.
        base: (groups, L, n).
        of: the features of a base.
        dtype: of the result.
    """

    def bounded(base: Tensor) -> Tensor:
        return correction(of(base).to(dtype)).clamp(*CORRECTIONS)

    if base.shape[-1] <= TABLE or dtype != torch.float32:
        return (base + bounded(base)).to(dtype)
    low, high = base.amin(-1, keepdim=True), base.amax(-1, keepdim=True)
    span = (high - low).clamp_min(1e-6)
    table = bounded(low + span * torch.linspace(0, 1, TABLE, device=base.device))
    at = (base - low) / span * (TABLE - 1)
    left = at.long().clamp(0, TABLE - 2)
    before, after = table.gather(-1, left), table.gather(-1, left + 1)
    return (base + before + (after - before) * (at - left).to(dtype)).to(dtype)


def residual_base(energy: Array, xp: Namespace = namespace) -> Array:
    """From ||y - Phi x||^2: the base of :class:`ResidualCalibration`, (*batch,) both."""
    return xp.log(xp.clip(energy, 1e-6))


def residual_features(base: Array, level: Array, n_measurements: Array, xp: Namespace = namespace) -> Array:
    """From log ||y - Phi x||^2 and log M s, (*batch,) both: (*batch, 6)."""
    r, t = base / LOG_SCALE, level / LOG_SCALE
    return xp.stack([r, t, xp.full_like(r, xp.log(n_measurements / REFERENCE_PILOTS)), r * r, r * t, t * t], -1)


def posterior_base(variance: Array, g: Array, xp: Namespace = namespace) -> Array:
    """The base of :class:`PosteriorCalibration`, (*batch, n), from p[k] (*batch, n) and g (*batch, N)."""
    floor = xp.log(xp.clip(1e-7 * xp.sum(g, -1), TINY))
    return xp.maximum(xp.log(xp.clip(variance, TINY)), floor[..., None])


def posterior_features(
    base: Array,
    y: Array,
    residual: Array,
    g: Array,
    s: Array,
    n_measurements: Array,
    known: bool,
    deficit: Array,
    xp: Namespace = namespace,
) -> Array:
    """The features of :class:`PosteriorCalibration`, (*batch, n, 11).

    Args:
        base: (*batch, n), of :func:`posterior_base`.
        y, residual: (*batch, M), y and y - Phi x.
        g, s: (*batch, N) and (*batch,), the posterior.
        n_measurements: M, a number or an array.
        known: whether the noise variance was told.
        deficit: log rank deficit of the pilots, broadcast against s.
    """
    noise, total = s * n_measurements, xp.sum(g, -1)
    floored = xp.clip(total, TINY)
    shared = (
        noise,
        xp.sum(xp.real(xp.conj(y) * residual), -1) / noise,
        xp.sum(xp.abs2(residual), -1) / noise,
        xp.square(total) / xp.clip(xp.sum(xp.square(g), -1), TINY),
        xp.sum(xp.where(g < WEAK * total[..., None], g, 0.0), -1) / noise,
    )
    numbers = xp.log(n_measurements / REFERENCE_PILOTS), float(known), deficit
    of_all = (
        *(xp.log(xp.clip(f, 1e-6)) / LOG_SCALE for f in shared),
        xp.log(xp.clip(xp.max(g, -1) / floored, 1e-6)),
        *(xp.full_like(s, number) for number in numbers),
    )
    own = (base - xp.log(noise)[..., None], base - xp.log(floored)[..., None])
    return xp.concat([xp.stack(own, -1) / LOG_SCALE, xp.rows(xp.stack(of_all, -1), base.shape[-1])], -1)


def joint_base(variance: Array, noise: Array, xp: Namespace = namespace) -> Array:
    """The base of :class:`JointCalibration`, from p[k], (batch, L, n) both, and the noise (batch, M)."""
    least = LEAST / xp.mean(1 / xp.double(noise), -1)
    return xp.log(xp.maximum(xp.double(variance), least[..., None, None]))


def joint_features(
    base: Array,
    y: Array,
    residual: Array,
    g: Array,
    noise: Array,
    n_pilots: Array,
    cells: Array,
    known: bool,
    n_layers: int,
    xp: Namespace = namespace,
) -> Array:
    """The features of :class:`JointCalibration`, (batch, L, n, 13) float64.

    Args:
        base: (batch, L, n), of :func:`joint_base`.
        y, residual: (batch, R, M), y and y - Phi x.
        g, noise: (batch, L N) and (batch, M), the posterior.
        n_pilots: M, a number or an array.
        cells: how many the delays of all layers fill.
        known: whether the noise variance was told.
        n_layers: L.
    """
    g, noise = xp.double(g), xp.double(noise)
    total, kappa = xp.clip(xp.sum(g, -1), TINY), xp.mean(1 / noise, -1)
    y, residual = xp.double(y), xp.double(residual)
    left = xp.mean(xp.abs2(residual) / noise[..., None, :], (-2, -1))
    agreeing = xp.mean(xp.real(xp.conj(y) * residual) / noise[..., None, :], (-2, -1))
    effective = xp.square(total) / xp.clip(xp.sum(xp.square(g), -1), TINY)
    alive = xp.sum(xp.astype(g > 0, g.dtype), -1)
    logs = (kappa * total, left, agreeing, effective / n_pilots, alive / n_pilots)
    of_all = (
        *(xp.log(xp.clip(f, 1e-6)) / LOG_SCALE for f in logs),
        xp.clip(xp.mean(xp.log(noise), -1) + xp.log(kappa), 0.0),
        xp.clip(xp.full_like(kappa, xp.log(n_pilots / REFERENCE_PILOTS)), -math.inf, math.log(MOST / REFERENCE_PILOTS)),
        xp.full_like(kappa, float(known)),
        xp.full_like(kappa, math.log(y.shape[-2]) / 3),
        xp.full_like(kappa, xp.log(cells / n_pilots) / 2),
        xp.full_like(kappa, float(n_layers - 1)),
    )
    own = (base + xp.log(kappa)[..., None, None], base - xp.log(total)[..., None, None])
    shared = xp.rows(xp.rows(xp.stack(of_all, -1), n_layers), base.shape[-1])
    return xp.concat([xp.stack(own, -1) / LOG_SCALE, shared], -1)


def nearer_to_the_mean(log_variance: Array, xp: Namespace = namespace) -> Array:
    """Log variances (*batch, n) drawn to the log of their mean over n: :data:`SPREAD` of the distance is left."""
    mean = xp.logsumexp(log_variance, -1)[..., None] - math.log(log_variance.shape[-1])
    return mean + SPREAD * (log_variance - mean)


def error_in_common(error: Array, power: Array, xp: Namespace = namespace) -> Array:
    """The part of an error variance that estimates of one channel from different noise have in common.

    The share 1/log(1 + P/e), at most all, of an error e of a channel of power P: what shrinkage takes, of LMMSE with
    taps whose powers are spread evenly in dB. The rest is of the noise.

    Args:
        error: (*batch, n).
        power: broadcast against it.

    >>> [round(float(e), 3) for e in error_in_common(torch.tensor([0.0, 0.01, 1.0, 100.0]), torch.tensor(1.0))]
    [0.0, 0.002, 1.0, 100.0]
    """
    return error / xp.clip(xp.log(1 + power / xp.clip(error, TINY)), 1.0)
