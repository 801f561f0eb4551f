"""The pictures of ``chanest estimate``."""

from pathlib import Path

import numpy as np
import torch

from ..algorithms import LinearInterpolation
from ..evaluation import nmse_db
from ..evaluation.plots import draw_estimate
from ..files import Chunk, MeasurementFile
from ..models import Model, Solution
from ..problems import Batch, PilotPattern, Problem, cfr_of
from .options import DEFAULT_ALGORITHM

_DRAWN = ("ista", "fista", "alista", "na-alista", "na-sbl", "linear")


@torch.inference_mode()
def plot_simulated(
    path: Path,
    force: bool,
    scenario: Problem,
    block: Batch,
    models: dict[str, Model],
    used: dict[str, int],
    pattern: PilotPattern,
    chosen: str,
) -> None:
    """Draw the first channel of a block, and NMSE against iterations over all of it."""
    truth = block.truth
    cfrs, curves = {"truth": truth["cfr"][0].numpy()}, {}
    cirs: dict[str, tuple[float, float, np.ndarray]] = {}
    if "cir" in truth:
        cirs["truth"] = (scenario.first_tap_samples, 1.0, truth["cir"][0].numpy())
    for name, model in models.items():
        if name not in (*_DRAWN, chosen):
            continue
        found = model.solve(
            block.observations,
            pattern,
            block.noise_variance,
            window_samples=scenario.window_samples,
            n_iterations=used.get(name),
            record=True,
        )
        if found.iterates:
            taps = found.first_tap_samples, found.tap_spacing_samples
            curves[name] = [nmse_db(cfr_of(cir, pattern.grid, *taps), truth["cfr"]) for cir in found.iterates]
        if name in (DEFAULT_ALGORITHM, chosen, LinearInterpolation.name):
            cfrs[name] = found.values["cfr"][0].numpy()
            if "cir" in found.values:
                cirs[name] = (found.first_tap_samples, found.tap_spacing_samples, found.values["cir"][0].numpy())
    title = f"{scenario.name}, {len(pattern)} pilots: one channel, and CFR NMSE over {len(block)}"
    observed = (np.array(pattern.subcarriers), block.observations[0].numpy())
    draw_estimate(path, title, pattern.used_subcarriers, cfrs, cirs, observed, curves, force)


def plot_received(
    path: Path, force: bool, chunk: Chunk, found: Solution, measurements: MeasurementFile, chosen: str
) -> None:
    """Draw the first observation of a file."""
    pattern, symbols = measurements.sensing, measurements.pilot_symbols

    def one(values: torch.Tensor) -> np.ndarray:
        """The first vector of an array of them."""
        return values.reshape(-1, values.shape[-1])[0].cpu().numpy()

    cfrs = {chosen: one(found.values["cfr"])}
    cirs = {}
    if "cir" in found.values:
        cirs[chosen] = (found.first_tap_samples, found.tap_spacing_samples, one(found.values["cir"]))
    if "cfr" in chunk.truth:
        cfrs = {"truth": one(chunk.truth["cfr"]), **cfrs}
    if "cir" in chunk.truth:
        cirs = {"truth": (measurements.first_tap_samples, 1.0, one(chunk.truth["cir"])), **cirs}
    sent = 1.0 if symbols is None else (symbols[0] if symbols.ndim == 2 else symbols).numpy()
    observed = (np.array(pattern.subcarriers), one(chunk.observations) / sent)
    title = f"{measurements.path.name}: the first of {measurements.n_observations} observations"
    draw_estimate(path, title, pattern.used_subcarriers, cfrs, cirs, observed, {}, force)
