"""How a command ends: signals, full disks, closed streams, names of any bytes, two writers; one line, nothing left."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from child import COMMAND_LINE, ROOT
from conftest import assert_refused, contents, write_arrays
from small_gaussian import SMALL, TRAINING, alista

from chanest.errors import FileError
from chanest.files import ArrayWriter
from chanest.models import write_model
from chanest.training import train

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def started(folder, *arguments, before="", **options):
    command = [sys.executable, "-c", before + COMMAND_LINE, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, **pipes)


def ended(folder, *arguments, **options):
    process = started(folder, *arguments, **options)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


TRAIN = ("train", "--algorithm", "alista", "--steps", "100000", "--batch", "64", "--output", "m.h5")
ESTIMATE = ("estimate", "--algorithm", "ista", "--only", "--samples", "2000000", "--output", "e.h5")


SIGNALS = {"SIGTERM": b"terminated", "SIGHUP": b"hung up", "SIGINT": b"interrupted"}


def stopped(folder, name, command, until):
    """A command that gets a signal once a file is there."""
    number = getattr(signal, name)
    process = started(folder, *command, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    waited = time.monotonic() + 100
    while not (folder / until).exists() and time.monotonic() < waited and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (128 + number, b"", b"chanest: error: " + SIGNALS[name] + b"\n")


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize(
    "name", ["SIGTERM", pytest.param("SIGHUP", marks=pytest.mark.slow), pytest.param("SIGINT", marks=pytest.mark.slow)]
)
def test_a_signal_to_a_training_leaves_its_checkpoint(tmp_path, name):
    stopped(tmp_path, name, TRAIN, "m.h5.checkpoint")
    assert list(contents(tmp_path)) == ["m.h5.checkpoint"]


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize(
    "name", ["SIGHUP", pytest.param("SIGTERM", marks=pytest.mark.slow), pytest.param("SIGINT", marks=pytest.mark.slow)]
)
def test_a_signal_to_an_estimate_leaves_nothing(tmp_path, name):
    stopped(tmp_path, name, ESTIMATE, ".e.h5.partial")
    assert contents(tmp_path) == {}


def test_a_signal_that_a_library_swallows_is_no_traceback(chanest, monkeypatch):
    from chanest.cli import app

    def swallows(self, context):
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        raise ImportError("cannot load module more than once per process")

    monkeypatch.setattr(app._Commands, "invoke", swallows)
    ended = chanest("models")
    assert (ended.code, ended.err) == (143, "chanest: error: terminated\n")


def test_a_signal_waits_for_imports():
    from chanest.cli.app import _signals_waiting

    seen, before = [], signal.signal(signal.SIGTERM, lambda *_: seen.append("signal"))
    try:
        with _signals_waiting():
            signal.raise_signal(signal.SIGTERM)
            seen.append("import")
        assert seen == ["import", "signal"]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def disk_of(chanest, monkeypatch, tmp_path):
    """A function that runs a command where no file may grow beyond a size."""
    resource = pytest.importorskip("resource")
    monkeypatch.chdir(tmp_path)

    def run(size, *arguments):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            return chanest(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return run


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".mat", ".png"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, disk_of, suffix):
    option = "--plot" if suffix == ".png" else "--output"
    command = ("estimate", "--algorithm", "ista", "--only", "--samples", "64", option, f"e{suffix}")
    for size in (0, 5000, 20_000):
        assert_refused(disk_of(size, *command), f"e{suffix}: cannot be written (File too large)")
        assert contents(tmp_path) == {}


def test_training_on_a_full_disk_is_one_line(tmp_path, disk_of):
    """HDF5 crashed where it could not write."""
    command = ("train", "--algorithm", "alista", "--steps", "4", "--batch", "16", "--output", "m.h5")
    for size in (0, 10_000):
        assert_refused(disk_of(size, *command), "m.h5.checkpoint: cannot be written (File too large)")
        assert contents(tmp_path) == {}


def test_a_disk_that_fills_at_the_end_of_a_training_keeps_its_checkpoint(tmp_path, monkeypatch):
    resource, before, written = pytest.importorskip("resource"), [], []

    def fails_at_the_end(path, *arguments):
        if path.name == "m.h5":
            before.append(resource.getrlimit(resource.RLIMIT_FSIZE))
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[0][1]))
        write_model(path, *arguments)
        written.append(path.read_bytes())

    monkeypatch.setattr("chanest.training.trainer.write_model", fails_at_the_end)
    try:
        with pytest.raises(FileError, match=r"m\.h5: cannot be written \(File too large\)"):
            train(alista(), SMALL, TRAINING, tmp_path / "m.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[0])
    assert contents(tmp_path) == {"m.h5.checkpoint": written[-1]}


@pytest.mark.parametrize("closed", [(1,), pytest.param((2,), marks=pytest.mark.slow), (0, 1, 2)])
def test_closed_streams_are_no_traceback(tmp_path, closed):
    before = "import os\n" + "".join(f"os.close({number})\n" for number in closed)
    code, _, err = ended(tmp_path, "scenarios", before=before)
    assert (code, err) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_stdout_is_one_line(tmp_path):
    with open("/dev/full", "w") as full:
        code, _, err = ended(tmp_path, "scenarios", stdout=full)
    assert (code, err) == (2, b"chanest: error: [Errno 28] No space left on device\n")


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes")
def test_file_names_may_be_any_bytes(tmp_path, pilot_arrays, chanest, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"pilots \xff.h5")
    write_arrays(Path("pilots.h5"), pilot_arrays()).rename(name)
    options = ("--algorithm", "ista", "--output", "e.h5", "--plot", name + ".png")
    assert chanest("estimate", "--input", name, *options).code == 0
    with h5py.File("e.h5") as file:
        assert file.attrs["input"] == r"pilots \udcff.h5"
    for suffix in (".h5", ".npz", ".mat"):
        assert chanest("estimate", "--input", name, "--algorithm", "ista", "--output", name + suffix).code == 0
        assert chanest("info", name + suffix).code == 0
    missing = chanest("info", os.fsdecode(b"no \xfe.h5"))
    assert (missing.code, missing.err.count("\n")) == (2, 1)


def test_an_end_of_file_inside_is_no_interrupt(chanest, monkeypatch):
    import chanest.cli.scenarios as command

    def torn(*_, **__):
        raise EOFError("Ran out of input")

    monkeypatch.setattr(command, "scenario_names", torn)
    done = chanest("scenarios")
    assert (done.code, done.err) == (2, "chanest: error: unexpected end of a file (Ran out of input)\n")


@pytest.mark.parametrize(
    "error", [RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), MemoryError()]
)
def test_no_memory_is_one_line(chanest, monkeypatch, error):
    import chanest.cli.scenarios as command

    def greedy(*_, **__):
        raise error

    monkeypatch.setattr(command, "scenario_names", greedy)
    done = chanest("scenarios")
    assert done.code == 2
    assert done.err.startswith("chanest: error: out of memory")
    assert done.err.count("\n") == 1


def test_an_output_that_is_a_link_is_the_file_it_leads_to(tmp_path, chanest):
    (tmp_path / "elsewhere").mkdir()
    there = tmp_path / "elsewhere" / "p.npz"
    (tmp_path / "p.npz").symlink_to(there)
    write = ("simulate", "--samples", "4", "--output", tmp_path / "p.npz")
    assert chanest(*write).code == 0
    assert (tmp_path / "p.npz").is_symlink()
    first = there.read_bytes()
    refused = chanest(*write)
    assert (refused.code, there.read_bytes()) == (2, first)
    assert chanest(*write, "--seed", "1", "--force").code == 0
    assert (tmp_path / "p.npz").is_symlink()
    assert there.read_bytes() != first
    assert [path.name for path in there.parent.iterdir()] == ["p.npz"]


def test_two_writers_do_not_replace_each_others_files(tmp_path):
    path = tmp_path / "x.npz"
    with ArrayWriter(path) as first:
        first.header({}, {"x": np.arange(3)})
        with pytest.raises(FileError, match=r"x\.npz: another process is writing it"), ArrayWriter(path, force=True):
            pass
    with np.load(path) as there:
        assert there["x"].tolist() == [0, 1, 2]
    path.unlink()

    def late(force):
        with ArrayWriter(path, force) as second:
            second.header({}, {"x": np.arange(5)})
            path.write_bytes(b"precious")

    with pytest.raises(FileError, match=r"x\.npz: exists by now; give --force"):
        late(force=False)
    assert contents(tmp_path) == {"x.npz": b"precious"}
    late(force=True)
    assert path.read_bytes() != b"precious"


def test_what_a_killed_writer_left_is_taken_over(tmp_path):
    (tmp_path / ".x.h5.partial").write_bytes(b"torn" * 10_000)
    with ArrayWriter(tmp_path / "x.h5") as writer:
        writer.header({}, {"x": np.arange(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5"]
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["x"][()].tolist() == [0, 1, 2]
