"""The tables of tools/bench_estimators.py, and its targets: met or not."""

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

_KINDS = ("fft", "product", "complex product", "cholesky", "inverse", "byte")
_BUSY = 0.5  # processes that ran, on average over a minute


@dataclass(frozen=True)
class Target:
    """One line of the last table; ``met`` None where what it compares was not run."""

    what: str
    wanted: str
    measured: str
    met: bool | None


def print_results(result: dict[str, Any], console: Console | None = None) -> None:
    """All tables."""
    console = console or Console(width=150)
    console.print(" ".join(f"{name}: {value}" for name, value in result["machine"].items()))
    if result["machine"]["load_before"] > _BUSY:
        console.print("The machine was busy before the run began: not to be quoted, least of all several threads.")
    for one in result["results"]:
        console.print(_estimates(one, result["nmse_db"]), _floors(one), _ceilings(one))
    if result["training"]:
        console.print(_training(result["training"]))
    if result["machine"]["device"] == "cpu":
        console.print(_targets(targets(result)))


def _targets(found: list[Target]) -> Table:
    table = Table("target", "wanted", "measured", "met", title="Targets", title_justify="left")
    for target in found:
        met = {None: "not run", True: "yes", False: "NO"}[target.met]
        table.add_row(target.what, target.wanted, target.measured, met)
    return table


def _where(one: dict[str, Any]) -> str:
    return f"batch {one['batch']}{on(one['threads'])}"


def on(threads: int) -> str:
    """Where: so many threads, or 0 for CUDA."""
    return {0: ", CUDA", 1: ", 1 thread"}.get(threads, f", {threads} threads")


def _estimates(one: dict[str, Any], nmse: dict[str, dict[str, float]]) -> Table:
    table = Table(title=f"{_where(one)}: µs per estimate", title_justify="left")
    table.add_column("estimator")
    table.add_column("way")
    for heading in ("µs", "floor", "floor/measured", "best floor", "best/measured"):
        table.add_column(heading, justify="right")
    table.add_column("time/chanest's", justify="right")
    table.add_column("differs by", justify="right")
    table.add_column("NMSE, dB", justify="right")
    for name, ways in one["seconds"].items():
        ours, floors = ways["chanest"], one["floors"][name]
        for way in sorted(ways, key=lambda w: w != "chanest"):
            cells = [""] * 4
            if way == "chanest":
                cells = [
                    _us(floors["floor_seconds"]),
                    f"{floors['floor_share']:.0%}",
                    _us(floors["best_floor_seconds"]),
                    f"{floors['best_floor_share']:.0%}",
                ]
            faster = "" if way == "chanest" else f"{ways[way] / ours:.2f}"
            differs = f"{one['deviation'][name][way]:.0e}" if way in one["deviation"][name] else ""
            n = one["estimates_timed"][name][way]
            timed = way if n == one["batch"] else f"{way}, {n} at a time"
            row = [name if way == "chanest" else "", timed, _us(ways[way]), *cells, faster, differs]
            table.add_row(*row, f"{nmse[name][way]:.2f}")
        table.add_section()
    return table


def _floors(one: dict[str, Any]) -> Table:
    table = Table(title=f"{_where(one)}: what the floor consists of, µs", title_justify="left")
    table.add_column("estimator")
    for heading in ("Mflop", "kB moved"):
        table.add_column(heading, justify="right")
    for kind in _KINDS:
        table.add_column(kind, justify="right")
    table.add_column("ways")
    for name, row in one["floors"].items():
        parts = [_us(row["floor_by_kind"][kind]) if kind in row["floor_by_kind"] else "" for kind in _KINDS]
        ways = ", ".join(f"{part} {way}" for part, way in row["chosen"].items())
        table.add_row(name, f"{row['flops'] / 1e6:.2f}", f"{row['work']['byte'] / 1e3:.0f}", *parts, ways)
    return table


def _ceilings(one: dict[str, Any]) -> Table:
    table = Table(title=f"{_where(one)}: ceilings", title_justify="left")
    for heading in ("unit, per estimate", "µs", "Gflop/s or GB/s"):
        table.add_column(heading, justify="right")
    for unit, ceiling in one["ceilings"].items():
        rate = ceiling.get("flops_per_second", ceiling.get("bytes_per_second", 0.0)) / 1e9
        table.add_row(unit, f"{1e6 * ceiling['seconds']:.3f}" if unit != "byte" else "", f"{rate:.1f}")
    return table


def _training(training: list[dict[str, Any]]) -> Table:
    table = Table(title=f"Training, batch {training[0]['batch']}", title_justify="left")
    table.add_column("threads")
    table.add_column("way")
    for heading in ("ms per step", "steps/s", "time/chanest's", "kept for backward, MiB", "peak, MiB", "loss"):
        table.add_column(heading, justify="right")
    for one in training:
        for way, seconds in one["seconds"].items():
            memory = one["memory"][way]
            faster = "" if way == "chanest" else f"{one['times_textbook']:.2f}"
            sizes = (f"{memory[of] / 2**20:.0f}" for of in ("saved_bytes", "peak_bytes"))
            row = (str(one["threads"]), way, f"{1e3 * seconds:.1f}", f"{1 / seconds:.1f}", faster, *sizes)
            table.add_row(*row, f"{one['loss'][way]:.4f}")
        drawing = one["seconds_of_drawing_the_data"]
        table.add_row(str(one["threads"]), "drawing the data (in neither)", f"{1e3 * drawing:.1f}")
    return table


