"""The HDF5 model file: self-describing, without pickle or code. The only module that knows its schema.

Root attributes ``format``, ``format_version``, ``algorithm``, ``chanest_version``, ``created``, ``digest``; groups
``hyperparameters``, ``parameters``, ``normalisation``, ``constants``, ``scenario``, ``training``. A training
checkpoint is a model file with one more group, ``optimiser``.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ..errors import AlgorithmError, FileError, ModelError
from ..files.atomic import replacing
from ..lazy import torch
from ..parsers import WHOLE_FILE_LIMIT, Dataset, ForeignArrays, Tree, is_hdf5, read_tree, tree_of
from ..problems import Problem, scenario_from_fields, shipped

if TYPE_CHECKING:
    from torch import Tensor

    from ..algorithms import Algorithm

FORMAT, FORMAT_VERSION = "chanest-model", 1
_MOST_ITERATIONS, _MOST_SIZE = 10_000, 1 << 20  # of a hyperparameter: a module of as many layers is built
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
    fields = model_fields(algorithm, scenario, training)
    with h5py.File("model", "w", driver="core", backing_store=False) as file:  # HDF5 crashes where a disk is full
        _write(file, fields if optimiser is None else {**fields, "optimiser": optimiser})
        file.attrs["digest"] = digest_of(tree_of(file))
        file.flush()
        image = file.id.get_file_image()
    with replacing(path) as partial:
        partial.write_bytes(image)


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
    """Read a model file, checking every field, and its digest where it has one.

    Returns:
        the algorithm with its parameters, its scenario, and the ``training`` group.

    Raises:
        FileError: missing, unreadable, not HDF5.
        ModelError: not a chanest model, or a tensor is missing, foreign, of a wrong shape, or not finite; or the
            contents are not those that its digest was made of.
    """
    file = _open(path)
    made = _algorithm(file, path), _scenario(file, path), _fields(_group(file, "training", path), path)
    _check_digest(file, path)
    return made


def read_purpose(path: Path) -> tuple[str, Problem]:
    """Name of the algorithm in a model file, and the problem that it was made for.

    Raises:
        FileError, ModelError: as :func:`read_model`.

    >>> name, scenario = read_purpose(shipped_models()[0])
    >>> name, scenario.name
    ('alista', 'lte10')
    """
    file = _open(path)
    _check_format(file, path)
    _check_algorithm(file, path)
    return str(file.attributes["algorithm"]), _scenario(file, path)


def read_optimiser(path: Path) -> dict[str, Any]:
    """The ``optimiser`` group of a checkpoint.

    Raises:
        ModelError: the file is a finished model, not a checkpoint.
    """
    file = _open(path)
    if "optimiser" not in file.groups:
        raise ModelError("expected a training checkpoint, found a finished model", path=path)
    return _fields(file.groups["optimiser"], path)


def is_model(path: Path) -> bool:
    """Whether a file calls itself a chanest model; FileError when it is no HDF5 at all."""
    if not is_hdf5(path):
        _open(path)
    with closing(ForeignArrays(path, matlab=False, most=WHOLE_FILE_LIMIT)) as file:
        return bool(file.attributes.get("format") == FORMAT)


def shipped_models() -> list[Path]:
    """The files of the shipped models, by name."""
    return sorted(shipped("models").glob("*.h5"))


def describe_model(path: Path) -> dict[str, Any]:
    """Algorithm, hyperparameters, scenario, training, digest and the tensors' shapes, as the file says.

    Raises:
        FileError: missing, unreadable, not HDF5.
        ModelError: not a chanest model, or its scenario is none.
    """
    file = _open(path)
    _check_format(file, path)
    return {
        "algorithm": str(file.attributes.get("algorithm")),
        "created": str(file.attributes.get("created")),
        "chanest_version": str(file.attributes.get("chanest_version")),
        "digest": file.attributes.get("digest"),
        "hyperparameters": _fields(_group(file, "hyperparameters", path), path),
        "scenario": _scenario(file, path),
        "training": _fields(_group(file, "training", path), path),
        "tensors": {name: tuple(one.shape or ()) for name, one in _tensors(file, path).items()},
    }


def summarise_model(path: Path) -> dict[str, Any]:
    """Algorithm, scenario, n_iterations, n_parameters and validation_nmse_db, and no more.

    Raises:
        FileError, ModelError: as of :func:`describe_model`.

    >>> summarise_model(shipped("models") / "alista-lte10-m75.h5")["n_parameters"]
    39
    """
    file = _open(path)
    _check_format(file, path)
    sizes = [math.prod(one.shape or ()) for one in _datasets(_group(file, "parameters", path), "").values()]
    return {
        "algorithm": str(file.attributes.get("algorithm")),
        "scenario": _scenario(file, path),
        "n_iterations": _group(file, "hyperparameters", path).attributes.get("n_iterations"),
        "n_parameters": sum(sizes),
        "validation_nmse_db": _group(file, "training", path).attributes.get("validation_nmse_db"),
    }


def digest_of(file: Tree) -> str:
    """SHA-256, in hexadecimal digits, of all that a model file says, but of the digest itself.

    It is taken over names, types, shapes and values, not over the bytes of the file: HDF5 may lay these out otherwise.

    >>> digest_of(Tree({"digest": "x"})) == digest_of(Tree()) != digest_of(Tree({"algorithm": "ista"}))
    True
    """
    digest = hashlib.sha256()

    def add(group: Tree, where: str) -> None:
        for name in sorted(group.attributes):
            if (where, name) != ("", "digest"):
                digest.update(f"{where}{name}={json.dumps(group.attributes[name])}\n".encode())
        for name in sorted(group.datasets):
            one = group.datasets[name]
            digest.update(f"{where}{name}:{one.dtype}{one.shape}\n".encode())
            if one.values is not None:
                little = one.values.astype(one.values.dtype.newbyteorder("<"), copy=False)
                digest.update(np.ascontiguousarray(little).tobytes())
        for name in sorted(group.groups):
            add(group.groups[name], f"{where}{name}/")

    add(file, "")
    return digest.hexdigest()


def _check_digest(file: Tree, path: Path) -> None:
    """Raise ModelError where a file is not what was written; a shipped one must say what that was."""
    told, found = file.attributes.get("digest"), digest_of(file)
    if told != found and (told is not None or _is_shipped(path)):
        raise ModelError(
            f"expected {told}, the contents give {found}: damaged, or changed since; get or train it anew",
            path=path,
            field="digest",
        )


def _is_shipped(path: Path) -> bool:
    return path.resolve().parent == shipped("models").resolve()


def _open(path: Path) -> Tree:
    """What is in an HDF5 file."""
    if not path.exists():
        raise FileError("no such file", path=path)
    if not path.is_file() or not path.stat().st_size or not is_hdf5(path):
        found = "a folder" if path.is_dir() else "not HDF5" if path.stat().st_size else "an empty file"
        raise FileError(f"expected a chanest model in HDF5, found {found}", path=path)
    return read_tree(path, trusted=_is_shipped(path))


def _check_format(file: Tree, path: Path) -> None:
    for name, expected in (("format", FORMAT), ("format_version", FORMAT_VERSION)):
        found = file.attributes.get(name)
        if found != expected:
            hint = f"; this is chanest {version('chanest')}" if name == "format_version" else ""
            raise ModelError(f"expected {expected}, found {found}{hint}", path=path, field=name)


def _check_algorithm(file: Tree, path: Path) -> None:
    from ..algorithms import ALGORITHMS

    found = file.attributes.get("algorithm")
    if found not in tuple(ALGORITHMS):
        raise ModelError(f"expected {' or '.join(ALGORITHMS)}, found {found}", path=path, field="algorithm")


def _group(file: Tree, name: str, path: Path) -> Tree:
    if name not in file.groups:
        raise ModelError(f"group {name}: missing", path=path)
    return file.groups[name]


def _scenario(file: Tree, path: Path) -> Problem:
    return scenario_from_fields(_fields(_group(file, "scenario", path), path), f"{path}: scenario")


def _tensors(file: Tree, path: Path) -> dict[str, Dataset]:
    """Parameters and constants by name."""
    found: dict[str, Dataset] = {}
    for kind in ("parameters", "normalisation"):
        found |= _datasets(_group(file, kind, path), f"{kind}/")
    return found


def _datasets(group: Tree, where: str) -> dict[str, Dataset]:
    found = {f"{where}{name}": one for name, one in group.datasets.items()}
    for name, inner in group.groups.items():
        found |= _datasets(inner, f"{where}{name}/")
    return found


def tensors_of(algorithm: Algorithm) -> dict[str, Tensor]:
    """The tensors of an algorithm by their names in the file.

    >>> from chanest.algorithms import ALISTA
    >>> list(tensors_of(ALISTA()))[:2]
    ['parameters/log_step_size', 'parameters/log_threshold']
    """
    tensors = {f"parameters/{n.replace('.', '/')}": p.data for n, p in algorithm.named_parameters()}
    return tensors | {f"normalisation/{n.replace('.', '/')}": b for n, b in algorithm.named_buffers()}


def _algorithm(file: Tree, path: Path) -> Algorithm:
    from ..algorithms import algorithm_class

    _check_format(file, path)
    _check_algorithm(file, path)
    hyperparameters = _fields(_group(file, "hyperparameters", path), path)
    cls = algorithm_class(str(file.attributes["algorithm"]), hyperparameters)
    _check_hyperparameters(cls, hyperparameters, path)
    try:
        with torch.device("meta"):  # no memory for a size that the tensors in the file may not have
            algorithm = cls(**hyperparameters)
    except (AlgorithmError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ModelError(f"{error}", path=path, field="hyperparameters") from None
    found = _tensors(file, path)
    expected = tensors_of(algorithm)
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
        if dataset.values is None or dataset.values.dtype.kind != "f":
            found_there = dataset.dtype if dataset.values is not None or dataset.why == "text" else dataset.why
            raise ModelError(f"expected floating-point numbers, the file has {found_there}", path=path, field=name)
    algorithm = algorithm.to_empty(device="cpu")
    for name, tensor in tensors_of(algorithm).items():
        with np.errstate(over="ignore"):
            values = np.asarray(found[name].values).astype(np.float32)
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
        most = _MOST_ITERATIONS if name == "n_iterations" else _MOST_SIZE
        if kind is int and value > most:
            raise ModelError(f"expected at most {most}, found {value}", path=path, field=f"hyperparameters: {name}")


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


def _fields(group: Tree, path: Path) -> dict[str, Any]:
    """Attributes, arrays and groups of a group, by name; numbers in the place of arrays without axes."""
    arrays = {}
    for name, one in group.datasets.items():
        if one.values is None:
            raise ModelError(f"expected numbers, found {one.why}", path=path, field=name)
        arrays[name] = one.values if one.shape else one.values[()]
    return {**group.attributes, **arrays, **{name: _fields(inner, path) for name, inner in group.groups.items()}}
