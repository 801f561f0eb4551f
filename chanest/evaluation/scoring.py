"""Estimators beside each other on the same simulated data, and one estimator over a file of measurements."""

import math
import statistics
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from ..errors import FileError, ObservationError
from ..files import FINDINGS, MOTION, ArrayWriter, Chunk, EstimateWriter, MeasurementFile, PilotFile, Slices
from ..models import Model, Paths, Solution, check_serves
from ..problems import Batch, Problem, Sensing, Values
from ..problems.random import BLOCK
from .metrics import ErrorSums, common_window

REFERENCES = ("oracle-ls", "oracle-mmse")
_MOST_ENTRIES = 2**22  # of the M x M matrices of a chunk
_TIMED_RUNS, _TIMED_SECONDS = 5, 0.5
_LONG_SECONDS = 10.0  # a run that is not made again for the clock


@dataclass(frozen=True)
class Score:
    """How one estimator did.

    Attributes:
        nmse_db: by the name of the quantity, ``cir``, ``cfr`` (over the used subcarriers) or ``x``; of those whose
            truth is known and that it estimates.
        expected_nmse_db: what the mean of its own error variance says of the CFR; None where not asked for.
        seconds_per_estimate: warm median at ``batch``, per sample.
        batch: samples estimated at once.
    """

    nmse_db: dict[str, float]
    seconds_per_estimate: float
    batch: int
    expected_nmse_db: float | None = None

    @property
    def fields(self) -> dict[str, float | None]:
        """NMSE and seconds as JSON and CSV name them; the NMSE of x stands in ``cir_nmse_db``."""
        nmse = self.nmse_db
        return {
            "cir_nmse_db": nmse.get("cir", nmse.get("x")),
            "cfr_nmse_db": nmse.get("cfr"),
            "seconds_per_estimate": self.seconds_per_estimate,
        }


class ErrorTally:
    """Sums of errors and timings of one estimator.

    >>> tally = ErrorTally()
    >>> tally.add({"x": torch.ones(4)}, {"x": 2 * torch.ones(4)})
    >>> round(tally.score().nmse_db["x"], 2)
    -6.02
    """

    def __init__(self) -> None:
        self.sums: dict[str, ErrorSums] = {}
        self.expected = 0.0
        self.seconds, self.batch = math.nan, 0

    def add(self, values: Values, truth: Values, first_taps: tuple[int, int] = (0, 0)) -> None:
        """Add estimates to compare with the truth.

        Args:
            values, truth: (batch, n) by the name of the quantity; what only one of them has is left out.
            first_taps: delay of the first tap of ``cir`` in each.
        """
        for name in values.keys() & truth.keys():
            pair = values[name].cpu(), truth[name].cpu()
            if name == "cir":
                pair = common_window(pair[0], first_taps[0], pair[1], first_taps[1])
            self.sums.setdefault(name, ErrorSums()).add(*pair)

    def add_solution(self, found: Solution, truth: Values, first_tap: int) -> None:
        """Add what a model found, its error variance too."""
        values = found.values
        if found.tap_spacing_samples != 1:  # taps between the samples have no truth
            values = {name: value for name, value in values.items() if name != "cir"}
        self.add(values, truth, (int(found.first_tap_samples), first_tap))
        if found.error_variance is not None and "cfr" in truth:
            self.expected += float(found.error_variance.double().sum())

    def score(self) -> Score:
        nmse = {name: sums.nmse_db for name, sums in self.sums.items() if sums.truth > 0}
        expected = None
        if self.expected > 0 and "cfr" in nmse:
            expected = 10 * math.log10(self.expected / self.sums["cfr"].truth)
        return Score(nmse, self.seconds, self.batch, expected)

    def time(self, run: Callable[[], Any], batch: int, device: torch.device, first: float | None = None) -> None:
        """The warm median of a few runs, per sample; the first warms up, and counts alone where it is long.

        ``first``: seconds of a run that was made already.
        """
        laps: list[float] = [] if first is None else [first]
        while len(laps) <= _TIMED_RUNS and sum(laps) < _TIMED_SECONDS:
            synchronise(device)
            started = time.perf_counter()
            run()
            synchronise(device)
            laps.append(time.perf_counter() - started)
        self.seconds, self.batch = statistics.median(laps[1:] or laps) / batch, batch


