"""Grid searches of what the classical algorithms are given, on training channels: nothing is tuned on test data.

    python tools/tune_classical.py penalties lte10-reference [--pilots 100 75 50] [--only-errors]
    python tools/tune_classical.py ep

``penalties``: the l1 penalties of ISTA and FISTA for a scenario, and the calibration of their error variance. The best
values, averaged over pilot counts, stand in the scenario's TOML, under [penalties].

``ep``: EP's prior where a scenario has none of its own, sparsity and decay, on channels of `wide`: the mean CFR NMSE
over 0, 10 and 20 dB at 75 pilots. The best pair stands in chanest/problems/ofdm/scenario.py.
"""

import argparse
from itertools import product

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from chanest import Model, load_scenario, nmse_db
from chanest.algorithms import EP, FISTA, ISTA
from chanest.algorithms.error_calibration import ResidualCalibration
from chanest.problems import Scenario, ofdm, seeded
from chanest.training import fit_error_variance

GRID = np.geomspace(0.001, 0.512, 19).round(4)


def main() -> None:
    """Search, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=None, help="channels per point: 2048 for penalties, 256 for EP")
    what = parser.add_subparsers(dest="what", required=True)
    penalties = what.add_parser("penalties", help="of ISTA and FISTA")
    penalties.add_argument("scenario")
    penalties.add_argument("--pilots", type=int, nargs="+", default=[100, 75, 50])
    penalties.add_argument("--iterations", type=int, default=16)
    penalties.add_argument("--only-errors", action="store_true", help="keep the scenario's penalties")
    penalties.add_argument("--batches", type=int, default=768, help="of 64 channels, for the calibration")
    what.add_parser("ep", help="sparsity and decay of EP's prior")
    options = parser.parse_args()
    if options.what == "ep":
        tune_ep(options.samples or 256)
    else:
        tune_penalties(options)


def tune_penalties(options: argparse.Namespace) -> None:
    """Print the grid, the best penalties, and the numbers of the error calibrations."""
    base = ofdm(load_scenario(options.scenario))
    best = (base.penalties.ista, base.penalties.fista)
    if not options.only_errors:
        best = best_penalties(base, options.pilots, options.samples or 2048, options.iterations)
    for algorithm, penalty in zip((ISTA, FISTA), best, strict=True):
        calibration = ResidualCalibration()
        model = Model(algorithm(options.iterations, penalty), base)
        model.algorithm.calibration = calibration
        fit_error_variance(model, n_batches=options.batches)
        numbers = [*calibration.linear.weight.flatten().tolist(), calibration.linear.bias.item()]
        print(f"{algorithm.name}_error = [{', '.join(f'{number:.3f}' for number in numbers)}]")


@torch.inference_mode()
def best_penalties(base: Scenario, pilots: list[int], samples: int, iterations: int) -> tuple[float, float]:
    """Print the grid; the best penalties of ISTA and FISTA."""
    table = Table("penalty", *(f"{name} M={m}" for name in ("ista", "fista") for m in pilots))
    results = np.zeros((len(GRID), 2, len(pilots)))
    for column, m in enumerate(pilots):
        scenario = base.replace(n_pilots=m)
        pattern = scenario.sensing(seed=1)
        batch = scenario.draw(pattern, samples, seeded(0, "train"))
        quantity = next(name for name in scenario.quantities if name in batch.truth)
        for (row, penalty), (which, algorithm) in product(enumerate(GRID), enumerate((ISTA, FISTA))):
            model = Model(algorithm(iterations, float(penalty)), scenario)
            found = model.solve(batch.observations, pattern).values
            results[row, which, column] = nmse_db(found[quantity], batch.truth[quantity])
    for penalty, values in zip(GRID, results, strict=True):
        table.add_row(f"{penalty:g}", *(f"{value:.2f}" for value in values.flatten()))
    Console(width=120).print(table)
    ista, fista = (float(GRID[i]) for i in results.mean(-1).argmin(0))
    print(f"best mean over pilots: ista = {ista:g}, fista = {fista:g}")
    return ista, fista


@torch.inference_mode()
def tune_ep(samples: int) -> None:
    """Print the grid of EP's prior, and the best pair."""
    wide = ofdm(load_scenario("wide"))
    pattern = wide.sensing(seed=1)
    found = {}
    for sparsity, decay in product((24.0, 48.0), (0.0, 1.5, 3.0, 6.0)):
        model = Model(EP(sparsity=sparsity, decay=decay), wide)
        nmse = []
        for snr in (0.0, 10.0, 20.0):
            batch = wide.draw(pattern, samples, seeded(0, "train"), snr)
            estimate = model.estimate(batch.observations, pattern, batch.noise_variance)
            nmse.append(nmse_db(estimate.cfr, batch.truth["cfr"]))
        found[sparsity, decay] = sum(nmse) / len(nmse)
        print(f"sparsity {sparsity:g}, decay {decay:g}: {', '.join(f'{v:.2f}' for v in nmse)} dB", flush=True)
    best = min(found, key=lambda pair: found[pair])
    print(f"best mean: sparsity = {best[0]:g}, decay = {best[1]:g}")


if __name__ == "__main__":
    main()
