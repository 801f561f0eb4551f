"""Every estimator beside other programs: how much longer it takes, and how many CPU seconds it burns.

    python tools/bench_busy.py [--threads 2] [--competitors 2] [--batches 1,512] [--json FILE]

Competitors are processes that compute without end, as many as there are cores unless told. In every lap each estimator
runs beside none (they are stopped), beside all, and beside all on one thread; the best lap counts. Wanted: at most 2.5
times the time beside none, and at most 1.3 times the CPU seconds of one thread. All on lte10, 75 pilots, 10 dB, the
noise variance told.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from chanest.models import pick_model
from chanest.problems import ofdm

NAMES = ("na-alista", "alista", "ista", "fista", "na-sbl", "omp", "sbl", "ep", "lmmse-true", "spline", "linear")
MOST_TIME, MOST_CPU = 2.5, 1.3
_SECONDS = 0.15  # of a lap at least: competitors and we take turns of some milliseconds
_SETTLED = 0.3  # seconds after competitors came or went


class Competitors:
    """Processes that compute without end, stopped until they are let loose."""

    def __init__(self, n: int) -> None:
        self._running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
        self._tell(signal.SIGSTOP)

    def _tell(self, what: signal.Signals) -> None:
        for one in self._running:
            one.send_signal(what)

    @contextmanager
    def loose(self) -> Iterator[None]:
        """They compute inside the block."""
        self._tell(signal.SIGCONT)
        time.sleep(_SETTLED)
        try:
            yield
        finally:
            self._tell(signal.SIGSTOP)

    def end(self) -> None:
        for one in self._running:
            one.kill()
            one.wait()


def measured(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and CPU seconds of all threads, of one of some calls in a row."""
    run()
    wall, cpu, n = time.perf_counter(), time.process_time(), 0
    while n == 0 or time.perf_counter() - wall < _SECONDS:
        run()
        n += 1
    return (time.perf_counter() - wall) / n, (time.process_time() - cpu) / n


@torch.inference_mode()
def main() -> None:
    """Measure, print."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=cores)
    parser.add_argument("--competitors", type=int, default=cores)
    parser.add_argument("--batches", default="1,512")
    parser.add_argument("--estimators", default=",".join(NAMES))
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    scenario = ofdm("lte10").replace(n_pilots=75, snr_db=10)
    pattern = scenario.sensing(0)
    table = Table("estimator", "batch", title=f"{options.threads} threads, {options.competitors} competitors")
    headings = ("alone: us", "beside: us", "one thread beside: us", "time: times alone", "CPU: times one thread")
    for heading in headings:
        table.add_column(heading, justify="right")
    rows, competitors = [], Competitors(options.competitors)
    try:
        for name in options.estimators.split(","):
            model = pick_model(name, scenario)
            for batch in map(int, options.batches.split(",")):
                data = scenario.draw(pattern, batch, 0)
                run = partial(model.estimate, data.observations, pattern, data.noise_variance)
                row = {"estimator": name, "batch": batch, **_row(run, competitors, options.threads, options.laps)}
                rows.append(row)
                us = (f"{1e6 * row[key] / batch:.4g}" for key in ("alone_s", "beside_s", "one_thread_s"))
                ratios = (
                    f"{row[key]:.2f}{'' if row[key] <= most else ' !'}"
                    for key, most in (("time_ratio", MOST_TIME), ("cpu_ratio", MOST_CPU))
                )
                table.add_row(name, str(batch), *us, *ratios)
    finally:
        competitors.end()
    Console(width=120).print(table)
    missed = [row for row in rows if row["time_ratio"] > MOST_TIME or row["cpu_ratio"] > MOST_CPU]
    print(
        f"{len(rows) - len(missed)} of {len(rows)} within {MOST_TIME} times the time, {MOST_CPU} times the CPU seconds"
    )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def _row(run: Callable[[], object], competitors: Competitors, threads: int, laps: int) -> dict[str, float]:
    alone, beside, single = [], [], []
    for _ in range(laps):
        torch.set_num_threads(threads)
        time.sleep(_SETTLED)
        alone.append(measured(run))
        with competitors.loose():
            beside.append(measured(run))
            torch.set_num_threads(1)
            single.append(measured(run))
    (alone_s, _), (beside_s, _), (one_s, _) = (min(laps) for laps in (alone, beside, single))
    cpu, one_cpu = (min(cpu for _, cpu in laps) for laps in (beside, single))
    return {
        "alone_s": alone_s,
        "beside_s": beside_s,
        "one_thread_s": one_s,
        "time_ratio": beside_s / alone_s,
        "cpu_ratio": cpu / one_cpu,
    }


if __name__ == "__main__":
    main()
