"""Linear operators: Phi, its adjoint, and what follows from the two."""

from .base import LinearOperator, Weights, kept, power_start
from .dense import DenseOperator
from .partial_dft import PartialDFT
from .weights import (
    AnalyticWeights,
    analytic_weights,
    generalised_coherence,
    projected_gradient_weights,
    welch_bound,
)

__all__ = [
    "AnalyticWeights",
    "DenseOperator",
    "LinearOperator",
    "PartialDFT",
    "Weights",
    "analytic_weights",
    "generalised_coherence",
    "kept",
    "power_start",
    "projected_gradient_weights",
    "welch_bound",
]
