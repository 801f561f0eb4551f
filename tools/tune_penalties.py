"""Grid search of the l1 penalties of ISTA and FISTA for a scenario, averaged over pilot counts.

    python tools/tune_penalties.py lte10-reference --pilots 100 75 50

The best values stand in the scenario's TOML, under [penalties]. Channels come from the training stream, so
nothing is tuned on test data.
"""

import argparse

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from chanest.algorithms import FISTA, ISTA
from chanest.estimator import Model
from chanest.metrics import nmse_db
from chanest.pilots import draw_pattern
from chanest.scenario import load_scenario
from chanest.signals import draw, seeded

GRID = np.geomspace(0.001, 0.512, 19).round(4)


def main() -> None:
    """Print the table and the best penalty of each algorithm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario")
    parser.add_argument("--pilots", type=int, nargs="+", default=[100, 75, 50])
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--iterations", type=int, default=16)
    options = parser.parse_args()
    base = load_scenario(options.scenario)
    table = Table("penalty", *(f"{name} M={m}" for name in ("ista", "fista") for m in options.pilots))
    results = np.zeros((len(GRID), 2, len(options.pilots)))
    for column, m in enumerate(options.pilots):
        scenario = base.replace(n_pilots=m)
        pattern = draw_pattern(scenario, seed=1)
        batch = draw(scenario, pattern, options.samples, seeded(0, "train"))
        for row, penalty in enumerate(GRID):
            for which, algorithm in enumerate((ISTA, FISTA)):
                model = Model(algorithm(options.iterations, float(penalty)), scenario)
                with torch.inference_mode():
                    estimate = model.estimate(batch.observations, pattern)
                if batch.cir is None:
                    results[row, which, column] = nmse_db(estimate.cfr, batch.cfr)
                else:
                    results[row, which, column] = nmse_db(estimate.cir, batch.cir)
    for penalty, row in zip(GRID, results, strict=True):
        table.add_row(f"{penalty:g}", *(f"{value:.2f}" for value in row.flatten()))
    Console(width=120).print(table)
    best = GRID[results.mean(-1).argmin(0)]
    print(f"best mean over pilots: ista = {best[0]:g}, fista = {best[1]:g}")


if __name__ == "__main__":
    main()
