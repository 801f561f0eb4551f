"""Model.recover: sparse vectors in any units, precision and shape; which models serve the synthetic setting."""

import numpy as np
import pytest
import torch
from small_gaussian import MATRIX, PHI, SMALL, SYNTHETIC, Y, alista, changed, vectors

from chanest import DenseOperator, Model, PilotPattern, load_model, load_scenario, nmse_db
from chanest.algorithms import LISTA, NAALISTA, VAMP
from chanest.errors import AlgorithmError, ModelError, ObservationError
from chanest.models import ESTIMATORS, fits, pick_model
from chanest.problems import seeded

MODELS = {
    "ista": pick_model("ista", SMALL),
    "fista": pick_model("fista", SMALL),
    "alista": Model(alista().requires_grad_(False), SMALL),
    "na-alista": Model(NAALISTA(4, 8, sparsity=4, ridge=1e-6, schedule="synthetic").requires_grad_(False), SMALL),
    "vamp": pick_model("vamp", SMALL),
}


@pytest.mark.parametrize("told", [True, False], ids=["noise told", "noise unknown"])
@pytest.mark.parametrize("name", MODELS)
def test_units_do_not_matter(name, told):
    model, drawn = MODELS[name], vectors()
    noise = drawn.noise_variance.double()
    y, phi = drawn.observations.double(), PHI.matrix.double()
    expected = model.recover(y, phi, noise if told else None).x
    assert expected.abs().max() > 0.1
    for a in (1e-12, 1e-5, -1.0, 1e12):
        found = model.recover(a * y, phi, a * a * noise if told else None).x / a
        assert float((found - expected).norm() / expected.norm()) < 1e-5, a
    scales = torch.logspace(-12, 12, 80, dtype=torch.float64)[torch.randperm(80, generator=seeded(0, "test"))]
    found = model.recover(y, phi * scales, noise if told else None).x * scales
    assert float((found - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_units_do_not_matter_in_single_precision(scale):
    drawn = vectors()
    for model in MODELS.values():
        expected = model.recover(drawn.observations, PHI).x
        assert float((model.recover(scale * drawn.observations, PHI).x / scale - expected).norm()) < 1e-4
        assert float((model.recover(drawn.observations, scale * PHI.matrix).x * scale - expected).norm()) < 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_precision_and_shape_are_the_inputs(name):
    model, drawn = MODELS[name], vectors()
    for dtype in (torch.float64, torch.float32):
        y, phi = drawn.observations.to(dtype), PHI.matrix.to(dtype)
        together = model.recover(y, phi, record=True)
        assert (together.x.dtype, together.x.shape) == (dtype, (6, 80))
        torch.testing.assert_close(together.iterates[-1], together.x)
        torch.testing.assert_close(model.recover(y.view(3, 2, 40), DenseOperator(phi)).x.view(6, 80), together.x)
        torch.testing.assert_close(model.recover(y[4], phi).x, together.x[4])
    silence = model.recover(torch.zeros(2, 40), PHI).x
    assert not silence.any()


def test_one_vector_does_not_see_the_others():
    loud = vectors().observations
    loud[0] *= 1e6
    for model in MODELS.values():
        quiet = model.recover(vectors().observations, PHI).x[1:]
        torch.testing.assert_close(model.recover(loud, PHI).x[1:], quiet)


UNUSABLE = [
    ((Y, changed(MATRIX, (slice(None), 7), 0.0)), "phi: column 7 is zero"),
    ((Y, changed(MATRIX, (2, 3), torch.nan)), r"phi\[2, 3\]: NaN or Inf"),
    ((Y, changed(MATRIX, (2, 3), torch.inf)), r"phi\[2, 3\]: NaN or Inf"),
    ((changed(Y, (5, 3), torch.nan), MATRIX), r"observations\[5, 3\]: NaN or Inf"),
    ((Y, MATRIX[:, :40]), r"phi: expected fewer rows \(measurements\) than columns \(coefficients\), got 40 x 40"),
    ((Y, MATRIX.mT), r"expected fewer rows .* got 80 x 40"),
    ((Y, MATRIX.to(torch.complex64)), "phi: expected float32 or float64, got complex64"),
    ((Y.to(torch.complex64), MATRIX), "observations: expected float32 or float64, got complex64"),
    ((Y, MATRIX.long()), "phi: expected float32 or float64, got int64"),
    ((Y, MATRIX[0]), r"phi: expected a matrix \(n_measurements, n_coefficients\), got \(80,\)"),
    ((Y[:, :39], MATRIX), r"observations: expected shape \(\*batch, 40\) for 40 rows of phi, got \(6, 39\)"),
    ((Y[:0], MATRIX), r"observations: expected shape"),
    ((torch.tensor(1.0), MATRIX), r"observations: expected shape \(\*batch, 40\)"),
    ((Y, MATRIX, -1.0), "noise_variance: expected finite numbers, not negative"),
    ((Y, MATRIX, torch.ones(5)), r"noise_variance: expected a number or shape \(6,\), got \(5,\)"),
    ((Y.double(), MATRIX), "phi: expected float64 like the observations, got float32"),
]


@pytest.mark.parametrize(("given", "said"), UNUSABLE, ids=[said[:40] for _, said in UNUSABLE])
def test_unusable_measurements_are_refused(given, said):
    with pytest.raises(ObservationError, match=said):
        MODELS["fista"].recover(*given)


def test_a_model_of_the_other_setting_is_refused_both_ways():
    with pytest.raises(ModelError, match=r"na-alista-lte10-m75: made for OFDM pilots \(scenario lte10\)"):
        load_model("na-alista-lte10-m75").recover(Y, MATRIX)
    pilots = torch.ones(2, 75, dtype=torch.complex64)
    with pytest.raises(ModelError, match=r"made for synthetic vectors \(scenario small\), not for OFDM pilots"):
        MODELS["alista"].estimate(pilots, PilotPattern.random(75, 0))
    with pytest.raises(ModelError, match="linear: made for OFDM pilots"):
        pick_model("linear", load_scenario("lte10")).recover(Y, MATRIX)


def test_learned_matrices_refuse_another_size():
    model = Model(LISTA(2, n_measurements=40, n_coefficients=90), SMALL)
    with pytest.raises(AlgorithmError, match="expected the 40 x 90 real Phi it was made for, got 40 x 80 real"):
        model.recover(Y, MATRIX)


@pytest.mark.parametrize(("snr_db", "expected"), [(40, -45.4), (20, -23.0)])
def test_vamp_comes_to_the_limit_of_large_matrices(snr_db, expected):
    scenario = SYNTHETIC.replace(snr_db=snr_db)
    phi = scenario.sensing(0)
    block = next(scenario.simulate(phi, 512, seed=0))
    found = pick_model("vamp", scenario).recover(block.observations, phi, block.noise_variance).x
    assert nmse_db(found, block.truth["x"]) == pytest.approx(expected, abs=0.7)


@pytest.mark.parametrize("name", MODELS)
def test_arrays_give_arrays_of_the_same_numbers(name):
    model, drawn = MODELS[name], vectors()
    expected = model.recover(drawn.observations, PHI, drawn.noise_variance, record=True)
    noise = drawn.noise_variance.numpy()
    found = model.recover(drawn.observations.numpy(), PHI.matrix.numpy(), noise, record=True)
    for ours, theirs in ((found.x, expected.x), *zip(found.iterates, expected.iterates, strict=True)):
        assert isinstance(ours, np.ndarray)
        np.testing.assert_array_equal(ours, theirs.numpy())
    assert isinstance(model.recover(drawn.observations.numpy(), PHI).x, np.ndarray)
    assert isinstance(model.recover(drawn.observations, PHI.matrix.numpy()).x, torch.Tensor)


class TestPicking:
    def test_penalties_and_prior_come_from_the_scenario(self):
        assert pick_model("ista", SMALL).algorithm.penalty == SMALL.penalties.ista
        vamp = pick_model("vamp", SMALL, n_iterations=7).algorithm
        assert isinstance(vamp, VAMP)
        assert (vamp.sparsity, vamp.n_iterations) == (4, 7)

    @pytest.mark.parametrize("name", [name for name in ESTIMATORS if not fits(name, SYNTHETIC)])
    def test_what_estimates_channels_only_is_refused(self, name):
        with pytest.raises(AlgorithmError, match=f"algorithm: {name} estimates OFDM channels only.* take ista, fista"):
            pick_model(name, SYNTHETIC)

    def test_sizes_that_no_model_serves_are_said(self):
        said = "na-alista: no model for scenario small with 40 measurements of 80 coefficients"
        with pytest.raises(ModelError, match=said):
            pick_model("na-alista", SMALL)
