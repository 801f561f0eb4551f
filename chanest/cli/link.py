"""``chanest link``."""

import hashlib
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.table import Column, Table

from ..errors import ChanestError
from ..evaluation import Sweep, Task, executor
from ..evaluation.plots import Chart, Series, draw_charts
from ..models.zoo import chosen_estimators, fingerprinted
from ..problems import ofdm
from .compare import numbers
from .options import (
    DaskOption,
    DeviceOption,
    ForceOption,
    ResumeOption,
    check_number,
    check_seed,
    check_sweep_output,
    chosen_device,
    chosen_problem,
    naming_options,
)
from .terminal import progress_bar, show

_MOST_POINTS, _MOST_SLOTS, _LEVEL = 10_000, 10_000_000, 0.1
_EBNO_DB = (-50.0, 100.0)
_LIGHT = 299792458.0  # m/s
_OPTIONS = {
    "modulation": "--modulation",
    "rate": "--rate",
    "n_symbols": "--symbols",
    "n_pilot_symbols": "--pilot-symbols",
    "n_pilots": "--pilots",
    "n_antennas": "--antennas",
    "doppler_hz": "--speed",
    "algorithms": "--algorithms",
}
Rows = Sequence[dict[str, str]]


def link(
    output: Annotated[Path, typer.Option(help="CSV to write; a plot lies beside it.")],
    scenario: Annotated[str, typer.Option(help="Channels: a shipped scenario, or a .toml file.")] = "lte10",
    algorithms: Annotated[
        str | None, typer.Option(help="Estimators, models, model files: omp,my.h5.", show_default="the usual ones")
    ] = None,
    pilots: Annotated[str, typer.Option(help="Numbers of pilots on each pilot symbol: 50,75,100.")] = "75",
    ebno: Annotated[str, typer.Option(help="Eb/N0 in dB: 0,6,12 or 0:12:1.")] = "0:12:1",
    modulation: Annotated[str, typer.Option(help="qpsk, 16qam or 64qam, with commas between.")] = "qpsk",
    rate: Annotated[float, typer.Option(help="Rate of the LDPC code.")] = 0.5,
    symbols: Annotated[int, typer.Option(help="OFDM symbols of a slot.")] = 12,
    pilot_symbols: Annotated[int, typer.Option(help="How many of them carry pilots: 1 to 4.")] = 1,
    antennas: Annotated[int, typer.Option(help="Of the receiver.")] = 1,
    speed: Annotated[float, typer.Option(help="Of the user, in km/h.")] = 0.0,
    carrier: Annotated[
        float, typer.Option(help="Carrier frequency in GHz, which with a speed makes the Doppler.")
    ] = 2.1,
    slots: Annotated[int, typer.Option(help="Slots to send per point, at most.")] = 256,
    block_errors: Annotated[int, typer.Option(help="Enough for an estimator at a point; 0 for all slots.")] = 50,
    seed: Annotated[int, typer.Option("--seed", help="Seed of pilots, channels, bits and noise.")] = 0,
    device: DeviceOption = "auto",
    dask: DaskOption = None,
    resume: ResumeOption = False,
    force: ForceOption = False,
) -> None:
    """Error rates of an LDPC-coded link, per estimator: tables, a CSV, a plot. Needs Sionna: chanest[sionna].

    \b
    chanest link --output link.csv --pilots 75 --ebno 0:12:1 --modulation qpsk
    chanest link --output moving.csv --scenario etu --speed 120 --pilot-symbols 2 --antennas 2
    """
    from ..integrations.link.simulation import COLUMNS, KEY, LINK_ESTIMATORS, link_of, measure_point, usual_estimators

    plot = output.with_suffix(".png")
    check_sweep_output(output, [plot], resume, force)
    check_seed(seed)
    check_number("--slots", slots, _MOST_SLOTS)
    if block_errors < 0:
        raise ChanestError(f"expected 0, for all slots, or more, got {block_errors}", field="--block-errors")
    on = _sionna_device(chosen_device(device))
    problem = ofdm(chosen_problem(scenario))
    for option, value, least in (("--speed", speed, 0.0), ("--carrier", carrier, 0.01)):
        if not least <= value <= 1000:
            raise ChanestError(f"expected {least:g}...1000, got {value:g}", field=option)
    doppler_hz = speed / 3.6 * carrier * 1e9 / _LIGHT
    simple = antennas == 1 and doppler_hz == 0
    named = usual_estimators(problem, simple) if algorithms is None else chosen_estimators(algorithms, LINK_ESTIMATORS)
    ebnos = _ebnos(ebno)
    counts = [int(n) for n in numbers("--pilots", pilots, whole=True)]
    modulations = dict.fromkeys(name.strip() for name in modulation.split(","))
    with naming_options(_OPTIONS):
        cases = [
            (problem.replace(n_pilots=n), one, rate, symbols, pilot_symbols, seed, on, antennas, doppler_hz)
            for n in counts
            for one in modulations
        ]
        links = [link_of(*case) for case in cases]
        for made in links:
            for name in named:
                made.estimator(name)  # a model that is missing is told of now
    settings: dict[str, object] = {
        "rate": rate,
        "symbols": symbols,
        "pilot_symbols": pilot_symbols,
        "antennas": antennas,
        "doppler_hz": f"{doppler_hz:.6g}",
        "algorithms": fingerprinted(named),
        "n_slots": slots,
        "target_errors": block_errors,
        "seed": seed,
        "device": on,
        "scenarios": hashlib.sha256(problem.replace(n_pilots=2).model_dump_json().encode()).hexdigest()[:12],
    }
    if len(cases) * len(ebnos) > _MOST_POINTS:
        raise ChanestError(f"expected a grid of at most {_MOST_POINTS} points", field="--ebno")
    tasks = [
        Task(
            (case[0].name, case[0].n_pilots, case[1], ebno_db),
            partial(measure_point, case, named, ebno_db, slots, block_errors),
        )
        for case in cases
        for ebno_db in ebnos
    ]
    with executor(dask) as where, progress_bar("simulating", len(tasks)) as bar:
        needed = ("ebno_db", "ber", "bler", "goodput")
        sweep = Sweep(output, KEY, COLUMNS, settings, anew=force and not resume, numbers=needed)
        sweep.run(tasks, where, bar.advance, bar.note)
    wanted = {(case[0].name, str(case[0].n_pilots), case[1], f"{x:.6g}") for case in cases for x in ebnos}
    rows = [row for row in sweep.rows() if tuple(row[name] for name in KEY) in wanted]
    _print_tables(rows)
    _draw(plot, rows, f"{symbols} OFDM symbols, {pilot_symbols} with pilots, rate {rate:g}")
    print(f"wrote {output}, {plot}")


