"""Everything on a device that is not the CPU, and where the host waits for it: see fake_gpu.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
FACTOR = {"cholesky.cholesky"}  # a factorisation that may fail
STEP = {"loss.group_loss", "trainer.advance"}  # the NMSE that is reported, and whether it is finite
CHECKS = {"base.check_noise", "frontend.check_pilots", "model._check_finite"}
CIRCLE = {"na_sbl_circle._infer", "na_sbl_circle._moments", "na_sbl_circle._step", "partial_dft.resolution_samples"}
READS = {  # all others: none
    "estimate omp": FACTOR | {"omp._pursue"},  # whether all have stopped
    **dict.fromkeys(("estimate sbl", "estimate na-sbl", "estimate ep"), FACTOR),
    "train na-sbl": FACTOR,
    "train na-sbl circle": FACTOR | CIRCLE,  # which taps are alive
    "serve na-alista-synthetic-40db": {"gaussian.check_measurements", "model._check_finite"},
    "serve na-sbl-lte10-m75": FACTOR | CHECKS,
    "serve na-sbl-wide": FACTOR | CHECKS | CIRCLE | {"arcs._precisely", "groups._alike", "tap_domain.chosen_taps"},
}


@pytest.mark.parametrize("part", ["quick", pytest.param("rest", marks=pytest.mark.slow)])
def test_nothing_is_left_on_the_cpu_and_the_host_waits_only_where_it_must(part):
    pytest.importorskip("torch._subclasses.fake_tensor")
    if not hasattr(torch._C, "_acc"):
        pytest.skip("this torch has no device with a guard in Python")
    path = os.pathsep.join([str(HERE.parent), str(HERE), str(HERE / "algorithms"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "fake_gpu.py"), part],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) >= 8
    failed = {case["case"]: (case["error"], case["at"][-3:]) for case in found if "error" in case}
    assert not failed
    for case in found:
        name = case["case"]
        allowed = READS.get(name, set()) | (STEP if name.startswith("train") else set())
        allowed |= CHECKS if name.startswith("serve") and "synthetic" not in name else set()
        assert set(case["reads"]) <= allowed, name
