"""``chanest link``."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.table import Table

from ..errors import ChanestError, FileError
from ..evaluation.executors import Task, engine
from ..evaluation.plots import Chart, Series, check_plot_path, draw_charts
from ..evaluation.sweep import Sweep
from ..files.arrays import refuse_existing
from ..models.zoo import chosen_estimators, fingerprinted
from ..problems.ofdm.scenario import Scenario
from .common import (
    check_seed,
    chosen_device,
    chosen_scenario,
    console,
    naming_options,
    progress_bar,
)
from .compare import numbers

if TYPE_CHECKING:
    from ..integrations.link.simulation import Case

_MOST_POINTS, _MOST_SLOTS, _LEVEL = 10_000, 10_000_000, 0.1
_EBNO_DB = (-50.0, 100.0)
_OPTIONS = {
    "modulation": "--modulation",
    "rate": "--rate",
    "n_symbols": "--symbols",
    "n_pilot_symbols": "--pilot-symbols",
    "n_pilots": "--pilots",
}
Rows = Sequence[dict[str, str]]


@dataclass(frozen=True)
class LinkOptions:
    """The options of ``chanest link``, as given."""

    output: Path
    scenario: str
    algorithms: str | None
    pilots: str
    ebno: str
    modulation: str
    rate: float
    symbols: int
    pilot_symbols: int
    slots: int
    block_errors: int
    seed: int
    device: str
    dask: str | None
    resume: bool
    force: bool


def run(options: LinkOptions) -> None:
    """Measure what is missing, then print the tables and draw the plot."""
    from ..integrations.link.simulation import (
        COLUMNS,
        KEY,
        LINK_ESTIMATORS,
        link_of,
        measure_point,
        usual_estimators,
    )

    if options.output.suffix != ".csv":
        raise FileError(f"expected a file ending in .csv, got {options.output}", field="--output")
    plot = options.output.with_suffix(".png")
    if not options.resume:
        refuse_existing(options.output, options.force)
        check_plot_path(plot, options.force)
    if not options.output.parent.is_dir():
        raise FileError(f"no folder {options.output.parent}", path=options.output)
    _check_amounts(options)
    device = _sionna_device(chosen_device(options.device))
    scenario = chosen_scenario(options.scenario, None, None)
    algorithms = usual_estimators(scenario)
    if options.algorithms is not None:
        algorithms = chosen_estimators(options.algorithms, LINK_ESTIMATORS)
    ebnos = _ebnos(options)
    cases = _cases(options, scenario, device)
    with naming_options(_OPTIONS):
        links = [link_of(*case) for case in cases]
    for link in links:
        for name in algorithms:
            link.estimator(name)  # a model that is missing is told of now
    settings: dict[str, object] = {
        "rate": options.rate,
        "symbols": options.symbols,
        "pilot_symbols": options.pilot_symbols,
        "algorithms": fingerprinted(algorithms),
        "n_slots": options.slots,
        "target_errors": options.block_errors,
        "seed": options.seed,
        "device": device,
        "scenarios": hashlib.sha256(scenario.replace(n_pilots=2).model_dump_json().encode()).hexdigest()[:12],
    }
    if len(cases) * len(ebnos) > _MOST_POINTS:
        raise ChanestError(f"expected a grid of at most {_MOST_POINTS} points", field="--ebno")
    stop = options.slots, options.block_errors
    tasks = [
        Task((made.name, made.n_pilots, modulation, ebno), partial(measure_point, case, algorithms, ebno, *stop))
        for case in cases
        for made, modulation in [case[:2]]
        for ebno in ebnos
    ]
    with engine(options.dask) as where, progress_bar("simulating", len(tasks)) as bar:
        if options.force and not options.resume:
            options.output.unlink(missing_ok=True)
        sweep = Sweep(options.output, KEY, COLUMNS, settings)
        sweep.run(tasks, where, bar.advance, bar.note)
    wanted = {(case[0].name, str(case[0].n_pilots), case[1], f"{ebno:.6g}") for case in cases for ebno in ebnos}
    rows = [row for row in sweep.rows() if tuple(row[name] for name in KEY) in wanted]
    _print_tables(rows)
    _draw(plot, rows, options)
    print(f"wrote {options.output}, {plot}")


def _check_amounts(options: LinkOptions) -> None:
    check_seed(options.seed)
    if not 1 <= options.slots <= _MOST_SLOTS:
        raise ChanestError(f"expected 1...{_MOST_SLOTS}, got {options.slots}", field="--slots")
    if options.block_errors < 0:
        raise ChanestError(f"expected 0, for all slots, or more, got {options.block_errors}", field="--block-errors")


def _sionna_device(device: torch.device) -> str:
    """Sionna knows devices by "cpu" and "cuda:N" only."""
    return "cpu" if device.type == "cpu" else f"cuda:{device.index or 0}"


def _ebnos(options: LinkOptions) -> list[float]:
    found = numbers("--ebno", options.ebno)
    low, high = _EBNO_DB
    for ebno in found:
        if not low <= ebno <= high:
            raise ChanestError(f"expected {low:g}...{high:g} dB, got {ebno:g}", field="--ebno")
    return found


def _cases(options: LinkOptions, scenario: Scenario, device: str) -> list["Case"]:
    """What makes a link, per number of pilots and modulation."""
    pilots = [int(n) for n in numbers("--pilots", options.pilots, whole=True)]
    modulations = dict.fromkeys(name.strip() for name in options.modulation.split(","))
    shape = options.rate, options.symbols, options.pilot_symbols, options.seed, device
    with naming_options(_OPTIONS):
        return [(scenario.replace(n_pilots=n), modulation, *shape) for n in pilots for modulation in modulations]


def _by_case(rows: Rows) -> dict[tuple[str, str], Rows]:
    """The rows of every number of pilots and modulation."""
    names = dict.fromkeys((row["n_pilots"], row["modulation"]) for row in rows)
    return {case: [row for row in rows if (row["n_pilots"], row["modulation"]) == case] for case in names}


def _print_tables(rows: Rows) -> None:
    """BLER and goodput, a table per number of pilots and modulation, a column per Eb/N0."""
    from ..integrations.link.simulation import ebno_at

    for (n_pilots, modulation), here in _by_case(rows).items():
        ebnos = sorted({row["ebno_db"] for row in here}, key=float)
        for column, what, digits in (("bler", "BLER", 3), ("goodput", "symbols delivered per slot", 0)):
            table = Table(title=f"{here[0]['scenario']}, {n_pilots} pilots, {modulation}: {what}", title_justify="left")
            table.add_column("estimator", no_wrap=True)
            for ebno in ebnos:
                table.add_column(f"{ebno} dB", justify="right")
            if column == "bler":
                table.add_column(f"dB at {_LEVEL:g}", justify="right")
            for name in dict.fromkeys(row["estimator"] for row in here):
                own = {row["ebno_db"]: row for row in here if row["estimator"] == name}
                cells = [f"{float(own[ebno][column]):.{digits}f}" if ebno in own else "" for ebno in ebnos]
                if column == "bler":
                    cells.append(_crossing(ebno_at(own.values(), _LEVEL), ebnos))
                table.add_row(name, *cells)
            console().print(table)


def _crossing(ebno_db: float | None, ebnos: Sequence[str]) -> str:
    if ebno_db is None:
        return f"> {ebnos[-1]}"
    return f"< {ebnos[0]}" if math.isinf(ebno_db) else f"{ebno_db:.2f}"


def _draw(path: Path, rows: Rows, options: LinkOptions) -> None:
    """BLER, BER and goodput against Eb/N0, a row of charts per number of pilots and modulation."""
    charts = []
    for (n_pilots, modulation), here in _by_case(rows).items():
        for column, label in (("bler", "BLER"), ("ber", "BER"), ("goodput", "goodput (symbols per slot)")):
            log = column != "goodput"
            series = []
            for name in dict.fromkeys(row["estimator"] for row in here):
                curve = [(float(row["ebno_db"]), float(row[column])) for row in here if row["estimator"] == name]
                curve = sorted(point for point in curve if point[1] > 0 or not log)
                series.append(Series(name, [x for x, _ in curve], [y for _, y in curve]))
            charts.append(Chart(f"{n_pilots} pilots, {modulation}", "Eb/N0 (dB)", label, series, log))
    slot = f"{options.symbols} OFDM symbols, {options.pilot_symbols} with pilots, rate {options.rate:g}"
    draw_charts(path, f"{rows[0]['scenario']}: {slot}", charts, across=3)
