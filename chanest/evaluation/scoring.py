"""Estimators beside each other on the same simulated channels, and one estimator over a file of pilots."""

import math
import statistics
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from ..errors import FileError, ModelError
from ..files.arrays import ArrayWriter
from ..files.measurements import Chunk, PilotFile
from ..models.model import Estimate, Model
from ..models.operator_cache import cfr_of
from ..problems.ofdm.draw import Simulation, frequency_response, simulate
from ..problems.ofdm.pilots import PilotPattern
from ..problems.ofdm.scenario import Scenario
from ..problems.oracles import oracle
from ..problems.random import BLOCK
from .metrics import ErrorSums, common_window

REFERENCES = ("oracle-ls", "oracle-mmse")
_MOST_ENTRIES = 2**22  # of the M x M matrices of a chunk
_TIMED_RUNS, _TIMED_SECONDS = 5, 0.5


@dataclass(frozen=True)
class Score:
    """How one estimator did.

    Attributes:
        cir_nmse_db: None where there is no true CIR, or no estimate of it.
        cfr_nmse_db: over the used subcarriers; None where the truth is unknown.
        expected_cfr_nmse_db: what the mean of the estimator's own error variance says; None where not asked for.
        seconds_per_estimate: warm median at ``batch``, per channel.
        batch: channels estimated at once.
    """

    cir_nmse_db: float | None
    cfr_nmse_db: float | None
    seconds_per_estimate: float
    batch: int
    expected_cfr_nmse_db: float | None = None


class Tally:
    """Sums of errors and timings of one estimator.

    >>> tally = Tally()
    >>> tally.cir.add(torch.ones(4), 2 * torch.ones(4))
    >>> round(tally.score().cir_nmse_db, 2)
    -6.02
    """

    def __init__(self) -> None:
        self.cir, self.cfr = ErrorSums(), ErrorSums()
        self.expected = 0.0
        self.seconds, self.batch = math.nan, 0

    def score(self) -> Score:
        known = [sums.nmse_db if sums.truth > 0 else None for sums in (self.cir, self.cfr)]
        expected = None
        if self.expected > 0 and self.cfr.truth > 0:
            expected = 10 * math.log10(self.expected / self.cfr.truth)
        return Score(known[0], known[1], self.seconds, self.batch, expected)

    def time(self, run: Callable[[], Any], batch: int, device: torch.device) -> None:
        """The warm median of a few runs, per channel; the first warms up, and counts alone where it is long."""
        laps: list[float] = []
        while len(laps) <= _TIMED_RUNS and sum(laps) < _TIMED_SECONDS:
            synchronise(device)
            started = time.perf_counter()
            run()
            synchronise(device)
            laps.append(time.perf_counter() - started)
        self.seconds, self.batch = statistics.median(laps[1:] or laps) / batch, batch


@torch.inference_mode()
def evaluate(
    scenario: Scenario,
    pattern: PilotPattern,
    models: Mapping[str, Model],
    n_samples: int,
    seed: int,
    device: torch.device,
    *,
    n_iterations: Mapping[str, int] | None = None,
    error_variance_of: Collection[str] = (),
    on_block: Callable[[int, Simulation, Mapping[str, Estimate]], None] | None = None,
) -> dict[str, Score]:
    """Simulate channels and score models and references on them.

    Args:
        scenario, pattern, n_samples, seed: what to simulate.
        models: estimators by name.
        device: where to estimate; channels are drawn on the CPU, the same for every device.
        n_iterations: for some of the models, another K.
        error_variance_of: the models that shall estimate their error variance too.
        on_block: called after every block with the number of its first sample, the block, and the models'
            estimates.

    Returns:
        a score per model, then per reference (``oracle-ls``, ``oracle-mmse``). Models are told the mean noise
        variance, the references the true delays too.

    Raises:
        ModelError: a model was made for another band.
    """
    for model in models.values():
        check_band(model, scenario)
    tallies = {name: Tally() for name in (*models, *REFERENCES)}
    first = 0
    for block in simulate(scenario, pattern, n_samples, seed):
        data = block.to(device)
        estimates: dict[str, Estimate] = {}
        for name, model in models.items():
            asked = (n_iterations or {}).get(name)
            run = partial(model.estimate, data.observations, pattern, data.noise_variance, n_iterations=asked)
            wanted = name in error_variance_of and model.algorithm.gives_error_variance
            estimates[name] = run(error_variance=wanted)
            _add(tallies[name], estimates[name], data.cir, scenario.first_tap_samples, data.cfr)
            if first == 0:
                tallies[name].time(run, len(block), device)
        for name, run_reference in _references(block, scenario, pattern).items():
            cir, cfr = run_reference()
            tallies[name].cfr.add(cfr, block.cfr)
            if cir is not None and block.cir is not None:
                tallies[name].cir.add(cir, block.cir)
            if first == 0:
                tallies[name].time(run_reference, len(block), torch.device("cpu"))
        if on_block is not None:
            on_block(first, block, estimates)
        first += len(block)
    return {name: tally.score() for name, tally in tallies.items()}


