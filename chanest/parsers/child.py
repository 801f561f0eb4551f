"""Reads HDF5 and MATLAB files for another process, which outlives what a damaged file does to their libraries.

Run as a script, it answers requests, one JSON object a line on stdin, by a JSON object on a line of stdout and the
bytes of the arrays that it names. Sizes are checked before a number is read; memory and CPU time are limited by what
a file may rightly take.
"""

import json
import math
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import h5py
import numpy as np

_MATLAB_NUMBERS = {"double", "single", "logical", "char", "sparse"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_MOST_TEXT, _MOST_ATTRIBUTE = 1 << 16, 1 << 20  # bytes of a text, bytes of an attribute
_MOST_NODES, _MOST_DEPTH = 10_000, 16  # of a tree
_SPARE = 512 << 20  # bytes that a library may take beside the arrays
_SECONDS, _RATE = 4.0, 25e6  # of CPU time to refuse a file, and bytes that are read in one more


class Refused(Exception):
    """What is wrong with a file, for its user."""


def is_readable_kind(dtype: np.dtype[Any]) -> bool:
    """Numbers, complex as compounds too, or text."""
    names = sorted(part.lower() for part in dtype.names or ())
    if names in (["imag", "real"], ["i", "r"]):
        return all(dtype[part].kind in "iuf" and dtype[part].shape == () for part in dtype.names or ())
    return dtype.kind in "biufcSU" or h5py.check_string_dtype(dtype) is not None


def plain(values: Any) -> np.ndarray:
    """An array of native numbers, compounds of two parts as complex; text as str."""
    values = np.asarray(values)
    parts = sorted(values.dtype.names or (), key=str.lower)
    if len(parts) == 2:
        imag, real = (values[part] for part in parts)
        values = np.empty(values.shape, np.result_type(real, np.complex64))
        values.real, values.imag = real, imag
    if values.dtype.kind in "OS":
        texts = [_text(value) for value in values.ravel().tolist()]
        return np.asarray(texts, dtype=np.str_).reshape(values.shape)
    if values.dtype.kind in "fc" and values.dtype.itemsize > (8 if values.dtype.kind == "f" else 16):
        values = values.astype(np.float64 if values.dtype.kind == "f" else np.complex128)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


# HDF5 ---------------------------------------------------------------------------------------------------------


class Hdf5Arrays:
    """The arrays at the root of an HDF5 file."""

    def __init__(self, path: str) -> None:
        self.file = h5py.File(path, "r")
        self.attributes, self.unreadable = attributes(self.file)
        self.arrays: dict[str, h5py.Dataset] = {}
        self.matlab = False
        for raw in self.file.id:
            name = raw.decode("utf-8", "backslashreplace")
            try:
                item = linked(self.file, raw)
                if isinstance(item, h5py.Dataset) and "MATLAB_empty" in item.attrs:
                    continue
                if not isinstance(item, h5py.Dataset) and "OCTAVE_NEW_FORMAT" in item.attrs:
                    raise Refused("Octave's own kind of HDF5; save it with the option '-v7'")
                self.arrays[name] = checked_dataset(item)
                parts = tuple(map(str.lower, item.dtype.names or ()))
                self.matlab |= "MATLAB_class" in item.attrs or parts == ("real", "imag")
            except _Unreadable as error:
                self.unreadable[name] = str(error)

    def read(self, name: str, at: list[list[int]], backwards: bool, most: int) -> np.ndarray:
        array = self.arrays[name]
        where = tuple(slice(*bounds) for bounds in at)
        if backwards:
            where = (slice(None),) * (array.ndim - len(where)) + where[::-1]
        shape = [len(range(*s.indices(n))) for s, n in zip(where, array.shape, strict=False)]
        shape += array.shape[len(where) :]
        chunk = math.prod(array.chunks or (0,)) * array.dtype.itemsize
        size = math.prod(shape) * array.dtype.itemsize
        if max(size, chunk) > most:
            raise Refused(f"{max(size, chunk) / 2**30:.3g} GiB at once, at most {most / 2**30:.3g} are read")
        with limited(3 * size + 3 * chunk, math.prod(array.shape) * array.dtype.itemsize):
            values = plain(array[where] if where else array[()])
        return values.T if backwards else values

    def unwritten(self, name: str) -> bool:
        """Whether some of an array was never written, so that zeros would be read in its place."""
        return unwritten(self.arrays[name])

    def close(self) -> None:
        self.file.close()


class _Unreadable(Exception):
    """Why a name in a file is no array that can be read."""


def linked(group: h5py.Group, raw: bytes) -> Any:
    """What a name in a group means, inside of the file."""
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _Unreadable("a name that is not UTF-8") from None
    kind = group.id.links.get_info(raw).type
    if kind not in (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT):
        raise _Unreadable("a link to another file; copy its values into this one")
    try:
        item = group[name]
    except (KeyError, OSError, RuntimeError):
        raise _Unreadable("a link to nothing, or damaged") from None
    if h5py.h5o.get_info(item.id).fileno != h5py.h5o.get_info(group.file.id).fileno:
        raise _Unreadable("a link to another file; copy its values into this one")
    return item


def checked_dataset(item: Any) -> h5py.Dataset:
    """A dataset of numbers or text that lies in its file."""
    if not isinstance(item, h5py.Dataset):
        raise _Unreadable(f"expected an array, found a {'group' if isinstance(item, h5py.Group) else 'type'}")
    try:
        dtype = item.dtype
    except (TypeError, ValueError, RuntimeError):
        raise _Unreadable("expected numbers, found a type that nobody knows") from None
    if item.shape is None:
        raise _Unreadable("expected an array, found an empty dataspace")
    layout = item.id.get_create_plist()
    if layout.get_layout() == h5py.h5d.VIRTUAL:
        raise _Unreadable("a virtual dataset, whose values lie elsewhere; copy them into this file")
    if layout.get_external_count():
        raise _Unreadable("stored outside of this file; copy its values into it")
    if not is_readable_kind(dtype):
        raise _Unreadable(f"expected numbers, found {dtype}")
    return item


def unwritten(array: h5py.Dataset) -> bool:
    if not math.prod(array.shape):
        return False
    if array.chunks is None:
        return bool(array.id.get_storage_size() == 0)
    whole = math.prod(-(-n // chunk) for n, chunk in zip(array.shape, array.chunks, strict=True))
    return bool(array.id.get_num_chunks() < whole)


def attributes(item: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Attributes as JSON has them: text, numbers, lists; and why others cannot be read."""
    found, unreadable = {}, {}
    for index in range(h5py.h5a.get_num_attrs(item.id)):
        attribute = h5py.h5a.open(item.id, index=index)
        name = attribute.name.decode("utf-8", "backslashreplace")
        try:
            dtype = attribute.dtype
            if math.prod(attribute.shape or ()) * dtype.itemsize > _MOST_ATTRIBUTE:
                raise _Unreadable(f"an attribute of shape {attribute.shape}")
            if not is_readable_kind(dtype):
                raise _Unreadable(f"expected a number or text, found {dtype}")
            attribute.name.decode("utf-8")
            value = item.attrs[name]
        except (_Unreadable, UnicodeDecodeError, TypeError, ValueError, OSError, RuntimeError, KeyError) as error:
            unreadable[name] = str(error) if isinstance(error, _Unreadable) else "an attribute that cannot be read"
            continue
        found[name] = _json(value)
    return found, unreadable


def _json(value: Any) -> Any:
    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, str | bytes):
        return _text(value)
    values = plain(value)
    if values.dtype.kind == "c":
        values = values.astype(np.str_)
    return values.tolist()


# a whole tree ------------------------------------------------------------------------------------------------


def tree(file: h5py.File, most: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Groups, attributes and arrays of an HDF5 file; Refused where these take more than so many bytes."""
    datasets: list[h5py.Dataset] = []
    described = _described(file, datasets, [0], "", 0)
    size = sum(math.prod(one.shape) * one.dtype.itemsize for one in datasets)
    largest = max((math.prod(one.chunks or (0,)) * one.dtype.itemsize for one in datasets), default=0)
    if max(size, largest) > most:
        raise Refused(f"{max(size, largest) / 2**30:.3g} GiB of tensors, at most {most / 2**30:.3g} are read")
    with limited(3 * size + 3 * largest, size):
        return described, [plain(one[()]) for one in datasets]


def _described(
    group: h5py.Group, datasets: list[h5py.Dataset], count: list[int], where: str, depth: int
) -> dict[str, Any]:
    told, unreadable = attributes(group)
    for name, reason in unreadable.items():
        raise Refused(f"{where}{name}: {reason}")
    made: dict[str, Any] = {"attributes": told, "groups": {}, "datasets": {}}
    for raw in group.id:
        count[0] += 1
        name = raw.decode("utf-8", "backslashreplace")
        if count[0] > _MOST_NODES or depth > _MOST_DEPTH:
            raise Refused("more groups and arrays than any model has, or a circle of them")
        try:
            item = linked(group, raw)
            if isinstance(item, h5py.Group):
                made["groups"][name] = _described(item, datasets, count, f"{where}{name}/", depth + 1)
                continue
            if isinstance(item, h5py.Dataset) and item.shape is None:
                made["datasets"][name] = {"shape": None, "dtype": str(item.dtype), "why": "an empty dataspace"}
                continue
            dataset = checked_dataset(item)
        except _Unreadable as error:
            raise Refused(f"{where}{name}: {error}") from None
        text = dataset.dtype.kind not in "biufcV"
        if text or unwritten(dataset):
            why = "text" if text else "never written, or only in part"
            made["datasets"][name] = {"shape": list(dataset.shape), "dtype": dataset.dtype.str, "why": why}
            continue
        made["datasets"][name] = {"index": len(datasets)}
        datasets.append(dataset)
    return made


# MATLAB v5 ---------------------------------------------------------------------------------------------------


class MatlabArrays:
    """The arrays of a MATLAB v5 or v4 file, loaded whole; structs and cells are not parsed."""

    def __init__(self, path: str, most: int) -> None:
        import scipy.io
        import scipy.sparse

        self.attributes: dict[str, Any] = {}
        self.unreadable: dict[str, str] = {}
        self.arrays: dict[str, np.ndarray] = {}
        self.matlab = True
        with warnings.catch_warnings(action="ignore"):
            listed = scipy.io.whosmat(path)
            wanted = [(name, shape) for name, shape, kind in listed if kind in _MATLAB_NUMBERS]
            self.unreadable |= {n: f"expected an array, found a {k}" for n, _, k in listed if k not in _MATLAB_NUMBERS}
            size = sum(16 * math.prod(shape) for _, shape in wanted)
            if size > most:
                raise TooLarge(size)
            with limited(3 * size, size):
                loaded = scipy.io.loadmat(path, variable_names=[name for name, _ in wanted])
        for name, _ in wanted:
            value = loaded[name]
            dense = plain(value.toarray() if scipy.sparse.issparse(value) else value)
            if not is_readable_kind(dense.dtype):
                raise Refused(f"{name}: expected numbers, found {dense.dtype}")
            if dense.size:
                self.arrays[name] = dense

    def read(self, name: str, at: list[list[int]], backwards: bool, most: int) -> np.ndarray:
        return self.arrays[name][tuple(slice(*bounds) for bounds in at)]

    def unwritten(self, name: str) -> bool:
        return False

    def close(self) -> None:
        self.arrays.clear()


class TooLarge(Exception):
    """A file that would take so many bytes when it is loaded."""


# limits ------------------------------------------------------------------------------------------------------


_alone = False  # whether this is the other process, which may limit itself


@contextmanager
def limited(memory: int = 0, work: int = 0) -> Iterator[None]:
    """Let the process take so many bytes more, and the CPU time that reading so many takes: more ends it."""
    if not _alone or not hasattr(signal, "setitimer"):
        yield
        return
    import resource

    before, most = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError, ValueError):
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        asked = now + memory + _SPARE
        resource.setrlimit(resource.RLIMIT_AS, (asked if most == resource.RLIM_INFINITY else min(asked, most), most))
    signal.setitimer(signal.ITIMER_PROF, _SECONDS + work / _RATE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (before, most))


# requests ----------------------------------------------------------------------------------------------------


_open: dict[int, Hdf5Arrays | MatlabArrays] = {}


def answer(request: dict[str, Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What a request is answered by, and the arrays that it names by their index."""
    try:
        with limited():
            return _answer(request)
    except Refused as error:
        return {"refused": str(error)}, []
    except TooLarge as error:
        return {"size": error.args[0], "most": request["most"]}, []
    except MemoryError:
        return {"damaged": "it asks for more memory than it may take"}, []
    except Exception as error:  # a damaged file makes parsers raise whatever they like
        return {"damaged": (str(error).splitlines() or [type(error).__name__])[0]}, []


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
    do, token = request["do"], request.get("token", -1)
    if do == "close":
        if token in _open:
            _open.pop(token).close()
        return {}, []
    if do == "tree":
        with h5py.File(request["path"], "r") as file:
            described, arrays = tree(file, request["most"])
        return {"tree": described}, arrays
    if token not in _open:
        path, most = request["path"], request["most"]
        _open[token] = MatlabArrays(path, most) if request["matlab"] else Hdf5Arrays(path)
    file = _open[token]
    if do == "read":
        return {}, [file.read(request["name"], request["at"], request["backwards"], request["most"])]
    if do == "unwritten":
        return {"unwritten": file.unwritten(request["name"])}, []
    return {
        "attributes": file.attributes,
        "matlab": file.matlab,
        "arrays": {name: list(array.shape) for name, array in file.arrays.items()},
        "unreadable": file.unreadable,
    }, []


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    for line in requests:
        told, arrays = answer(json.loads(line))
        sent = [[array.dtype.str, list(array.shape)] for array in arrays]
        arrays = [np.ascontiguousarray(array) for array in arrays]
        told["arrays_sent"] = sent
        answers.write(json.dumps(told).encode() + b"\n")
        for array in arrays:
            answers.write(memoryview(array.data).cast("B") if array.nbytes else b"")
        answers.flush()


if __name__ == "__main__":
    _alone = True
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    with suppress(BrokenPipeError):
        serve(sys.stdin.buffer, pipe)
    os._exit(0)
