"""Estimates far from the pilots: nothing is made worse, what pilots tell is left alone, error variances know it."""

import numpy as np
import pytest
import torch

from chanest import Grid, PilotPattern, load_model, load_scenario
from chanest.models import pick_model
from chanest.models.trust import POINT, WEIGHED, believed, leaves_open
from chanest.operators import PartialDFT
from chanest.problems import seeded

BAND = tuple([*range(-300, 0), *range(1, 301)])
BLOCK = PilotPattern(BAND[200:240])
CLUSTERS = PilotPattern(BAND[40:55] + BAND[500:515])
FEW = PilotPattern((-200, 17, 120))
OPEN = {"block": BLOCK, "clusters": CLUSTERS, "few": FEW, "one side": PilotPattern(BAND[:300:5])}
NAMES = ["na-alista-wide", "alista-wide", "alista-lte10-m75", "na-sbl-lte10-m75", "na-sbl-wide", "sbl", "ista", "omp"]


def model_of(name):
    return load_model(name) if "-" in name else pick_model(name, load_scenario("wide"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", OPEN)
def test_nothing_is_made_worse(kind, name):
    pattern = OPEN[kind]
    data = load_scenario("eva").draw(pattern, 48, seeded(3, "test"), 10.0)
    found = model_of(name).estimate(data.observations, pattern, data.noise_variance, error_variance=True)
    truth = data.truth["cfr"]
    error = (found.cfr - truth).abs().square().mean()
    assert error < 10**0.05 * truth.abs().square().mean()
    far = torch.from_numpy(np.abs(np.subtract.outer(pattern.used_subcarriers, pattern.subcarriers)).min(1) > 150)
    if bool(far.any()) and "lte10" not in name:  # which know no delays between the samples
        measured = (found.cfr - truth)[:, far].abs().square().double().mean()
        assert found.error_variance[:, far].double().mean() > 0.25 * measured


@pytest.mark.parametrize("pattern", [PilotPattern.random(75, seed=3), PilotPattern.comb(6), PilotPattern.published(50)])
def test_patterns_that_leave_nothing_open_are_left_alone(pattern):
    assert not leaves_open(pattern)


def test_what_is_explained_of_one_path():
    """Near the pilots all of it; far away less, the less the worse the path's delay is known."""
    n_taps = 64
    phi = PartialDFT(torch.tensor(BLOCK.subcarriers), n_taps)
    band = PartialDFT(torch.tensor(BLOCK.used_subcarriers), n_taps)
    x = torch.zeros(3, 1, n_taps, dtype=torch.complex64)
    x[:, :, 9] = 1
    noise = torch.tensor([1e-4, 1e-2, 0.3], dtype=torch.float64)
    explained = believed(x, noise, phi, band, BLOCK, WEIGHED)
    inside = slice(200, 240)
    assert bool((explained[:2, inside] > 0.95).all())
    distance = np.abs(np.arange(600) - 220)
    for row in explained:
        assert row[distance > 150].max() < row[inside].min()
    assert bool((explained[0] >= explained[1] - 1e-9).all())
    assert bool((explained[1] >= explained[2] - 1e-9).all())
    assert bool((believed(x, noise, phi, band, BLOCK, POINT) <= explained + 1e-6).all())


def test_silence_stays_silence():
    found = load_model("na-alista-wide").estimate(torch.zeros(2, len(FEW), dtype=torch.complex64), FEW)
    assert not found.cfr.any()


def test_the_scale_of_pilots_does_not_count():
    data = load_scenario("eva").draw(BLOCK, 4, seeded(3, "test"), 10.0)
    model = load_model("na-alista-wide")
    one, other = (model.estimate(data.observations * a, BLOCK, 0.1 * a * a, error_variance=True) for a in (1.0, 1e3))
    torch.testing.assert_close(1e3 * one.cfr, other.cfr, rtol=1e-4, atol=1e-1)
    torch.testing.assert_close(1e6 * one.error_variance, other.error_variance, rtol=1e-4, atol=1.0)


def test_wifis_grid_with_four_pilots():
    pattern = PilotPattern((-21, -7, 7, 21), Grid.wifi(20))
    y = torch.ones(3, 4, dtype=torch.complex64)
    found = load_model("na-sbl-wide").estimate(y, pattern, 1e-3)
    assert bool((found.cfr.abs() < 1.5).all())
    assert bool((found.cfr[:, 26:30] - 1).abs().mean() < 0.2)
