"""Scenarios: complete, frozen, validated."""

import numpy as np
import pytest

from chanest import GaussianScenario, Scenario, load_scenario
from chanest.errors import ScenarioError
from chanest.problems import scenario_from_fields, scenario_names

OFDM = [name for name in scenario_names() if isinstance(load_scenario(name), Scenario)]


@pytest.mark.parametrize("name", scenario_names())
def test_shipped_scenarios_load_and_round_trip(name):
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario_from_fields(scenario.model_dump(), "") == scenario
    with pytest.raises(ValueError, match="frozen"):
        scenario.snr_db = 3


@pytest.mark.parametrize("name", OFDM)
def test_shipped_ofdm_scenarios_are_of_lte(name):
    scenario = load_scenario(name)
    assert np.array_equal(scenario.used_subcarriers, [*range(-300, 0), *range(1, 301)])
    assert scenario.sample_rate_hz == 15.36e6
    with pytest.raises(ValueError, match="frozen"):
        scenario.n_pilots = 3


def test_lte10_is_the_papers_text_and_reference_the_published_code():
    text, code = load_scenario("lte10"), load_scenario("lte10-reference")
    assert (text.channel.sparsity, text.channel.decay, text.channel.support) == (8, 3.5, "uniform")
    assert (code.channel.sparsity, code.channel.decay, code.channel.support) == (8, 5.0, "bernoulli")
    assert (text.snr_convention, code.snr_convention) == ("pilot", "reference")
    assert (text.n_fft, text.n_taps, text.cp_samples) == (code.n_fft, code.n_taps, code.cp_samples) == (1024, 256, 256)


PATHS = {"kind": "paths", "n_paths": [1, 4], "span_samples": [5, 9], "decay": [0, 1]}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"n_pilots": 1}, "n_pilots"),
        ({"n_pilots": 601}, r"n_pilots: expected 2\.\.\.600"),
        ({"n_taps": 2000}, "n_taps: expected at most"),
        ({"n_used": 2000}, "n_used"),
        ({"n_used": 601}, "n_used"),
        ({"snr_db": float("nan")}, "snr_db"),
        ({"snr_db": 1000}, "snr_db"),
        ({"snr_convention": "eb/n0"}, "snr_convention"),
        ({"surprise": 1}, "surprise: unknown field"),
        ({"channel": {"kind": "taps", "sparsity": 300, "decay": 1.0}}, "channel.sparsity"),
        ({"channel": {"kind": "taps", "sparsity": 8, "decay": -1.0}}, "channel.decay"),
        ({"channel": {"kind": "taps", "sparsity": 8}}, "channel.decay: missing"),
        ({"channel": {"kind": "wires"}}, "channel"),
        ({"channel": {"kind": "profile", "delays_ns": [0, 1], "powers_db": [0]}}, "powers_db: expected one"),
        ({"training": {"snr_db": [30, 0]}}, "snr_db: expected"),
        ({"channel": {**PATHS, "spread_db": [9, 3]}}, r"spread_db: expected \[low, high\]"),
        ({"channel": {**PATHS, "spread_db": [-1, 3]}}, "channel.spread_db"),
        ({"channel": {**PATHS, "clustered": [0, 1.5]}}, "channel.clustered"),
        ({"channel": {**PATHS, "cluster_samples": [0, 3]}}, "channel.cluster_samples"),
        ({"channel": {**PATHS, "dense_share": [0.1, 1]}}, "channel.dense_share"),
        ({"channel": {**PATHS, "dense_share": [0, 0.3]}}, "dense_share: expected a positive low end"),
    ],
)
def test_impossible_values_are_errors_that_name_the_field(fields, said):
    with pytest.raises(ScenarioError, match=said):
        load_scenario("lte10").replace(**fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"n_measurements": 1000}, "n_measurements: expected fewer than n_coefficients = 1000, got 1000"),
        ({"n_measurements": 1}, "n_measurements: "),
        ({"sparsity": 1001}, "sparsity: expected at most n_coefficients = 1000, got 1001"),
        (
            {"training": {"snr_db": (40, 40), "denser": 5}, "sparsity": 200},
            "training.denser: expected less than n_coefficients/sparsity = 5, got 5",
        ),
        ({"sparsity": 0}, "sparsity: .*greater than 0, got 0"),
        ({"snr_db": float("inf")}, "snr_db"),
        ({"training": {"snr_db": [40, 20]}}, "snr_db: expected"),
        ({"training": {"snr_db": [40, 40], "fixed_pattern": True}}, "training.fixed_pattern: unknown field"),
        ({"n_pilots": 75}, "n_pilots: unknown field"),
        ({"setting": "ofdm"}, "setting"),
    ],
)
def test_impossible_synthetic_values_are_errors_that_name_the_field(fields, said):
    scenario = load_scenario("synthetic")
    assert isinstance(scenario, GaussianScenario)
    with pytest.raises(ScenarioError, match=said):
        scenario.replace(**fields)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("n_fft = ", "not valid TOML"),
        ("name = 'x'", "channel: missing"),
        (None, "cannot be read"),
    ],
)
def test_broken_files(tmp_path, text, said):
    path = tmp_path / "mine.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ScenarioError, match=said):
        load_scenario(path)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ScenarioError, match="lte10, lte10-reference"):
        load_scenario("lte20")
