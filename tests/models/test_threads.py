"""One model, many threads and processes: the same bits as one alone."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from child import ROOT

from chanest import PilotPattern, load_model, load_scenario

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


CODE = """
import torch
from torch.utils.data import DataLoader, Dataset
from chanest import PilotPattern, load_model, load_scenario

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
