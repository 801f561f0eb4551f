"""Fits the calibration of a model's error variance, once its estimates are final."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..algorithms import Algorithm, CircleNASBL
from ..algorithms.error_calibration import Calibration
from ..models import Model, normalise, normalise_group
from ..models.arcs import Part, arcs_of, of_groups, on_circle, recovered
from ..models.groups import Groups
from ..problems import Batch, seeded
from .batches import drawn_batch, told_noise

_FIRST_STEP = 2**40  # of channels that no training sees
_BATCH, _SUBCARRIERS = 64, 24
_GROUPS = 16  # of a batch of receivers: more of these tell more than more channels of each
_LARGEST = 1e2  # errors over the base
STEPS, _ROWS = 3000, 20_000  # of the fit; rows are subcarriers of channels
_TOLD = 50  # steps of the fit, after which progress is told
Progress = Callable[[int, int], None]


def fit_error_variance(
    model: Model,
    seed: int = 0,
    snr_groups: int = 8,
    device: torch.device | str = "cpu",
    n_batches: int = 768,
    steps: int = STEPS,
    progress: Progress | None = None,
) -> None:
    """Fit ``model.algorithm.calibration`` by the Gaussian likelihood of the CFR error, -log v - |error|^2 / v.

    Channels, patterns, SNRs and what is told of the noise are drawn as in training, and were not seen there.

    Args:
        model: its algorithm's calibration is changed in place; nothing happens where it has none,
            nor in the synthetic setting, which has no band.
        seed: of the draws.
        snr_groups: different SNRs in a batch.
        device: where to estimate.
        n_batches: batches of 64 channels.
        steps: of the fit; twice as many for NA-SBL for any receiver.
        progress: called with how much of how much is done.

    >>> from chanest import load_model, load_scenario
    >>> model = load_model("alista-lte10-m75")
    >>> fit_error_variance(model, n_batches=4)
    >>> bool(model.algorithm.calibration.linear.bias.isfinite())
    True
    """
    algorithm = model.algorithm
    calibration = algorithm.calibration if isinstance(algorithm, Algorithm) else None
    if calibration is None or "cfr" not in model.scenario.quantities:
        return
    algorithm.to(device, torch.float32)
    calibration.initialise(seeded(seed, "initialise", 1))
    steps *= 2 if algorithm.circle else 1
    work = n_batches * 10 + steps  # a batch takes about as long as ten steps
    read = []
    for i in range(n_batches):
        read.append(_read(model, calibration, seed, _FIRST_STEP + i - 1, snr_groups, device))
        if progress is not None:
            progress(10 * (i + 1), work)
    base, features, error = (torch.cat(column) for column in zip(*read, strict=True))
    told = None if progress is None else lambda step: progress(10 * n_batches + step, work)
    fitted(calibration, base, features, error, seed, steps, told)


def fitted(
    calibration: Any,
    base: Tensor,
    features: Tensor,
    error: Tensor,
    seed: int,
    steps: int,
    progress: Callable[[int], None] | None = None,
) -> None:
    """A calibration fitted to squared errors by Adam, in place.

    Args:
        calibration: a module from features to a correction.
        base, error: (rows,).
        features: (rows, n).
        seed: of the order of rows.
        steps: of the optimiser.
        progress: called with the steps done, now and then.
    """
    trained = next(calibration.parameters()).requires_grad
    correction = getattr(calibration, "correction", calibration)
    with torch.enable_grad():
        calibration.requires_grad_(True)
        optimiser = torch.optim.Adam(calibration.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        order = seeded(seed, "validate", _FIRST_STEP)
        for step in range(1, steps + 1):
            rows = torch.randint(len(base), (_ROWS,), generator=order).to(base.device)
            optimiser.zero_grad()
            log_variance = base[rows] + correction(features[rows])
            (log_variance + error[rows] * (-log_variance).exp()).mean().backward()
            optimiser.step()
            schedule.step()
            if progress is not None and (step % _TOLD == 0 or step == steps):
                progress(step)
    calibration.requires_grad_(trained)


@torch.no_grad()
def _read(
    model: Model, calibration: Calibration, seed: int, step: int, snr_groups: int, device: torch.device | str
) -> tuple[Tensor, Tensor, Tensor]:
    """Base, features and squared error, both relative to the RMS, on some subcarriers of one batch."""
    joint = model.algorithm.circle
    size = (_GROUPS, _GROUPS) if joint else (_BATCH, snr_groups)
    drawn, sensing, _ = drawn_batch(model.scenario, seed, step, *size, joint)
    batch = drawn.to(device)
    y, rms = (normalise_group if joint else normalise)(batch.observations)
    told = told_noise(batch.noise_variance, rms, y.shape[-1], seed, step + 1)
    subcarriers = seeded(seed, "validate", step + 1)
    if joint:
        return _read_jointly(model, calibration, batch, sensing, y, rms, told, subcarriers)
    forward = model.scenario.forward_model(sensing, y.dtype, device)
    phi, band = forward.phi, forward.band
    assert band is not None
    recovery = model.algorithm(y, phi, noise_variance=told)
    base, features = calibration.read(recovery, y, phi, band, told)
    error = (forward.quantities(recovery.x)["cfr"] - batch.truth["cfr"] / rms).abs().square()
    some = torch.randperm(error.shape[-1], generator=subcarriers)[:_SUBCARRIERS].to(device)
    if base.shape[-1] > 1:
        base, features = base[:, some], features[:, some]
    else:
        base, features = base.expand(-1, len(some)), features.expand(-1, len(some), -1)
    return base.reshape(-1), features.reshape(-1, features.shape[-1]), error[:, some].reshape(-1)


def _read_jointly(
    model: Model,
    calibration: Calibration,
    batch: Batch,
    receiver: Any,
    y: Tensor,
    rms: Tensor,
    told: Tensor | None,
    subcarriers: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`_read` of a receiver with snapshots and layers; the error is its mean over the snapshots."""
    assert isinstance(model.algorithm, CircleNASBL)
    used = receiver.pattern.used_subcarriers
    some = torch.randperm(len(used), generator=subcarriers)[:_SUBCARRIERS].sort().values
    shown, symbols = torch.from_numpy(used)[some], receiver.symbols if len(receiver.symbols) > 1 else None
    arcs = () if symbols is not None else arcs_of(receiver.delays, receiver.pattern, model.ofdm.window_samples)
    sought = tuple(replace(receiver, delays=arc).operator(y.device) for arc in arcs)
    groups = Groups(y, rms, told, None, symbols, y.shape[:1], y.shape[1:2])
    phi, band = receiver.operator(y.device), receiver.band(shown, y.device)
    parts = recovered(model.algorithm, groups, phi, sought)

    def read(part: Part) -> Tensor:
        own = band if part.phi is phi else part.phi.seen_at(band.subcarriers)
        base, features = calibration.read(part.recovery, part.y, part.phi, own, part.noise)
        return torch.cat([base.unsqueeze(-1), features], -1)

    found = of_groups(parts, read)
    base, features = found[..., 0], found[..., 1:]
    cfr = band.forward(on_circle(parts, phi).x.unflatten(-1, (len(receiver.symbols), -1))) * len(some) ** 0.5
    error = (cfr - batch.truth["cfr"][..., some] / rms[:, :, None, None]).abs().square().mean(1)
    error = torch.minimum(error, _LARGEST * base.exp())  # lest one missed path outweigh a batch
    return base.reshape(-1), features.reshape(-1, features.shape[-1]), error.reshape(-1)
