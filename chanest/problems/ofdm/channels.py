"""The kinds of OFDM channels: how their paths are drawn, and their mean delay profiles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from ...lazy import torch
from ..base import Frozen, ascending
from ..random import seeded
from .recordings import load_recording

if TYPE_CHECKING:
    from torch import Tensor

Paths = tuple["Tensor", "Tensor", "Tensor"]
_N_DENSE = 32  # weak paths of dense multipath
_Positive = Annotated[float, Field(gt=0)]
_NotNegative = Annotated[float, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]
_T = TypeVar("_T")
Bounds = tuple[_T, _T]


@dataclass(frozen=True)
class DelayAxis:
    """The taps that are estimated, and the samples that delays are counted in.

    Attributes:
        n_taps: their number.
        first_tap_samples: delay of the first one.
        sample_rate_hz: samples per second.
    """

    n_taps: int
    first_tap_samples: int
    sample_rate_hz: float


class Channel(Frozen, ABC):
    """A distribution of channels; E of the summed power of all paths is 1."""

    @abstractmethod
    def draw_delays(self, n_samples: int, generator: torch.Generator, axis: DelayAxis) -> tuple[Tensor, Tensor]:
        """Delays in samples (float64) and prior variances (float32) of paths, (n_samples, paths) each."""

    def draw(self, n_samples: int, generator: torch.Generator, axis: DelayAxis) -> Paths:
        """Delays in samples (float64), gains (complex64) and prior variances (float32), (n_samples, paths) each."""
        delays, variances = self.draw_delays(n_samples, generator, axis)
        gains = torch.randn(delays.shape, dtype=torch.complex64, generator=generator) * variances.sqrt()
        return delays, gains, variances

    def scaled(self, factor: float) -> Channel:
        """The same where a DFT length has so many times the samples; itself where delays are in seconds, or taps."""
        return self

    def separate(self) -> Channel:
        """The same with separate paths alone, where it draws others too."""
        return self

    def draw_antennas(self, gains: Tensor, variances: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """Gains of n more antennas that share the delays: (n_samples, n, paths)."""
        drawn = torch.randn((len(gains), n, gains.shape[-1]), dtype=gains.dtype, generator=generator)
        return drawn * variances.sqrt().unsqueeze(1)

    def delay_profile(self, axis: DelayAxis) -> tuple[Tensor, Tensor]:
        """The mean power delay profile: delays in samples and powers of sum 1, float64, (paths,) each.

        Exact where the delays are fixed; else the mean over many channels, on delays an eighth of a sample apart.
        """
        delays, variances = self.draw_delays(16384, seeded(0, "profile"), axis)
        return _binned_profile(delays, variances)

    @property
    def prior(self) -> tuple[float, float] | None:
        """Expected number of taps and decay of their variances, where taps lie on the sample grid."""
        return None

    @abstractmethod
    def words(self, n_taps: int) -> str:
        """The paths in words."""


class TapChannel(Channel):
    """Taps on the sample grid: ``sparsity`` of them, CN(0, p_i) with p_i proportional to exp(-decay*i/n_taps).

    ``support = "uniform"`` places exactly ``sparsity`` taps (paper, section 4.3); ``"bernoulli"`` gives every
    tap the probability sparsity/n_taps (the published code).
    """

    kind: Literal["taps"]
    """sparse taps on the sample grid"""
    sparsity: Annotated[int, Field(ge=1)]
    """number of taps, or its expectation"""
    decay: _NotNegative
    """d of the variances exp(-d i/n_taps) of tap i"""
    support: Literal["uniform", "bernoulli"] = "uniform"
    """exactly so many taps (the paper), or each by chance (the published code)"""

    def tap_variances(self, n_taps: int) -> Tensor:
        """``(n_taps,) float64``: E|x_i|^2 of a tap that is present, so that E||x||^2 = 1.

        >>> channel = TapChannel(kind="taps", sparsity=8, decay=3.5)
        >>> round(float(channel.tap_variances(256).mean() * channel.sparsity), 6)
        1.0
        """
        profile = torch.exp(-self.decay * torch.arange(n_taps, dtype=torch.float64) / n_taps)
        return profile / profile.sum() * n_taps / self.sparsity

    def draw_delays(self, n_samples: int, generator: torch.Generator, axis: DelayAxis) -> tuple[Tensor, Tensor]:
        order = torch.rand(n_samples, axis.n_taps, generator=generator)
        if self.support == "uniform":
            taps = order.topk(self.sparsity, -1).indices
            present = torch.ones_like(taps, dtype=torch.bool)
        else:
            count = (order < self.sparsity / axis.n_taps).sum(-1)
            taps = order.topk(max(int(count.max()), 1), -1, largest=False).indices
            present = torch.arange(taps.shape[-1]) < count.unsqueeze(-1)
        variances = self.tap_variances(axis.n_taps)[taps] * present
        return (taps + axis.first_tap_samples).double(), variances.float()

    def delay_profile(self, axis: DelayAxis) -> tuple[Tensor, Tensor]:
        powers = self.tap_variances(axis.n_taps)
        delays = torch.arange(axis.n_taps, dtype=torch.float64) + axis.first_tap_samples
        return delays, powers / powers.sum()

    @property
    def prior(self) -> tuple[float, float]:
        return self.sparsity, self.decay

    def words(self, n_taps: int) -> str:
        exactly = "exactly" if self.support == "uniform" else "on average"
        return (
            f"{exactly} {self.sparsity} taps of {n_taps} on the sample grid, variance exp(-{self.decay:g} i/{n_taps})"
        )


class PathChannel(Channel):
    """Paths between the samples: their number, delay span and power decay drawn anew for every channel.

    The number is uniform in ``n_paths``, the span log-uniform in ``span_samples``, delays are uniform in
    0...span, powers exp(-decay*delay/span) with decay uniform in ``decay``.

    Shadowing multiplies every path's power by 10^(N(0, s)/10), s uniform in ``spread_db``. Clusters: every path but
    the first joins the cluster that came before with a probability that is uniform in ``clustered``, behind its head
    by an exponential delay whose mean is log-uniform in ``cluster_samples``; none leaves 0...span. Dense multipath: 32
    weak paths more, with a span and a decay of their own, hold a share of the power that is log-uniform in
    ``dense_share``.
    """

    kind: Literal["paths"]
    """paths anywhere between the samples, drawn anew for every channel"""
    n_paths: Bounds[Annotated[int, Field(ge=1)]]
    """fewest and most, uniform"""
    span_samples: Bounds[_Positive]
    """delay of the last path at most, samples, log-uniform"""
    decay: Bounds[_NotNegative]
    """d of the powers exp(-d delay/span), uniform"""
    spread_db: Bounds[_NotNegative] = (0.0, 0.0)
    """standard deviation of a path's power about that, dB, uniform"""
    clustered: Bounds[_Share] = (0.0, 0.0)
    """probability that a path joins the cluster before it, uniform"""
    dense_share: Bounds[Annotated[float, Field(ge=0, lt=1)]] = (0.0, 0.0)
    """share of the power in 32 weak paths more, log-uniform"""
    cluster_samples: Bounds[_Positive] = (0.1, 3.0)
    """mean delay behind a cluster's head, samples, log-uniform"""

    @model_validator(mode="after")
    def _check(self) -> PathChannel:
        for name in ("n_paths", "span_samples", "decay", "spread_db", "clustered", "dense_share", "cluster_samples"):
            ascending(name, getattr(self, name))
        if self.dense_share[0] == 0 < self.dense_share[1]:
            raise ValueError("dense_share", "expected a positive low end, or [0, 0] for none")
        return self

    def draw_delays(self, n_samples: int, generator: torch.Generator, axis: DelayAxis) -> tuple[Tensor, Tensor]:
        def uniform(bounds: tuple[float, float], width: int = 1) -> Tensor:
            low, high = bounds
            return low + (high - low) * torch.rand(n_samples, width, generator=generator, dtype=torch.float64)

        def log_uniform(bounds: tuple[float, float]) -> Tensor:
            return torch.exp(uniform((log(bounds[0]), log(bounds[1]))))

        low, high = self.n_paths
        count = torch.randint(low, high + 1, (n_samples, 1), generator=generator)
        span, decay = log_uniform(self.span_samples), uniform(self.decay)
        delays = span * uniform((0, 1), high)
        if self.clustered[1] > 0:
            joins = uniform((0, 1), high) < uniform(self.clustered)
            joins[:, 0] = False
            head = torch.where(joins, 0, torch.arange(high)).cummax(-1).values
            behind = -log_uniform(self.cluster_samples) * uniform((1e-9, 1), high).log()
            delays = torch.where(joins, (delays.gather(-1, head) + behind).clamp(max=span), delays)
        variances = torch.exp(-decay * delays / span) * (torch.arange(high) < count)
        if self.spread_db[1] > 0:
            shadowing = torch.randn(n_samples, high, generator=generator, dtype=torch.float64)
            variances = variances * 10 ** (uniform(self.spread_db) * shadowing / 10)
        variances = variances / variances.sum(-1, keepdim=True)
        if self.dense_share[1] > 0:
            share, place = log_uniform(self.dense_share), uniform((0, 1), _N_DENSE)
            dense = torch.exp(-uniform(self.decay) * place)
            delays = torch.cat([delays, log_uniform(self.span_samples) * place], -1)
            variances = torch.cat([(1 - share) * variances, share * dense / dense.sum(-1, keepdim=True)], -1)
        return delays, variances.float()

    def scaled(self, factor: float) -> PathChannel:
        spans = {name: tuple(factor * n for n in getattr(self, name)) for name in ("span_samples", "cluster_samples")}
        return self.model_copy(update=spans)

    def separate(self) -> PathChannel:
        """Without clusters and dense multipath, at most half as many paths.

        >>> channel = PathChannel(kind="paths", n_paths=(1, 24), span_samples=(2, 200), decay=(0, 6), clustered=(0, 1))
        >>> channel.separate().n_paths, channel.separate().clustered
        ((1, 12), (0.0, 0.0))
        """
        least, most = self.n_paths
        n_paths = (least, max(least, most // 2))
        return self.model_copy(update={"n_paths": n_paths, "clustered": (0.0, 0.0), "dense_share": (0.0, 0.0)})

    def words(self, n_taps: int) -> str:
        paths, span = self.n_paths, self.span_samples
        return f"{paths[0]} to {paths[1]} paths between the samples, delay spans {span[0]:g} to {span[1]:g} samples"


class ProfileChannel(Channel):
    """A fixed delay profile with Rayleigh fading: excess delays in ns, relative powers in dB."""

    kind: Literal["profile"]
    """a fixed delay profile with Rayleigh fading, as 3GPP has them"""
    delays_ns: Annotated[tuple[_NotNegative, ...], Field(min_length=1)]
    """excess delays, nanoseconds"""
    powers_db: Annotated[tuple[float, ...], Field(min_length=1)]
    """their mean powers, dB of any reference"""

    @model_validator(mode="after")
    def _check(self) -> ProfileChannel:
        if len(self.delays_ns) != len(self.powers_db):
            raise ValueError(
                "powers_db", f"expected one power per delay ({len(self.delays_ns)}), got {len(self.powers_db)}"
            )
        return self

    def draw_delays(self, n_samples: int, generator: torch.Generator, axis: DelayAxis) -> tuple[Tensor, Tensor]:
        delays, powers = self.delay_profile(axis)
        return delays.expand(n_samples, -1), powers.float().expand(n_samples, -1)

    def delay_profile(self, axis: DelayAxis) -> tuple[Tensor, Tensor]:
        powers = 10 ** (torch.tensor(self.powers_db, dtype=torch.float64) / 10)
        delays = torch.tensor(self.delays_ns, dtype=torch.float64) * 1e-9 * axis.sample_rate_hz
        return delays, powers / powers.sum()

    def words(self, n_taps: int) -> str:
        delays, powers = (", ".join(f"{value:g}" for value in values) for values in (self.delays_ns, self.powers_db))
        return f"{len(self.delays_ns)} Rayleigh paths at {delays} ns, {powers} dB"


class RecordedChannel(Channel):
    """Channels from a file of path gains and delays (docs/file-formats.md): measured, or ray-traced.

    ``file`` is the name of a shipped one, or a path; in a TOML file, a path from that file on. The paths of a profile
    count as incoherent.
    """

    kind: Literal["recorded"]
    """measured or ray-traced channels"""
    file: Annotated[str, Field(min_length=1)]
    """name of a shipped file, or a path, from the TOML file on (docs/file-formats.md)"""

    def draw(self, n_samples: int, generator: torch.Generator, axis: DelayAxis) -> Paths:
        """Recorded channels, each with a random common phase.

        No channel comes twice in one draw before all came once; test data are drawn in blocks of 512.
        """
        delays, gains = self._recorded(n_samples, generator, axis)
        phase = _random_phases((n_samples, 1), generator)
        return delays, gains * phase, (gains * phase).abs().square()

    def draw_delays(self, n_samples: int, generator: torch.Generator, axis: DelayAxis) -> tuple[Tensor, Tensor]:
        delays, gains = self._recorded(n_samples, generator, axis)
        return delays, gains.abs().square()

    def draw_antennas(self, gains: Tensor, variances: Tensor, n: int, generator: torch.Generator) -> Tensor:
        phases = _random_phases((len(gains), n, gains.shape[-1]), generator)
        return gains.unsqueeze(1) * phases / variances.sum(-1).sqrt()[:, None, None]

    def delay_profile(self, axis: DelayAxis) -> tuple[Tensor, Tensor]:
        recording = load_recording(self.file)
        return _binned_profile(recording.delays_s * axis.sample_rate_hz, recording.gains.abs().square())

    def words(self, n_taps: int) -> str:
        return f"recorded, in {self.file}"

    def _recorded(self, n_samples: int, generator: torch.Generator, axis: DelayAxis) -> tuple[Tensor, Tensor]:
        recording = load_recording(self.file)
        n = len(recording.gains)
        rounds = [torch.randperm(n, generator=generator) for _ in range(-(-n_samples // n))]
        index = torch.cat(rounds)[:n_samples]
        return recording.delays_s[index] * axis.sample_rate_hz, recording.gains[index]


def _random_phases(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    turns = torch.rand(shape, generator=generator)
    return torch.polar(torch.ones_like(turns), 2 * torch.pi * turns)


def _binned_profile(delays: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """The mean power on delays an eighth of a sample apart, those without left out."""
    powers = torch.bincount((8 * delays).round().long().flatten(), variances.double().flatten())
    present = powers > 0
    return torch.arange(len(powers), dtype=torch.float64)[present] / 8, powers[present] / powers.sum()
