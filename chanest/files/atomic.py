"""The one way to write a file: whole beside its place, then moved there; or not at all."""

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial as applied
from pathlib import Path
from typing import Any

from ..errors import FileError


@contextmanager
def replacing(path: Path, force: bool = True) -> Iterator[Path]:
    """A path beside ``path`` to write to; what was written replaces the file once all went well.

    Of a symbolic link it is the file that it leads to. One process at a time writes; what one that was killed left
    beside the path is taken over.

    Args:
        path: of the file.
        force: whether to replace a file that came in the meantime.

    Raises:
        FileError: the file cannot be written, or another process is writing it; what was there stays.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "x.txt"
    >>> with replacing(path) as partial:
    ...     _ = partial.write_text("whole")
    >>> path.read_text(), [p.name for p in path.parent.iterdir()]
    ('whole', ['x.txt'])
    """
    try:
        target = path.resolve() if path.is_symlink() else path
        partial = target.with_name(f".{target.name}.partial")
        lock = _locked(partial)
    except (OSError, RuntimeError) as error:
        raise FileError(f"cannot be written ({getattr(error, 'strerror', None) or error})", path=path) from None
    if lock is None:
        raise FileError("another process is writing it; name another output", path=path)
    try:
        yield partial
        os.fsync(lock)
        if force:
            partial.replace(target)
        else:
            _put(partial, target, path)
    except OSError as error:
        raise FileError(f"cannot be written ({error.strerror or error})", path=path) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        os.close(lock)


def _put(partial: Path, target: Path, path: Path) -> None:
    """Give a file its name, unless there is another of that name by now."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise FileError("exists by now; give --force to replace it", path=path) from None
    except OSError:  # a file system without links
        refuse_existing(path, force=False)
        partial.replace(target)


def _locked(partial: Path) -> int | None:
    """An empty file that is open and locked for this process, or None where another one has it."""
    while True:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            if not _lock(descriptor):
                os.close(descriptor)
                return None
            if os.name != "posix" or os.path.samestat(os.fstat(descriptor), os.stat(partial)):
                os.ftruncate(descriptor, 0)
                return descriptor
        except FileNotFoundError:  # the one before has finished since
            pass
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether this process has a file alone; where files cannot be locked, it is believed."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


class Unfailing:
    """A file for HDF5 to write to, which crashes where a write fails: the first error is kept, the rest forgotten.

    >>> import tempfile
    >>> with tempfile.TemporaryFile(buffering=0) as file:
    ...     kept = Unfailing(file)
    ...     _ = kept.write(b"abc"), kept.check()
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._error: BaseException | None = None

    def check(self) -> None:
        """Raise the error that a write met."""
        if self._error is not None:
            raise self._error

    def _kept(self, do: Callable[[], Any]) -> Any:
        try:
            return None if self._error is not None else do()
        except BaseException as error:  # an interrupt too: HDF5 would lose it
            self._error = error
            return None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        while len(rest):
            done = self._kept(applied(self._file.write, rest))
            if done is None:
                break
            rest = rest[done:]
        return size

    def read(self, size: int = -1) -> bytes:
        return self._kept(lambda: self._file.read(size)) or b""

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = self._kept(lambda: self._file.readinto(view)) or 0
        view[done:] = bytes(len(view) - done)  # what was never written
        return len(view)

    def seek(self, *where: int) -> int:
        return self._kept(lambda: self._file.seek(*where)) or 0

    def tell(self) -> int:
        return self._kept(self._file.tell) or 0

    def truncate(self, size: int | None = None) -> int:
        return self._kept(lambda: self._file.truncate(size)) or 0

    def flush(self) -> None:
        self._kept(self._file.flush)


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
        writer.writerows({name: readable(text(row.get(name))) for name in columns} for row in rows)


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
    if path.exists() and not path.is_file():
        raise FileError("expected a file to write, found a device", path=path)
    if path.exists() and not force:
        raise FileError("exists already; give --force to replace it", path=path)
    if not path.parent.is_dir():
        raise FileError(f"no folder {path.parent}", path=path)


def readable(said: str) -> str:
    r"""Text that can be written as UTF-8: names of files may be any bytes.

    >>> readable("pilots \udcff.h5")
    'pilots \\udcff.h5'
    """
    return said.encode("utf-8", "backslashreplace").decode("utf-8")
