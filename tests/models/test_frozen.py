"""Every shipped model and every estimator without training, on fixed data: the results of chanest 0.1.0.

``python tests/models/test_frozen.py`` writes ``frozen.npz`` anew, for a change that is meant to change them.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from chanest import DenseOperator, GaussianScenario, Scenario, load_model, load_scenario
from chanest.algorithms import INTERPOLATORS
from chanest.models import Model, pick_model, shipped_models
from chanest.problems import scenario_names

FROZEN = Path(__file__).with_name("frozen.npz")
UNTRAINED = {"ofdm": ("ista", "fista", "omp", "sbl", "ep", *INTERPOLATORS), "synthetic": ("ista", "fista", "vamp")}
SHIPPED = [path.stem for path in shipped_models()]
CASES = [
    *(("synthetic" if "synthetic" in name else "ofdm", name) for name in SHIPPED),
    *((setting, name) for setting, names in UNTRAINED.items() for name in names),
]
SCENARIOS = {"ofdm": load_scenario("wide").replace(n_pilots=60), "synthetic": load_scenario("synthetic")}
_FEW = slice(None, None, 37)  # of the entries of a vector


def estimates(setting: str, name: str) -> dict[str, np.ndarray]:
    """Some entries of what an estimator finds, in single precision told the noise, in double precision not."""
    problem = SCENARIOS[setting]
    sensing = problem.sensing(seed=3)
    batch = problem.draw(sensing, 3, generator=7)
    model: Model = load_model(name) if name in SHIPPED else pick_model(name, problem, sensing.n_measurements)
    found = {}
    for precision, exact in (("single", False), ("double", True)):
        y, at = batch.observations, sensing
        if exact:
            y = y.to(torch.complex128 if problem.dtype.is_complex else torch.float64)
            at = sensing if problem.dtype.is_complex else DenseOperator(sensing.matrix.double())
        variance = problem.dtype.is_complex and model.algorithm.gives_error_variance
        solution = model.solve(y, at, None if exact else batch.noise_variance, error_variance=variance)
        values = {**solution.values, "error_variance": solution.error_variance}
        found |= {f"{precision}/{name}": v[..., _FEW].numpy() for name, v in values.items() if v is not None}
    return found


def draws(name: str) -> dict[str, np.ndarray]:
    """Some entries of the test data of a scenario, and what makes its observations."""
    problem = load_scenario(name)
    sensing = problem.sensing(seed=3)
    batch = next(problem.simulate(sensing, 2, seed=5))
    made = sensing.subcarriers if problem.dtype.is_complex else sensing.matrix[0, _FEW].numpy()
    values = {"observations": batch.observations, "noise_variance": batch.noise_variance, **batch.truth}
    return {"sensing": np.asarray(made), **{n: (v[..., _FEW] if v.ndim > 1 else v).numpy() for n, v in values.items()}}


def frozen(prefix: str) -> dict[str, np.ndarray]:
    with np.load(FROZEN) as file:
        return {name.removeprefix(f"{prefix}/"): file[name] for name in file.files if name.startswith(f"{prefix}/")}


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-30))


@pytest.mark.parametrize(("setting", "name"), CASES)
def test_estimates_are_those_of_before(setting, name):
    expected, found = frozen(f"estimates/{name}/{setting}"), estimates(setting, name)
    assert found.keys() == expected.keys()
    assert len(expected) >= 2
    for key, value in expected.items():
        assert found[key].dtype == (np.float64 if "error_variance" in key else value.dtype)
        # compiled loops sum in the order of the machine's vectors, and SBL's family magnifies what they round
        single = 5e-2 if name.startswith("na-sbl") else 2e-3  # taps at the threshold live or die by the rounding
        assert apart(found[key], value) < (single if key.startswith("single") else 1e-6), key


@pytest.mark.parametrize("name", scenario_names())
def test_data_are_those_of_before(name):
    expected, found = frozen(f"draws/{name}"), draws(name)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == (np.float64 if "error_variance" in key else value.dtype)
        assert apart(found[key], value) < 1e-6, key


if __name__ == "__main__":
    assert isinstance(SCENARIOS["ofdm"], Scenario)
    assert isinstance(SCENARIOS["synthetic"], GaussianScenario)
    made = {f"estimates/{n}/{s}/{key}": v for s, n in CASES for key, v in estimates(s, n).items()}
    made |= {f"draws/{n}/{key}": v for n in scenario_names() for key, v in draws(n).items()}
    np.savez_compressed(FROZEN, **made)
