"""Denser vectors in training: the loss means what it meant, and sees more of what is rare."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from chanest import load_scenario
from chanest.algorithms import ALISTA
from chanest.problems import seeded
from chanest.training import group_loss, training_batch

SMALL = load_scenario("synthetic").replace(n_measurements=32, n_coefficients=64, sparsity=6)
DENSER = SMALL.replace(training={**SMALL.training.model_dump(), "denser": 1.5})


@settings(deadline=None)
@given(st.integers(10, 2000), st.floats(0.01, 0.45), st.floats(1.01, 2.0))
def test_weighted_vectors_of_a_batch_half_of_which_is_denser_are_those_of_the_scenario(n, rate, denser):
    """Exactly, over the law of the number of entries: mixture times weight is the scenario's law."""
    training = {**SMALL.training.model_dump(), "denser": denser}
    scenario = SMALL.replace(n_measurements=5, n_coefficients=n, sparsity=rate * n, training=training)
    counts = torch.arange(n + 1)
    weight = scenario.density_weight(counts).double()
    usual, dense = (torch.from_numpy(binom.pmf(counts.numpy(), n, p)) for p in (rate, denser * rate))
    torch.testing.assert_close((usual + dense) / 2 * weight, usual, rtol=1e-4, atol=1e-7)
    assert float(weight.max()) <= 2


def test_every_other_vector_of_a_batch_is_denser_and_the_noise_is_the_same():
    batch = training_batch(DENSER, 0, 0, 4096, 1, "cpu")
    counts = (batch.truth != 0).sum(-1)
    for first, expected in ((0, 6), (1, 9)):
        assert float(counts[first::2].float().mean()) == pytest.approx(expected, rel=0.03)
    assert torch.equal(batch.weight, DENSER.density_weight(counts))
    assert float(batch.weight.mean()) == pytest.approx(1, abs=0.05)
    phi = SMALL.sensing(0)
    same = (SMALL.draw(phi, 3, seeded(0, "test"), denser=times).noise_variance for times in (1.0, 2.0))
    assert torch.equal(*same)


def test_the_normalisation_and_a_batch_without_know_no_weights():
    for scenario, step in ((DENSER, -1), (SMALL, 0)):
        assert training_batch(scenario, 0, step, 16, 1, "cpu").weight is None
    plain, none = (training_batch(SMALL.replace(training={**SMALL.training.model_dump(), **more}), 0, 3, 16, 1, "cpu")
                   for more in ({}, {"denser": 1.0}))  # fmt: skip
    assert torch.equal(plain.truth, none.truth)


def test_the_loss_is_the_log_of_weighted_energies_and_so_is_a_share_of_rows():
    batch = training_batch(DENSER, 0, 0, 32, 1, "cpu")
    algorithm = ALISTA(n_iterations=3, sparsity=6.0, schedule="synthetic")
    loss, nmse_db = group_loss(algorithm, batch, snr_groups=1)
    x = batch.answer(algorithm(batch.y, batch.phi, noise_variance=batch.noise_variance).x)
    energies = ((v.square().sum(-1) * batch.weight).sum() for v in (x - batch.truth, batch.truth))
    expected = math.log(float((next(energies) / next(energies)).detach()))
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    assert nmse_db == pytest.approx(10 / math.log(10) * expected, rel=1e-4)
    assert torch.equal(batch.rows(slice(4, 9)).weight, batch.weight[4:9])


def test_the_loss_of_many_vectors_is_the_one_without_denser_ones():
    algorithm = ALISTA(n_iterations=3, sparsity=6.0, schedule="synthetic")
    with torch.no_grad():
        losses = [
            float(group_loss(algorithm, training_batch(scenario, 0, 0, 2**14, 1, "cpu"), 1)[0])
            for scenario in (SMALL, DENSER)
        ]
    assert losses[1] == pytest.approx(losses[0], abs=0.02)
