"""Arcs of the circle of delays: what is turned comes back, where arcs are not believed, and what they are for."""

import numpy as np
import pytest
import torch

from chanest import Grid, PilotPattern, load_model
from chanest.models.arcs import arcs_of
from chanest.problems import delay_grid

USED = np.r_[-300:0, 1:301]


def received(delays, snr_db, n=24, seed=0, powers=None, r=1):
    rng = np.random.default_rng(seed)
    k = np.sort(rng.choice(USED, 75, replace=False))
    powers = np.ones(len(delays)) / len(delays) if powers is None else np.array(powers)
    gains = rng.standard_normal((2, n, r, len(delays))) @ np.diag((powers / 2) ** 0.5)
    gains = gains[0] + 1j * gains[1]
    cfr = gains @ np.exp(-2j * np.pi * np.outer(delays, USED) / 1024)
    noise = rng.standard_normal((2, n, r, 75)) * (10 ** (-snr_db / 10) / 2) ** 0.5
    seen = cfr[..., np.searchsorted(USED, k)] + noise[0] + 1j * noise[1]
    return PilotPattern(tuple(k.tolist())), seen, cfr


def nmse_db(found, cfr):
    return 10 * np.log10((np.abs(found - cfr) ** 2).sum() / (np.abs(cfr) ** 2).sum())


@pytest.mark.parametrize("shift", [-240.0, -20.0, 0.0, 333.3, 700.0])
def test_a_channel_anywhere_is_found_as_at_delay_0(shift):
    model, delays = load_model("na-sbl-wide"), np.array([0.0, 3.4, 11.7, 40.2])
    pattern, seen, cfr = received(delays, 20, n=96)
    there, seen_there, cfr_there = received(delays + shift, 20, n=96)
    assert there == pattern
    found = model.estimate(seen[:, 0], pattern, 0.01, window_samples=(-8, 264)).cfr
    moved = model.estimate(seen_there[:, 0], pattern, 0.01).cfr
    assert nmse_db(moved, cfr_there[:, 0]) < nmse_db(found, cfr[:, 0]) + 0.3


def test_what_was_turned_comes_back_on_the_circle():
    pattern, seen, cfr = received(np.array([880.0, 884.3, 890.1, 901.0]), 25, r=2)
    found = load_model("na-sbl-wide").estimate(
        seen, pattern, 10**-2.5, snapshot_axes=1, error_variance=True, paths=True, covariance=True
    )
    assert found.cir.shape == (24, 2, 4096)
    assert found.first_tap_samples == -256
    delays = found.first_tap_samples + found.tap_spacing_samples * np.arange(4096)
    again = found.cir @ np.exp(-2j * np.pi * np.outer(delays, USED) / 1024)
    assert nmse_db(again, found.cfr) < -100
    assert nmse_db(found.cfr, cfr) < -30
    np.testing.assert_allclose(found.timing_samples, 880 - 1024, atol=0.5)
    diagonal = (np.abs(found.covariance_factor) ** 2).sum(-1)
    np.testing.assert_allclose(diagonal, found.error_variance[:, 0], rtol=1e-3)


def test_a_path_beyond_the_arc_is_not_lost():
    pattern, seen, cfr = received(np.array([0.0, 400.0]), 25, powers=[0.99, 0.01])
    assert nmse_db(load_model("na-sbl-wide").estimate(seen[:, 0], pattern, 10**-2.5).cfr, cfr[:, 0]) < -30


def test_a_batch_is_its_members():
    model = load_model("na-sbl-wide")
    pattern, seen, _ = received(np.array([0.0, 400.0, 90.0]), 12, n=16, powers=[0.9, 0.05, 0.05])
    together = model.estimate(seen[:, 0], pattern, 0.06, error_variance=True)
    for i in range(16):
        alone = model.estimate(seen[i, 0], pattern, 0.06, error_variance=True)
        assert nmse_db(alone.cfr, together.cfr[i]) < -60
        np.testing.assert_allclose(alone.error_variance, together.error_variance[i], rtol=1e-3)


def test_gradients_pass_through_an_arc():
    pattern, seen, _ = received(np.array([500.0, 507.2]), 20, n=2)
    y = torch.tensor(seen[:, 0], requires_grad=True)
    load_model("na-sbl-wide").estimate(y, pattern, 0.01).cfr.abs().square().sum().backward()
    assert y.grad is not None
    assert bool(y.grad.isfinite().all())
    assert float(y.grad.abs().max()) > 0


@pytest.mark.parametrize(
    ("subcarriers", "n_fft", "count"),
    [
        (range(-26, 27), 64, 1),
        (range(-58, 59), 128, 1),
        (range(-600, 601, 12), 2048, 0),
        (range(-600, 601, 8), 2048, 1),
    ],
)
def test_arcs_of_other_grids(subcarriers, n_fft, count):
    pattern = PilotPattern(tuple(subcarriers), Grid(n_fft, tuple(range(min(subcarriers), max(subcarriers) + 1))))
    arcs = arcs_of(delay_grid(pattern), pattern, (-8 * n_fft / 1024, 264 * n_fft / 1024))
    assert len(arcs) == count


@pytest.mark.parametrize("offset", range(4))
@pytest.mark.parametrize("shift", [0.0, -70.0, 150.0])
def test_a_comb_of_any_offset_is_looked_at_around_the_end_of_its_circle(offset, shift):
    """A tap that goes around the circle of 256 samples turns all pilots of a comb by i to the power of the offset."""
    grid = Grid(1024, tuple(range(-312, 312)))
    pattern = PilotPattern.comb(4, offset, grid)
    rng = np.random.default_rng(offset)
    delays = np.array([0.3, 9.1, 16.4, 34.8]) + shift
    delays = (delays + 64) % 256 - 64  # the circle that is looked at
    gains = rng.standard_normal((8, 4)) + 1j * rng.standard_normal((8, 4))
    cfr = gains @ np.exp(-2j * np.pi * np.outer(delays, np.arange(-312, 312)) / 1024)
    seen = cfr[:, offset::4]
    noise = 0.1 * (rng.standard_normal(seen.shape) + 1j * rng.standard_normal(seen.shape))
    found = load_model("na-sbl-wide").estimate(seen + noise, pattern, 0.02, error_variance=True)
    assert nmse_db(found.cfr, cfr) < -25
    assert float(found.error_variance.mean()) < 0.1
