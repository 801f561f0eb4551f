"""Sweeps: every point once, on the disk before the next, continued only with the same settings."""

import pytest

from chanest.errors import FileError
from chanest.sweeps import Sweep

KEY, COLUMNS = ("x", "y"), ("x", "y", "z", "seed")


def sweep(path, seed=0):
    return Sweep(path, KEY, COLUMNS, {"seed": seed})


def test_an_interrupted_sweep_measures_only_what_is_missing(tmp_path):
    path, measured = tmp_path / "s.csv", []

    def measure(point):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(point)
        return [{"x": point[0], "y": point[1], "z": None}, {"x": point[0], "y": point[1], "z": 0.25}]

    points = [(1, 0.5), (2, 0.5), (1, 1.5)]
    with pytest.raises(KeyboardInterrupt):
        sweep(path).run(points, measure)
    again = sweep(path)
    assert [again.done(point) for point in points] == [True, True, False]
    rest = []
    seen = []
    again.run(points, lambda point: rest.append(point) or [{"x": point[0], "y": point[1]}], seen.append)
    assert rest == [(1, 1.5)]
    assert seen == points
    assert [row["z"] for row in sweep(path).rows()] == ["", "0.25", "", "0.25", ""]
    assert [p.name for p in tmp_path.iterdir()] == ["s.csv"]


def test_what_does_not_fit_is_refused_and_kept(tmp_path):
    path = tmp_path / "s.csv"
    sweep(path).run([(1, 2)], lambda point: [{"x": 1, "y": 2}])
    before = path.read_bytes()
    with pytest.raises(FileError, match="seed: made with 0, asked for 1"):
        sweep(path, seed=1)
    with pytest.raises(FileError, match="expected the columns x, y, w"):
        Sweep(path, KEY, ("x", "y", "w"), {})
    assert path.read_bytes() == before
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match=r"s\.csv"):
        sweep(path)
