"""Signals obey their scenarios, and the two noise conventions are what they say."""

from itertools import combinations

import numpy as np
import pytest
import torch

from chanest import PilotPattern, Scenario, load_scenario
from chanest.problems import scenario_names, seeded
from chanest.problems.ofdm.draw import frequency_response
from chanest.problems.random import BLOCK

OFDM = [name for name in scenario_names() if isinstance(load_scenario(name), Scenario)]


def at_pilots(scenario, pattern, data):
    return data.truth["cfr"][:, np.searchsorted(scenario.used_subcarriers, pattern.subcarriers)]


@pytest.mark.parametrize("name", OFDM)
def test_unit_power_and_exact_frequency_response(name):
    scenario = load_scenario(name)
    data = scenario.draw(scenario.sensing(0), 4096, seeded(0, "test"))
    assert abs(float(data.truth["cfr"].abs().square().mean()) - 1) < 0.1
    k = torch.from_numpy(scenario.used_subcarriers).double()
    turns = k.unsqueeze(-1) * data.paths["delays"][:8].unsqueeze(-2) / scenario.n_fft
    expected = (torch.exp(-2j * torch.pi * turns) * data.paths["gains"][:8].unsqueeze(-2)).sum(-1)
    torch.testing.assert_close(data.truth["cfr"][:8], expected.to(torch.complex64), rtol=0, atol=2e-5)


def test_lte10_has_8_taps_with_the_decaying_profile():
    scenario = load_scenario("lte10")
    data = scenario.draw(scenario.sensing(0), 50_000, seeded(0, "test"))
    assert bool(((data.truth["cir"] != 0).sum(-1) == 8).all())
    power = data.truth["cir"].abs().square().mean(0).double()
    ratio = float(power[:32].sum() / power[224:].sum())
    assert ratio == pytest.approx(np.exp(3.5 * 224 / 256), rel=0.1)
    occupied = (data.truth["cir"] != 0).double().mean(0)
    assert float((occupied - 8 / 256).abs().max()) < 0.006


def test_reference_support_is_bernoulli():
    scenario = load_scenario("lte10-reference")
    count = (scenario.draw(scenario.sensing(0), 20_000, seeded(0, "test")).truth["cir"] != 0).sum(-1).double()
    assert float(count.mean()) == pytest.approx(8, abs=0.1)
    assert float(count.var()) == pytest.approx(8 * 248 / 256, rel=0.05)


@pytest.mark.parametrize("snr_db", [0, 10, 25])
def test_pilot_convention_is_the_snr_at_every_pilot(snr_db):
    scenario = load_scenario("lte10").replace(snr_db=snr_db, n_pilots=40)
    pattern = scenario.sensing(3)
    data = scenario.draw(pattern, 20_000, seeded(0, "test"))
    noise = (data.observations - at_pilots(scenario, pattern, data)).abs().square().mean(0)
    measured = 10 * torch.log10(1 / noise)
    assert float((measured - snr_db).abs().max()) < 0.15
    assert bool(torch.isclose(data.noise_variance, torch.tensor(10 ** (-snr_db / 10))).all())


@pytest.mark.parametrize(("n_pilots", "snr"), [(100, 20.4), (75, 21.5), (50, 23.2)])
def test_reference_convention_is_the_published_codes(n_pilots, snr):
    """Mean SNR per pilot as notes.md computes it; levels broadcast along the wrong axis, block by block."""
    scenario = load_scenario("lte10-reference").replace(n_pilots=n_pilots)
    pattern = scenario.sensing(0)
    data = scenario.draw(pattern, 40 * BLOCK, seeded(0, "test"))
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
    pattern = scenario.sensing(0)
    many = torch.cat([block.observations for block in scenario.simulate(pattern, 700, seed=5)])
    few = torch.cat([block.observations for block in scenario.simulate(pattern, 530, seed=5)])
    assert torch.equal(many[:530], few)


def test_streams_and_seeds_differ():
    scenario, pattern = load_scenario("lte10"), PilotPattern.random(75, 0)
    keys = ((0, "test"), (0, "train"), (1, "test"), (2**32, "test"), (2**32 + 1, "test"))
    drawn = [scenario.draw(pattern, 4, seeded(*key)).observations for key in keys]
    assert not any(torch.equal(a, b) for a, b in combinations(drawn, 2))


def test_delay_profiles_are_those_of_ts_36_104():
    etu = load_scenario("etu")
    data = etu.draw(etu.sensing(0), 2, seeded(0, "test"))
    assert float(data.paths["delays"][0, -1]) == pytest.approx(5e-6 * 15.36e6)
    assert float(data.paths["variances"].sum(-1)[0]) == pytest.approx(1)
    assert float(data.paths["variances"][0, 3] / data.paths["variances"][0, -1]) == pytest.approx(10**0.7, rel=1e-4)


def test_wide_spans():
    wide = load_scenario("wide")
    data = wide.draw(wide.sensing(0), 4096, seeded(0, "test"))
    paths, dense = (data.paths["variances"] > 0).split([24, 32], -1)  # of the last 32, all belong to the dense part
    assert (int(paths.sum(-1).min()), int(paths.sum(-1).max())) == (1, 24)
    assert bool(dense.all())
    assert float(data.paths["delays"].max()) <= 236
    assert float(data.paths["delays"].min()) >= 0


PLAIN = {"kind": "paths", "n_paths": (6, 12), "span_samples": (20.0, 80.0), "decay": (0.0, 3.0)}


