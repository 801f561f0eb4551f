"""Every estimator on the same channels, one point of a grid at a time."""

from collections.abc import Sequence
from importlib.metadata import version

import torch

from ..errors import AlgorithmError, ModelError
from ..models import ESTIMATORS, Model, check_serves, fits, pick_named
from ..problems import Problem
from ..problems.base import Sensing
from .scoring import evaluate

KEY = ("scenario", "n_pilots", "snr_db")
COLUMNS = (
    *KEY,
    "snr_convention",
    "n_distinct_pilots",
    "algorithm",
    "model",
    "cir_nmse_db",
    "cfr_nmse_db",
    "expected_cfr_nmse_db",
    "seconds_per_estimate",
    "batch",
    "algorithms",
    "n_samples",
    "seed",
    "device",
    "error_variance",
    "scenarios",
    "chanest_version",
)


def compare(
    scenario: Problem,
    algorithms: Sequence[str] | None = None,
    n_samples: int = 1000,
    seed: int = 0,
    device: torch.device | str = "cpu",
    *,
    error_variance: bool = False,
    sensing: Sensing | None = None,
) -> list[dict[str, object]]:
    """Score estimators and bounds on one scenario: rows with the columns of :data:`COLUMNS`.

    Args:
        scenario: its size and SNR are the point. A synthetic one leaves what concerns pilots and CFR empty.
        algorithms: names of estimators, the peers of the scenario when not given; one that does not fit
            the scenario, or without a shipped model for it, is left out (:func:`left_out` says why).
        n_samples, seed: what to simulate.
        device: where to estimate.
        error_variance: also what the estimators expect of their own error.
        sensing: the pilot pattern or matrix; drawn from the seed when not given.

    >>> from chanest import load_scenario
    >>> rows = compare(load_scenario("etu"), ["linear", "omp"], n_samples=64)
    >>> [row["algorithm"] for row in rows]
    ['linear', 'omp', 'oracle-ls', 'oracle-mmse']
    """
    sensing = scenario.sensing(seed) if sensing is None else sensing
    models, _ = _fitting(scenario, scenario.peers if algorithms is None else algorithms, sensing)
    expecting = models if error_variance else ()
    scores = evaluate(scenario, sensing, models, n_samples, seed, torch.device(device), error_variance_of=expecting)
    about = {name: value for name, value in scenario.facts(sensing).items() if name in COLUMNS}
    return [
        {
            "scenario": scenario.name,
            "snr_db": scenario.snr_db,
            **about,
            "algorithm": name,
            "model": models[name].name if name in models else None,
            **score.fields,
            "expected_cfr_nmse_db": score.expected_nmse_db,
            "batch": score.batch,
            "chanest_version": version("chanest"),
        }
        for name, score in scores.items()
    ]


def left_out(scenario: Problem, algorithms: Sequence[str], seed: int) -> dict[str, str]:
    """What :func:`compare` leaves out of a point, and why.

    >>> from chanest import load_scenario
    >>> left_out(load_scenario("lte10"), ["alista-wide", "linear", "alista-synthetic-20db"], seed=0)
    {'alista-synthetic-20db': 'model alista-synthetic-20db: made for synthetic vectors (scenario synthetic), not for
    OFDM pilots'}
    """
    return _fitting(scenario, algorithms, scenario.sensing(seed))[1]


def _fitting(scenario: Problem, algorithms: Sequence[str], sensing: Sensing) -> tuple[dict[str, Model], dict[str, str]]:
    """The models by name, and why others are not among them."""
    models: dict[str, Model] = {}
    reasons: dict[str, str] = {}
    for name in algorithms:
        if name in ESTIMATORS and not fits(name, scenario):
            reasons[name] = f"{name}: estimates OFDM channels only"
            continue
        try:
            model = pick_named(name, scenario, sensing.n_measurements)
            check_serves(model, scenario)
            _check_operator(model, sensing)
        except ModelError as error:
            reasons[name] = str(error)
            continue
        models[name] = model
    return models, reasons


def _check_operator(model: Model, sensing: Sensing) -> None:
    """Raise ModelError where an algorithm is bound to another operator than that of a pilot pattern or matrix."""
    try:
        model.algorithm.check(model.scenario.forward_model(sensing, model.scenario.dtype, "cpu").phi)
    except AlgorithmError as error:
        raise ModelError(f"model {model.name}: {error}") from None
