"""Channels, pilots and noise, drawn from an explicit generator under one of two named noise conventions.

Signals are H-scaled: the observation at pilot k is H[k] + noise with E|H[k]|^2 = E||x||^2 = 1.

``pilot``: noise variance 10^(-SNR/10) at every pilot, the paper's E||Phi x||^2 / E||z||^2.

``reference``: what the published code does. Noise lies SNR dB below the mean power over all n_fft bins, of
which only the M pilots are non-zero, so a pilot sees SNR + 10 log10(n_fft/M) dB; and the levels of a block of
512 samples are broadcast along the wrong axis, so bin i carries the level of sample i // 2 of its block.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from math import log

import numpy as np
import torch
from torch import Tensor

from ..random import BLOCK, seeded
from .channels import PathChannel, ProfileChannel, RecordedChannel, TapChannel
from .pilots import PilotPattern
from .recordings import load_recording
from .scenario import Scenario

_N_DENSE = 32  # weak paths of dense multipath


@dataclass(frozen=True)
class Simulation:
    """Simulated channels and what a receiver sees of them.

    Attributes:
        delays: (batch, paths) float64, samples.
        gains: (batch, paths) complex64; absent paths are zero.
        variances: (batch, paths) float32: prior variance of every gain, zero for absent paths.
        cfr: (batch, n_used) complex64 on the scenario's used subcarriers.
        cir: (batch, n_taps) complex64, or None where the paths lie between the samples.
        observations: (batch, n_pilots) complex64: H + noise at the pilots.
        noise_variance: (batch,) float32: the mean noise variance per pilot.
    """

    delays: Tensor
    gains: Tensor
    variances: Tensor
    cfr: Tensor
    cir: Tensor | None
    observations: Tensor
    noise_variance: Tensor

    def __len__(self) -> int:
        return len(self.observations)

    def to(self, device: torch.device | str) -> "Simulation":
        """The same data on another device."""
        return self._map(lambda tensor: tensor.to(device))

    def __getitem__(self, samples: slice) -> "Simulation":
        return self._map(lambda tensor: tensor[samples])

    def _map(self, change) -> "Simulation":  # type: ignore[no-untyped-def]
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(v) for name, v in values.items() if v is not None})


def draw_pattern(scenario: Scenario, seed: int) -> PilotPattern:
    """The pilot pattern of a run: drawn from the seed, or the published one where the scenario says so.

    >>> from chanest import load_scenario
    >>> len(draw_pattern(load_scenario("lte10").replace(n_pilots=50), seed=1))
    50
    """
    if scenario.pilot_draw == "published":
        return PilotPattern.published(scenario.n_pilots, scenario.grid)
    return PilotPattern.random(scenario.n_pilots, seed, scenario.grid)


def simulate(scenario: Scenario, pattern: PilotPattern, n_samples: int, seed: int) -> Iterator[Simulation]:
    """``n_samples`` test channels in blocks of at most 512; sample i does not depend on ``n_samples``.

    >>> from chanest import PilotPattern, load_scenario
    >>> blocks = simulate(load_scenario("lte10"), PilotPattern.random(75, seed=0), 600, seed=0)
    >>> [len(block) for block in blocks]
    [512, 88]
    """
    for index, first in enumerate(range(0, n_samples, BLOCK)):
        block = draw(scenario, pattern, BLOCK, seeded(seed, "test", index))
        yield block[: min(BLOCK, n_samples - first)]


def draw(
    scenario: Scenario,
    pattern: PilotPattern,
    n_samples: int,
    generator: torch.Generator,
    snr_db: Tensor | float | None = None,
) -> Simulation:
    """Draw channels, noise and observations.

    Args:
        scenario: what to draw.
        pattern: where the pilots lie.
        n_samples: batch; rounded up to whole blocks of 512 inside, for the ``reference`` convention.
        generator: a CPU generator.
        snr_db: one SNR, or one per sample, (n_samples,); the scenario's when not given.
    """
    n_drawn = -(-n_samples // BLOCK) * BLOCK if scenario.snr_convention == "reference" else n_samples
    delays, gains, variances = draw_paths(scenario, n_drawn, generator)
    cfr = frequency_response(delays, gains, scenario)
    positions = np.searchsorted(scenario.used_subcarriers, pattern.subcarriers)
    at_pilots = cfr[:, positions]
    snr = torch.as_tensor(scenario.snr_db if snr_db is None else snr_db, dtype=torch.float32)
    level = 10 ** (-snr / 10).expand(n_samples)
    if scenario.snr_convention == "reference":
        level = level * len(pattern) / scenario.n_fft
        relative = at_pilots.abs().square().mean(-1).view(-1, BLOCK)
        sample_of_pilot = torch.from_numpy(pattern.bins * BLOCK // scenario.n_fft)
        relative = relative[:, sample_of_pilot].repeat_interleave(BLOCK, 0)[:n_samples]
    else:
        relative = torch.ones(())
    at_pilots = at_pilots[:n_samples]
    noise = _complex_normal(at_pilots.shape, generator) * (level.unsqueeze(-1) * relative).sqrt()
    cir = None
    if scenario.on_grid:
        taps = delays.long() - scenario.first_tap_samples
        cir = torch.zeros(n_drawn, scenario.n_taps, dtype=gains.dtype).scatter_add(-1, taps, gains)[:n_samples]
    return Simulation(
        delays[:n_samples],
        gains[:n_samples],
        variances[:n_samples],
        cfr[:n_samples],
        cir,
        at_pilots + noise,
        level,
    )


def draw_paths(scenario: Scenario, n_samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Delays in samples (float64), gains (complex64) and prior variances (float32) of paths: (n_samples, paths) each.

    >>> from chanest import load_scenario
    >>> delays, gains, variances = draw_paths(load_scenario("eva"), 5, seeded(0, "test"))
    >>> gains.shape, round(float(variances[0].sum()), 6)
    (torch.Size([5, 9]), 1.0)
    """
    if isinstance(scenario.channel, RecordedChannel):
        delays, gains = _draw_recorded(scenario, n_samples, generator)
        return delays, gains, gains.abs().square()
    delays, variances = _draw_paths(scenario, n_samples, generator)
    return delays, _complex_normal(delays.shape, generator) * variances.sqrt(), variances


