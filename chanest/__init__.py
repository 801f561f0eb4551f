"""Sparse OFDM channel estimation from few pilots."""

from .evaluation.metrics import nmse_db
from .models.model import Estimate, Model
from .models.zoo import load_model
from .operators import DenseOperator, PartialDFT
from .problems.load import load_scenario
from .problems.ofdm.frontend import observe
from .problems.ofdm.pilots import PilotPattern
from .problems.ofdm.scenario import Scenario

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
