"""``chanest info``."""

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ..errors import FileError
from ..files import FINDINGS, MOTION, ArrayReader, open_measurements
from ..files.arrays import row_slices
from ..models import describe_model, is_model, read_model, shipped_models
from ..parsers import is_hdf5
from ..problems import load_scenario, ofdm, scenario_names, words_of_range
from .findings import words_of_delays, words_of_findings
from .models import formatted

_MOST_VALUES = 2_000_000  # of impulse responses that are looked at
_WHAT = {
    "alista": "iterative shrinkage with a learned step and threshold per iteration (Liu et al. 2019)",
    "na-alista": "iterative shrinkage whose steps a recurrent network sets for every channel (Behrens et al. 2021)",
    "na-sbl": "sparse Bayesian learning whose updates small networks correct (docs/models.md)",
}
_MOST_GROUPS = 20_000_000


def info(
    name: Annotated[str, typer.Argument(help="A model, scenario or file of pilots.", metavar="FILE|NAME")],
    tensors: Annotated[bool, typer.Option("--tensors", help="Of a model: hyperparameters and tensors too.")] = False,
) -> None:
    """Say in words what a model, a scenario or a file is.

    \b
    chanest info na-sbl-wide
    chanest info na-sbl-wide --tensors
    chanest info munich
    chanest info pilots.h5
    """
    path = Path(name)
    shipped = {model.stem: model for model in shipped_models()}
    if name in shipped and not path.exists():
        print(_model_words(shipped[name], tensors))
    elif name in scenario_names() and not path.exists():
        print(load_scenario(name))
    elif path.suffix == ".toml":
        print(load_scenario(path))
    elif not path.exists():
        raise FileError(f"no such file, and not one of {', '.join([*scenario_names(), *shipped])}", path=name)
    elif is_hdf5(path) and is_model(path):
        read_model(path)  # a damaged one is named
        print(_model_words(path, tensors))
    else:
        print(_array_words(path))


def _model_words(path: Path, tensors: bool) -> str:
    """What a model is, what it was trained for, how good it is and how to use it."""
    facts = describe_model(path)
    training, scenario = facts["training"], facts["scenario"]
    name = path.stem if path in shipped_models() else str(path)
    n_parameters = sum(math.prod(shape) for tensor, shape in facts["tensors"].items() if "parameters/" in tensor)
    steps, seconds = training.get("steps", "?"), training.get("wall_seconds")
    lasted = "?" if seconds is None else f"{seconds / 60:.0f} minutes"
    call = "estimate(received_pilots, pattern)" if "cfr" in scenario.quantities else "recover(observations, phi)"
    good = formatted(training.get("validation_nmse_db"), ".2f")
    lines = {
        "what": _WHAT.get(facts["algorithm"], facts["algorithm"])
        + f"; {n_parameters:,} parameters, {facts['hyperparameters'].get('n_iterations', '?')} iterations",
        "trained on": f"{scenario.name}: {scenario.description or scenario.size}",
        **_trained_words(facts),
        "how good": f"NMSE {good} dB over these SNRs in validation; measured on others: docs/estimators.md",
        "use": f"chanest estimate --input pilots.h5 --model {name} --output channels.h5",
        "": f'chanest.load_model("{name}").{call}',
        "made": f"{str(facts['created'])[:10]} by chanest {facts['chanest_version']}, {steps} steps of "
        f"{training.get('batch_size', '?')} in {lasted}, by",
        " ": training.get("command", "?"),
    }
    words = f"{path.name}: a chanest model, {facts['algorithm']}\n"
    words += "\n".join(f"  {key:<11} {value}" for key, value in lines.items())
    if not tensors:
        return words + "\n  more        --tensors"
    settings = ", ".join(f"{key} = {value}" for key, value in facts["hyperparameters"].items())
    listed = "\n".join(f"    {tensor} {tuple(shape)}" for tensor, shape in facts["tensors"].items())
    digest = facts["digest"] or "none; made before chanest wrote any"
    return f"{words}\n  hyperparameters: {settings}\n  digest: {digest}\n  tensors:\n{listed}"


def _trained_words(facts: dict[str, Any]) -> dict[str, str]:
    """Pilots, bands and SNRs that a model was trained for."""
    scenario, seed = facts["scenario"], facts["training"].get("seed", "?")
    convention = f" ({scenario.noise_convention} convention)" if scenario.noise_convention else ""
    snr = f"SNR {words_of_range(scenario.training.snr_db)} dB{convention}"
    if "cfr" not in scenario.quantities:
        return {"for": f"{scenario.training_words(seed)}, {snr}"}
    band = ofdm(scenario)
    if band.training.receivers is not None and facts["hyperparameters"].get("delays") == "circle":
        low, high = band.training.receivers.n_pilots
        return {
            "for": f"any receiver, {low}–{high} pilots, {snr}",
            "bands": "any carrier, every delay that the pilots tell apart; antennas, layers, users in motion",
        }
    first, last = (1e6 * delay / band.sample_rate_hz for delay in band.window_samples)
    width = f"{band.n_used} of {band.n_fft} subcarriers or their like"
    return {
        "for": f"{scenario.training_words(seed)}, {snr}",
        "bands": f"{width}, {band.sample_rate_hz / 1e6:g} Msample/s; delays {first:.1f} to {last:.1f} µs",
    }


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
