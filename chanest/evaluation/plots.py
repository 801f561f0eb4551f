"""Every picture. Matplotlib is imported when one is drawn."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import FileError
from ..files import readable, refuse_existing, replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".pdf", ".svg")


def check_plot_path(path: Path, force: bool) -> None:
    """Raise FileError unless a picture can be written there."""
    if path.suffix not in SUFFIXES:
        raise FileError(f"expected a picture ending in {', '.join(SUFFIXES)}", path=path)
    refuse_existing(path, force)


@contextmanager
def _picture(
    path: Path, force: bool, title: str, down: int, across: int = 1, size: tuple[float, float] | None = None
) -> Iterator[Any]:
    """The axes of a picture, row by row, to draw on; those that nothing is drawn on are not shown."""
    check_plot_path(path, force)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size or (max(6.4, 4.6 * across), 3.8 * down), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    yield axes
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.set_visible(axis.has_data() or bool(axis.get_title()))
    if title:
        figure.suptitle(readable(title))
    with replacing(path, force) as partial:
        figure.savefig(partial, dpi=130, format=path.suffix[1:])


def _abreast(n: int, most: int = 3) -> tuple[int, int]:
    """Rows and columns of n axes."""
    across = min(most, n)
    return -(-n // across), across


def draw_estimate(
    path: Path,
    title: str,
    subcarriers: np.ndarray,
    cfrs: Mapping[str, np.ndarray],
    cirs: Mapping[str, tuple[float, float, np.ndarray]],
    pilots: tuple[np.ndarray, np.ndarray],
    nmse_db: Mapping[str, Sequence[float]],
    force: bool = False,
) -> None:
    """Draw one channel: |CIR|, |CFR| and, where known, NMSE against iterations.

    Args:
        path: where to, .png, .pdf or .svg.
        title: above the figure.
        subcarriers: (n_used,).
        cfrs: name -> (n_used,) complex; "truth" is drawn in black.
        cirs: name -> (delay of the first tap, spacing of the taps, both in samples, (taps,) complex).
        pilots: subcarriers and observations, (n_pilots,) each.
        nmse_db: name -> NMSE after every iteration, in dB; empty when unknown.
        force: replace a file that exists.

    Raises:
        FileError: another suffix, or a file in the way.
    """
    colours = _colours([*cfrs, *cirs, *nmse_db])
    with _picture(path, force, title, 3 if nmse_db else 2, size=(9, 8 if nmse_db else 6)) as axes:
        _draw_cir(axes[0], cirs, colours)
        _draw_cfr(axes[1], subcarriers, cfrs, pilots, colours)
        for name, values in nmse_db.items():
            axes[2].plot(range(1, len(values) + 1), values, marker=".", label=name, **colours[name])
        if nmse_db:
            axes[2].set(xlabel="iteration", ylabel="NMSE (dB)")
            axes[2].legend()


def _colours(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Black for the truth, grey for what a receiver does today, the colour cycle for the rest."""
    styles: dict[str, dict[str, Any]] = {"truth": {"color": "black", "lw": 1.6}, "linear": {"color": "0.6", "lw": 1}}
    rest = [name for name in dict.fromkeys(names) if name not in styles]
    return styles | {
        name: {"color": f"C{index % 10}", "lw": 1.1, "ls": "-" if index < 10 else "--"}
        for index, name in enumerate(rest)
    }


def _draw_cir(
    axis: "Axes", cirs: Mapping[str, tuple[float, float, np.ndarray]], colours: dict[str, dict[str, Any]]
) -> None:
    for offset, (name, (first, spacing, cir)) in enumerate(cirs.items()):
        delays, modulus = first + spacing * np.arange(cir.size), np.abs(cir)
        kept = modulus > 1e-3 * max(float(modulus.max()), 1e-300)
        style = {"color": colours[name]["color"]}
        axis.vlines(delays[kept] + 0.25 * offset, 0, modulus[kept], lw=1, **style)
        axis.plot(delays[kept] + 0.25 * offset, modulus[kept], "o" if name == "truth" else ".", label=name, **style)
    axis.set(xlabel="delay (samples)", ylabel="|CIR|")
    if cirs:
        axis.legend()


