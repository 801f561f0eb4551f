"""Files of named arrays, read and written a few rows at a time where the format allows: .h5, .npz, .mat.

HDF5 (``.h5``, and MATLAB's v7.3 ``.mat``) is read in slices; ``.npz`` and MATLAB v5 load whole, so they are
refused when too large for that. MATLAB's column-major HDF5 axes and real/imag compounds are turned into ours;
its empty arrays count as absent.
"""

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import scipy  # its parts load when they are used

from ..errors import FileError
from ..parsers import WHOLE_FILE_LIMIT, ForeignArrays, check_file, is_hdf5, is_readable_kind, plain, too_large
from .atomic import Unfailing, readable, refuse_existing, replacing

SUFFIXES = (".h5", ".npz", ".mat")

_MOST_TEXT = 1 << 16  # characters

Slices = tuple[slice, ...]


class ArrayReader:
    """Named arrays of a file: shapes at once, values slice by slice.

    A name that is there, but is no array that can be read (a group, a link to nothing or to another file, values that
    lie outside of the file), is not absent: asking for it is an error.

    Attributes:
        path: of the file.
        attributes: of an HDF5 file.
        matlab: whether MATLAB wrote the file, so that its vectors have two axes.

    Raises:
        FileError: missing, empty, truncated, not of the kind that its suffix says, or too large to load.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._foreign: ForeignArrays | None = None  # in HDF5 and MATLAB's files
        self._arrays: dict[str, np.ndarray] = {}  # in .npz
        self._unreadable: dict[str, str] = {}
        self._reversed = False  # MATLAB stores its axes last to first, in .mat v7.3 and in the .h5 it writes itself
        self.attributes: dict[str, Any] = {}
        self.matlab = path.suffix == ".mat"
        check_file(path)
        if path.suffix not in SUFFIXES:
            raise FileError(f"expected a file ending in {', '.join(SUFFIXES)}, found {path.name}", path=path)
        if path.suffix == ".npz":
            try:
                self._load_npz()
            except FileError:
                raise
            except Exception as error:  # a damaged archive makes its parsers raise whatever they like
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise FileError(f"not a readable .npz file, or truncated ({reason})", path=path) from None
        else:
            hdf5 = is_hdf5(path)
            if path.suffix == ".h5" and not hdf5:
                raise FileError("expected HDF5, found something else", path=path)
            self._foreign = ForeignArrays(path, not hdf5, WHOLE_FILE_LIMIT)
            self.attributes, self._unreadable = self._foreign.attributes, self._foreign.unreadable
            self.matlab |= self._foreign.matlab
            self._reversed = self.matlab and hdf5

    def __enter__(self) -> "ArrayReader":
        return self

    def __exit__(self, *_: object) -> None:
        if self._foreign is not None:
            self._foreign.close()

    def __contains__(self, name: str) -> bool:
        if name in self._unreadable:
            raise FileError(self._unreadable[name], path=self.path, field=name)
        return name in self._stored

    @property
    def _stored(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes, in the file's order of axes."""
        if self._foreign is not None:
            return self._foreign.shapes
        return {name: array.shape for name, array in self._arrays.items()}

    def names(self) -> list[str]:
        """The arrays in the file."""
        return sorted(self._stored)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape in our axis order."""
        shape = self._stored[name]
        return shape[::-1] if self._reversed else shape

    def check_written(self, name: str) -> None:
        """Raise FileError where some of an array was never written: HDF5 reads zeros in its place."""
        if self._foreign is not None and self._foreign.unwritten(name):
            raise FileError("never written, or only in part", path=self.path, field=name)

    def read(self, name: str, at: Slices = ()) -> np.ndarray:
        """A slice of an array over its leading axes; the whole array when ``at`` is empty."""
        if self._foreign is not None:
            return self._foreign.read(name, at, self._reversed)
        array = self._arrays[name]
        return np.asarray(array[at] if at else array[()])

    def numbers(self, name: str, at: Slices = ()) -> np.ndarray:
        """A slice of an array as :meth:`read` gives it, of which estimates are made.

        Raises:
            FileError: text.
        """
        values = self.read(name, at)
        if values.dtype.kind == "U":
            raise FileError(f"expected numbers, found {values.dtype}", path=self.path, field=name)
        return values

    def text(self, name: str) -> str | None:
        """A word that the file says of itself, in an attribute or an array; None when it does not.

        Raises:
            FileError: there is something of that name, but no text.
        """
        value = self.attributes.get(name)
        if value is None and name in self:
            if math.prod(self.shape(name)) > _MOST_TEXT:
                raise FileError(f"expected text, found shape {self.shape(name)}", path=self.path, field=name)
            value = self.read(name)
        if value is None:
            return None
        if isinstance(value, np.ndarray) and value.dtype == np.uint16:  # MATLAB's characters in HDF5
            value = "".join(map(chr, value.reshape(-1).tolist()))
        if isinstance(value, np.ndarray):
            value = value.reshape(-1)[0] if value.size else ""
        if not isinstance(value, str):
            raise FileError(f"expected text, found {_short(value)}", path=self.path, field=name)
        return str(value)

    def number(self, name: str) -> float | None:
        """A finite number that the file says of itself, in an attribute or an array; None when it does not.

        Raises:
            FileError: there is something of that name, but no finite number.
        """
        value = self.attributes.get(name)
        if value is None and name in self:
            if math.prod(self.shape(name)) != 1:
                raise FileError(f"expected a number, found shape {self.shape(name)}", path=self.path, field=name)
            value = self.read(name)
        if value is None:
            return None
        try:
            number = float(np.asarray(value).reshape(()))
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise FileError(f"expected a finite number, found {_short(value)}", path=self.path, field=name)
        return number

    def _load_npz(self) -> None:
        if not zipfile.is_zipfile(self.path):
            raise FileError("expected a NumPy .npz archive, found something else", path=self.path)
        with zipfile.ZipFile(self.path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > WHOLE_FILE_LIMIT:
            raise too_large(size, WHOLE_FILE_LIMIT, self.path)
        with np.load(self.path, allow_pickle=False) as arrays:
            for name, values in arrays.items():
                if isinstance(values, np.ndarray) and is_readable_kind(values.dtype):
                    self._arrays[name] = plain(values)
                else:
                    found = values.dtype if isinstance(values, np.ndarray) else "bytes"
                    self._unreadable[name] = f"expected numbers, found {found}"


class ArrayWriter:
    """A file of named arrays that appears whole, or not at all.

    ``.h5`` is written slice by slice; ``.npz`` and ``.mat`` (v5) collect in memory first. Attributes become
    HDF5 attributes, or arrays of that name.

    Raises:
        FileError: unknown suffix, the file exists (without ``force``), no such folder, or too large.
    """

    def __init__(self, path: Path, force: bool = False) -> None:
        check_output(path, force)
        self.path, self._force = path, force
        self._arrays: Any = {}  # by name; those of the open file where it is HDF5
        self._attributes: Any = {}
        self._file: h5py.File | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "ArrayWriter":
        with self._stack:
            self._partial = self._stack.enter_context(replacing(self.path, self._force))
            if self.path.suffix == ".h5":
                raw = self._stack.enter_context(self._partial.open("w+b", buffering=0))
                self._disk = Unfailing(raw)
                self._arrays = self._file = h5py.File(self._disk, "w")
                self._attributes = self._file.attrs
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._stack:
            if self._file is not None:
                self._file.close()
                self._disk.check()
            if error is None:
                self._save()
            if error is not None:
                raise error

    def _save(self) -> None:
        if self.path.suffix == ".npz":
            with self._partial.open("wb") as file:
                np.savez(file, allow_pickle=False, **self._arrays, **self._attributes)
        elif self.path.suffix == ".mat":
            with self._partial.open("wb") as file:
                scipy.io.savemat(file, {**self._arrays, **self._attributes})

    def header(self, attributes: Mapping[str, str | float], arrays: Mapping[str, np.ndarray]) -> None:
        """Write whole arrays, in the place of those of their names, and what the file says of itself."""
        self._attributes.update({n: readable(v) if isinstance(v, str) else v for n, v in attributes.items()})
        for name in arrays:
            if name in self._arrays:
                del self._arrays[name]
        self._arrays.update(arrays)

    def write_rows(
        self, name: str, shape: tuple[int, ...], at: Slices, values: np.ndarray, padding: complex | None = None
    ) -> None:
        """Write a slice over the leading axes of an array of the given whole shape.

        With ``padding`` rows may be of any length: the last axis grows to the longest, and shorter ones are filled up.
        """
        if self._file is not None:
            if padding is None:
                self._file.require_dataset(name, shape, values.dtype)
            elif name not in self._file:
                longer = (*shape[:-1], None)
                self._file.create_dataset(name, shape, values.dtype, maxshape=longer, fillvalue=padding or None)
        elif (size := math.prod(shape) * values.itemsize) > WHOLE_FILE_LIMIT:
            raise FileError(
                f"{name} takes {size / 2**30:.3g} GiB, too much for {self.path.suffix}, "
                "which is written whole; give an output ending in .h5",
                path=self.path,
            )
        elif name not in self._arrays:
            self._arrays[name] = np.full(shape, 0 if padding is None else padding, values.dtype)
        if padding is not None:
            self._widen(name, values.shape[-1], padding)
            at = (*at, *(slice(0, n) for n in values.shape[len(at) :]))
        self._arrays[name][at] = values
        if self._file is not None:
            self._disk.check()

    def _widen(self, name: str, width: int, padding: complex) -> None:
        """Let the last axis of an array have at least this length."""
        array = self._arrays[name]
        missing = width - array.shape[-1]
        if missing > 0 and self._file is not None:
            array.resize(width, axis=array.ndim - 1)
        elif missing > 0:
            wider = [(0, 0)] * (array.ndim - 1) + [(0, missing)]
            self._arrays[name] = np.pad(array, wider, constant_values=padding)


def _short(value: object) -> str:
    said = repr(value)
    return said if len(said) <= 40 else f"{said[:37]}..."


def check_output(path: Path, force: bool) -> None:
    """Raise FileError unless an ArrayWriter can write there."""
    if path.suffix not in SUFFIXES:
        raise FileError(f"expected an output ending in {', '.join(SUFFIXES)}, found {path.name}", path=path)
    refuse_existing(path, force)


def row_slices(shape: tuple[int, ...], limit: int) -> Iterator[Slices]:
    """Slices over all axes of ``shape`` that cover it in C order with at most ``limit`` entries each.

    >>> list(row_slices((5,), 2))
    [(slice(0, 2, None),), (slice(2, 4, None),), (slice(4, 5, None),)]
    >>> [tuple(s.stop - s.start for s in at) for at in row_slices((2, 3), 2)]
    [(1, 2), (1, 1), (1, 2), (1, 1)]
    """
    inner = math.prod(shape[1:])
    if not shape:
        yield ()
    elif inner <= limit:
        rows = max(1, limit // max(inner, 1))
        for first in range(0, shape[0], rows):
            yield (slice(first, min(first + rows, shape[0])), *(slice(0, n) for n in shape[1:]))
    else:
        for row in range(shape[0]):
            for at in row_slices(shape[1:], limit):
                yield (slice(row, row + 1), *at)
