"""Units of any size: what is squared leaves float32 long before what is not; answers are finite, or an error."""

import numpy as np
import pytest
import torch

from chanest import Model, PilotPattern, load_model, load_scenario
from chanest.errors import ModelError, ObservationError
from chanest.models import ESTIMATORS, pick_model
from chanest.problems import Scenario

LTE10 = load_scenario("lte10")
PATTERN = PilotPattern.random(75, seed=1)
BATCH = LTE10.draw(PATTERN, 3, 3)
NAMES = [n for n in ESTIMATORS if n not in ("stepsize-ista", "lista", "lista-cpss", "gated-lista", "alista-at")]
NAMES = [n for n in NAMES if n not in ("aglista", "na-alista-rnn", "na-alista-mlp")]  # of which none is shipped


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("name", [*NAMES, "na-sbl-wide"])
def test_error_variances_scale_with_the_square_in_any_units(name, told):
    model = load_model(name) if name == "na-sbl-wide" else pick_model(name, LTE10, 75)
    noise = float(BATCH.noise_variance[0])
    there = model.estimate(BATCH.observations, PATTERN, noise if told else None, error_variance=True)
    for scale in (1e-36, 1e-24, 1e20, 1e36):
        told_now = noise * scale**2 if told else None
        found = model.estimate(BATCH.observations * scale, PATTERN, told_now, error_variance=True)
        if found.error_variance is None:
            assert name == "hyperlista"
            continue
        assert found.error_variance.dtype == torch.float64
        wide = found.cfr.to(torch.complex128) / scale
        torch.testing.assert_close(wide, there.cfr.to(torch.complex128), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found.error_variance / scale**2, there.error_variance, rtol=0.02, atol=0)
        if found.noise_variance is not None:
            torch.testing.assert_close(found.noise_variance / scale**2, there.noise_variance, rtol=0.02, atol=0)


def test_what_leaves_the_type_is_an_error_that_names_the_sample():
    pilots = torch.ones(2, 75, dtype=torch.complex64)
    pilots[1] = 3.3e38 * torch.exp(2j * torch.pi * torch.rand(75, generator=torch.Generator().manual_seed(0)))
    model = pick_model("spline", LTE10, 75)
    with pytest.raises(ModelError, match=r"^cfr\[1\]: model .* the answer is not finite"):
        model.estimate(pilots, PATTERN)
    assert torch.isfinite(model.estimate(pilots.to(torch.complex128), PATTERN).cfr).all()


def test_a_model_of_finite_nonsense_is_an_error_that_names_the_sample():
    model = load_model("na-alista-lte10-m75")
    model.algorithm.calibration.linear.bias.data += 1e30
    with pytest.raises(ModelError, match=r"^error_variance\[0\]: model na-alista-lte10-m75: the answer is not finite"):
        model.estimate(BATCH.observations, PATTERN, error_variance=True)


def test_a_noise_variance_of_any_units_is_a_number():
    model = pick_model("lmmse-flat", LTE10, 75)
    assert torch.isfinite(model.estimate(BATCH.observations * 1e20, PATTERN, 1e39).cfr).all()
    with pytest.raises(ObservationError, match="noise_variance: expected finite numbers"):
        model.estimate(BATCH.observations, PATTERN, np.inf)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_columns_of_a_matrix_are_of_any_units(scale):
    problem = load_scenario("synthetic")
    model = pick_model("alista", problem, 250)
    assert isinstance(model, Model)
    assert not isinstance(problem, Scenario)
    sensing = problem.sensing(0)
    batch = problem.draw(sensing, 2, 1)
    there = model.recover(batch.observations, sensing.matrix).x
    found = model.recover(batch.observations, sensing.matrix * scale).x
    torch.testing.assert_close(found * scale, there, rtol=1e-3, atol=1e-3)
