"""Time per estimate against the machine's own ceilings, a textbook implementation, dense matrices and other packages.

    python tools/bench_estimators.py [--batches 1,14,512,8192] [--threads 1,2] [--device cpu] [--laps 15] [--json FILE]

lte10, 75 pilots, 10 dB, seeded. Everything is timed in one run, for each number of threads and each batch: laps
alternate between all contenders and the ceilings, medians count. The floor of an estimate is the time of its FFTs,
products, factorisations and bytes (tools/bench_counts.py), one after the other, each at the rate that PyTorch reached
for it in the same laps: at this batch ("floor"), and at whichever batch of the same number of threads it was best
("best floor"), which leaves out what PyTorch takes to dispatch a small call. Of several ways to apply the operator the
fastest counts. Square roots, logarithms and the like cost nothing in it.

Compared is `algorithm(y, phi)`, the same operator in every call; `Model.estimate` is the whole call, the operator
included. "dense" is our own algorithm on the matrix Phi. scikit-learn's OMP is real, on stacked real and imaginary
parts. What has matrices of M x N for each estimate is timed on 512 of 8192, Sionna on 64.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from bench_contenders import ESTIMATORS, Contender, contenders, make_data, skipped
from bench_counts import Problem, Unit, floor, flops
from bench_laps import alternating, ceilings, seconds_per_unit
from bench_report import on, print_results
from bench_training import measure as measure_training
from torch import Tensor

from chanest.errors import ChanestError
from chanest.files import refuse_existing
from chanest.models import pick_model

NMSE_SAMPLES = 512
LARGE = Unit("large product", (1024,))  # for information
REFERENCES = ("textbook", "dense", "chanest")  # what estimates are compared with, the first that there is
PACKAGES = ("scikit-learn", "sionna")  # whose estimates are other ones


def problem() -> Problem:
    """The sizes that all contenders work on."""
    data = make_data(1, torch.device("cpu"))
    return Problem(len(data.pattern), data.scenario.n_taps, data.scenario.n_fft, data.scenario.n_used)


@torch.inference_mode()
def quality(
    names: list[str], n: int, device: torch.device, part: int = 64
) -> tuple[dict[str, dict[str, float]], float]:
    """NMSE of the CFR in dB of every way, and the atoms that OMP takes on average; both over the same n samples."""
    data = make_data(n, device)
    errors: dict[str, dict[str, float]] = {name: {} for name in names}
    atoms = 0.0
    for start in range(0, n, part):
        some = data.first(part, start) if n > part else data
        for name in names:
            for way, contender in contenders(name, some).items():
                found = contender.run()
                if (name, way) == ("omp", "chanest"):
                    atoms += float((found != 0).sum()) / n
                error = float((contender.cfr(found) - some.cfr).abs().square().sum())
                errors[name][way] = errors[name].get(way, 0.0) + error
    power = data.cfr.abs().square().sum()
    return {name: {way: _db(e / float(power)) for way, e in of.items()} for name, of in errors.items()}, atoms


def _db(ratio: float) -> float:
    return 10 * float(torch.tensor(ratio).log10())


def deviations(ways: Mapping[str, Contender], found: Mapping[str, Tensor]) -> dict[str, float]:
    """||h - h_ref||/||h_ref|| of the CFRs at this batch, against the textbook, or else the dense matrices."""
    cfrs = {way: ways[way].cfr(x) for way, x in found.items() if way not in PACKAGES}
    reference = next(way for way in REFERENCES if way in cfrs)
    result = {}
    for way in cfrs.keys() - {reference}:
        n = min(ways[way].n, ways[reference].n)
        expected = cfrs[reference][:n]
        result[way] = float((cfrs[way][:n] - expected).norm() / expected.norm())
    return result


@torch.inference_mode()
def measure(
    names: list[str], batch: int, device: torch.device, laps: int, most_seconds: float, atoms: float
) -> dict[str, Any]:
    """Everything for one batch and the number of threads that is set: seconds per estimate, and per unit."""
    data, sizes = make_data(batch, device), problem()
    ways = {name: contenders(name, data) for name in names}
    counts = {
        name: sizes.of(name, pick_model(name, data.scenario, len(data.pattern)).algorithm.hyperparameters, atoms)
        for name in names
    }
    matrices = {Unit("cholesky", (sizes.n_pilots,)), Unit("inverse", (sizes.n_pilots,))}
    units = {unit for count in counts.values() for unit in count.units} | matrices | {LARGE}
    bare, amounts = ceilings(units, batch, device)
    runs = {(name, way): contender.run for name, of in ways.items() for way, contender in of.items()}
    medians, found = alternating({**runs, **bare}, device, laps, most_seconds, keep=runs)
    seconds = seconds_per_unit({key: medians[key] for key in bare}, amounts)
    per_estimate = {name: {way: medians[name, way] / c.n for way, c in of.items()} for name, of in ways.items()}
    return {
        "batch": batch,
        "counts": counts,
        "unit_seconds": seconds,
        "seconds": per_estimate,
        "estimates_timed": {name: {way: c.n for way, c in of.items()} for name, of in ways.items()},
        "deviation": {name: deviations(of, {way: found[name, way] for way in of}) for name, of in ways.items()},
    }


def with_floors(measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Floors at each batch, and with each unit at the batch where it was fastest; units and work by name."""
    best: dict[Unit, float] = {}
    for one in measured:
        for unit, seconds in one["unit_seconds"].items():
            best[unit] = min(best.get(unit, float("inf")), seconds)
    finished = []
    for one in measured:
        counts, seconds = one.pop("counts"), one.pop("unit_seconds")
        rows = {}
        for name, count in counts.items():
            work, chosen = count.fastest(seconds)
            least, _ = count.fastest(best)
            measured_seconds = one["seconds"][name]["chanest"]
            rows[name] = {
                "flops": flops(work),
                "work": {str(unit): n for unit, n in work.items()},
                "chosen": chosen,
                "floor_seconds": floor(work, seconds),
                "floor_share": floor(work, seconds) / measured_seconds,
                "best_floor_seconds": floor(least, best),
                "best_floor_share": floor(least, best) / measured_seconds,
                "floor_by_kind": _by_kind(work, seconds),
            }
        ceiling = {
            str(unit): {"seconds": s, "flops_per_second": unit.flops / s} if unit.flops else {"bytes_per_second": 1 / s}
            for unit, s in seconds.items()
        }
        finished.append({**one, "floors": rows, "ceilings": ceiling})
    return finished


