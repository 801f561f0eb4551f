"""Files of named arrays, read and written a few rows at a time where the format allows: .h5, .npz, .mat.

HDF5 (``.h5``, and MATLAB's v7.3 ``.mat``) is read in slices; ``.npz`` and MATLAB v5 load whole, so they are
refused when too large for that. MATLAB's column-major HDF5 axes and real/imag compounds are turned into ours.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import scipy.io

from .errors import FileError

SUFFIXES = (".h5", ".npz", ".mat")
WHOLE_FILE_LIMIT = 1 << 30  # bytes that .npz and .mat may take in memory

Slices = tuple[slice, ...]


class ArrayReader:
    """Named arrays of a file: shapes at once, values slice by slice.

    Raises:
        FileError: missing, empty, truncated, of another kind than its suffix says, or too large to load whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: h5py.File | None = None
        self._arrays: dict[str, Any] = {}
        self.attributes: dict[str, Any] = {}
        if path.suffix not in SUFFIXES:
            raise FileError(f"{path}: expected a file ending in {', '.join(SUFFIXES)}")
        if not path.exists():
            raise FileError(f"{path}: no such file")
        if path.is_dir():
            raise FileError(f"{path}: expected a file, found a folder")
        if not path.stat().st_size:
            raise FileError(f"{path}: expected received pilots, found an empty file")
        try:
            if path.suffix == ".npz":
                self._load_npz()
            elif path.suffix == ".mat" and not h5py.is_hdf5(path):
                self._load_mat()
            else:
                self._open_hdf5()
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise FileError(f"{path}: not a readable {path.suffix} file, or truncated ({reason})") from None

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
        return shape[::-1] if self._reversed(name) else shape

    def read(self, name: str, at: Slices = ()) -> np.ndarray:
        """A slice of an array over its leading axes; the whole array when ``at`` is empty."""
        array = self._arrays[name]
        try:
            if self._reversed(name):
                rest = (slice(None),) * (array.ndim - len(at))
                values = np.asarray(array[rest + at[::-1]]).T
            else:
                values = np.asarray(array[at] if at else array[()])
        except OSError as error:
            raise FileError(f"{self.path}: {name}: damaged ({str(error).splitlines()[0]})") from None
        if values.dtype.names is not None and {n.lower() for n in values.dtype.names} == {"real", "imag"}:
            real, imag = sorted(values.dtype.names, key=str.lower, reverse=True)
            return values[real] + 1j * values[imag]
        return values

    def _reversed(self, name: str) -> bool:
        """MATLAB stores its axes last to first, in .mat v7.3 and in the .h5 it writes itself."""
        array = self._arrays[name]
        if self._file is None or array.ndim < 2:
            return False
        return self.path.suffix == ".mat" or "MATLAB_class" in array.attrs or array.dtype.names == ("real", "imag")

    def _open_hdf5(self) -> None:
        if not h5py.is_hdf5(self.path):
            raise FileError(f"{self.path}: expected HDF5, found something else")
        self._file = h5py.File(self.path, "r")
        self._arrays = {name: item for name, item in self._file.items() if isinstance(item, h5py.Dataset)}
        self.attributes = dict(self._file.attrs)

    def _load_npz(self) -> None:
        if not zipfile.is_zipfile(self.path):
            raise FileError(f"{self.path}: expected a NumPy .npz archive, found something else")
        with zipfile.ZipFile(self.path) as archive:
            self._refuse_large(sum(entry.file_size for entry in archive.infolist()))
        with np.load(self.path, allow_pickle=False) as archive:
            self._arrays = {name: archive[name] for name in archive.files}

    def _load_mat(self) -> None:
        listed = scipy.io.whosmat(self.path)
        self._refuse_large(sum(16 * int(np.prod(shape, dtype=np.int64)) for _, shape, _ in listed))
        loaded = scipy.io.loadmat(self.path)
        self._arrays = {name: value for name, value in loaded.items() if not name.startswith("__")}

    def _refuse_large(self, size: int) -> None:
        if size > WHOLE_FILE_LIMIT:
            raise FileError(
                f"{self.path}: {size / 2**30:.1f} GiB, but {self.path.suffix} loads whole and may take at most "
                f"{WHOLE_FILE_LIMIT / 2**30:.0f} GiB; store it as .h5, which is read in chunks"
            )


