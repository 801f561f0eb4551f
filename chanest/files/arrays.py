"""Files of named arrays, read and written a few rows at a time where the format allows: .h5, .npz, .mat.

HDF5 (``.h5``, and MATLAB's v7.3 ``.mat``) is read in slices; ``.npz`` and MATLAB v5 load whole, so they are
refused when too large for that. MATLAB's column-major HDF5 axes and real/imag compounds are turned into ours;
its empty arrays count as absent.
"""

import math
import warnings
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
from .atomic import disk_errors, refuse_existing, replacing

SUFFIXES = (".h5", ".npz", ".mat")
WHOLE_FILE_LIMIT = 1 << 30  # bytes that .npz and .mat may take in memory

Slices = tuple[slice, ...]


class ArrayReader:
    """Named arrays of a file: shapes at once, values slice by slice.

    Attributes:
        path: of the file.
        attributes: of an HDF5 file.
        matlab: whether MATLAB wrote the file, so that its vectors have two axes.

    Raises:
        FileError: missing, empty, truncated, not of the kind that its suffix says, or too large to load.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: h5py.File | None = None
        self._arrays: dict[str, Any] = {}
        self.attributes: dict[str, Any] = {}
        self.matlab = path.suffix == ".mat"
        if not path.exists():
            raise FileError("no such file", path=path)
        if path.is_dir():
            raise FileError("expected a file, found a folder", path=path)
        if path.suffix not in SUFFIXES:
            raise FileError(f"expected a file ending in {', '.join(SUFFIXES)}, found {path.name}", path=path)
        if not path.stat().st_size:
            raise FileError("expected arrays, found an empty file", path=path)
        try:
            if path.suffix == ".npz":
                self._load_npz()
            elif path.suffix == ".mat" and not h5py.is_hdf5(path):
                self._load_mat()
            else:
                self._open_hdf5()
        except FileError:
            raise
        except Exception as error:  # a damaged file makes three parsers raise whatever they like
            self.__exit__()
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise FileError(f"not a readable {path.suffix} file, or truncated ({reason})", path=path) from None

    def __enter__(self) -> "ArrayReader":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def names(self) -> list[str]:
        """The arrays in the file."""
        return sorted(self._arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape in our axis order."""
        shape = tuple(self._arrays[name].shape)
        return shape[::-1] if self._reversed else shape

    def read(self, name: str, at: Slices = ()) -> np.ndarray:
        """A slice of an array over its leading axes; the whole array when ``at`` is empty."""
        array = self._arrays[name]
        try:
            if self._reversed:
                rest = (slice(None),) * (array.ndim - len(at))
                values = np.asarray(array[rest + at[::-1]]).T
            else:
                values = np.asarray(array[at] if at else array[()])
        except (OSError, RuntimeError, ValueError) as error:
            raise FileError(f"damaged ({str(error).splitlines()[0]})", path=self.path, field=name) from None
        parts = sorted(values.dtype.names or (), key=str.lower)
        if [part.lower() for part in parts] in (["imag", "real"], ["i", "r"]):  # of complex numbers
            imag, real = (values[part] for part in parts)
            values = np.empty(values.shape, np.result_type(real, np.complex64))
            values.real, values.imag = real, imag
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def text(self, name: str) -> str | None:
        """A word that the file says of itself, in an attribute or an array; None when it does not."""
        value: Any = self.attributes.get(name)
        if value is None and name in self:
            value = self.read(name)
        if isinstance(value, np.ndarray) and value.dtype == np.uint16:  # MATLAB's characters in HDF5
            return "".join(map(chr, value.reshape(-1).tolist()))
        if isinstance(value, np.ndarray):
            value = value.reshape(-1)[0] if value.size else None
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return str(value) if isinstance(value, str) else None

    def number(self, name: str) -> float | None:
        """A finite number that the file says of itself, in an attribute or an array; None when it does not."""
        value: Any = self.attributes.get(name)
        if value is None and name in self and math.prod(self.shape(name)) == 1:
            value = self.read(name)
        try:
            number = float(np.asarray(value).reshape(()))
        except (TypeError, ValueError):
            return None
        return number if math.isfinite(number) else None

    @property
    def _reversed(self) -> bool:
        """MATLAB stores its axes last to first, in .mat v7.3 and in the .h5 it writes itself."""
        return self.matlab and self._file is not None

    def _open_hdf5(self) -> None:
        if not h5py.is_hdf5(self.path):
            raise FileError("expected HDF5, found something else", path=self.path)
        self._file = h5py.File(self.path, "r")
        self.attributes = dict(self._file.attrs)
        for name, item in self._file.items():
            if "OCTAVE_NEW_FORMAT" in item.attrs:
                raise FileError("Octave's own kind of HDF5; save it with the option '-v7'", path=self.path)
            if isinstance(item, h5py.Dataset) and item.shape is not None and "MATLAB_empty" not in item.attrs:
                self._arrays[name] = item
                parts = tuple(map(str.lower, item.dtype.names or ()))
                self.matlab |= "MATLAB_class" in item.attrs or parts == ("real", "imag")

    def _load_npz(self) -> None:
        if not zipfile.is_zipfile(self.path):
            raise FileError("expected a NumPy .npz archive, found something else", path=self.path)
        with zipfile.ZipFile(self.path) as archive:
            self._refuse_large(sum(entry.file_size for entry in archive.infolist()))
        with np.load(self.path, allow_pickle=False) as archive:
            self._arrays = {name: value for name, value in archive.items() if isinstance(value, np.ndarray)}

    def _load_mat(self) -> None:
        with warnings.catch_warnings(action="ignore"):
            self._refuse_large(sum(16 * math.prod(shape) for _, shape, _ in scipy.io.whosmat(self.path)))
            loaded = scipy.io.loadmat(self.path)
        for name, value in loaded.items():
            dense = value.toarray() if scipy.sparse.issparse(value) else value
            if isinstance(dense, np.ndarray) and dense.size:
                self._arrays[name] = dense

    def _refuse_large(self, size: int) -> None:
        if size > WHOLE_FILE_LIMIT:
            raise FileError(
                f"{size / 2**30:.3g} GiB, but {self.path.suffix} loads whole and may take "
                f"at most {WHOLE_FILE_LIMIT / 2**30:.3g} GiB; store it as .h5, which is read in chunks",
                path=self.path,
            )


