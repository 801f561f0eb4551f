"""``chanest info``, ``chanest models``, ``chanest scenarios``."""

import math
from pathlib import Path
from typing import Any

import h5py
from rich.table import Table

from ..errors import FileError
from ..files.arrays import ArrayReader
from ..files.measurements import PilotFile
from ..files.vectors import VectorFile
from ..models.hdf5 import describe_model, is_model, shipped_models
from ..problems.gaussian import SyntheticScenario
from ..problems.load import AnyScenario, load_any_scenario, scenario_names
from ..problems.ofdm.channels import PathChannel, ProfileChannel, RecordedChannel, TapChannel
from .common import console


def run(name: str) -> None:
    """Say what a shipped model or scenario, or a file, is."""
    path = Path(name)
    shipped = {model.stem: model for model in shipped_models()}
    if name in shipped and not path.exists():
        print(_model_words(shipped[name]))
    elif name in scenario_names() and not path.exists():
        print(_scenario_words(load_any_scenario(name)))
    elif path.suffix == ".toml":
        print(_scenario_words(load_any_scenario(path)))
    elif not path.exists():
        known = ", ".join([*scenario_names(), *shipped])
        raise FileError(f"no such file, and not one of {known}", path=name)
    elif path.is_file() and h5py.is_hdf5(path) and is_model(path):
        print(_model_words(path))
    else:
        print(_array_words(path))


def list_models() -> None:
    """The table of shipped models."""
    table = Table()
    for heading in ("model", "algorithm", "scenario", "pilots", "SNR (dB)", "K", "parameters"):
        table.add_column(heading, no_wrap=True)
    table.add_column("validation NMSE (dB)")
    for path in shipped_models():
        facts = describe_model(path)
        scenario: AnyScenario = facts["scenario"]
        n_parameters = sum(
            math.prod(shape) for name, shape in facts["tensors"].items() if name.startswith("parameters")
        )
        table.add_row(
            path.stem,
            facts["algorithm"],
            scenario.name,
            _pilots(scenario),
            _range(scenario.training.snr_db),
            str(facts["hyperparameters"]["n_iterations"]),
            f"{n_parameters:,}",
            _number(facts["training"], "validation_nmse_db", ".2f"),
        )
    console().print(table)


def list_scenarios() -> None:
    """The table of shipped scenarios."""
    table = Table("scenario", "pilots", "SNR (dB)", "what it is")
    for name in scenario_names():
        scenario = load_any_scenario(name)
        snr = f"{scenario.snr_db:g}"
        if not isinstance(scenario, SyntheticScenario):
            snr += f" ({scenario.snr_convention})"
        table.add_row(name, _pilots_of(scenario), snr, scenario.description)
    console().print(table)


def _model_words(path: Path) -> str:
    facts = describe_model(path)
    training, scenario = facts["training"], facts["scenario"]
    settings = ", ".join(f"{key} = {value}" for key, value in facts["hyperparameters"].items())
    tensors = "\n".join(f"    {name} {tuple(shape)}" for name, shape in facts["tensors"].items())
    synthetic = isinstance(scenario, SyntheticScenario)
    fixed = scenario.training.fixed_matrix if synthetic else scenario.training.fixed_pattern
    thing = "matrix" if synthetic else "pilot pattern"
    pattern = f"one fixed {thing} (seed {training.get('seed', '?')})" if fixed else f"a new {thing} every step"
    if synthetic and scenario.training.denser > 1:
        pattern += f", every other vector {scenario.training.denser:g} times denser"
    convention = "" if synthetic else f" ({scenario.snr_convention} convention)"
    return (
        f"{path.name}: a chanest model, {facts['algorithm']}, made {facts['created']} "
        f"by chanest {facts['chanest_version']}\n"
        f"  hyperparameters: {settings}\n"
        f"  trained for {scenario.name}: {_size(scenario)}, {pattern}, "
        f"SNR {_range(scenario.training.snr_db)} dB{convention}\n"
        f"  training: {training.get('steps', '?')} steps of {training.get('batch_size', '?')}, "
        f"{_number(training, 'wall_seconds', '.0f')} s, "
        f"validation NMSE {_number(training, 'validation_nmse_db', '.2f')} dB\n"
        f"  command: {training.get('command', '?')}\n"
        f"  tensors:\n{tensors}"
    )


