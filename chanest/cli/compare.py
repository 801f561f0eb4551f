"""``chanest compare``."""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.table import Table

from ..errors import ChanestError, FileError
from ..evaluation.comparison import COLUMNS, KEY, compare_point, left_out
from ..evaluation.executors import Note, Task, engine
from ..evaluation.plots import check_plot_path, draw_frontier, draw_sweep
from ..evaluation.sweep import Sweep
from ..files.arrays import refuse_existing
from ..models.zoo import (
    PEERS,
    SYNTHETIC_PEERS,
    chosen_estimators,
    fingerprinted,
    is_model_name,
)
from ..problems.gaussian import SyntheticScenario
from ..problems.load import AnyScenario, load_any_scenario
from .common import (
    Setting,
    check_samples,
    chosen_device,
    chosen_setting,
    console,
    progress_bar,
)

_MOST_POINTS = 10_000


@dataclass(frozen=True)
class CompareOptions:
    """The options of ``chanest compare``, as given."""

    output: Path
    scenarios: str
    algorithms: str | None
    pilots: str | None
    snr: str
    samples: int
    seed: int
    error_variance: bool
    device: str
    dask: str | None
    resume: bool
    force: bool


def run(options: CompareOptions) -> None:
    """Measure what is missing, then print the table and draw the two plots."""
    if options.output.suffix != ".csv":
        raise FileError(f"expected a file ending in .csv, got {options.output}", field="--output")
    plots = [options.output.with_name(f"{options.output.stem}-{kind}.png") for kind in ("snr", "frontier")]
    if not options.resume:
        refuse_existing(options.output, options.force)
        for plot in plots:
            check_plot_path(plot, options.force)
    if not options.output.parent.is_dir():
        raise FileError(f"no folder {options.output.parent}", path=options.output)
    check_samples(options.samples, options.seed)
    device = chosen_device(options.device)
    asked = None if options.algorithms is None else chosen_estimators(options.algorithms)
    scenarios = _scenarios(options)
    algorithms = _peers(scenarios) if asked is None else asked
    settings: dict[str, object] = {
        "algorithms": fingerprinted(algorithms),
        "n_samples": options.samples,
        "seed": options.seed,
        "device": str(device),
        "error_variance": options.error_variance,
        "scenarios": _fingerprint(scenarios),
    }
    points = {_point(s): s for s in scenarios}
    how = options.samples, options.seed, str(device), options.error_variance
    tasks = [Task(point, partial(_measure, scenario, asked, *how)) for point, scenario in points.items()]
    with engine(options.dask) as where, progress_bar("comparing", len(tasks)) as bar:
        if options.force and not options.resume:
            options.output.unlink(missing_ok=True)
        sweep = Sweep(options.output, KEY, COLUMNS, settings)
        sweep.run(tasks, where, bar.advance)
    wanted = {(name, "" if n_pilots is None else str(n_pilots), f"{snr:.6g}") for name, n_pilots, snr in points}
    rows = [row for row in sweep.rows() if (row["scenario"], row["n_pilots"], row["snr_db"]) in wanted]
    _print_tables(rows)
    draw_sweep(plots[0], rows)
    draw_frontier(plots[1], rows)
    for reason in _left_out(scenarios, algorithms, {row["algorithm"] for row in rows}, options.seed):
        print(f"left out: {reason}")
    print(f"wrote {options.output}, {plots[0]}, {plots[1]}")


def _left_out(
    scenarios: Sequence[AnyScenario], algorithms: Sequence[str], there: Collection[str], seed: int
) -> Iterable[str]:
    """Why some are nowhere in the table, and models that were named are missing at some points."""
    return dict.fromkeys(
        reason
        for scenario in scenarios
        for name, reason in left_out(scenario, algorithms, seed).items()
        if name not in there or is_model_name(name)
    )


def _measure(
    scenario: AnyScenario,
    asked: Sequence[str] | None,
    n_samples: int,
    seed: int,
    device: str,
    error_variance: bool,
    note: Note,
) -> list[dict[str, object]]:
    return compare_point(scenario, asked, n_samples, seed, device, error_variance=error_variance)


def _peers(scenarios: Sequence[AnyScenario]) -> Sequence[str]:
    """What is compared when nothing is asked for: the peers of every setting that is there."""
    peers = (SYNTHETIC_PEERS if isinstance(s, SyntheticScenario) else PEERS for s in scenarios)
    return list(dict.fromkeys(name for names in peers for name in names))


