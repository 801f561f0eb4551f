"""Which estimator serves: shipped models by name, files, and the one that fits a problem best."""

import hashlib
import inspect
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..algorithms import (
    ALGORITHMS,
    INTERPOLATORS,
    Interpolator,
)
from ..errors import AlgorithmError, ModelError, PilotError
from ..problems import Grid, PilotPattern, Problem, SlotPattern, not_none, ofdm, pattern_of, slot_pattern_of
from .hdf5 import read_model, read_purpose, shipped_models
from .model import Array, Estimate, Model

ESTIMATORS = (*ALGORITHMS, *INTERPOLATORS)


def load_model(name: str | Path) -> Model:
    """A shipped model by name, or one from an HDF5 file; its parameters are frozen (requires_grad False).

    Args:
        name: of a shipped model (:func:`model_names`), or the path of a file, which ends in .h5.

    Raises:
        ModelError: no such model, or the file is not one or is damaged.
        FileError: the file cannot be read.

    >>> load_model("na-alista-lte10-m75").algorithm.n_iterations
    16
    """
    if not isinstance(name, str | Path):
        raise ModelError(f"expected the name of a model or the path of a file, got {type(name).__name__}")
    path = Path(name)
    if path.suffix != ".h5" and not path.exists():
        names = model_names()
        if str(name) not in names:
            of_algorithm = [one for one in names if one.startswith(f"{name}-")]
            near = get_close_matches(str(name), names, 1)
            said = f"expected a file, or one of {', '.join(of_algorithm or names)}"
            if str(name) in ESTIMATORS:
                said += f"; {name} is an algorithm"
            elif near:
                said += f"; do you mean {near[0]}?"
            raise ModelError(said, path=f"model {name}")
        path = shipped_models()[names.index(str(name))]
    algorithm, scenario, training = read_model(path)
    return Model(algorithm.requires_grad_(False), scenario, path.stem, training)


def model_names() -> list[str]:
    """The names of the shipped models.

    >>> "na-sbl-wide" in model_names()
    True
    """
    return [path.stem for path in shipped_models()]


def estimate(
    received_pilots: Array,
    pilot_subcarriers: PilotPattern | SlotPattern | Sequence[int] | Array,
    noise_variance: Array | float | None = None,
    *,
    grid: Grid | str | None = None,
    n_fft: int | None = None,
    used_subcarriers: Sequence[int] | Array | None = None,
    pilot_symbols: Array | complex | None = None,
    pilot_valid: Array | None = None,
    pilot_symbol_index: Sequence[int] | Array | None = None,
    symbol_times_s: Sequence[float] | Array | None = None,
    output_times_s: Sequence[float] | Array | None = None,
    doppler_hz: float | None = None,
    cfo_hz: float | None = None,
    snapshot_axes: int = 0,
    window_samples: tuple[float, float] | None = None,
    model: str | Path | Model = "na-sbl-wide",
    error_variance: bool = False,
    paths: bool = False,
    covariance: bool = False,
) -> Estimate:
    """Estimate channels from received pilots on any OFDM grid, by a shipped model or one from a file.

    Args:
        received_pilots: (*batch, n_pilots) complex, NumPy array or tensor.
        pilot_subcarriers: (n_pilots,) whole numbers, counted from the carrier's centre, any set in any order; or a
            pattern, which brings its grid.
        pilot_symbol_index: (n_pilots,) which OFDM symbol each stands on, where there are several and the user moves;
            the CFR is then (*batch, n_symbols, n_used).
        symbol_times_s: (n_symbols,) when these are; needed with an index.
        output_times_s: (n_symbols,) when the channel is wanted; on all symbols when not given.
        doppler_hz, cfo_hz: of several symbols, as of :meth:`Model.estimate`: what is not told is found.
        noise_variance, pilot_symbols, pilot_valid, snapshot_axes, window_samples, error_variance, paths, covariance: as
            of :meth:`Model.estimate`.
        grid: DFT length and band in one, or the name of one, such as "nr-106-30".
        n_fft: DFT length; only subcarrier/n_fft counts. 1024 when not given and the pilots span at least 300 of
            LTE-10's subcarriers.
        used_subcarriers: (n_used,) where the channel is estimated; when not given LTE-10's where the pilots fit in,
            else all from the lowest to the highest pilot.
        model: a name, a file, or a loaded model. "na-sbl-wide" was trained for any channel and any receiver.

    Raises:
        ModelError, FileError: no such model.
        ObservationError, PilotError: as of :meth:`Model.estimate`; or n_fft is missing.

    >>> estimate(np.ones((2, 75), np.complex64), PilotPattern.random(75, seed=0)).cfr.shape
    (2, 600)
    >>> wifi = [*range(-26, 0), *range(1, 27)]
    >>> found = estimate(np.ones((4, 52), np.complex64), wifi, grid="wifi20", snapshot_axes=1)
    >>> found.cfr.shape, bool(found.detected), round(float(found.timing_samples))
    ((4, 56), True, 0)
    >>> index, times = np.repeat([0, 1], 75), np.arange(14) / 14e3
    >>> k = PilotPattern.random(75, seed=0).subcarriers
    >>> slot = estimate(np.ones(150, complex), [*k, *k], pilot_symbol_index=3 + 7 * index, symbol_times_s=times)
    >>> slot.cfr.shape, round(float(slot.doppler_hz))
    ((14, 600), 0)
    """
    if not isinstance(model, Model):
        model = _shipped(str(model)) if str(model) in model_names() else load_model(model)
    pattern: PilotPattern | SlotPattern
    if isinstance(pilot_subcarriers, PilotPattern | SlotPattern):
        pattern, order = pilot_subcarriers, None
    else:
        if grid is not None:
            if n_fft is not None or used_subcarriers is not None:
                raise PilotError("brings its DFT length and band; give it, or n_fft and used_subcarriers", field="grid")
            grid = Grid.named(grid) if isinstance(grid, str) else grid
            n_fft, used_subcarriers = grid.n_fft, grid.used_subcarriers
        used = None if used_subcarriers is None else np.asarray(used_subcarriers)
        pilots = np.asarray(pilot_subcarriers)
        if pilot_symbol_index is None and symbol_times_s is None:
            pattern, order = pattern_of(pilots, n_fft, used)
        elif pilot_symbol_index is None or symbol_times_s is None:
            missing = "pilot_symbol_index" if pilot_symbol_index is None else "symbol_times_s"
            raise PilotError("missing; pilots of several symbols come with an index and times", field=missing)
        else:
            slot = (np.asarray(pilot_symbol_index), np.asarray(symbol_times_s))
            wanted = None if output_times_s is None else np.asarray(output_times_s)
            pattern, order = slot_pattern_of(pilots, *slot, n_fft, used, wanted)
    if order is not None:
        if getattr(noise_variance, "ndim", 0) == received_pilots.ndim:  # of every pilot
            noise_variance = _sorted(noise_variance, order)
        received_pilots, pilot_symbols, pilot_valid = (
            _sorted(values, order) for values in (received_pilots, pilot_symbols, pilot_valid)
        )
    return model.estimate(
        received_pilots,
        pattern,
        noise_variance,
        pilot_symbols=pilot_symbols,
        pilot_valid=pilot_valid,
        snapshot_axes=snapshot_axes,
        window_samples=window_samples,
        doppler_hz=doppler_hz,
        cfo_hz=cfo_hz,
        error_variance=error_variance,
        paths=paths,
        covariance=covariance,
    )


