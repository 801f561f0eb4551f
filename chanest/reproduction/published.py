"""A table of published results beside ours."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf, isnan
from pathlib import Path

from ..errors import FileError
from .points import KEY

_NMSE = "best_nmse_db"
TOLERANCE_DB = 0.5


def read_published(path: Path) -> dict[tuple[str, ...], float]:
    """Published NMSE in dB by the columns of :data:`KEY`.

    Raises:
        FileError: the file cannot be read, lacks a column, or has something else than a number for an NMSE.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "published.csv"
    >>> _ = path.write_text(",".join([*KEY, "best_nmse_db"]) + "\\nofdm,alista,,,256,75,8,10,4,-5.80\\n")
    >>> read_published(path)
    {('ofdm', 'alista', '', '', '256', '75', '8', '10', '4'): -5.8}
    """
    return {tuple(row[name] for name in KEY): float(row[_NMSE]) for row in _read(path, _NMSE)}


def read_results(paths: Iterable[Path]) -> list[dict[str, str]]:
    """The rows of files that ``chanest reproduce`` wrote, one file after the other, as text.

    Raises:
        FileError: a file cannot be read, lacks a column, or has something else than a number for an NMSE.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "figure13.csv"
    >>> _ = path.write_text(",".join([*KEY, "nmse_db"]) + "\\nofdm,alista,,,256,75,8,10,4,-6.10\\n")
    >>> read_results([path])[0]["nmse_db"]
    '-6.10'
    """
    return [row for path in paths for row in _read(path, "nmse_db")]


def read_published_epochs(path: Path) -> dict[tuple[str, ...], list[tuple[float, float]]]:
    """Published (epoch, NMSE in dB) along the training, from ``nmse_db_epoch_*``, by the columns of :data:`KEY`.

    Raises:
        FileError: as :func:`read_published`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "published.csv"
    >>> head, row = [*KEY, "best_nmse_db", "nmse_db_epoch_5"], "ofdm,alista,,,256,75,8,10,4,-5.80,-4.1"
    >>> _ = path.write_text(",".join(head) + chr(10) + row)
    >>> list(read_published_epochs(path).values())
    [[(5.0, -4.1)]]
    """
    prefix = "nmse_db_epoch_"
    return {
        tuple(row[name] for name in KEY): [
            (float(name.removeprefix(prefix)), _number(value, path))
            for name, value in row.items()
            if name.startswith(prefix) and value
        ]
        for row in _read(path, _NMSE)
    }


def _read(path: Path, nmse: str) -> list[dict[str, str]]:
    """Rows that have the columns of KEY and a number in ``nmse``; what else a row has is kept."""
    wanted = (*KEY, nmse)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in wanted if name not in (reader.fieldnames or ())]
            if missing:
                raise FileError(f"column {missing[0]}: missing; expected {', '.join(wanted)}", path=path)
            rows = [{name: value or "" for name, value in row.items() if name is not None} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"cannot be read as CSV ({error})", path=path) from None
    for row in rows:
        _number(row[nmse], path)
    return rows


def _number(text: str, path: Path) -> float:
    try:
        return float(text)
    except ValueError:
        raise FileError(f"expected an NMSE in dB in every row, found {text!r}", path=path) from None


@dataclass(frozen=True)
class Distance:
    """One published result and ours; ``ours`` is None where it was not run.

    >>> Distance(("ofdm",), -18.6, -18.3).worse_by
    0.3000000000000007
    """

    key: tuple[str, ...]
    published: float
    ours: float | None

    @property
    def worse_by(self) -> float:
        """Ours minus the published NMSE in dB: positive where ours is worse; infinite where not run, or NaN."""
        return inf if self.ours is None or isnan(self.ours) else self.ours - self.published


def distances(
    published: Mapping[tuple[str, ...], float],
    rows: Iterable[Mapping[str, str]],
    wanted: Iterable[tuple[str, ...]] | None = None,
) -> list[Distance]:
    """Every wanted published point beside ours, worst first; those not run come first of all.

    Args:
        published: as :func:`read_published` gave it.
        rows: with the columns of :data:`KEY` and ``nmse_db``, as text.
        wanted: keys; all published ones when not given. Those that were never published are left out.

    >>> key = ("ofdm", "alista", "", "", "256", "75", "8", "10", "4")
    >>> row = dict(zip(KEY, key, strict=True)) | {"nmse_db": "-6.0"}
    >>> [round(d.worse_by, 2) for d in distances({key: -5.8}, [row])]
    [-0.2]
    """
    ours = {tuple(row[name] for name in KEY): float(row["nmse_db"]) for row in rows}
    keys = published.keys() if wanted is None else dict.fromkeys(key for key in wanted if key in published)
    found = [Distance(key, published[key], ours.get(key)) for key in keys]
    return sorted(found, key=lambda distance: -distance.worse_by)


def summary(found: Iterable[Distance], tolerance_db: float = TOLERANCE_DB) -> str:
    """Two lines: how many published points were reached, and how many were run.

    >>> print(summary([Distance(("a",), -5.0, -4.8), Distance(("b",), -5.0, None)]))
    1 of 2 published points within 0.5 dB or better
    1 run
    """
    every = list(found)
    reached = sum(distance.worse_by <= tolerance_db for distance in every)
    return (
        f"{reached} of {len(every)} published points within {tolerance_db:g} dB or better\n"
        f"{sum(distance.ours is not None for distance in every)} run"
    )
