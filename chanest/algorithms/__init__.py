"""Recovery algorithms: loops over (Phi, W), and the baselines and bounds set beside them."""

from .alista import ALISTA
from .base import Algorithm, Recovery
from .ista import FISTA, ISTA
from .linear import interpolate_linear
from .na_alista import NAALISTA
from .oracle import oracle

ALGORITHMS: dict[str, type[Algorithm]] = {cls.name: cls for cls in (ISTA, FISTA, ALISTA, NAALISTA)}

__all__ = [
    "ALGORITHMS",
    "ALISTA",
    "FISTA",
    "ISTA",
    "NAALISTA",
    "Algorithm",
    "Recovery",
    "interpolate_linear",
    "oracle",
]
