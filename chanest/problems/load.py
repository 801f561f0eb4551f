"""Problems from TOML files and from model files; the one place that chooses the setting."""

import tomllib
from pathlib import Path
from typing import Any

from ..errors import ScenarioError
from .base import Problem, validated
from .gaussian import GaussianScenario
from .ofdm.scenario import Scenario
from .shipped import shipped


def scenario_names() -> list[str]:
    """The names of the shipped scenarios, in alphabetical order.

    >>> "lte10" in scenario_names()
    True
    """
    return sorted(path.stem for path in shipped("scenarios").glob("*.toml"))


def load_scenario(name: str | Path) -> Scenario | GaussianScenario:
    """A shipped scenario by name, or one from a TOML file: a :class:`Scenario` or a :class:`GaussianScenario`.

    Raises:
        ScenarioError: there is no such scenario, or the file is not a valid one.

    >>> load_scenario("lte10").channel.sparsity, load_scenario("synthetic").n_coefficients
    (8, 1000)
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


def ofdm(problem: Problem | str | Path) -> Scenario:
    """The problem, or the scenario of this name or file, where it is of the OFDM setting; else ScenarioError.

    >>> ofdm(load_scenario("synthetic"))
    Traceback (most recent call last):
    ...
    chanest.errors.ScenarioError: scenario synthetic: not an OFDM scenario; this needs one such as lte10
    """
    problem = load_scenario(problem) if isinstance(problem, str | Path) else problem
    if not isinstance(problem, Scenario):
        raise ScenarioError("not an OFDM scenario; this needs one such as lte10", path=f"scenario {problem.name}")
    return problem


def gaussian(problem: Problem) -> GaussianScenario:
    """The problem, where it is of the synthetic setting; ScenarioError where it is OFDM.

    >>> gaussian(load_scenario("synthetic")).sparsity
    50.0
    """
    if not isinstance(problem, GaussianScenario):
        raise ScenarioError(
            "not a synthetic scenario; this needs one such as synthetic", path=f"scenario {problem.name}"
        )
    return problem


def scenario_from_fields(fields: dict[str, Any], source: str) -> Scenario | GaussianScenario:
    """A problem from the nested fields that ``scenario.model_dump()`` gave, as a model file holds them.

    >>> scenario = load_scenario("lte10")
    >>> scenario_from_fields(scenario.model_dump(), "a file") == scenario
    True
    """
    cls: type[Scenario | GaussianScenario] = GaussianScenario if fields.get("setting") == "synthetic" else Scenario
    return validated(cls, fields, source)
