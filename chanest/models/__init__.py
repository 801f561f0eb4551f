"""Models: an algorithm with its parameters and the problem it was made for; model files, and which model serves."""

from .findings import Paths
from .grids import rescaled, serving, unambiguous
from .hdf5 import describe_model, is_model, read_model, shipped_models, write_model
from .model import Estimate, Model, Solution
from .scaling import noise_of_pilots, noise_of_y, normalise, normalise_group
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
    "unambiguous",
    "write_model",
]