def _draw_cfr(
    axis: "Axes",
    subcarriers: np.ndarray,
    cfrs: Mapping[str, np.ndarray],
    pilots: tuple[np.ndarray, np.ndarray],
    colours: dict[str, dict[str, Any]],
) -> None:
    for name, cfr in cfrs.items():
        axis.plot(subcarriers, np.abs(cfr), label=name, **colours[name])
    axis.plot(pilots[0], np.abs(pilots[1]), "x", color="0.3", ms=4, label="pilots")
    axis.set(xlabel="subcarrier", ylabel="|CFR|")
    axis.legend(ncols=3)


def draw_sweep(path: Path, rows: Sequence[Mapping[str, str]], force: bool = True) -> None:
    """Draw the CFR NMSE against SNR, an axis per scenario and number of pilots, a line per estimator.

    Args:
        path: where to, .png, .pdf or .svg.
        rows: with ``scenario, n_pilots, snr_db, algorithm, cfr_nmse_db``, as text; of synthetic scenarios, whose
            ``n_pilots`` is empty, ``cir_nmse_db`` is drawn.
        force: replace a file that exists.

    Raises:
        FileError: another suffix, or a file in the way.
    """

    def draw(axis: "Axes", here: Sequence[Mapping[str, str]], styles: dict[str, dict[str, Any]]) -> None:
        nmse, label = ("cfr_nmse_db", "CFR NMSE (dB)") if here[0]["n_pilots"] else ("cir_nmse_db", "NMSE (dB)")
        for name in dict.fromkeys(row["algorithm"] for row in here):
            own = sorted(
                (float(row["snr_db"]), float(row[nmse])) for row in here if row["algorithm"] == name and row[nmse]
            )
            if own:
                axis.plot(*zip(*own, strict=True), marker=".", label=name, **styles[name])
        axis.set(xlabel="SNR (dB)", ylabel=label)

    _draw_grid(path, rows, draw, force)


def draw_frontier(path: Path, rows: Sequence[Mapping[str, str]], force: bool = True) -> None:
    """Draw the CFR NMSE against time per estimate at the SNR nearest 10 dB, a point per estimator.

    Args and errors as of :func:`draw_sweep`; rows also have ``seconds_per_estimate``.
    """

    def draw(axis: "Axes", here: Sequence[Mapping[str, str]], styles: dict[str, dict[str, Any]]) -> None:
        nearest = min((row["snr_db"] for row in here), key=lambda snr: abs(float(snr) - 10))
        nmse, label = ("cfr_nmse_db", "CFR NMSE (dB)") if here[0]["n_pilots"] else ("cir_nmse_db", "NMSE (dB)")
        for row in here:
            name = row["algorithm"]
            if row["snr_db"] == nearest and row[nmse] and not name.startswith("oracle"):
                point = (float(row["seconds_per_estimate"]) * 1e6, float(row[nmse]))
                axis.plot(*point, "o", color=styles[name]["color"])
                axis.annotate(name, point, xytext=(4, 3), textcoords="offset points", fontsize=7)
        axis.set(xlabel=f"µs per estimate, {nearest} dB", ylabel=label, xscale="log")

    _draw_grid(path, rows, draw, force, legend=False)


Curves = Mapping[str, Sequence[tuple[float, float]]]


