"""Signals obey their scenarios, and the two noise conventions are what they say."""

from itertools import combinations

import numpy as np
import pytest
import torch

from chanest import PilotPattern, load_scenario
from chanest.pilots import draw_pattern
from chanest.scenario import scenario_names
from chanest.signals import BLOCK, draw, frequency_response, seeded, simulate


def at_pilots(scenario, pattern, data):
    return data.cfr[:, np.searchsorted(scenario.used_subcarriers, pattern.subcarriers)]


@pytest.mark.parametrize("name", scenario_names())
def test_unit_power_and_exact_frequency_response(name):
    scenario = load_scenario(name)
    data = draw(scenario, draw_pattern(scenario, 0), 4096, seeded(0, "test"))
    assert abs(float(data.cfr.abs().square().mean()) - 1) < 0.1
    k = torch.from_numpy(scenario.used_subcarriers).double()
    turns = k.unsqueeze(-1) * data.delays[:8].unsqueeze(-2) / scenario.n_fft
    expected = (torch.exp(-2j * torch.pi * turns) * data.gains[:8].unsqueeze(-2)).sum(-1)
    torch.testing.assert_close(data.cfr[:8], expected.to(torch.complex64), rtol=0, atol=2e-5)


def test_lte10_has_8_taps_with_the_decaying_profile():
    scenario = load_scenario("lte10")
    data = draw(scenario, draw_pattern(scenario, 0), 50_000, seeded(0, "test"))
    assert bool(((data.cir != 0).sum(-1) == 8).all())
    power = data.cir.abs().square().mean(0).double()
    ratio = float(power[:32].sum() / power[224:].sum())
    assert ratio == pytest.approx(np.exp(3.5 * 224 / 256), rel=0.1)
    occupied = (data.cir != 0).double().mean(0)
    assert float((occupied - 8 / 256).abs().max()) < 0.006


def test_reference_support_is_bernoulli():
    scenario = load_scenario("lte10-reference")
    count = (draw(scenario, draw_pattern(scenario, 0), 20_000, seeded(0, "test")).cir != 0).sum(-1).double()
    assert float(count.mean()) == pytest.approx(8, abs=0.1)
    assert float(count.var()) == pytest.approx(8 * 248 / 256, rel=0.05)


@pytest.mark.parametrize("snr_db", [0, 10, 25])
def test_pilot_convention_is_the_snr_at_every_pilot(snr_db):
    scenario = load_scenario("lte10").replace(snr_db=snr_db, n_pilots=40)
    pattern = draw_pattern(scenario, 3)
    data = draw(scenario, pattern, 20_000, seeded(0, "test"))
    noise = (data.observations - at_pilots(scenario, pattern, data)).abs().square().mean(0)
    measured = 10 * torch.log10(1 / noise)
    assert float((measured - snr_db).abs().max()) < 0.15
    assert bool(torch.isclose(data.noise_variance, torch.tensor(10 ** (-snr_db / 10))).all())


@pytest.mark.parametrize(("n_pilots", "snr"), [(100, 20.4), (75, 21.5), (50, 23.2)])
def test_reference_convention_is_the_published_codes(n_pilots, snr):
    """Mean SNR per pilot as notes.md computes it; levels broadcast along the wrong axis, block by block."""
    scenario = load_scenario("lte10-reference").replace(n_pilots=n_pilots)
    pattern = draw_pattern(scenario, 0)
    data = draw(scenario, pattern, 40 * BLOCK, seeded(0, "test"))
    assert -10 * np.log10(float(data.noise_variance.mean())) == pytest.approx(snr, abs=0.05)
    clean = at_pilots(scenario, pattern, data)
    noise = (data.observations - clean).abs().square().view(40, BLOCK, -1).mean(1)
    level = clean.abs().square().sum(-1).view(40, BLOCK) / 1024 / 10
    expected = level[:, torch.from_numpy(pattern.bins // 2)]
    assert float((noise / expected).std()) == pytest.approx(BLOCK**-0.5, rel=0.1)
    assert float((noise / expected).mean()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", ["lte10", "lte10-reference", "wide"])
def test_samples_do_not_depend_on_how_many_there_are(name):
    scenario = load_scenario(name)
    pattern = draw_pattern(scenario, 0)
    many = torch.cat([block.observations for block in simulate(scenario, pattern, 700, seed=5)])
    few = torch.cat([block.observations for block in simulate(scenario, pattern, 530, seed=5)])
    assert torch.equal(many[:530], few)


def test_streams_and_seeds_differ():
    scenario, pattern = load_scenario("lte10"), PilotPattern.random(75, 0)
    keys = ((0, "test"), (0, "train"), (1, "test"), (2**32, "test"), (2**32 + 1, "test"))
    drawn = [draw(scenario, pattern, 4, seeded(*key)).observations for key in keys]
    assert not any(torch.equal(a, b) for a, b in combinations(drawn, 2))


def test_delay_profiles_are_those_of_ts_36_104():
    etu = load_scenario("etu")
    data = draw(etu, draw_pattern(etu, 0), 2, seeded(0, "test"))
    assert float(data.delays[0, -1]) == pytest.approx(5e-6 * 15.36e6)
    assert float(data.variances.sum(-1)[0]) == pytest.approx(1)
    assert float(data.variances[0, 3] / data.variances[0, -1]) == pytest.approx(10**0.7, rel=1e-4)


def test_wide_spans():
    wide = load_scenario("wide")
    data = draw(wide, draw_pattern(wide, 0), 4096, seeded(0, "test"))
    count = (data.variances > 0).sum(-1)
    assert (int(count.min()), int(count.max())) == (1, 24)
    assert float(data.delays.max()) <= 236
    assert float(data.delays.min()) >= 0


def test_frequency_response_of_a_pure_delay():
    scenario = load_scenario("wide")
    h = frequency_response(
        torch.tensor([[2.5]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.complex64), scenario
    )
    k = torch.from_numpy(scenario.used_subcarriers).double()
    torch.testing.assert_close(h[0], torch.exp(-2j * torch.pi * k * 2.5 / 1024).to(torch.complex64), rtol=0, atol=1e-5)
