"""``chanest reproduce``."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.table import Table

from ..algorithms import ALGORITHMS
from ..errors import ChanestError, FileError
from ..evaluation.executors import Note, Task, engine
from ..evaluation.plots import check_plot_path, draw_panels
from ..evaluation.sweep import Sweep
from ..reproduction.figures import ILLUSTRATIONS, illustrate
from ..reproduction.points import KEY, Panel, Point, panels
from ..reproduction.published import distances, read_published, read_published_epochs, summary
from ..reproduction.recipes import full_training, ordered
from ..reproduction.runner import COLUMNS, Bench
from .common import MOST_SAMPLES, check_seed, chosen_device, console, progress_bar

Curve = list[tuple[float, float]]
_NAMED = {"table1": "Table 1", "others": "Published, but in no figure"}
FIGURES = (*map(str, range(1, 14)), *_NAMED)


@dataclass(frozen=True)
class ReproduceOptions:
    """The options of ``chanest reproduce``, as given."""

    figure: str
    output: Path
    published: Path | None
    budget: float | None
    samples: int
    iterations: str | None
    algorithms: str | None
    coefficients: str | None
    snr: str | None
    cache: Path | None
    seed: int
    device: str
    dask: str | None
    force: bool


def run(options: ReproduceOptions) -> None:
    """Measure what is missing of a figure, draw it, and say how far it is from the published one."""
    if options.figure not in FIGURES:
        raise ChanestError(f"FIGURE: expected one of {', '.join(FIGURES)}, got {options.figure}")
    if options.budget is not None and not options.budget > 0:
        raise ChanestError(f"expected minutes, more than 0, got {options.budget:g}", field="--budget")
    if not 1 <= options.samples <= MOST_SAMPLES:
        raise ChanestError(f"expected 1...{MOST_SAMPLES}, got {options.samples}", field="--samples")
    check_seed(options.seed)
    if options.dask is not None and options.figure in ILLUSTRATIONS:
        raise ChanestError(f"figure {options.figure} is no sweep; leave it out", field="--dask")
    device = chosen_device(options.device)
    published = read_published(options.published) if options.published else {}
    _make_folder(options.output)
    stem = options.output / (options.figure if options.figure in _NAMED else f"figure{options.figure}")
    plots = [stem.with_suffix(suffix) for suffix in (".png", ".pdf")]
    if options.figure in ILLUSTRATIONS:
        table = stem.with_suffix(".csv")
        for path in plots:
            check_plot_path(path, options.force)
        print(illustrate(options.figure, table, plots, device, options.seed, options.force))
        _say(table, *plots)
        return
    axes = panels(options.figure)
    wanted = _wanted(options, axes)
    table = stem.with_suffix(".csv")
    bench = Bench((options.cache or options.output / "models").resolve(), device, options.samples, options.seed)
    chain = ordered(wanted, bench.has)
    if options.figure == "7":  # the course of training, from its beginning
        chain = [(point, None) for point, _ in chain]
    with engine(options.dask) as where, progress_bar(f"figure {options.figure}", len(chain)) as bar:
        if options.force:
            table.unlink(missing_ok=True)
        sweep = Sweep(table, KEY, COLUMNS, {"n_samples": options.samples, "seed": options.seed, "device": str(device)})
        left = [point for point, _ in chain if not sweep.done(point.key)]
        sweep.run(_tasks(bench, chain, left, options.budget), where, bar.advance, bar.note)
    rows = sweep.rows()
    if options.figure == "7":
        told = read_published_epochs(options.published) if options.published else {}
        ours = {point.key: bench.history(point) for point in wanted}
        drawn = [(axes[0].title, "epochs", _curves(wanted, ours), _curves(wanted, told))]
    else:
        drawn = _axes(axes, rows, published)
    for path in plots:
        draw_panels(path, _title(options.figure), drawn)
    keys = {point.key for point in wanted}
    _print(axes, rows, published)
    if published:
        print(summary(distances(published, rows, keys)))
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


def _wanted(options: ReproduceOptions, axes: tuple[Panel, ...]) -> list[Point]:
    every = [point for panel in axes for point in panel.points]
    asked = {
        "algorithms": ("algorithm", options.algorithms),
        "iterations": ("n_iterations", options.iterations),
        "coefficients": ("n_taps", options.coefficients),
        "snr": ("snr_db", options.snr),
    }
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
        raise ChanestError(f"figure {options.figure}: has no point with all that was asked for; leave an option out")
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
                    x = float(getattr(point, panel.x) or 0)
                    into.setdefault(point.curve, []).append((x, found[point.key]))
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
            hidden = f", H = {point.lstm_hidden}" if panel.x == "lstm_hidden" else ""
            name = f"{point.curve}{hidden}"
            table.add_row(
                panel.title, name, str(point.n_iterations), f"{float(row['nmse_db']):.2f}", *theirs, row["steps"]
            )
    console().print(table)


def _title(figure: str) -> str:
    return _NAMED.get(figure, f"Figure {figure}")


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot be a folder ({error.strerror})", path=path) from None


def _say(*paths: Path) -> None:
    print(f"wrote {', '.join(map(str, paths))}")
