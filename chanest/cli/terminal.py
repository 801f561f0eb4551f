"""The terminal: tables and progress bars."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


def console() -> Console:
    """Where tables go: as wide as the terminal, 120 columns in a pipe."""
    return Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False, emoji=False)


def show(table: Table) -> None:
    """Print a table; where the terminal is too narrow for it, row by row, a line for each cell.

    >>> show(Table("model", "K"))
    ┏━━━━━━━┳━━━┓
    ┃ model ┃ K ┃
    ┡━━━━━━━╇━━━┩
    └───────┴───┘
    """
    out = console()
    if Measurement.get(out, out.options.update(width=10_000), table).maximum <= out.width:
        out.print(table)
        return
    if table.title:
        out.print(table.title)
    headings = [str(column.header) for column in table.columns]
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        first, *rest = (cell.plain if isinstance(cell, Text) else str(cell) for cell in cells)
        out.print(first, overflow="fold")
        for heading, cell in zip(headings[1:], rest, strict=True):
            if cell:
                out.print(f"  {heading}: {cell}", overflow="fold")


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


@contextmanager
def progress_bars(names: Sequence[str], total: int, shown: bool = True) -> Iterator[Callable[[str, int, str], None]]:
    """A function of a name, how much of it is done, and a note; a bar for each name on a terminal."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")
    quiet = not (shown and sys.stderr.isatty())
    with Progress(*columns, console=Console(file=sys.stderr), disable=quiet, transient=True) as progress:
        bars = {name: Bar(progress, progress.add_task(name, total=total, note="")) for name in names}
        yield lambda name, done, note: bars[name].at(done, note)


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

    def at(self, completed: int, note: str = "", total: int | None = None) -> None:
        """So much is done in all, of another total where one is given."""
        self._progress.update(self._task, completed=completed, total=total, note=note)  # type: ignore[arg-type]
