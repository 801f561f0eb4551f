"""What a step of training sees: a pattern, channels at SNRs of the scenario's range, and what is told of the noise."""

import math

import torch
from torch import Tensor

from .estimator import noise_of_y
from .pilots import PilotPattern, draw_pattern
from .scenario import Scenario
from .signals import Simulation, draw, seeded

# of the steps, how many tell the algorithm nothing of the noise, or a level that is wrong by up to so much
_UNKNOWN, _WRONG, _LARGEST_ERROR_DB = 0.35, 0.25, 3.5


def training_batch(
    scenario: Scenario, seed: int, step: int, n_samples: int, snr_groups: int
) -> tuple[Simulation, PilotPattern]:
    """Channels and their pilot pattern; every ``n_samples / snr_groups`` in a row share an SNR.

    >>> from chanest import load_scenario
    >>> batch, pattern = training_batch(load_scenario("lte10"), seed=0, step=0, n_samples=16, snr_groups=8)
    >>> batch.observations.shape, len(batch.noise_variance.unique())
    (torch.Size([16, 75]), 8)
    """
    low, high = scenario.training.snr_db
    generator = seeded(seed, "train", step)
    pattern = training_pattern(scenario, seed, step)
    snr = low + (high - low) * torch.rand(snr_groups, generator=generator)
    return draw(scenario, pattern, n_samples, generator, snr.repeat_interleave(n_samples // snr_groups)), pattern


def training_pattern(scenario: Scenario, seed: int, step: int) -> PilotPattern:
    """The pilot pattern of one training step, as the scenario's training range says.

    >>> from chanest import load_scenario
    >>> wide = load_scenario("wide")
    >>> len({len(training_pattern(wide, 0, step)) for step in range(10)}) > 5
    True
    """
    training = scenario.training
    if training.fixed_pattern:
        return draw_pattern(scenario, seed)
    generator = seeded(seed, "pattern", step)
    n_pilots = scenario.n_pilots
    grid = {"n_fft": scenario.n_fft, "n_used": scenario.n_used}
    if training.n_pilots is not None:
        low, high = (math.log(n) for n in training.n_pilots)
        n_pilots = round(math.exp(low + (high - low) * float(torch.rand(1, generator=generator))))
    if float(torch.rand(1, generator=generator)) < training.comb_fraction:
        spacing = max(1, round(scenario.n_used / n_pilots))
        offset = int(torch.randint(spacing, (1,), generator=generator))
        return PilotPattern.comb(spacing, offset, **grid)
    state = int(torch.randint(2**62, (1,), generator=generator))
    return PilotPattern.random(n_pilots, state, **grid)


def told_noise(batch: Simulation, rms: Tensor, seed: int, step: int) -> Tensor | None:
    """What the algorithm is told of the noise of y in this step: the truth, a wrong level, or nothing.

    Args:
        batch: the channels.
        rms: (batch, 1) of the observations, as :func:`chanest.estimator.normalise` gave it.
        seed, step: the draw.

    >>> from chanest import load_scenario
    >>> batch, _ = training_batch(load_scenario("lte10"), seed=0, step=0, n_samples=16, snr_groups=8)
    >>> {told_noise(batch, torch.ones(16, 1), 0, step) is None for step in range(20)} == {True, False}
    True
    """
    generator = seeded(seed, "noise", step)
    case = float(torch.rand(1, generator=generator))
    if case < _UNKNOWN:
        return None
    told = noise_of_y(batch.noise_variance, rms, batch.observations.shape[-1])
    if case < _UNKNOWN + _WRONG:
        error_db = _LARGEST_ERROR_DB * (2 * torch.rand(len(told), generator=generator) - 1)
        told = told * (10 ** (error_db / 10)).to(told)
    return told
