"""Problems: what is transmitted, over which channels, at which noise level, in either setting of the paper.

A problem is a frozen value read from a TOML file and validated once (:func:`load_scenario`). Two equal ones and a seed
give the same data. There are two: OFDM (:class:`Scenario`) and the synthetic setting (:class:`GaussianScenario`); what
differs between them stands here and nowhere else.
"""

from .base import Batch, ForwardModel, Penalties, Problem, Sensing, Values, check_noise, not_none, words_of_range
from .gaussian import GaussianScenario, GaussianTraining, check_measurements
from .load import gaussian, load_scenario, ofdm, scenario_from_fields, scenario_names
from .ofdm.channels import PathChannel, ProfileChannel, RecordedChannel, TapChannel
from .ofdm.delays import DelayGrid, delay_grid, period_samples, sample_window
from .ofdm.frontend import check_pilots, checked_symbols, observe
from .ofdm.grid import NAMES as GRID_NAMES
from .ofdm.grid import Grid
from .ofdm.motion import jakes, moving_gains, moving_response
from .ofdm.operator_cache import cached_operator, cfr_of, whole_band
from .ofdm.pilots import PilotPattern, pattern_of
from .ofdm.scenario import Scenario, TrainingRange
from .ofdm.slots import SlotPattern, slot_pattern_of
from .random import seeded
from .shipped import shipped

__all__ = [
    "GRID_NAMES",
    "Batch",
    "DelayGrid",
    "ForwardModel",
    "GaussianScenario",
    "GaussianTraining",
    "Grid",
    "PathChannel",
    "Penalties",
    "PilotPattern",
    "Problem",
    "ProfileChannel",
    "RecordedChannel",
    "Scenario",
    "Sensing",
    "SlotPattern",
    "TapChannel",
    "TrainingRange",
    "Values",
    "cached_operator",
    "cfr_of",
    "check_measurements",
    "check_noise",
    "check_pilots",
    "checked_symbols",
    "delay_grid",
    "gaussian",
    "jakes",
    "load_scenario",
    "moving_gains",
    "moving_response",
    "not_none",
    "observe",
    "ofdm",
    "pattern_of",
    "period_samples",
    "sample_window",
    "scenario_from_fields",
    "scenario_names",
    "seeded",
    "shipped",
    "slot_pattern_of",
    "whole_band",
    "words_of_range",
]
