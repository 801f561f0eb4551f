"""Trained models for other programs; each compared with the model it came from before it is kept."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ...algorithms import Algorithm, CircleNASBL, Interpolator
from ...errors import ExportError, ModelError
from ...models import Model, read_model, write_model
from ...problems import PilotPattern
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
    ExportError.unless(to in SUFFIXES, f"one of {', '.join(SUFFIXES)}", to, "to")
    if to == "savedmodel" and savedmodel_writer is None:
        raise ExportError(
            "give savedmodel_writer, or call chanest.integrations.tensorflow.export_savedmodel", field="savedmodel"
        )
    if isinstance(model.algorithm, Interpolator):
        raise ModelError(f"model {model.name}: {model.algorithm.name} has no parameters to export")
    if model.algorithm.circle and to in ("onnx", "torch-export"):
        raise ModelError(
            f"model {model.name}: looks at the delays that the pilots tell apart, which {to} cannot carry yet; "
            "take na-sbl-wide-window"
        )
    sensing = model.scenario.sensing(seed=0) if pattern is None else pattern
    if to not in ("hdf5", "mat"):
        of_format: dict[str, tuple[type[Algorithm], ...]] = {
            "onnx": onnx_file.KINDS,
            "torch-export": TRACEABLE,
            "savedmodel": (*TRACEABLE, CircleNASBL),
        }
        traceable(model, of_format[to])
    inputs = Inputs.random(model, sensing)
    write: Writer
    run: Callable[[Path], Outputs]
    match to:
        case "hdf5":
            write, run, tolerances = partial(_write_hdf5, model=model), partial(_run, _read_hdf5, model, inputs), _EXACT
        case "mat":
            write, run, tolerances = partial(write_mat, model=model), partial(_run, read_mat, model, inputs), _EXACT
        case "torch-export":
            write = partial(torch_file.write_torch, model=model, pattern=sensing)
            run, tolerances = partial(torch_file.run_torch, inputs=inputs), torch_file.TOLERANCES
        case "onnx":
            write = partial(onnx_file.write_onnx, model=model, pattern=sensing)
            run, tolerances = partial(onnx_file.run_onnx, inputs=inputs), onnx_file.TOLERANCES
        case _:
            assert savedmodel_writer is not None
            write, run = savedmodel_writer, partial(savedmodel.run_savedmodel, inputs=inputs)
            tolerances = savedmodel.TOLERANCES["circle" if model.algorithm.circle else model.algorithm.name]
    return verified(path, write, run, inputs.estimate(model), tolerances)


def _write_hdf5(path: Path, model: Model) -> None:
    assert isinstance(model.algorithm, Algorithm)
    write_model(path, model.algorithm, model.scenario, model.training)


def _read_hdf5(path: Path, model: Model) -> Model:
    algorithm, scenario, _ = read_model(path)
    return Model(algorithm.requires_grad_(False), scenario, model.name)


def _run(read: Callable[[Path, Model], Model], model: Model, inputs: Inputs, path: Path) -> Outputs:
    """What the model in a file of parameters makes of the inputs."""
    return inputs.estimate(read(path, model))


__all__ = [
    "SUFFIXES",
    "ChannelProgram",
    "Inputs",
    "export_model",
    "relative_error",
    "verified",
]
