"""The one way to write a file: whole beside its place, then moved there; or not at all."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import FileError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; what was written replaces the file once all went well.

    HDF5 reports some failures of the disk as RuntimeError: raise these as OSError (:func:`disk_errors`).

    Raises:
        FileError: the file cannot be written; what was there stays.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "x.txt"
    >>> with replacing(path) as partial:
    ...     _ = partial.write_text("whole")
    >>> path.read_text(), [p.name for p in path.parent.iterdir()]
    ('whole', ['x.txt'])
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except OSError as error:
        raise FileError(f"cannot be written ({error.strerror or error})", path=path) from None
    finally:
        with suppress(OSError):  # a name too long to write to cannot be unlinked either
            partial.unlink(missing_ok=True)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Around calls of h5py that write: what they raise for a disk that fails is an OSError.

    >>> with disk_errors():
    ...     raise RuntimeError("unable to flush")
    Traceback (most recent call last):
    ...
    OSError: unable to flush
    """
    try:
        yield
    except RuntimeError as error:
        raise OSError(str(error)) from error


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows as CSV, floats with six digits; a file that is there is replaced at once.

    Raises:
        FileError: it cannot be written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rows.csv"
    >>> write_csv(path, ["k", "x"], [{"k": 1, "x": 1 / 3}, {"k": 2, "x": None}])
    >>> path.read_text().split()
    ['k,x', '1,0.333333', '2,']
    """
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: text(row.get(name)) for name in columns} for row in rows)


def text(value: object) -> str:
    """How a value stands in a CSV: nothing for None, six digits for a float.

    >>> text(None), text(0.1), text("x")
    ('', '0.1', 'x')
    """
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def refuse_existing(path: Path, force: bool) -> None:
    """Raise FileError when a file is in the way, or its folder does not exist."""
    if path.is_dir():
        raise FileError("expected a file to write, found a folder", path=path)
    if path.exists() and not force:
        raise FileError("exists already; give --force to replace it", path=path)
    if not path.parent.is_dir():
        raise FileError(f"no folder {path.parent}", path=path)