def draw_panels(path: Path, title: str, panels: Sequence[tuple[str, str, Curves, Curves]], force: bool = True) -> None:
    """Draw NMSE curves, ours with lines, the published ones with crosses of the same colour.

    Args:
        path: where to, .png, .pdf or .svg.
        title: of the picture.
        panels: title, name of x, our curves and the published ones: points (x, NMSE in dB) by name.
        force: replace a file that exists.

    Raises:
        FileError: another suffix, or a file in the way.
    """
    labels = {
        "n_iterations": "iterations K",
        "n_taps": "coefficients N",
        "lstm_hidden": "LSTM units H",
        "epochs": "epochs of 50,000 vectors",
    }
    colours = _colours([name for _, _, *curves in panels for part in curves for name in part])
    title = f"{title}: ours (lines), published (crosses)" if any(p[3] for p in panels) else title
    with _picture(path, force, title, *_abreast(len(panels))) as axes:
        for axis, (name, x, ours, published) in zip(axes, panels, strict=False):
            for curve, points in ours.items():
                axis.plot(*zip(*sorted(points), strict=True), marker=".", label=curve, **colours[curve])
            for curve, points in published.items():
                axis.plot(*zip(*sorted(points), strict=True), "x", ms=5, color=colours[curve]["color"])
            axis.set(title=name, xlabel=labels[x], ylabel="NMSE (dB)")
        axes[0].legend(fontsize=7, ncols=2)


_MANY = 60  # points of a line, from which on they are not marked one by one


@dataclass(frozen=True)
class Series:
    """One line, cloud of dots or row of stems of a :class:`Chart`; ``band`` is shaded from its first to its second.

    Stems rise from ``base``.
    """

    label: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    kind: Literal["line", "dots", "stems"] = "line"
    band: tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray] | None = None
    base: float = 0.0


@dataclass(frozen=True)
class Chart:
    """One axis of a picture, and what is drawn on it; ``log`` makes y logarithmic."""

    title: str
    xlabel: str
    ylabel: str
    series: Sequence[Series]
    log: bool = False


def draw_charts(path: Path, title: str, charts: Sequence[Chart], force: bool = True, across: int = 2) -> None:
    """Draw charts some abreast.

    Args:
        path: where to, .png, .pdf or .svg.
        title: above them.
        charts: at least one.
        force: replace a file that exists.
        across: how many abreast.

    Raises:
        FileError: another suffix, or a file in the way.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "line.png"
    >>> draw_charts(path, "A line", [Chart("", "x", "y", [Series("y = 2x", [0, 1], [0, 2])])])
    >>> path.stat().st_size > 5000
    True
    """
    with _picture(path, force, title, *_abreast(len(charts), across)) as axes:
        for axis, chart in zip(axes, charts, strict=False):
            for index, series in enumerate(chart.series):
                _draw_series(axis, series, f"C{index}")
            axis.set(
                title=chart.title,
                xlabel=chart.xlabel,
                ylabel=chart.ylabel,
                yscale="log" if chart.log else "linear",
            )
            if any(series.label for series in chart.series):
                axis.legend(fontsize=7)


def _draw_series(axis: "Axes", series: Series, colour: str) -> None:
    if series.kind == "stems":
        axis.vlines(series.x, series.base, series.y, lw=1, color=colour)
    axis.plot(
        series.x,
        series.y,
        label=series.label,
        color=colour,
        marker="" if series.kind == "line" and len(series.x) > _MANY else ".",
        ms=3 if series.kind == "dots" else 6,
        ls="-" if series.kind == "line" else "",
    )
    if series.band is not None:
        low, high = series.band
        axis.fill_between(series.x, low, high, color=colour, alpha=0.2, lw=0)


def _draw_grid(path: Path, rows: Sequence[Mapping[str, str]], draw: Any, force: bool, legend: bool = True) -> None:
    """An axis per scenario and number of pilots; a legend where a name comes for the first time."""
    cases = list(dict.fromkeys((row["scenario"], row["n_pilots"]) for row in rows))
    styles = _colours([row["algorithm"] for row in rows])
    named: set[str] = set()
    with _picture(path, force, "", *_abreast(len(cases))) as axes:
        for axis, case in zip(axes, cases, strict=False):
            here = [row for row in rows if (row["scenario"], row["n_pilots"]) == case]
            draw(axis, here, styles)
            axis.set_title(f"{case[0]}, {case[1]} pilots" if case[1] else case[0], fontsize=10)
            names = {row["algorithm"] for row in here}
            if legend and not names <= named and axis.lines:
                axis.legend(fontsize=7, ncols=2)
            named |= names
