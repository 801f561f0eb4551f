"""Scenarios: what is transmitted, over which channels, at which noise level.

A :class:`Scenario` is a frozen value read from a TOML file and validated once. Two equal scenarios and a seed
give the same data.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import ScenarioError
from .resources import shipped

Range = tuple[float, float]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _ascending(name: str, bounds: tuple[float, float]) -> None:
    if bounds[0] > bounds[1]:
        raise ValueError(f"{name}: expected [low, high] with low <= high, got [{bounds[0]}, {bounds[1]}]")


class TapChannel(_Frozen):
    """Taps on the sample grid: ``sparsity`` of them, CN(0, p_i) with p_i proportional to exp(-decay*i/n_taps).

    ``support = "uniform"`` places exactly ``sparsity`` taps (paper, section 4.3); ``"bernoulli"`` gives every
    tap the probability sparsity/n_taps (the published code).
    """

    kind: Literal["taps"]
    sparsity: Annotated[int, Field(ge=1)]
    decay: Annotated[float, Field(ge=0)]
    support: Literal["uniform", "bernoulli"] = "uniform"


class PathChannel(_Frozen):
    """Paths between the samples: their number, delay span and power decay drawn anew for every channel.

    The number is uniform in ``n_paths``, the span log-uniform in ``span_samples``, delays are uniform in
    0...span, powers exp(-decay*delay/span) with decay uniform in ``decay``.
    """

    kind: Literal["paths"]
    n_paths: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    span_samples: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    decay: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]]

    @model_validator(mode="after")
    def _check(self) -> "PathChannel":
        for name in ("n_paths", "span_samples", "decay"):
            _ascending(name, getattr(self, name))
        return self


class ProfileChannel(_Frozen):
    """A fixed delay profile with Rayleigh fading: excess delays in ns, relative powers in dB."""

    kind: Literal["profile"]
    delays_ns: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]
    powers_db: Annotated[tuple[float, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> "ProfileChannel":
        if len(self.delays_ns) != len(self.powers_db):
            raise ValueError(
                f"powers_db: expected one power per delay ({len(self.delays_ns)}), got {len(self.powers_db)}"
            )
        return self


class RecordedChannel(_Frozen):
    """Channels from a file of path gains and delays (docs/file-formats.md): measured, or ray-traced.

    ``file`` is the name of a shipped one, or a path; in a TOML file, a path from that file on.
    """

    kind: Literal["recorded"]
    file: Annotated[str, Field(min_length=1)]


class TrainingRange(_Frozen):
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
        _ascending("snr_db", self.snr_db)
        if self.n_pilots is not None:
            _ascending("n_pilots", self.n_pilots)
        return self


class Penalties(_Frozen):
    """The l1 penalties of ISTA and FISTA, relative to observations of unit norm (tools/tune_penalties.py).

    ``ista_error`` and ``fista_error`` calibrate their error variances; empty where none was fitted.
    """

    ista: Annotated[float, Field(gt=0)]
    fista: Annotated[float, Field(gt=0)]
    ista_error: tuple[float, ...] = ()
    fista_error: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "Penalties":
        for name in ("ista_error", "fista_error"):
            if len(getattr(self, name)) not in (0, 7):
                raise ValueError(f"{name}: expected 7 numbers, got {len(getattr(self, name))}")
        return self


class Scenario(_Frozen):
    """One complete, frozen description of a setting (design: "a scenario is a value").

    The band is the DC-free one of LTE: subcarriers -n_used/2...-1 and 1...n_used/2. Channels have
    E||x||^2 = 1. ``snr_convention`` is ``"pilot"`` (the paper's definition: SNR at every pilot) or
    ``"reference"`` (the published code's: noise relative to the mean over all n_fft bins, see
    :mod:`chanest.signals`).

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
            raise ValueError(f"n_used: expected fewer than n_fft = {self.n_fft} subcarriers, got {self.n_used}")
        if self.n_taps > self.n_fft:
            raise ValueError(f"n_taps: expected at most n_fft = {self.n_fft}, got {self.n_taps}")
        if self.n_pilots > self.n_used:
            raise ValueError(f"n_pilots: expected 2...{self.n_used} (the used subcarriers), got {self.n_pilots}")
        most = self.training.n_pilots
        if most is not None and most[1] > self.n_used:
            raise ValueError(f"training.n_pilots: expected 2...{self.n_used}, got {most[1]}")
        if isinstance(self.channel, TapChannel) and self.channel.sparsity > self.n_taps:
            raise ValueError(f"channel.sparsity: expected at most n_taps = {self.n_taps}, got {self.channel.sparsity}")
        if self.snr_convention == "reference" and not isinstance(self.channel, TapChannel):
            raise ValueError('snr_convention: "reference" is defined for a channel of kind "taps" only')
        return self

    @property
    def used_subcarriers(self) -> np.ndarray:
        """``(n_used,) int64``: the subcarriers that carry pilots or data, ascending, without DC."""
        half = self.n_used // 2
        return np.r_[-half:0, 1 : half + 1]

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

        >>> load_scenario("lte10").replace(pilots=50)
        Traceback (most recent call last):
        ...
        chanest.errors.ScenarioError: scenario lte10: pilots: unknown field
        """
        return _validated({**self.model_dump(), **fields}, f"scenario {self.name}")


def _validated(fields: dict[str, Any], source: str) -> Scenario:
    try:
        return Scenario.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("taps", "paths", "profile", "recorded"))
        match first["type"]:
            case "extra_forbidden":
                what = "unknown field"
            case "missing":
                what = "missing"
            case "value_error":
                what = str(first["ctx"]["error"])
            case _:
                what = f"{first['msg'][0].lower()}{first['msg'][1:]}, got {first['input']!r}"
        raise ScenarioError(f"{source}: {where}: {what}" if where else f"{source}: {what}") from None


def scenario_names() -> list[str]:
    """The names of the shipped scenarios, in alphabetical order.

    >>> "lte10" in scenario_names()
    True
    """
    return sorted(path.stem for path in shipped("scenarios").glob("*.toml"))


def load_scenario(name: str | Path) -> Scenario:
    """A shipped scenario by name, or one from a TOML file.

    Raises:
        ScenarioError: there is no such scenario, or the file is not a valid one.

    >>> load_scenario("lte10").channel.sparsity
    8
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = shipped("scenarios") / f"{name}.toml"
        if not path.is_file():
            raise ScenarioError(
                f"scenario {name}: expected one of {', '.join(scenario_names())}, or a path ending in .toml"
            )
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(f"scenario {path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"scenario {path}: not valid TOML ({error})") from None
    channel = fields.get("channel")
    if isinstance(channel, dict) and isinstance(channel.get("file"), str):
        beside = path.parent / channel["file"]
        if beside.is_file() and path.parent != shipped("scenarios"):
            channel["file"] = str(beside.resolve())
    return _validated(fields, f"scenario {path}")


def scenario_from_fields(fields: dict[str, Any], source: str) -> Scenario:
    """A scenario from the nested fields that ``scenario.model_dump()`` gave, as a model file holds them.

    >>> scenario = load_scenario("lte10")
    >>> scenario_from_fields(scenario.model_dump(), "a file") == scenario
    True
    """
    return _validated(fields, source)