class ArrayWriter:
    """A file of named arrays that appears whole, or not at all.

    ``.h5`` is written slice by slice; ``.npz`` and ``.mat`` (v5) collect in memory first. Attributes become
    HDF5 attributes, or arrays of that name.

    Raises:
        FileError: unknown suffix, the file exists (without ``force``), no such folder, or too large.
    """

    def __init__(self, path: Path, force: bool = False) -> None:
        check_output(path, force)
        self.path = path
        self._arrays: Any = {}  # by name; those of the open file where it is HDF5
        self._attributes: Any = {}
        self._file: h5py.File | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "ArrayWriter":
        with self._stack:
            self._partial = self._stack.enter_context(replacing(self.path))
            self._partial.touch()
            if self.path.suffix == ".h5":
                self._arrays = self._file = h5py.File(self._partial, "w")
                self._attributes = self._file.attrs
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._stack:
            with disk_errors():
                if self._file is not None:
                    self._file.close()
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
        self._attributes.update(attributes)
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

    def _widen(self, name: str, width: int, padding: complex) -> None:
        """Let the last axis of an array have at least this length."""
        array = self._arrays[name]
        missing = width - array.shape[-1]
        if missing > 0 and self._file is not None:
            array.resize(width, axis=array.ndim - 1)
        elif missing > 0:
            wider = [(0, 0)] * (array.ndim - 1) + [(0, missing)]
            self._arrays[name] = np.pad(array, wider, constant_values=padding)


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
