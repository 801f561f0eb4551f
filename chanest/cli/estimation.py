"""What ``chanest estimate`` shares between its settings: options, names, the table."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from ..errors import AlgorithmError, ChanestError
from ..evaluation.scoring import REFERENCES, Score
from ..models.model import Model
from ..models.zoo import ESTIMATORS
from .common import DEFAULT_ALGORITHM, Setting, console

SAME_ITERATIONS = ("ista", "fista", "na-alista")  # peers that --iterations is for, too


@dataclass(frozen=True)
class EstimateOptions:
    """The options of ``chanest estimate``, as given."""

    setting: Setting
    algorithm: str | None
    model: str | None
    iterations: int | None
    samples: int | None
    seed: int | None
    device: str
    input: Path | None
    output: Path | None
    plot: Path | None
    json: bool
    force: bool


def refuse_simulation_options(options: EstimateOptions, source: Path) -> None:
    """Raise ChanestError when an option describes a simulation although pilots come from a file."""
    asked = options.setting
    of_a_simulation = {
        "--pilots": asked.pilots,
        "--measurements": asked.measurements,
        "--coefficients": asked.coefficients,
        "--snr": asked.snr,
        "--samples": options.samples,
        "--seed": options.seed,
    }
    for option, value in of_a_simulation.items():
        if value is not None:
            raise ChanestError(f"describes a simulation, not {source}; leave it out", field=option)


def chosen_name(options: EstimateOptions, given: Model | None) -> str:
    """The algorithm that was asked for: by name, by model, or the default one."""
    if options.algorithm is not None and options.algorithm not in ESTIMATORS:
        raise AlgorithmError(f"expected one of {', '.join(ESTIMATORS)}, got {options.algorithm}", field="--algorithm")
    if given is None:
        return options.algorithm or DEFAULT_ALGORITHM
    if options.algorithm not in (None, given.algorithm.name):
        raise AlgorithmError(
            f"{options.algorithm} asked for, model {given.name} is {given.algorithm.name}", field="--algorithm"
        )
    return given.algorithm.name


def print_table(facts: dict[str, Any], scores: dict[str, Score], iterations: dict[str, int]) -> None:
    """The table of estimators; the two bounds, where there are any, below a line."""
    received = facts["snr_db"] is None
    convention = f" ({facts['snr_convention']} SNR)" if facts["snr_convention"] else ""
    at = "received" if received else f"{facts['snr_db']:g} dB{convention}"
    synthetic = facts["n_pilots"] is None
    if synthetic:
        what = f"{facts['n_measurements']} measurements of {facts['n_coefficients']}"
    else:
        n_distinct = facts["n_distinct_pilots"]
        distinct = "" if facts["n_pilots"] == n_distinct else f" ({n_distinct} distinct)"
        what = f"{facts['n_pilots']} pilots{distinct}"
    table = Table(
        title=f"{facts['scenario'] or 'unknown origin'}: {what}, {at}, "
        f"{facts['n_samples']} {'vectors' if synthetic else 'channels'}",
        title_justify="left",
    )
    batch = scores[facts["algorithm"]].batch
    table.add_column("estimator")
    nmse = ("NMSE (dB)",) if synthetic else ("CIR NMSE (dB)", "CFR NMSE (dB)")
    for heading in ("K", *nmse, f"µs per estimate (batch {batch})"):
        table.add_column(heading, justify="right")
    for name, score in scores.items():
        if name == REFERENCES[0]:
            table.add_section()
        of_cfr = () if synthetic else (_db(score.cfr_nmse_db),)
        table.add_row(
            name,
            str(iterations.get(name, "")),
            _db(score.cir_nmse_db),
            *of_cfr,
            f"{score.seconds_per_estimate * 1e6:.1f}",
            style="bold" if name == facts["algorithm"] else None,
        )
    console().print(table)
    if not received:
        told = "support" if synthetic else "delays"
        print(f"oracle-ls and oracle-mmse are told the true {told}: bounds, not estimators")


def _db(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.2f}"


def say_written(options: EstimateOptions) -> None:
    """Name the files that were written."""
    for path in (options.output, options.plot):
        if path is not None:
            print(f"wrote {path}")
