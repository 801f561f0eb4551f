"""Every picture. Matplotlib is imported when one is drawn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrayfile import refuse_existing
from .errors import FileError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".pdf", ".svg")


def check_plot_path(path: Path, force: bool) -> None:
    """Raise FileError unless a picture can be written there."""
    if path.suffix not in SUFFIXES:
        raise FileError(f"{path}: expected a picture ending in {', '.join(SUFFIXES)}")
    refuse_existing(path, force)


def draw_estimate(
    path: Path,
    title: str,
    subcarriers: np.ndarray,
    cfrs: Mapping[str, np.ndarray],
    cirs: Mapping[str, tuple[int, np.ndarray]],
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
        cirs: name -> (delay of the first tap in samples, (taps,) complex).
        pilots: subcarriers and observations, (n_pilots,) each.
        nmse_db: name -> NMSE after every iteration, in dB; empty when unknown.
        force: replace a file that exists.

    Raises:
        FileError: another suffix, or a file in the way.
    """
    check_plot_path(path, force)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8 if nmse_db else 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(3 if nmse_db else 2, 1)
    figure.suptitle(title)
    colours = _colours([*cfrs, *cirs, *nmse_db])
    _draw_cir(axes[0], cirs, colours)
    _draw_cfr(axes[1], subcarriers, cfrs, pilots, colours)
    for name, values in nmse_db.items():
        axes[2].plot(range(1, len(values) + 1), values, marker=".", label=name, **colours[name])
    if nmse_db:
        axes[2].set(xlabel="iteration", ylabel="NMSE (dB)")
        axes[2].legend()
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=130)


def _colours(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Black for the truth, grey for what a receiver does today, the colour cycle for the rest."""
    styles: dict[str, dict[str, Any]] = {"truth": {"color": "black", "lw": 1.6}, "linear": {"color": "0.6", "lw": 1}}
    rest = [name for name in dict.fromkeys(names) if name not in styles]
    return styles | {
        name: {"color": f"C{index % 10}", "lw": 1.1, "ls": "-" if index < 10 else "--"}
        for index, name in enumerate(rest)
    }


def _draw_cir(axis: "Axes", cirs: Mapping[str, tuple[int, np.ndarray]], colours: dict[str, dict[str, Any]]) -> None:
    for offset, (name, (first, cir)) in enumerate(cirs.items()):
        delays, modulus = first + np.arange(cir.size), np.abs(cir)
        kept = modulus > 1e-3 * max(float(modulus.max()), 1e-300)
        style = {"color": colours[name]["color"]}
        axis.vlines(delays[kept] + 0.25 * offset, 0, modulus[kept], lw=1, **style)
        axis.plot(delays[kept] + 0.25 * offset, modulus[kept], "o" if name == "truth" else ".", label=name, **style)
    axis.set(xlabel="delay (samples)", ylabel="|CIR|")
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
        rows: with ``scenario, n_pilots, snr_db, algorithm, cfr_nmse_db``, as text.
        force: replace a file that exists.

    Raises:
        FileError: another suffix, or a file in the way.
    """

    def draw(axis: "Axes", here: Sequence[Mapping[str, str]], styles: dict[str, dict[str, Any]]) -> None:
        for name in dict.fromkeys(row["algorithm"] for row in here):
            own = sorted((float(row["snr_db"]), float(row["cfr_nmse_db"])) for row in here if row["algorithm"] == name)
            axis.plot(*zip(*own, strict=True), marker=".", label=name, **styles[name])
        axis.set(xlabel="SNR (dB)", ylabel="CFR NMSE (dB)")

    _draw_grid(path, rows, draw, force)


def draw_frontier(path: Path, rows: Sequence[Mapping[str, str]], force: bool = True) -> None:
    """Draw the CFR NMSE against time per estimate at the SNR nearest 10 dB, a point per estimator.

    Args and errors as of :func:`draw_sweep`; rows also have ``seconds_per_estimate``.
    """

    def draw(axis: "Axes", here: Sequence[Mapping[str, str]], styles: dict[str, dict[str, Any]]) -> None:
        nearest = min((row["snr_db"] for row in here), key=lambda snr: abs(float(snr) - 10))
        for row in here:
            name = row["algorithm"]
            if row["snr_db"] == nearest and not name.startswith("oracle"):
                point = (float(row["seconds_per_estimate"]) * 1e6, float(row["cfr_nmse_db"]))
                axis.plot(*point, "o", color=styles[name]["color"])
                axis.annotate(name, point, xytext=(4, 3), textcoords="offset points", fontsize=7)
        axis.set(xlabel=f"µs per estimate, {nearest} dB", ylabel="CFR NMSE (dB)", xscale="log")

    _draw_grid(path, rows, draw, force, legend=False)


def _draw_grid(path: Path, rows: Sequence[Mapping[str, str]], draw: Any, force: bool, legend: bool = True) -> None:
    """An axis per scenario and number of pilots."""
    check_plot_path(path, force)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys((row["scenario"], row["n_pilots"]) for row in rows))
    across = min(3, len(cases))
    down = -(-len(cases) // across)
    figure = Figure(figsize=(max(6.4, 4.6 * across), 3.8 * down), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(down, across, squeeze=False)).ravel()
    styles = _colours([row["algorithm"] for row in rows])
    for axis, case in zip(axes, cases, strict=False):
        here = [row for row in rows if (row["scenario"], row["n_pilots"]) == case]
        draw(axis, here, styles)
        axis.set_title(f"{case[0]}, {case[1]} pilots", fontsize=10)
        axis.grid(alpha=0.3)
    for axis in axes[len(cases) :]:
        axis.set_visible(False)
    if legend:
        axes[0].legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=130)
