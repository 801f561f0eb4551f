"""Recovery algorithms: loops over (Phi, W), and the baselines set beside them."""

from collections.abc import Mapping
from typing import Any

from ..errors import AlgorithmError
from .alista import AGLISTA, ALISTA, ALISTAAT
from .base import Algorithm, Estimator
from .ep import EP
from .hyperlista import HyperLISTA, tune_hyperlista
from .interpolation import (
    LMMSE,
    ExponentialLMMSE,
    FlatLMMSE,
    Interpolator,
    LinearInterpolation,
    SplineInterpolation,
    TrueLMMSE,
)
from .ista import FISTA, ISTA, StepsizeISTA
from .lista import LISTA, LISTACPSS, GatedLISTA
from .motion import MovingPosterior
from .na_alista import NAALISTA, NAALISTAMLP, NAALISTARNN
from .na_sbl import NASBL
from .na_sbl_circle import CircleNASBL
from .omp import OMP
from .results import BandEstimate, JointPosterior, Posterior, Recovery
from .sbl import SBL
from .vamp import VAMP

ALGORITHMS: dict[str, type[Algorithm]] = {
    cls.name: cls
    for cls in (
        *(ISTA, FISTA, ALISTA, NAALISTA, NASBL, OMP, SBL, EP),  # for channels
        *(StepsizeISTA, LISTA, LISTACPSS, GatedLISTA, ALISTAAT, AGLISTA, HyperLISTA),  # the paper's peers
        *(NAALISTARNN, NAALISTAMLP, VAMP),
    )
}
_VARIANTS: dict[tuple[str, str], type[Algorithm]] = {("na-sbl", "circle"): CircleNASBL}
INTERPOLATORS: dict[str, type[Interpolator]] = {
    cls.name: cls for cls in (TrueLMMSE, ExponentialLMMSE, FlatLMMSE, SplineInterpolation, LinearInterpolation)
}


def algorithm_class(name: str, hyperparameters: Mapping[str, Any]) -> type[Algorithm]:
    """The class of an algorithm: of NA-SBL one for taps on the samples and one for ``delays = "circle"``.

    >>> algorithm_class("na-sbl", {}).__name__, algorithm_class("na-sbl", {"delays": "circle"}).__name__
    ('NASBL', 'CircleNASBL')
    """
    return _VARIANTS.get((name, str(hyperparameters.get("delays"))), ALGORITHMS[name])


def algorithm(name: str, **hyperparameters: Any) -> Estimator:
    """An untrained algorithm, or an interpolator, by its name.

    Args:
        name: of ALGORITHMS or INTERPOLATORS, as on the command line.
        hyperparameters: arguments of its class.

    Raises:
        AlgorithmError: no such estimator, or impossible hyperparameters.

    >>> algorithm("na-alista", n_iterations=8, lstm_hidden=32).n_iterations
    8
    """
    known = (*ALGORITHMS, *INTERPOLATORS)
    AlgorithmError.unless(name in known, f"one of {', '.join(known)}", name, "algorithm")
    cls: Any = INTERPOLATORS[name] if name in INTERPOLATORS else algorithm_class(name, hyperparameters)
    try:
        return cls(**hyperparameters)
    except TypeError as error:
        raise AlgorithmError(f"{name}: {error}", field="algorithm") from None


__all__ = [
    "AGLISTA",
    "ALGORITHMS",
    "ALISTA",
    "ALISTAAT",
    "EP",
    "FISTA",
    "INTERPOLATORS",
    "ISTA",
    "LISTA",
    "LISTACPSS",
    "LMMSE",
    "NAALISTA",
    "NAALISTAMLP",
    "NAALISTARNN",
    "NASBL",
    "OMP",
    "SBL",
    "VAMP",
    "Algorithm",
    "BandEstimate",
    "CircleNASBL",
    "Estimator",
    "ExponentialLMMSE",
    "FlatLMMSE",
    "GatedLISTA",
    "HyperLISTA",
    "Interpolator",
    "JointPosterior",
    "LinearInterpolation",
    "MovingPosterior",
    "Posterior",
    "Recovery",
    "SplineInterpolation",
    "StepsizeISTA",
    "TrueLMMSE",
    "algorithm",
    "algorithm_class",
    "tune_hyperlista",
]
