"""What a step of training sees: a pattern, channels at SNRs of the scenario's range, and what is told of the noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from ..models.model import noise_of_y, normalise
from ..models.operator_cache import cfr_of
from ..operators import DenseOperator, LinearOperator
from ..problems.gaussian import SyntheticScenario
from ..problems.load import AnyScenario
from ..problems.ofdm.draw import Simulation, draw, draw_pattern
from ..problems.ofdm.pilots import PilotPattern
from ..problems.ofdm.scenario import Scenario
from ..problems.random import seeded
from ..problems.vectors import Vectors, draw_matrix, draw_vectors

# of the steps, how many tell the algorithm nothing of the noise, or a level that is wrong by up to so much
_UNKNOWN, _WRONG, _LARGEST_ERROR_DB = 0.4, 0.35, 3.5


@dataclass(frozen=True)
class Lesson:
    """One batch as an algorithm sees it, with the answers.

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

    def rows(self, some: slice) -> "Lesson":
        """Some of the batch.

        >>> from chanest import load_scenario
        >>> lesson = training_lesson(load_scenario("lte10"), seed=0, step=0, n_samples=16, snr_groups=8, device="cpu")
        >>> lesson.rows(slice(4, 8)).y.shape
        torch.Size([4, 75])
        """
        told = None if self.noise_variance is None else self.noise_variance[some]
        weight = None if self.weight is None else self.weight[some]
        return Lesson(self.y[some], self.phi, told, self.truth[some], self.scale[some], self.compared, weight)


