"""``chanest export``."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import ChanestError, FileError
from ..files.arrays import refuse_existing
from ..files.measurements import PilotFile
from ..integrations.export import SUFFIXES, export_model
from ..models.model import Model
from ..models.zoo import load_model
from ..problems.gaussian import SyntheticScenario
from ..problems.ofdm.draw import draw_pattern
from ..problems.ofdm.pilots import PilotPattern
from .common import check_distinct, check_seed, naming_options

_READERS = {
    "hdf5": "read back",
    "mat": "rebuilt from the struct",
    "savedmodel": "by TensorFlow",
    "torch-export": "in a fresh process without chanest",
    "onnx": "by onnxruntime",
}


@dataclass(frozen=True)
class ExportOptions:
    """The options of ``chanest export``."""

    model: str
    to: str
    output: Path | None
    pilots: int | None
    seed: int | None
    input: Path | None
    force: bool


def run(options: ExportOptions) -> None:
    """Write a model in another format, verified, and say by how much it differs."""
    if options.to not in SUFFIXES:
        raise ChanestError(f"expected {', '.join(SUFFIXES)}, got {options.to}", field="--to")
    if options.input is not None and not (options.pilots is None and options.seed is None):
        raise ChanestError("the pilots are those of the file; leave --pilots and --seed out", field="--input")
    check_seed(options.seed or 0)
    model = load_model(options.model)
    suffix = SUFFIXES[options.to]
    output = options.output or Path(Path(options.model).name.removesuffix(".h5") + suffix)
    given = Path(options.model)
    check_distinct(model=given if given.suffix == ".h5" else None, input=options.input, output=output)
    _check_output(output, options.to, suffix, options.force)
    pattern = _pattern(model, options)
    writer = partial(_write_savedmodel, model) if options.to == "savedmodel" else None
    errors = export_model(model, options.to, output, pattern, writer)
    print(f"wrote {output}: {model.algorithm.name} for {model.scenario.name}, {_served(options.to, pattern)}")
    said = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    print(f"verified on random input, {_READERS[options.to]}: largest relative errors: {said}")


def _pattern(model: Model, options: ExportOptions) -> PilotPattern | None:
    """Where the pilots lie; None in the synthetic setting."""
    if isinstance(model.scenario, SyntheticScenario):
        for name, value in (("pilots", options.pilots), ("seed", options.seed), ("input", options.input)):
            if value is not None:
                raise ChanestError(
                    f"model {model.name} is for synthetic vectors, which have no pilots", field=f"--{name}"
                )
        return None
    if options.input is not None:
        with PilotFile(options.input) as file:
            pattern = file.pattern
        if (pattern.n_fft, pattern.n_used) != (model.ofdm.n_fft, model.ofdm.n_used):
            raise ChanestError(
                f"{options.input} has n_fft {pattern.n_fft} and {pattern.n_used} used subcarriers, model "
                f"{model.name} is for {model.ofdm.n_fft} and {model.ofdm.n_used}",
                field="--input",
            )
        return pattern
    with naming_options({"n_pilots": "--pilots"}):
        scenario = model.ofdm if options.pilots is None else model.ofdm.replace(n_pilots=options.pilots)
    return draw_pattern(scenario, options.seed or 0)


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