def frequency_response(delays: Tensor, gains: Tensor, scenario: Scenario) -> Tensor:
    """H[k] = sum_p gains_p exp(-2 pi i k delays_p / n_fft) on the used subcarriers: (batch, n_used).

    Exact for any delay, on the sample grid or off it. The band is cut into a rows of b subcarriers, so that
    only a + b exponentials per path are taken instead of a*b.
    """
    half = scenario.n_used // 2
    n_rows = int(np.ceil(np.sqrt(2 * half + 1)))
    step = torch.arange(n_rows, dtype=torch.float64)
    coarse = _phasor(delays, step * n_rows - half, scenario.n_fft) * gains.unsqueeze(-1)
    fine = _phasor(delays, step, scenario.n_fft)
    whole = (coarse.mT @ fine).flatten(-2)[..., : 2 * half + 1]
    return torch.cat([whole[..., :half], whole[..., half + 1 :]], -1)


def tap_variances(scenario: Scenario) -> Tensor:
    """``(n_taps,) float64``: E|x_i|^2 of a tap that is present, so that E||x||^2 = 1, for an on-grid scenario.

    >>> from chanest import load_scenario
    >>> scenario = load_scenario("lte10")
    >>> round(float(tap_variances(scenario).mean() * scenario.channel.sparsity), 6)
    1.0
    """
    channel = scenario.channel
    assert isinstance(channel, TapChannel)
    taps = torch.arange(scenario.n_taps, dtype=torch.float64)
    profile = torch.exp(-channel.decay * taps / scenario.n_taps)
    return profile / profile.sum() * scenario.n_taps / channel.sparsity


def delay_profile(scenario: Scenario) -> tuple[Tensor, Tensor]:
    """The mean power delay profile: delays in samples and powers of sum 1, float64, (paths,) each.

    Exact where the scenario fixes the delays; else the mean over its channels, on delays an eighth of a sample
    apart. Paths of recorded channels count as incoherent.

    >>> from chanest import load_scenario
    >>> delays, powers = delay_profile(load_scenario("epa"))
    >>> len(delays), round(float(powers.sum()), 6)
    (7, 1.0)
    """
    channel = scenario.channel
    if isinstance(channel, TapChannel):
        powers = tap_variances(scenario)
        delays = torch.arange(scenario.n_taps, dtype=torch.float64) + scenario.first_tap_samples
        return delays, powers / powers.sum()
    if isinstance(channel, ProfileChannel):
        powers = 10 ** (torch.tensor(channel.powers_db, dtype=torch.float64) / 10)
        delays = torch.tensor(channel.delays_ns, dtype=torch.float64) * 1e-9 * scenario.sample_rate_hz
        return delays, powers / powers.sum()
    if isinstance(channel, RecordedChannel):
        recording = load_recording(channel.file)
        drawn, variances = recording.delays_s * scenario.sample_rate_hz, recording.gains.abs().square()
    else:
        drawn, variances = _draw_paths(scenario, 16384, seeded(0, "profile"))
    place = (8 * drawn).round().long().flatten()
    powers = torch.bincount(place, variances.double().flatten())
    present = powers > 0
    return torch.arange(len(powers), dtype=torch.float64)[present] / 8, powers[present] / powers.sum()