def _scenarios(options: CompareOptions) -> list[AnyScenario]:
    names = [name.strip() for name in options.scenarios.split(",")]
    pilots = [int(n) for n in numbers("--pilots", "75" if options.pilots is None else options.pilots, whole=True)]
    snrs = numbers("--snr", options.snr)
    if len(names) * len(pilots) * len(snrs) > _MOST_POINTS:
        raise ChanestError(f"expected a grid of at most {_MOST_POINTS} points", field="--snr")
    synthetic = {name: isinstance(load_any_scenario(name), SyntheticScenario) for name in names}
    if options.pilots is not None and all(synthetic.values()):
        raise ChanestError(f"no OFDM scenario among {options.scenarios}; leave it out", field="--pilots")
    if options.error_variance and all(synthetic.values()):
        raise ChanestError(f"no OFDM scenario among {options.scenarios}; leave it out", field="--error-variance")
    made = [
        chosen_setting(Setting(name, m, snr))
        for name in names
        for m in ([None] if synthetic[name] else pilots)
        for snr in snrs
    ]
    if len({_point(s) for s in made}) < len(set(made)):
        raise ChanestError(
            "two different scenarios have one name; change the name in one of the files", field="--scenarios"
        )
    return made


def _point(scenario: AnyScenario) -> tuple[str, int | None, float]:
    """The key of a scenario's rows; no number of pilots in the synthetic setting."""
    n_pilots = None if isinstance(scenario, SyntheticScenario) else scenario.n_pilots
    return scenario.name, n_pilots, scenario.snr_db


def _fingerprint(scenarios: Sequence[AnyScenario]) -> str:
    """Tells whether the scenarios of a resumed comparison are still the same, pilots and SNR apart."""
    same = {True: {"snr_db": 0.0}, False: {"snr_db": 0.0, "n_pilots": 2}}
    known = {s.name: s.replace(**same[isinstance(s, SyntheticScenario)]).model_dump_json() for s in scenarios}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:12]


def numbers(option: str, text: str, whole: bool = False) -> list[float]:
    """``"0,10"`` or ``"0:30:10"`` (both ends included) as numbers.

    >>> numbers("--snr", "0:30:10,35")
    [0.0, 10.0, 20.0, 30.0, 35.0]
    """
    number = r"[+-]?\d+" if whole else r"[+-]?\d+(?:\.\d*)?"
    found: list[float] = []
    for part in text.split(","):
        if re.fullmatch(number, part.strip()):
            found.append(float(part))
        elif re.fullmatch(rf"{number}:{number}:{number}", part.strip()):
            first, last, step = map(float, part.split(":"))
            if step <= 0 or last < first or (last - first) / step > _MOST_POINTS:
                raise ChanestError(
                    f"expected FIRST:LAST:STEP with FIRST <= LAST and STEP > 0, got {part}", field=option
                )
            found += [first + i * step for i in range(int((last - first) / step + 1e-9) + 1)]
        else:
            kind = "whole numbers" if whole else "numbers"
            raise ChanestError(f"expected {kind} like 0,10,20 or 0:30:10, got {text}", field=option)
    return list(dict.fromkeys(found))


def _print_tables(rows: Sequence[dict[str, str]]) -> None:
    """NMSE of the CFR or of x, a table per scenario and number of pilots, a column per SNR."""
    for scenario, n_pilots in dict.fromkeys((row["scenario"], row["n_pilots"]) for row in rows):
        here = [row for row in rows if (row["scenario"], row["n_pilots"]) == (scenario, n_pilots)]
        snrs = sorted({row["snr_db"] for row in here}, key=float)
        what = f"{scenario}, {n_pilots} pilots: CFR NMSE (dB)" if n_pilots else f"{scenario}: NMSE (dB)"
        nmse = "cfr_nmse_db" if n_pilots else "cir_nmse_db"
        table = Table(title=what, title_justify="left")
        table.add_column("estimator")
        for snr in snrs:
            table.add_column(f"{snr} dB", justify="right")
        table.add_column("µs per estimate", justify="right")
        for name in dict.fromkeys(row["algorithm"] for row in here):
            own = {row["snr_db"]: row for row in here if row["algorithm"] == name}
            seconds = [float(row["seconds_per_estimate"]) for row in own.values()]
            cells = [f"{float(own[snr][nmse]):.2f}" if snr in own and own[snr][nmse] else "" for snr in snrs]
            table.add_row(name, *cells, f"{sorted(seconds)[len(seconds) // 2] * 1e6:.1f}")
        console().print(table)
