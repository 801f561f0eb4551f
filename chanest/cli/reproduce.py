"""``chanest reproduce``."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..algorithms import ALGORITHMS
from ..errors import ChanestError, FileError
from ..evaluation import Note, Sweep, Task, executor
from ..evaluation.plots import check_plot_path, draw_panels
from ..reproduction import (
    COLUMNS,
    ILLUSTRATIONS,
    KEY,
    Bench,
    Panel,
    Point,
    distances,
    full_training,
    illustrate,
    ordered,
    panels,
    read_published,
    read_published_epochs,
    summary,
)
from .options import DaskOption, DeviceOption, ForceOption, SeedOption, check_samples, chosen_device
from .terminal import progress_bar, show

Curve = list[tuple[float, float]]
_NAMED = {"table1": "Table 1", "others": "Published, but in no figure"}
FIGURES = (*map(str, range(1, 14)), *_NAMED)


def reproduce(
    figure: Annotated[str, typer.Argument(help="1...13, table1 or others.")],
    output: Annotated[Path, typer.Option(help="Folder for the CSV and the pictures.")] = Path("reproduction"),
    published: Annotated[Path | None, typer.Option(help="CSV of published results to set beside ours.")] = None,
    budget: Annotated[
        float | None, typer.Option(help="Minutes of training in all.", show_default="full training")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", help="Test samples, 1...10,000,000.")] = 10_000,
    iterations: Annotated[str | None, typer.Option(help="Some K, with commas between.", show_default="all")] = None,
    algorithms: Annotated[str | None, typer.Option(help="Some algorithms, with commas.", show_default="all")] = None,
    coefficients: Annotated[str | None, typer.Option(help="Some N, with commas.", show_default="all")] = None,
    snr: Annotated[str | None, typer.Option("--snr", help="Some SNRs, with commas.", show_default="all")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of trained models.", show_default="models/ in the output")
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dask: DaskOption = None,
    force: ForceOption = False,
) -> None:
    """Draw a figure of the paper from our own runs; continues where it was interrupted.

    \b
    chanest reproduce 13 --published published_nmse.csv
    chanest reproduce 4 --algorithms ista,fista --coefficients 500 --budget 10
    """
    if figure not in FIGURES:
        raise ChanestError(f"expected one of {', '.join(FIGURES)}, got {figure}", field="FIGURE")
    if budget is not None and not budget > 0:
        raise ChanestError(f"expected minutes, more than 0, got {budget:g}", field="--budget")
    check_samples(samples, seed)
    if dask is not None and figure in ILLUSTRATIONS:
        raise ChanestError(f"figure {figure} is no sweep; leave it out", field="--dask")
    on = chosen_device(device)
    told = read_published(published) if published else {}
    _make_folder(output)
    stem = output / (figure if figure in _NAMED else f"figure{figure}")
    plots = [stem.with_suffix(suffix) for suffix in (".png", ".pdf")]
    table = stem.with_suffix(".csv")
    if figure in ILLUSTRATIONS:
        for path in plots:
            check_plot_path(path, force)
        print(illustrate(figure, table, plots, on, seed, force))
        _say(table, *plots)
        return
    axes = panels(figure)
    asked = {
        "algorithms": ("algorithm", algorithms),
        "iterations": ("n_iterations", iterations),
        "coefficients": ("n_taps", coefficients),
        "snr": ("snr_db", snr),
    }
    wanted = _wanted(figure, axes, asked)
    bench = Bench((cache or output / "models").resolve(), on, samples, seed)
    chain = ordered(wanted, bench.has)
    if figure == "7":  # the course of training, from its beginning
        chain = [(point, None) for point, _ in chain]
    with executor(dask) as where, progress_bar(f"figure {figure}", len(chain)) as bar:
        sweep = Sweep(
            table,
            KEY,
            COLUMNS,
            {"n_samples": samples, "seed": seed, "device": str(on)},
            anew=force,
            numbers=("nmse_db",),
        )
        left = [point for point, _ in chain if not sweep.done(point.key)]
        sweep.run(_tasks(bench, chain, left, budget), where, bar.advance, bar.note)
    rows = sweep.rows()
    if figure == "7":
        epochs = read_published_epochs(published) if published else {}
        ours = _curves(wanted, {point.key: bench.history(point) for point in wanted})
        drawn = [(axes[0].title, "epochs", ours, _curves(wanted, epochs))]
    else:
        drawn = _axes(axes, rows, told)
    for path in plots:
        draw_panels(path, _NAMED.get(figure, f"Figure {figure}"), drawn)
    _print(axes, rows, told)
    if told:
        print(summary(distances(told, rows, {point.key for point in wanted})))
    _say(table, *plots)


def _tasks(
    bench: Bench, chain: list[tuple[Point, Point | None]], left: list[Point], budget: float | None
) -> list[Task]:
    """Of the budget, every point that is left gets what its share of vectors, iterations and coefficients is."""
    work = {
        point: float(point.n_iterations * point.n_taps * math.prod(full_training(point, start)))
        for point, start in chain
        if point in left and ALGORITHMS[point.algorithm].learned
    }
    total, here = sum(work.values()), {point for point, _ in chain}

    def seconds(point: Point) -> float:
        return math.inf if budget is None or point not in work else 60 * budget * work[point] / total

    return [
        Task(point.key, partial(_measure, bench, point, start, seconds(point)), start.key if start in here else None)
        for point, start in chain
    ]


def _measure(bench: Bench, point: Point, start: Point | None, seconds: float, note: Note) -> list[dict[str, object]]:
    def progress(point: Point, step: int, steps: int, nmse: float) -> None:
        note(f"{point.curve}, K = {point.n_iterations}, step {step} of {steps}, NMSE {nmse:.1f} dB")

    return [replace(bench, progress=progress).measure(point, start, seconds)]


def _wanted(figure: str, axes: tuple[Panel, ...], asked: Mapping[str, tuple[str, str | None]]) -> list[Point]:
    every = [point for panel in axes for point in panel.points]
    points = every
    for option, (field, text) in asked.items():
        if not text:
            continue
        known = dict.fromkeys(str(value) for value in sorted(getattr(point, field) for point in every))
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in known:
                raise ChanestError(f"expected some of {', '.join(known)}, got {name}", field=f"--{option}")
        points = [point for point in points if str(getattr(point, field)) in names]
    if not points:
        raise ChanestError(f"figure {figure}: has no point with all that was asked for; leave an option out")
    return points


def _curves(points: list[Point], found: Mapping[tuple[str, ...], Curve]) -> dict[str, Curve]:
    return {point.curve: found[point.key] for point in points if found.get(point.key)}


def _axes(
    axes: tuple[Panel, ...], rows: list[dict[str, str]], published: dict[tuple[str, ...], float]
) -> list[tuple[str, str, dict[str, Curve], dict[str, Curve]]]:
    """Per panel that we have a point of: title, label of x, our curves and the published ones."""
    ours = {tuple(row[name] for name in KEY): float(row["nmse_db"]) for row in rows}
    made = []
    for panel in axes:
        curves: list[dict[str, Curve]] = [{}, {}]
        for point in panel.points:
            for into, found in zip(curves, (ours, published), strict=True):
                if point.key in found:
                    into.setdefault(point.curve, []).append((float(getattr(point, panel.x) or 0), found[point.key]))
        if curves[0]:  # a panel of published values alone shows nothing of ours
            made.append((panel.title, panel.x, curves[0], curves[1]))
    return made


def _print(axes: tuple[Panel, ...], rows: list[dict[str, str]], published: dict[tuple[str, ...], float]) -> None:
    ours = {tuple(row[name] for name in KEY): row for row in rows}
    table = Table("where", "algorithm", "K", "NMSE (dB)", "published", "worse by", "steps")
    for panel in axes:
        for point in panel.points:
            row = ours.get(point.key)
            if row is None:
                continue
            told = published.get(point.key)
            theirs = ("", "") if told is None else (f"{told:.2f}", f"{float(row['nmse_db']) - told:+.2f}")
            name = point.curve + (f", H = {point.lstm_hidden}" if panel.x == "lstm_hidden" else "")
            table.add_row(
                panel.title, name, str(point.n_iterations), f"{float(row['nmse_db']):.2f}", *theirs, row["steps"]
            )
    show(table)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot be a folder ({error.strerror})", path=path) from None


def _say(*paths: Path) -> None:
    print(f"wrote {', '.join(map(str, paths))}")
