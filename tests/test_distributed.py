"""Training in several processes: the gradients, the model and the mistakes of one."""

import os
import re
import subprocess
import sys
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
from chanest.objective import group_loss
from chanest.operators import PartialDFT
from chanest.processes import Processes, joined
from chanest.signals import seeded
from chanest.trainingdata import training_lesson, training_pattern

ROOT = Path(__file__).resolve().parent.parent
LTE10 = load_scenario("lte10").replace(n_pilots=40)
MADE = {
    "na-alista": {"n_iterations": 8, "lstm_hidden": 16, "sparsity": 8.0},
    "na-sbl": {"n_iterations": 3},
    "alista": {"n_iterations": 8},
}


# the gradients ----------------------------------------------------------------------------------------------


def gradients(name, dtype, n_samples, processes):
    """The loss and all gradients of one batch, as one vector."""
    torch.manual_seed(0)
    algorithm = ALGORITHMS[name](**MADE[name])
    algorithm.initialise(seeded(0, "initialise"))
    lesson = training_lesson(LTE10, 0, 3, n_samples, 8, "cpu")
    algorithm.fit_normalisation(lesson.y, lesson.phi)
    assert (algorithm.supervision > 0) == (name == "na-sbl")
    if dtype == torch.float64:
        wide = torch.complex128
        phi = PartialDFT(training_pattern(LTE10, 0, 4), LTE10.n_taps, LTE10.first_tap_samples, dtype=wide)
        told = None if lesson.noise_variance is None else lesson.noise_variance.double()
        lesson = replace(
            lesson, y=lesson.y.to(wide), phi=phi, noise_variance=told, truth=lesson.truth.to(wide),
            scale=lesson.scale.double(),
        )  # fmt: skip
        algorithm.double()
    loss, nmse = group_loss(algorithm, lesson, 8, processes)
    loss.backward()
    processes.sum_gradients(algorithm.parameters())
    flat = [p.grad.reshape(-1) for p in algorithm.parameters() if p.grad is not None]
    return torch.cat([loss.detach()[None], torch.tensor([nmse]).to(loss), *flat])


CASES = [
    (name, dtype, n_samples)
    for name in MADE
    for dtype in (torch.float64, torch.float32)
    for n_samples in (16, 40)
]


def in_each(rank, size, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=size)
    torch.save([gradients(*case, Processes(rank, size)) for case in CASES], folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("size", [2, 3])  # what divides the 8 groups of SNR, and what does not
def test_the_gradients_of_several_processes_are_those_of_one(tmp_path, size):
    mp.spawn(in_each, (size, tmp_path), size)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(size)]
    for index, case in enumerate(CASES):
        alone = gradients(*case, Processes())
        for of_rank in found:
            together = of_rank[index]
            assert torch.equal(together, found[0][index]), case
            off = float((together[2:] - alone[2:]).norm() / alone[2:].norm())
            print(case, size, off)
            assert off < (1e-6 if case[1] == torch.float64 else 1e-4), case
            assert torch.allclose(together[:2], alone[:2], rtol=1e-5)
