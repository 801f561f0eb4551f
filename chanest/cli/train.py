"""``chanest train``."""

import inspect
import math
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..algorithms import ALGORITHMS, Algorithm
from ..arrayfile import refuse_existing
from ..errors import AlgorithmError, FileError, TrainingError
from ..scenario import Scenario, TapChannel
from ..training import TrainingSettings, checkpoint_path, train
from .common import check_iterations, check_seed, chosen_device, chosen_scenario, naming_options, progress_bar


@dataclass(frozen=True)
class _Defaults:
    learning_rate: float
    batch: int
    iterations: int


_DEFAULTS = {
    "alista": _Defaults(3e-2, 512, 16),
    "na-alista": _Defaults(3e-3, 512, 16),
    "na-sbl": _Defaults(3e-3, 64, 6),
}
_OPTIONS = {
    "steps": "--steps",
    "batch_size": "--batch",
    "learning_rate": "--learning-rate",
    "n_iterations": "--iterations",
    "lstm_hidden": "--hidden",
    "n_hidden": "--hidden",
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
    batch: int | None
    learning_rate: float | None
    iterations: int | None
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
        algorithm = _algorithm(options, scenario)
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
        rate = _DEFAULTS[options.algorithm].learning_rate
    elif not 0 < rate < math.inf:
        raise TrainingError(f"learning_rate: expected a positive number, got {rate}")
    batch = _DEFAULTS[options.algorithm].batch if options.batch is None else options.batch
    return TrainingSettings(steps=options.steps, batch_size=batch, learning_rate=rate, seed=options.seed)


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


def _algorithm(options: TrainOptions, scenario: Scenario) -> Algorithm:
    name = options.algorithm
    learned = [name for name, cls in ALGORITHMS.items() if cls.learned]
    if name not in learned:
        raise AlgorithmError(f"--algorithm: expected one of {', '.join(learned)}, got {name}")
    given = {
        "sparsity": options.sparsity,
        "ridge": options.ridge,
        "n_hidden" if name == "na-sbl" else "lstm_hidden": options.hidden,
        "lstm_inputs": options.inputs,
    }
    hyperparameters: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    known = inspect.signature(ALGORITHMS[name]).parameters
    for key, value in hyperparameters.items():
        if key not in known:
            raise AlgorithmError(f"{_OPTIONS[key]}: not an option of {name}")
        if isinstance(value, float) and not 0 <= value < math.inf:
            raise AlgorithmError(f"{key}: expected a number not below 0, got {value}")
    if "decay" in known and isinstance(scenario.channel, TapChannel):
        hyperparameters["decay"] = scenario.channel.decay
    n_iterations = _DEFAULTS[name].iterations if options.iterations is None else options.iterations
    return ALGORITHMS[name](n_iterations=n_iterations, **hyperparameters)