def _scenario_words(scenario: AnyScenario) -> str:
    if isinstance(scenario, SyntheticScenario):
        return (
            f"{scenario.name}: {scenario.description}\n"
            f"  {_size(scenario)}, {scenario.sparsity:g} of them not zero on average\n"
            f"  default: {scenario.snr_db:g} dB; training: SNR {_range(scenario.training.snr_db)} dB"
        )
    channel = scenario.channel
    match channel:
        case TapChannel():
            exactly = "exactly" if channel.support == "uniform" else "on average"
            paths = (
                f"{exactly} {channel.sparsity} taps of {scenario.n_taps} on the sample grid, "
                f"variance exp(-{channel.decay:g} i/{scenario.n_taps})"
            )
        case PathChannel():
            paths = (
                f"{channel.n_paths[0]} to {channel.n_paths[1]} paths between the samples, "
                f"delay spans {channel.span_samples[0]:g} to {channel.span_samples[1]:g} samples"
            )
        case RecordedChannel():
            paths = f"recorded, in {channel.file}"
        case ProfileChannel():
            paths = (
                f"{len(channel.delays_ns)} Rayleigh paths at {_list(channel.delays_ns)} ns, "
                f"{_list(channel.powers_db)} dB"
            )
    return (
        f"{scenario.name}: {scenario.description}\n"
        f"  OFDM: {scenario.n_used} of {scenario.n_fft} subcarriers, "
        f"{scenario.subcarrier_spacing_hz / 1e3:g} kHz apart, "
        f"{scenario.sample_rate_hz / 1e6:g} Msample/s, CP {scenario.cp_samples} samples\n"
        f"  channel: {paths}\n"
        f"  estimated taps: {scenario.n_taps} from {scenario.first_tap_samples} samples on\n"
        f"  default: {scenario.n_pilots} pilots, {scenario.snr_db:g} dB, "
        f"{scenario.snr_convention} SNR convention\n"
        f"  training: {_pilots(scenario)} pilots, SNR {_range(scenario.training.snr_db)} dB"
    )


def _array_words(path: Path) -> str:
    with ArrayReader(path) as reader:
        fields = {name: reader.shape(name) for name in reader.names()}
        model = reader.text("model")
    listed = "\n".join(f"    {name} {shape}" for name, shape in fields.items())
    if "received_pilots" not in fields:
        if {"cfr", "used_subcarriers"} <= fields.keys():
            by = f" by {model}" if model else ""
            return f"{path.name}: channel estimates{by}\n  fields:\n{listed}"
        if "phi" in fields:
            return _vector_words(path, listed)
        if {"x"} <= fields.keys() and model:
            return f"{path.name}: sparse vectors found by {model}\n  fields:\n{listed}"
        if {"delays_s", "gains"} <= fields.keys():
            return f"{path.name}: recorded channels\n  fields:\n{listed}"
        found = ", ".join(fields) or "no arrays"
        raise FileError(f"expected a model, received pilots or estimates; the file has {found}", path=path)
    with PilotFile(path) as pilots:
        origin = f"simulated by chanest from {pilots.scenario_name}" if pilots.scenario_name else "of unknown origin"
        truth = " and ".join(name for name, there in (("CIR", pilots.has_cir), ("CFR", pilots.has_cfr)) if there)
        subcarriers = pilots.pattern.subcarriers
        return (
            f"{path.name}: received pilots, {origin}\n"
            f"  {pilots.n_observations} observations of {len(subcarriers)} pilots, "
            f"subcarriers {subcarriers[0]} to {subcarriers[-1]}, DFT length {pilots.pattern.n_fft}\n"
            f"  true channel: {truth or 'unknown'}\n"
            f"  fields:\n{listed}"
        )


def _vector_words(path: Path, listed: str) -> str:
    with VectorFile(path) as vectors:
        origin = f"simulated by chanest from {vectors.scenario_name}" if vectors.scenario_name else "of unknown origin"
        m, n = vectors.phi.n_measurements, vectors.phi.n_coefficients
        return (
            f"{path.name}: measurements of sparse vectors, {origin}\n"
            f"  {vectors.n_observations} observations, {m} measurements of {n} coefficients each\n"
            f"  true x: {'there' if vectors.has_x else 'unknown'}\n"
            f"  fields:\n{listed}"
        )


def _number(fields: dict[str, Any], name: str, form: str) -> str:
    value = fields.get(name)
    return format(value, form) if isinstance(value, int | float) else "?"


def _size(scenario: AnyScenario) -> str:
    if isinstance(scenario, SyntheticScenario):
        return f"{scenario.n_measurements} measurements of {scenario.n_coefficients} coefficients"
    return f"{_pilots(scenario)} pilots"


def _pilots_of(scenario: AnyScenario) -> str:
    """The default number of pilots, or M x N."""
    if isinstance(scenario, SyntheticScenario):
        return f"{scenario.n_measurements} x {scenario.n_coefficients}"
    return str(scenario.n_pilots)


def _pilots(scenario: AnyScenario) -> str:
    """The numbers of pilots that a model serves, or M x N."""
    if isinstance(scenario, SyntheticScenario):
        return _pilots_of(scenario)
    return _range(scenario.training.n_pilots) if scenario.training.n_pilots else str(scenario.n_pilots)


def _range(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g}" if bounds[0] == bounds[1] else f"{bounds[0]:g} to {bounds[1]:g}"


def _list(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
