"""Every estimator on random pilot patterns of every kind: which one makes things worse than no estimate, and where.

usage: python tools/worst_patterns.py [--patterns 1000] [--channels 8] [--seed 0] [--algorithms ...]

Blocks, clusters, combs, one-sided and random pilots, 2 to 600 of them, DFT lengths 64 to 2048, SNR 0 to 30 dB, noise
told; channels of 1 to 6 separate paths in the first eighth of the symbol, or in half of what the pilots tell apart.
Prints for every estimator the share of
patterns above 0.5 dB of CFR NMSE, and the worst ten.
"""

import argparse

import numpy as np
import torch

from chanest import Grid, PilotPattern, load_scenario
from chanest.algorithms import ALGORITHMS
from chanest.models import Model, model_names, pick_named
from chanest.problems import period_samples
from chanest.problems.ofdm.draw import frequency_response

LIMIT_DB = 0.5
MOST_PILOTS = 600


def drawn_pattern(generator: np.random.Generator) -> tuple[str, PilotPattern]:
    """A kind, and a pattern of it."""
    n_fft = int(generator.choice([64, 128, 256, 512, 1024, 1024, 1024, 2048]))
    half = max(8, int(n_fft * generator.uniform(0.1, 0.45)))
    used = np.r_[-half:0, 1 : half + 1] if generator.random() < 0.5 else np.arange(-half, half)
    kind = str(generator.choice(["random", "block", "clusters", "comb", "one-sided"]))
    n = min(int(np.exp(generator.uniform(np.log(2), np.log(MOST_PILOTS)))), len(used))
    match kind:
        case "random":
            at = generator.choice(len(used), n, replace=False)
        case "block":
            at = generator.integers(len(used) - n + 1) + np.arange(n)
        case "clusters":
            starts = generator.integers(0, len(used), 3)
            at = (starts[:, None] + np.arange(max(1, n // 3))).ravel() % len(used)
        case "comb":
            step = max(1, len(used) // n)
            at = np.arange(generator.integers(step), len(used), step)
        case _:
            at = generator.choice(len(used) // 2, min(n, len(used) // 2), replace=False)
    at = np.unique(at)
    at = at if len(at) >= 2 else np.array([0, len(used) - 1])
    return kind, PilotPattern(tuple(used[at].tolist()), Grid(n_fft, tuple(used.tolist())))


def received(
    pattern: PilotPattern, n: int, snr_db: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pilots and CFR, (n, ...) both."""
    n_paths = int(torch.randint(1, 7, (1,), generator=generator))
    longest = min(pattern.n_fft / 8, period_samples(pattern) / 2)
    delays = torch.rand((n, n_paths), generator=generator, dtype=torch.float64) * longest
    gains = torch.randn((n, n_paths), dtype=torch.complex64, generator=generator) / n_paths**0.5
    cfr = frequency_response(delays, gains, pattern.grid)
    seen = cfr[:, np.searchsorted(pattern.used_subcarriers, pattern.subcarriers)]
    noise = torch.randn(seen.shape, dtype=torch.complex64, generator=generator)
    return seen + noise * 10 ** (-snr_db / 20), cfr


def estimators(names: list[str]) -> dict[str, Model]:
    """Shipped models of the OFDM setting and classical algorithms by name."""
    wide = load_scenario("wide")
    chosen = names or [
        *(name for name in model_names() if "synthetic" not in name),
        *(name for name, kind in ALGORITHMS.items() if not kind.learned and name != "vamp"),
        "linear",
        "spline",
    ]
    return {
        name: pick_named(name, wide if name not in model_names() else load_scenario(_scenario(name))) for name in chosen
    }


def _scenario(name: str) -> str:
    return next(s for s in ("lte10-reference", "lte10", "wide") if s in name)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patterns", type=int, default=1000)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--algorithms", nargs="*", default=[])
    args = parser.parse_args()
    models = estimators(args.algorithms)
    found: list[tuple[float, str, str, int, int, float]] = []
    generator = np.random.default_rng(args.seed)
    for _ in range(args.patterns):
        kind, pattern = drawn_pattern(generator)
        snr_db = float(generator.uniform(0, 30))
        noise = 10 ** (-snr_db / 10)
        draws = torch.Generator().manual_seed(int(generator.integers(2**62)))
        y, cfr = received(pattern, args.channels, snr_db, draws)
        for name, model in models.items():
            error = (model.estimate(y, pattern, noise).cfr - cfr).abs().double().square().sum()
            nmse = 10 * float((error / cfr.abs().double().square().sum()).clamp_min(1e-30).log10())
            found.append((nmse, name, kind, len(pattern), pattern.n_fft, snr_db))
    for name in models:
        own = [one[0] for one in found if one[1] == name]
        above = np.mean(np.array(own) > LIMIT_DB)
        print(f"{name:28s} worst {max(own):7.2f} dB, {above:6.1%} of {len(own)} patterns above {LIMIT_DB} dB")
    print("the worst ten:")
    for nmse, name, kind, n, n_fft, snr_db in sorted(found, reverse=True)[:10]:
        print(f"  {nmse:7.2f} dB  {name}, {kind}, {n} pilots of {n_fft}, {snr_db:.0f} dB")


if __name__ == "__main__":
    main()