def _us(seconds: float) -> str:
    return f"{1e6 * seconds:.3g}" if seconds < 1e-4 else f"{1e6 * seconds:.0f}"


def targets(result: dict[str, Any]) -> list[Target]:
    """Those that chanest set itself: batches on as many threads as ran, latency on one."""
    most = max((one["threads"] for one in result["results"]), default=1)

    def at(batch: int, threads: int, name: str) -> dict[str, Any] | None:
        for one in result["results"]:
            if (one["batch"], one["threads"]) == (batch, threads) and name in one["seconds"]:
                return one
        return None

    return [
        *_na_alista_in_batches(at(512, most, "na-alista"), result["nmse_db"], most),
        *_na_alista_alone(at(1, 1, "na-alista")),
        _na_sbl_alone(at(1, 1, "na-sbl")),
        _na_sbl_in_batches(at(512, most, "na-sbl"), most),
        *(_training_step(one) for one in result["training"]),
    ]


def _na_alista_in_batches(one: dict[str, Any] | None, nmse: dict[str, Any], threads: int) -> list[Target]:
    where, name = f"NA-ALISTA, batch 512{on(threads)}: ", "na-alista"
    faster, loss, share = (
        (where + "textbook's time / ours", "at least 5"),
        (where + "NMSE above the textbook's", "at most 0.05 dB"),
        (where + "floor / measured", "at least 40%"),
    )
    if one is None:
        return [Target(*what, "", None) for what in (faster, loss, share)]
    ratio = one["seconds"][name]["textbook"] / one["seconds"][name]["chanest"]
    lost = nmse[name]["chanest"] - nmse[name]["textbook"]
    at_floor, at_best = (one["floors"][name][of] for of in ("floor_share", "best_floor_share"))
    return [
        Target(*faster, f"{ratio:.2f}", ratio >= 5),
        Target(*loss, f"{lost:.3f} dB", lost <= 0.05),
        Target(*share, f"{at_floor:.0%} ({at_best:.0%} of the best floor)", at_floor >= 0.4),
    ]


def _na_alista_alone(one: dict[str, Any] | None) -> list[Target]:
    where, name = "NA-ALISTA, batch 1, 1 thread: ", "na-alista"
    faster, latency = (where + "textbook's time / ours", "at least 8"), (where + "µs", "under 250")
    if one is None:
        return [Target(*what, "", None) for what in (faster, latency)]
    ours, best = one["seconds"][name]["chanest"], one["floors"][name]["best_floor_seconds"]
    ratio = one["seconds"][name]["textbook"] / ours
    return [
        Target(*faster, f"{ratio:.2f}", ratio >= 8),
        Target(*latency, f"{1e6 * ours:.0f} (best floor {1e6 * best:.0f})", ours < 250e-6),
    ]


def _na_sbl_alone(one: dict[str, Any] | None) -> Target:
    what = "NA-SBL, batch 1, 1 thread: ms", "under 2"
    if one is None:
        return Target(*what, "", None)
    ours = one["seconds"]["na-sbl"]["chanest"]
    return Target(*what, f"{1e3 * ours:.2f}", ours < 2e-3)


def _na_sbl_in_batches(one: dict[str, Any] | None, threads: int) -> Target:
    """Against as many bare factorisations and inverses: 6 of each, and 6 and the 5 inverses that it needs."""
    what = (
        f"NA-SBL, batch 512{on(threads)}: time / that of cholesky_ex and inverse of as many matrices",
        "at most 1.67",
    )
    if one is None:
        return Target(*what, "", None)
    work, ours = one["floors"]["na-sbl"]["work"], one["seconds"]["na-sbl"]["chanest"]
    (cholesky,) = (unit for unit in work if unit.startswith("cholesky"))
    (inverse,) = (unit for unit in work if unit.startswith("inverse"))
    n, n_inverses = work[cholesky], work[inverse]
    factor, invert = (one["ceilings"][unit]["seconds"] for unit in (cholesky, inverse))
    as_many, needed = ours / (n * (factor + invert)), ours / (n * factor + n_inverses * invert)
    value = f"{as_many:.2f} of {n:.0f} + {n:.0f} ({needed:.2f} of {n:.0f} + {n_inverses:.0f})"
    return Target(*what, value, as_many <= 1.67)


def _training_step(one: dict[str, Any]) -> Target:
    what = f"training step, batch {one['batch']}{on(one['threads'])}: textbook's time / ours"
    return Target(what, "at least 3", f"{one['times_textbook']:.2f}", one["times_textbook"] >= 3)
