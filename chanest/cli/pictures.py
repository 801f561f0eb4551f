"""The pictures of ``chanest estimate``."""

from pathlib import Path

import torch

from ..algorithms import interpolate_linear
from ..estimator import Estimate, Model
from ..metrics import nmse_db
from ..observations import Chunk, PilotFile
from ..pilots import PilotPattern
from ..plots import draw_estimate
from ..scenario import Scenario
from ..signals import Simulation
from .common import DEFAULT_ALGORITHM


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
    pilots = torch.tensor(pattern.subcarriers)
    used_subcarriers = torch.from_numpy(scenario.used_subcarriers)
    cfrs["linear"] = interpolate_linear(block.observations[:1], pilots, used_subcarriers)[0].numpy()
    for name, model in models.items():
        estimate = model.estimate(block.observations, pattern, n_iterations=used.get(name), record=True)
        curves[name] = [nmse_db(model.cfr(cir), block.cfr) for cir in estimate.iterates]
        if name in (DEFAULT_ALGORITHM, chosen):
            cfrs[name] = estimate.cfr[0].numpy()
            cirs[name] = (estimate.first_tap_samples, estimate.cir[0].numpy())
    title = f"{scenario.name}, {len(pattern)} pilots: one channel, and CFR NMSE over {len(block)}"
    observed = (pilots.numpy(), block.observations[0].numpy())
    draw_estimate(path, title, scenario.used_subcarriers, cfrs, cirs, observed, curves, force)


def plot_received(path: Path, force: bool, chunk: Chunk, estimate: Estimate, pilots: PilotFile, chosen: str) -> None:
    """Draw the first observation of a file."""
    cfrs = {chosen: estimate.cfr[0].cpu().numpy()}
    cirs = {chosen: (estimate.first_tap_samples, estimate.cir[0].cpu().numpy())}
    if chunk.cfr is not None:
        cfrs = {"truth": chunk.cfr[0].numpy(), **cfrs}
    if chunk.cir is not None:
        cirs = {"truth": (pilots.first_tap_samples, chunk.cir[0].numpy()), **cirs}
    observed = (torch.tensor(pilots.pattern.subcarriers).numpy(), chunk.observations[0].numpy())
    title = f"{pilots.path.name}: the first of {pilots.n_observations} observations"
    used = estimate.used_subcarriers.numpy()
    draw_estimate(path, title, used, cfrs, cirs, observed, {}, force)
