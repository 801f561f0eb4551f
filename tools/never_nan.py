"""A million random estimates by NA-SBL over its whole training range and beyond: not one NaN or Inf.

    python tools/never_nan.py [--estimates 1000000]

Patterns, SNRs and what is told of the noise are drawn as in training, of ``na-sbl-wide`` with antennas, layers and
jammers (an eighth as many groups); every tenth batch has an SNR of -20, 60 or 100 dB, a noise variance told wrong by
20 dB either way, a single path, pure noise, or silence. Counts and exits with 1 when one is found.
"""

import argparse
import sys

import torch
from rich.progress import track
from torch import Tensor

from chanest import Model, PilotPattern, Scenario, load_model
from chanest.models import normalise, normalise_group
from chanest.problems import seeded
from chanest.problems.ofdm.receivers import Receiver
from chanest.training.batches import drawn_batch, told_noise

BATCH = 512


def main() -> None:
    """Estimate, count, exit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--estimates", type=int, default=1_000_000)
    parser.add_argument("--model", default="na-sbl-wide-window")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = load_model(options.model)
    bad = done = 0
    with torch.inference_mode():
        for step in track(range(-(-options.estimates // BATCH)), disable=not sys.stderr.isatty()):
            cfr = estimated(model, options.seed, 2**50 + step)
            bad += int((~torch.view_as_real(cfr).isfinite().flatten(1).all(-1)).sum())
            done += len(cfr)
    print(f"{done} estimates by {model.name}: {bad} with NaN or Inf")
    sys.exit(bad > 0)


def estimated(model: Model, seed: int, step: int) -> Tensor:
    """CFR of one batch."""
    joint = model.algorithm.circle
    if not joint or step % 10 == 0:
        observations, pattern, noise = case(model.ofdm, seed, step)
        return model.solve(observations, pattern, noise).values["cfr"]
    batch, receiver, _ = drawn_batch(model.ofdm, seed, step - 1, BATCH // 8, 8, joint=True)
    assert isinstance(receiver, Receiver)
    _, rms = normalise_group(batch.observations)
    of_pilots = batch.noise_variance.ndim == 2
    told = told_noise(batch.noise_variance, rms, len(receiver), seed, step)
    if told is not None:
        told = told * len(receiver) * rms.square().reshape(-1, *(1,) * (told.ndim - 1))
        told = told.unsqueeze(1).expand(batch.observations.shape[: 3 if of_pilots else 2])
    symbols = receiver.symbols if len(receiver.symbols) > 1 else None
    found = model.solve(batch.observations, receiver.pattern, told, pilot_symbols=symbols, snapshot_axes=1)
    return found.values["cfr"]


def case(scenario: Scenario, seed: int, step: int) -> tuple[Tensor, PilotPattern, Tensor | None]:
    """Observations, pattern and told noise variance of one batch."""
    if step % 10:
        batch, sensing, _ = drawn_batch(scenario, seed, step - 1, BATCH, 8)
        pattern = sensing.pattern if isinstance(sensing, Receiver) else sensing
        assert isinstance(pattern, PilotPattern)
        _, rms = normalise(batch.observations)
        told = told_noise(batch.noise_variance, rms, len(pattern), seed, step)
        return batch.observations, pattern, None if told is None else told * len(pattern) * rms.squeeze(-1).square()
    generator = seeded(seed, "train", step)
    pattern = scenario.training_sensing(seed, step - 1)
    kind = step // 10 % 8
    if kind < 3:
        batch = scenario.draw(pattern, BATCH, generator, (-20.0, 60.0, 100.0)[kind])
        return batch.observations, pattern, batch.noise_variance
    batch = scenario.draw(pattern, BATCH, generator)
    if kind == 5:
        one = scenario.replace(channel={**scenario.channel.model_dump(), "n_paths": (1, 1)})
        batch = one.draw(pattern, BATCH, generator, 100.0)
        return batch.observations, pattern, torch.zeros(BATCH)
    if kind == 6:
        return torch.randn(BATCH, len(pattern), dtype=torch.complex64, generator=generator), pattern, None
    if kind == 7:
        return torch.zeros(BATCH, len(pattern), dtype=torch.complex64), pattern, None
    return batch.observations, pattern, batch.noise_variance * (100.0 if kind == 3 else 0.01)


if __name__ == "__main__":
    main()
