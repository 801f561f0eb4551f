"""Packages that only some formats need."""

import importlib
from typing import Any

from ...errors import ExtraError


def needed(package: str, to: str, extra: str) -> Any:
    """Import a package; ExtraError with what to install where it is missing.

    >>> needed("json", "hdf5", "all").loads("1")
    1
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ExtraError(f"--to {to}: {package} is not installed; pip install 'chanest[{extra}]'") from None
