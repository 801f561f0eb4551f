"""``chanest train``."""

import math
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..algorithms import ALGORITHMS, Algorithm
from ..arrayfile import refuse_existing
from ..errors import AlgorithmError, FileError, TrainingError
from ..scenario import Scenario
from ..training import TrainingSettings, checkpoint_path, train
from .common import check_iterations, check_seed, chosen_device, chosen_scenario, naming_options, progress_bar

_LEARNING_RATES = {"alista": 3e-2, "na-alista": 3e-3}
_OPTIONS = {
    "steps": "--steps",
    "batch_size": "--batch",
    "learning_rate": "--learning-rate",
    "n_iterations": "--iterations",
    "lstm_hidden": "--hidden",
    "lstm_inputs": "--inputs",
    "sparsity": "--sparsity",
    "ridge": "--ridge",
}


@dataclass(frozen=True)
class TrainOptions:
    """The options of ``chanest train``, as given."""

    output: Path
    scenario: str | None
    pilots: int | None
    algorithm: str
    steps: int
    batch: int
    learning_rate: float | None
    iterations: int
    hidden: int | None
    inputs: str | None
    sparsity: float | None
    ridge: float | None
    snr: str | None
    fixed_pattern: bool | None
    seed: int
    device: str
    resume: bool
    force: bool


def run(options: TrainOptions) -> None:
    """Train and say what came out."""
    if options.output.suffix != ".h5":
        raise FileError(f"--output: expected a file ending in .h5, got {options.output}")
    refuse_existing(options.output, options.force)
    checkpoint = checkpoint_path(options.output)
    if checkpoint.exists() and not options.resume and not options.force:
        raise FileError(f"{checkpoint}: a training began there; continue with --resume, or give --force to start anew")
    check_seed(options.seed)
    check_iterations(options.iterations)
    device = chosen_device(options.device)
    scenario = _scenario(options)
    with naming_options(_OPTIONS):
        algorithm = _algorithm(options)
        settings = _settings(options)
    with progress_bar(f"training {algorithm.name}", settings.steps) as bar:
        model = train(
            algorithm,
            scenario,
            settings,
            options.output,
            resume=options.resume,
            device=device,
            command=_command(),
            progress=lambda step, nmse, rate: bar.at(step, f"NMSE {nmse:.1f} dB, rate {rate:.1e}"),
        )
    seconds, nmse = (model.training[name] for name in ("wall_seconds", "validation_nmse_db"))
    print(
        f"{options.output}: {algorithm.name}, {settings.steps} steps in {seconds:.0f} s, validation NMSE {nmse:.2f} dB"
    )


def _command() -> str:
    """The command to record: what was typed, without what only concerns this run."""
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--force")]
    return shlex.join(["chanest", *words])


def _settings(options: TrainOptions) -> TrainingSettings:
    rate = options.learning_rate
    if rate is None:
        rate = _LEARNING_RATES[options.algorithm]
    elif not 0 < rate < math.inf:
        raise TrainingError(f"learning_rate: expected a positive number, got {rate}")
    return TrainingSettings(steps=options.steps, batch_size=options.batch, learning_rate=rate, seed=options.seed)


def _scenario(options: TrainOptions) -> Scenario:
    scenario = chosen_scenario(options.scenario or "lte10", options.pilots, None)
    changed: dict[str, Any] = {}
    if options.snr is not None:
        low, _, high = options.snr.partition(":")
        try:
            changed["snr_db"] = bounds = (float(low), float(high or low))
        except ValueError:
            raise TrainingError(f"--snr: expected DB or LOW:HIGH, got {options.snr}") from None
        if not -50 <= bounds[0] <= bounds[1] <= 100:
            raise TrainingError(f"--snr: expected -50 <= LOW <= HIGH <= 100, got {options.snr}")
    if options.fixed_pattern is not None:
        changed["fixed_pattern"] = options.fixed_pattern
    if options.pilots is not None:
        changed["n_pilots"] = None
    if not changed:
        return scenario
    return scenario.replace(training={**scenario.training.model_dump(), **changed})


def _algorithm(options: TrainOptions) -> Algorithm:
    learned = [name for name, cls in ALGORITHMS.items() if cls.learned]
    if options.algorithm not in learned:
        raise AlgorithmError(f"--algorithm: expected one of {', '.join(learned)}, got {options.algorithm}")
    hyperparameters: dict[str, Any] = {"n_iterations": options.iterations}
    for name, number in (("sparsity", options.sparsity), ("ridge", options.ridge)):
        if number is not None and not 0 <= number < math.inf:
            raise AlgorithmError(f"{name}: expected a number not below 0, got {number}")
    if options.sparsity is not None:
        hyperparameters["sparsity"] = options.sparsity
    if options.ridge is not None:
        hyperparameters["ridge"] = options.ridge
    for name, value in (("lstm_hidden", options.hidden), ("lstm_inputs", options.inputs)):
        if value is not None:
            if options.algorithm != "na-alista":
                raise AlgorithmError(f"--{name.removeprefix('lstm_')}: {options.algorithm} has no LSTM")
            hyperparameters[name] = value
    return ALGORITHMS[options.algorithm](**hyperparameters)
