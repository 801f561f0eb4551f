"""What the figures that show no NMSE come to: rows, facts in words, and the charts drawn from the rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..evaluation.plots import Chart, Series

Row = dict[str, Any]


@dataclass(frozen=True)
class Illustration:
    """What a figure shows: rows for its CSV, and the measured facts beside the paper's in words."""

    rows: list[Row]
    facts: str


def spearman(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of two vectors.

    >>> import torch
    >>> round(spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([-9.0, 0.0, 0.1])), 6)
    1.0
    """
    from scipy.stats import spearmanr

    return float(spearmanr(a.numpy(), b.numpy()).statistic)


def charts(figure: str, rows: Sequence[Row]) -> list[Chart]:
    """The charts of a figure from its rows.

    >>> row = {"sparsity": 15, "l1": 1.0, "r": 2.0, "u": 3.0}
    >>> [chart.title for chart in charts("1", [row])]
    ['r, 15 entries', 'u, 15 entries']
    """
    return _CHARTS[figure](rows)


def _column(rows: Sequence[Row], name: str) -> list[float]:
    return [row[name] for row in rows]


def _groups(rows: Sequence[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by what they have in some columns, in their order."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return found


_RATIO = r"$\theta/\gamma$"


def _error(k: object) -> str:
    return rf"$\|x^{{({k})}} - x^*\|_1$"


def _norms(rows: Sequence[Row]) -> list[Chart]:
    return [
        Chart(f"{name}, {n} entries", label, r"$\|x\|_1$", [_dots(here, name, "l1")])
        for (n,), here in _groups(rows, "sparsity").items()
        for name, label in (("r", r"$\|\Phi x\|_1$"), ("u", r"$\|W^T\Phi x\|_1$"))
    ]


def _memory(rows: Sequence[Row]) -> list[Chart]:
    return [
        Chart(f"({i}, {j})", f"$u^{{({i})}}$", _error(j), [_dots(here, "u", "error")])
        for (i, j), here in _groups(rows, "i", "j").items()
    ]


def _predictions(rows: Sequence[Row]) -> list[Chart]:
    def quantiles(name: str) -> Series:
        mean, low, high = (_column(rows, f"{name}_{which}") for which in ("mean", 5, 95))
        return Series("mean; 5 % ... 95 % shaded", _column(rows, "iteration"), mean, band=(low, high))

    return [
        Chart("", "iteration", "step size", [quantiles("step_size")]),
        Chart("", "iteration", "threshold (units of x)", [quantiles("threshold")]),
    ]


def _assumption(rows: Sequence[Row]) -> list[Chart]:
    series = []
    for name, label in (("ratio", _RATIO), ("error", _error("k"))):
        pairs = [(row[f"{name}_mean"], row[f"{name}_deviation"]) for row in rows]
        band = [mean - deviation for mean, deviation in pairs], [mean + deviation for mean, deviation in pairs]
        series.append(Series(label, _column(rows, "k"), _column(rows, f"{name}_mean"), band=band))
    return [
        Chart("mean and deviation", "k", "units of x", series, log=True),
        Chart("means of the iterations", _RATIO, _error("k"), [_dots(rows, "ratio_mean", "error_mean")]),
    ]


def _channel(rows: Sequence[Row]) -> list[Chart]:
    parts = {kind: here for (kind,), here in _groups(rows, "kind").items()}
    return [
        Chart("CIR", "delay (samples)", "$|x^*|$", [_stems([row for row in parts["tap"] if row["modulus"] > 0])]),
        Chart("pilots", "subcarrier", "|H + noise|", [_stems(parts["pilot"])]),
    ]


def _times(rows: Sequence[Row]) -> list[Chart]:
    series = [
        Series(f"{name}, M = {m}", _column(here, "n_coefficients"), _column(here, "ms_per_iteration"))
        for (name, m), here in _groups(rows, "algorithm", "n_measurements").items()
    ]
    return [Chart(f"batch {rows[0]['batch']}, {rows[0]['device']}", "N", "ms per iteration", series)]


def _dots(rows: Sequence[Row], x: str, y: str) -> Series:
    return Series("", _column(rows, x), _column(rows, y), "dots")


def _stems(rows: Sequence[Row]) -> Series:
    return Series("", _column(rows, "position"), _column(rows, "modulus"), "stems")


_CHARTS: dict[str, Callable[[Sequence[Row]], list[Chart]]] = {
    "1": _norms,
    "2": _memory,
    "6": _predictions,
    "8": _assumption,
    "9": _channel,
    "12": _times,
}
