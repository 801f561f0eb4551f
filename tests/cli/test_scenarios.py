"""``chanest scenarios``: what a TOML may hold, in words and as a schema; docs/scenarios.md says the same."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chanest import GaussianScenario, Scenario, load_scenario
from chanest.cli.app import app
from chanest.problems import scenario_names

DOCS = Path(__file__).parents[2] / "docs" / "scenarios.md"
SHIPPED = Path(__file__).parents[2] / "scenarios"


def said(*arguments):
    found = CliRunner().invoke(app, ["scenarios", *arguments], env={"COLUMNS": "300"})
    assert found.exit_code == 0
    return found.stdout


def fields_of(schema, name):
    return set(schema["$defs"][name]["properties"])


def test_every_field_is_explained_in_the_command_and_in_the_docs():
    schema, printed, docs = json.loads(said("--schema")), said("--explain"), DOCS.read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", docs, re.MULTILINE))
    for name, part in schema["$defs"].items():
        for field, facts in part["properties"].items():
            assert facts["description"], (name, field)
            assert set(facts["description"].split()) <= set(printed.split())
            assert f"| `{field}` |" in docs
            assert facts["description"] in docs
    assert set(rows) == {field for part in schema["$defs"].values() for field in part["properties"]}


def test_the_schema_knows_the_fields_of_the_shipped_scenarios():
    schema = json.loads(said("--schema"))
    for name in scenario_names():
        given = tomllib.loads((SHIPPED / f"{name}.toml").read_text())
        kind = "GaussianScenario" if "setting" in given else "Scenario"
        assert set(given) <= fields_of(schema, kind)
        assert set(schema["$defs"][kind]["required"]) <= set(given)
        if kind == "Scenario":
            channels = {"taps": "Tap", "paths": "Path", "profile": "Profile", "recorded": "Recorded"}
            assert set(given["channel"]) <= fields_of(schema, f"{channels[given['channel']['kind']]}Channel")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('name = "a"\n[channel]\nkind = "taps"\nsparsity = 4\ndecay = 2.0\n', Scenario),
        ('name = "b"\nsetting = "synthetic"\n', GaussianScenario),
    ],
)
def test_little_is_enough(tmp_path, text, kind):
    path = tmp_path / "own.toml"
    path.write_text(text)
    scenario = load_scenario(path)
    assert isinstance(scenario, kind)
    other = load_scenario("wide" if kind is Scenario else "synthetic")
    assert scenario.penalties == other.penalties


def test_the_docs_first_example_loads(tmp_path):
    example = re.search(r"enough:\n\n((?:    .*\n|\n)+)", DOCS.read_text())
    path = tmp_path / "hall.toml"
    path.write_text("\n".join(line.removeprefix("    ") for line in example[1].splitlines()))
    assert load_scenario(path).channel.n_paths == (2, 8)
