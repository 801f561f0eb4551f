"""``chanest simulate``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from ..files.arrays import check_output
from ..files.measurements import write_simulation
from ..files.vectors import write_vectors
from ..problems.gaussian import SyntheticScenario
from ..problems.ofdm.draw import Simulation, draw_pattern, simulate
from ..problems.vectors import Vectors, draw_matrix, simulate_vectors
from .common import Bar, Setting, check_samples, chosen_setting, progress_bar

_Block = TypeVar("_Block", Simulation, Vectors)


def run(output: Path, setting: Setting, samples: int, seed: int, force: bool) -> None:
    """Write a file of simulated received pilots, or of measurements in the synthetic setting."""
    check_samples(samples, seed)
    check_output(output, force)
    chosen = chosen_setting(setting)
    with progress_bar("simulating", samples) as bar:
        if isinstance(chosen, SyntheticScenario):
            phi = draw_matrix(chosen, seed)
            vectors = _counted(simulate_vectors(chosen, phi, samples, seed), bar)
            write_vectors(output, chosen, phi, vectors, samples, seed, force)
            what = f"{chosen.n_measurements} measurements of {chosen.n_coefficients} coefficients, {chosen.name}"
            convention = "SNR"
        else:
            pattern = draw_pattern(chosen, seed)
            blocks = _counted(simulate(chosen, pattern, samples, seed), bar)
            write_simulation(output, chosen, pattern, blocks, samples, seed, force)
            what = f"{len(pattern)} pilots, {chosen.name}"
            convention = f"{chosen.snr_convention} SNR"
    print(f"wrote {output}: {samples} observations of {what}, {chosen.snr_db:g} dB ({convention}), truth included")


def _counted(blocks: Iterator[_Block], bar: Bar) -> Iterator[_Block]:
    for block in blocks:
        yield block
        bar.advance(len(block))
