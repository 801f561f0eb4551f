"""``chanest simulate``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ..files import check_output, write_measurements
from ..problems import Batch
from .options import (
    CoefficientsOption,
    ForceOption,
    GridOption,
    MeasurementsOption,
    PilotsOption,
    SamplesOption,
    ScenarioOption,
    SeedOption,
    SnrOption,
    check_samples,
    chosen_problem,
)
from .terminal import Bar, progress_bar


def simulate(
    output: Annotated[Path, typer.Option(help="File to write: .h5, .npz, .mat.")],
    scenario: ScenarioOption = None,
    pilots: PilotsOption = None,
    snr: SnrOption = None,
    measurements: MeasurementsOption = None,
    coefficients: CoefficientsOption = None,
    grid: GridOption = None,
    samples: SamplesOption = 1000,
    seed: SeedOption = 0,
    force: ForceOption = False,
) -> None:
    """Write a file of received pilots, with the true channels beside them.

    \b
    chanest simulate --output pilots.h5 --pilots 75 --snr 10 --samples 1000
    chanest simulate --output nr.h5 --grid nr-106-30 --pilots 128
    chanest simulate --output vectors.h5 --scenario synthetic
    """
    check_samples(samples, seed)
    check_output(output, force)
    problem = chosen_problem(scenario, pilots, snr, measurements, coefficients, grid)
    sensing = problem.sensing(seed)
    with progress_bar("simulating", samples) as bar:
        blocks = _counted(problem.simulate(sensing, samples, seed), bar)
        write_measurements(output, problem, sensing, blocks, samples, seed, force)
    convention = f"{problem.noise_convention} SNR".strip()
    distinct = problem.facts(sensing)["n_distinct_pilots"]
    size = f"{distinct} pilots" if distinct else problem.size
    print(
        f"wrote {output}: {samples} observations of {size}, {problem.name}, {problem.snr_db:g} dB ({convention}), "
        "truth included"
    )


def _counted(blocks: Iterator[Batch], bar: Bar) -> Iterator[Batch]:
    for block in blocks:
        yield block
        bar.advance(len(block))
