"""Is the error variance right? Expected against measured CFR error, overall and by decile of what was expected.

    python tools/check_error_variance.py --algorithm na-sbl --scenarios lte10,munich --pilots 75 --snr 0,10,20,30

Prints, per scenario, pilots and SNR, the mean expected over the mean measured error in dB, and the largest such
difference of a decile; ``--plot`` draws the reliability diagram.
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from chanest import Scenario
from chanest.evaluation.plots import PALETTE, style
from chanest.models import pick_model
from chanest.problems import ofdm


def main() -> None:
    """Print the table, draw the plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--algorithm", default="na-sbl")
    parser.add_argument("--scenarios", default="lte10-reference,lte10,munich,tdl-c300,eva,etu")
    parser.add_argument("--pilots", default="75")
    parser.add_argument("--snr", default="0,10,20,30")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--unknown-noise", action="store_true", help="do not tell the noise variance")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    names, pilots, snrs = (getattr(options, name).split(",") for name in ("scenarios", "pilots", "snr"))
    columns = ("scenario", "pilots", "SNR", "measured (dB)", "expected/measured (dB)", "worst decile (dB)")
    table = Table(*columns)
    curves: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, m, snr in product(names, pilots, snrs):
        fixed = name == "lte10-reference"
        if fixed and snr != snrs[0]:
            continue
        scenario = ofdm(name).replace(n_pilots=int(m))
        scenario = scenario if fixed else scenario.replace(snr_db=float(snr))
        expected, measured = errors(scenario, options, 0 if fixed else options.seed)
        deciles = by_decile(expected, measured)
        label = f"{name}, M = {m}, {scenario.snr_db:g} dB"
        curves[label] = deciles
        ratios = 10 * np.log10(deciles[0] / deciles[1])
        overall = 10 * np.log10(expected.mean() / measured.mean())
        worst = ratios[np.abs(ratios).argmax()]
        error_db = 10 * np.log10(measured.mean())
        table.add_row(name, m, f"{scenario.snr_db:g}", f"{error_db:.2f}", f"{overall:+.2f}", f"{worst:+.2f}")
    Console(width=120).print(table)
    if options.plot:
        draw(options.plot, curves, options.algorithm)


@torch.inference_mode()
def errors(scenario: Scenario, options: argparse.Namespace, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Expected and measured squared errors of every channel and subcarrier, relative to a mean power of 1."""
    pattern = scenario.sensing(seed)
    model = pick_model(options.algorithm, scenario, len(pattern))
    expected, measured = [], []
    for block in scenario.simulate(pattern, options.samples, seed):
        noise = None if options.unknown_noise else block.noise_variance
        estimate = model.estimate(block.observations, pattern, noise, error_variance=True)
        assert estimate.error_variance is not None
        expected.append(estimate.error_variance.numpy().ravel())
        measured.append((estimate.cfr - block.truth["cfr"]).abs().square().numpy().ravel())
    return np.concatenate(expected).astype(np.float64), np.concatenate(measured).astype(np.float64)


def by_decile(expected: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean expected and mean measured error in each tenth of the expected ones."""
    parts = np.array_split(np.argsort(expected), 10)
    return np.array([expected[p].mean() for p in parts]), np.array([measured[p].mean() for p in parts])


def draw(path: Path, curves: dict[str, tuple[np.ndarray, np.ndarray]], algorithm: str) -> None:
    """The reliability diagram: measured against expected error, a line per case, a colour per scenario."""
    import matplotlib.pyplot as plt

    with plt.rc_context(style()):
        figure, axis = plt.subplots(figsize=(6, 5.4))
        colours: dict[str, str] = {}
        for label, (expected, measured) in curves.items():
            scenario = label.split(",")[0]
            named = scenario if scenario not in colours else None
            colour = colours.setdefault(scenario, PALETTE[len(colours) % len(PALETTE)])
            axis.plot(10 * np.log10(expected), 10 * np.log10(measured), ".-", lw=0.8, color=colour, label=named)
        low, high = axis.get_xlim()
        for offset, line in ((0, "k-"), (2, "k:"), (-2, "k:")):
            axis.plot([low, high], [low + offset, high + offset], line, lw=0.8)
        xlabel, ylabel = "expected error (dB)", "measured error (dB)"
        axis.set(xlabel=xlabel, ylabel=ylabel, title=f"{algorithm}: tenths of the expected error; dotted: ±2 dB")
        figure.legend(loc="outside lower center", ncols=6)
        figure.savefig(path)


if __name__ == "__main__":
    main()
