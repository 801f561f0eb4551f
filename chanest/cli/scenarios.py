"""``chanest scenarios``."""

import json
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.table import Table

from ..problems import GaussianScenario, Scenario, load_scenario, scenario_names
from .terminal import show

_RANGES = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))


def scenarios(
    explain: Annotated[bool, typer.Option("--explain", help="What every field of a scenario's TOML means.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema, for editors.")] = False,
) -> None:
    """List the shipped scenarios, or say what a scenario's TOML may hold.

    \b
    chanest scenarios
    chanest scenarios --explain
    chanest scenarios --schema > scenario.schema.json
    """
    if schema:
        print(json.dumps(_schema(), indent=2))
    elif explain:
        for title, fields in _sections().items():
            table = Table("field", "values", "default", "what it is", title=title, title_justify="left")
            for row in fields:
                table.add_row(*row)
            show(table)
    else:
        show(_shipped())


def _shipped() -> Table:
    table = Table("scenario", "pilots", "SNR (dB)", "what it is")
    for name in scenario_names():
        scenario = load_scenario(name)
        convention = f" ({scenario.noise_convention})" if scenario.noise_convention else ""
        size = " x ".join(str(getattr(scenario, field)) for field in scenario.size_fields)
        table.add_row(name, size, f"{scenario.snr_db:g}{convention}", scenario.description)
    return table


def _schema() -> dict[str, Any]:
    """Of either setting, as one JSON schema."""
    made = {kind.__name__: kind.model_json_schema(ref_template="#/$defs/{model}") for kind in _KINDS}
    parts = {name: part for one in made.values() for name, part in one.pop("$defs", {}).items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "chanest scenario",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in made],
        "$defs": {**parts, **made},
    }


_KINDS: tuple[type[BaseModel], ...] = (Scenario, GaussianScenario)


def _sections() -> dict[str, list[tuple[str, str, str, str]]]:
    """Rows of fields, by the heading of their part of the file."""
    definitions = _schema()["$defs"]
    found: dict[str, list[tuple[str, str, str, str]]] = {}
    parts = {
        "an OFDM scenario": "Scenario",
        '[channel], kind = "taps"': "TapChannel",
        '[channel], kind = "paths"': "PathChannel",
        '[channel], kind = "profile"': "ProfileChannel",
        '[channel], kind = "recorded"': "RecordedChannel",
        "[training]": "TrainingRange",
        "[training.receivers]": "Receivers",
        "[penalties]": "Penalties",
        "a synthetic scenario": "GaussianScenario",
        "[training] of a synthetic scenario": "GaussianTraining",
    }
    for title, name in parts.items():
        required = definitions[name].get("required", [])
        fields = definitions[name]["properties"].items()
        found[title] = [
            (field, _values(facts), _default(facts, field in required), facts.get("description", ""))
            for field, facts in fields
        ]
    return found


def _values(facts: dict[str, Any]) -> str:
    """What a field takes, in words."""
    if "const" in facts:
        return json.dumps(facts["const"])
    if "enum" in facts:
        return " | ".join(map(json.dumps, facts["enum"]))
    if "anyOf" in facts:
        return next(_values(one) for one in facts["anyOf"] if one.get("type") != "null")
    if "prefixItems" in facts:
        return f"[{', '.join(map(_values, facts['prefixItems']))}]"
    if facts.get("type") == "array":
        return f"[{_values(facts['items'])}, ...]"
    if "type" not in facts:
        return "table"
    kind = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true | false"}[facts["type"]]
    return " ".join([kind, *(f"{sign} {facts[key]:g}" for key, sign in _RANGES if key in facts)])


def _default(facts: dict[str, Any], required: bool) -> str:
    if required:
        return "required"
    value = facts.get("default")
    return "" if value is None or isinstance(value, dict) else json.dumps(value)
