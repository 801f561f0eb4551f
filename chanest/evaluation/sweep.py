"""Grids of points, each measured once: rows in a CSV that an interrupted sweep continues."""

import csv
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from ..errors import FileError
from ..files.atomic import text, write_csv
from .executors import Executor, LocalExecutor, Note, Task


class Sweep:
    """A CSV of measured points. A point is a tuple of the key columns; its rows are written together.

    Args:
        path: the CSV.
        key: columns that tell points apart.
        columns: all columns, the key first.
        settings: columns that must be the same in every row; a file with others is not continued.
        anew: remove a file that is there, instead of continuing it.
        numbers: columns of finite numbers.
        numbers_or_nothing: those that may be empty.

    Raises:
        FileError: the file is no CSV of such a sweep, or was made with other settings.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "points.csv"
    >>> sweep = Sweep(path, ("x",), ("x", "square"), {})
    >>> sweep.run([Task((x,), lambda note, x=x: [{"x": x, "square": x**2}]) for x in (2, 3)])
    >>> Sweep(path, ("x",), ("x", "square"), {}).rows()
    [{'x': '2', 'square': '4'}, {'x': '3', 'square': '9'}]
    """

    def __init__(
        self,
        path: Path,
        key: Sequence[str],
        columns: Sequence[str],
        settings: Mapping[str, object],
        anew: bool = False,
        numbers: Collection[str] = (),
        numbers_or_nothing: Collection[str] = (),
    ) -> None:
        self._numbers, self._or_nothing = tuple(numbers), tuple(numbers_or_nothing)
        self.path, self.key, self.columns = path, tuple(key), tuple(columns)
        self.settings = {name: text(value) for name, value in settings.items()}
        if anew:
            path.unlink(missing_ok=True)
        self._rows = self._read() if path.exists() else []

    def rows(self) -> list[dict[str, str]]:
        """All rows so far, values as text."""
        return list(self._rows)

    def done(self, point: Sequence[object]) -> bool:
        """Whether a point was measured."""
        return tuple(map(text, point)) in map(self._point, self._rows)

    def run(
        self,
        tasks: Sequence[Task],
        executor: Executor | None = None,
        on_point: Callable[[], None] | None = None,
        note: Note | None = None,
    ) -> None:
        """Measure the points that are not done; rows are on the disk as soon as they are there, in the tasks' order.

        Args:
            tasks: the points; a point stands behind the one that it comes after.
            executor: where to measure; in this process when not given.
            on_point: called for every point once it is done, those done before too.
            note: takes a word about what is being done.
        """
        place = {tuple(map(text, task.point)): i for i, task in enumerate(tasks)}
        done = {self._point(row) for row in self._rows}
        left = [task for task in tasks if tuple(map(text, task.point)) not in done]
        on_point = on_point or (lambda: None)
        for _ in range(len(tasks) - len(left)):
            on_point()
        for _, rows in (executor or LocalExecutor()).results(left, note or (lambda _: None)):
            self._rows += [
                {name: text(self.settings.get(name, row.get(name))) for name in self.columns} for row in rows
            ]
            self._rows.sort(key=lambda row: place.get(self._point(row), -1))
            write_csv(self.path, self.columns, self._rows)
            on_point()

    def _point(self, row: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(row[name] for name in self.key)

    def _read(self) -> list[dict[str, str]]:
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                found = tuple(reader.fieldnames or ())
                rows = list(reader)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise FileError(f"cannot be read as CSV ({error})", path=self.path) from None
        if found != self.columns:
            raise FileError(f"expected the columns {', '.join(self.columns)}; continue another file", path=self.path)
        for index, row in enumerate(rows):
            if None in row or None in row.values():
                raise FileError(f"expected {len(found)} cells", path=self.path, field="row", index=(index + 1,))
            for name in (*self._numbers, *self._or_nothing):
                if not _is_number(row[name]) and (row[name] or name in self._numbers):
                    raise FileError(
                        f"expected a number, found {row[name]!r:.40}", path=self.path, field=name, index=(index + 1,)
                    )
            for name, value in self.settings.items():
                if row[name] != value:
                    raise FileError(
                        f"made with {row[name]}, asked for {value}; "
                        "repeat the command that began it, or give --force to start anew",
                        path=self.path,
                        field=name,
                    )
        return rows


def _is_number(said: str) -> bool:
    try:
        return math.isfinite(float(said))
    except ValueError:
        return False
