"""Sweeps over Dask: the local run's CSV, whatever ends first, whoever dies."""

import csv
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from chanest.errors import ChanestError, FileError
from chanest.evaluation import executors
from chanest.evaluation.executors import Task, executor
from chanest.evaluation.sweep import Sweep

distributed = pytest.importorskip("distributed")

TIMES = ("seconds_per_estimate", "seconds")
COMPARE = ["--scenarios", "lte10,etu", "--pilots", "40,75", "--snr", "0:20:20", "--algorithms", "linear,omp"]


@pytest.fixture(scope="module")
def cluster():
    """Two workers of one thread."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address="localhost:0", silence_logs="CRITICAL"
    ) as made:
        yield made


@pytest.fixture
def on_dask(cluster):
    with executor(cluster.scheduler_address) as made:
        yield made


def without_times(path):
    rows = list(csv.reader(Path(path).read_text().splitlines()))
    kept = [i for i, name in enumerate(rows[0]) if name not in TIMES]
    return [[row[i] for i in kept] for row in rows]


def assert_refused(ran, *said):
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    for words in said:
        assert words in ran.err


# the executor -------------------------------------------------------------------------------------------------


def begins(folder, x, seconds, note):
    """A point that says who measures it, and since when."""
    note("begun")
    mark = folder / f"{x}-{os.getpid()}"
    mark.touch()
    time.sleep(seconds)
    mark.rename(folder / f"{x}-done")
    return [{"x": x, "threads": torch.get_num_threads()}]


def needs(folder, x, note):
    """A point that stands on the one before."""
    if x:
        assert (folder / f"{x - 1}").exists()
    time.sleep(0.2 if x < 2 else 0)
    (folder / f"{x}").touch()
    return [{"x": x}]


def breaks(folder, error, times, note):
    """A point that goes wrong so many times."""
    tries = len(list(folder.iterdir()))
    (folder / f"try-{tries}").touch()
    if tries < times:
        raise error("no such luck")
    return [{"x": 0}]


def dies(note):
    os.kill(os.getpid(), signal.SIGKILL)


def swept(path, tasks, where, columns=("x", "threads")):
    sweep = Sweep(path, ("x",), columns, {})
    sweep.run(tasks, where)
    return sweep.rows()


def test_a_killed_worker_loses_no_point(tmp_path, on_dask):
    marks = tmp_path / "marks"
    marks.mkdir()
    tasks = [Task((x,), partial(begins, marks, x, 0.4)) for x in range(12)]
    killed = []

    def kill():
        while not killed:
            for mark in marks.glob("3-*[0-9]"):
                killed.append(int(mark.name.split("-")[1]))
                os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    rows = swept(tmp_path / "s.csv", tasks, on_dask)
    killer.join()
    assert rows == [{"x": str(x), "threads": "1"} for x in range(12)]
    assert (marks / f"3-{killed[0]}").exists()  # it was in the middle of that point
    assert (marks / "3-done").exists()


def test_a_point_waits_for_the_one_it_comes_after(tmp_path, on_dask):
    tasks = [Task((x,), partial(needs, tmp_path, x), (x - 1,) if x else None) for x in range(5)]
    assert [row["x"] for row in swept(tmp_path / "s.csv", tasks, on_dask, ("x",))] == list("01234")
    (tmp_path / "s.csv").write_text("x\n0\n1\n")
    assert [row["x"] for row in swept(tmp_path / "s.csv", tasks, on_dask, ("x",))] == list("01234")


@pytest.mark.parametrize(("error", "tries"), [(OSError, 3), (FileError, 1)])
def test_what_broke_is_tried_again_and_a_mistake_is_not(tmp_path, on_dask, error, tries):
    folder = tmp_path / "tries"
    folder.mkdir()
    tasks = [Task((0,), partial(breaks, folder, error, 2))]
    if error is OSError:
        assert swept(tmp_path / "s.csv", tasks, on_dask, ("x",)) == [{"x": "0"}]
    else:
        with pytest.raises(FileError, match="no such luck"):
            swept(tmp_path / "s.csv", tasks, on_dask, ("x",))
    assert len(list(folder.iterdir())) == tries


@pytest.mark.slow
def test_a_point_that_kills_every_worker_is_named(monkeypatch):
    monkeypatch.setattr(executors, "_RETRIES", 1)
    with executor("local:1") as where, pytest.raises(ChanestError, match=r"--dask: point 7: its worker died 2 times"):
        list(where.results([Task((7,), dies)], print))


def test_addresses_that_lead_nowhere(monkeypatch):
    monkeypatch.setattr(executors, "_SECONDS_FOR_A_WORKER", 0.2)
    with monkeypatch.context() as hurried:
        hurried.setattr(executors, "_SECONDS_TO_CONNECT", 1)
        for address in ("127.0.0.1:1", "nonsense", "ftp://127.0.0.1:1"):
            with (
                pytest.raises(ChanestError, match=f"--dask: no scheduler answers at {address}; start one with"),
                executor(address),
            ):
                pass
    with pytest.raises(ChanestError, match=r"--dask: expected 1\.\.\.1000 workers, got local:0"), executor("local:0"):
        pass
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address="localhost:0", silence_logs="CRITICAL") as empty,
        pytest.raises(ChanestError, match=r"has no worker; start some with `dask worker tcp://"),
        executor(empty.scheduler_address),
    ):
        pass


# the commands -----------------------------------------------------------------------------------------------


def test_compare_over_dask_gives_the_local_csv(tmp_path, monkeypatch, chanest, cluster):
    monkeypatch.chdir(tmp_path)
    options = ["compare", *COMPARE, "--samples", "64", "--output"]
    assert chanest(*options, "here.csv").code == 0
    there = ("--dask", cluster.scheduler_address)
    ran = chanest(*options, "dask.csv", *there)
    assert (ran.code, ran.err) == (0, "")
    assert without_times("dask.csv") == without_times("here.csv")
    rows = Path("here.csv").read_text().splitlines(keepends=True)
    Path("cut.csv").write_text("".join([rows[0], *rows[9:13], *rows[1:5]]))
    assert chanest(*options, "cut.csv", "--resume", *there).code == 0
    assert without_times("cut.csv") == without_times("here.csv")


@pytest.mark.slow
def test_reproduce_over_dask_gives_the_local_csv(tmp_path, chanest, cluster):
    options = ["reproduce", 10, "--algorithms", "alista,fista", "--iterations", "1,2", "--samples", 64]
    options += ["--budget", 1e-6]  # minutes: every training takes the fewest steps
    for name, more in (("here", ()), ("dask", ("--dask", cluster.scheduler_address))):
        ran = chanest(*options, "--output", tmp_path / name, *more)
        assert (ran.code, ran.err) == (0, "")
    here, there = (tmp_path / name for name in ("here", "dask"))
    found = without_times(there / "figure10.csv")
    assert found == without_times(here / "figure10.csv")
    warm = found[0].index("warm_start")
    assert [row[warm] for row in found[1:]] == ["", "1", "", ""]
    assert {p.name for p in (there / "models").iterdir()} == {p.name for p in (here / "models").iterdir()}


@pytest.mark.slow
def test_link_over_dask_gives_the_local_csv(tmp_path, monkeypatch, chanest, cluster):
    pytest.importorskip("sionna")
    monkeypatch.chdir(tmp_path)
    options = ["link", "--symbols", "1", "--slots", "32", "--algorithms", "perfect,linear", "--ebno", "4,8,12"]
    assert chanest(*options, "--output", "here.csv").code == 0
    ran = chanest(*options, "--output", "dask.csv", "--dask", cluster.scheduler_address)
    assert (ran.code, ran.err) == (0, "")
    assert Path("dask.csv").read_bytes() == Path("here.csv").read_bytes()


def test_a_cluster_of_this_machine(tmp_path, chanest):
    options = ["--scenarios", "etu", "--algorithms", "linear", "--snr", "0:20:10", "--samples", 16]
    ran = chanest("compare", *options, "--dask", "local:1", "--output", tmp_path / "x.csv")
    assert (ran.code, ran.err) == (0, "")
    assert len(without_times(tmp_path / "x.csv")) == 1 + 3 * 3


@pytest.mark.parametrize("command", ["compare", "reproduce", "link"])
def test_without_dask_the_extra_is_named_and_nothing_changes(tmp_path, monkeypatch, chanest, command):
    if command == "link":
        pytest.importorskip("sionna")
    monkeypatch.setitem(sys.modules, "distributed", None)
    output = tmp_path / ("figure10.csv" if command == "reproduce" else "x.csv")
    output.write_text("precious")
    options = [10, "--output", tmp_path] if command == "reproduce" else ["--output", output]
    ran = chanest(command, *options, "--force", "--dask", "local")
    assert_refused(ran, "--dask: distributed is not installed; pip install 'chanest[dask]'")
    assert output.read_text() == "precious"


def test_what_dask_cannot_do_is_one_line(tmp_path, monkeypatch, chanest):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(executors, "_SECONDS_TO_CONNECT", 1)
    assert_refused(
        chanest("compare", "--dask", "127.0.0.1:1", "--output", "x.csv"), "no scheduler answers at 127.0.0.1:1"
    )
    assert_refused(chanest("reproduce", "9", "--dask", "local"), "--dask: figure 9 is no sweep; leave it out")
    assert not list(tmp_path.glob("x.*"))
