"""Time per estimate of NA-SBL, NA-ALISTA, SBL, EP and OMP, at batch 1 and 512, in one run, as ratios.

    python tools/cost.py [--threads 2]

All on lte10, 75 pilots, 10 dB, the noise variance told; laps of the estimators alternate, the median counts.
"""

import argparse
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table

from chanest import load_scenario
from chanest.models.zoo import pick_model
from chanest.problems.ofdm.draw import draw, draw_pattern
from chanest.problems.random import seeded

NAMES = ("na-sbl", "na-alista", "sbl", "ep", "omp")


@torch.inference_mode()
def main() -> None:
    """Time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--laps", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scenario = load_scenario("lte10").replace(n_pilots=75, snr_db=10)
    pattern = draw_pattern(scenario, 0)
    models = {name: pick_model(name, scenario, len(pattern)) for name in NAMES}
    table = Table("estimator", "K", title=f"{options.threads} threads, median of {options.laps}", title_justify="left")
    table.add_column("batch 1: ms", justify="right")
    table.add_column("batch 512: ms per estimate", justify="right")
    table.add_column("times NA-SBL at 512", justify="right")
    medians: dict[tuple[str, int], float] = {}
    for batch in (1, 512):
        data = draw(scenario, pattern, batch, seeded(0, "test"))
        laps: dict[str, list[float]] = {name: [] for name in NAMES}
        for lap in range(options.laps + 1):
            for name, model in models.items():
                started = time.perf_counter()
                model.estimate(data.observations, pattern, data.noise_variance)
                if lap:
                    laps[name].append(time.perf_counter() - started)
        medians |= {(name, batch): statistics.median(times) / batch * 1e3 for name, times in laps.items()}
    for name, model in models.items():
        ratio = medians[name, 512] / medians["na-sbl", 512]
        cells = (f"{medians[name, 1]:.2f}", f"{medians[name, 512]:.3f}", f"{ratio:.2f}")
        table.add_row(name, str(model.algorithm.n_iterations), *cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
