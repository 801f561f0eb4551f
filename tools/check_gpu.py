"""The part of check_gpu.sh that compares: every model on the GPU against the CPU, CUDA graphs, training, one table.

    python tools/check_gpu.py FOLDER [--device cuda]

Reads FOLDER/bench.json where bench_estimators.py has written it; writes FOLDER/gpu.json and FOLDER/gpu.md. Ends with
status 1 where a model disagrees with the CPU by more than rounding.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from chanest import PilotPattern, algorithm, load_model, load_scenario, train
from chanest.errors import ChanestError
from chanest.models.cuda_graph import CapturedEstimator
from chanest.problems import ofdm
from chanest.training import TrainingSettings

MODELS = ("na-alista-lte10-m75", "alista-lte10-m75", "na-sbl-lte10-m75", "na-alista-wide", "na-sbl-wide")
MOST_APART = 1e-6  # relative, in double precision
BATCH, STEPS = 64, 30


def agreement(device: torch.device) -> dict[str, Any]:
    """Relative distance of CFRs and error variances in double precision, by model."""
    pattern, found = PilotPattern.random(75, seed=0), {}
    batch = ofdm("wide").draw(pattern, BATCH, 0)
    received, noise = batch.observations.to(torch.complex128), batch.noise_variance.double()
    for name in MODELS:
        model = load_model(name)
        here = model.estimate(received, pattern, noise, error_variance=True)
        there = model.estimate(received.to(device), pattern, noise.to(device), error_variance=True)
        pairs = {"cfr": (here.cfr, there.cfr), "error_variance": (here.error_variance, there.error_variance)}
        found[name] = {
            key: float((a - b.cpu()).abs().square().sum().sqrt() / a.abs().square().sum().sqrt())
            for key, (a, b) in pairs.items()
        }
    return found


def seconds(run: Any, device: torch.device, n: int = 50) -> float:
    """The best of some calls, the device waited for."""
    best = float("inf")
    for _ in range(n):
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return best


def graphs(device: torch.device) -> dict[str, Any]:
    """Seconds of an estimate of 14 as a graph and without, by model."""
    pattern, found = PilotPattern.random(75, seed=0), {}
    received = ofdm("lte10").draw(pattern, 14, 0).observations.to(device)
    for name in ("na-alista-lte10-m75", "alista-lte10-m75"):
        model = load_model(name)
        graph = CapturedEstimator(model, pattern, 14, device=device)
        plain = seconds(lambda model=model: model.estimate(received, pattern), device)
        found[name] = {"estimate_s": plain, "graph_s": seconds(lambda graph=graph: graph(received), device)}
    return found


def training(device: torch.device) -> dict[str, float]:
    """Steps per second of a default training, by algorithm, the first ten aside."""
    found: dict[str, float] = {}
    for name in ("na-alista", "na-sbl"):
        times: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            settings = TrainingSettings(STEPS, batch_size=256, calibration_batches=0)
            made: Any = algorithm(name)

            def note(step: int, nmse: float, rate: float, times: list[float] = times) -> None:
                times.append(time.perf_counter())

            train(made, load_scenario("lte10"), settings, Path(folder) / "m.h5", device=device, progress=note)
        found[name] = (STEPS - 11) / (times[-1] - times[10])
    return found


def table(found: dict[str, Any]) -> str:
    """For docs/performance.md."""
    lines = [f"On {found['device']}, torch {found['torch']}:", "", "| | |", "|---|---|"]
    for name, apart in found.get("agreement", {}).items():
        lines.append(f"| {name} against the CPU, double | {apart['cfr']:.1e}, variance {apart['error_variance']:.1e} |")
    for name, one in found.get("graphs", {}).items():
        lines.append(
            f"| {name}, 14 at once | {1e6 * one['estimate_s']:.0f} us, as a graph {1e6 * one['graph_s']:.0f} |"
        )
    for name, rate in found.get("training", {}).items():
        lines.append(f"| training {name}, batch 256 | {rate:.1f} steps/s |")
    for row in (found.get("bench") or {}).get("results", []):
        lines.append(f"| bench, batch {row.get('batch')} | {json.dumps(row)[:200]} |")
    lines += [f"| {part} | {said} |" for part, said in found["failed"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("check_gpu: there is no GPU here; the numbers-free checks are tests/test_fake_gpu.py")
    options.folder.mkdir(parents=True, exist_ok=True)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU, to try the script"
    found: dict[str, Any] = {"device": name, "torch": str(torch.__version__), "failed": {}}
    for part in (agreement, graphs, training):
        try:
            found[part.__name__] = part(device)
        except (ChanestError, RuntimeError) as error:
            found["failed"][part.__name__] = " ".join(str(error).split())[:200]
    bench = options.folder / "bench.json"
    found["bench"] = json.loads(bench.read_text()) if bench.is_file() else None
    (options.folder / "gpu.json").write_text(json.dumps(found, indent=1))
    (options.folder / "gpu.md").write_text(table(found))
    print(table(found))
    apart = [value for one in found.get("agreement", {}).values() for value in one.values()]
    wrong = max(apart, default=float("inf")) > MOST_APART
    sys.exit(1 if wrong or (found["failed"] and device.type == "cuda") else 0)


if __name__ == "__main__":
    main()
