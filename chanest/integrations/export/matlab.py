"""``.mat`` (v5): the model file's groups as a struct ``model`` of the same names, for MATLAB and Octave."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import torch
from torch import Tensor

from ...algorithms import Algorithm, algorithm_class
from ...errors import ExportError
from ...models import Model
from ...models.hdf5 import model_fields, tensors_of

_WINDOW = ("n_fft", "n_taps", "first_tap_samples", "n_used")


def write_mat(path: Path, model: Model) -> None:
    """Write a model as MATLAB's ``save -v6`` would.

    Matrices have the axes of the HDF5 file, vectors are columns, numbered groups (``tap_rules/0``...) are struct
    arrays (``tap_rules(1)``...), attributes are fields.

    >>> from tempfile import TemporaryDirectory
    >>> from chanest import load_model
    >>> with TemporaryDirectory() as folder:
    ...     write_mat(Path(folder, "m.mat"), load_model("na-sbl-wide-window"))
    ...     read_mat(Path(folder, "m.mat"), load_model("na-sbl-wide-window")).algorithm.n_iterations
    6
    """
    assert isinstance(model.algorithm, Algorithm)
    fields = _matlab(model_fields(model.algorithm, model.scenario, model.training))
    with path.open("wb") as file:
        scipy.io.savemat(file, {"model": fields}, long_field_names=True)


def read_mat(path: Path, model: Model) -> Model:
    """The model in a file of :func:`write_mat`, with its own algorithm, parameters and delay window.

    Args:
        model: what it should be; gives the rest of the scenario.

    Raises:
        ExportError: something is missing or of another size.
    """
    with path.open("rb") as file:
        fields = scipy.io.loadmat(file, simplify_cells=True)["model"]
    try:
        hyperparameters = {k: _plain(v) for k, v in fields["hyperparameters"].items()}
        algorithm = algorithm_class(fields["algorithm"], hyperparameters)(**hyperparameters)
        for name, tensor in tensors_of(algorithm).items():
            value: Any = fields
            for key in name.split("/"):
                value = _member(value, key)
            tensor.copy_(torch.from_numpy(np.asarray(value)).reshape(tensor.shape))
        known = type(model.scenario).model_fields
        window = {name: fields["scenario"][name] for name in _WINDOW if name in known}
    except (KeyError, IndexError, TypeError, RuntimeError) as error:
        raise ExportError(f"cannot be read back ({type(error).__name__}: {error})", path=path) from None
    return Model(algorithm.requires_grad_(False), model.scenario.replace(**window), model.name)


def _matlab(value: Any) -> Any:
    """A group as savemat wants it."""
    match value:
        case Mapping():
            made = {name: _matlab(item) for name, item in value.items() if item is not None}
            return _struct_array(list(made.values())) if made and all(map(str.isdigit, made)) else made
        case Tensor() | np.ndarray() | tuple() | list():
            array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
            return array.reshape(-1, 1) if array.ndim == 1 else array
        case _:
            return value


def _struct_array(structs: list[dict[str, Any]]) -> np.ndarray:
    array = np.empty((len(structs), 1), [(name, object) for name in structs[0]])
    for row, struct in zip(array, structs, strict=True):
        row[0] = tuple(struct.values())
    return array


def _member(struct: Any, key: str) -> Any:
    """A field, or for a number one of an array of structs; loadmat gives an array of one as the struct itself."""
    if not key.isdigit():
        return struct[key]
    return [struct][int(key)] if isinstance(struct, dict) else struct[int(key)]


def _plain(value: Any) -> Any:
    return tuple(value.tolist()) if isinstance(value, np.ndarray) else value
