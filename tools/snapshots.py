"""NA-SBL for any receiver on fixed profiles and ray-traced channels: NMSE and error variance against snapshots.

usage: python tools/snapshots.py [--scenarios etu,eva,tdl-c300,munich] [--snapshots 1,4,16] [--snr 10,20,30]
           [--correlation 0] [--whole-circle] [--untold] [--jammed 0] [--shift 0] [--channels 512] [--model na-sbl-wide]

One line per scenario, SNR and R: NMSE of the CFR in dB, what the error variance expects over that, and lmmse-true.
"""

import argparse
import math

import numpy as np
import torch
from torch import Tensor

from chanest import PilotPattern, load_model, load_scenario
from chanest.models import pick_model
from chanest.problems import Scenario, ofdm, seeded
from chanest.problems.ofdm.draw import frequency_response


def drawn(
    scenario: Scenario, pattern: PilotPattern, n: int, n_snapshots: int, snr_db: float, correlation: float, shift: float
) -> tuple[Tensor, Tensor]:
    """Received pilots and CFR, (n, R, ...): neighbouring snapshots have gains of a given correlation."""
    generator = seeded(0, "test")
    delays, gains, variances = scenario.draw_paths(n, generator)
    others = scenario.channel.draw_antennas(gains, variances, n_snapshots - 1, generator)
    gains = torch.cat([gains.unsqueeze(1), others], 1)
    for r in range(1, n_snapshots):
        gains[:, r] = correlation * gains[:, r - 1] + math.sqrt(1 - correlation**2) * gains[:, r]
    rows = gains.flatten(0, 1)
    cfr = frequency_response((delays + shift).repeat_interleave(n_snapshots, 0), rows, scenario.grid)
    cfr = cfr.view(n, n_snapshots, -1)
    at = np.searchsorted(scenario.used_subcarriers, pattern.subcarriers)
    noise = torch.randn((n, n_snapshots, len(pattern)), dtype=torch.complex64, generator=generator)
    return cfr[..., at] + noise * 10 ** (-snr_db / 20), cfr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", default="etu,eva,tdl-c300,munich")
    parser.add_argument("--snapshots", default="1,4,16")
    parser.add_argument("--snr", default="10,20,30")
    parser.add_argument("--correlation", type=float, default=0.0)
    parser.add_argument("--whole-circle", action="store_true", help="do not tell the window of delays")
    parser.add_argument("--untold", action="store_true", help="do not tell the noise")
    parser.add_argument("--jammed", type=int, default=0, help="so many pilots at +20 dB")
    parser.add_argument("--shift", type=float, default=0.0, help="of all delays, in samples")
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--pilots", type=int, default=75)
    parser.add_argument("--model", default="na-sbl-wide")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(args.model)
    for name in args.scenarios.split(","):
        scenario = ofdm(name)
        pattern = PilotPattern.random(args.pilots, seed=3)
        told = pick_model("lmmse-true", load_scenario(name))
        for r in map(int, args.snapshots.split(",")):
            for snr in map(float, args.snr.split(",")):
                n = max(48, args.channels // r)
                y, cfr = drawn(scenario, pattern, n, r, snr, args.correlation, args.shift)
                if args.jammed:
                    y[..., 30 : 30 + args.jammed] += 10 * torch.randn((n, r, args.jammed), dtype=y.dtype)
                noise = None if args.untold else 10 ** (-snr / 10)
                window = None if args.whole_circle else scenario.window_samples
                with torch.inference_mode():
                    found = model.estimate(
                        y, pattern, noise, snapshot_axes=1, window_samples=window, error_variance=True
                    )
                    limit = told.solve(y.flatten(0, 1), pattern, 10 ** (-snr / 10)).values["cfr"]
                power = float(cfr.abs().square().sum())
                error = (found.cfr - cfr).abs().square()
                own, best = float(error.sum()), float((limit.view_as(cfr) - cfr).abs().square().sum())
                expected = found.error_variance.mean(-1).flatten()
                decile = expected <= expected.quantile(0.1)
                worst = float(expected[decile].sum() / error.mean(-1).flatten()[decile].sum())
                print(
                    f"{name:9s} R {r:2d} {snr:4.0f} dB: {10 * math.log10(own / power):6.2f} dB, expected/measured "
                    f"{10 * math.log10(float(found.error_variance.sum()) / own):+5.2f} dB, of the surest tenth "
                    f"{10 * math.log10(worst):+5.2f} dB; lmmse-true {10 * math.log10(best / power):6.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