def _by_kind(work: Mapping[Unit, float], seconds: Mapping[Unit, float]) -> dict[str, float]:
    kinds: dict[str, float] = {}
    for unit, n in work.items():
        kinds[unit.kind] = kinds.get(unit.kind, 0.0) + n * seconds[unit]
    return kinds


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The whole bench."""
    device, names, load = torch.device(options.device), options.estimators, os.getloadavg()[0]
    nmse, atoms = quality(names, min(NMSE_SAMPLES, max(options.batches)), device)
    threads_before, results, training = torch.get_num_threads(), [], []
    try:
        for threads in options.threads if device.type == "cpu" else [0]:
            torch.set_num_threads(threads or threads_before)
            measured = []
            for batch in options.batches:
                print(f"measuring batch {batch}{on(threads)}", file=sys.stderr, flush=True)
                measured.append(measure(names, batch, device, options.laps, options.most_seconds, atoms))
            results += [{"threads": threads, **one} for one in with_floors(measured)]
            if options.training_batch:
                trained = measure_training(options.training_batch, device, options.laps, options.most_seconds)
                training.append({"threads": threads, **trained})
    finally:
        torch.set_num_threads(threads_before)
    on_cuda = device.type == "cuda"
    cpu = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    processor = torch.cuda.get_device_name(device) if on_cuda else cpu
    machine = {"device": str(device), "processor": processor, "torch": str(torch.__version__), "load_before": load}
    settings = {"laps": options.laps, "most_seconds": options.most_seconds, "omp_atoms": atoms}
    return {"machine": machine, "settings": settings, "nmse_db": nmse, "results": results, "training": training}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])

    def integers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser.add_argument("--batches", type=integers, default=[1, 14, 512, 8192])
    parser.add_argument("--threads", type=integers, default=[1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--laps", type=int, default=15)
    parser.add_argument("--most-seconds", type=float, default=20.0, help="of one contender at one batch")
    parser.add_argument("--estimators", type=lambda text: text.split(","), default=list(ESTIMATORS))
    parser.add_argument("--training-batch", type=int, default=512, help="0: no training")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--force", action="store_true", help="replace FILE")
    options = parser.parse_args(arguments)
    unknown = set(options.estimators) - set(ESTIMATORS)
    if unknown:
        parser.error(f"--estimators: expected some of {', '.join(ESTIMATORS)}, got {', '.join(sorted(unknown))}")
    try:
        if options.json:
            refuse_existing(options.json, options.force)
    except ChanestError as error:
        parser.error(str(error))
    return options


def main() -> None:
    """Measure, print, write."""
    options = parse()
    for line in skipped(options.estimators, torch.device(options.device)):
        print(line)
    result = run(options)
    print_results(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
