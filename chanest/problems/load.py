"""Scenarios from TOML files and from model files."""

import tomllib
from pathlib import Path
from typing import Any

from ..errors import ScenarioError
from .base import validated
from .gaussian import SyntheticScenario
from .ofdm.scenario import Scenario
from .shipped import shipped

AnyScenario = Scenario | SyntheticScenario


def scenario_names() -> list[str]:
    """The names of the shipped scenarios, in alphabetical order.

    >>> "lte10" in scenario_names()
    True
    """
    return sorted(path.stem for path in shipped("scenarios").glob("*.toml"))


def load_any_scenario(name: str | Path) -> AnyScenario:
    """A shipped scenario of either setting by name, or one from a TOML file.

    Raises:
        ScenarioError: there is no such scenario, or the file is not a valid one.

    >>> load_any_scenario("synthetic").n_coefficients
    1000
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = shipped("scenarios") / f"{name}.toml"
        if not path.is_file():
            raise ScenarioError(
                f"scenario {name}: expected one of {', '.join(scenario_names())}, or a path ending in .toml"
            )
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(f"scenario {path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"scenario {path}: not valid TOML ({error})") from None
    channel = fields.get("channel")
    if isinstance(channel, dict) and isinstance(channel.get("file"), str):
        beside = path.parent / channel["file"]
        if beside.is_file() and path.parent != shipped("scenarios"):
            channel["file"] = str(beside.resolve())
    return scenario_from_fields(fields, f"scenario {path}")


def load_scenario(name: str | Path) -> Scenario:
    """A shipped OFDM scenario by name, or one from a TOML file.

    Raises:
        ScenarioError: there is no such scenario, the file is not a valid one, or it is synthetic.

    >>> load_scenario("lte10").channel.sparsity
    8
    """
    return ofdm(load_any_scenario(name))


def ofdm(scenario: AnyScenario) -> Scenario:
    """The scenario, where it is of the OFDM setting; ScenarioError where it is synthetic.

    >>> ofdm(load_any_scenario("synthetic"))
    Traceback (most recent call last):
    ...
    chanest.errors.ScenarioError: scenario synthetic: not an OFDM scenario; this needs one such as lte10
    """
    if isinstance(scenario, SyntheticScenario):
        raise ScenarioError(f"scenario {scenario.name}: not an OFDM scenario; this needs one such as lte10")
    return scenario


def scenario_from_fields(fields: dict[str, Any], source: str) -> AnyScenario:
    """A scenario from the nested fields that ``scenario.model_dump()`` gave, as a model file holds them.

    >>> scenario = load_scenario("lte10")
    >>> scenario_from_fields(scenario.model_dump(), "a file") == scenario
    True
    """
    cls: type[AnyScenario] = SyntheticScenario if fields.get("setting") == "synthetic" else Scenario
    return validated(cls, fields, source)
