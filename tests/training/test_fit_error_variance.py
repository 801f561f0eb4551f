"""The calibrated error variance says what the error is; calibration is repeatable and touches nothing else."""

import pytest
import torch

from chanest import Model, PilotPattern, load_model, load_scenario
from chanest.algorithms import OMP, LinearInterpolation
from chanest.problems import seeded
from chanest.training import fit_error_variance

LTE10 = load_scenario("lte10")


@pytest.fixture(scope="module")
def calibrated() -> Model:
    model = load_model("alista-lte10-m75")
    fit_error_variance(model, n_batches=32)
    return model


@pytest.mark.parametrize("told", [True, False], ids=["noise told", "noise unknown"])
@pytest.mark.parametrize("snr_db", [5, 15, 25])
def test_the_mean_error_variance_is_the_mean_squared_error(calibrated, snr_db, told):
    expected, actual = [], []
    for seed in (101, 102, 103):
        pattern = PilotPattern.random(75, seed)
        data = LTE10.draw(pattern, 400, seeded(seed, "test"), snr_db)
        noise = data.noise_variance if told else None
        estimate = calibrated.estimate(data.observations, pattern, noise, error_variance=True)
        expected.append(estimate.error_variance)
        actual.append((estimate.cfr - data.truth["cfr"]).abs().square())
    difference_db = 10 * float(torch.log10(torch.cat(expected).mean() / torch.cat(actual).mean()))
    assert abs(difference_db) < 1.2


def test_it_tells_good_estimates_from_bad_ones(calibrated):
    """Among channels of one SNR, those with the larger variance err more."""
    pattern = PilotPattern.random(75, 101)
    data = LTE10.draw(pattern, 800, seeded(104, "test"), 15)
    estimate = calibrated.estimate(data.observations, pattern, data.noise_variance, error_variance=True)
    error = (estimate.cfr - data.truth["cfr"]).abs().square().mean(-1)
    order = estimate.error_variance.mean(-1).argsort()
    assert float(error[order[400:]].mean() / error[order[:400]].mean()) > 1.3


def test_a_seed_gives_the_same_calibration_and_leaves_the_estimates_alone():
    models = [load_model("alista-lte10-m75") for _ in range(3)]
    before = {name: value.clone() for name, value in models[0].algorithm.state_dict().items()}
    for model, seed in zip(models, (0, 0, 1), strict=True):
        fit_error_variance(model, seed, n_batches=3)
    states = [model.algorithm.state_dict() for model in models]
    for name, value in before.items():
        if name.startswith("calibration."):
            assert torch.equal(states[0][name], states[1][name]), name
            assert not torch.equal(states[0][name], states[2][name]), name
        else:
            assert torch.equal(states[0][name], value), name


def test_without_a_calibration_nothing_happens():
    for algorithm in (OMP(), LinearInterpolation()):
        model = Model(algorithm, LTE10)
        fit_error_variance(model, n_batches=1)
        assert not list(model.algorithm.parameters())
        assert getattr(model.algorithm, "calibration", None) is None
