"""Linear operators: Phi, its adjoint, and what follows from the two."""

from . import tap_domain
from .base import JointMoments, LinearOperator, Moments, Weights, cached, power_start
from .dense import DenseOperator
from .partial_dft import PartialDFT
from .superposed import Superposed
from .time_varying import Evidence, Motion, Repeated, TimeVarying
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
    "Evidence",
    "JointMoments",
    "LinearOperator",
    "Moments",
    "Motion",
    "PartialDFT",
    "Repeated",
    "Superposed",
    "TimeVarying",
    "Weights",
    "analytic_weights",
    "cached",
    "generalised_coherence",
    "power_start",
    "projected_gradient_weights",
    "tap_domain",
    "welch_bound",
]
