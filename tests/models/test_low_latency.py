"""Prepared estimators: the numbers of Model.estimate, mistakes named, buffers that the next call fills again."""

import numpy as np
import pytest
import torch

from chanest import Grid, PilotPattern, load_model, load_scenario
from chanest.errors import ModelError, ObservationError
from chanest.models import pick_model
from chanest.models.low_latency import PreparedEstimator
from chanest.problems import seeded

PATTERN = PilotPattern.random(75, seed=4)
NAMES = ["na-alista-lte10-m75", "alista-lte10-m75", "na-sbl-lte10-m75", "na-alista-wide", "na-sbl-wide-window", "omp"]


def model_of(name):
    return load_model(name) if "-" in name else pick_model(name, load_scenario("wide"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_rows", [1, 3])
def test_it_is_model_estimate(name, n_rows):
    model = model_of(name)
    prepared = PreparedEstimator(model, PATTERN, n_rows, error_variance=True)
    for seed, snr_db in enumerate((-10.0, 10.0, 40.0)):
        batch = load_scenario("eva").draw(PATTERN, n_rows, seeded(seed, "test"), snr_db)
        received, noise = 1e-4 * batch.observations, 1e-8 * float(batch.noise_variance[0])
        expected = model.estimate(received, PATTERN, noise, error_variance=True)
        found = prepared(received.numpy(), noise)
        scale = expected.cfr.abs().max()
        torch.testing.assert_close(torch.from_numpy(found) / scale, expected.cfr / scale, rtol=1e-3, atol=1e-4)
        ratio = torch.from_numpy(prepared.error_variance) / expected.error_variance
        torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=1e-2, atol=1e-2)


def test_another_grid_silence_and_the_buffers():
    model, comb = load_model("na-alista-wide"), PilotPattern.comb(2, 0, Grid.wifi(20))
    prepared = PreparedEstimator(model, comb)
    received = np.exp(1j * np.arange(28, dtype=np.float32)[None])
    found = prepared(received).copy()
    np.testing.assert_allclose(found, model.estimate(received, comb).cfr, rtol=1e-3, atol=1e-4)
    silent = prepared(np.zeros_like(received))
    assert not silent.any()
    assert silent is prepared(received)
    np.testing.assert_array_equal(silent, found)
    assert prepared.used_subcarriers.tolist() == list(comb.grid.used_subcarriers)


def test_mistakes_are_named():
    with pytest.raises(ModelError, match="na-sbl cannot be prepared"):
        PreparedEstimator(load_model("na-sbl-wide"), PATTERN)
    with pytest.raises(ModelError, match="linear cannot be prepared"):
        PreparedEstimator(pick_model("linear", load_scenario("lte10")), PATTERN)
    with pytest.raises(ModelError, match="part of the band open"):
        PreparedEstimator(load_model("na-alista-wide"), PilotPattern((-3, 1, 9)))
    prepared = PreparedEstimator(load_model("alista-lte10-m75"), PATTERN)
    for wrong in (np.ones(75, np.complex64), np.ones((1, 74), np.complex64), np.ones((1, 75), complex)):
        with pytest.raises(ObservationError, match=r"expected complex64 of shape \(1, 75\), got"):
            prepared(wrong)
    for bad in (np.nan, np.inf, 1j * np.inf):
        received = np.ones((1, 75), np.complex64)
        received[0, 7] = bad
        with pytest.raises(ObservationError, match="NaN or Inf"):
            prepared(received)
    with pytest.raises(ObservationError, match="noise_variance: expected a finite number"):
        prepared(np.ones((1, 75), np.complex64), -1.0)