def _draw_recorded(scenario: Scenario, n_samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Delays in samples and gains of recorded channels, each with a random common phase.

    No channel comes twice in one draw before all came once; test data are drawn in blocks of 512.
    """
    assert isinstance(scenario.channel, RecordedChannel)
    recording = load_recording(scenario.channel.file)
    n = len(recording.gains)
    rounds = [torch.randperm(n, generator=generator) for _ in range(-(-n_samples // n))]
    index = torch.cat(rounds)[:n_samples]
    turns = torch.rand(n_samples, 1, generator=generator)
    phase = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns)
    return recording.delays_s[index] * scenario.sample_rate_hz, recording.gains[index] * phase


def _draw_paths(scenario: Scenario, n_samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Delays in samples and prior variances of every path, (n_samples, paths) each."""
    channel = scenario.channel
    if isinstance(channel, TapChannel):
        order = torch.rand(n_samples, scenario.n_taps, generator=generator)
        if channel.support == "uniform":
            taps = order.topk(channel.sparsity, -1).indices
            present = torch.ones_like(taps, dtype=torch.bool)
        else:
            count = (order < channel.sparsity / scenario.n_taps).sum(-1)
            taps = order.topk(max(int(count.max()), 1), -1, largest=False).indices
            present = torch.arange(taps.shape[-1]) < count.unsqueeze(-1)
        variances = tap_variances(scenario)[taps] * present
        return (taps + scenario.first_tap_samples).double(), variances.float()
    if isinstance(channel, PathChannel):
        return _draw_free_paths(channel, n_samples, generator)
    delays, powers = delay_profile(scenario)
    return delays.expand(n_samples, -1), powers.float().expand(n_samples, -1)


def _draw_free_paths(channel: PathChannel, n_samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    def uniform(bounds: tuple[float, float], width: int = 1) -> Tensor:
        low, high = bounds
        return low + (high - low) * torch.rand(n_samples, width, generator=generator, dtype=torch.float64)

    def log_uniform(bounds: tuple[float, float]) -> Tensor:
        return torch.exp(uniform((log(bounds[0]), log(bounds[1]))))

    low, high = channel.n_paths
    count = torch.randint(low, high + 1, (n_samples, 1), generator=generator)
    span, decay = log_uniform(channel.span_samples), uniform(channel.decay)
    delays = span * uniform((0, 1), high)
    if channel.clustered[1] > 0:
        joins = uniform((0, 1), high) < uniform(channel.clustered)
        joins[:, 0] = False
        head = torch.where(joins, 0, torch.arange(high)).cummax(-1).values
        behind = -log_uniform(channel.cluster_samples) * uniform((1e-9, 1), high).log()
        delays = torch.where(joins, (delays.gather(-1, head) + behind).clamp(max=span), delays)
    variances = torch.exp(-decay * delays / span) * (torch.arange(high) < count)
    if channel.spread_db[1] > 0:
        shadowing = torch.randn(n_samples, high, generator=generator, dtype=torch.float64)
        variances = variances * 10 ** (uniform(channel.spread_db) * shadowing / 10)
    variances = variances / variances.sum(-1, keepdim=True)
    if channel.dense_share[1] > 0:
        share, place = log_uniform(channel.dense_share), uniform((0, 1), _N_DENSE)
        dense = torch.exp(-uniform(channel.decay) * place)
        delays = torch.cat([delays, log_uniform(channel.span_samples) * place], -1)
        variances = torch.cat([(1 - share) * variances, share * dense / dense.sum(-1, keepdim=True)], -1)
    return delays, variances.float()


def _complex_normal(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, dtype=torch.complex64, generator=generator)


def _phasor(delays: Tensor, k: Tensor, n_fft: int) -> Tensor:
    """exp(-2 pi i k delays / n_fft): (batch, paths), (n,) -> (batch, paths, n) complex64."""
    turns = delays.unsqueeze(-1) * (k / n_fft)
    angle = (-2 * torch.pi * (turns - turns.round())).float()
    return torch.polar(torch.ones_like(angle), angle)
