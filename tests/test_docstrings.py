"""Docstrings of what users call: every argument by its name, shapes of arrays, an example that pytest runs."""

import inspect
import re
from importlib import import_module

import pytest

import chanest

ROOMS = ("problems", "operators", "algorithms", "models", "files", "evaluation", "training", "reproduction")
CALLED = ("Estimate", "Grid", "Model", "PilotPattern", "SlotPattern", "TrainingSettings")


def functions():
    """Functions of the door and of the rooms, and methods of the classes that users call, by their names."""
    found = {}
    for room in ("chanest", *(f"chanest.{room}" for room in ROOMS), "chanest.integrations.export"):
        module = import_module(room)
        own = {name: getattr(module, name) for name in module.__all__}
        found |= {f"{room}.{name}": value for name, value in own.items() if inspect.isfunction(value)}
    for name in CALLED:
        for method, value in vars(getattr(chanest, name)).items():
            function = getattr(value, "__func__", value)
            if not method.startswith("_") and inspect.isfunction(function):
                found[f"chanest.{name}.{method}"] = function
    return found


FUNCTIONS = functions()
DOOR = [name for name in FUNCTIONS if name.split(".")[1] in chanest.__all__]
ARGUMENT = re.compile(r"^    (\w+(?:, \w+)*): ?(.*(?:\n {5,}.*)*)", re.MULTILINE)


def documented(function):
    """What a docstring says under Args, by the names of the arguments."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(function) or "", re.DOTALL | re.MULTILINE)
    of_names = ARGUMENT.findall(section[1]) if section else []
    return {name: words for names, words in of_names for name in names.split(", ")}


def arguments(function):
    return {p.name: p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "cls")}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_arguments_are_those_that_there_are(name):
    function = FUNCTIONS[name]
    assert function.__doc__
    if documented(function):
        assert documented(function).keys() == {name.lstrip("*") for name in arguments(function)}


@pytest.mark.parametrize("name", DOOR)
def test_the_door_explains_its_arguments_and_gives_an_example(name):
    function = FUNCTIONS[name]
    assert len(arguments(function)) <= 1 or documented(function)
    assert ">>>" in function.__doc__ or name.startswith("chanest.Model.")


@pytest.mark.parametrize("name", [name for name in DOOR if documented(FUNCTIONS[name])])
def test_arrays_have_shapes(name):
    of_names = documented(FUNCTIONS[name])
    for argument in arguments(FUNCTIONS[name]).values():
        if re.search(r"\bTensor|ndarray", str(argument.annotation)):
            assert re.search(r"\(.*\)|as\s+of|a number|where they are known", of_names[argument.name]), argument.name
