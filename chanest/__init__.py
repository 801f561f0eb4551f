"""Sparse OFDM channel estimation from few pilots."""

from .estimator import Estimate, Model
from .metrics import nmse_db
from .operators import DenseOperator, PartialDFT
from .pilots import PilotPattern
from .scenario import Scenario, load_scenario

__version__ = "0.1.0"
