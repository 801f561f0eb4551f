"""Sparse OFDM channel estimation from few pilots."""

from .evaluation import nmse_db
from .models import Estimate, Model, load_model
from .operators import DenseOperator, PartialDFT
from .problems import GaussianScenario, Grid, PilotPattern, Scenario, load_scenario, observe

__version__ = "0.2.0.dev0"

__all__ = [
    "DenseOperator",
    "Estimate",
    "GaussianScenario",
    "Grid",
    "Model",
    "PartialDFT",
    "PilotPattern",
    "Scenario",
    "load_model",
    "load_scenario",
    "nmse_db",
    "observe",
]
