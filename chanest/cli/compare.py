"""``chanest compare``."""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from ..errors import ChanestError
from ..evaluation import Note, Sweep, Task, executor, left_out
from ..evaluation import compare as compare_estimators
from ..evaluation.comparison import COLUMNS, KEY
from ..evaluation.plots import draw_frontier, draw_sweep
from ..models.zoo import chosen_estimators, fingerprinted, is_model_name
from ..problems import Problem, load_scenario
from .options import (
    DaskOption,
    DeviceOption,
    ForceOption,
    ResumeOption,
    SamplesOption,
    SeedOption,
    check_samples,
    check_sweep_output,
    chosen_device,
    chosen_problem,
)
from .terminal import progress_bar, show

_MOST_POINTS = 10_000


def compare(
    output: Annotated[Path, typer.Option(help="CSV to write; two plots lie beside it.")],
    scenarios: Annotated[str, typer.Option(help="Scenarios, with commas between.")] = "lte10",
    algorithms: Annotated[
        str | None, typer.Option(help="Estimators, models, model files: omp,na-sbl,my.h5.", show_default="all")
    ] = None,
    pilots: Annotated[str | None, typer.Option(help="Numbers of pilots: 50,75,100.", show_default="75")] = None,
    snr: Annotated[str, typer.Option("--snr", help="SNRs in dB: 0,10,20 or 0:30:10.")] = "0:30:10",
    samples: SamplesOption = 1000,
    seed: SeedOption = 0,
    error_variance: Annotated[bool, typer.Option("--error-variance", help="Also what each expects of itself.")] = False,
    device: DeviceOption = "auto",
    dask: DaskOption = None,
    resume: ResumeOption = False,
    force: ForceOption = False,
) -> None:
    """Compare estimators over scenarios, pilots and SNRs: a table, a CSV, two plots.

    \b
    chanest compare --output city.csv --scenarios munich --pilots 50,75,100 --snr 0:30:10
    chanest compare --output mine.csv --algorithms na-sbl,omp,my.h5 --error-variance
    """
    plots = [output.with_name(f"{output.stem}-{kind}.png") for kind in ("snr", "frontier")]
    check_sweep_output(output, plots, resume, force)
    check_samples(samples, seed)
    on = chosen_device(device)
    asked = None if algorithms is None else chosen_estimators(algorithms)
    problems = _problems(scenarios, pilots, snr, error_variance)
    named = list(dict.fromkeys(name for p in problems for name in p.peers)) if asked is None else asked
    settings: dict[str, object] = {
        "algorithms": fingerprinted(named),
        "n_samples": samples,
        "seed": seed,
        "device": str(on),
        "error_variance": error_variance,
        "scenarios": _fingerprint(problems),
    }
    points = {_point(problem): problem for problem in problems}
    tasks = [
        Task(point, partial(_measure, problem, asked, samples, seed, str(on), error_variance))
        for point, problem in points.items()
    ]
    with executor(dask) as where, progress_bar("comparing", len(tasks)) as bar:
        numbers = {
            "numbers": ("snr_db", "seconds_per_estimate"),
            "numbers_or_nothing": ("cir_nmse_db", "cfr_nmse_db", "expected_cfr_nmse_db"),
        }
        sweep = Sweep(output, KEY, COLUMNS, settings, anew=force and not resume, **numbers)
        sweep.run(tasks, where, bar.advance)
    wanted = {(name, "" if n_pilots is None else str(n_pilots), f"{snr:.6g}") for name, n_pilots, snr in points}
    rows = [row for row in sweep.rows() if (row["scenario"], row["n_pilots"], row["snr_db"]) in wanted]
    _print_tables(rows)
    draw_sweep(plots[0], rows)
    draw_frontier(plots[1], rows)
    for reason in _left_out(problems, named, {row["algorithm"] for row in rows}, seed):
        print(f"left out: {reason}")
    print(f"wrote {output}, {plots[0]}, {plots[1]}")


