"""Files that nobody vouches for, read by a process of its own: where it crashes, that is an error message here."""

import atexit
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileError

WHOLE_FILE_LIMIT = 1 << 30  # bytes that are held at once of a file
MOST_TREE = 512 << 20  # bytes of the tensors of a model
_KINDS = "biufcU"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Whether a file has the signature of HDF5, at its beginning or behind a user block.

    >>> is_hdf5(Path(__file__))
    False
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            at = 0
            while at < size:
                file.seek(at)
                if file.read(8) == _SIGNATURE:
                    return True
                at = max(512, 2 * at)
    except OSError:
        return False
    return False


def check_file(path: Path) -> None:
    """Raise FileError unless there is a file with something in it.

    >>> check_file(Path("nowhere.h5"))
    Traceback (most recent call last):
    ...
    chanest.errors.FileError: nowhere.h5: no such file
    """
    try:
        if not path.exists():
            raise FileError("no such file", path=path)
        if not path.is_file():
            raise FileError(f"expected a file, found a {'folder' if path.is_dir() else 'device'}", path=path)
        if not path.stat().st_size:
            raise FileError("expected arrays, found an empty file", path=path)
    except (OSError, ValueError) as error:
        raise FileError(f"cannot be read ({getattr(error, 'strerror', None) or error})", path=path) from None


@dataclass(frozen=True)
class Dataset:
    """An array of a model file.

    Attributes:
        shape: None of an empty dataspace.
        dtype: as NumPy says it.
        values: None of what cannot be read as numbers.
        why: it cannot.
    """

    shape: tuple[int, ...] | None
    dtype: str
    values: np.ndarray | None
    why: str = ""


@dataclass(frozen=True)
class Tree:
    """A group of an HDF5 file with all that is in it.

    Attributes:
        attributes: text, numbers, tuples; None of empty ones.
        groups, datasets: by name.
    """

    attributes: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, "Tree"] = field(default_factory=dict)
    datasets: dict[str, Dataset] = field(default_factory=dict)


def read_tree(path: Path, trusted: bool = False) -> Tree:
    """All groups, attributes and arrays of an HDF5 file, at most 512 MiB.

    Args:
        path: of the file.
        trusted: of a file that chanest ships: it is read by this process.

    Raises:
        FileError: no such file, not HDF5, damaged, too large; or a link to another file, a virtual or external array.

    >>> from chanest.models import shipped_models
    >>> read_tree(shipped_models()[0]).attributes["format"]
    'chanest-model'
    """
    check_file(path)
    if not is_hdf5(path):
        raise FileError("expected HDF5, found something else", path=path)
    request = {"do": "tree", "path": os.path.abspath(path), "most": MOST_TREE}
    told, arrays = _checked(_here(request) if trusted else _process.ask(request), path)
    return _tree(told["tree"], arrays)


def tree_of(file: Any) -> Tree:
    """All groups, attributes and arrays of an open h5py.File that this process has written."""
    from .child import tree

    return _tree(*tree(file, sys.maxsize))


def _tree(described: dict[str, Any], arrays: list[np.ndarray]) -> Tree:
    def dataset(told: dict[str, Any]) -> Dataset:
        if "index" in told:
            values = arrays[told["index"]]
            return Dataset(values.shape, str(values.dtype), values)
        return Dataset(None if told["shape"] is None else tuple(told["shape"]), told["dtype"], None, told["why"])

    return Tree(
        {name: tuple(v) if isinstance(v, list) else v for name, v in described["attributes"].items()},
        {name: _tree(one, arrays) for name, one in described["groups"].items()},
        {name: dataset(one) for name, one in described["datasets"].items()},
    )


