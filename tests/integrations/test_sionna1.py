"""Sionna 1.2 with TensorFlow, in an environment of its own: our estimator in the place of LS."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SIONNA = "sionna-no-rt==1.2.2"
NEEDED = [f"{ROOT}[tensorflow]", "importlib_resources>=6.4.5"]  # Sionna itself would bring another TensorFlow


def run(*command: object, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env={**inherited, **environment}
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> dict:
    """What tests/integrations/sionna1_link.py prints in a fresh environment with Sionna 1.2."""
    folder = tmp_path_factory.mktemp("sionna1")
    run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", *NEEDED)
    run(python, "-m", "pip", "install", "-q", "--no-deps", SIONNA)
    lines = run(python, ROOT / "tests" / "integrations" / "sionna1_link.py", MPLBACKEND="agg").splitlines()
    return json.loads(lines[-1])


pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_blocks_are_lost_less_often_than_with_ls(printed):
    ls, na_sbl, na_alista = (printed["link"][name] for name in ("ls", "na-sbl", "na-alista"))
    assert na_sbl["nmse_db"] < ls["nmse_db"] - 4
    assert na_alista["nmse_db"] < ls["nmse_db"] - 2
    assert na_sbl["bler"] < ls["bler"] - 0.2
    assert na_alista["bler"] <= ls["bler"]
    assert abs(na_sbl["expected_db"] - na_sbl["nmse_db"]) < 1.5


def test_several_streams_and_pilot_symbols(printed):
    found = printed["streams"]
    assert found["ours"] < found["linear"] / 2
    assert found["static"] < found["ours"]
    for name in ("before the first", "between", "error between", "after the last", "at the pilots"):
        assert found[name] < 1e-5, name


def test_noise_of_any_leading_shape(printed):
    assert printed["streams"]["noise per batch entry"] < 1e-5
    assert printed["streams"]["noise per antenna"] < 1e-5


def test_graph_xla_and_double_precision(printed):
    for name in ("unknown batch", "compiled", "double"):
        assert printed["streams"][name] < 1e-4, name


def test_grids_that_cannot_be_served_are_refused(printed):
    assert printed["refused"]["no pilots"].startswith("PilotError: transmitter 0, stream 0: found 0 pilots")
    assert printed["refused"]["too wide"].startswith("ModelError: used_subcarriers: expected at most 512")
