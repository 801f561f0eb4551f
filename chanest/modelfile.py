"""The HDF5 model file: self-describing, without pickle or code. The only room that knows its schema.

Root attributes ``format``, ``format_version``, ``algorithm``, ``chanest_version``, ``created``; groups
``hyperparameters``, ``parameters``, ``normalisation``, ``scenario``, ``training``. A training checkpoint is a
model file with one more group, ``optimiser``.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from .algorithms import ALGORITHMS, Algorithm
from .errors import AlgorithmError, FileError, ModelError
from .resources import shipped
from .scenario import Scenario, scenario_from_fields

FORMAT, FORMAT_VERSION = "chanest-model", 1


def write_model(
    path: Path,
    algorithm: Algorithm,
    scenario: Scenario,
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
    partial = path.with_name(f".{path.name}.partial")
    try:
        with h5py.File(partial, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["format_version"] = FORMAT_VERSION
            file.attrs["algorithm"] = algorithm.name
            file.attrs["chanest_version"] = version("chanest")
            file.attrs["created"] = datetime.now(UTC).isoformat(timespec="seconds")
            _write(file.create_group("hyperparameters"), algorithm.hyperparameters)
            _write(file.create_group("parameters"), _nested(algorithm.named_parameters()))
            _write(file.create_group("normalisation"), _nested(algorithm.named_buffers()))
            _write(file.create_group("scenario"), scenario.model_dump())
            _write(file.create_group("training"), training)
            if optimiser is not None:
                _write(file.create_group("optimiser"), optimiser)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FileError(f"{path}: cannot be written ({error.strerror or error})") from None


def read_model(path: Path) -> tuple[Algorithm, Scenario, dict[str, Any]]:
    """Read a model file, checking every field.

    Returns:
        the algorithm with its parameters, its scenario, and the ``training`` group.

    Raises:
        FileError: missing, unreadable, not HDF5.
        ModelError: not a chanest model, or a tensor is missing, foreign, of a wrong shape, or not finite.
    """
    with _open(path) as file:
        algorithm = _algorithm(file, path)
        fields = _read_group(_group(file, "scenario", path))
        scenario = scenario_from_fields(fields, f"{path}: scenario")
        training = _read_group(_group(file, "training", path))
    return algorithm, scenario, training


def read_optimiser(path: Path) -> dict[str, Any]:
    """The ``optimiser`` group of a checkpoint.

    Raises:
        ModelError: the file is a finished model, not a checkpoint.
    """
    with _open(path) as file:
        if "optimiser" not in file:
            raise ModelError(f"{path}: expected a training checkpoint, found a finished model")
        return _read_group(file["optimiser"])


def is_model(path: Path) -> bool:
    """Whether a file calls itself a chanest model; FileError when it is no HDF5 at all."""
    with _open(path) as file:
        return bool(file.attrs.get("format") == FORMAT)


def shipped_models() -> list[Path]:
    """The files of the shipped models, by name."""
    return sorted(shipped("models").glob("*.h5"))


def describe_model(path: Path) -> dict[str, Any]:
    """Algorithm, hyperparameters, scenario and training attributes, without the tensors."""
    with _open(path) as file:
        _check_format(file, path)
        fields = _read_group(_group(file, "scenario", path))
        return {
            "algorithm": str(file.attrs["algorithm"]),
            "created": str(file.attrs.get("created", "")),
            "chanest_version": str(file.attrs.get("chanest_version", "")),
            "hyperparameters": _read_group(_group(file, "hyperparameters", path)),
            "scenario": scenario_from_fields(fields, f"{path}: scenario"),
            "training": _read_group(_group(file, "training", path)),
            "tensors": {name: tensor.shape for name, tensor in _tensors(file, path).items()},
        }


def _open(path: Path) -> h5py.File:
    if not path.exists():
        raise FileError(f"{path}: no such file")
    if path.is_dir() or not path.stat().st_size or not h5py.is_hdf5(path):
        found = "a folder" if path.is_dir() else "not HDF5" if path.stat().st_size else "an empty file"
        raise FileError(f"{path}: expected a chanest model in HDF5, found {found}")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise FileError(f"{path}: damaged or truncated HDF5 ({str(error).splitlines()[0]})") from None


def _check_format(file: h5py.File, path: Path) -> None:
    if file.attrs.get("format") != FORMAT:
        raise ModelError(f'{path}: expected format = "{FORMAT}", found {file.attrs.get("format")!r}')
    if file.attrs.get("format_version") != FORMAT_VERSION:
        raise ModelError(
            f"{path}: expected format_version {FORMAT_VERSION}, found {file.attrs.get('format_version')}; "
            f"this chanest is {version('chanest')}"
        )
    if file.attrs.get("algorithm") not in ALGORITHMS:
        raise ModelError(
            f"{path}: algorithm: expected one of {', '.join(ALGORITHMS)}, found {file.attrs.get('algorithm')!r}"
        )


def _group(file: h5py.File, name: str, path: Path) -> h5py.Group:
    group = file.get(name)
    if not isinstance(group, h5py.Group):
        raise ModelError(f"{path}: group {name}: missing")
    return group


def _tensors(file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    found: dict[str, h5py.Dataset] = {}
    for kind in ("parameters", "normalisation"):
        group = _group(file, kind, path)
        group.visititems(
            lambda name, item, kind=kind: (
                found.update({f"{kind}/{name}": item}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


def _algorithm(file: h5py.File, path: Path) -> Algorithm:
    _check_format(file, path)
    hyperparameters = _read_group(_group(file, "hyperparameters", path))
    try:
        algorithm = ALGORITHMS[file.attrs["algorithm"]](**hyperparameters)
    except (AlgorithmError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ModelError(f"{path}: hyperparameters: {error}") from None
    found = _tensors(file, path)
    expected = {f"parameters/{n.replace('.', '/')}": p.data for n, p in algorithm.named_parameters()}
    expected |= {f"normalisation/{n.replace('.', '/')}": b for n, b in algorithm.named_buffers()}
    settings = ", ".join(f"{key}={value}" for key, value in hyperparameters.items())
    for name in sorted(expected.keys() - found.keys()):
        raise ModelError(f"{path}: {name}: missing")
    for name in sorted(found.keys() - expected.keys()):
        raise ModelError(f"{path}: {name}: not a tensor of {algorithm.name} with {settings}")
    for name, tensor in expected.items():
        dataset = found[name]
        if dataset.shape != tuple(tensor.shape):
            raise ModelError(
                f"{path}: {name}: expected {tuple(tensor.shape)}, the file has {dataset.shape}; "
                f"was it made with {settings}?"
            )
        if dataset.dtype.kind != "f":
            raise ModelError(f"{path}: {name}: expected floating-point numbers, the file has {dataset.dtype}")
        try:
            values = np.asarray(dataset[()])
        except OSError as error:
            raise FileError(f"{path}: {name}: damaged ({str(error).splitlines()[0]})") from None
        if not np.isfinite(values).all():
            first = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise ModelError(f"{path}: {name}: NaN or Inf at index {first}")
        tensor.copy_(torch.from_numpy(values.astype(np.float32)))
    return algorithm


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
            case Tensor():
                group[name] = value.detach().cpu().numpy()
            case np.ndarray():
                group[name] = value
            case _:
                group.attrs[name] = value


def _read_group(group: h5py.Group) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in group.attrs.items():
        if isinstance(value, np.ndarray):
            fields[name] = tuple(value.tolist())
        else:
            fields[name] = value.item() if isinstance(value, np.generic) else value
    for name, item in group.items():
        fields[name] = _read_group(item) if isinstance(item, h5py.Group) else item[()]
    return fields