def _sorted(values: Any, order: np.ndarray) -> Any:
    """Values along their last axis, where that is of the pilots, in ascending order of these."""
    if np.ndim(values) == 0 or values.shape[-1] != len(order):
        return values
    return values[..., torch.from_numpy(order) if isinstance(values, torch.Tensor) else order]


def pick_model(
    algorithm: str, scenario: Problem, n_measurements: int | None = None, n_iterations: int | None = None
) -> Model:
    """The estimator of one name that fits a problem and a number of pilots or measurements best.

    Learned algorithms take the nearest shipped model (:meth:`Problem.distance`): for OFDM that for the scenario with
    the nearest number of pilots, else the one trained on ``wide``, made for any channel; for synthetic vectors the
    sizes must be the model's, and of several SNRs the nearest serves. ISTA and FISTA take the scenario's penalty, EP
    and VAMP what it knows of its signals, ``lmmse-true`` its delay profile.

    Args:
        algorithm: one of ESTIMATORS.
        scenario: the problem.
        n_measurements: number of pilots or measurements; the scenario's own when not given.
        n_iterations: another K, of a classical algorithm.

    Raises:
        AlgorithmError: unknown algorithm, or one that does not fit the problem.
        ModelError: nothing shipped fits.

    >>> from chanest import load_scenario
    >>> pick_model("na-alista", load_scenario("lte10"), 60).name
    'na-alista-lte10-m50'
    """
    if algorithm not in ESTIMATORS:
        raise AlgorithmError(f"expected one of {', '.join(ESTIMATORS)}, got {algorithm}", field="algorithm")
    if not fits(algorithm, scenario):
        others = ", ".join(name for name in ESTIMATORS if fits(name, scenario))
        raise AlgorithmError(
            f"{algorithm} estimates OFDM channels only; for synthetic vectors take {others}", field="algorithm"
        )
    if algorithm in INTERPOLATORS:
        return Model(_interpolator(algorithm, scenario), scenario, algorithm)
    if not ALGORITHMS[algorithm].learned:
        return _classical(algorithm, scenario, n_iterations)
    size = getattr(scenario, scenario.size_fields[0]) if n_measurements is None else n_measurements
    near = [
        (distance, path)
        for path in shipped_models()
        for name, made_for in [_purpose(path)]
        if name == algorithm and (distance := scenario.distance(made_for, size)) is not None
    ]
    if not near:
        raise ModelError(
            f"{algorithm}: no model for scenario {scenario.name} with {scenario.size} is shipped; train one, give "
            "--model FILE"
        )
    return load_model(min(near, key=lambda one: (one[0], one[1].stem))[1])


