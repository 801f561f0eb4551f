"""Scenarios: what is transmitted, over which channels, at which noise level.

A scenario is a frozen value read from a TOML file and validated once. Two equal scenarios and a seed give the same
data. There are two settings: OFDM (:class:`Scenario`) and the paper's synthetic one (:class:`SyntheticScenario`).
"""

from .channels import PathChannel, ProfileChannel, RecordedChannel, TapChannel
from .files import AnyScenario, load_any_scenario, load_scenario, ofdm, scenario_from_fields, scenario_names
from .ofdm import Scenario, TrainingRange
from .parts import Penalties
from .synthetic import SyntheticScenario, SyntheticTraining

__all__ = [
    "AnyScenario",
    "PathChannel",
    "Penalties",
    "ProfileChannel",
    "RecordedChannel",
    "Scenario",
    "SyntheticScenario",
    "SyntheticTraining",
    "TapChannel",
    "TrainingRange",
    "load_any_scenario",
    "load_scenario",
    "ofdm",
    "scenario_from_fields",
    "scenario_names",
]
