"""Every estimator on the same channels, one point of a grid at a time."""

from collections.abc import Sequence
from importlib.metadata import version

import torch

from ..algorithms import Algorithm
from ..errors import AlgorithmError, ModelError
from ..models.model import Model
from ..models.zoo import NOT_SYNTHETIC, PEERS, SYNTHETIC_PEERS, pick_named
from ..operators import DenseOperator, LinearOperator
from ..problems.gaussian import SyntheticScenario
from ..problems.load import AnyScenario
from ..problems.ofdm.draw import draw_pattern
from ..problems.ofdm.pilots import PilotPattern
from ..problems.vectors import draw_matrix
from .scoring import check_band, evaluate
from .vectors import evaluate_vectors

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


def compare_point(
    scenario: AnyScenario,
    algorithms: Sequence[str] | None,
    n_samples: int,
    seed: int,
    device: torch.device | str = "cpu",
    *,
    error_variance: bool = False,
    pattern: PilotPattern | None = None,
) -> list[dict[str, object]]:
    """Score estimators and bounds on one scenario: rows with the columns of :data:`COLUMNS`.

    Args:
        scenario: its pilots and SNR are the point. A synthetic one leaves what concerns pilots and CFR empty.
        algorithms: names of estimators, the peers of the scenario's setting when not given; one that does not fit
            the setting, or without a shipped model for the scenario, is left out (:func:`left_out` says why).
        n_samples, seed: what to simulate.
        device: where to estimate.
        error_variance: also what the estimators expect of their own error, in OFDM.
        pattern: drawn from the seed when not given; not in the synthetic setting.

    >>> from chanest import load_scenario
    >>> rows = compare_point(load_scenario("etu"), ["linear", "omp"], n_samples=64, seed=0)
    >>> [row["algorithm"] for row in rows]
    ['linear', 'omp', 'oracle-ls', 'oracle-mmse']
    """
    device = torch.device(device)
    if isinstance(scenario, SyntheticScenario):
        about: dict[str, object] = {"n_pilots": None, "snr_convention": None, "n_distinct_pilots": None}
        models, _ = _fitting(scenario, SYNTHETIC_PEERS if algorithms is None else algorithms, None)
        scores = evaluate_vectors(scenario, draw_matrix(scenario, seed), models, n_samples, seed, device)
    else:
        pattern = draw_pattern(scenario, seed) if pattern is None else pattern
        about = {"n_pilots": scenario.n_pilots, "snr_convention": scenario.snr_convention}
        about["n_distinct_pilots"] = len(pattern)
        models, _ = _fitting(scenario, PEERS if algorithms is None else algorithms, pattern)
        names = models if error_variance else ()
        scores = evaluate(scenario, pattern, models, n_samples, seed, device, error_variance_of=names)
    return [
        {
            "scenario": scenario.name,
            "snr_db": scenario.snr_db,
            **about,
            "algorithm": name,
            "model": models[name].name if name in models else None,
            "cir_nmse_db": score.cir_nmse_db,
            "cfr_nmse_db": score.cfr_nmse_db,
            "expected_cfr_nmse_db": score.expected_cfr_nmse_db,
            "seconds_per_estimate": score.seconds_per_estimate,
            "batch": score.batch,
            "chanest_version": version("chanest"),
        }
        for name, score in scores.items()
    ]


def left_out(scenario: AnyScenario, algorithms: Sequence[str], seed: int) -> dict[str, str]:
    """What :func:`compare_point` leaves out of a point, and why.

    >>> from chanest import load_scenario
    >>> left_out(load_scenario("lte10"), ["alista-wide", "linear", "alista-synthetic-20db"], seed=0)
    {'alista-synthetic-20db': 'model alista-synthetic-20db: made for synthetic, of another setting than lte10'}
    """
    pattern = None if isinstance(scenario, SyntheticScenario) else draw_pattern(scenario, seed)
    return _fitting(scenario, algorithms, pattern)[1]


def _fitting(
    scenario: AnyScenario, algorithms: Sequence[str], pattern: PilotPattern | None
) -> tuple[dict[str, Model], dict[str, str]]:
    """The models by name, and why others are not among them."""
    models: dict[str, Model] = {}
    reasons: dict[str, str] = {}
    for name in algorithms:
        if isinstance(scenario, SyntheticScenario) and name in NOT_SYNTHETIC:
            reasons[name] = f"{name}: estimates OFDM channels only"
            continue
        try:
            model = pick_named(name, scenario, None if pattern is None else len(pattern))
            _check_fit(model, scenario, pattern)
        except ModelError as error:
            reasons[name] = str(error)
            continue
        models[name] = model
    return models, reasons


def _check_fit(model: Model, scenario: AnyScenario, pattern: PilotPattern | None) -> None:
    phi: LinearOperator
    if isinstance(scenario, SyntheticScenario):
        phi = DenseOperator(torch.zeros(scenario.n_measurements, scenario.n_coefficients))
    else:
        assert pattern is not None
        check_band(model, scenario)
        phi = model.operator(pattern, torch.complex64, "cpu")
    if isinstance(model.algorithm, Algorithm):
        try:
            model.algorithm.check(phi)
        except AlgorithmError as error:
            raise ModelError(f"model {model.name}: {error}") from None
