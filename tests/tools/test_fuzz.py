"""The fuzzers find what is there to be found; a few hundred cases of them, and more when there is time."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from child import ROOT

import chanest.models.model
from chanest.models import Solution

sys.path.append(str(ROOT / "tools"))
import fuzz_files
import fuzz_numbers


def fuzzed(tool: str, *arguments: object) -> str:
    """What a fuzzer says in the end; it must find nothing."""
    command = [sys.executable, str(ROOT / "tools" / tool), *map(str, arguments)]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(Path.home())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("cases", [pytest.param(40, id="short"), pytest.param(800, id="long", marks=pytest.mark.slow)])
def test_damaged_files_are_answered_or_refused_in_a_line(cases):
    said = fuzzed("fuzz_files.py", "--cases", cases, "--seed", 7)
    assert said.startswith(f"{cases} cases, seed 7: ")
    assert said.endswith("0 traceback, 0 crash, 0 hang, 0 too much, 0 left over, 0 wrong")


@pytest.mark.slow
def test_estimates_do_not_depend_on_units_or_neighbours():
    said = fuzzed("fuzz_numbers.py", "--estimates", 4000, "--seed", 7)
    assert ": 0 wrong; " in said


@pytest.mark.parametrize("name", ["ista", "omp", "ep", "linear", "na-sbl-wide"])
def test_one_round_of_numbers(name):
    with torch.inference_mode():
        _, pattern, y, told, amplitudes, well_told, _ = fuzz_numbers.drawn(3, 0, [name])
        model = fuzz_numbers.model_of(name, len(pattern))
        given = (model, pattern, y.to(torch.complex128), told, amplitudes, well_told)
        seen, _, made = fuzz_numbers.differences(*given)
    assert not seen
    assert made > 2 * len(y)


def test_the_numbers_fuzzer_sees_an_estimate_that_knows_its_units(monkeypatch):
    solve = chanest.models.model.Model.solve

    def off(self, *arguments, **options):
        found = solve(self, *arguments, **options)
        return Solution({name: v + 1e-3 for name, v in found.values.items()}, found.error_variance, 0.0)

    monkeypatch.setattr(chanest.models.model.Model, "solve", off)
    with torch.inference_mode():
        _, pattern, *given, _ = fuzz_numbers.drawn(3, 0, ["linear"])
        seen, _, _ = fuzz_numbers.differences(fuzz_numbers.model_of("linear", len(pattern)), pattern, *given)
    assert any("of another amplitude" in one for one in seen)


def test_the_files_fuzzer_sees_tracebacks_and_wrong_answers(tmp_path, monkeypatch):
    good, work = tmp_path / "good", tmp_path / "work"
    good.mkdir()
    work.mkdir()
    found = fuzz_files.write_good_files(good)
    before = {"model": b""}
    monkeypatch.setattr(fuzz_files, "SHARES", {"pilots": 1})
    monkeypatch.setattr(fuzz_files, "damaged", lambda path, rng: "nothing")
    case = next(i for i in range(50) if _command_of(i, found, work) == "estimate")
    assert fuzz_files.tried(case, 0, found, before, work) == "ok"
    run = fuzz_files.run

    def other(arguments):
        code, out, err = run(arguments)
        with fuzz_files.h5py.File(arguments[4], "a") as file:
            file["cfr"][...] = file["cfr"][...] * 1.01
        return code, out, err

    def loud(arguments):
        return 2, "", "Traceback\nchanest: error: x\n"

    monkeypatch.setattr(fuzz_files, "run", other)
    assert fuzz_files.tried(case, 0, found, before, work).startswith("wrong: ")
    monkeypatch.setattr(fuzz_files, "run", loud)
    assert fuzz_files.tried(case, 0, found, before, work).startswith("traceback: ")


def _command_of(case, good, folder):
    """The command of a case, where it writes HDF5."""
    rng = np.random.default_rng((0, case))
    rng.integers(1)
    source = good["pilots"][rng.integers(len(good["pilots"]))]
    command = fuzz_files.commands("pilots", folder / source.name, folder, rng)
    return command[0] if command[0] == "info" or command[4].endswith(".h5") else ""
