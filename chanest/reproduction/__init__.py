"""The paper's figures from our own runs."""

from .figures import illustrate
from .points import Panel, Point, panels
from .published import distances, read_published, read_published_epochs, summary
from .recipes import Recipe, full_training, ordered, recipe_of, scenario_of
from .runner import Bench, measured_nmse_db

__all__ = [
    "Bench",
    "Panel",
    "Point",
    "Recipe",
    "distances",
    "full_training",
    "illustrate",
    "measured_nmse_db",
    "ordered",
    "panels",
    "read_published",
    "read_published_epochs",
    "recipe_of",
    "scenario_of",
    "summary",
]
