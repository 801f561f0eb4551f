"""Grid search of the l1 penalties of ISTA and FISTA for a scenario, and the calibration of their error variance.

    python tools/tune_penalties.py lte10-reference --pilots 100 75 50
    python tools/tune_penalties.py lte10-reference --only-errors

The best values, averaged over pilot counts, stand in the scenario's TOML, under [penalties]. Channels come from the
training stream, so nothing is tuned on test data.
"""

import argparse

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from chanest.algorithms import FISTA, ISTA
from chanest.algorithms.error_calibration import ResidualCalibration
from chanest.evaluation.metrics import nmse_db
from chanest.models.model import Model
from chanest.problems.load import load_scenario
from chanest.problems.ofdm.draw import draw, draw_pattern
from chanest.problems.ofdm.scenario import Scenario
from chanest.problems.random import seeded
from chanest.training.fit_error_variance import calibrate

GRID = np.geomspace(0.001, 0.512, 19).round(4)


def main() -> None:
    """Print the grid, the best penalties, and the numbers of the error calibrations."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario")
    parser.add_argument("--pilots", type=int, nargs="+", default=[100, 75, 50])
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--iterations", type=int, default=16)
    parser.add_argument("--only-errors", action="store_true", help="keep the scenario's penalties")
    options = parser.parse_args()
    base = load_scenario(options.scenario)
    best = (base.penalties.ista, base.penalties.fista)
    if not options.only_errors:
        best = search(base, options)
    for algorithm, penalty in zip((ISTA, FISTA), best, strict=True):
        model = Model(algorithm(options.iterations, float(penalty)), base)
        model.algorithm.calibration = ResidualCalibration()
        calibrate(model)
        linear = model.algorithm.calibration.linear
        numbers = [*linear.weight.flatten().tolist(), linear.bias.item()]
        print(f"{algorithm.name}_error = [{', '.join(f'{number:.3f}' for number in numbers)}]")


def search(base: Scenario, options: argparse.Namespace) -> np.ndarray:
    """Print the grid; the best penalties of ISTA and FISTA."""
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
    return best


if __name__ == "__main__":
    main()
