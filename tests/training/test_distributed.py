"""Training in several processes: the gradients, the model and the mistakes of one."""

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from chanest import load_scenario
from chanest.algorithms import ALGORITHMS
from chanest.errors import DeviceError, TrainingError
from chanest.problems import seeded
from chanest.training import distributed as processes
from chanest.training import group_loss, training_batch
from chanest.training.distributed import Processes

ROOT = Path(__file__).resolve().parents[2]
LTE10 = load_scenario("lte10").replace(n_pilots=40)
MADE = {
    "na-alista": {"n_iterations": 8, "lstm_hidden": 16, "sparsity": 8.0},
    "na-sbl": {"n_iterations": 3},
    "alista": {"n_iterations": 8},
}


# the gradients ----------------------------------------------------------------------------------------------


def gradients(name, dtype, n_samples, together):
    """The loss and all gradients of one batch, as one vector."""
    torch.manual_seed(0)
    algorithm = ALGORITHMS[name](**MADE[name])
    algorithm.initialise(seeded(0, "initialise"))
    batch = training_batch(LTE10, 0, 3, n_samples, 8, "cpu")
    algorithm.fit_normalisation(batch.y, batch.phi)
    assert (algorithm.supervision > 0) == (name == "na-sbl")
    if dtype == torch.float64:
        wide = torch.complex128
        phi = LTE10.training_sensing(0, 3).operator(LTE10.n_taps, LTE10.first_tap_samples, dtype=wide)
        told = None if batch.noise_variance is None else batch.noise_variance.double()
        batch = replace(
            batch, y=batch.y.to(wide), phi=phi, noise_variance=told, truth=batch.truth.to(wide),
            scale=batch.scale.double(),
        )  # fmt: skip
        algorithm.double()
    loss, nmse = group_loss(algorithm, batch, 8, together)
    loss.backward()
    together.sum_gradients(algorithm.parameters())
    flat = [p.grad.reshape(-1) for p in algorithm.parameters() if p.grad is not None]
    return torch.cat([loss.detach()[None], torch.tensor([nmse]).to(loss), *flat])


CASES = [
    (name, dtype, n_samples) for name in MADE for dtype in (torch.float64, torch.float32) for n_samples in (16, 40)
]


def in_each(rank, size, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=size)
    torch.save([gradients(*case, Processes(rank, size)) for case in CASES], folder / f"{rank}.pt")
    dist.destroy_process_group()


# what divides the 8 groups of SNR, and what does not
@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_the_gradients_of_several_processes_are_those_of_one(tmp_path, size):
    mp.spawn(in_each, (size, tmp_path), size)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(size)]
    for index, case in enumerate(CASES):
        alone = gradients(*case, Processes())
        for of_rank in found:
            shared = of_rank[index]
            assert torch.equal(shared, found[0][index]), case
            off = float((shared[2:] - alone[2:]).norm() / alone[2:].norm())
            assert off < (1e-6 if case[1] == torch.float64 else 1e-4), case
            assert torch.allclose(shared[:2], alone[:2], rtol=1e-5)


def test_shares_cover_the_batch_in_order():
    for size in range(1, 9):
        shares = [Processes(rank, size).share(23) for rank in range(size)]
        assert [i for share in shares for i in range(23)[share]] == list(range(23))
        assert max(s.stop - s.start for s in shares) - min(s.stop - s.start for s in shares) <= 1
    with pytest.raises(
        TrainingError, match="batch_size: expected at least one sample for each of 24 processes, got 23"
    ):
        Processes(0, 24).share(23)


