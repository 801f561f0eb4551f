"""What ``detected`` says of noise alone, and of weak channels: false alarms and detections.

usage: python tools/detection.py [--groups 2000] [--model na-sbl-wide]

For pilots, snapshots and noise told or not: the share of noise-only groups that count as detected, the 1 % quantile of
the probability of a false alarm, and the share of etu, eva and munich found at -5 dB; beside it the share that the best
test finds which is told the delay profile, at 1 % false alarms.
"""

import argparse

import torch

from chanest import PilotPattern, load_model
from chanest.problems import Scenario, ofdm, seeded


def best_share(scenario: Scenario, pattern: PilotPattern, received: torch.Tensor) -> float:
    """Share found by the likelihood ratio for the true mean profile, noise told, 1 % false alarms."""
    delays, powers = scenario.delay_profile()
    k = torch.tensor(pattern.subcarriers).double()
    steering = torch.exp(-2j * torch.pi * k.unsqueeze(-1) * delays / scenario.n_fft)
    noise = 10**0.5
    c = (steering * powers) @ steering.mH + noise * torch.eye(len(k))
    q = torch.eye(len(k)) / noise - torch.linalg.inv(c)

    def statistic(y: torch.Tensor) -> torch.Tensor:
        return ((y.conj() @ q.to(y.dtype)) * y).sum(-1).real

    silence = torch.randn((20000, len(k)), dtype=torch.complex128, generator=seeded(1, "test")) * noise**0.5
    threshold = statistic(silence).quantile(0.99)
    return float((statistic(received.to(torch.complex128)) > threshold).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=2000)
    parser.add_argument("--model", default="na-sbl-wide")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(args.model)
    patterns = {f"random {m}": PilotPattern.random(m, seed=1) for m in (16, 32, 75, 128)}
    patterns |= {"comb 6": PilotPattern.comb(6), "comb 12": PilotPattern.comb(12)}
    for name, pattern in patterns.items():
        for r in (1, 4, 16):
            generator = seeded(0, "test", r)
            n = args.groups // r
            noise = torch.randn((n, r, len(pattern)), dtype=torch.complex64, generator=generator)
            line = f"{name:10s} R {r:2d}:"
            for told in (1.0, None):
                with torch.inference_mode():
                    found = model.estimate(noise, pattern, told, snapshot_axes=1)
                low = float(found.false_alarm.quantile(0.01))
                share = float(found.detected.float().mean())
                line += f" noise {'told' if told else 'untold'} {share:6.2%} false, 1 % at p = {low:.1e};"
            print(line, flush=True)
    for name in ("etu", "eva", "munich"):
        scenario, pattern = ofdm(name), PilotPattern.random(75, seed=1)
        batch = scenario.draw(pattern, 512, 0, -5.0)
        limit = best_share(scenario, pattern, batch.observations)
        for told in (10**0.5, None):
            with torch.inference_mode():
                found = model.estimate(batch.observations, pattern, told)
            share = float(found.detected.float().mean())
            word = "told" if told else "untold"
            print(f"{name}, -5 dB, 75 pilots, noise {word}: {share:.2%} detected, limit {limit:.2%}", flush=True)


if __name__ == "__main__":
    main()
