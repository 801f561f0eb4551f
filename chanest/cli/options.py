"""What several commands share: options, and from options to devices and problems."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer

from ..algorithms import ALGORITHMS, INTERPOLATORS
from ..errors import ChanestError, DeviceError, FileError
from ..evaluation.plots import check_plot_path
from ..files import refuse_existing
from ..problems import GRID_NAMES, Problem, load_scenario, not_none, ofdm, scenario_names

DEFAULT_ALGORITHM = "na-alista"
RECEIVED_ALGORITHM = "na-sbl"
MOST_SAMPLES, MOST_ITERATIONS = 10_000_000, 10_000
LEARNED = [name for name, cls in ALGORITHMS.items() if cls.learned]
SIZES = {"n_pilots": "--pilots", "n_measurements": "--measurements", "n_coefficients": "--coefficients"}


ScenarioOption = Annotated[
    str | None,
    typer.Option("--scenario", help=f"{', '.join(scenario_names())}, or a .toml file.", show_default="lte10"),
]
PilotsOption = Annotated[int | None, typer.Option("--pilots", help="Number of pilot subcarriers.")]
GridOption = Annotated[str | None, typer.Option("--grid", help=f"{GRID_NAMES}.", show_default="the scenario's")]
MeasurementsOption = Annotated[int | None, typer.Option("--measurements", help="M of the synthetic setting.")]
CoefficientsOption = Annotated[int | None, typer.Option("--coefficients", help="N of the synthetic setting.")]
SnrOption = Annotated[float | None, typer.Option("--snr", help="SNR in dB, in the scenario's convention.")]
SamplesOption = Annotated[int, typer.Option("--samples", help="Channels to simulate, 1...10,000,000.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of pilots, channels and noise.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
DaskOption = Annotated[
    str | None, typer.Option("--dask", help="Measure on Dask: HOST:PORT, or local[:WORKERS].", show_default="here")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue what was interrupted.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a file that exists.")]
AlgorithmOption = Annotated[
    str | None,
    typer.Option("--algorithm", help=f"{', '.join((*ALGORITHMS, *INTERPOLATORS))}.", show_default=DEFAULT_ALGORITHM),
]
LearnedOption = Annotated[
    str | None, typer.Option("--algorithm", help=f"{', '.join(LEARNED)}.", show_default=DEFAULT_ALGORITHM)
]


def chosen_device(name: str) -> torch.device:
    """The torch device a user named.

    Raises:
        DeviceError: unknown, or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, index = name.partition(":")
    if kind != "cuda" or (":" in name and not index.isdigit()):
        raise DeviceError(f"expected auto, cpu, cuda or cuda:N, got {name}", field="--device")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:
        found = f"{count} CUDA device{'s' * (count != 1)}" if count else "no CUDA device"
        raise DeviceError(f"{name} asked for, found {found}; use --device cpu", field="--device")
    return torch.device("cuda", int(index or 0))


def chosen_problem(
    scenario: str | None,
    pilots: int | None = None,
    snr: float | None = None,
    measurements: int | None = None,
    coefficients: int | None = None,
    grid: str | None = None,
) -> Problem:
    """A scenario with the command line's overrides.

    Raises:
        ScenarioError: no such scenario, or an option out of range.
        ChanestError: an option of the other setting.
    """
    problem = load_scenario(scenario or ("lte10" if grid is None else "wide"))
    if grid is not None:
        with naming_options({"grid": "--grid"}):
            problem = ofdm(problem).on(grid)
    fields = not_none(n_pilots=pilots, n_measurements=measurements, n_coefficients=coefficients)
    for name in fields:
        if name not in problem.size_fields:
            raise ChanestError(
                f"scenario {problem.name} has {' and '.join(SIZES[own] for own in problem.size_fields)}",
                field=SIZES[name],
            )
    fields |= not_none(snr_db=snr)
    with naming_options({**SIZES, "snr_db": "--snr"}):
        return problem.replace(**fields) if fields else problem


@contextmanager
def naming_options(options: Mapping[str, str]) -> Iterator[None]:
    """Let an error about a field of the given names speak of the option that set it."""
    try:
        yield
    except ChanestError as error:
        if error.field is not None and error.field in options:
            raise error.at(field=options[error.field], path=None) from None
        raise


def check_samples(samples: int, seed: int) -> None:
    """Raise ChanestError when --samples or --seed is out of range."""
    check_number("--samples", samples, MOST_SAMPLES)
    check_seed(seed)


def check_number(option: str, value: int | None, most: int) -> None:
    """Raise ChanestError when the whole number of an option is below 1 or too large; it may be left out."""
    if value is not None and not 1 <= value <= most:
        raise ChanestError(f"expected 1...{most}, got {value}", field=option)


def check_sweep_output(output: Path, plots: Sequence[Path], resume: bool, force: bool) -> None:
    """Raise FileError unless a sweep can write its CSV, and the plots beside it."""
    if output.suffix != ".csv":
        raise FileError(f"expected a file ending in .csv, got {output}", field="--output")
    if not resume:
        refuse_existing(output, force)
        for plot in plots:
            check_plot_path(plot, force)
    if not output.parent.is_dir():
        raise FileError(f"no folder {output.parent}", path=output)


def check_seed(seed: int) -> None:
    """Raise ChanestError when --seed is out of range."""
    if not 0 <= seed < 2**63:
        raise ChanestError(f"expected 0...2^63 - 1, got {seed}", field="--seed")


def check_distinct(**paths: Path | None) -> None:
    """Raise ChanestError when two options name the same file."""
    seen: dict[Path, str] = {}
    for name, path in paths.items():
        if path is None:
            continue
        if path.resolve() in seen:
            raise ChanestError(f"{path} is the file of --{seen[path.resolve()]} too; name another", field=f"--{name}")
        seen[path.resolve()] = name
