"""One vector at a time from a warm Python loop, on one thread: ``estimate``, its algorithm alone, error variances.

    python tools/bench_one.py [--other FOLDER] [--laps 200] [--json FILE]

``--other`` is another version of chanest to set beside this one, a checkout or where pip has put it
(``pip install --target FOLDER chanest==...``). Both run in processes of their own, kept warm; laps alternate, the best
counts. Models must be the same files in both. All on lte10, 75 pilots, 10 dB, the noise variance told.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

MODELS = ("na-alista-lte10-m75", "alista-lte10-m75", "na-sbl-lte10-m75")
WORKER = """
import sys, time, torch
torch.set_num_threads(1)
from chanest import load_model
try:
    from chanest.models import noise_of_y, normalise
except ImportError:  # of version 0.1
    from chanest.estimator import noise_of_y, normalise
try:
    from chanest.models.low_latency import PreparedEstimator
except ImportError:
    PreparedEstimator = None

def runs(name):
    model = load_model(name)
    scenario = model.scenario
    if hasattr(scenario, "sensing"):
        pattern = scenario.sensing(0)
        drawn = scenario.draw(pattern, 1, 0)
    else:
        from chanest.pilots import draw_pattern
        from chanest.signals import draw, seeded
        pattern = draw_pattern(scenario, 0)
        drawn = draw(scenario, pattern, 1, seeded(0, "test"))
    told = drawn.observations, pattern, drawn.noise_variance
    y, rms = normalise(drawn.observations)
    phi, noise = model.operator(pattern, y.dtype, y.device), noise_of_y(drawn.noise_variance, rms, len(pattern))
    loop = getattr(model.algorithm, "prepared_loop", lambda phi: None)(phi)
    made = {
        "algorithm": lambda: model.algorithm(y, phi, noise_variance=noise),
        "estimate": lambda: model.estimate(*told),
        "with error variance": lambda: model.estimate(*told, error_variance=True),
    }
    if loop is not None:
        rows, x = y.numpy(), torch.zeros(1, phi.n_coefficients, dtype=y.dtype).numpy()
        made["compiled loop"] = lambda: loop(rows, x)
    if PreparedEstimator is not None:
        pilots, level = drawn.observations.numpy(), float(drawn.noise_variance)
        for kind, asked in (("prepared", False), ("prepared, with error variance", True)):
            prepared = PreparedEstimator(model, pattern, error_variance=asked)
            made[kind] = lambda prepared=prepared: prepared(pilots, level)
    return made

made = {}
with torch.inference_mode():
    for line in sys.stdin:
        name, kind, n = line.rstrip().split(";")
        if name not in made:
            made[name] = runs(name)
            for run in made[name].values():
                run()
        if kind == "":
            print(";".join(made[name]), flush=True)
            continue
        best = 1e9
        for _ in range(int(n)):
            began = time.perf_counter()
            made[name][kind]()
            best = min(best, time.perf_counter() - began)
        print(best, flush=True)
"""


class Version:
    """A warm process with a version of chanest."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(folder.resolve()), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folder,
        )

    def ask(self, model: str, kind: str = "", n: int = 0) -> str:
        """What the process answers: the kinds of runs of a model, or the best seconds of ``n`` of one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{model};{kind};{n}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if not answer:
            sys.exit("a version ended; what it said stands above")
        return answer

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--other", type=Path, help="another version's folder")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--laps", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the seconds there too")
    options = parser.parse_args()
    versions = {"this": Version(Path(__file__).parent.parent)}
    if options.other:
        versions["other"] = Version(options.other)
    found: dict[tuple[str, str, str], float] = {}
    try:
        for model in options.models.split(","):
            kinds = {version: process.ask(model).split(";") for version, process in versions.items()}
            for _ in range(options.laps):
                for version, process in versions.items():
                    for kind in kinds[version]:
                        key = (version, model, kind)
                        found[key] = min(found.get(key, 1e9), float(process.ask(model, kind, 5)))
    finally:
        for process in versions.values():
            process.end()
    table = Table("model", "run", title=f"one vector, one thread, best of {5 * options.laps}")
    for heading in ("us", "times its algorithm", "times plain estimate", "times the other's"):
        table.add_column(heading, justify="right")
    for (version, model, kind), seconds in found.items():
        if version == "other":
            continue
        theirs = found.get(("other", model, kind), found.get(("other", model, _plain(kind))))
        table.add_row(
            model,
            kind,
            f"{1e6 * seconds:.1f}",
            f"{seconds / found[version, model, 'algorithm']:.2f}",
            f"{seconds / found[version, model, 'estimate']:.2f}",
            "" if theirs is None else f"{seconds / theirs:.2f}",
        )
    Console(width=120).print(table)
    if options.json:
        options.json.write_text(json.dumps([[*key, seconds] for key, seconds in found.items()], indent=1))


def _plain(kind: str) -> str:
    """What another version has in the place of a prepared estimator."""
    return "with error variance" if "error variance" in kind else "estimate"


if __name__ == "__main__":
    main()