@torch.inference_mode()
def evaluate(
    scenario: Problem,
    sensing: Sensing,
    models: Mapping[str, Model],
    n_samples: int,
    seed: int,
    device: torch.device,
    *,
    n_iterations: Mapping[str, int] | None = None,
    error_variance_of: Collection[str] = (),
    references: Collection[str] = REFERENCES,
    on_block: Callable[[int, Batch, Mapping[str, Solution]], None] | None = None,
    on_estimator: Callable[[str, int, float], None] | None = None,
) -> dict[str, Score]:
    """Simulate channels or vectors and score models and references on them.

    Args:
        scenario, sensing, n_samples, seed: what to simulate.
        models: estimators by name.
        device: where to estimate; data are drawn on the CPU, the same for every device.
        n_iterations: for some of the models, another K.
        error_variance_of: the models that shall estimate their error variance too.
        references: which of the bounds to score.
        on_block: called after every block with the number of its first sample, the block, and what the models found.
        on_estimator: called after every model or reference in every block with its name, the samples that it has done,
            and its seconds per sample.

    Returns:
        a score per model, then per reference (``oracle-ls``, ``oracle-mmse``). Models are told the mean noise
        variance, the references the true delays or the support too.

    Raises:
        ModelError: a model was made for another band, or the other setting.
        AlgorithmError: its matrices are of another size.

    >>> from chanest import load_scenario
    >>> from chanest.models import pick_model
    >>> scenario = load_scenario("synthetic")
    >>> models = {"vamp": pick_model("vamp", scenario)}
    >>> scores = evaluate(scenario, scenario.sensing(0), models, 64, 0, torch.device("cpu"))
    >>> scores["oracle-mmse"].nmse_db["x"] < scores["vamp"].nmse_db["x"] < -30
    True
    """
    for model in models.values():
        check_serves(model, scenario)
    tallies = {name: ErrorTally() for name in (*models, *references)}
    first = 0
    for block in scenario.simulate(sensing, n_samples, seed):
        data = block.to(device)
        found: dict[str, Solution] = {}
        for name, model in models.items():
            run = partial(
                model.solve,
                data.observations,
                sensing,
                data.noise_variance,
                window_samples=scenario.window_samples,
                n_iterations=(n_iterations or {}).get(name),
            )
            found[name] = run(error_variance=name in error_variance_of)
            tallies[name].add_solution(found[name], data.truth, scenario.first_tap_samples)
            if first == 0:
                tallies[name].time(run, len(block), device)
            if on_estimator is not None:
                on_estimator(name, first + len(block), tallies[name].seconds)
        oracles = scenario.oracles(block, sensing)
        for name in references:
            oracle = oracles[name]
            tallies[name].add(oracle(), block.truth)
            if first == 0:
                tallies[name].time(oracle, len(block), torch.device("cpu"))
            if on_estimator is not None:
                on_estimator(name, first + len(block), tallies[name].seconds)
        if on_block is not None:
            on_block(first, block, found)
        first += len(block)
    return {name: tally.score() for name, tally in tallies.items()}


