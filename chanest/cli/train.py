"""``chanest train``."""

import inspect
import math
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..algorithms import ALGORITHMS, Algorithm
from ..errors import AlgorithmError, FileError, ModelError, TrainingError
from ..files.arrays import refuse_existing
from ..models.model import Model
from ..models.zoo import NOT_SYNTHETIC, load_model
from ..problems.gaussian import SyntheticScenario
from ..problems.load import AnyScenario
from ..problems.ofdm.channels import TapChannel
from ..problems.ofdm.draw import draw_pattern
from ..training.distributed import Processes, joined
from ..training.trainer import TrainingSettings, checkpoint_path, train
from .common import (
    DEFAULT_ALGORITHM,
    Setting,
    check_distinct,
    check_iterations,
    check_seed,
    chosen_device,
    chosen_setting,
    naming_options,
    progress_bar,
)


@dataclass(frozen=True)
class _Defaults:
    learning_rate: float
    batch: int
    iterations: int


_DEFAULTS = {
    "alista": _Defaults(3e-2, 512, 16),
    "na-alista": _Defaults(3e-3, 512, 16),
    "na-sbl": _Defaults(3e-3, 64, 6),
    "stepsize-ista": _Defaults(3e-2, 512, 16),
    "lista": _Defaults(1e-3, 512, 16),
    "lista-cpss": _Defaults(1e-3, 512, 16),
    "gated-lista": _Defaults(1e-3, 512, 16),
    "alista-at": _Defaults(3e-2, 512, 16),
    "aglista": _Defaults(1e-2, 512, 16),
    "na-alista-rnn": _Defaults(1e-3, 512, 16),
    "na-alista-mlp": _Defaults(3e-3, 512, 16),
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
    setting: Setting
    algorithm: str | None
    start: str | None
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
    """Train and say what came out; under torchrun, together with the other processes."""
    with joined(options.device) as (processes, device):
        _train(options, processes, device)


def _train(options: TrainOptions, processes: Processes, device_name: str) -> None:
    processes.from_first(lambda: _check_paths(options))
    check_seed(options.seed)
    check_iterations(options.iterations)
    device = chosen_device(device_name)
    scenario = _scenario(options)
    start = load_model(options.start) if options.start else None
    with naming_options(_OPTIONS):
        algorithm = _algorithm(options, scenario, start)
        settings = _settings(options, algorithm.name)
        processes.share(settings.batch_size)
    with progress_bar(f"training {algorithm.name}", settings.steps, processes.first) as bar:
        model = train(
            algorithm,
            scenario,
            settings,
            options.output,
            resume=options.resume,
            warm=start is not None,
            device=device,
            command=_command(),
            progress=lambda step, nmse, rate: bar.at(step, f"NMSE {nmse:.1f} dB, rate {rate:.1e}"),
            processes=processes,
        )
    if processes.first:
        seconds, nmse = (model.training[name] for name in ("wall_seconds", "validation_nmse_db"))
        print(
            f"{options.output}: {algorithm.name}, {settings.steps} steps in {seconds:.0f} s"
            + (f" on {processes.size} processes" if processes.size > 1 else "")
            + f", validation NMSE {nmse:.2f} dB"
        )


def _check_paths(options: TrainOptions) -> None:
    if options.output.suffix != ".h5":
        raise FileError(f"expected a file ending in .h5, got {options.output}", field="--output")
    check_distinct(start=Path(options.start) if options.start else None, output=options.output)
    refuse_existing(options.output, options.force)
    checkpoint = checkpoint_path(options.output)
    if checkpoint.exists() and not options.resume and not options.force:
        raise FileError(
            "a training began there; continue with --resume, or give --force to start anew", path=checkpoint
        )


def _command() -> str:
    """The command to record: what was typed, without what only concerns this run."""
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--force")]
    return shlex.join(["chanest", *words])


def _settings(options: TrainOptions, name: str) -> TrainingSettings:
    rate = options.learning_rate
    if rate is None:
        rate = _DEFAULTS[name].learning_rate
    elif not 0 < rate < math.inf:
        raise TrainingError(f"expected a positive number, got {rate}", field="learning_rate")
    batch = _DEFAULTS[name].batch if options.batch is None else options.batch
    return TrainingSettings(steps=options.steps, batch_size=batch, learning_rate=rate, seed=options.seed)


def _scenario(options: TrainOptions) -> AnyScenario:
    asked = options.setting
    scenario = chosen_setting(asked)
    changed: dict[str, Any] = {}
    if options.snr is not None:
        changed["snr_db"] = bounds = _snr(options.snr)
    if isinstance(scenario, SyntheticScenario):
        if options.fixed_pattern is not None:
            changed["fixed_matrix"] = options.fixed_pattern
        training = {**scenario.training.model_dump(), **changed}
        at = {"snr_db": min(max(scenario.snr_db, bounds[0]), bounds[1])} if "snr_db" in changed else {}
        return scenario.replace(training=training, **at)
    if options.fixed_pattern is not None:
        changed["fixed_pattern"] = options.fixed_pattern
    if asked.pilots is not None:
        changed["n_pilots"] = None
    if not changed:
        return scenario
    return scenario.replace(training={**scenario.training.model_dump(), **changed})


def _snr(text: str) -> tuple[float, float]:
    low, _, high = text.partition(":")
    try:
        bounds = (float(low), float(high or low))
    except ValueError:
        raise TrainingError(f"expected DB or LOW:HIGH, got {text}", field="--snr") from None
    if not -50 <= bounds[0] <= bounds[1] <= 100:
        raise TrainingError(f"expected -50 <= LOW <= HIGH <= 100, got {text}", field="--snr")
    return bounds


def _algorithm(options: TrainOptions, scenario: AnyScenario, start: Model | None) -> Algorithm:
    name = options.algorithm or (start.algorithm.name if start else DEFAULT_ALGORITHM)
    learned = [name for name, cls in ALGORITHMS.items() if cls.learned]
    if name not in learned:
        raise AlgorithmError(f"expected one of {', '.join(learned)}, got {name}", field="--algorithm")
    asked = {
        "sparsity": options.sparsity,
        "ridge": options.ridge,
        "n_hidden" if name == "na-sbl" else "lstm_hidden": options.hidden,
        "lstm_inputs": options.inputs,
    }
    given: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    known = inspect.signature(ALGORITHMS[name]).parameters
    for key, value in given.items():
        if key not in known:
            raise AlgorithmError(f"not an option of {name}", field=_OPTIONS[key])
        if isinstance(value, float) and not 0 <= value < math.inf:
            raise AlgorithmError(f"expected a number not below 0, got {value}", field=key)
    if isinstance(scenario, SyntheticScenario) and name in NOT_SYNTHETIC:
        raise AlgorithmError(f"{name} is for OFDM scenarios only", field="--algorithm")
    sizes = _sizes(name, scenario, options.seed) if "n_measurements" in known else {}
    if start is not None:
        return _continued(start, name, scenario, {**given, **sizes}, options.iterations)
    hyperparameters = {key: value for key, value in _of_scenario(scenario).items() if key in known}
    n_iterations = _DEFAULTS[name].iterations if options.iterations is None else options.iterations
    return ALGORITHMS[name](n_iterations=n_iterations, **{**hyperparameters, **sizes, **given})


def _of_scenario(scenario: AnyScenario) -> dict[str, Any]:
    """Hyperparameters that a scenario knows, for the algorithms that have them."""
    penalty = {"penalty": scenario.penalties.ista}
    if isinstance(scenario, SyntheticScenario):
        return {"sparsity": scenario.sparsity, "ridge": 1e-6, "schedule": "synthetic", **penalty}
    return penalty | ({"decay": scenario.channel.decay} if isinstance(scenario.channel, TapChannel) else {})


def _sizes(name: str, scenario: AnyScenario, seed: int) -> dict[str, Any]:
    """Size and field of the one Phi that an algorithm with learned matrices is bound to."""
    if isinstance(scenario, SyntheticScenario):
        thing, fixed = "matrix", scenario.training.fixed_matrix
        sizes = (scenario.n_measurements, scenario.n_coefficients, "real")
    else:
        thing, fixed = "pilot pattern", scenario.training.fixed_pattern
        sizes = (len(draw_pattern(scenario, seed)), scenario.n_taps, "complex")
    if not fixed:
        raise AlgorithmError(
            f"{name} is bound to one {thing}, scenario {scenario.name} draws a new one every step; "
            "give --fixed-pattern",
            field="--algorithm",
        )
    return dict(zip(("n_measurements", "n_coefficients", "field"), sizes, strict=True))


def _continued(
    start: Model, name: str, scenario: AnyScenario, wanted: dict[str, Any], n_iterations: int | None
) -> Algorithm:
    """The algorithm of a model with its parameters, grown to the iterations asked for."""
    algorithm = start.algorithm
    assert isinstance(algorithm, Algorithm)
    if algorithm.name != name:
        raise AlgorithmError(f"{name} asked for, model {start.name} is {algorithm.name}", field="--algorithm")
    if isinstance(scenario, SyntheticScenario) != isinstance(start.scenario, SyntheticScenario):
        raise ModelError(
            f"model {start.name} was made for {start.scenario.name}, not for {scenario.name}", field="--start"
        )
    for key, value in wanted.items():
        found = algorithm.hyperparameters.get(key)
        if found != value:
            option = _OPTIONS.get(key, "--start")
            raise ModelError(f"{key} of model {start.name} is {found}, asked for {value}", field=option)
    return algorithm.grown(algorithm.n_iterations if n_iterations is None else n_iterations)
