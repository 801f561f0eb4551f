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
# Told apart by those who see red and green alike too (M. Okabe, K. Ito, Color Universal Design, 2008).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", "--", ":", "-.")  # of the first six lines, the next six, ...
DEPTH_DB = 50.0  # below the strongest tap, where power delay profiles end


def style() -> Any:
    """Settings of matplotlib that every picture here has: ``with matplotlib.rc_context(style()): ...``.

    >>> style()["svg.fonttype"]
    'none'
    """
    from cycler import cycler

    return {
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.prop_cycle": cycler(linestyle=_DASHES) * cycler(color=PALETTE),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 10,
        "figure.constrained_layout.use": True,
        "font.size": 9,
        "grid.alpha": 0.3,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "lines.linewidth": 1.2,
        "pdf.fonttype": 42,
        "savefig.dpi": 150,
        "svg.fonttype": "none",
        "svg.hashsalt": "chanest",
    }


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
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(style()):
        figure = Figure(figsize=size or (max(6.4, 4.6 * across), 3.8 * down))
        FigureCanvasAgg(figure)
        axes = figure.subplots(down, across, squeeze=False).ravel()
        yield axes
        for axis in axes:
            axis.set_visible(axis.has_data() or bool(axis.get_title()))
        if title:
            figure.suptitle(readable(title))
        with replacing(path, force) as partial:
            figure.savefig(partial, format=path.suffix[1:])


def _legend(axis: "Axes", across: int = 3) -> None:
    """A legend below an axis, where it covers nothing."""
    labels = axis.get_legend_handles_labels()[1]
    if labels:
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=min(len(labels), across))


def _shared_legend(axes: Any) -> None:
    """One legend below all axes of a figure, of all names on them."""
    found: dict[str, Any] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    if found:
        axes[0].figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=min(len(found), 6))


def db_of(modulus: np.ndarray, floor: float = 1e-30) -> np.ndarray:
    """20 log10 of a modulus, at least of ``floor``.

    >>> db_of(np.array([10.0, 0.0]), floor=1e-3)
    array([ 20., -60.])
    """
    return 20 * np.log10(np.maximum(modulus, floor))


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
    sample_rate_hz: float | None = None,
) -> None:
    """Draw one channel: power delay profile, CFR and, where known, NMSE against iterations.

    Args:
        path: where to, .png, .pdf or .svg.
        title: above the figure.
        subcarriers: (n_used,).
        cfrs: name -> (n_used,) complex; "truth" is drawn in black.
        cirs: name -> (delay of the first tap, spacing of the taps, both in samples, (taps,) complex).
        pilots: subcarriers and observations, (n_pilots,) each.
        nmse_db: name -> NMSE after every iteration, in dB; empty when unknown.
        force: replace a file that exists.
        sample_rate_hz: for delays in microseconds; in samples when not given.

    Raises:
        FileError: another suffix, or a file in the way.
    """
    colours = _colours([*cfrs, *cirs, *nmse_db])
    with _picture(path, force, title, 3 if nmse_db else 2, size=(9, 9.5 if nmse_db else 6.5)) as axes:
        _draw_cir(axes[0], cirs, colours, sample_rate_hz)
        _draw_cfr(axes[1], subcarriers, cfrs, pilots, colours)
        for name, values in nmse_db.items():
            axes[2].plot(range(1, len(values) + 1), values, marker=".", label=name, **colours[name])
        if nmse_db:
            axes[2].set(xlabel="iteration", ylabel="NMSE (dB)")
            _legend(axes[2], 6)