@torch.inference_mode()
def estimate_file(
    measurements: MeasurementFile,
    model: Model,
    device: torch.device,
    *,
    output: ArrayWriter | None = None,
    n_iterations: int | None = None,
    error_variance: bool = False,
    paths: bool = False,
    on_chunk: Callable[[int, Chunk, Solution], None] | None = None,
) -> Score:
    """Estimate every observation of a file, chunk by chunk, in memory that does not grow with the file.

    Args:
        measurements: an open file.
        model: the estimator.
        device: where to estimate.
        output: where the estimates go.
        n_iterations: another K than the model's.
        error_variance: estimate it too.
        paths: find the paths too.
        on_chunk: called after every chunk with the number of observations in it, the chunk and what was found.

    Raises:
        FileError: the measurements do not fit the model.
        AlgorithmError: the model's matrices are of another size.
        ObservationError: NaN or Inf; the message names the first index.
    """
    tally, sensing = ErrorTally(), measurements.sensing
    writer = output and estimate_writer(output, measurements.batch_shape, model, sensing)
    rows = max(1, min(BLOCK, _MOST_ENTRIES // sensing.n_measurements**2))
    for chunk in measurements.chunks(rows):
        observations, noise, told = _on((chunk.observations, chunk.noise_variance, measurements.told(chunk)), device)
        run = partial(model.solve, observations, sensing, noise, **told, n_iterations=n_iterations)
        started = time.perf_counter()
        try:
            found = run(error_variance=error_variance, findings=True, paths=paths)
        except ObservationError as error:
            raise FileError(f"model {model.name}: {error.what}", path=measurements.path, field=error.field) from None
        if not tally.batch:
            elapsed = time.perf_counter() - started
            tally.time(run, len(chunk), device, elapsed if elapsed > _LONG_SECONDS else None)
        tally.add_solution(found, chunk.truth, measurements.first_tap_samples)
        if writer:
            write_solution(writer, chunk.at, found, measurements.snapshot_axes)
            shared = {name: _of_groups(getattr(found, name), measurements, chunk) for name in (*FINDINGS, *MOTION)}
            writer.group_rows(chunk.at, measurements.group_shape, shared)
            if found.paths is not None and isinstance(measurements, PilotFile):
                _write_paths(writer, measurements, chunk, found.paths)
        if on_chunk is not None:
            on_chunk(len(chunk), chunk, found)
    return tally.score()


def _on(given: Any, device: torch.device) -> Any:
    """Tensors in a tuple or a mapping on a device; what else is there, as it is."""
    if isinstance(given, tuple):
        return tuple(_on(one, device) for one in given)
    if isinstance(given, dict):
        return {name: _on(one, device) for name, one in given.items()}
    return given.to(device) if isinstance(given, torch.Tensor) else given


def _write_paths(writer: EstimateWriter, measurements: PilotFile, chunk: Chunk, paths: Paths) -> None:
    def of_groups(values: torch.Tensor) -> torch.Tensor:
        shaped = _of_groups(values, measurements, chunk)
        assert shaped is not None
        return shaped

    rate, delays = measurements.sample_rate_hz, of_groups(paths.delays_samples)
    shared = {"path_delays_samples": delays} if rate is None else {"path_delays_s": delays / rate}
    shared["path_variances"] = of_groups(paths.variances)
    if measurements.n_layers > 1:
        shared["path_layers"] = of_groups(paths.layers)
    writer.paths(chunk.at, measurements.group_shape, shared)
    writer.paths(chunk.at, measurements.batch_shape, {"path_gains": paths.gains})
    writer.group_rows(chunk.at, measurements.group_shape, {"n_paths": of_groups(paths.count)})


def _of_groups(values: torch.Tensor | None, measurements: MeasurementFile, chunk: Chunk) -> torch.Tensor | None:
    """(groups, ...) values; of every snapshot where the file says that these differ."""
    if values is None:
        return None
    leading = chunk.observations.shape[:-1]
    if measurements.split and values.shape[: len(leading)] != leading:
        values = values.reshape(len(values), *(1 for _ in leading[1:]), *values.shape[1:])
        values = values.expand(*leading, *values.shape[len(leading) :])
    if measurements.split:
        values = values.flatten(0, len(leading) - 1)
    return values


def estimate_writer(file: ArrayWriter, batch_shape: tuple[int, ...], model: Model, sensing: Sensing) -> EstimateWriter:
    """A writer of what a model finds in observations made by some pilot pattern or matrix."""
    return EstimateWriter(
        file,
        batch_shape,
        {"model": model.name, "algorithm": model.algorithm.name, "model_scenario": model.scenario.name},
        model.scenario.estimate_header(sensing),
    )


def write_solution(writer: EstimateWriter, at: Slices, found: Solution, snapshot_axes: int = 0) -> None:
    """Write what a model found in some rows: the channels, their error variance, and where the taps lie."""
    if "cir" in found.values:
        taps = {"first_tap_samples": np.asarray(found.first_tap_samples)}
        if found.tap_spacing_samples != 1:
            taps["tap_spacing_samples"] = np.asarray(found.tap_spacing_samples)
        writer.header(taps)
    writer.rows(at, {**found.values, "error_variance": found.error_variance}, snapshot_axes)


def synchronise(device: torch.device) -> None:
    """Wait until a device has done what it was given; nothing to wait for on a CPU.

    >>> synchronise(torch.device("cpu"))
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def plain(score: Score) -> dict[str, float | None]:
    """A score as JSON shows it: NMSE and seconds, None for what is unknown or infinite.

    >>> plain(Score({"cfr": -math.inf}, 1e-3, 512))
    {'cir_nmse_db': None, 'cfr_nmse_db': None, 'seconds_per_estimate': 0.001}
    """
    return {name: v if v is not None and math.isfinite(v) else None for name, v in score.fields.items()}
