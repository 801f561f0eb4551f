"""Time per estimate of NA-SBL, NA-ALISTA, SBL, EP and OMP, at batch 1 and 512, in one run, as ratios.

    python tools/cost.py [--threads 2]

All on lte10, 75 pilots, 10 dB, the noise variance told; laps of the estimators alternate, the median counts.
"""

import argparse
from functools import partial

import torch
from bench_laps import alternating
from rich.console import Console
from rich.table import Table

from chanest import load_scenario
from chanest.models import pick_model
from chanest.problems import ofdm

NAMES = ("na-sbl", "na-alista", "sbl", "ep", "omp")


@torch.inference_mode()
def main() -> None:
    """Time, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--laps", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scenario = ofdm(load_scenario("lte10")).replace(n_pilots=75, snr_db=10)
    pattern = scenario.sensing(0)
    models = {name: pick_model(name, scenario) for name in NAMES}
    milliseconds: dict[int, dict[str, float]] = {}
    for batch in (1, 512):
        data = scenario.draw(pattern, batch, 0)
        told = data.observations, pattern, data.noise_variance
        runs = {name: partial(model.estimate, *told) for name, model in models.items()}
        medians, _ = alternating(runs, torch.device("cpu"), options.laps, most_seconds=60)
        milliseconds[batch] = {name: 1e3 * seconds / batch for name, seconds in medians.items()}
    table = Table("estimator", "K", title=f"{options.threads} threads, median of {options.laps}", title_justify="left")
    for heading in ("batch 1: ms", "batch 512: ms per estimate", "times NA-SBL at 512"):
        table.add_column(heading, justify="right")
    one, many = milliseconds.values()
    for name, model in models.items():
        cells = (f"{one[name]:.2f}", f"{many[name]:.3f}", f"{many[name] / many['na-sbl']:.2f}")
        table.add_row(name, str(model.algorithm.hyperparameters["n_iterations"]), *cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
