"""Every error a user can cause.

All are :class:`ChanestError`; the command line prints one as a single line and exits with code 2. A message
says what was expected, what came, and what to do.
"""

from pathlib import Path
from typing import Self

__all__ = [
    "AlgorithmError",
    "ChanestError",
    "DeviceError",
    "ExportError",
    "ExtraError",
    "FileError",
    "ModelError",
    "ObservationError",
    "OperatorError",
    "PilotError",
    "ScenarioError",
    "TrainingError",
]


class ChanestError(Exception):
    """Base class: something the user gave or asked for cannot be used.

    Its text, made anew whenever it is asked for, is ``path: field[index]: what``, of these what is known. Whoever
    catches it may say more of where it happened (:meth:`at`).

    Attributes:
        what: was expected, came, and is to be done.
        field: name of the argument, field of a file or option of the command line at fault, or None.
        index: place of the bad entry in the field; empty for the whole.
        path: of the file, or name of the scenario, that the field belongs to; None where there is none.

    >>> raise PilotError("expected at least 2, got 1", field="pilots")
    Traceback (most recent call last):
    ...
    chanest.errors.PilotError: pilots: expected at least 2, got 1
    """

    def __init__(
        self, what: str, *, field: str | None = None, index: tuple[int, ...] = (), path: Path | str | None = None
    ) -> None:
        super().__init__(what)
        self.what, self.field, self.index, self.path = what, field, index, path

    def __str__(self) -> str:
        place = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        named = f"{self.field or ''}{place}"
        return ": ".join(part for part in (str(self.path or ""), named, self.what) if part)

    @classmethod
    def unless(cls, holds: object, expected: str, got: object, field: str) -> None:
        """Raise the error ``expected ..., got ...`` of a field, unless a condition holds.

        >>> PilotError.unless(2 >= 2, "at least 2", 2, "pilots")
        """
        if not holds:
            raise cls(f"expected {expected}, got {got}", field=field)

    def at(self, **places: object) -> Self:
        """The same error with another ``field``, ``index`` or ``path``.

        >>> str(PilotError("NaN", field="received_pilots", index=(3, 0)).at(path="pilots.h5"))
        'pilots.h5: received_pilots[3, 0]: NaN'
        """
        known = {"field": self.field, "index": self.index, "path": self.path}
        return type(self)(self.what, **{**known, **places})  # type: ignore[arg-type]


class ScenarioError(ChanestError):
    """A scenario that does not exist, or a field of it that is unknown or impossible."""


class PilotError(ChanestError):
    """Pilot subcarriers outside the band, on DC, duplicated, unsorted, too few or too many."""


class OperatorError(ChanestError):
    """An operator of impossible size."""


class ObservationError(ChanestError):
    """Received pilots whose shape, type or values cannot be used."""


class FileError(ChanestError):
    """A file that is missing, truncated, foreign, too large, or in the way."""


class ModelError(ChanestError):
    """A model that does not exist, does not fit, or holds wrong tensors."""


class AlgorithmError(ChanestError):
    """An algorithm asked for something it cannot do, such as another number of iterations."""


class DeviceError(ChanestError):
    """A device that is not there."""


class TrainingError(ChanestError):
    """A training that cannot start, continue, or that diverged."""


class ExtraError(ChanestError, ImportError):  # type: ignore[misc]  # both have a path
    """A package that an extra of chanest brings is not installed, or is too old."""


class ExportError(ChanestError):
    """An export that does not run, or that differs from its model."""
