"""The pictures of ``chanest estimate``."""

from pathlib import Path

import numpy as np
import torch

from ..algorithms import LinearInterpolation
from ..evaluation import nmse_db
from ..evaluation.plots import DEPTH_DB, Chart, Series, db_of, delay_unit, draw_charts, draw_estimate
from ..files import Chunk, MeasurementFile, PilotFile
from ..models import Model, Solution
from ..problems import Batch, PilotPattern, Problem, SlotPattern, cfr_of, ofdm
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
    rate = ofdm(scenario).sample_rate_hz
    draw_estimate(path, title, pattern.used_subcarriers, cfrs, cirs, observed, curves, force, rate)


@torch.inference_mode()
def plot_received(path: Path, force: bool, chunk: Chunk, measurements: MeasurementFile, model: Model) -> None:
    """Draw the first observation of a file: power delay profile, CFR with its error, and phase.

    Args:
        path, force: where to.
        chunk: the first of the file.
        measurements: the file.
        model: what estimates it.
    """
    assert isinstance(measurements, PilotFile)
    pattern, symbols, circle = measurements.sensing, measurements.pilot_symbols, model.algorithm.circle
    one = chunk.first
    found = model.solve(
        one.observations,
        pattern,
        one.noise_variance,
        **measurements.told(one),
        error_variance=True,
        findings=True,
        paths=circle and isinstance(pattern, PilotPattern),
    )
    slot = isinstance(pattern, SlotPattern)  # its first symbol is drawn, with the pilots of that

    def first(values: torch.Tensor) -> np.ndarray:
        """The first vector of an array of them."""
        return values.reshape(-1, values.shape[-1])[0].cpu().numpy()

    used, cfr = pattern.used_subcarriers, first(found.values["cfr"])
    name = model.algorithm.name
    sent = 1.0 if symbols is None else (symbols[0] if symbols.ndim == 2 else symbols).numpy()
    band = None
    if found.error_variance is not None:
        deviation = np.sqrt(first(found.error_variance))
        least, most = np.maximum(np.abs(cfr) - deviation, 0.1 * np.abs(cfr)), np.abs(cfr) + deviation
        band = db_of(least), db_of(most)
    lines = [Series(name, used, db_of(np.abs(cfr)), band=band)]
    phases = [Series(name, used, np.angle(cfr), "dots")]
    if "cfr" in chunk.truth:
        truth = first(chunk.truth["cfr"])
        lines.append(Series("truth", used, db_of(np.abs(truth))))
        phases.append(Series("truth", used, np.angle(truth), "dots"))
    if measurements.n_layers == 1 and not slot:
        at = np.array(pattern.subcarriers)
        lines.append(Series("received", at, db_of(np.abs(first(chunk.observations) / sent)), "dots"))
    charts = [
        Chart("frequency response, with its error's deviation", "subcarrier", "|CFR| (dB)", lines),
        Chart("phase", "subcarrier", "phase (rad)", phases),
    ]
    if "cir" in found.values:
        charts.insert(0, _delay_profile(found, first(found.values["cir"]), measurements, name))
    title = f"{measurements.path.name}: the first of {measurements.n_observations} observations"
    draw_charts(path, title, charts, force, across=3)


def _delay_profile(found: Solution, cir: np.ndarray, measurements: PilotFile, name: str) -> Chart:
    """Powers of the taps that are not far below the strongest, and of the paths, in dB over microseconds."""
    unit, per_sample = delay_unit(measurements.sample_rate_hz)
    power = db_of(np.abs(cir))
    base = float(power.max()) - DEPTH_DB
    delays = (found.first_tap_samples + found.tap_spacing_samples * np.arange(len(cir))) * per_sample
    seen = power > base
    series = [Series(f"{name}, taps", delays[seen], power[seen], "dots")]
    if found.paths is not None and int(found.paths.count.flatten()[0]):
        paths = found.paths
        n = int(paths.count.flatten()[0])
        at = paths.delays_samples.reshape(-1, paths.delays_samples.shape[-1])[0, :n].numpy() * per_sample
        gains = paths.gains.reshape(-1, paths.gains.shape[-1])[0, :n].abs().numpy()
        heights = np.maximum(db_of(gains), base)
        series.append(Series(f"{n} path{'s' * (n != 1)}", at, heights, "stems", base=base))
    return Chart("power delay profile", f"delay ({unit})", "power (dB)", series)
