"""Where the shipped scenarios and models lie: inside the wheel, or beside the package in a checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped(kind: str) -> Path:
    """The folder of shipped files of one kind, ``"scenarios"``, ``"models"`` or ``"examples"``.

    >>> (shipped("scenarios") / "lte10.toml").is_file()
    True
    """
    inside_wheel = _PACKAGE / "shipped" / kind
    return inside_wheel if inside_wheel.is_dir() else _PACKAGE.parent / kind