@torch.inference_mode()
def estimate_file(
    pilots: PilotFile,
    model: Model,
    device: torch.device,
    *,
    output: ArrayWriter | None = None,
    n_iterations: int | None = None,
    error_variance: bool = False,
    on_chunk: Callable[[int, Chunk, Estimate], None] | None = None,
) -> Score:
    """Estimate every observation of a file, chunk by chunk, in memory that does not grow with the file.

    Args:
        pilots: an open file.
        model: the estimator.
        device: where to estimate.
        output: where the estimates go.
        n_iterations: another K than the model's.
        error_variance: estimate it too.
        on_chunk: called after every chunk with the number of observations in it, the chunk and its estimate.

    Raises:
        FileError: the pilots belong to another DFT length or band than the model.
        ObservationError: NaN or Inf; the message names the first index.
    """
    tally = Tally()
    made_for = model.ofdm
    for field, expected, found in (
        ("n_fft", made_for.n_fft, pilots.pattern.n_fft),
        ("used_subcarriers", made_for.n_used, pilots.pattern.n_used),
    ):
        if expected != found and (field == "n_fft" or pilots.has_cfr):
            raise FileError(
                f"model {model.name} expects {expected}, the file has {found}", path=pilots.path, field=field
            )
    writer = output and _EstimateWriter(output, pilots.batch_shape, model)
    rows = max(1, min(BLOCK, _MOST_ENTRIES // len(pilots.pattern) ** 2))
    for chunk in pilots.chunks(rows):
        observations = chunk.observations.to(device)
        noise = None if chunk.noise_variance is None else chunk.noise_variance.to(device)
        run = partial(model.estimate, observations, pilots.pattern, noise, n_iterations=n_iterations)
        estimate = run(error_variance=error_variance and model.algorithm.gives_error_variance)
        if not tally.batch:
            tally.time(run, len(observations), device)
        cfr = chunk.cfr
        if cfr is None and chunk.cir is not None:
            cfr = cfr_of(chunk.cir, model.ofdm, pilots.first_tap_samples)
        _add(tally, estimate, chunk.cir, pilots.first_tap_samples, cfr)
        if writer:
            writer.rows(chunk.at, estimate)
        if on_chunk is not None:
            on_chunk(len(observations), chunk, estimate)
    return tally.score()


class _EstimateWriter:
    """Writes an estimates file: what does not depend on the observation at once, rows as they come."""

    def __init__(self, file: ArrayWriter, batch_shape: tuple[int, ...], model: Model) -> None:
        self.file, self.batch_shape = file, batch_shape
        file.attribute("model", model.name)
        file.attribute("algorithm", model.algorithm.name)
        file.attribute("model_scenario", model.scenario.name)
        file.attribute("chanest_version", version("chanest"))
        file.write("used_subcarriers", model.ofdm.used_subcarriers)
        file.write("first_tap_samples", torch.tensor(model.ofdm.first_tap_samples).numpy())

    def rows(self, at: tuple[slice, ...], estimate: Estimate) -> None:
        fields = {"cir": estimate.cir, "cfr": estimate.cfr, "error_variance": estimate.error_variance}
        for name, values in fields.items():
            if values is None:
                continue
            lengths = tuple(s.stop - s.start for s in at)
            width = values.shape[-1]
            rows = values.reshape(*lengths, width).cpu().numpy()
            self.file.write_rows(name, (*self.batch_shape, width), at, rows)


def simulation_writer(file: ArrayWriter, n_samples: int, model: Model) -> Callable[[int, Estimate], None]:
    """A function that writes the estimates of one block, given the number of its first sample."""
    writer = _EstimateWriter(file, (n_samples,), model)
    return lambda first, estimate: writer.rows((slice(first, first + len(estimate.cfr)),), estimate)


def _add(tally: Tally, estimate: Estimate, cir: Tensor | None, first_tap: int, cfr: Tensor | None) -> None:
    if cfr is not None:
        tally.cfr.add(estimate.cfr.cpu(), cfr.cpu())
        if estimate.error_variance is not None:
            tally.expected += float(estimate.error_variance.double().sum())
    if cir is not None and estimate.cir is not None:
        tally.cir.add(*common_window(estimate.cir.cpu(), estimate.first_tap_samples, cir.cpu(), first_tap))


def _references(
    block: Simulation, scenario: Scenario, pattern: PilotPattern
) -> dict[str, Callable[[], tuple[Tensor | None, Tensor]]]:
    pilots = torch.tensor(pattern.subcarriers)

    def told_the_support(noise_variance: Tensor | None) -> tuple[Tensor | None, Tensor]:
        gains = oracle(block.observations, pilots, block.delays, block.variances, noise_variance, scenario.n_fft).to(
            torch.complex64
        )
        cir = None
        if block.cir is not None:
            taps = block.delays.long() - scenario.first_tap_samples
            cir = torch.zeros_like(block.cir).scatter_add(-1, taps, gains)
        return cir, frequency_response(block.delays, gains, scenario)

    return {
        "oracle-ls": lambda: told_the_support(None),
        "oracle-mmse": lambda: told_the_support(block.noise_variance),
    }


def check_band(model: Model, scenario: Scenario) -> None:
    """Raise ModelError unless a model estimates the subcarriers of a scenario."""
    bands = [(s.n_used, s.n_fft) for s in (model.ofdm, scenario)]
    if bands[0] != bands[1]:
        made, wanted = (f"{n_used} used subcarriers of {n_fft}" for n_used, n_fft in bands)
        raise ModelError(f"model {model.name}: made for {made}, scenario {scenario.name} has {wanted}")


def synchronise(device: torch.device) -> None:
    """Wait until a device has done what it was given; nothing to wait for on a CPU.

    >>> synchronise(torch.device("cpu"))
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def plain(score: Score) -> dict[str, float | None]:
    """A score as JSON shows it: NMSE and seconds, None for what is unknown or infinite."""
    fields: dict[str, float | None] = {
        "cir_nmse_db": score.cir_nmse_db,
        "cfr_nmse_db": score.cfr_nmse_db,
        "seconds_per_estimate": score.seconds_per_estimate,
    }
    return {name: v if v is not None and math.isfinite(v) else None for name, v in fields.items()}
