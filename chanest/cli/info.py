"""``chanest info``."""

import math
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..errors import FileError
from ..files import FINDINGS, MOTION, ArrayReader, open_measurements
from ..files.arrays import row_slices
from ..models import describe_model, is_model, shipped_models
from ..parsers import is_hdf5
from ..problems import load_scenario, scenario_names, words_of_range
from .findings import words_of_delays, words_of_findings
from .models import formatted

_MOST_VALUES = 2_000_000  # of impulse responses that are looked at
_MOST_GROUPS = 20_000_000


def info(
    name: Annotated[str, typer.Argument(help="A model, scenario or file of pilots.", metavar="FILE|NAME")],
) -> None:
    """Say in words what a model, a scenario or a file is.

    \b
    chanest info na-sbl-wide
    chanest info munich
    chanest info pilots.h5
    """
    path = Path(name)
    shipped = {model.stem: model for model in shipped_models()}
    if name in shipped and not path.exists():
        print(_model_words(shipped[name]))
    elif name in scenario_names() and not path.exists():
        print(load_scenario(name))
    elif path.suffix == ".toml":
        print(load_scenario(path))
    elif not path.exists():
        raise FileError(f"no such file, and not one of {', '.join([*scenario_names(), *shipped])}", path=name)
    elif is_hdf5(path) and is_model(path):
        print(_model_words(path))
    else:
        print(_array_words(path))


def _model_words(path: Path) -> str:
    facts = describe_model(path)
    training, scenario = facts["training"], facts["scenario"]
    settings = ", ".join(f"{key} = {value}" for key, value in facts["hyperparameters"].items())
    tensors = "\n".join(f"    {name} {tuple(shape)}" for name, shape in facts["tensors"].items())
    return (
        f"{path.name}: a chanest model, {facts['algorithm']}, made {facts['created']} "
        f"by chanest {facts['chanest_version']}\n"
        f"  hyperparameters: {settings}\n"
        f"  trained for {scenario.name}: {scenario.training_words(training.get('seed', '?'))}, "
        f"SNR {words_of_range(scenario.training.snr_db)} dB"
        f"{f' ({scenario.noise_convention} convention)' if scenario.noise_convention else ''}\n"
        f"  training: {training.get('steps', '?')} steps of {training.get('batch_size', '?')}, "
        f"{formatted(training.get('wall_seconds'), '.0f')} s, "
        f"validation NMSE {formatted(training.get('validation_nmse_db'), '.2f')} dB\n"
        f"  command: {training.get('command', '?')}\n"
        f"  digest: {facts['digest'] or 'none; made before chanest wrote any'}\n"
        f"  tensors:\n{tensors}"
    )


def _delay_words(reader: ArrayReader, sample_rate_hz: float | None) -> str:
    """Of estimates, from as many as take no time; empty where there is no impulse response."""
    if "cir" not in reader or "cfr" not in reader:
        return ""
    shape = reader.shape("cir")
    if not shape or not math.prod(shape) or shape[-1] > _MOST_VALUES:
        raise FileError(f"expected (*batch, n_taps), found {shape}", path=reader.path, field="cir")
    reader.check_written("cir")
    at = next(row_slices(shape, _MOST_VALUES))
    spacing = reader.number("tap_spacing_samples")
    paths = _few(reader, "n_paths") if "n_paths" in reader else None
    return words_of_delays(reader.numbers("cir", at), 1.0 if spacing is None else spacing, paths, sample_rate_hz)


def _few(reader: ArrayReader, name: str) -> np.ndarray:
    """One number of every group."""
    shape = reader.shape(name)
    if not 1 <= math.prod(shape) <= _MOST_GROUPS:
        raise FileError(f"expected 1...{_MOST_GROUPS} numbers, found {shape}", path=reader.path, field=name)
    reader.check_written(name)
    return reader.numbers(name)


def _array_words(path: Path) -> str:
    with ArrayReader(path) as reader:
        fields = {name: reader.shape(name) for name in reader.names()}
        model = reader.text("model")
        found = {name: _few(reader, name) for name in (*FINDINGS, *MOTION) if name in reader}
        rate, warned = reader.number("sample_rate_hz"), reader.text("warnings")
        delays = _delay_words(reader, rate)
    listed = "\n".join(f"    {name} {shape}" for name, shape in fields.items())
    if "received_pilots" in fields or "phi" in fields:
        with open_measurements(path) as measurements:
            what = measurements.words()
    elif {"cfr", "used_subcarriers"} <= fields.keys():
        what = f"channel estimates{f' by {model}' if model else ''}"
        if set(FINDINGS) <= found.keys():
            what += f"\n  {words_of_findings(found, rate)}"
        what += f"\n  {delays}" if delays else ""
        what += f"\n  warning: {warned}" if warned else ""
    elif "x" in fields and model:
        what = f"sparse vectors found by {model}"
    elif {"delays_s", "gains"} <= fields.keys():
        what = "recorded channels"
    else:
        raise FileError(
            f"expected a model, received pilots or estimates; the file has {', '.join(fields) or 'no arrays'}",
            path=path,
        )
    return f"{path.name}: {what}\n  fields:\n{listed}"
