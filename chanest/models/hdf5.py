"""The HDF5 model file: self-describing, without pickle or code. The only module that knows its schema.

Root attributes ``format``, ``format_version``, ``algorithm``, ``chanest_version``, ``created``; groups
``hyperparameters``, ``parameters``, ``normalisation``, ``constants``, ``scenario``, ``training``. A training
checkpoint is a model file with one more group, ``optimiser``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ..errors import AlgorithmError, ChanestError, FileError, ModelError
from ..files.atomic import disk_errors, replacing
from ..lazy import torch
from ..problems import Problem, scenario_from_fields, shipped

if TYPE_CHECKING:
    from torch import Tensor

    from ..algorithms import Algorithm

FORMAT, FORMAT_VERSION = "chanest-model", 1
_KINDS = {int: "a whole number", float: "a finite number", str: "text"}


def write_model(
    path: Path,
    algorithm: Algorithm,
    scenario: Problem,
    training: Mapping[str, Any],
    optimiser: Mapping[str, Any] | None = None,
) -> None:
    """Write a model file atomically: the file is whole or the old one stays.

    Args:
        path: where to.
        algorithm: its hyperparameters, parameters and buffers are stored.
        scenario: what it was made for.
        training: attributes and arrays that say how it was made.
        optimiser: nested tensors and numbers; makes the file a checkpoint.

    Raises:
        FileError: the file cannot be written.
    """
    with replacing(path) as partial, disk_errors(), h5py.File(partial, "w") as file:
        _write(file, model_fields(algorithm, scenario, training))
        if optimiser is not None:
            _write(file.create_group("optimiser"), optimiser)


def model_fields(algorithm: Algorithm, scenario: Problem, training: Mapping[str, Any]) -> dict[str, Any]:
    """What a model file holds, group by group.

    >>> from chanest.algorithms import ALISTA
    >>> from chanest import load_scenario
    >>> sorted(model_fields(ALISTA(n_iterations=4), load_scenario("lte10"), {})["parameters"])
    ['calibration', 'log_step_size', 'log_threshold']
    """
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "algorithm": algorithm.name,
        "chanest_version": version("chanest"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "hyperparameters": algorithm.hyperparameters,
        "parameters": _nested(algorithm.named_parameters()),
        "normalisation": _nested(algorithm.named_buffers()),
        "constants": scenario.constants(),
        "scenario": scenario.model_dump(),
        "training": training,
    }


def read_model(path: Path) -> tuple[Algorithm, Problem, dict[str, Any]]:
    """Read a model file, checking every field.

    Returns:
        the algorithm with its parameters, its scenario, and the ``training`` group.

    Raises:
        FileError: missing, unreadable, not HDF5.
        ModelError: not a chanest model, or a tensor is missing, foreign, of a wrong shape, or not finite.
    """
    with _open(path) as file:
        return _algorithm(file, path), _scenario(file, path), _read_group(_group(file, "training", path))


def read_purpose(path: Path) -> tuple[str, Problem]:
    """Name of the algorithm in a model file, and the problem that it was made for.

    Raises:
        FileError, ModelError: as :func:`read_model`.

    >>> name, scenario = read_purpose(shipped_models()[0])
    >>> name, scenario.name
    ('alista', 'lte10')
    """
    with _open(path) as file:
        _check_format(file, path)
        _check_algorithm(file, path)
        return _attribute(file, "algorithm"), _scenario(file, path)


def read_optimiser(path: Path) -> dict[str, Any]:
    """The ``optimiser`` group of a checkpoint.

    Raises:
        ModelError: the file is a finished model, not a checkpoint.
    """
    with _open(path) as file:
        if "optimiser" not in file:
            raise ModelError("expected a training checkpoint, found a finished model", path=path)
        return _read_group(file["optimiser"])


def is_model(path: Path) -> bool:
    """Whether a file calls itself a chanest model; FileError when it is no HDF5 at all."""
    with _open(path) as file:
        return bool(file.attrs.get("format") == FORMAT)


def shipped_models() -> list[Path]:
    """The files of the shipped models, by name."""
    return sorted(shipped("models").glob("*.h5"))


def describe_model(path: Path) -> dict[str, Any]:
    """Algorithm, hyperparameters, scenario, training and the tensors' shapes, as the file says; read_model checks them.

    Raises:
        FileError: missing, unreadable, not HDF5.
        ModelError: not a chanest model, or its scenario is none.
    """
    with _open(path) as file:
        _check_format(file, path)
        return {
            "algorithm": str(_attribute(file, "algorithm")),
            "created": str(_attribute(file, "created")),
            "chanest_version": str(_attribute(file, "chanest_version")),
            "hyperparameters": _read_group(_group(file, "hyperparameters", path)),
            "scenario": _scenario(file, path),
            "training": _read_group(_group(file, "training", path)),
            "tensors": {name: tuple(dataset.shape) for name, dataset in _datasets(file, path).items()},
        }


def summarise_model(path: Path) -> dict[str, Any]:
    """Algorithm, scenario, n_iterations, n_parameters and validation_nmse_db, and no more, which takes milliseconds.

    Raises:
        FileError, ModelError: as of :func:`describe_model`.

    >>> summarise_model(shipped("models") / "alista-lte10-m75.h5")["n_parameters"]
    39
    """
    with _open(path) as file:
        _check_format(file, path)
        sizes: list[int] = []
        parameters = _group(file, "parameters", path).id

        def measure(name: bytes) -> None:
            found = h5py.h5o.open(parameters, name)  # h5py's own objects take twice the time
            if isinstance(found, h5py.h5d.DatasetID):
                sizes.append(math.prod(found.shape))

        h5py.h5o.visit(parameters, measure)
        return {
            "algorithm": str(_attribute(file, "algorithm")),
            "scenario": _scenario(file, path),
            "n_iterations": _attribute(_group(file, "hyperparameters", path), "n_iterations"),
            "n_parameters": sum(sizes),
            "validation_nmse_db": _attribute(_group(file, "training", path), "validation_nmse_db"),
        }


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file to read; whatever a damaged one makes h5py raise becomes a FileError."""
    if not path.exists():
        raise FileError("no such file", path=path)
    if path.is_dir() or not path.stat().st_size or not h5py.is_hdf5(path):
        found = "a folder" if path.is_dir() else "not HDF5" if path.stat().st_size else "an empty file"
        raise FileError(f"expected a chanest model in HDF5, found {found}", path=path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except ChanestError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileError(f"damaged or truncated HDF5 ({reason})", path=path) from None


def _attribute(item: h5py.Group, name: str) -> Any:
    """An attribute as a plain value: text, a number, a tuple; None when it is not there."""
    value = item.attrs.get(name)
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _check_format(file: h5py.File, path: Path) -> None:
    for name, expected in (("format", FORMAT), ("format_version", FORMAT_VERSION)):
        found = _attribute(file, name)
        if found != expected:
            hint = f"; this is chanest {version('chanest')}" if name == "format_version" else ""
            raise ModelError(f"expected {expected}, found {found}{hint}", path=path, field=name)


def _check_algorithm(file: h5py.File, path: Path) -> None:
    from ..algorithms import ALGORITHMS

    found = _attribute(file, "algorithm")
    if found not in tuple(ALGORITHMS):
        raise ModelError(f"expected {' or '.join(ALGORITHMS)}, found {found}", path=path, field="algorithm")


def _group(file: h5py.File, name: str, path: Path) -> h5py.Group:
    group = file.get(name)
    if not isinstance(group, h5py.Group):
        raise ModelError(f"group {name}: missing", path=path)
    return group


def _scenario(file: h5py.File, path: Path) -> Problem:
    return scenario_from_fields(_read_group(_group(file, "scenario", path)), f"{path}: scenario")


def _datasets(file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    found: dict[str, h5py.Dataset] = {}
    for kind in ("parameters", "normalisation"):
        _group(file, kind, path).visititems(
            lambda name, item, kind=kind: (
                found.update({f"{kind}/{name}": item}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


def tensors_of(algorithm: Algorithm) -> dict[str, Tensor]:
    """The tensors of an algorithm by their names in the file.

    >>> from chanest.algorithms import ALISTA
    >>> list(tensors_of(ALISTA()))[:2]
    ['parameters/log_step_size', 'parameters/log_threshold']
    """
    tensors = {f"parameters/{n.replace('.', '/')}": p.data for n, p in algorithm.named_parameters()}
    return tensors | {f"normalisation/{n.replace('.', '/')}": b for n, b in algorithm.named_buffers()}


def _algorithm(file: h5py.File, path: Path) -> Algorithm:
    from ..algorithms import algorithm_class

    _check_format(file, path)
    _check_algorithm(file, path)
    hyperparameters = _read_group(_group(file, "hyperparameters", path))
    cls = algorithm_class(str(_attribute(file, "algorithm")), hyperparameters)
    _check_hyperparameters(cls, hyperparameters, path)
    try:
        with torch.device("meta"):  # no memory for a size that the tensors in the file may not have
            algorithm = cls(**hyperparameters)
    except (AlgorithmError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ModelError(f"{error}", path=path, field="hyperparameters") from None
    found, expected = _datasets(file, path), tensors_of(algorithm)
    settings = ", ".join(f"{key}={value}" for key, value in hyperparameters.items())
    for name in sorted(expected.keys() - found.keys()):
        raise ModelError("missing", path=path, field=name)
    for name in sorted(found.keys() - expected.keys()):
        raise ModelError(f"not a tensor of {cls.name} with {settings}", path=path, field=name)
    for name, tensor in expected.items():
        dataset = found[name]
        if dataset.shape != tuple(tensor.shape):
            raise ModelError(
                f"expected {tuple(tensor.shape)}, the file has {dataset.shape}; was it made with {settings}?",
                path=path,
                field=name,
            )
        if dataset.dtype.kind != "f":
            raise ModelError(f"expected floating-point numbers, the file has {dataset.dtype}", path=path, field=name)
    algorithm = algorithm.to_empty(device="cpu")
    for name, tensor in tensors_of(algorithm).items():
        with np.errstate(over="ignore"):
            values = np.asarray(found[name][()]).astype(np.float32)
        if not np.isfinite(values).all():
            first = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise ModelError(f"NaN or Inf at index {first}", path=path, field=name)
        if name.endswith("deviation") and not (values > 0).all():
            raise ModelError(f"expected positive numbers, the file has {float(values.min()):g}", path=path, field=name)
        tensor.copy_(torch.from_numpy(values))
    return algorithm


def _check_hyperparameters(cls: type[Algorithm], found: Mapping[str, Any], path: Path) -> None:
    """Every argument of the constructor must be there, with the type of its annotation, and no other."""
    arguments = inspect.signature(cls).parameters
    for name in found:
        if name not in arguments:
            raise ModelError(
                f"unknown; {cls.name} has {', '.join(arguments)}", path=path, field=f"hyperparameters: {name}"
            )
    for name, argument in arguments.items():
        if name not in found:
            if argument.default is None:
                continue
            raise ModelError("missing", path=path, field=f"hyperparameters: {name}")
        value, kind = found[name], argument.annotation
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        fits = {int: number and isinstance(value, int), float: number, str: isinstance(value, str)}
        if not fits.get(kind, True):
            raise ModelError(f"expected {_KINDS[kind]}, found {value!r}", path=path, field=f"hyperparameters: {name}")


def _nested(named: Any) -> dict[str, Any]:
    """Tensors by dotted name as nested groups."""
    tree: dict[str, Any] = {}
    for name, tensor in named:
        *groups, leaf = name.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = tensor
    return tree


def _write(group: h5py.Group, fields: Mapping[str, Any]) -> None:
    """Mappings become groups, tensors and arrays datasets, everything else attributes; None is left out."""
    for name, value in fields.items():
        match value:
            case None:
                continue
            case Mapping():
                _write(group.create_group(name), value)
            case torch.Tensor():
                group[name] = value.detach().cpu().numpy()
            case np.ndarray():
                group[name] = value
            case _:
                group.attrs[name] = value


def _read_group(group: h5py.Group) -> dict[str, Any]:
    attributes = {name: _attribute(group, name) for name in group.attrs}
    return attributes | {
        name: _read_group(item) if isinstance(item, h5py.Group) else item[()] for name, item in group.items()
    }
