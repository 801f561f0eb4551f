"""The paper's figures that show no NMSE: what stands in for the l1 error, what NA-ALISTA predicts, a channel, time."""

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..algorithms import ALGORITHMS, Algorithm
from ..errors import ChanestError
from ..evaluation.plots import check_plot_path, draw_charts
from ..files import refuse_existing, write_csv
from ..models import pick_model
from ..operators import AnalyticWeights, DenseOperator
from ..problems import GaussianScenario, gaussian, load_scenario, ofdm, seeded
from .charts import Illustration, Row, charts, spearman
from .iterations import Course, assumption, follow, memory, predictions

_NORMS = ((15, 0.91, 0.92), (1000, 0.38, 0.37))  # entries that are not zero, the paper's coefficients of r and u
_TIMED = ("alista", "na-alista", "aglista")
_SIZES = (750, 1000, 1500, 2000, 3000, 4000)
_RIDGE = 1e-6


def illustrate(
    figure: str, table: Path, plots: Sequence[Path], device: torch.device, seed: int, force: bool = False
) -> str:
    """Compute one of :data:`ILLUSTRATIONS`, write its data as CSV and its pictures; what was measured, in words.

    Args:
        figure: its number.
        table: the CSV.
        plots: pictures, .png, .pdf or .svg.
        device: where to compute.
        seed: of everything random.
        force: replace files that exist.

    Raises:
        ChanestError: there is no such figure.
        FileError: a file in the way, or one that cannot be written.
        ModelError: no NA-ALISTA for the synthetic setting is shipped.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> print(illustrate("9", folder / "9.csv", [folder / "9.pdf"], torch.device("cpu"), seed=0))
    one CIR of lte10: 8 taps of 256; 50 pilots at random among 600 subcarriers of 1024, 10 dB (paper: 256, 50, 1024)
    >>> sorted(path.name for path in folder.iterdir())
    ['9.csv', '9.pdf']
    """
    if figure not in _FIGURES:
        raise ChanestError(f"figure: expected one of {', '.join(ILLUSTRATIONS)}, got {figure}")
    refuse_existing(table, force)
    for path in plots:
        check_plot_path(path, force)
    title, make = _FIGURES[figure]
    made = make(device, seed)
    write_csv(table, list(made.rows[0]), made.rows)
    for path in plots:
        draw_charts(path, f"Figure {figure}: {title}", charts(figure, made.rows), force)
    return made.facts


@torch.inference_mode()
def norms_and_error(device: torch.device, seed: int, n_draws: int = 1000) -> Illustration:
    """Figure 1: ||x||_1 against r = ||Phi x||_1 and u = ||W^T Phi x||_1 for sparse and dense x.

    Phi is the synthetic scenario's, W analytic; x has exactly 15 or 1000 entries N(0, 1), ``n_draws`` vectors each.

    >>> print(norms_and_error(torch.device("cpu"), seed=0).facts)  # doctest: +ELLIPSIS
    Spearman coefficients of ||x||_1 with r and u, 1000 draws each, beside the paper's
    15 entries of 1000: 0.9... (0.91), 0.9... (0.92)
    1000 entries of 1000: 0... (0.38), 0... (0.37)
    """
    phi = _synthetic().sensing(seed).to(device)
    w = AnalyticWeights(phi, 0.0)
    rows: list[Row] = []
    lines = [f"Spearman coefficients of ||x||_1 with r and u, {n_draws} draws each, beside the paper's"]
    generator = seeded(seed, "test")
    for sparsity, *told in _NORMS:
        shape = (n_draws, phi.n_coefficients)
        support = torch.rand(shape, generator=generator).topk(sparsity, -1).indices
        values = torch.randn(n_draws, sparsity, generator=generator)
        x = torch.zeros(shape).scatter(-1, support, values).to(device)
        b = phi.forward(x)
        norms = [v.abs().sum(-1).cpu() for v in (x, b, w.adjoint(b))]
        cells = ", ".join(
            f"{spearman(norms[0], norm):.2f} ({theirs})" for norm, theirs in zip(norms[1:], told, strict=True)
        )
        lines.append(f"{sparsity} entries of {phi.n_coefficients}: {cells}")
        rows += [
            {"sparsity": sparsity, "l1": l1, "r": r, "u": u}
            for l1, r, u in zip(*(norm.tolist() for norm in norms), strict=True)
        ]
    return Illustration(rows, "\n".join(lines))


