"""Channel estimation for OFDM receivers, in PyTorch.

A receiver hands over the pilots that it saw; chanest hands back the channel on every used subcarrier, and how wrong
that is. Pilots are NumPy arrays or tensors, in any units; the answer is of the same kind.

>>> import numpy as np
>>> wifi = [*range(-26, 0), *range(1, 27)]          # subcarriers of your pilots, counted from the carrier's centre
>>> received = np.ones((10, 4, 52), np.complex64)   # yours: packets, antennas, pilots
>>> found = estimate(received, wifi, grid="wifi20", snapshot_axes=1, error_variance=True)
>>> found.cfr.shape, found.error_variance.shape
((10, 4, 56), (10, 4, 56))

Where to go:

- ``help(chanest.estimate)``: all that it takes: symbols in motion, layers, noise, timing; paths on request.
- ``chanest.Grid``, ``PilotPattern``, ``SlotPattern``, ``observe``: carriers and pilots of LTE, NR, Wi-Fi or your own.
- ``load_model``, ``model_names``, ``algorithm``, ``Model``: every estimator; ``load_scenario``: simulated channels.
- ``evaluate``, ``compare``, ``nmse_db``: how good; ``train``: a model for channels of your own.
- ``chanest.integrations``: in a Sionna receiver, in TensorFlow, out to other programs.
- ``chanest --help`` in a shell; ``chanest examples`` writes tutorials; the docs: README.md and docs/ of the source.

Mistakes raise a :class:`ChanestError`, whose children stand in ``chanest.errors``.
"""

from typing import TYPE_CHECKING

from .lazy import names_from

if TYPE_CHECKING:
    from .algorithms import algorithm
    from .errors import ChanestError, FileError, ModelError, ObservationError, PilotError, ScenarioError
    from .evaluation import compare, evaluate, nmse_db
    from .models import Estimate, Model, estimate, load_model, model_names
    from .operators import DenseOperator, PartialDFT
    from .problems import (
        GaussianScenario,
        Grid,
        PilotPattern,
        Scenario,
        SlotPattern,
        load_scenario,
        observe,
        scenario_names,
    )
    from .training import TrainingSettings, train

__version__ = "0.2.0"

__all__ = [
    "ChanestError",
    "DenseOperator",
    "Estimate",
    "FileError",
    "GaussianScenario",
    "Grid",
    "Model",
    "ModelError",
    "ObservationError",
    "PartialDFT",
    "PilotError",
    "PilotPattern",
    "Scenario",
    "ScenarioError",
    "SlotPattern",
    "TrainingSettings",
    "algorithm",
    "compare",
    "estimate",
    "evaluate",
    "load_model",
    "load_scenario",
    "model_names",
    "nmse_db",
    "observe",
    "scenario_names",
    "train",
]

__getattr__, __dir__ = names_from(
    __name__,
    {
        "algorithms": ("algorithm",),
        "errors": ("ChanestError", "FileError", "ModelError", "ObservationError", "PilotError", "ScenarioError"),
        "evaluation": ("compare", "evaluate", "nmse_db"),
        "models": ("Estimate", "Model", "estimate", "load_model", "model_names"),
        "operators": ("DenseOperator", "PartialDFT"),
        "problems": (
            "GaussianScenario",
            "Grid",
            "PilotPattern",
            "Scenario",
            "SlotPattern",
            "load_scenario",
            "observe",
            "scenario_names",
        ),
        "training": ("TrainingSettings", "train"),
    },
)