def _left_out(
    problems: Sequence[Problem], algorithms: Sequence[str], there: Collection[str], seed: int
) -> Iterable[str]:
    """Why some are nowhere in the table, and models that were named are missing at some points."""
    return dict.fromkeys(
        reason
        for problem in problems
        for name, reason in left_out(problem, algorithms, seed).items()
        if name not in there or is_model_name(name)
    )


def _measure(
    problem: Problem,
    asked: Sequence[str] | None,
    n_samples: int,
    seed: int,
    device: str,
    error_variance: bool,
    note: Note,
) -> list[dict[str, object]]:
    return compare_estimators(problem, asked, n_samples, seed, device, error_variance=error_variance)


def _problems(scenarios: str, pilots: str | None, snr: str, error_variance: bool) -> list[Problem]:
    loaded = {name: load_scenario(name) for name in (name.strip() for name in scenarios.split(","))}
    counts = [int(n) for n in numbers("--pilots", "75" if pilots is None else pilots, whole=True)]
    snrs = numbers("--snr", snr)
    if len(loaded) * len(counts) * len(snrs) > _MOST_POINTS:
        raise ChanestError(f"expected a grid of at most {_MOST_POINTS} points", field="--snr")
    without = {
        "--pilots": pilots is not None and not any("n_pilots" in p.size_fields for p in loaded.values()),
        "--error-variance": error_variance and not any("cfr" in p.quantities for p in loaded.values()),
    }
    for option, useless in without.items():
        if useless:
            raise ChanestError(f"no OFDM scenario among {scenarios}; leave it out", field=option)
    made = [
        chosen_problem(name, m, snr_db)
        for name, problem in loaded.items()
        for m in (counts if "n_pilots" in problem.size_fields else [None])
        for snr_db in snrs
    ]
    if len({_point(p) for p in made}) < len(set(made)):
        raise ChanestError(
            "two different scenarios have one name; change the name in one of the files", field="--scenarios"
        )
    return made


def _point(problem: Problem) -> tuple[str, int | None, float]:
    """The key of a problem's rows; no number of pilots in the synthetic setting."""
    return problem.name, getattr(problem, "n_pilots", None), problem.snr_db


def _fingerprint(problems: Sequence[Problem]) -> str:
    """Tells whether the scenarios of a resumed comparison are still the same, pilots and SNR apart."""
    same = {"n_pilots": 2, "snr_db": 0.0}
    known = {p.name: p.replace(**{k: v for k, v in same.items() if hasattr(p, k)}).model_dump_json() for p in problems}
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
            raise ChanestError(f"expected {'whole ' * whole}numbers like 0,10,20 or 0:30:10, got {text}", field=option)
    return list(dict.fromkeys(found))


def _print_tables(rows: Sequence[dict[str, str]]) -> None:
    """NMSE of the CFR or of x, a table per scenario and number of pilots, a column per SNR."""
    for scenario, n_pilots in dict.fromkeys((row["scenario"], row["n_pilots"]) for row in rows):
        here = [row for row in rows if (row["scenario"], row["n_pilots"]) == (scenario, n_pilots)]
        snrs = sorted({row["snr_db"] for row in here}, key=float)
        what = f"{scenario}, {n_pilots} pilots: CFR NMSE (dB)" if n_pilots else f"{scenario}: NMSE (dB)"
        nmse = "cfr_nmse_db" if n_pilots else "cir_nmse_db"
        headings = (*(f"{snr} dB" for snr in snrs), "µs per estimate")
        table = Table("estimator", *(Column(h, justify="right") for h in headings), title=what, title_justify="left")
        for name in dict.fromkeys(row["algorithm"] for row in here):
            own = {row["snr_db"]: row for row in here if row["algorithm"] == name}
            seconds = [float(row["seconds_per_estimate"]) for row in own.values()]
            cells = [f"{float(own[snr][nmse]):.2f}" if snr in own and own[snr][nmse] else "" for snr in snrs]
            table.add_row(name, *cells, f"{sorted(seconds)[len(seconds) // 2] * 1e6:.1f}")
        show(table)
