"""Models: an algorithm with its parameters and the problem it was made for; model files, and which model serves."""

from typing import TYPE_CHECKING

from ..lazy import names_from

if TYPE_CHECKING:
    from .findings import Paths
    from .grids import rescaled, serving, unambiguous
    from .hdf5 import describe_model, is_model, read_model, shipped_models, summarise_model, write_model
    from .model import Estimate, Model, Solution
    from .scaling import noise_of_pilots, noise_of_y, normalise, normalise_group
    from .tracking import Tracker
    from .zoo import (
        ESTIMATORS,
        check_serves,
        estimate,
        fits,
        load_model,
        model_names,
        pick_model,
        pick_named,
    )

__all__ = [
    "ESTIMATORS",
    "Estimate",
    "Model",
    "Paths",
    "Solution",
    "Tracker",
    "check_serves",
    "describe_model",
    "estimate",
    "fits",
    "is_model",
    "load_model",
    "model_names",
    "noise_of_pilots",
    "noise_of_y",
    "normalise",
    "normalise_group",
    "pick_model",
    "pick_named",
    "read_model",
    "rescaled",
    "serving",
    "shipped_models",
    "summarise_model",
    "unambiguous",
    "write_model",
]

__getattr__, __dir__ = names_from(
    __name__,
    {
        "findings": ("Paths",),
        "grids": ("rescaled", "serving", "unambiguous"),
        "hdf5": ("describe_model", "is_model", "read_model", "shipped_models", "summarise_model", "write_model"),
        "model": ("Estimate", "Model", "Solution"),
        "scaling": ("noise_of_pilots", "noise_of_y", "normalise", "normalise_group"),
        "tracking": ("Tracker",),
        "zoo": (
            "ESTIMATORS",
            "check_serves",
            "estimate",
            "fits",
            "load_model",
            "model_names",
            "pick_model",
            "pick_named",
        ),
    },
)
