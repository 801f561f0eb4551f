"""``chanest train``."""

import inspect
import math
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ..algorithms import Algorithm, algorithm_class
from ..errors import AlgorithmError, FileError, ModelError, ScenarioError, TrainingError
from ..files import refuse_existing
from ..models import Model, fits, load_model
from ..problems import Problem
from ..training import TrainingSettings, checkpoint_path, joined
from ..training import train as run_training
from .options import (
    DEFAULT_ALGORITHM,
    LEARNED,
    MOST_ITERATIONS,
    CoefficientsOption,
    DeviceOption,
    ForceOption,
    LearnedOption,
    MeasurementsOption,
    PilotsOption,
    ResumeOption,
    ScenarioOption,
    SeedOption,
    check_distinct,
    check_number,
    check_seed,
    chosen_device,
    chosen_problem,
    naming_options,
)
from .terminal import progress_bar


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


def train(
    output: Annotated[Path, typer.Option(help="Model file to write, .h5; a checkpoint lies beside it meanwhile.")],
    scenario: ScenarioOption = None,
    pilots: PilotsOption = None,
    measurements: MeasurementsOption = None,
    coefficients: CoefficientsOption = None,
    algorithm: LearnedOption = None,
    start: Annotated[str | None, typer.Option(help="Begin from a model's parameters, grown to --iterations.")] = None,
    steps: Annotated[int, typer.Option(help="Batches in all.")] = 3000,
    batch: Annotated[int | None, typer.Option(help="Samples per batch; a default per algorithm.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak of Adam's rate; a default per algorithm.")] = None,
    iterations: Annotated[int | None, typer.Option(help="K; a default per algorithm.")] = None,
    hidden: Annotated[int | None, typer.Option(help="Units of the LSTM (na-alista) or perceptrons (na-sbl).")] = None,
    inputs: Annotated[str | None, typer.Option(help='What the LSTM reads: "r", "u" or "r,u" (na-alista).')] = None,
    sparsity: Annotated[float | None, typer.Option(help="S of the schedule of support selection; 0 for none.")] = None,
    ridge: Annotated[float | None, typer.Option(help="Ridge of the analytic weights; 0 for W = Phi.")] = None,
    snr: Annotated[str | None, typer.Option("--snr", help="SNR or LOW:HIGH in dB; the scenario's range.")] = None,
    fixed_pattern: Annotated[bool | None, typer.Option(help="One pilot pattern for all steps, or new ones.")] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    resume: ResumeOption = False,
    force: ForceOption = False,
) -> None:
    """Train a model for a scenario; under torchrun, in several processes.

    \b
    chanest train --output my.h5 --pilots 75
    chanest train --output my.h5 --algorithm na-sbl --scenario mine.toml --steps 6000
    chanest train --output more.h5 --start my.h5 --iterations 20 --steps 500
    """
    with joined(device) as (processes, device_name):
        processes.from_first(lambda: _check_paths(output, start, resume, force))
        check_seed(seed)
        check_number("--iterations", iterations, MOST_ITERATIONS)
        on = chosen_device(device_name)
        problem = chosen_problem(scenario, pilots, None, measurements, coefficients).trained_with(
            None if snr is None else _snr(snr), fixed_pattern, resized=pilots is not None
        )
        begun = load_model(start) if start else None
        asked = {"sparsity": sparsity, "ridge": ridge, "hidden": hidden, "lstm_inputs": inputs}
        with naming_options(_OPTIONS):
            made = _algorithm(algorithm, asked, problem, begun, iterations, seed)
            settings = _settings(made.name, steps, batch, learning_rate, seed)
            processes.share(settings.batch_size)
        with progress_bar(f"training {made.name}", settings.steps, processes.first) as bar:
            model = run_training(
                made,
                problem,
                settings,
                output,
                resume=resume,
                warm=begun is not None,
                device=on,
                command=_command(),
                progress=lambda step, nmse, rate: bar.at(step, f"NMSE {nmse:.1f} dB, rate {rate:.1e}"),
                calibrating=lambda done, work: bar.at(done, "calibrating error variances", work),
                processes=processes,
            )
        if processes.first:
            seconds, nmse = (model.training[name] for name in ("wall_seconds", "validation_nmse_db"))
            print(
                f"{output}: {made.name}, {settings.steps} steps in {seconds:.0f} s"
                + (f" on {processes.size} processes" if processes.size > 1 else "")
                + f", validation NMSE {nmse:.2f} dB"
            )


