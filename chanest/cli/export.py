"""``chanest export``."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ChanestError, FileError
from ..files import open_measurements, refuse_existing
from ..integrations.export import SUFFIXES, export_model
from ..models import Model, load_model
from ..problems import PilotPattern
from .options import ForceOption, PilotsOption, check_distinct, check_seed, naming_options

_READERS = {
    "hdf5": "read back",
    "mat": "rebuilt from the struct",
    "savedmodel": "by TensorFlow",
    "torch-export": "in a fresh process without chanest",
    "onnx": "by onnxruntime",
}


def export(
    model: Annotated[str, typer.Argument(help="A shipped model, or an HDF5 file.")],
    to: Annotated[str, typer.Option(help="hdf5, mat, savedmodel, torch-export or onnx.")],
    output: Annotated[Path | None, typer.Option(help="What to write.", show_default="MODEL.h5, .mat, ...")] = None,
    pilots: PilotsOption = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the pilot pattern.", show_default="0")] = None,
    input_: Annotated[Path | None, typer.Option("--input", help="Received pilots whose pattern to take.")] = None,
    force: ForceOption = False,
) -> None:
    """Write a model for other programs, and verify it against the original.

    \b
    chanest export na-sbl-lte10-m75 --to torch-export
    chanest export my.h5 --to mat --output my.mat
    """
    if to not in SUFFIXES:
        raise ChanestError(f"expected {', '.join(SUFFIXES)}, got {to}", field="--to")
    if input_ is not None and not (pilots is None and seed is None):
        raise ChanestError("the pilots are those of the file; leave --pilots and --seed out", field="--input")
    check_seed(seed or 0)
    made = load_model(model)
    suffix = SUFFIXES[to]
    path = output or Path(Path(model).name.removesuffix(".h5") + suffix)
    check_distinct(model=Path(model) if Path(model).suffix == ".h5" else None, input=input_, output=path)
    _check_output(path, to, suffix, force)
    pattern = _pattern(made, pilots, seed, input_)
    writer = partial(_write_savedmodel, made) if to == "savedmodel" else None
    errors = export_model(made, to, path, pattern, writer)
    print(f"wrote {path}: {made.algorithm.name} for {made.scenario.name}, {_served(to, pattern)}")
    said = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    print(f"verified on random input, {_READERS[to]}: largest relative errors: {said}")


def _pattern(model: Model, pilots: int | None, seed: int | None, source: Path | None) -> PilotPattern | None:
    """Where the pilots lie; None where a model has none."""
    if "n_pilots" not in model.scenario.size_fields:
        for name, value in (("pilots", pilots), ("seed", seed), ("input", source)):
            if value is not None:
                raise ChanestError(
                    f"model {model.name} is for synthetic vectors, which have no pilots", field=f"--{name}"
                )
        return None
    if source is None:
        with naming_options({"n_pilots": "--pilots"}):
            return (model.ofdm if pilots is None else model.ofdm.replace(n_pilots=pilots)).sensing(seed or 0)
    with open_measurements(source) as file:
        file.scenario_for(model.ofdm)
        pattern: PilotPattern = file.sensing
    if pattern.grid != model.ofdm.grid:
        raise ChanestError(
            f"{source} has n_fft {pattern.n_fft} and {pattern.n_used} used subcarriers, model "
            f"{model.name} is for {model.ofdm.n_fft} and {model.ofdm.n_used}",
            field="--input",
        )
    return pattern


def _served(to: str, pattern: PilotPattern | None) -> str:
    if pattern is None:
        return "for every matrix"
    match to:
        case "onnx":
            return f"{len(pattern)} pilots on fixed subcarriers, any batch"
        case "torch-export":
            return f"{len(pattern)} pilots on any subcarriers, any batch"
        case _:
            return "any pilots"


def _check_output(output: Path, to: str, suffix: str, force: bool) -> None:
    if to == "savedmodel":
        if output.exists() and not (force and (output / "saved_model.pb").is_file()):
            hint = "give --force to replace it" if (output / "saved_model.pb").is_file() else "it is no SavedModel"
            raise FileError(f"exists already; {hint}", path=output)
        if not output.parent.is_dir():
            raise FileError(f"no folder {output.parent}", path=output)
        return
    if output.suffix != suffix:
        raise FileError(f"expected an output ending in {suffix}, found {output.name}", path=output)
    refuse_existing(output, force)


def _write_savedmodel(model: Model, folder: Path) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow would greet on stderr
    from ..integrations.tensorflow import export_savedmodel  # says itself which extra is missing

    export_savedmodel(model, folder)
