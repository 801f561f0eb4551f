"""What knowing the noise variance is worth: CFR NMSE with it told, unknown, and told 3 dB too low or too high.

python tools/noise_knowledge.py --model na-sbl-wide-window --scenarios wide,munich --pilots 32,50,75,100,200,comb8
"""

import argparse
from itertools import product

import torch
from rich.console import Console
from rich.table import Table

from chanest import PilotPattern, load_model
from chanest.evaluation import ErrorSums
from chanest.problems import ofdm

TOLD = {"told": 1.0, "unknown": None, "3 dB too low": 0.5, "3 dB too high": 2.0}


@torch.inference_mode()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="na-sbl-wide-window")
    parser.add_argument("--scenarios", default="wide,munich")
    parser.add_argument("--pilots", default="32,50,75,100,200,comb8")
    parser.add_argument("--snr", default="0,10,20,30")
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--patterns", type=int, default=8, help="pilot patterns that share the samples")
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    model = load_model(options.model)
    table = Table("scenario", "pilots", "SNR", *TOLD, title="CFR NMSE (dB)", title_justify="left")
    grid = product(options.scenarios.split(","), options.pilots.split(","), options.snr.split(","))
    for name, pilots, snr in grid:
        scenario = ofdm(name).replace(snr_db=float(snr))
        sums = {told: ErrorSums() for told in TOLD}
        for index in range(options.patterns):
            pattern = chosen_pattern(pilots, options.seed + index)
            for block in scenario.simulate(pattern, options.samples // options.patterns, options.seed + index):
                for told, factor in TOLD.items():
                    noise = None if factor is None else factor * block.noise_variance
                    sums[told].add(model.estimate(block.observations, pattern, noise).cfr, block.truth["cfr"])
        table.add_row(name, pilots, snr, *(f"{s.nmse_db:.2f}" for s in sums.values()))
    Console(width=120).print(table)


def chosen_pattern(pilots: str, index: int) -> PilotPattern:
    """So many random pilots, or a comb (``comb8``) at one of its offsets."""
    if pilots.startswith("comb"):
        spacing = int(pilots[4:])
        return PilotPattern.comb(spacing, index % spacing)
    return PilotPattern.random(int(pilots), seed=index)


if __name__ == "__main__":
    main()
