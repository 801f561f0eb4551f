"""NA-SBL for any receiver against the network of 0.2.0 on the same pilots: time per group, one thread.

usage: python tools/bench_receivers.py [--groups 512] [--laps 7]
"""

import argparse
import statistics
import time

import torch

from chanest import PilotPattern, load_model
from chanest.problems import ofdm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=512)
    parser.add_argument("--laps", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    scenario, pattern, n, noise = ofdm("wide"), PilotPattern.random(75, seed=3), args.groups, 0.01
    window = scenario.window_samples
    several = scenario.draw(pattern, 4 * n, 0, 20.0).observations.view(n, 4, -1)
    y = several[:, 0]
    old, new = load_model("na-sbl-wide-window"), load_model("na-sbl-wide")
    runs = {
        "0.2.0": lambda: old.solve(y, pattern, noise),
        "window": lambda: new.solve(y, pattern, noise, window_samples=window),
        "whole circle": lambda: new.solve(y, pattern, noise),
        "window, error variance": lambda: new.solve(y, pattern, noise, window_samples=window, error_variance=True),
        "window, estimate": lambda: new.estimate(y, pattern, noise, window_samples=window),
        "window, estimate, R = 4": lambda: new.estimate(
            several, pattern, noise, snapshot_axes=1, window_samples=window
        ),
    }
    laps: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        for run in runs.values():
            run()
        for _ in range(args.laps):
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                laps[name].append(time.perf_counter() - started)
    for name, own in laps.items():
        ratio = statistics.median(a / b for a, b in zip(own, laps["0.2.0"], strict=True))
        print(f"{name:24s} {statistics.median(own) / n * 1e3:6.3f} ms a group, {ratio:.2f} of 0.2.0")


if __name__ == "__main__":
    main()
