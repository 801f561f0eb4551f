"""Sparse OFDM channel estimation from few pilots, in PyTorch.

A receiver hands over the pilots that it saw; chanest hands back the channel on every used subcarrier, and how wrong
that is. Pilots are NumPy arrays or tensors, in any units; the answer is of the same kind:

>>> import numpy as np
>>> pattern = PilotPattern.random(75, seed=0)            # or your pilots' subcarriers, counted from DC
>>> received = np.ones(75, dtype=np.complex64)           # (*batch, 75), divided by the pilot symbols
>>> found = estimate(received, pattern, noise_variance=0.1, error_variance=True)
>>> found.cfr.shape, found.error_variance.shape
((600,), (600,))

Simulate, and set estimators beside each other:

>>> scenario = load_scenario("lte10").replace(n_pilots=75, snr_db=10)
>>> pattern = scenario.sensing(seed=0)
>>> batch = scenario.draw(pattern, 64, generator=0)
>>> model = load_model("na-sbl-lte10-m75")
>>> found = model.estimate(batch.observations, pattern, batch.noise_variance)
>>> nmse_db(found.cfr, batch.truth["cfr"]) < -16
True
>>> [row["algorithm"] for row in compare(scenario, ["linear", "omp"], n_samples=64)]
['linear', 'omp', 'oracle-ls', 'oracle-mmse']

Train a model of your own with :func:`train`; sparse vectors y = Phi x + z of any matrix go through
:meth:`Model.recover`. From baseband samples to pilots: :func:`observe`. In a Sionna receiver or in TensorFlow:
``chanest.integrations``. The same from a shell: ``chanest --help``.

Everything a user needs is here; what lies behind is documented room by room (docs/design.md). Mistakes raise a
:class:`ChanestError`, whose children stand in ``chanest.errors``.
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
