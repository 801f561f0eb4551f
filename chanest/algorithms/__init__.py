"""Recovery algorithms: loops over (Phi, W), and the baselines and bounds set beside them."""

from .alista import ALISTA
from .base import Algorithm, Posterior, Recovery
from .ep import EP
from .interpolation import (
    LMMSE,
    ExponentialLMMSE,
    FlatLMMSE,
    Interpolator,
    LinearInterpolation,
    SplineInterpolation,
    TrueLMMSE,
)
from .ista import FISTA, ISTA
from .na_alista import NAALISTA
from .na_sbl import NASBL
from .omp import OMP
from .oracle import oracle
from .sbl import SBL

ALGORITHMS: dict[str, type[Algorithm]] = {cls.name: cls for cls in (ISTA, FISTA, ALISTA, NAALISTA, NASBL, OMP, SBL, EP)}
INTERPOLATORS: dict[str, type[Interpolator]] = {
    cls.name: cls for cls in (TrueLMMSE, ExponentialLMMSE, FlatLMMSE, SplineInterpolation, LinearInterpolation)
}

__all__ = [
    "ALGORITHMS",
    "ALISTA",
    "EP",
    "FISTA",
    "INTERPOLATORS",
    "ISTA",
    "LMMSE",
    "NAALISTA",
    "NASBL",
    "OMP",
    "SBL",
    "Algorithm",
    "ExponentialLMMSE",
    "FlatLMMSE",
    "Interpolator",
    "LinearInterpolation",
    "Posterior",
    "Recovery",
    "SplineInterpolation",
    "TrueLMMSE",
    "oracle",
]
