"""Imports that wait until something of them is asked for: torch takes seconds, and a list of names needs none of it."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any


class _Module:
    """Stands for a module, and has its attributes from the first use on."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, attribute: str) -> Any:
        module = import_module(self.__name__)
        self.__dict__ = module.__dict__  # of the next use: what changes there changes here
        return getattr(module, attribute)


def names_from(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose names are imported when they are asked for (PEP 562).

    Args:
        package: its ``__name__``.
        modules: names by the module below it that has them.

    >>> get, names = names_from("chanest.problems", {"random": ("seeded",)})
    >>> get("seeded").__name__, "seeded" in names()
    ('seeded', True)
    >>> get("sown")
    Traceback (most recent call last):
    ...
    AttributeError: module 'chanest.problems' has no attribute 'sown'
    """
    where = {name: module for module, names in modules.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{where[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *where})

    return __getattr__, __dir__


if TYPE_CHECKING:
    import torch as torch
else:
    torch = _Module("torch")