def channel(device: torch.device, seed: int) -> Illustration:
    """Figure 9: one CIR of ``lte10``, and what is received on 50 random subcarriers, H + noise.

    >>> made = channel(torch.device("cpu"), seed=0)
    >>> [sum(row["kind"] == kind for row in made.rows) for kind in ("tap", "pilot")]
    [256, 50]
    """
    scenario = ofdm(load_scenario("lte10")).replace(n_pilots=50)
    pattern = scenario.sensing(seed)
    data = next(scenario.simulate(pattern, 1, seed))
    cir = data.truth["cir"][0]
    places = {"tap": range(len(cir)), "pilot": map(int, pattern.subcarriers)}
    values = {"tap": cir, "pilot": data.observations[0]}
    rows: list[Row] = [
        {"kind": kind, "position": place, "real": value.real, "imag": value.imag, "modulus": abs(value)}
        for kind in values
        for place, value in zip(places[kind], values[kind].tolist(), strict=True)
    ]
    facts = (
        f"one CIR of {scenario.name}: {int((cir != 0).sum())} taps of {scenario.n_taps}; {len(pattern)} pilots at "
        f"random among {scenario.n_used} subcarriers of {scenario.n_fft}, {scenario.snr_db:g} dB (paper: 256, 50, 1024)"
    )
    return Illustration(rows, facts)


def times(
    device: torch.device,
    seed: int,
    sizes: Sequence[int] = _SIZES,
    measurements: Sequence[int] = (250, 500),
    batch: int = 5000,
    laps: int = 3,
) -> Illustration:
    """Figure 12: wall-clock time of an iteration of ALISTA, NA-ALISTA that reads u, and AGLISTA.

    Half of what K = 3 takes longer than K = 1, so that the preparation of W does not count: of the shortest of ``laps``
    after one to warm up, the algorithms in turn. The untrained take as long as the trained.

    >>> made = times(torch.device("cpu"), 0, sizes=(64,), measurements=(16,), batch=8, laps=1)
    >>> [row["algorithm"] for row in made.rows]
    ['alista', 'na-alista', 'aglista']
    """
    rows: list[Row] = []
    for m, n in product(measurements, sizes):
        phi = _synthetic().replace(n_measurements=m, n_coefficients=n).sensing(seed).to(device)
        y = torch.randn(batch, m, generator=seeded(seed, "test")).to(device) / m**0.5
        found = _seconds_per_iteration(phi, y, laps)
        rows += [
            {
                "n_measurements": m,
                "n_coefficients": n,
                "algorithm": name,
                "ms_per_iteration": 1e3 * seconds,
                "ratio_to_alista": seconds / found["alista"],
                "batch": batch,
                "laps": laps,
                "device": str(device),
            }
            for name, seconds in found.items()
        ]
    lines = [f"time of an iteration, (K = 3 less K = 1) / 2, batch {batch} on {device}, in times ALISTA's"]
    for name, m in product(_TIMED[1:], measurements):
        ratios = [row["ratio_to_alista"] for row in rows if (row["algorithm"], row["n_measurements"]) == (name, m)]
        lines.append(f"{name}, M = {m}: {min(ratios):.2f} to {max(ratios):.2f}, median {statistics.median(ratios):.2f}")
    return Illustration(rows, "\n".join([*lines, "(paper: NA-ALISTA feasible, and faster than AGLISTA)"]))


def _seconds_per_iteration(phi: DenseOperator, y: Tensor, laps: int) -> dict[str, float]:
    """Of every algorithm of _TIMED."""

    def made(name: str, k: int) -> Algorithm:
        inputs: dict[str, Any] = {"lstm_inputs": "u", "lstm_hidden": 128} if name == "na-alista" else {}
        return ALGORITHMS[name](n_iterations=k, sparsity=50.0, schedule="synthetic", ridge=_RIDGE, **inputs).to(
            y.device
        )

    runs = {(name, k): made(name, k) for name, k in product(_TIMED, (1, 3))}
    found: dict[tuple[str, int], list[float]] = {run: [] for run in runs}
    with torch.inference_mode():
        for lap in range(laps + 1):
            for run, algorithm in runs.items():
                began = _now(y.device)
                algorithm(y, phi)
                if lap:
                    found[run].append(_now(y.device) - began)
    return {name: (min(found[name, 3]) - min(found[name, 1])) / 2 for name in _TIMED}


def _now(device: torch.device) -> float:
    """The clock in seconds, after all that the device still had to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _synthetic() -> GaussianScenario:
    return gaussian(load_scenario("synthetic"))


def _followed(tell: Callable[[Course], Illustration], n_samples: int) -> Callable[[torch.device, int], Illustration]:
    """A figure of what the shipped NA-ALISTA did."""

    def make(device: torch.device, seed: int) -> Illustration:
        return tell(follow(pick_model("na-alista", _synthetic()), n_samples, seed, device))

    return make


_FIGURES: dict[str, tuple[str, Callable[[torch.device, int], Illustration]]] = {
    "1": ("what r and u tell of the l1 norm", norms_and_error),
    "2": ("what u tells of the l1 error", _followed(memory, 1000)),
    "6": ("predicted step sizes and thresholds", _followed(predictions, 10_000)),
    "8": ("theta/gamma and the l1 error", _followed(assumption, 10_000)),
    "9": ("a channel and its pilots", channel),
    "12": ("time of an iteration", times),
}
ILLUSTRATIONS: tuple[str, ...] = tuple(_FIGURES)
