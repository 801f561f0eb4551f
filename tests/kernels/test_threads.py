"""Threads follow the work and the machine: quotas, other programs, small work; what was set before is set again."""

import threading
import time

import pytest
import torch

from chanest import kernels, load_model
from chanest.kernels import cores, threads

STAT = """cpu  9 9 9 9 9 9 9 9 0 0
cpu0 100 50 20 1000 5 1 2 7 0 0
cpu1 200 0 40 900 0 0 0 0 0 0
cpu2 999 0 0 0 0 0 0 0 0 0
cpu3 999 0 0 0 0 0 0 0 0 0
procs_running 5
"""


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def machine(monkeypatch):
    """A function that says how many cores are allowed and idle."""

    def of(allowed: int, idle: int) -> None:
        monkeypatch.setattr(threads, "allowed_cores", lambda: allowed)
        monkeypatch.setattr(threads, "idle_cores", lambda most: min(most, idle))

    return of


def test_busy_seconds_are_those_of_our_cores_without_what_gives_way(tmp_path):
    (tmp_path / "stat").write_text(STAT)
    n, seconds, others = cores._busy({0, 1, 7}, tmp_path / "stat")
    assert n == 2
    assert seconds == pytest.approx((130 + 240) / cores.os.sysconf("SC_CLK_TCK"))
    assert others == 2.0  # four besides this one, of which half are expected here
    assert cores._busy({0}, tmp_path / "nothing") is None
    assert cores._busy({9}, tmp_path / "stat") is None


def watched(monkeypatch, seen):
    """A watch that sees one after the other of (clock, busy seconds, own seconds, waiting threads) on four cores."""
    monkeypatch.setattr(cores.time, "monotonic", lambda: seen[0][0])
    monkeypatch.setattr(cores.time, "process_time", lambda: seen[0][2])
    monkeypatch.setattr(cores, "_busy", lambda own: (4, seen[0][1], seen[0][3]))
    watch = cores._Watch()
    while seen:
        yield watch.idle(4)
        seen.pop(0)


def test_idle_cores_are_what_others_leave(monkeypatch):
    seen = [
        (100.0, 50.0, 1.0, 3.0),  # the first look: three others run now
        (100.02, 50.1, 1.1, 0.0),  # too soon for another
        (100.5, 51.5, 2.5, 9.0),  # all that was busy is our own
        (101.0, 53.0, 3.0, 0.0),  # others had two cores
        (101.5, 55.0, 3.0, 0.0),  # and all of them
        (102.0, 55.1, 3.0, 0.0),  # and a fifth of one
        (200.0, 99.0, 3.0, 0.0),  # long after: nobody else now
    ]
    assert list(watched(monkeypatch, seen)) == [1, 1, 4, 2, 1, 4, 4]


@pytest.mark.parametrize(
    ("files", "listed", "cores_given"),
    [
        ({"a/b/cpu.max": "250000 100000", "a/cpu.max": "max 100000"}, "0::/a/b", 2),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "100000 100000"}, "0::/a/b", 1),
        ({"cpu.max": "50000 100000"}, "0::/", 1),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, "5:cpu,cpuacct:/elsewhere", 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "5:cpu:/\n3:memory:/a", 64),
        ({"cpu.max": "what is this"}, "0::/", 64),
        ({}, "", 64),
    ],
)
def test_quotas_of_containers(tmp_path, monkeypatch, files, listed, cores_given):
    monkeypatch.setattr(cores.os, "cpu_count", lambda: 64)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "own").write_text(listed + "\n" if listed else "")
    assert cores._quota.__wrapped__(tmp_path, tmp_path / "own") == cores_given


def test_a_system_that_tells_nothing_counts_as_idle(monkeypatch, tmp_path):
    monkeypatch.setattr(cores, "_busy", lambda own: None)
    assert cores._Watch().idle(3) == 3
    monkeypatch.setattr(cores.os, "cpu_count", lambda: 7)
    assert cores._quota.__wrapped__(tmp_path, tmp_path / "nothing") == 7


@pytest.mark.parametrize(
    ("allowed", "idle", "work", "in_torch", "in_loops"),
    [(8, 8, 10**6, 4, 4), (2, 8, 10**6, 2, 2), (8, 3, 10**6, 3, 4), (8, 1, 10**6, 1, 4), (8, 8, 1000, 1, 1)],
)
def test_threads_follow_the_work_and_the_machine(four_threads, machine, allowed, idle, work, in_torch, in_loops):
    machine(allowed, idle)
    with kernels.following(work):
        assert (torch.get_num_threads(), kernels.n_threads()) == (in_torch, in_loops)
        with kernels.following(1):  # inside, nothing changes
            assert (torch.get_num_threads(), kernels.n_threads()) == (in_torch, in_loops)
    assert (torch.get_num_threads(), kernels.n_threads()) == (4, 4)
    with pytest.raises(KeyError), kernels.following(work):
        raise KeyError
    assert (torch.get_num_threads(), kernels.n_threads()) == (4, 4)


def test_two_that_estimate_at_once_share_the_cores(four_threads, machine):
    machine(4, 4)
    inside, seen = threading.Barrier(2), []

    def estimate() -> None:
        torch.set_num_threads(4)
        inside.wait()
        with kernels.following(10**6):
            seen.append(torch.get_num_threads())
            inside.wait()

    both = [threading.Thread(target=estimate) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert sorted(seen) == [2, 4]


@pytest.mark.parametrize("long", [False, True])
def test_every_row_is_done_once_where_torch_has_one_thread(four_threads, machine, monkeypatch, long):
    """Short parts all here; long ones in a pool too."""
    machine(4, 1)
    monkeypatch.setattr(threads, "TURN_S", 0.0 if long else 1e9)
    done, used = [], set()

    def run(start: int, end: int) -> None:
        time.sleep(2e-3)
        used.add(threading.get_ident())
        done.extend(range(start, end))

    with kernels.following(10**6):
        kernels.over_rows(run, 301, kernels.n_threads())
    assert sorted(done) == list(range(301))
    assert (len(used) > 1) == long


def test_estimates_are_the_same_on_any_number_of_threads(four_threads, machine):
    model = load_model("na-alista-lte10-m75")
    pattern = model.scenario.sensing(0)
    received = model.scenario.draw(pattern, 70, 0).observations
    found = []
    for idle in (4, 1):
        machine(4, idle)
        found.append(model.estimate(received, pattern).cfr)
    torch.set_num_threads(1)
    found.append(model.estimate(received, pattern).cfr)
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[0], found[2], rtol=1e-5, atol=1e-5)
