"""The textbook implementations that the bench runs against: the same estimates, the same gradients."""

from pathlib import Path

import pytest
import torch

from chanest import load_model, load_scenario
from chanest.models import noise_of_y, normalise
from chanest.problems import seeded

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@pytest.fixture
def textbook(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    import textbook

    return textbook


def problem(dtype, n=32):
    """y, its scale, the noise variance of its entries, true taps, pattern, and chanest's operator."""
    scenario = load_scenario("lte10").replace(n_pilots=75, snr_db=10)
    pattern = scenario.sensing(0)
    data = scenario.draw(pattern, n, seeded(0, "test"))
    y, scale = normalise(data.observations.to(dtype.to_complex()))
    return y, scale, noise_of_y(data.noise_variance, scale, 75), data.truth["cir"].to(y.dtype), pattern


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@DTYPES
def test_the_same_estimates_as_na_alista(textbook, dtype):
    y, _, _, _, pattern = problem(dtype)
    model = load_model("na-alista-lte10-m75")
    network = textbook.TextbookNAALISTA(model, pattern, dtype)
    with torch.no_grad():
        expected = model.algorithm.to(dtype)(y, model.operator(pattern, y.dtype, "cpu")).x
        assert relative(network(y), expected) < TOLERANCE[dtype]


@DTYPES
def test_the_same_estimates_as_na_sbl(textbook, dtype):
    """Held to the estimates in float64: those of chanest in float32 are themselves 3e-4 from them by rounding."""
    y, _, noise, _, pattern = problem(dtype)
    exact, _, exact_noise, _, _ = problem(torch.float64)
    model = load_model("na-sbl-lte10-m75")
    network = textbook.TextbookNASBL(model, pattern, dtype)
    with torch.no_grad():
        phi = model.operator(pattern, exact.dtype, "cpu")
        expected = model.algorithm.double()(exact, phi, noise_variance=exact_noise).x
        assert relative(network(y, noise), expected) < TOLERANCE[dtype]


@DTYPES
def test_the_same_loss_and_gradient(textbook, dtype):
    y, scale, _, truth, pattern = problem(dtype)
    model = load_model("na-alista-lte10-m75")
    network = textbook.TextbookNAALISTA(model, pattern, dtype)
    algorithm = model.algorithm.to(dtype).requires_grad_(True)
    found = algorithm(y, model.operator(pattern, y.dtype, "cpu")).x * scale
    energies = [x.abs().square().view(8, -1).sum(-1) for x in (found - truth, truth)]
    expected = (energies[0] / energies[1]).log().mean()
    loss = textbook.TextbookTraining(network).loss(y, scale, truth)
    assert relative(loss, expected) < TOLERANCE[dtype]
    expected.backward()
    loss.backward()
    parameters = dict(algorithm.named_parameters())
    gradients = [(p.grad.flatten(), parameters[name].grad.flatten()) for name, p in network.named_parameters()]
    assert len(gradients) == 10
    ours, theirs = (torch.cat(side) for side in zip(*gradients, strict=True))
    assert relative(ours, theirs) < TOLERANCE[dtype]


def test_a_step_lowers_the_loss(textbook):
    y, scale, _, truth, pattern = problem(torch.float32)
    network = textbook.TextbookNAALISTA(load_model("na-alista-lte10-m75"), pattern)
    with torch.no_grad():
        network.head.weight.mul_(0.5)
    training = textbook.TextbookTraining(network)
    losses = [training.step(y, scale, truth) for _ in range(5)]
    assert losses[-1] < losses[0]


def test_other_models_are_refused(textbook):
    model = load_model("na-alista-wide")
    with pytest.raises(ValueError, match="expected a delay window from 0"):
        textbook.TextbookNAALISTA(model, problem(torch.float32)[-1])
