"""Trained models for other programs; each compared with the model it came from before it is kept."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ...algorithms import Algorithm, Interpolator
from ...errors import ExportError, ModelError
from ...models import Model, read_model, write_model
from ...problems import PilotPattern
from ...problems.base import Sensing
from . import onnx_file, savedmodel, torch_file
from .matlab import read_mat, write_mat
from .program import TRACEABLE, ChannelProgram, traceable
from .verifying import Inputs, Outputs, relative_error, verified

SUFFIXES = {"hdf5": ".h5", "mat": ".mat", "savedmodel": ".savedmodel", "torch-export": ".pt2", "onnx": ".onnx"}
_EXACT = (1e-6, 1e-6, 1e-6)

Writer = Callable[[Path], None]


def export_model(
    model: Model, to: str, path: Path, pattern: PilotPattern | None = None, savedmodel_writer: Writer | None = None
) -> dict[str, float]:
    """Write a model in another format, and verify it on random pilots with that format's reader.

    Args:
        model: what to export.
        to: one of SUFFIXES.
        path: the file, or for a SavedModel the folder, to write or replace.
        pattern: random pilots lie there; ONNX files serve it alone, ``.pt2`` any pattern of its size, the others
            every pattern. The scenario's, seed 0, when not given.
        savedmodel_writer: writes a SavedModel (this room does not know TensorFlow models).

    Returns:
        the largest relative error of cfr, cir and error_variance over 32 random channels; that of x in the synthetic
        setting.

    Raises:
        ModelError: the format does not take this model.
        ExportError: what was written does not give the model's estimates; it is not kept.
        ExtraError: a package is missing.
        FileError: cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> from chanest import load_model
    >>> with TemporaryDirectory() as folder:
    ...     export_model(load_model("alista-lte10-m75"), "mat", Path(folder, "alista.mat"))
    {'cfr': 0.0, 'cir': 0.0, 'error_variance': 0.0}
    """
    if to not in SUFFIXES:
        raise ExportError(f"expected one of {', '.join(SUFFIXES)}, got {to}", field="to")
    if to == "savedmodel" and savedmodel_writer is None:
        raise ExportError(
            "give savedmodel_writer, or call chanest.integrations.tensorflow.export_savedmodel", field="savedmodel"
        )
    if isinstance(model.algorithm, Interpolator):
        raise ModelError(f"model {model.name}: {model.algorithm.name} has no parameters to export")
    sensing = model.scenario.sensing(seed=0) if pattern is None else pattern
    if to in ("hdf5", "mat"):
        return _export_parameters(model, model.algorithm, to, path, sensing)
    algorithm = traceable(model, onnx_file.KINDS if to == "onnx" else TRACEABLE)
    pattern = sensing
    inputs = Inputs.random(model, pattern)
    expected = inputs.estimate(model)
    match to:
        case "torch-export":
            write = partial(torch_file.write_torch, model=model, pattern=pattern)
            return verified(path, write, partial(torch_file.run_torch, inputs=inputs), expected, torch_file.TOLERANCES)
        case "onnx":
            write = partial(onnx_file.write_onnx, model=model, pattern=pattern)
            return verified(path, write, partial(onnx_file.run_onnx, inputs=inputs), expected, onnx_file.TOLERANCES)
        case _:
            assert savedmodel_writer is not None
            run = partial(savedmodel.run_savedmodel, inputs=inputs)
            return verified(path, savedmodel_writer, run, expected, savedmodel.TOLERANCES[algorithm.name])


def _export_parameters(model: Model, algorithm: Algorithm, to: str, path: Path, sensing: Sensing) -> dict[str, float]:
    """Files of parameters, of any algorithm and either setting."""
    inputs = Inputs.random(model, sensing)

    def write(to_path: Path) -> None:
        if to == "mat":
            write_mat(to_path, model)
        else:
            write_model(to_path, algorithm, model.scenario, model.training)

    def run(written: Path) -> Outputs:
        if to == "mat":
            return inputs.estimate(read_mat(written, model))
        found, scenario, _ = read_model(written)
        return inputs.estimate(Model(found.requires_grad_(False), scenario, model.name))

    return verified(path, write, run, inputs.estimate(model), _EXACT)


__all__ = [
    "SUFFIXES",
    "ChannelProgram",
    "Inputs",
    "export_model",
    "relative_error",
    "verified",
]
