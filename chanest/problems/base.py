"""What scenarios are made of: validated values that cannot change."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import ScenarioError

Range = tuple[float, float]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def ascending(name: str, bounds: tuple[float, float]) -> None:
    if bounds[0] > bounds[1]:
        raise ValueError(name, f"expected [low, high] with low <= high, got [{bounds[0]}, {bounds[1]}]")


class Penalties(Frozen):
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
                raise ValueError(name, f"expected 7 numbers, got {len(getattr(self, name))}")
        return self


_Model = TypeVar("_Model", bound=Frozen)
_KINDS = ("taps", "paths", "profile", "recorded")


def validated(cls: type[_Model], fields: dict[str, Any], source: str) -> _Model:
    """Fields as a scenario; ScenarioError, one line naming the first bad field, when they are none."""
    try:
        return cls.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part not in _KINDS)
        match first["type"]:
            case "extra_forbidden":
                what = "unknown field"
            case "missing":
                what = "missing"
            case "value_error":
                inner, what = first["ctx"]["error"].args
                field = f"{field}.{inner}" if field else inner
            case _:
                what = f"{first['msg'][0].lower()}{first['msg'][1:]}, got {first['input']!r}"
        raise ScenarioError(what, field=field or None, path=source) from None