class ForeignArrays:
    """The arrays of an HDF5 file's root, or of a MATLAB v5 file, that lie in another process.

    Attributes:
        attributes: of the root.
        shapes: by name.
        unreadable: names that are there and no arrays, and what they are.
        matlab: whether MATLAB wrote it.

    Raises:
        FileError: damaged, or too large to be loaded.
    """

    _tokens = itertools.count()

    def __init__(self, path: Path, matlab: bool, most: int) -> None:
        self.path, self._token = path, next(self._tokens)
        self._request = {"token": self._token, "path": os.path.abspath(path), "matlab": matlab, "most": most}
        told, _ = self._ask(do="open")
        self.attributes: dict[str, Any] = told["attributes"]
        self.shapes = {name: tuple(shape) for name, shape in told["arrays"].items()}
        self.unreadable: dict[str, str] = told["unreadable"]
        self.matlab: bool = told["matlab"]

    def read(self, name: str, at: tuple[slice, ...], backwards: bool) -> np.ndarray:
        """A slice over the leading axes, which are the last ones of the file where these are backwards."""
        bounds = [[s.start, s.stop, s.step] for s in at]
        return self._ask(do="read", name=name, at=bounds, backwards=backwards)[1][0]

    def unwritten(self, name: str) -> bool:
        """Whether some of an array was never written."""
        return bool(self._ask(do="unwritten", name=name)[0]["unwritten"])

    def close(self) -> None:
        """Forget the file."""
        _process.forget(self._token)

    def _ask(self, **request: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
        asked = {**self._request, **request}
        return _checked(_process.ask(asked), self.path, asked.get("name"), not asked["matlab"])


def too_large(size: int, most: int, path: Path) -> FileError:
    """The error of a file that loads whole, and would take so many bytes.

    >>> str(too_large(3 << 30, 1 << 30, Path("a.mat")))
    'a.mat: 3 GiB, but .mat loads whole and may take at most 1 GiB; store it as .h5, which is read in chunks'
    """
    return FileError(
        f"{size / 2**30:.3g} GiB, but {path.suffix} loads whole and may take "
        f"at most {most / 2**30:.3g} GiB; store it as .h5, which is read in chunks",
        path=path,
    )


_Answer = tuple[dict[str, Any], list[np.ndarray]]


def _checked(found: _Answer, path: Path, name: str | None = None, hdf5: bool = True) -> _Answer:
    told = found[0]
    if "refused" in told:
        raise FileError(told["refused"], path=path, field=name)
    if "size" in told:
        raise too_large(told["size"], told["most"], path)
    if "damaged" in told:
        if name is not None:
            raise FileError(f"damaged ({told['damaged']})", path=path, field=name)
        kind = "damaged or truncated HDF5" if hdf5 else f"not a readable {path.suffix} file, or truncated"
        raise FileError(f"{kind} ({told['damaged']})", path=path)
    return found


def _here(request: dict[str, Any]) -> _Answer:
    from .child import answer

    return answer(request)


class _Process:
    """The other process: started by the first request, and anew after a crash."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._started: subprocess.Popen[bytes] | None = None
        self._of = 0  # the process that started it

    def ask(self, request: dict[str, Any]) -> _Answer:
        """What a request is answered by; a crash is an answer, too."""
        with self._lock:
            child = self._running()
            if child is None:
                return _here(request)
            try:
                answered = self._exchange(child, request)
            except (OSError, ValueError, KeyError, TypeError):  # what a process says that is about to crash
                answered = None
            except BaseException:  # half an answer is in the pipe
                self._end(kill=True)
                raise
            return answered or ({"damaged": _how_it_ended(self._end())}, [])

    def forget(self, token: int) -> None:
        """Close a file, where the process still has it."""
        with self._lock:
            if self._started is not None and self._of == os.getpid():
                self.ask({"do": "close", "token": token})

    def _exchange(self, child: "subprocess.Popen[bytes]", request: dict[str, Any]) -> _Answer | None:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.flush()
        line = child.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        told, arrays = json.loads(line), []
        for kind, shape in told["arrays_sent"]:
            dtype = np.dtype(kind)
            if dtype.kind not in _KINDS or math.prod(shape) * dtype.itemsize > 4 * WHOLE_FILE_LIMIT:
                return None
            values = np.empty(math.prod(shape), dtype)
            rest = memoryview(values.data).cast("B") if values.nbytes else memoryview(b"")
            while len(rest):
                read = child.stdout.readinto(rest)  # type: ignore[attr-defined]
                if not read:
                    return None
                rest = rest[read:]
            arrays.append(values.reshape(shape))
        return told, arrays

    def _running(self) -> "subprocess.Popen[bytes] | None":
        if self._started is not None and self._of != os.getpid():  # a fork has its own
            for pipe in (self._started.stdin, self._started.stdout):
                if pipe is not None:
                    pipe.close()
            self._started.returncode = 0  # it is not ours to wait for
            self._started = None
        if self._started is None and sys.executable and not getattr(sys, "frozen", False):
            environment = {
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "LIBC_FATAL_STDERR_": "1",
            }
            environment.pop("PYTHONFAULTHANDLER", None)
            script = str(Path(__file__).with_name("child.py"))
            try:
                self._started = subprocess.Popen(
                    [sys.executable, "-P", "-W", "ignore", script],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                    start_new_session=True,  # an interrupt is not its own
                )
            except OSError:
                return None
            self._of = os.getpid()
        return self._started

    def _end(self, kill: bool = False) -> int:
        child, self._started = self._started, None
        if child is None:
            return 0
        if kill:
            child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        try:
            return child.wait(2)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def stop(self) -> None:
        """End the process, where this one started it."""
        if self._started is not None and self._of == os.getpid():
            self._end()

    def after_fork(self) -> None:
        """A lock that another thread held is not one of the fork's."""
        self._lock = threading.RLock()


def _how_it_ended(code: int) -> str:
    if hasattr(signal, "SIGPROF") and code == -signal.SIGPROF:
        return "reading it takes too long"
    return f"reading it ends with {signal.Signals(-code).name}" if code < 0 else "reading it ends early"


_process = _Process()
atexit.register(_process.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.after_fork)
