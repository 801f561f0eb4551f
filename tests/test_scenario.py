"""Scenarios: complete, frozen, validated."""

import numpy as np
import pytest

from chanest import load_scenario
from chanest.errors import ScenarioError
from chanest.scenario import scenario_from_fields, scenario_names


@pytest.mark.parametrize("name", scenario_names())
def test_shipped_scenarios_load_and_round_trip(name):
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario_from_fields(scenario.model_dump(), "") == scenario
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
    ],
)
def test_impossible_values_are_errors_that_name_the_field(fields, said):
    with pytest.raises(ScenarioError, match=said):
        load_scenario("lte10").replace(**fields)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("n_fft = ", "not valid TOML"),
        ("name = 'x'", "description: missing"),
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
