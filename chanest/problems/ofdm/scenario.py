"""OFDM scenarios: what is transmitted, over which channels, at which noise level."""

from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from ..base import Frozen, Penalties, Range, ascending, validated
from .channels import PathChannel, ProfileChannel, RecordedChannel, TapChannel
from .grid import Grid

_grid = cache(Grid.around_dc)


class TrainingRange(Frozen):
    """What a model trained for the scenario must serve.

    ``n_pilots`` (log-uniform) replaces the scenario's own count when given; ``comb_fraction`` of the patterns
    are regular combs; ``fixed_pattern`` trains on the one pattern that the training's seed draws.
    """

    snr_db: Range
    n_pilots: tuple[Annotated[int, Field(ge=2)], Annotated[int, Field(ge=2)]] | None = None
    comb_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    fixed_pattern: bool = False

    @model_validator(mode="after")
    def _check(self) -> "TrainingRange":
        ascending("snr_db", self.snr_db)
        if self.n_pilots is not None:
            ascending("n_pilots", self.n_pilots)
        return self


class Scenario(Frozen):
    """One complete, frozen description of a setting (design: "a scenario is a value").

    The band is the DC-free one of LTE: subcarriers -n_used/2...-1 and 1...n_used/2. Channels have
    E||x||^2 = 1. ``snr_convention`` is ``"pilot"`` (the paper's definition: SNR at every pilot) or
    ``"reference"`` (the published code's: noise relative to the mean over all n_fft bins, see
    :mod:`chanest.problems.ofdm.draw`).

    >>> from chanest import load_scenario
    >>> scenario = load_scenario("lte10").replace(n_pilots=50, snr_db=20)
    >>> scenario.n_pilots, scenario.n_taps, len(scenario.used_subcarriers)
    (50, 256, 600)
    """

    name: Annotated[str, Field(min_length=1)]
    description: str
    n_fft: Annotated[int, Field(ge=8)] = 1024
    n_used: Annotated[int, Field(ge=2, multiple_of=2)] = 600
    cp_samples: Annotated[int, Field(ge=0)] = 256
    subcarrier_spacing_hz: Annotated[float, Field(gt=0)] = 15e3
    n_taps: Annotated[int, Field(ge=1)] = 256
    first_tap_samples: int = 0
    n_pilots: Annotated[int, Field(ge=2)] = 75
    pilot_draw: Literal["distinct", "published"] = "distinct"
    snr_db: Annotated[float, Field(ge=-50, le=100)] = 10.0
    snr_convention: Literal["pilot", "reference"] = "pilot"
    channel: Annotated[TapChannel | PathChannel | ProfileChannel | RecordedChannel, Field(discriminator="kind")]
    training: TrainingRange
    penalties: Penalties

    @model_validator(mode="after")
    def _check(self) -> "Scenario":
        if self.n_used >= self.n_fft:
            raise ValueError("n_used", f"expected fewer than n_fft = {self.n_fft} subcarriers, got {self.n_used}")
        if self.n_taps > self.n_fft:
            raise ValueError("n_taps", f"expected at most n_fft = {self.n_fft}, got {self.n_taps}")
        if self.n_pilots > self.n_used:
            raise ValueError("n_pilots", f"expected 2...{self.n_used} (the used subcarriers), got {self.n_pilots}")
        most = self.training.n_pilots
        if most is not None and most[1] > self.n_used:
            raise ValueError("training.n_pilots", f"expected 2...{self.n_used}, got {most[1]}")
        if isinstance(self.channel, TapChannel) and self.channel.sparsity > self.n_taps:
            raise ValueError(
                "channel.sparsity", f"expected at most n_taps = {self.n_taps}, got {self.channel.sparsity}"
            )
        if self.snr_convention == "reference" and not isinstance(self.channel, TapChannel):
            raise ValueError("snr_convention", '"reference" is defined for a channel of kind "taps" only')
        return self

    @property
    def used_subcarriers(self) -> np.ndarray:
        """``(n_used,) int64``: the subcarriers that carry pilots or data, ascending, without DC."""
        return np.asarray(self.grid.used_subcarriers, dtype=np.int64)

    @property
    def grid(self) -> Grid:
        """DFT length and band."""
        return _grid(self.n_used, self.n_fft)

    @property
    def sample_rate_hz(self) -> float:
        """n_fft times the subcarrier spacing: 15.36 MHz for LTE 10 MHz."""
        return self.n_fft * self.subcarrier_spacing_hz

    @property
    def on_grid(self) -> bool:
        """Whether every channel is a vector of taps, so that the CIR has a true value to compare with."""
        return isinstance(self.channel, TapChannel)

    def replace(self, **fields: Any) -> "Scenario":
        """A copy with some fields changed, validated again.

        Raises:
            ScenarioError: a field is unknown or its value impossible; the message names it.

        >>> from chanest import load_scenario
        >>> load_scenario("lte10").replace(pilots=50)
        Traceback (most recent call last):
        ...
        chanest.errors.ScenarioError: scenario lte10: pilots: unknown field
        """
        return validated(type(self), {**self.model_dump(), **fields}, f"scenario {self.name}")
