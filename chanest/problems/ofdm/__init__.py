"""OFDM problems: scenarios, grids, pilots, channels, the receiver front end, recorded channels."""

from .channels import Channel, DelayAxis, PathChannel, ProfileChannel, RecordedChannel, TapChannel
from .draw import frequency_response
from .frontend import observe
from .grid import Grid
from .pilots import PilotPattern
from .scenario import Scenario, TrainingRange

__all__ = [
    "Channel",
    "DelayAxis",
    "Grid",
    "PathChannel",
    "PilotPattern",
    "ProfileChannel",
    "RecordedChannel",
    "Scenario",
    "TapChannel",
    "TrainingRange",
    "frequency_response",
    "observe",
]
