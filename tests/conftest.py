"""What several test files share: small models, files of pilots in every format, the command line in-process."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from small_gaussian import SMALL, TRAINING, alista

from chanest import PartialDFT, PilotPattern, load_scenario
from chanest.algorithms import ALISTA, NAALISTA
from chanest.models import write_model
from chanest.training import train

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background jobs; children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

Arrays = dict[str, Any]
FORMATS = (".h5", ".npz", ".mat", "v7.3")


def stacked(
    patterns: list[PilotPattern], n_taps: int, first_tap_samples: int = 0, dtype: torch.dtype = torch.complex64
) -> PartialDFT:
    """Phi of a pattern per batch entry."""
    return PartialDFT(
        torch.tensor([p.subcarriers for p in patterns]), n_taps, first_tap_samples, patterns[0].n_fft, dtype
    )


@pytest.fixture(scope="session")
def small_models(tmp_path_factory) -> dict[str, Path]:
    """Untrained models of 4 iterations for lte10, by algorithm."""
    folder = tmp_path_factory.mktemp("models")
    made = {"na-alista": NAALISTA(n_iterations=4, lstm_hidden=8, lstm_inputs="u"), "alista": ALISTA(n_iterations=4)}
    for name, algorithm in made.items():
        write_model(folder / f"small-{name}.h5", algorithm, load_scenario("lte10"), {"steps": 0})
    return {name: folder / f"small-{name}.h5" for name in made}


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> tuple[Path, list[float]]:
    """A model file of a tiny ALISTA for the small Gaussian problem, and the NMSE of every step of its training."""
    path, nmse = tmp_path_factory.mktemp("synthetic") / "tiny.h5", []
    train(alista(), SMALL, TRAINING, path, progress=lambda step, value, rate: nmse.append(value))
    return path, nmse


@pytest.fixture(scope="session")
def pilot_arrays() -> Callable[..., Arrays]:
    """A function that gives the fields of a file of pilots, simulated on lte10, with any truth and batch."""

    def make(batch: tuple[int, ...] = (6,), n_pilots: int = 20, truth: tuple[str, ...] = ("cir", "cfr")) -> Arrays:
        n = int(np.prod(batch))
        pattern = PilotPattern.random(n_pilots, seed=1)
        data = load_scenario("lte10").draw(pattern, n, 3)
        return {
            "pilot_subcarriers": np.asarray(pattern.subcarriers),
            "received_pilots": data.observations.numpy().reshape(*batch, n_pilots),
            **{name: data.truth[name].numpy().reshape(*batch, -1) for name in truth},
        }

    return make


def write_arrays(path: Path, arrays: Arrays, matlab73: bool = False) -> Path:
    """Write arrays in the format of the suffix; ``matlab73`` as MATLAB's ``save -v7.3`` does."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".mat" and not matlab73:
        scipy.io.savemat(path, arrays)
    else:
        with h5py.File(path, "w", userblock_size=512 if matlab73 else 0) as file:
            for name, values in arrays.items():
                if matlab73:
                    _write_matlab73(file, name, values)
                else:
                    file[name] = values
    if matlab73:
        with path.open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116))
    return path


def _write_matlab73(file: h5py.File, name: str, values: Any) -> None:
    """As MATLAB writes: text as uint16, at least two axes, the last axis first, real/imag compounds of doubles."""
    if isinstance(values, str):
        file[name] = np.array([[ord(letter)] for letter in values], np.uint16)
        file[name].attrs["MATLAB_class"] = np.bytes_("char")
        file[name].attrs["MATLAB_int_decode"] = np.int32(2)
        return
    values = np.atleast_2d(values).T
    if values.dtype.kind == "c":
        parts = np.empty(values.shape, [("real", "<f8"), ("imag", "<f8")])
        parts["real"], parts["imag"] = values.real, values.imag
        values = parts
    elif values.dtype.kind == "f":
        values = values.astype(float)
    file[name] = values
    matlab_class = "double" if values.dtype.kind in "Vf" else str(values.dtype)
    file[name].attrs["MATLAB_class"] = np.bytes_(matlab_class)


def write_format(folder: Path, format: str, arrays: Arrays, name: str = "pilots") -> Path:
    """Write arrays as one of FORMATS."""
    suffix = ".mat" if format == "v7.3" else format
    return write_arrays(folder / f"{name}-{format.strip('.')}{suffix}", arrays, matlab73=format == "v7.3")


class Ran(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout; NaN and Infinity are not JSON."""
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1
        return json.loads(self.out, parse_constant=pytest.fail)


def contents(folder):
    return {path.name: path.read_bytes() if path.is_file() else None for path in folder.iterdir()}


def assert_refused(ran, *said):
    """Exit code 2, one line on stderr that says what it must, nothing on stdout."""
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("chanest: error: ")
    assert ran.err.count("\n") == 1
    for words in said:
        assert words in ran.err


@pytest.fixture
def chanest(monkeypatch, capsys) -> Callable[..., Ran]:
    """A function that runs ``chanest`` with some arguments in this process."""
    from chanest.cli import main

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["chanest", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            main()
        return Ran(int(exit.value.code or 0), *capsys.readouterr())

    return run