def _check_paths(output: Path, start: str | None, resume: bool, force: bool) -> None:
    if output.suffix != ".h5":
        raise FileError(f"expected a file ending in .h5, got {output}", field="--output")
    check_distinct(start=Path(start) if start else None, output=output)
    refuse_existing(output, force)
    checkpoint = checkpoint_path(output)
    if checkpoint.exists() and not resume and not force:
        raise FileError(
            "a training began there; continue with --resume, or give --force to start anew", path=checkpoint
        )


def _command() -> str:
    """The command to record: what was typed, without what only concerns this run."""
    return shlex.join(["chanest", *(word for word in sys.argv[1:] if word not in ("--resume", "--force"))])


def _settings(name: str, steps: int, batch: int | None, learning_rate: float | None, seed: int) -> TrainingSettings:
    if learning_rate is not None and not 0 < learning_rate < math.inf:
        raise TrainingError(f"expected a positive number, got {learning_rate}", field="learning_rate")
    usual = _DEFAULTS[name]
    return TrainingSettings(
        steps=steps,
        batch_size=usual.batch if batch is None else batch,
        learning_rate=usual.learning_rate if learning_rate is None else learning_rate,
        seed=seed,
    )


def _snr(text: str) -> tuple[float, float]:
    low, _, high = text.partition(":")
    try:
        bounds = (float(low), float(high or low))
    except ValueError:
        raise TrainingError(f"expected DB or LOW:HIGH, got {text}", field="--snr") from None
    if not -50 <= bounds[0] <= bounds[1] <= 100:
        raise TrainingError(f"expected -50 <= LOW <= HIGH <= 100, got {text}", field="--snr")
    return bounds


def _algorithm(
    name: str | None, asked: dict[str, Any], problem: Problem, start: Model | None, n_iterations: int | None, seed: int
) -> Algorithm:
    name = name or (start.algorithm.name if start else DEFAULT_ALGORITHM)
    if name not in LEARNED:
        raise AlgorithmError(f"expected one of {', '.join(LEARNED)}, got {name}", field="--algorithm")
    cls = algorithm_class(name, problem.training_hyperparameters())
    known = inspect.signature(cls).parameters
    given = {key: value for key, value in asked.items() if value is not None}
    if "hidden" in given:
        given["n_hidden" if "n_hidden" in known else "lstm_hidden"] = given.pop("hidden")
    for key, value in given.items():
        if key not in known:
            raise AlgorithmError(f"not an option of {name}", field=_OPTIONS[key])
        if isinstance(value, float) and not 0 <= value < math.inf:
            raise AlgorithmError(f"expected a number not below 0, got {value}", field=key)
    if not fits(name, problem):
        raise AlgorithmError(f"{name} is for OFDM scenarios only", field="--algorithm")
    if "n_measurements" in known:
        given |= _matrix_size(name, problem, seed)
    if start is not None:
        return _continued(start, name, problem, given, n_iterations)
    of_problem = {key: value for key, value in problem.training_hyperparameters().items() if key in known}
    n_iterations = _DEFAULTS[name].iterations if n_iterations is None else n_iterations
    return cls(n_iterations=n_iterations, **{**of_problem, **given})


def _matrix_size(name: str, problem: Problem, seed: int) -> dict[str, Any]:
    """Size and field of the one Phi that an algorithm with learned matrices is bound to."""
    try:
        return dict(zip(("n_measurements", "n_coefficients", "field"), problem.matrix_size(seed), strict=True))
    except ScenarioError as error:
        raise AlgorithmError(
            f"{name} is bound to one {problem.sensing_word}, {error.what}", field="--algorithm"
        ) from None


def _continued(
    start: Model, name: str, problem: Problem, wanted: dict[str, Any], n_iterations: int | None
) -> Algorithm:
    """The algorithm of a model with its parameters, grown to the iterations asked for."""
    algorithm = start.algorithm
    assert isinstance(algorithm, Algorithm)
    if algorithm.name != name:
        raise AlgorithmError(f"{name} asked for, model {start.name} is {algorithm.name}", field="--algorithm")
    if start.scenario.dtype != problem.dtype:
        raise ModelError(
            f"model {start.name} was made for {start.scenario.name}, not for {problem.name}", field="--start"
        )
    for key, value in wanted.items():
        found = algorithm.hyperparameters.get(key)
        if found != value:
            raise ModelError(
                f"{key} of model {start.name} is {found}, asked for {value}", field=_OPTIONS.get(key, "--start")
            )
    return algorithm.grown(algorithm.n_iterations if n_iterations is None else n_iterations)