def training_lesson(
    scenario: AnyScenario, seed: int, step: int, n_samples: int, snr_groups: int, device: torch.device | str
) -> Lesson:
    """The lesson of one step of training; step -1 fits the normalisation.

    >>> from chanest import load_scenario
    >>> lesson = training_lesson(load_scenario("lte10"), seed=0, step=0, n_samples=16, snr_groups=8, device="cpu")
    >>> lesson.y.shape, lesson.truth.shape
    (torch.Size([16, 75]), torch.Size([16, 256]))
    """
    if isinstance(scenario, SyntheticScenario):
        generator = seeded(seed, "train", step + 1)
        snr = _snrs(scenario, snr_groups, generator).repeat_interleave(n_samples // snr_groups)
        phi, on_device = _matrix(scenario, seed if scenario.training.fixed_matrix else _matrix_seed(seed, step), device)
        denser = scenario.training.denser if step >= 0 else 1.0
        if denser == 1:
            drawn = draw_vectors(scenario, phi, n_samples, generator, snr).to(device)
            return _lesson_of_vectors(drawn, on_device, seed, step, exactly=step < 0)
        factor = torch.ones(n_samples)
        factor[1::2] = denser
        drawn = draw_vectors(scenario, phi, n_samples, generator, snr, factor).to(device)
        lesson = _lesson_of_vectors(drawn, on_device, seed, step)
        return replace(lesson, weight=density_weight((drawn.x != 0).sum(-1), scenario))
    batch, pattern = training_batch(scenario, seed, step + 1, n_samples, snr_groups)
    return _lesson_of_pilots(scenario, batch.to(device), pattern, seed, step, exactly=step < 0)


def density_weight(n_entries: Tensor, scenario: SyntheticScenario) -> Tensor:
    """How much likelier the scenario is to draw vectors of so many entries than its training, half of which is denser.

    The balance heuristic of multiple importance sampling (Veach and Guibas, SIGGRAPH 1995): p / (p/2 + q/2), at most 2.

    Args:
        n_entries: (batch,) other than zero.
        scenario: draws each of N entries with probability p = sparsity/N, in the denser half of training with
            q = ``training.denser`` p.

    >>> from chanest.problems.load import load_any_scenario
    >>> synthetic = load_any_scenario("synthetic")
    >>> denser = synthetic.replace(training={"snr_db": (40, 40), "denser": 1.4})
    >>> density_weight(torch.tensor([50, 80]), denser).tolist()
    [1.9..., 0.0...]
    """
    n = scenario.n_coefficients
    p = scenario.sparsity / n
    q = scenario.training.denser * p
    entries = n_entries.double()
    log_ratio = entries * math.log(q / p) + (n - entries) * (math.log1p(-q) - math.log1p(-p))
    return (2 / (1 + log_ratio.exp())).float()


def validation_lesson(scenario: AnyScenario, seed: int, index: int, device: torch.device | str) -> Lesson:
    """512 samples that training did not see, of a pattern that it did not see where patterns vary, noise told.

    At the scenario's own SNR, or the nearest one that it trains for.

    >>> from chanest import load_scenario
    >>> len(validation_lesson(load_scenario("lte10"), seed=0, index=0, device="cpu").y)
    512
    """
    low, high = scenario.training.snr_db
    snr_db = min(max(scenario.snr_db, low), high)
    generator = seeded(seed, "validate", index)
    if isinstance(scenario, SyntheticScenario):
        matrix_seed = seed if scenario.training.fixed_matrix else _matrix_seed(seed, -2 - index)
        phi, on_device = _matrix(scenario, matrix_seed, device)
        vectors = draw_vectors(scenario, phi, 512, generator, snr_db).to(device)
        return _lesson_of_vectors(vectors, on_device, seed, index, exactly=True)
    pattern = draw_pattern(scenario, seed + (0 if scenario.training.fixed_pattern else index))
    batch = draw(scenario, pattern, 512, generator, snr_db).to(device)
    return _lesson_of_pilots(scenario, batch, pattern, seed, index, exactly=True)


def _lesson_of_vectors(drawn: Vectors, phi: LinearOperator, seed: int, step: int, exactly: bool = False) -> Lesson:
    y, rms = normalise(drawn.observations)
    told = told_noise(drawn.noise_variance, rms, phi.n_measurements, seed, step, exactly)
    return Lesson(y, phi, told, drawn.x, rms * math.sqrt(phi.n_measurements), lambda x: x)


def _lesson_of_pilots(
    scenario: Scenario, batch: Simulation, pattern: PilotPattern, seed: int, step: int, exactly: bool
) -> Lesson:
    y, rms = normalise(batch.observations)
    phi = pattern.operator(scenario.n_taps, scenario.first_tap_samples, dtype=y.dtype, device=y.device)
    told = told_noise(batch.noise_variance, rms, len(pattern), seed, step, exactly)
    if batch.cir is not None:
        return Lesson(y, phi, told, batch.cir, rms, lambda x: x)
    return Lesson(y, phi, told, batch.cfr, rms, lambda x: cfr_of(x, scenario))


def _snrs(scenario: AnyScenario, snr_groups: int, generator: torch.Generator) -> Tensor:
    low, high = scenario.training.snr_db
    return low + (high - low) * torch.rand(snr_groups, generator=generator)


@lru_cache(maxsize=1)
def _matrix(scenario: SyntheticScenario, seed: int, device: torch.device | str) -> tuple[DenseOperator, DenseOperator]:
    """The matrix on the CPU and on the device; kept, and what was computed from it, for a step with the same one."""
    with torch.inference_mode(False):  # it may be used in training later
        phi = draw_matrix(scenario, seed)
        return phi, phi.to(device)


def _matrix_seed(seed: int, step: int) -> int:
    return int(torch.randint(2**62, (1,), generator=seeded(seed, "pattern", step + 2**20)))


def training_batch(
    scenario: Scenario, seed: int, step: int, n_samples: int, snr_groups: int
) -> tuple[Simulation, PilotPattern]:
    """Channels and their pilot pattern; every ``n_samples / snr_groups`` in a row share an SNR.

    >>> from chanest import load_scenario
    >>> batch, pattern = training_batch(load_scenario("lte10"), seed=0, step=0, n_samples=16, snr_groups=8)
    >>> batch.observations.shape, len(batch.noise_variance.unique())
    (torch.Size([16, 75]), 8)
    """
    generator = seeded(seed, "train", step)
    pattern = training_pattern(scenario, seed, step)
    snr = _snrs(scenario, snr_groups, generator)
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
    if training.n_pilots is not None:
        low, high = (math.log(n) for n in training.n_pilots)
        n_pilots = round(math.exp(low + (high - low) * float(torch.rand(1, generator=generator))))
    if float(torch.rand(1, generator=generator)) < training.comb_fraction:
        spacing = max(1, round(scenario.n_used / n_pilots))
        offset = int(torch.randint(spacing, (1,), generator=generator))
        return PilotPattern.comb(spacing, offset, scenario.grid)
    state = int(torch.randint(2**62, (1,), generator=generator))
    return PilotPattern.random(n_pilots, state, scenario.grid)


def told_noise(
    noise_variance: Tensor, rms: Tensor, n_measurements: int, seed: int, step: int, exactly: bool = False
) -> Tensor | None:
    """What the algorithm is told of the noise of y in this step: the truth, a wrong level, or nothing.

    Args:
        noise_variance: (batch,) of the observations.
        rms: (batch, 1) of the observations, as :func:`chanest.models.model.normalise` gave it.
        n_measurements: M.
        seed, step: the draw.
        exactly: always the truth.

    >>> {told_noise(torch.ones(16), torch.ones(16, 1), 75, 0, step) is None for step in range(20)} == {True, False}
    True
    """
    told = noise_of_y(noise_variance, rms, n_measurements)
    if exactly:
        return told
    generator = seeded(seed, "noise", step)
    case = float(torch.rand(1, generator=generator))
    if case < _UNKNOWN:
        return None
    if case < _UNKNOWN + _WRONG:
        error_db = _LARGEST_ERROR_DB * (2 * torch.rand(len(told), generator=generator) - 1)
        told = told * (10 ** (error_db / 10)).to(told)
    return told
