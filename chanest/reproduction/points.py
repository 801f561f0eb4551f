"""The paper's figures and table as points: one algorithm in one setting with one K each."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

from ..errors import ChanestError

_ITERATIONS = (1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28)
_OFDM_ITERATIONS = _ITERATIONS[:13]
_SIZES = (500, 750, 1000, 1250, 1500, 1750, 2000, 2250, 2500)
_PAPERS = ("ista", "fista", "alista", "alista-at", "aglista", "na-alista")
KEY = (
    "setting",
    "algorithm",
    "lstm_inputs",
    "lstm_hidden",
    "n_taps",
    "n_pilots",
    "sparsity",
    "snr_db",
    "n_iterations",
)


@dataclass(frozen=True)
class Point:
    """One result of the paper, told by the columns of the published table.

    ``n_taps`` and ``n_pilots`` are N and M in both settings; LSTM fields are empty where there is none.

    >>> Point("ofdm", "alista", n_taps=256, n_pilots=75, sparsity=8, snr_db=10, n_iterations=4).key[-1]
    '4'
    """

    setting: str
    algorithm: str
    lstm_inputs: str = ""
    lstm_hidden: int | None = None
    n_taps: int = 1000
    n_pilots: int = 250
    sparsity: int = 50
    snr_db: int = 40
    n_iterations: int = 16

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of :data:`KEY` as text."""
        return tuple("" if (value := getattr(self, name)) is None else str(value) for name in KEY)

    @property
    def curve(self) -> str:
        """What the legend says: the algorithm, and of NA-ALISTA what differs from the default."""
        if not self.algorithm.startswith("na-alista"):
            return self.algorithm
        return self.algorithm + ("" if self.lstm_inputs == "r,u" else f" {self.lstm_inputs}")


@dataclass(frozen=True)
class Panel:
    """One axis of a figure: NMSE against one column of its points."""

    title: str
    x: str
    points: tuple[Point, ...]


def panels(figure: str) -> tuple[Panel, ...]:
    """The axes of a figure of NMSE: 3, 4, 5, 7, 10, 11, 13, table1, or others: published, but in no figure.

    Raises:
        ChanestError: there is no such figure.

    >>> [panel.title for panel in panels("13")]
    ['M = 100', 'M = 75']
    >>> sum(len(panel.points) for panel in panels("table1"))
    15
    """
    if figure not in _FIGURES:
        raise ChanestError(f"figure: expected one of {', '.join(NMSE_FIGURES)}, got {figure}")
    return _FIGURES[figure]


def _point(setting: str, algorithm: str, **fields: object) -> Point:
    lstm = {"lstm_inputs": "r,u", "lstm_hidden": 128} if algorithm.startswith("na-alista") else {}
    return replace(Point(setting, algorithm), **{**lstm, **fields})  # type: ignore[arg-type]


def _panel(
    title: str,
    x: str,
    values: Iterable[int],
    algorithms: Iterable[str] = _PAPERS,
    setting: str = "synthetic",
    **fields: object,
) -> Panel:
    """Some algorithms along one column; all else is the same."""
    points = (_point(setting, a, **fields, **{x: value}) for a, value in product(algorithms, values))
    return Panel(title, x, tuple(points))


def _over_iterations(n: int, snr: int) -> Panel:
    return _panel(f"N = {n}, {snr} dB", "n_iterations", _ITERATIONS, n_taps=n, snr_db=snr)


def _over_sizes(snr: int, k: int = 26) -> Panel:
    return _panel(f"K = {k}, {snr} dB", "n_taps", _SIZES, snr_db=snr, n_iterations=k)


def _over_sizes_reading(inputs: str, snr: int) -> Panel:
    return _panel(
        f"K = 16, {snr} dB, LSTM reads {inputs}", "n_taps", _SIZES, ["na-alista"], snr_db=snr, lstm_inputs=inputs
    )


def _over_hidden(n: int) -> Panel:
    return _panel(f"N = {n}, 40 dB", "lstm_hidden", (16, 32, 64, 128, 256), ["na-alista"], n_taps=n)


def _ofdm(m: int) -> Panel:
    return _panel(
        f"M = {m}", "n_iterations", _OFDM_ITERATIONS, setting="ofdm", n_taps=256, n_pilots=m, sparsity=8, snr_db=10
    )


def _inputs(n: int) -> Panel:
    points = [_point("synthetic", "na-alista", n_taps=n, lstm_inputs=inputs) for inputs in ("r", "r,u", "u")]
    points += [_point("synthetic", name, n_taps=n) for name in ("na-alista-mlp", "na-alista-rnn")]
    return Panel(f"N = {n}, 40 dB", "n_taps", tuple(points))


_FIGURES: dict[str, tuple[Panel, ...]] = {
    "3": (_over_iterations(2000, 40), _over_iterations(2000, 20)),
    "4": (_over_sizes(40), _over_sizes(20)),
    "5": tuple(map(_over_hidden, (500, 1000, 2000))),
    "7": (_panel("N = 1000, 40 dB", "n_iterations", [16], _PAPERS[2:]),),
    "10": (_ofdm(100),),
    "11": tuple(_over_iterations(n, snr) for n, snr in product((500, 1000, 2000), (40, 20))),
    "13": (_ofdm(100), _ofdm(75)),
    "table1": tuple(map(_inputs, (500, 1000, 2000))),
    "others": (
        _ofdm(50),
        *(_over_sizes(snr, 16) for snr in (40, 20)),
        *(_over_sizes_reading(inputs, snr) for inputs, snr in product(("r", "u"), (40, 20))),
        _panel("N = 750, 40 dB", "n_iterations", (10, 12, 14), ["aglista"], n_taps=750),
    ),
}
NMSE_FIGURES = tuple(_FIGURES)
