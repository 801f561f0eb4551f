"""One model, many threads and processes: the same bits as one alone."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from child import ROOT

from chanest import PilotPattern, SlotPattern, load_model, load_scenario
from chanest.kernels import threads
from chanest.models import pick_model

LTE10 = load_scenario("lte10")


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("na-sbl-lte10-m75", "na-sbl-wide")]


@pytest.mark.parametrize("name", ["na-alista-lte10-m75", *SLOW])
def test_threads_that_mix_precisions_give_the_bits_of_one(name):
    patterns = [PilotPattern.random(40 + i, seed=i) for i in range(4)]
    jobs = []
    for i in range(64):
        pattern = patterns[i % len(patterns)]
        y = LTE10.draw(pattern, 1 + i % 3, i).observations
        jobs.append((y.to(torch.complex128) if i % 2 else y, pattern))

    def run(model, job):
        found = model.estimate(*job, error_variance=True)
        return found.cfr, found.error_variance

    alone = load_model(name)
    expected = [run(alone, job) for job in jobs]
    shared = load_model(name)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: run(shared, job), jobs))
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


PATTERN = PilotPattern.random(75, seed=1)
SLOT = SlotPattern((PATTERN, PilotPattern.random(75, seed=2)), (2e-4, 7e-4))
SAME = SlotPattern((PATTERN, PATTERN), (2e-4, 7e-4))


def drawn(*shape, seed=0):
    """Pilots of a few paths each, whose number the last of the shape is."""
    y = LTE10.replace(snr_db=15).draw(PATTERN, shape[0], seed).observations
    return torch.stack([y.roll(i, 0) for i in range(shape[1])], 1) if len(shape) > 1 else y


def kinds():
    """(name, what estimates)."""
    wide = load_model("na-sbl-wide")
    for name in ("na-sbl", "sbl", "ep", "omp", "ista", "lmmse-exponential", "linear"):
        model = pick_model(name, LTE10.replace(n_pilots=75, snr_db=15))
        yield name, lambda model=model: model.estimate(drawn(20), PATTERN, 0.03)
        yield f"{name}, double", lambda model=model: model.estimate(drawn(4).to(torch.complex128), PATTERN, 0.03)
    yield "wide", lambda: wide.estimate(drawn(20, 3), PATTERN, 0.03, snapshot_axes=1, error_variance=True, paths=True)
    two = torch.ones(2, 75, dtype=torch.complex64)
    two[1, ::2] = -1
    yield "layers", lambda: wide.estimate(drawn(12), PATTERN, 0.03, pilot_symbols=two)
    for name, slot in {"slot": SLOT, "same pilots": SAME}.items():
        y = torch.cat([drawn(12, 2), drawn(12, 2, seed=1)], -1)
        yield name, lambda y=y, slot=slot: wide.estimate(y, slot, 0.03, snapshot_axes=1, error_variance=True)
    many = PilotPattern.random(300, seed=1)
    y = LTE10.replace(snr_db=15, n_pilots=300).draw(many, 6, 0).observations
    yield "many pilots", lambda: wide.estimate(y, many, 0.03, error_variance=True)


def test_an_estimate_does_not_depend_on_how_many_threads_it_gets(monkeypatch):
    monkeypatch.setattr(threads, "SMALL", 0)
    monkeypatch.setattr(threads, "allowed_cores", lambda: 3)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for name, estimate in kinds():
            found = []
            for n in (1, 3, 2):
                monkeypatch.setattr(threads, "idle_cores", lambda most, n=n: n)
                found.append(estimate())
            for other in found[1:]:
                assert torch.equal(other.cfr, found[0].cfr), name
                if other.error_variance is not None:
                    assert torch.equal(other.error_variance, found[0].error_variance), name
    finally:
        torch.set_num_threads(before)


CODE = """
import torch
from torch.utils.data import DataLoader, Dataset
from chanest import PilotPattern, SlotPattern, load_model, load_scenario
from chanest.kernels import threads
from chanest.models import pick_model

scenario, pattern, model = load_scenario("lte10"), PilotPattern.random(75, seed=1), load_model("na-alista-lte10-m75")

class Channels(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, i):
        return model.estimate(scenario.draw(pattern, 2, i).observations, pattern).cfr

if __name__ == "__main__":
    alone = torch.stack([Channels()[i] for i in range(12)])
    for workers in (0, 2):
        found = torch.cat(list(DataLoader(Channels(), batch_size=3, num_workers=workers)))
        assert torch.equal(found, alone), workers
    print("equal")
"""


@pytest.mark.slow
def test_a_data_loader_with_workers_works(tmp_path):
    (tmp_path / "code.py").write_text(CODE)
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, tmp_path / "code.py"], env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.stdout == "equal\n", done.stderr