class ArrayWriter:
    """A file of named arrays that appears whole, or not at all.

    ``.h5`` is written slice by slice; ``.npz`` and ``.mat`` (v5) collect in memory first. Attributes become
    HDF5 attributes, or arrays of that name.

    Raises:
        FileError: unknown suffix, the file exists (without ``force``), no such folder, or too large.
    """

    def __init__(self, path: Path, force: bool = False) -> None:
        refuse_existing(path, force)
        if path.suffix not in SUFFIXES:
            raise FileError(f"{path}: expected an output ending in {', '.join(SUFFIXES)}")
        self.path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._arrays: dict[str, Any] = {}
        self._attributes: dict[str, Any] = {}
        self._file = h5py.File(self._partial, "w") if path.suffix == ".h5" else None

    def __enter__(self) -> "ArrayWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if self._file is not None:
                self._file.close()
            elif kind is None and self.path.suffix == ".npz":
                with self._partial.open("wb") as file:
                    np.savez(file, **self._arrays, **self._attributes)
            elif kind is None:
                with self._partial.open("wb") as file:
                    scipy.io.savemat(file, {**self._arrays, **self._attributes})
            if kind is None:
                self._partial.replace(self.path)
        except OSError as failure:
            raise FileError(f"{self.path}: cannot be written ({failure.strerror or failure})") from None
        finally:
            self._partial.unlink(missing_ok=True)

    def attribute(self, name: str, value: str | float) -> None:
        """Say something about the file."""
        if self._file is not None:
            self._file.attrs[name] = value
        else:
            self._attributes[name] = value

    def write(self, name: str, values: np.ndarray) -> None:
        """Write a whole array."""
        if self._file is not None:
            self._file[name] = values
        else:
            self._arrays[name] = values

    def write_rows(self, name: str, shape: tuple[int, ...], at: Slices, values: np.ndarray) -> None:
        """Write a slice over the leading axes of an array of the given whole shape."""
        if self._file is not None:
            if name not in self._file:
                self._file.create_dataset(name, shape, values.dtype)
            self._file[name][at] = values
            return
        if name not in self._arrays:
            size = int(np.prod(shape, dtype=np.int64)) * values.itemsize
            if size > WHOLE_FILE_LIMIT:
                raise FileError(
                    f"{self.path}: {name} takes {size / 2**30:.1f} GiB, too much for {self.path.suffix}, "
                    "which is written whole; give an output ending in .h5"
                )
            self._arrays[name] = np.zeros(shape, values.dtype)
        self._arrays[name][at] = values


def refuse_existing(path: Path, force: bool) -> None:
    """Raise FileError when a file is in the way, or its folder does not exist."""
    if path.exists() and not force:
        raise FileError(f"{path}: exists already; give --force to replace it")
    if path.is_dir():
        raise FileError(f"{path}: is a folder")
    if not path.parent.is_dir():
        raise FileError(f"{path}: no folder {path.parent}")


def row_slices(shape: tuple[int, ...], limit: int) -> Iterator[Slices]:
    """Slices over all axes of ``shape`` that cover it in C order with at most ``limit`` entries each.

    >>> list(row_slices((5,), 2))
    [(slice(0, 2, None),), (slice(2, 4, None),), (slice(4, 5, None),)]
    >>> [tuple(s.stop - s.start for s in at) for at in row_slices((2, 3), 2)]
    [(1, 2), (1, 1), (1, 2), (1, 1)]
    """
    inner = int(np.prod(shape[1:], dtype=np.int64))
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
