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
        axes[2].plot(range(1, len(values) + 1), values, ".-", label=name, **colours[name])
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
    return styles | {name: {"color": f"C{index}", "lw": 1.1} for index, name in enumerate(rest)}


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