def test_devices_of_several_processes(monkeypatch):
    for name, value in {"WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 2, "LOCAL_RANK": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [processes._own(name) for name in ("auto", "cuda", "cpu")] == ["cuda:1", "cuda:1", "cpu"]
    with pytest.raises(DeviceError, match="--device: expected auto, cpu or cuda with several processes, got cuda:0"):
        processes._own("cuda:0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="--device: 2 processes on this machine, found 1 CUDA devices; use --device"):
        processes._own("auto")


def test_a_batch_too_small_is_told_by_its_option(tmp_path, monkeypatch, chanest):
    monkeypatch.setattr("chanest.cli.train.joined", lambda device: nullcontext((Processes(0, 9), device)))
    monkeypatch.setattr(Processes, "from_first", lambda self, make: make())
    ran = chanest("train", "--batch", 8, "--output", tmp_path / "m.h5")
    expected = "--batch: expected at least one sample for each of 9 processes, got 8"
    assert (ran.code, ran.out, ran.err) == (2, "", f"chanest: error: {expected}\n")


# chanest train under torchrun -------------------------------------------------------------------------------

TRAIN = ["train", "--pilots", "40", "--steps", "6", "--batch", "16", "--iterations", "3", "--hidden", "4"]
CODE = """
import sys, torch
from dataclasses import replace
from chanest.training import trainer
from chanest.cli import main, train
train._settings = lambda *a, made=train._settings: replace(made(*a), checkpoint_every=2, calibration_batches=2)
sys.modules["chanest.training.fit_error_variance"]._STEPS = 50
{more}
main()
"""
NAN = """
from chanest.training.batches import training_batch as made
def poisoned(scenario, seed, step, *others):
    batch = made(scenario, seed, step, *others)
    if step == {step} and torch.distributed.get_rank() == 1:
        batch.y[-1] = torch.nan
    return batch
trainer.training_batch = poisoned
"""
KILLED = """
import os, signal
from chanest.training.batches import training_batch as made
def deadly(scenario, seed, step, *others):
    if step == {step} and torch.distributed.get_rank() == {rank}:
        os.kill(os.getpid(), signal.SIGKILL)
    return made(scenario, seed, step, *others)
trainer.training_batch = deadly
"""

NAMED = """
import atexit, os, pathlib
import torch.distributed as dist
def named(when):
    threads = [task.joinpath("comm").read_text().strip() for task in pathlib.Path("/proc/self/task").iterdir()]
    pathlib.Path(f"{when}{os.environ['RANK']}").write_text("\\n".join(threads))
destroy = dist.destroy_process_group
def named_and_destroy(*arguments):
    named("before")
    destroy(*arguments)
dist.destroy_process_group = named_and_destroy
atexit.register(named, "after")
"""


def torchrun(folder, *options, size=2, more="", timeout=120):
    """``torchrun ... -m chanest train`` with checkpoints every two steps and little calibration."""
    (folder / "start.py").write_text(CODE.format(more=more))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command += ["start.py", *TRAIN, "--device", "cpu", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)


def said(ran):
    return [line for line in ran.stderr.splitlines() if line.startswith("chanest: error:")]


def datasets(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        found["validation"] = file["training"].attrs["validation_nmse_db"]
        found["command"] = file["training"].attrs["command"]
    return found


def assert_same_file(one, other):
    first, second = datasets(one), datasets(other)
    assert first.keys() == second.keys()
    assert first.pop("command").replace(one.name, other.name) == second.pop("command")
    for name, values in first.items():
        assert second[name] == pytest.approx(values, rel=1e-3, abs=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["na-alista", "na-sbl"])
def test_two_processes_write_the_file_of_one_and_resume(tmp_path, algorithm):
    options = ("--algorithm", algorithm, "--output")
    one = torchrun(tmp_path, *options, "one.h5", size=1)
    assert (one.returncode, one.stdout.count("\n")) == (0, 1), one.stderr
    two = torchrun(tmp_path, *options, "two.h5")
    assert two.returncode == 0, two.stderr
    assert re.fullmatch(r"two\.h5: .*, 6 steps in \d+ s on 2 processes, validation NMSE .* dB\n", two.stdout)
    assert_same_file(tmp_path / "one.h5", tmp_path / "two.h5")
    cut = torchrun(tmp_path, *options, "cut.h5", more=KILLED.format(step=3, rank=1))
    assert cut.returncode != 0
    assert (tmp_path / "cut.h5.checkpoint").exists()
    refused = torchrun(tmp_path, *options, "cut.h5")
    assert said(refused) == [
        "chanest: error: cut.h5.checkpoint: a training began there; continue with --resume, or give --force to start "
        "anew"
    ]
    resumed = torchrun(tmp_path, *options, "cut.h5", "--resume", size=3)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_file(tmp_path / "one.h5", tmp_path / "cut.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.h5", "one.h5", "start.py", "two.h5"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are listed as Linux lists them")
def test_no_thread_of_the_group_meets_the_end_of_the_interpreter(tmp_path):
    ran = torchrun(tmp_path, "--output", "m.h5", more=NAMED)
    assert ran.returncode == 0, ran.stderr
    for rank in range(2):  # by name: the threads of OpenMP and the like may stay
        before, after = ((tmp_path / f"{when}{rank}").read_text() for when in ("before", "after"))
        assert "gloo" in before
        assert "gloo" not in after


@pytest.mark.slow
def test_a_nan_in_one_process_stops_all_with_one_line(tmp_path):
    ran = torchrun(tmp_path, "--output", "m.h5", more=NAN.format(step=3))
    assert ran.returncode != 0
    (line,) = said(ran)
    assert "step 4: the loss or its gradient is not finite; the last good weights are in m.h5.checkpoint" in line
    with h5py.File(tmp_path / "m.h5.checkpoint") as file:
        assert file["training"].attrs["steps"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "size", "expected"),
    [
        (("--steps", "0", "--output", "m.h5"), 2, "--steps: expected a positive number, got 0"),
        (("--resume", "--output", "m.h5"), 2, "m.h5.checkpoint: no checkpoint to resume from; start without --resume"),
        (("--device", "cuda:0", "--output", "m.h5"), 2, "--device: expected auto, cpu or cuda with several processes"),
    ],
)
def test_a_mistake_is_one_line_of_the_first_process(tmp_path, options, size, expected):
    ran = torchrun(tmp_path, *options, size=size)
    assert ran.returncode != 0
    assert ran.stdout == ""
    (line,) = said(ran)
    assert expected in line
    assert not list(tmp_path.glob("m.h5*"))
