"""Sweeps: every point once, on the disk before the next, continued only with the same settings."""

import pytest

from chanest.errors import FileError
from chanest.evaluation.executors import Task
from chanest.evaluation.sweep import Sweep

KEY, COLUMNS = ("x", "y"), ("x", "y", "z", "seed")


def sweep(path, seed=0):
    return Sweep(path, KEY, COLUMNS, {"seed": seed})


def tasks(points, measure):
    return [Task(point, lambda note, point=point: measure(point)) for point in points]


class Backwards:
    """An engine whose points end in the opposite order."""

    def results(self, tasks, note):
        for task in reversed(tasks):
            note(f"{task.point}")
            yield task, list(task.measure(note))


def test_rows_stand_in_the_order_of_the_points_whatever_ends_first(tmp_path):
    points = [(2, 0), (1, 0), (3, 0), (2, 1)]
    made = tasks(points, lambda point: [{"x": point[0], "y": point[1], "z": z} for z in (1, 2)])
    notes = []
    sweep(tmp_path / "here.csv").run(made)
    sweep(tmp_path / "backwards.csv").run(made[1:2])
    sweep(tmp_path / "backwards.csv").run(made, Backwards(), note=notes.append)
    assert (tmp_path / "backwards.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert notes == ["(2, 1)", "(3, 0)", "(2, 0)"]
    sweep(tmp_path / "here.csv").run(tasks([(9, 9), (1, 0)], lambda point: [{"x": point[0], "y": point[1]}]))
    assert [(row["x"], row["y"]) for row in sweep(tmp_path / "here.csv").rows()][-3:] == [("9", "9"), *[("1", "0")] * 2]


def test_an_interrupted_sweep_measures_only_what_is_missing(tmp_path):
    path, measured = tmp_path / "s.csv", []

    def measure(point):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(point)
        return [{"x": point[0], "y": point[1], "z": None}, {"x": point[0], "y": point[1], "z": 0.25}]

    points = [(1, 0.5), (2, 0.5), (1, 1.5)]
    with pytest.raises(KeyboardInterrupt):
        sweep(path).run(tasks(points, measure))
    again = sweep(path)
    assert [again.done(point) for point in points] == [True, True, False]
    rest = []
    seen = []
    left = tasks(points, lambda point: rest.append(point) or [{"x": point[0], "y": point[1]}])
    again.run(left, on_point=lambda: seen.append(len(rest)))
    assert rest == [(1, 1.5)]
    assert seen == [0, 0, 1]
    assert [row["z"] for row in sweep(path).rows()] == ["", "0.25", "", "0.25", ""]
    assert [p.name for p in tmp_path.iterdir()] == ["s.csv"]


def test_what_does_not_fit_is_refused_and_kept(tmp_path):
    path = tmp_path / "s.csv"
    sweep(path).run(tasks([(1, 2)], lambda point: [{"x": 1, "y": 2}]))
    before = path.read_bytes()
    with pytest.raises(FileError, match="seed: made with 0, asked for 1"):
        sweep(path, seed=1)
    with pytest.raises(FileError, match="expected the columns x, y, w"):
        Sweep(path, KEY, ("x", "y", "w"), {})
    assert path.read_bytes() == before
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match=r"s\.csv"):
        sweep(path)
