"""Fits the calibration of a model's error variance for users in motion."""

import math

import numpy as np
import torch
from torch import Tensor

from ..algorithms import CircleNASBL
from ..models import Model
from ..models.arcs import Part, of_groups
from ..models.groups import MOST_SNAPSHOTS, grouped
from ..models.moving import found_in_motion, moves_of, read_error
from ..problems import PilotPattern, Scenario, SlotPattern, moving_response, ofdm, seeded
from .fit_error_variance import STEPS, Progress, fitted

_SLOTS, _SUBCARRIERS, _SYMBOLS = 16, 24, 4  # of a batch; of these a calibration sees so many
_N_SYMBOLS, _SYMBOL_S = 14, 1 / 14e3
_MOST_PILOTS, _MOST_REPEATED = 240, 300  # of all symbols together; of each, where all carry the same
_FASTEST, _FASTEST_HZ = 0.3, 700.0  # Doppler shift: times the time between two symbols with pilots, and at most
_TRACKED = 0.35  # of the batches
_LARGEST = 8.0  # errors over the base: a few missed motions would outweigh the rest


def fit_moving_variance(
    model: Model, seed: int = 0, n_batches: int = 768, steps: int = 2 * STEPS, progress: Progress | None = None
) -> None:
    """Fit ``model.algorithm.moving_calibration`` by the Gaussian likelihood of the CFR error.

    Slots of two to four symbols with pilots, random ones, combs, staggered combs; 1 to 8 antennas, users at rest and in
    motion, noise told and untold, at the SNRs of the scenario's training; a third of the users is tracked, in the last
    slot of up to 64 snapshots.

    Args:
        model: its algorithm's calibration is changed in place; nothing happens where it is not NA-SBL for any receiver.
        seed: of the draws.
        n_batches: batches of 16 slots.
        steps: of the fit.
        progress: called with how much of how much is done.

    >>> from chanest import load_model, load_scenario
    >>> model = load_model("na-sbl-wide")
    >>> fit_moving_variance(model, n_batches=1, steps=10)
    >>> bool(model.algorithm.moving_calibration.output.bias.isfinite())
    True
    """
    algorithm = model.algorithm
    if not isinstance(algorithm, CircleNASBL):
        return
    algorithm.to("cpu", torch.float32)
    calibration = algorithm.moving_calibration
    calibration.initialise(seeded(seed, "initialise", 2))
    read, work = [], n_batches * 20 + steps
    for i in range(n_batches):
        read.append(_read(algorithm, ofdm(model.scenario), seed, i))
        if progress is not None:
            progress(20 * (i + 1), work)
    base, features, error = (torch.cat(column) for column in zip(*read, strict=True))
    told = None if progress is None else lambda step: progress(20 * n_batches + step, work)
    fitted(calibration, base, features, error, seed, steps, told)


def drawn_pattern(scenario: Scenario, generator: np.random.Generator) -> SlotPattern:
    """Pilots of two to four symbols of a slot."""
    p = int(generator.integers(2, 5))
    symbols = np.sort(generator.choice(_N_SYMBOLS, p, replace=False))
    kind = generator.random()
    most = _MOST_REPEATED if 0.5 <= kind < 0.75 else _MOST_PILOTS / p
    n = round(math.exp(generator.uniform(math.log(24), math.log(most))))
    spacing = round(scenario.grid.n_used / n)
    if kind < 0.5:
        patterns = [PilotPattern.random(n, int(generator.integers(2**31)), scenario.grid) for _ in range(p)]
    else:
        step = 0 if kind < 0.75 else int(generator.integers(1, spacing))
        patterns = [PilotPattern.comb(spacing, i * step % spacing, scenario.grid) for i in range(p)]
    asked = np.sort(generator.choice(_N_SYMBOLS, _SYMBOLS, replace=False))
    asked[generator.integers(_SYMBOLS)] = generator.choice(symbols)
    return SlotPattern(tuple(patterns), tuple(symbols * _SYMBOL_S), tuple(np.unique(asked) * _SYMBOL_S))


@torch.no_grad()
def _read(algorithm: CircleNASBL, scenario: Scenario, seed: int, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Base, features and squared error, both relative to the RMS, on some subcarriers and symbols of one batch."""
    draw, generator = np.random.default_rng([seed, step, 11]), seeded(seed, "validate", step)
    pattern = drawn_pattern(scenario, draw)
    fastest = min(_FASTEST / float(np.diff(pattern.times_s).mean()), _FASTEST_HZ)
    doppler = torch.from_numpy(draw.uniform(0, fastest, _SLOTS) * (draw.random(_SLOTS) > 0.3))
    n_antennas = 1 if draw.random() < 0.5 else round(math.exp(draw.uniform(0, math.log(8.5))))
    n_slots = 1
    if tracked := bool(draw.random() < _TRACKED):
        n_slots = round(math.exp(draw.uniform(0, math.log(MOST_SNAPSHOTS / n_antennas))))
    times = np.unique([*pattern.times_s, *pattern.output_times_s])
    delays, _, variances = scenario.draw_paths(_SLOTS, generator)
    cfr = moving_response(delays, variances, scenario.grid, times, doppler, n_antennas * n_slots, generator)
    low, high = scenario.training.snr_db
    level = 10 ** (-torch.from_numpy(draw.uniform(low, high, _SLOTS)) / 10)
    at = [np.searchsorted(pattern.used_subcarriers, one.subcarriers) for one in pattern.patterns]
    turn = np.searchsorted(times, pattern.times_s)
    seen = torch.cat([cfr[:, :, t, torch.from_numpy(i)] for t, i in zip(turn, at, strict=True)], -1)
    noise = torch.randn(seen.shape, dtype=seen.dtype, generator=generator)
    received = seen + noise * level.sqrt()[:, None, None].to(seen.real.dtype)
    told = None if draw.random() < 0.4 else level.unsqueeze(-1).expand(-1, n_antennas * n_slots)
    groups = grouped(received, told, None, None, 1)
    window = scenario.window_samples if draw.random() < 0.5 else None
    moves = moves_of(pattern, None, 0.0 if draw.random() < 0.7 else None)
    present, arc = n_antennas if tracked else None, scenario.window_samples
    found = found_in_motion(algorithm, groups, pattern, moves, window, arc, False, present)
    used = pattern.used_subcarriers
    some = torch.from_numpy(np.sort(draw.choice(len(used), _SUBCARRIERS, replace=False)))

    def read(part: Part) -> Tensor:
        base, of = read_error(algorithm, part, torch.from_numpy(used)[some], found.across[part.rows])
        return torch.cat([base.unsqueeze(-1), of(base)], -1)[:, 0]

    values = of_groups(found.parts, read)
    base, features = values[..., 0], values[..., 1:]
    truth = (
        cfr[:, -n_antennas:, np.searchsorted(times, pattern.output_times_s)][..., some] / groups.rms[:, :, None, None]
    )
    error = (found.cfr[:, :, 0][..., some] - truth).abs().square().mean(1).flatten(1)
    error = torch.minimum(error.double(), _LARGEST * base.exp())
    return base.reshape(-1).float(), features.reshape(-1, features.shape[-1]).float(), error.reshape(-1).float()
