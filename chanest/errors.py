"""Every error a user can cause.

All are :class:`ChanestError`; the command line prints one as a single line and exits with code 2. A message
says what was expected, what came, and what to do.
"""


class ChanestError(Exception):
    """Base class: something the user gave or asked for cannot be used.

    >>> raise PilotError("pilots: expected at least 2, got 1")
    Traceback (most recent call last):
    ...
    chanest.errors.PilotError: pilots: expected at least 2, got 1
    """


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


class ExtraError(ChanestError, ImportError):
    """A package that an extra of chanest brings is not installed, or is too old."""