def _colours(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Black for the truth and for bounds, grey for what a receiver does today, the colour cycle for the rest."""
    styles: dict[str, dict[str, Any]] = {
        "truth": {"color": "black", "lw": 2},
        "linear": {"color": "0.6", "lw": 1.2},
        "oracle-ls": {"color": "black", "ls": "-."},
        "oracle-mmse": {"color": "black", "ls": ":"},
    }
    rest = [name for name in dict.fromkeys(names) if name not in styles]
    return styles | {name: _line_style(index) for index, name in enumerate(rest)}


def _line_style(index: int) -> dict[str, Any]:
    """Colour and dashes of the line of a number."""
    return {"color": PALETTE[index % len(PALETTE)], "ls": _DASHES[index // len(PALETTE) % len(_DASHES)]}


def _draw_cir(
    axis: "Axes",
    cirs: Mapping[str, tuple[float, float, np.ndarray]],
    colours: dict[str, dict[str, Any]],
    sample_rate_hz: float | None,
) -> None:
    unit, per_sample = delay_unit(sample_rate_hz)
    strongest = max((float(np.abs(cir).max()) for *_, cir in cirs.values()), default=1.0)
    base = float(db_of(np.array(strongest))) - DEPTH_DB
    for name, (first, spacing, cir) in cirs.items():
        delays, power = (first + spacing * np.arange(cir.size)) * per_sample, db_of(np.abs(cir))
        seen, true = power > base, name == "truth"
        colour = {"color": colours[name]["color"]}
        axis.vlines(delays[seen], base, power[seen], lw=2.5 if true else 1, alpha=0.35 if true else 1, **colour)
        marks: dict[str, Any] = {"marker": "o", "mfc": "none", "ms": 7} if true else {"marker": ".", "ms": 5}
        axis.plot(delays[seen], power[seen], ls="", label=name, **marks, **colour)
    axis.set(xlabel=f"delay ({unit})", ylabel="|CIR| (dB)", ylim=(base, None))
    _legend(axis, 6)


def delay_unit(sample_rate_hz: float | None) -> tuple[str, float]:
    """In what a delay is shown, and how many of that a sample lasts.

    >>> delay_unit(10e6), delay_unit(None)
    (('µs', 0.1), ('samples', 1.0))
    """
    return ("samples", 1.0) if sample_rate_hz is None else ("µs", 1e6 / sample_rate_hz)


def _draw_cfr(
    axis: "Axes",
    subcarriers: np.ndarray,
    cfrs: Mapping[str, np.ndarray],
    pilots: tuple[np.ndarray, np.ndarray],
    colours: dict[str, dict[str, Any]],
) -> None:
    for name, cfr in cfrs.items():
        axis.plot(subcarriers, db_of(np.abs(cfr)), label=name, **colours[name])
    received = db_of(np.abs(pilots[1]))
    axis.plot(pilots[0], received, "x", color="0.3", ms=4, label="pilots")
    axis.set(xlabel="subcarrier", ylabel="|CFR| (dB)")
    axis.set_ylim(bottom=max(axis.get_ylim()[0], float(received.max()) - DEPTH_DB))
    _legend(axis, 6)


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
                axis.annotate(name, point, xytext=(5, 3), textcoords="offset points", fontsize=7)
        axis.set(xlabel=f"µs per estimate, {nearest} dB", ylabel=label, xscale="log")
        axis.margins(x=0.18, y=0.08)

    _draw_grid(path, rows, draw, force)


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
        _shared_legend(axes)


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
                _draw_series(axis, series, index)
            axis.set(
                title=chart.title,
                xlabel=chart.xlabel,
                ylabel=chart.ylabel,
                yscale="log" if chart.log else "linear",
            )
        labels = [tuple(series.label for series in chart.series) for chart in charts]
        if len(charts) > 1 and len(set(labels)) == 1:
            _shared_legend(axes)
            return
        for axis in axes:
            _legend(axis)


def _draw_series(axis: "Axes", series: Series, index: int) -> None:
    style = {"color": "black", "ls": "-"} if series.label == "truth" else _line_style(index)
    colour = style["color"]
    if series.kind == "stems":
        axis.vlines(series.x, series.base, series.y, lw=1, color=colour)
    axis.plot(
        series.x,
        series.y,
        label=series.label,
        color=colour,
        marker="" if series.kind == "line" and len(series.x) > _MANY else ".",
        ms=3 if series.kind == "dots" else 6,
        ls=style["ls"] if series.kind == "line" else "",
    )
    if series.band is not None:
        low, high = series.band
        axis.fill_between(series.x, low, high, color=colour, alpha=0.2, lw=0)


def _draw_grid(path: Path, rows: Sequence[Mapping[str, str]], draw: Any, force: bool) -> None:
    """An axis per scenario and number of pilots, and one legend."""
    cases = list(dict.fromkeys((row["scenario"], row["n_pilots"]) for row in rows))
    styles = _colours([row["algorithm"] for row in rows])
    with _picture(path, force, "", *_abreast(len(cases))) as axes:
        for axis, case in zip(axes, cases, strict=False):
            here = [row for row in rows if (row["scenario"], row["n_pilots"]) == case]
            draw(axis, here, styles)
            axis.set_title(f"{case[0]}, {case[1]} pilots" if case[1] else case[0], fontsize=10)
        _shared_legend(axes)