def _sionna_device(device: torch.device) -> str:
    """Sionna knows devices by "cpu" and "cuda:N" only."""
    return "cpu" if device.type == "cpu" else f"cuda:{device.index or 0}"


def _ebnos(text: str) -> list[float]:
    found = numbers("--ebno", text)
    low, high = _EBNO_DB
    for ebno_db in found:
        if not low <= ebno_db <= high:
            raise ChanestError(f"expected {low:g}...{high:g} dB, got {ebno_db:g}", field="--ebno")
    return found


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
            headings = [f"{ebno} dB" for ebno in ebnos] + ([f"dB at {_LEVEL:g}"] if column == "bler" else [])
            table = Table(
                Column("estimator", no_wrap=True),
                *(Column(heading, justify="right") for heading in headings),
                title=f"{here[0]['scenario']}, {n_pilots} pilots, {modulation}: {what}",
                title_justify="left",
            )
            for name in dict.fromkeys(row["estimator"] for row in here):
                own = {row["ebno_db"]: row for row in here if row["estimator"] == name}
                cells = [f"{float(own[ebno][column]):.{digits}f}" if ebno in own else "" for ebno in ebnos]
                if column == "bler":
                    cells.append(_crossing(ebno_at(own.values(), _LEVEL), ebnos))
                table.add_row(name, *cells)
            show(table)


def _crossing(ebno_db: float | None, ebnos: Sequence[str]) -> str:
    if ebno_db is None:
        return f"> {ebnos[-1]}"
    return f"< {ebnos[0]}" if math.isinf(ebno_db) else f"{ebno_db:.2f}"


def _draw(path: Path, rows: Rows, slot: str) -> None:
    """BLER, BER and goodput against Eb/N0, a row of charts per number of pilots and modulation."""
    charts = []
    for (n_pilots, modulation), here in sorted(_by_case(rows).items(), key=lambda case: (int(case[0][0]), case[0][1])):
        for column, label in (("bler", "BLER"), ("ber", "BER"), ("goodput", "goodput (symbols per slot)")):
            log = column != "goodput"
            series = []
            for name in dict.fromkeys(row["estimator"] for row in here):
                shown = [row for row in here if row["estimator"] == name and (float(row[column]) > 0 or not log)]
                shown.sort(key=lambda row: float(row["ebno_db"]))
                x, y = ([float(row[of]) for row in shown] for of in ("ebno_db", column))
                band = None  # Wilson's interval, of a rate that is not 0 above 0 too
                if column == "bler":
                    band = [float(row["bler_low"]) for row in shown], [float(row["bler_high"]) for row in shown]
                series.append(Series(name, x, y, band=band))
            charts.append(Chart(f"{n_pilots} pilots, {modulation}", "Eb/N0 (dB)", label, series, log))
    draw_charts(path, f"{rows[0]['scenario']}: {slot}", charts, across=3)
