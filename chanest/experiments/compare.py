"""Every estimator on the same channels, one point of a grid at a time."""

from collections.abc import Sequence
from importlib.metadata import version

import torch

from ..errors import ModelError
from ..estimator import Model
from ..evaluation import check_band, evaluate
from ..picking import NOT_SYNTHETIC, PEERS, SYNTHETIC_PEERS, pick_model
from ..pilots import PilotPattern, draw_pattern
from ..scenario import AnyScenario, SyntheticScenario
from ..vectors import draw_matrix
from ..vectorscores import evaluate_vectors

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
            the setting, or without a shipped model for the scenario, is left out.
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
        models = _fitting(scenario, SYNTHETIC_PEERS if algorithms is None else algorithms, None)
        scores = evaluate_vectors(scenario, draw_matrix(scenario, seed), models, n_samples, seed, device)
    else:
        pattern = draw_pattern(scenario, seed) if pattern is None else pattern
        about = {"n_pilots": scenario.n_pilots, "snr_convention": scenario.snr_convention}
        about["n_distinct_pilots"] = len(pattern)
        models = _fitting(scenario, PEERS if algorithms is None else algorithms, len(pattern))
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


def _fitting(scenario: AnyScenario, algorithms: Sequence[str], n_pilots: int | None) -> dict[str, Model]:
    """The models by name, without those that are not there or not for the scenario."""
    models: dict[str, Model] = {}
    for name in algorithms:
        if isinstance(scenario, SyntheticScenario) and name in NOT_SYNTHETIC:
            continue
        try:
            model = pick_model(name, scenario, n_pilots)
            if not isinstance(scenario, SyntheticScenario):
                check_band(model, scenario)
        except ModelError:
            continue
        models[name] = model
    return models
