"""The pictures of ``chanest estimate``."""

from pathlib import Path

import numpy as np
import torch

from ..algorithms import LinearInterpolation
from ..evaluation.metrics import nmse_db
from ..evaluation.plots import draw_estimate
from ..files.measurements import Chunk, PilotFile
from ..models.model import Estimate, Model
from ..problems.ofdm.draw import Simulation
from ..problems.ofdm.pilots import PilotPattern
from ..problems.ofdm.scenario import Scenario
from .common import DEFAULT_ALGORITHM

_DRAWN = ("ista", "fista", "alista", "na-alista", "na-sbl", "linear")


@torch.inference_mode()
def plot_simulated(
    path: Path,
    force: bool,
    scenario: Scenario,
    block: Simulation,
    models: dict[str, Model],
    used: dict[str, int],
    pattern: PilotPattern,
    chosen: str,
) -> None:
    """Draw the first channel of a block, and NMSE against iterations over all of it."""
    cfrs, cirs, curves = {"truth": block.cfr[0].numpy()}, {}, {}
    if block.cir is not None:
        cirs["truth"] = (scenario.first_tap_samples, block.cir[0].numpy())
    for name, model in models.items():
        if name not in (*_DRAWN, chosen):
            continue
        noise = block.noise_variance
        estimate = model.estimate(block.observations, pattern, noise, n_iterations=used.get(name), record=True)
        if estimate.iterates:
            curves[name] = [nmse_db(model.cfr(cir), block.cfr) for cir in estimate.iterates]
        if name in (DEFAULT_ALGORITHM, chosen, LinearInterpolation.name):
            cfrs[name] = estimate.cfr[0].numpy()
            if estimate.cir is not None:
                cirs[name] = (estimate.first_tap_samples, estimate.cir[0].numpy())
    title = f"{scenario.name}, {len(pattern)} pilots: one channel, and CFR NMSE over {len(block)}"
    observed = (np.array(pattern.subcarriers), block.observations[0].numpy())
    draw_estimate(path, title, scenario.used_subcarriers, cfrs, cirs, observed, curves, force)


def plot_received(path: Path, force: bool, chunk: Chunk, estimate: Estimate, pilots: PilotFile, chosen: str) -> None:
    """Draw the first observation of a file."""
    cfrs = {chosen: estimate.cfr[0].cpu().numpy()}
    cirs = {}
    if estimate.cir is not None:
        cirs[chosen] = (estimate.first_tap_samples, estimate.cir[0].cpu().numpy())
    if chunk.cfr is not None:
        cfrs = {"truth": chunk.cfr[0].numpy(), **cfrs}
    if chunk.cir is not None:
        cirs = {"truth": (pilots.first_tap_samples, chunk.cir[0].numpy()), **cirs}
    observed = (np.array(pilots.pattern.subcarriers), chunk.observations[0].numpy())
    title = f"{pilots.path.name}: the first of {pilots.n_observations} observations"
    used = estimate.used_subcarriers.cpu().numpy()
    draw_estimate(path, title, used, cfrs, cirs, observed, {}, force)
