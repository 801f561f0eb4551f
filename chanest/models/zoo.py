"""Which estimator serves: shipped models by name, files, and the one that fits a scenario best."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil, floor, log
from pathlib import Path

import numpy as np

from ..algorithms import (
    ALGORITHMS,
    EP,
    INTERPOLATORS,
    Algorithm,
    ExponentialLMMSE,
    FlatLMMSE,
    Interpolator,
    LinearInterpolation,
    SplineInterpolation,
    TrueLMMSE,
)
from ..errors import AlgorithmError, ModelError
from ..problems.gaussian import SyntheticScenario
from ..problems.load import AnyScenario
from ..problems.ofdm.channels import TapChannel
from ..problems.ofdm.draw import delay_profile
from ..problems.ofdm.pilots import PilotPattern
from ..problems.ofdm.scenario import Scenario
from .hdf5 import read_model, shipped_models
from .model import Model

PEERS = ("ista", "fista", "alista", "na-alista", "na-sbl", "omp", "sbl", "ep", *INTERPOLATORS)  # of the table
SYNTHETIC_PEERS = ("ista", "fista", "alista", "na-alista", "vamp")
ESTIMATORS = (*ALGORITHMS, *INTERPOLATORS)
NOT_SYNTHETIC = ("na-sbl", "omp", "sbl", "ep", *INTERPOLATORS)
_OTHER_SPARSITY, _OTHER_DECAY = 48.0, 1.5  # EP's prior where a scenario has none of its own: tools/tune_ep.py


def load_model(name: str | Path) -> Model:
    """A shipped model by name, or one from an HDF5 file; its parameters are frozen (requires_grad False).

    Raises:
        ModelError: no such model, or the file is not one or is damaged.
        FileError: the file cannot be read.

    >>> load_model("na-alista-lte10-m75").algorithm.n_iterations
    16
    """
    path = Path(name)
    if path.suffix != ".h5" and not path.exists():
        names = [shipped.stem for shipped in shipped_models()]
        if str(name) not in names:
            raise ModelError(f"model {name}: expected a file, or one of {', '.join(names)}")
        path = shipped_models()[names.index(str(name))]
    algorithm, scenario, training = read_model(path)
    return Model(algorithm.requires_grad_(False), scenario, path.stem, training)


def pick_model(
    algorithm: str, scenario: AnyScenario, n_pilots: int | None = None, n_iterations: int | None = None
) -> Model:
    """The estimator of one name that fits a scenario and a number of pilots (the scenario's when not given) best.

    Learned algorithms take the shipped model for the scenario with the nearest number of pilots, else the one
    trained on ``wide``, made for any channel. ISTA and FISTA take the scenario's penalty, EP its sparsity and
    decay, ``lmmse-true`` its delay profile. In the synthetic setting the sizes must be the model's; of several SNRs the
    nearest serves.

    Raises:
        AlgorithmError: unknown algorithm, or not of this setting.
        ModelError: nothing shipped fits.

    >>> from chanest import load_scenario
    >>> pick_model("na-alista", load_scenario("lte10"), 60).name
    'na-alista-lte10-m50'
    """
    if algorithm not in ESTIMATORS:
        raise AlgorithmError(f"expected one of {', '.join(ESTIMATORS)}, got {algorithm}", field="algorithm")
    if isinstance(scenario, SyntheticScenario):
        return _synthetic(algorithm, scenario, n_iterations)
    n_pilots = scenario.n_pilots if n_pilots is None else n_pilots
    if algorithm in INTERPOLATORS:
        return Model(_interpolator(algorithm, scenario), scenario, algorithm)
    if not ALGORITHMS[algorithm].learned:
        return _classical(algorithm, scenario, n_iterations)
    for wanted in (scenario.name, "wide"):
        prefix = f"{algorithm}-{wanted}"
        fitting = [p for p in shipped_models() if re.fullmatch(rf"{re.escape(prefix)}(-m\d+)?", p.stem)]
        if fitting:
            return load_model(min(fitting, key=lambda path: _pilot_distance(path, n_pilots)))
    raise ModelError(f"{algorithm}: no model for scenario {scenario.name} is shipped; give --model FILE")


def is_model_name(name: str) -> bool:
    """Whether a name means one model, shipped or a file, and not an estimator.

    >>> [is_model_name(name) for name in ("na-sbl-wide", "mine.h5", "na-sbl", "linear")]
    [True, True, False, False]
    """
    return name.endswith(".h5") or name in [path.stem for path in shipped_models()]


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


def pick_named(name: str, scenario: AnyScenario, n_pilots: int | None = None) -> Model:
    """The model of this name, shipped or a file, or what :func:`pick_model` takes for the estimator of this name.

    Raises:
        AlgorithmError, ModelError: as there; a model of the other setting, or damaged.
        FileError: a model file that is not there.

    >>> from chanest import load_scenario
    >>> [pick_named(name, load_scenario("lte10"), 75).name for name in ("na-sbl-wide", "na-sbl")]
    ['na-sbl-wide', 'na-sbl-lte10-m75']
    """
    if not is_model_name(name):
        return pick_model(name, scenario, n_pilots)
    model = load_model(name)
    if isinstance(model.scenario, SyntheticScenario) != isinstance(scenario, SyntheticScenario):
        raise ModelError(f"model {model.name}: made for {model.scenario.name}, of another setting than {scenario.name}")
    return model


def rescaled(model: Model, n_fft: int) -> Model:
    """A model for another DFT length: delays keep their share of the symbol, taps lie denser or wider.

    >>> scenario = rescaled(load_model("na-alista-wide"), 2048).ofdm
    >>> scenario.n_taps, scenario.first_tap_samples
    (544, -16)
    """
    scenario, factor = model.ofdm, n_fft / model.ofdm.n_fft
    algorithm = model.algorithm.rescaled(factor) if isinstance(model.algorithm, Interpolator) else model.algorithm
    sizes = {
        "n_fft": n_fft,
        "n_taps": ceil(scenario.n_taps * factor),
        "first_tap_samples": floor(scenario.first_tap_samples * factor),
        "cp_samples": ceil(scenario.cp_samples * factor),
    }
    return replace(model, algorithm=algorithm, scenario=scenario.model_copy(update=sizes))


def unambiguous(model: Model, pattern: PilotPattern) -> Model:
    """A model whose delay window is no longer than what the pilots tell apart.

    On pilots that all stand on a comb of spacing d, delays n_fft/d apart look the same; a longer window would hold
    every path twice. At most a quarter of the window lies before delay 0.

    >>> unambiguous(load_model("na-alista-wide"), PilotPattern(tuple(range(-300, 0, 10)))).ofdm.n_taps
    102
    """
    spacing = int(np.gcd.reduce(np.diff(pattern.subcarriers)))
    n_taps = max(1, pattern.n_fft // spacing)
    if n_taps >= model.ofdm.n_taps:
        return model
    window = {"n_taps": n_taps, "first_tap_samples": max(model.ofdm.first_tap_samples, -(n_taps // 4))}
    return replace(model, scenario=model.ofdm.model_copy(update=window))


def _pilot_distance(path: Path, n_pilots: int) -> float:
    count = re.search(r"-m(\d+)$", path.stem)
    return abs(log(int(count[1]) / n_pilots)) if count else 0.0


def _interpolator(name: str, scenario: Scenario) -> Interpolator:
    match name:
        case LinearInterpolation.name:
            return LinearInterpolation()
        case SplineInterpolation.name:
            return SplineInterpolation()
        case FlatLMMSE.name:
            return FlatLMMSE(max(1, scenario.cp_samples))
        case ExponentialLMMSE.name:
            return ExponentialLMMSE(n_taps=max(1, scenario.cp_samples))
        case _:
            return TrueLMMSE(*delay_profile(scenario))


def _classical(name: str, scenario: Scenario, n_iterations: int | None) -> Model:
    given = {} if n_iterations is None else {"n_iterations": n_iterations}
    made: Algorithm
    if name in ("ista", "fista"):
        penalty = getattr(scenario.penalties, name)
        numbers = getattr(scenario.penalties, f"{name}_error")
        made = ALGORITHMS[name](penalty=penalty, error_calibration=numbers or None, **given)
        return Model(made, scenario, f"{name}, penalty {penalty:g}")
    if name == "ep":
        sparsity, decay = _OTHER_SPARSITY, _OTHER_DECAY
        if isinstance(scenario.channel, TapChannel):
            sparsity, decay = scenario.channel.sparsity, scenario.channel.decay
        made = EP(sparsity=sparsity, decay=decay, **given)
        return Model(made, scenario, f"ep, sparsity {sparsity:g}, decay {decay:g}")
    return Model(ALGORITHMS[name](**given), scenario, name)


def _synthetic(name: str, scenario: SyntheticScenario, n_iterations: int | None) -> Model:
    if name in NOT_SYNTHETIC:
        fitting = ", ".join(other for other in ESTIMATORS if other not in NOT_SYNTHETIC)
        raise AlgorithmError(
            f"{name} estimates OFDM channels only; for synthetic vectors take {fitting}", field="algorithm"
        )
    given = {} if n_iterations is None else {"n_iterations": n_iterations}
    if name in ("ista", "fista"):
        penalty = getattr(scenario.penalties, name)
        return Model(ALGORITHMS[name](penalty=penalty, **given), scenario, f"{name}, penalty {penalty:g}")
    if not ALGORITHMS[name].learned:
        return Model(ALGORITHMS[name](sparsity=scenario.sparsity, **given), scenario, name)
    size = (scenario.n_measurements, scenario.n_coefficients, scenario.sparsity)
    fitting_models = []
    for path in shipped_models():
        if path.stem.startswith(f"{name}-synthetic"):
            made_for = read_model(path)[1]
            assert isinstance(made_for, SyntheticScenario)
            if (made_for.n_measurements, made_for.n_coefficients, made_for.sparsity) == size:
                fitting_models.append((abs(made_for.snr_db - scenario.snr_db), path))
    if not fitting_models:
        raise ModelError(
            f"no model for {size[0]} measurements of {size[1]} coefficients, {size[2]:g} of them not zero, is "
            "shipped; train one, give --model FILE",
            field=name,
        )
    return load_model(min(fitting_models)[1])
