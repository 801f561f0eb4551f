"""What the delay grid of the estimator in Sionna costs: DFT lengths for wide bands, windows on combs of pilots.

python tools/link_windows.py [--samples 48]
"""

import argparse
from dataclasses import replace

import torch

from chanest import Grid, Model, PilotPattern, load_model, load_scenario, nmse_db
from chanest.models import pick_model, rescaled, unambiguous
from chanest.problems import ofdm, seeded

WIDE = load_scenario("wide")
MODELS = {
    "na-sbl": load_model("na-sbl-wide-window"),
    "na-alista": load_model("na-alista-wide"),
    "sbl": pick_model("sbl", WIDE),
    "omp": pick_model("omp", WIDE),
}


def measured(model: Model, pattern: PilotPattern, snr_db: float, n_samples: int) -> str:
    """NMSE in dB of the CFR on the pattern's band for TDL-C300, and its mean error variance over the error it has."""
    delays, gains, _ = ofdm("tdl-c300").draw_paths(n_samples, seeded(0, "test"))
    turns = delays.unsqueeze(-1) * torch.from_numpy(pattern.used_subcarriers) / 1024
    cfr = (gains.unsqueeze(-1) * torch.exp(-2j * torch.pi * turns)).sum(1).to(torch.complex64)
    at = [pattern.grid.used_subcarriers.index(k) for k in pattern.subcarriers]
    noise = torch.randn(n_samples, len(at), dtype=cfr.dtype, generator=torch.Generator().manual_seed(0))
    variance = 10 ** (-snr_db / 10)
    found = model.estimate(cfr[:, at] + variance**0.5 * noise, pattern, variance, error_variance=True)
    ratio = found.error_variance.mean() / (found.cfr - cfr).abs().square().mean()
    return f"{nmse_db(found.cfr, cfr):.1f} ({float(ratio):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=48)
    n_samples = parser.parse_args().samples
    print("random pilots, 30 dB: band, pilots: DFT length: " + ", ".join(MODELS))
    for n_used, n_pilots, lengths in ((128, 30, (256, 1024)), (624, 78, (1024, 1248)), (1024, 128, (1024, 2048))):
        band = tuple(range(-n_used // 2, n_used // 2))
        for n_fft in lengths:
            pattern = PilotPattern.random(n_pilots, 0, Grid(n_fft, band))
            small = [replace(m, scenario=rescaled(m, n_fft).ofdm) for m in MODELS.values()]
            print(f"{n_used}, {n_pilots}: {n_fft}: " + ", ".join(measured(m, pattern, 30, n_samples) for m in small))
    print("combs on a band of 624: spacing, SNR: " + ", ".join(MODELS))
    for spacing, snr_db in ((4, 5), (4, 20), (8, 5), (8, 20), (12, 5), (12, 20)):
        band = tuple(range(-312, 312))
        pattern = PilotPattern(band[::spacing], Grid(1024, band))
        for what, fit in (("whole window", lambda m, _: m), ("what the comb tells apart", unambiguous)):
            row = ", ".join(measured(fit(m, pattern), pattern, snr_db, n_samples) for m in MODELS.values())
            print(f"{spacing}, {snr_db} dB: {what}: {row}", flush=True)


if __name__ == "__main__":
    main()