def fits(name: str, scenario: Problem) -> bool:
    """Whether an estimator serves the observations of a problem: some take complex numbers only.

    >>> from chanest import load_scenario
    >>> [fits(name, load_scenario("synthetic")) for name in ("na-alista", "na-sbl", "linear")]
    [True, False, False]
    """
    return scenario.dtype.is_complex or not (ALGORITHMS | INTERPOLATORS)[name].complex_only


def is_model_name(name: str) -> bool:
    """Whether a name means one model, shipped or a file, and not an estimator.

    >>> [is_model_name(name) for name in ("na-sbl-wide", "mine.h5", "na-sbl", "linear")]
    [True, True, False, False]
    """
    return name.endswith(".h5") or name in model_names()


def chosen_estimators(given: str, known: Sequence[str] = ESTIMATORS) -> tuple[str, ...]:
    """What a list with commas names, each once: estimators of those known, shipped models, model files.

    Raises:
        AlgorithmError: none of these.
        ModelError, FileError: a model file that is not there or damaged.

    >>> chosen_estimators("linear, na-sbl-wide,linear")
    ('linear', 'na-sbl-wide')
    """
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",")))
    for name in names:
        if is_model_name(name):
            load_model(name)
        elif name not in known:
            expected = f"{', '.join(known)}, the name of a shipped model or a model file NAME.h5"
            raise AlgorithmError(f"expected some of {expected}; got {name}", field="--algorithms")
    return names


def fingerprinted(names: Iterable[str]) -> str:
    """Names of estimators in one string; a model file's content counts, lest a sweep go on with another one.

    >>> fingerprinted(("linear", "na-sbl"))
    'linear na-sbl'
    """
    return " ".join(
        f"{name}@{hashlib.sha256(Path(name).read_bytes()).hexdigest()[:12]}" if name.endswith(".h5") else name
        for name in names
    )


def pick_named(name: str, scenario: Problem, n_measurements: int | None = None) -> Model:
    """The model of this name, shipped or a file, or what :func:`pick_model` takes for the estimator of this name.

    Raises:
        AlgorithmError, ModelError: as there; a model that cannot serve the problem, or damaged.
        FileError: a model file that is not there.

    >>> from chanest import load_scenario
    >>> [pick_named(name, load_scenario("lte10"), 75).name for name in ("na-sbl-wide", "na-sbl")]
    ['na-sbl-wide', 'na-sbl-lte10-m75']
    """
    if not is_model_name(name):
        return pick_model(name, scenario, n_measurements)
    model = load_model(name)
    check_serves(model, scenario)
    return model


def check_serves(model: Model, scenario: Problem) -> None:
    """Raise ModelError unless a model can serve a problem: of the same setting.

    >>> from chanest import load_scenario
    >>> check_serves(load_model("na-alista-lte10-m75"), load_scenario("synthetic"))
    Traceback (most recent call last):
    ...
    chanest.errors.ModelError: model na-alista-lte10-m75: made for OFDM pilots (scenario lte10), not for the vectors of
    synthetic
    """
    reason = scenario.refuses(model.scenario)
    if reason is not None:
        raise ModelError(f"model {model.name}: {reason}")


_shipped = cache(load_model)  # by name
_purpose = cache(read_purpose)  # of a shipped model


def _interpolator(name: str, scenario: Problem) -> Interpolator:
    """An interpolator, told what it takes: the mean delay profile of the scenario, or the longest delay."""
    problem, takes = ofdm(scenario), inspect.signature(INTERPOLATORS[name]).parameters
    told: dict[str, Any] = {"n_taps": max(1, problem.cp_samples)} if "n_taps" in takes else {}
    if "delays_samples" in takes:
        told = dict(zip(("delays_samples", "powers"), problem.delay_profile(), strict=True))
    return INTERPOLATORS[name](**told)


def _classical(name: str, scenario: Problem, n_iterations: int | None) -> Model:
    """A classical algorithm, with what the problem knows of its signals."""
    asked = not_none(n_iterations=n_iterations)
    if name in ("ista", "fista"):
        penalty = getattr(scenario.penalties, name)
        made = ALGORITHMS[name](
            penalty=penalty, error_calibration=getattr(scenario.penalties, f"{name}_error") or None, **asked
        )
        return Model(made, scenario, f"{name}, penalty {penalty:g}")
    takes = inspect.signature(ALGORITHMS[name]).parameters
    known = scenario.hyperparameters()
    known = known if takes.keys() >= known.keys() else {}
    made = ALGORITHMS[name](**known, **asked)
    said = ", ".join(f"{key} {value:g}" for key, value in known.items())
    return Model(made, scenario, f"{name}, {said}" if scenario.dtype.is_complex and said else name)
