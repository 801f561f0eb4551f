"""``chanest simulate``."""

from collections.abc import Iterator
from pathlib import Path

from ..arrayfile import check_output
from ..observations import write_simulation
from ..pilots import draw_pattern
from ..signals import Simulation, simulate
from .common import check_samples, chosen_scenario, progress_bar


def run(
    output: Path,
    scenario: str | None,
    pilots: int | None,
    snr: float | None,
    samples: int,
    seed: int,
    force: bool,
) -> None:
    """Write a file of simulated received pilots."""
    check_samples(samples, seed)
    check_output(output, force)
    chosen = chosen_scenario(scenario or "lte10", pilots, snr)
    pattern = draw_pattern(chosen, seed)
    with progress_bar("simulating", samples) as bar:

        def counted() -> Iterator[Simulation]:
            for block in simulate(chosen, pattern, samples, seed):
                yield block
                bar.advance(len(block))

        write_simulation(output, chosen, pattern, counted(), samples, seed, force)
    print(
        f"wrote {output}: {samples} observations of {len(pattern)} pilots, {chosen.name}, "
        f"{chosen.snr_db:g} dB ({chosen.snr_convention} SNR), truth included"
    )
