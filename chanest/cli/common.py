"""What several commands share: devices, scenarios with overrides, progress bars."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import AlgorithmError, ChanestError, DeviceError
from ..problems.gaussian import SyntheticScenario
from ..problems.load import AnyScenario, load_any_scenario, ofdm
from ..problems.ofdm.scenario import Scenario

DEFAULT_ALGORITHM = "na-alista"
MOST_SAMPLES, MOST_ITERATIONS = 10_000_000, 10_000


def console() -> Console:
    """Where tables go: as wide as the terminal, 120 columns in a pipe."""
    return Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False, emoji=False)


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


@dataclass(frozen=True)
class Setting:
    """What the options say of the scenario: its name and overrides."""

    scenario: str | None
    pilots: int | None
    snr: float | None
    measurements: int | None = None
    coefficients: int | None = None


def chosen_setting(asked: Setting) -> AnyScenario:
    """A scenario of either setting with the command line's overrides.

    Raises:
        ScenarioError: no such scenario, or an option out of range.
        ChanestError: an option of the other setting.
    """
    scenario = load_any_scenario(asked.scenario or "lte10")
    synthetic = isinstance(scenario, SyntheticScenario)
    overrides = {
        "n_pilots": ("--pilots", asked.pilots, not synthetic),
        "n_measurements": ("--measurements", asked.measurements, synthetic),
        "n_coefficients": ("--coefficients", asked.coefficients, synthetic),
        "snr_db": ("--snr", asked.snr, True),
    }
    given = {field: value for field, (_, value, _) in overrides.items() if value is not None}
    for option, value, fits in overrides.values():
        if value is not None and not fits:
            other = "--measurements and --coefficients" if synthetic else "--pilots"
            raise ChanestError(f"scenario {scenario.name} has {other}", field=option)
    with naming_options({field: option for field, (option, _, _) in overrides.items()}):
        return scenario.replace(**given) if given else scenario


def chosen_scenario(name: str, pilots: int | None, snr: float | None) -> Scenario:
    """An OFDM scenario with the command line's overrides.

    Raises:
        ScenarioError: no such scenario, a synthetic one, or an option out of range.
    """
    return ofdm(chosen_setting(Setting(name, pilots, snr)))


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
    if not 1 <= samples <= MOST_SAMPLES:
        raise ChanestError(f"expected 1...{MOST_SAMPLES}, got {samples}", field="--samples")
    check_seed(seed)


def check_seed(seed: int) -> None:
    """Raise ChanestError when --seed is out of range."""
    if not 0 <= seed < 2**63:
        raise ChanestError(f"expected 0...2^63 - 1, got {seed}", field="--seed")


def check_iterations(iterations: int | None) -> None:
    """Raise AlgorithmError when --iterations is out of range."""
    if iterations is not None and not 1 <= iterations <= MOST_ITERATIONS:
        raise AlgorithmError(f"expected 1...{MOST_ITERATIONS}, got {iterations}", field="--iterations")


def check_distinct(**paths: Path | None) -> None:
    """Raise ChanestError when two options name the same file."""
    seen: dict[Path, str] = {}
    for name, path in paths.items():
        if path is None:
            continue
        if path.resolve() in seen:
            raise ChanestError(f"{path} is the file of --{seen[path.resolve()]} too; name another", field=f"--{name}")
        seen[path.resolve()] = name


@contextmanager
def progress_bar(description: str, total: int, shown: bool = True) -> Iterator["Bar"]:
    """A progress bar on a terminal, nothing in a pipe, or where it shall not be shown."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    quiet = not (shown and sys.stderr.isatty())
    with Progress(*columns, console=Console(file=sys.stderr), disable=quiet, transient=True) as progress:
        yield Bar(progress, progress.add_task(description, total=total, note=""))


class Bar:
    """One running bar."""

    def __init__(self, progress: Progress, task: "int") -> None:
        self._progress, self._task = progress, task

    def advance(self, amount: int = 1) -> None:
        """So much more is done."""
        self._progress.advance(self._task, amount)  # type: ignore[arg-type]

    def note(self, note: str) -> None:
        """Say what is being done."""
        self._progress.update(self._task, note=note)  # type: ignore[arg-type]

    def at(self, completed: int, note: str = "") -> None:
        """So much is done in all."""
        self._progress.update(self._task, completed=completed, note=note)  # type: ignore[arg-type]