def paths_of(n=4096, **fields):
    scenario = load_scenario("wide").replace(channel={**PLAIN, **fields})
    return scenario.draw(PilotPattern.random(75, 0), n, seeded(7, "test"))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"spread_db": (0.0, 12.0)},
        {"clustered": (0.2, 0.9), "cluster_samples": (0.1, 30.0)},
        {"dense_share": (0.01, 0.4)},
        {"spread_db": (3.0, 3.0), "clustered": (1.0, 1.0), "dense_share": (0.2, 0.2)},
    ],
    ids=["plain", "spread", "clustered", "dense", "all"],
)
def test_every_kind_of_paths_has_unit_power_within_the_span(fields):
    data = paths_of(**fields)
    torch.testing.assert_close(data.paths["variances"].sum(-1), torch.ones(4096))
    assert bool((data.paths["variances"] >= 0).all())
    assert float(data.truth["cfr"].abs().square().mean()) == pytest.approx(1, abs=0.05)
    assert float(data.paths["delays"].min()) >= 0
    assert float(data.paths["delays"].max()) <= 80
    count = (data.paths["variances"][:, :12] > 0).sum(-1)
    assert (int(count.min()), int(count.max())) == (6, 12)


def test_every_cluster_stays_within_its_channels_span():
    """One span, one decay: of paths that all join, none lies behind the span, however long the clusters are."""
    data = paths_of(span_samples=(10.0, 10.0), clustered=(1.0, 1.0), cluster_samples=(50.0, 50.0))
    assert float(data.paths["delays"].max()) == pytest.approx(10, rel=1e-12)
    assert float((data.paths["delays"][:, 1:] - data.paths["delays"][:, :1]).min()) >= 0  # all behind the first


def test_clusters_are_as_short_as_asked_for():
    data = paths_of(span_samples=(80.0, 80.0), clustered=(1.0, 1.0), cluster_samples=(0.5, 0.5))
    behind = (data.paths["delays"][:, 1:] - data.paths["delays"][:, :1])[data.paths["delays"][:, 0] < 70]
    assert float(behind.mean()) == pytest.approx(0.5, rel=0.03)


def test_half_of_the_paths_join_a_cluster_where_half_should():
    data = paths_of(n_paths=(2, 2), span_samples=(80.0, 80.0), clustered=(0.5, 0.5), cluster_samples=(1e-6, 1e-6))
    joined = ((data.paths["delays"][:, 1] - data.paths["delays"][:, 0]).abs() < 1e-3).double()
    assert float(joined.mean()) == pytest.approx(0.5, abs=0.03)


def test_the_dense_share_is_within_its_range_and_log_uniform():
    data = paths_of(dense_share=(0.01, 0.4))
    assert data.paths["variances"].shape == (4096, 12 + 32)
    share = data.paths["variances"][:, 12:].sum(-1).double()
    assert float(share.min()) >= 0.01 - 1e-6
    assert float(share.max()) <= 0.4 + 1e-6
    assert float(share.log().mean()) == pytest.approx(np.log(0.01 * 0.4) / 2, abs=0.06)


@pytest.mark.parametrize("spread_db", [3.0, 9.0])
def test_shadowing_spreads_the_powers(spread_db):
    """Without decay all powers of a channel are alike; with shadowing their decibels deviate as asked for."""
    flat = {"decay": (0.0, 0.0), "n_paths": (12, 12)}
    even = paths_of(**flat).paths["variances"]
    torch.testing.assert_close(even, torch.full_like(even, 1 / 12))
    power_db = 10 * paths_of(**flat, spread_db=(spread_db, spread_db)).paths["variances"].double().log10()
    assert float(power_db.var(-1).mean().sqrt()) == pytest.approx(spread_db, rel=0.03)


def test_without_the_new_fields_paths_are_drawn_as_before():
    """Their defaults take nothing from the generator: delays, powers and gains are the plain ones, to the bit."""
    data, generator = paths_of(n=64), seeded(7, "test")

    def uniform(low, high, width=1):
        return low + (high - low) * torch.rand(64, width, generator=generator, dtype=torch.float64)

    count = torch.randint(6, 13, (64, 1), generator=generator)
    span, decay = torch.exp(uniform(np.log(20.0), np.log(80.0))), uniform(0.0, 3.0)
    delays = span * uniform(0, 1, 12)
    variances = torch.exp(-decay * delays / span) * (torch.arange(12) < count)
    variances = (variances / variances.sum(-1, keepdim=True)).float()
    assert torch.equal(data.paths["delays"], delays)
    assert torch.equal(data.paths["variances"], variances)
    gains = torch.randn(64, 12, dtype=torch.complex64, generator=generator) * variances.sqrt()
    assert torch.equal(data.paths["gains"], gains)


@pytest.mark.parametrize("name", ["epa", "eva", "etu"])
def test_profiles_take_only_gains_and_noise_from_the_generator(name):
    scenario = load_scenario(name)
    data, generator = scenario.draw(PilotPattern.random(75, 0), 8, seeded(7, "test")), seeded(7, "test")
    gains = (
        torch.randn(data.paths["gains"].shape, dtype=torch.complex64, generator=generator)
        * data.paths["variances"].sqrt()
    )
    assert torch.equal(data.paths["gains"], gains)


def test_frequency_response_of_a_pure_delay():
    scenario = load_scenario("wide")
    h = frequency_response(
        torch.tensor([[2.5]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.complex64), scenario.grid
    )
    k = torch.from_numpy(scenario.used_subcarriers).double()
    torch.testing.assert_close(h[0], torch.exp(-2j * torch.pi * k * 2.5 / 1024).to(torch.complex64), rtol=0, atol=1e-5)
