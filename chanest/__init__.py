"""Sparse OFDM channel estimation from few pilots."""

from .estimator import Estimate, Model
from .frontend import observe
from .metrics import nmse_db
from .operators import DenseOperator, PartialDFT
from .picking import load_model
from .pilots import PilotPattern
from .scenario import Scenario, load_scenario

__version__ = "0.1.0"

__all__ = [
    "DenseOperator",
    "Estimate",
    "Model",
    "PartialDFT",
    "PilotPattern",
    "Scenario",
    "load_model",
    "load_scenario",
    "nmse_db",
    "observe",
]
