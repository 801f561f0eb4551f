"""Every estimator on the same channels, one point of a grid at a time."""

from collections.abc import Sequence
from importlib.metadata import version

import torch

from ..errors import ModelError
from ..estimator import Model
from ..evaluation import check_band, evaluate
from ..picking import pick_model
from ..pilots import PilotPattern, draw_pattern
from ..scenario import Scenario

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
    scenario: Scenario,
    algorithms: Sequence[str],
    n_samples: int,
    seed: int,
    device: torch.device | str = "cpu",
    *,
    error_variance: bool = False,
    pattern: PilotPattern | None = None,
) -> list[dict[str, object]]:
    """Score estimators and bounds on one scenario: rows with the columns of :data:`COLUMNS`.

    Args:
        scenario: its pilots and SNR are the point.
        algorithms: names of estimators; one without a shipped model for the scenario's band is left out.
        n_samples, seed: what to simulate.
        device: where to estimate.
        error_variance: also what the estimators expect of their own error.
        pattern: drawn from the seed when not given.

    >>> from chanest import load_scenario
    >>> rows = compare_point(load_scenario("etu"), ["linear", "omp"], n_samples=64, seed=0)
    >>> [row["algorithm"] for row in rows]
    ['linear', 'omp', 'oracle-ls', 'oracle-mmse']
    """
    pattern = draw_pattern(scenario, seed) if pattern is None else pattern
    models: dict[str, Model] = {}
    for name in algorithms:
        try:
            model = pick_model(name, scenario, len(pattern))
            check_band(model, scenario)
        except ModelError:
            continue
        models[name] = model
    names = models if error_variance else ()
    scores = evaluate(scenario, pattern, models, n_samples, seed, torch.device(device), error_variance_of=names)
    return [
        {
            "scenario": scenario.name,
            "n_pilots": scenario.n_pilots,
            "snr_db": scenario.snr_db,
            "snr_convention": scenario.snr_convention,
            "n_distinct_pilots": len(pattern),
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
