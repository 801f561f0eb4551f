"""What a step of training sees: observations at SNRs of the problem's range, and what is told of the noise."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..models import noise_of_pilots, noise_of_y, normalise, normalise_group
from ..operators import LinearOperator
from ..problems import Batch, Problem, Sensing, not_none, seeded

# of the steps, how many tell the algorithm nothing of the noise, or a level that is wrong by up to so much
_UNSEEN = 2**39  # steps from which validation takes its receivers
_UNKNOWN, _WRONG, _LARGEST_ERROR_DB = 0.4, 0.35, 3.5


@dataclass(frozen=True)
class TrainingBatch:
    """One batch as an algorithm sees it, with the truth.

    Attributes:
        y: (batch, M), unit norm.
        phi: the operator.
        noise_variance: (batch,) of an entry of y, as it is told; or None.
        truth: (batch, N), or (batch, n_used) where paths lie between the taps.
        scale: (batch, 1), of x in the units of the truth.
        compared: from x in those units to what ``truth`` is.
        weight: (batch,) of each sample's energies in the loss; all alike where not given.
    """

    y: Tensor
    phi: LinearOperator
    noise_variance: Tensor | None
    truth: Tensor
    scale: Tensor
    compared: Callable[[Tensor], Tensor]
    weight: Tensor | None = None

    def answer(self, x: Tensor) -> Tensor:
        """From the algorithm's x to what ``truth`` is compared with."""
        return self.compared(x * self.scale)

    def rows(self, some: slice) -> "TrainingBatch":
        """Some of the batch.

        >>> from chanest import load_scenario
        >>> batch = training_batch(load_scenario("lte10"), seed=0, step=0, n_samples=16, snr_groups=8, device="cpu")
        >>> batch.rows(slice(4, 8)).y.shape
        torch.Size([4, 75])
        """
        whole = not_none(
            y=self.y, noise_variance=self.noise_variance, truth=self.truth, scale=self.scale, weight=self.weight
        )
        return replace(self, **{name: values[some] for name, values in whole.items()})


def training_batch(
    scenario: Problem,
    seed: int,
    step: int,
    n_samples: int,
    snr_groups: int,
    device: torch.device | str,
    joint: bool = False,
) -> TrainingBatch:
    """The batch of one step of training; step -1 fits the normalisation.

    >>> from chanest import load_scenario
    >>> batch = training_batch(load_scenario("lte10"), seed=0, step=0, n_samples=16, snr_groups=8, device="cpu")
    >>> batch.y.shape, batch.truth.shape
    (torch.Size([16, 75]), torch.Size([16, 256]))
    """
    batch, sensing, weight = drawn_batch(scenario, seed, step, n_samples, snr_groups, joint)
    return _seen(scenario, sensing, batch.to(device), weight, seed, step, exactly=step < 0)


def validation_batch(
    scenario: Problem, seed: int, index: int, device: torch.device | str, joint: bool = False
) -> TrainingBatch:
    """512 samples that training did not see, of a pattern that it did not see where patterns vary, noise told.

    At the scenario's own SNR, or the nearest one that it trains for.

    >>> from chanest import load_scenario
    >>> len(validation_batch(load_scenario("lte10"), seed=0, index=0, device="cpu").y)
    512
    """
    low, high = scenario.training.snr_db
    sensing = scenario.validation_sensing(seed, index)
    receiver = scenario.training_receiver(seed, _UNSEEN + index, joint) if joint else None
    if receiver is not None:
        snr = torch.full((512,), min(max(scenario.snr_db, low), high))
        drawn, _ = scenario.training_draw(receiver, 512, seeded(seed, "validate", index), snr)
        return _seen(scenario, receiver, drawn.to(device), None, seed, index, exactly=True)
    batch = scenario.draw(sensing, 512, seeded(seed, "validate", index), min(max(scenario.snr_db, low), high))
    return _seen(scenario, sensing, batch.to(device), None, seed, index, exactly=True)


def drawn_batch(
    scenario: Problem, seed: int, step: int, n_samples: int, snr_groups: int, joint: bool = False
) -> tuple[Batch, Sensing, Tensor | None]:
    """Samples of a step, their pilot pattern or matrix, and their weights; ``n_samples / snr_groups`` in a row share
    an SNR. Where the problem trains for receivers: samples of one, every other step; where ``joint``, in all of them,
    fewer and each at its own SNR.

    >>> from chanest import load_scenario
    >>> batch, pattern, weight = drawn_batch(load_scenario("lte10"), seed=0, step=0, n_samples=16, snr_groups=8)
    >>> batch.observations.shape, len(batch.noise_variance.unique()), weight
    (torch.Size([16, 75]), 8, None)
    """
    receiver = scenario.training_receiver(seed, step, joint)
    snr_groups = n_samples if joint and receiver is not None else snr_groups
    generator = seeded(seed, "train", step + 1)
    low, high = scenario.training.snr_db
    snr = low + (high - low) * torch.rand(snr_groups, generator=generator)
    sensing = scenario.training_sensing(seed, step) if receiver is None else receiver
    snr = snr.repeat_interleave(n_samples // snr_groups)
    if step < 0 and receiver is None:  # the normalisation is fitted on what the problem is like
        return scenario.draw(sensing, n_samples, generator, snr), sensing, None
    batch, weight = scenario.training_draw(sensing, n_samples, generator, snr)
    return batch, sensing, weight


def _seen(
    scenario: Problem, sensing: Sensing, batch: Batch, weight: Tensor | None, seed: int, step: int, exactly: bool
) -> TrainingBatch:
    y, rms = normalise_group(batch.observations) if batch.observations.ndim == 3 else normalise(batch.observations)
    told = told_noise(batch.noise_variance, rms, y.shape[-1], seed, step, exactly)
    target = scenario.target(sensing, batch)
    weight = None if weight is None else weight.to(y.device)
    return TrainingBatch(y, target.phi, told, target.truth, target.scale(rms), target.compared, weight)


def told_noise(
    noise_variance: Tensor, rms: Tensor, n_measurements: int, seed: int, step: int, exactly: bool = False
) -> Tensor | None:
    """What the algorithm is told of the noise of y in this step: the truth, a wrong level, or nothing.

    Args:
        noise_variance: (batch,) of the observations, or (batch, M).
        rms: (batch, 1) of the observations, as :func:`chanest.models.normalise` gave it.
        n_measurements: M.
        seed, step: the draw.
        exactly: always the truth.

    >>> {told_noise(torch.ones(16), torch.ones(16, 1), 75, 0, step) is None for step in range(20)} == {True, False}
    True
    """
    of_pilots = noise_variance.ndim == rms.ndim and noise_variance.shape[-1] > 1
    told = (noise_of_pilots if of_pilots else noise_of_y)(noise_variance, rms, n_measurements)
    if exactly:
        return told
    generator = seeded(seed, "noise", step)
    case = float(torch.rand(1, generator=generator))
    if case < _UNKNOWN:
        return None
    if case < _UNKNOWN + _WRONG:
        error_db = _LARGEST_ERROR_DB * (2 * torch.rand(len(told), generator=generator) - 1)
        factor = (10 ** (error_db / 10)).to(told)
        told = told * (factor if told.ndim == 1 else factor.unsqueeze(-1))
    return told
