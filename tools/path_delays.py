"""Delays of paths off the grid, against the Cramer-Rao bound.

usage: python tools/path_delays.py [--channels 400] [--snr 20] [--snapshots 1] [--pilots 75] [--model na-sbl-wide]

Two to six paths at least 3 samples apart, anywhere in 200 samples, each at least 10 dB above the bound of its gain.
A path is found when one of the answer lies within a sample.
"""

import argparse
import math

import numpy as np
import torch

from chanest import PilotPattern, load_model


def drawn_delays(rng: np.random.Generator, count: int) -> np.ndarray:
    while True:
        delays = np.sort(rng.uniform(0, 200, count))
        if np.all(np.diff(delays) >= 3):
            return delays


def bounds(k: np.ndarray, delays: np.ndarray, gains: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Cramer-Rao bounds of the delays and of the gains (R, P), all unknown together."""
    columns = np.exp(-2j * np.pi * np.outer(k, delays) / 1024)
    slopes = (-2j * np.pi * k / 1024)[:, None] * columns
    off = slopes - columns @ np.linalg.lstsq(columns, slopes, rcond=None)[0]
    fisher = 2 / noise * ((slopes.conj().T @ off) * (gains.T @ gains.conj()).T).real
    return np.linalg.inv(fisher).diagonal(), noise * np.linalg.inv(columns.conj().T @ columns).diagonal().real


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=400)
    parser.add_argument("--snr", type=float, default=20.0)
    parser.add_argument("--snapshots", type=int, default=1)
    parser.add_argument("--pilots", type=int, default=75)
    parser.add_argument("--model", default="na-sbl-wide")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng, noise = np.random.default_rng(0), 10 ** (-args.snr / 10)
    pattern = PilotPattern.random(args.pilots, seed=2)
    k = np.array(pattern.subcarriers)
    truth: list[tuple[np.ndarray, np.ndarray]] = []
    received: list[np.ndarray] = []
    while len(truth) < args.channels:
        delays = drawn_delays(rng, int(rng.integers(2, 7)))
        shape = (args.snapshots, len(delays))
        gains = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / math.sqrt(2 * len(delays))
        of_delays, of_gains = bounds(k, delays, gains, noise)
        if np.any((np.abs(gains) ** 2).mean(0) < 10 * of_gains):
            continue
        z = rng.standard_normal((2, args.snapshots, len(k))) / math.sqrt(2)
        received.append(
            gains @ np.exp(-2j * np.pi * np.outer(k, delays) / 1024).T + math.sqrt(noise) * (z[0] + 1j * z[1])
        )
        truth.append((delays, of_delays))
    y = np.stack(received).astype(np.complex64)
    paths = load_model(args.model).estimate(y, pattern, noise, snapshot_axes=1, paths=True).paths
    found = false = total = 0
    error = bound = 0.0
    for (delays, of_delays), answer, count in zip(truth, paths.delays_samples, paths.count, strict=True):
        distance = np.abs(answer[:count, None] - delays)
        total += len(delays)
        near = distance.min(0) < 1 if count else np.zeros(len(delays), bool)
        found += int(near.sum())
        false += int((distance.min(1) >= 1).sum()) if count else 0
        error += float((distance.min(0)[near] ** 2).sum()) if count else 0.0
        bound += float(of_delays[near].sum())
    print(
        f"{args.channels} channels, {args.pilots} pilots, {args.snapshots} snapshots, {args.snr:g} dB: "
        f"{found / total:.1%} of {total} paths found, {false / max(1, int(paths.count.sum())):.1%} false, "
        f"RMS error {math.sqrt(error / found):.4f} samples, {math.sqrt(error / bound):.2f} times the bound"
    )


if __name__ == "__main__":
    main()
