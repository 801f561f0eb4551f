"""The NMSE tables of docs/results.md, measured: ours beside the published values, and over SNRs and channels.

    python tools/results.py [--published ../shared/reference/published_nmse.csv] [--samples 10000]

Prints Markdown. The published file has the columns setting, algorithm, n_pilots, n_iterations, best_nmse_db.
"""

import argparse
import csv
from pathlib import Path

import torch

from chanest import Scenario
from chanest.evaluation import Score, evaluate
from chanest.models import pick_model
from chanest.problems import ofdm

FAMILY = ("ista", "fista", "alista", "na-alista", "na-sbl", "linear")
ROWS = (*FAMILY, "oracle-ls", "oracle-mmse")


def scores(scenario: Scenario, samples: int, seed: int) -> dict[str, Score]:
    """Every estimator of the family, and the references, on one scenario."""
    pattern = scenario.sensing(seed)
    models = {name: pick_model(name, scenario, len(pattern)) for name in FAMILY}
    return evaluate(scenario, pattern, models, samples, seed, torch.device("cpu"))


def published(path: Path | None) -> dict[tuple[str, int], float]:
    """Published NMSE at K = 16 in the OFDM setting, by algorithm and nominal number of pilots."""
    if path is None:
        return {}
    with path.open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["setting"] == "ofdm" and r["n_iterations"] == "16"]
    return {(row["algorithm"], int(row["n_pilots"])): float(row["best_nmse_db"]) for row in rows}


def cell(value: float | None) -> str:
    """A figure of a table."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--published", type=Path)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    theirs = published(options.published)
    pilots = (100, 75, 50)

    print(f"lte10-reference, K = 16, NMSE of the CIR in dB, {options.samples} channels; published in brackets\n")
    columns = [scores(ofdm("lte10-reference").replace(n_pilots=m), options.samples, options.seed) for m in pilots]
    print("| | " + " | ".join(f"M = {m}" for m in pilots) + " |\n|---|" + "---|" * len(pilots))
    for name in (row for row in ROWS if row != "linear"):
        cells = [
            cell(column[name].nmse_db.get("cir")) + (f" ({cell(theirs[name, m])})" if (name, m) in theirs else "")
            for m, column in zip(pilots, columns, strict=True)
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")

    grid = [(m, snr) for m in pilots for snr in (0, 10, 20)]
    columns = [
        scores(ofdm("lte10").replace(n_pilots=m, snr_db=snr), options.samples, options.seed + 1) for m, snr in grid
    ]
    for metric in ("cfr", "cir"):
        print(f"\nlte10, SNR per pilot, NMSE of the {metric.upper()} in dB, {options.samples} channels\n")
        print("| | " + " | ".join(f"M = {m}, {snr} dB" for m, snr in grid) + " |\n|---|" + "---|" * len(grid))
        for name in ROWS:
            cells = [cell(column[name].nmse_db.get(metric)) for column in columns]
            print(f"| {name} | " + " | ".join(cells) + " |")

    print(f"\n75 pilots, 10 dB, NMSE of the CFR in dB, {options.samples} channels\n")
    names = ("wide", "epa", "eva", "etu")
    columns = [scores(ofdm(name), options.samples, options.seed + 2) for name in names]
    print("| | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for name in ROWS:
        print(f"| {name} | " + " | ".join(cell(column[name].nmse_db.get("cfr")) for column in columns) + " |")


if __name__ == "__main__":
    main()
