"""Damaged and hostile files, every format and every command that reads one: nothing but answers and one-line refusals.

    python tools/fuzz_files.py [--cases 10000] [--seed 0] [--only CASE] [--keep FOLDER]

Each case takes a good file (pilots and measurements in .h5, .npz, .mat v5 and v7.3, estimates, models, checkpoints,
scenarios, recorded channels, a sweep's CSV), damages it (bytes, blocks, lengths, links, groups, sizes, types), and
gives it to a command, which runs in a worker that was forked with everything imported. A case depends on (seed, case)
alone.
Counted are tracebacks (or more than a line), crashes of the worker, hangs and too much memory, and wrong answers: what
was estimated is compared with the same call in Python on the arrays as they are read one by one, and what a model gives
with what it gave before (its digest says whether it is the same). Exits with 1 when one is found.
"""

import argparse
import contextlib
import io
import os
import pickle
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import torch

from chanest import PilotPattern, estimate, load_scenario
from chanest.algorithms import ALISTA
from chanest.cli import main as command_line
from chanest.errors import ChanestError
from chanest.files import ArrayReader
from chanest.models import pick_model, write_model
from chanest.parsers import reader
from chanest.problems import ofdm
from chanest.training import TrainingSettings, train

SECONDS, MOST = 5.0, 1 << 30  # to refuse
HANG = 90.0  # seconds for anything
Case = tuple[str, str, list[str]]  # kind of file, its suffix, command
PILOTS = ("pilot_subcarriers", "received_pilots", "n_fft", "used_subcarriers", "noise_variance", "pilot_symbols")
NUMBERS = (0, 1, 2, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)


# good files ---------------------------------------------------------------------------------------------------


def write_good_files(folder: Path) -> dict[str, list[Path]]:
    """Small files by kind."""
    lte10, rng = ofdm("lte10"), np.random.default_rng(0)
    pattern = PilotPattern.random(20, seed=1)
    data = lte10.draw(pattern, 3, 3)
    symbols = np.exp(2j * np.pi * rng.random(20))
    pilots = {
        "pilot_subcarriers": np.asarray(pattern.subcarriers)[::-1].copy(),
        "received_pilots": (data.observations.numpy() * symbols)[:, ::-1].astype(np.complex64),
        "n_fft": np.array(1024),
        "used_subcarriers": np.arange(-300, 301),
        "noise_variance": data.noise_variance.numpy().reshape(-1)[:1].astype(float),
        "pilot_symbols": symbols[::-1].copy(),
    }
    phi = rng.standard_normal((6, 10)).astype(np.float32)
    vectors = {"phi": phi, "observations": rng.standard_normal((3, 6)).astype(np.float32), "noise_variance": 0.1}
    found: dict[str, list[Path]] = {}
    for kind, arrays in (("pilots", pilots), ("vectors", vectors)):
        found[kind] = [
            _save(folder / f"{kind}{suffix}", arrays, suffix) for suffix in (".h5", ".npz", ".mat", "73.mat")
        ]
    for suffix in (".h5", ".npz", ".mat"):
        _good(["estimate", "--input", str(found["pilots"][0]), "--output", str(folder / f"estimates{suffix}")])
        found.setdefault("estimates", []).append(folder / f"estimates{suffix}")
    write_model(folder / "model.h5", ALISTA(n_iterations=2), lte10, {"steps": 1, "nmse_db": np.ones(3)})
    found["model"] = [folder / "model.h5"]
    settings = TrainingSettings(steps=2, batch_size=16, calibration_batches=0, checkpoint_every=1)

    class Enough(Exception):
        pass

    def stop(step: int, nmse: float, rate: float) -> None:
        if step == 2:
            raise Enough

    with contextlib.suppress(Enough):
        train(ALISTA(n_iterations=2), lte10, settings, folder / "trained.h5", progress=stop)
    found["checkpoint"] = [folder / "trained.h5.checkpoint"]
    shutil.copy(Path(__file__).parents[1] / "scenarios/lte10.toml", folder / "scenario.toml")
    found["scenario"] = [folder / "scenario.toml"]
    with h5py.File(folder / "recorded.h5", "w") as file:
        file.attrs["format"] = "chanest-channels"
        file["delays_s"] = np.sort(rng.uniform(0, 3e-6, (8, 4)), -1)
        file["gains"] = rng.standard_normal((8, 4)).astype(np.complex64)
    text = (Path(__file__).parents[1] / "scenarios/munich.toml").read_text()
    (folder / "recorded.toml").write_text(text.replace("munich.h5", "recording.h5"))
    found["recording"] = [folder / "recorded.h5"]
    _good([*COMPARE, "--output", str(folder / "sweep.csv")])
    found["sweep"] = [folder / "sweep.csv"]
    return found


def _good(arguments: list[str]) -> None:
    code, _, err = run(arguments)
    if code:
        raise RuntimeError(err)


COMPARE = ["compare", "--algorithms", "ista", "--scenarios", "lte10", "--pilots", "20", "--snr", "10", "--samples", "8"]


def _save(path: Path, arrays: dict[str, Any], suffix: str) -> Path:
    if suffix == ".npz":
        np.savez(path, **arrays)
    elif suffix == ".mat":
        scipy.io.savemat(path, arrays)
    else:
        with h5py.File(path, "w", userblock_size=512 if suffix == "73.mat" else 0) as file:
            for name, values in arrays.items():
                array = np.asarray(values)
                if suffix == "73.mat":
                    array = np.atleast_2d(array).T
                    if array.dtype.kind == "c":
                        parts = np.empty(array.shape, [("real", "<f8"), ("imag", "<f8")])
                        parts["real"], parts["imag"] = array.real, array.imag
                        array = parts
                file[name] = array
                if suffix == "73.mat":
                    file[name].attrs["MATLAB_class"] = np.bytes_("double")
    if suffix == "73.mat":
        with path.open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116))
    return path


# damage -------------------------------------------------------------------------------------------------------


def damaged(path: Path, rng: np.random.Generator) -> str:
    """Damage a file in place; how, in a word."""
    ways: list[Callable[[bytearray, np.random.Generator], bytearray]] = [
        _flip, _flip, _set, _set, _number, _number, _cut, _drop, _repeat, _swap, _zero,
    ]  # fmt: skip
    if h5py.is_hdf5(path) and rng.random() < 0.3:
        with contextlib.suppress(Exception):
            return _rearrange(path, rng)
    way = ways[rng.integers(len(ways))]
    path.write_bytes(way(bytearray(path.read_bytes()), rng))
    return way.__name__[1:]


def _flip(data: bytearray, rng: np.random.Generator) -> bytearray:
    for _ in range(rng.integers(1, 5)):
        data[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return data


def _set(data: bytearray, rng: np.random.Generator) -> bytearray:
    for _ in range(rng.integers(1, 3)):
        data[_place(data, rng)] = int(rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))]))
    return data


def _place(data: bytearray, rng: np.random.Generator) -> int:
    """Half of the places lie in the headers."""
    return int(rng.integers(min(len(data), 2048) if rng.random() < 0.5 else len(data)))


def _number(data: bytearray, rng: np.random.Generator) -> bytearray:
    size = int(rng.choice((2, 4, 8)))
    at = _place(data, rng) // size * size
    value = NUMBERS[rng.integers(len(NUMBERS))] % 2 ** (8 * size)
    data[at : at + size] = struct.pack(f"<{ {2: 'H', 4: 'I', 8: 'Q'}[size] }", value)
    return data


def _cut(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: int(rng.integers(len(data)))]


def _drop(data: bytearray, rng: np.random.Generator) -> bytearray:
    at = _place(data, rng)
    del data[at : at + int(rng.integers(1, 64))]
    return data


def _repeat(data: bytearray, rng: np.random.Generator) -> bytearray:
    at, size = _place(data, rng), int(rng.integers(1, 64))
    data[at:at] = data[at : at + size]
    return data


def _swap(data: bytearray, rng: np.random.Generator) -> bytearray:
    size = int(rng.integers(1, 128))
    a, b = _place(data, rng), _place(data, rng)
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    return data


def _zero(data: bytearray, rng: np.random.Generator) -> bytearray:
    at = _place(data, rng)
    size = min(int(rng.integers(1, 256)), len(data) - at)
    data[at : at + size] = bytes(size)
    return data


def _rearrange(path: Path, rng: np.random.Generator) -> str:
    """A valid HDF5 file in which something is not what it was."""
    with h5py.File(path, "a") as file:
        places: list[str] = []
        file.visit(places.append)
        name = places[rng.integers(len(places))]
        old = file[name]
        was = old[()] if isinstance(old, h5py.Dataset) else None
        way = int(rng.integers(14))
        if way == 12:
            old.attrs["MATLAB_class" if rng.random() < 0.3 else "more"] = b"\xff" * int(rng.integers(1, 50))
            return "attribute"
        if way == 13:
            owner = file if rng.random() < 0.5 else old
            for key in list(owner.attrs)[:1]:
                owner.attrs[key] = [h5py.Empty("f4"), np.nan, 2**31, "x" * 70_000][rng.integers(4)]
            return "attribute"
        del file[name]
        shape = (int(10 ** rng.uniform(3, 10)),)
        if way == 0:
            file[name] = h5py.SoftLink("/nowhere" if rng.random() < 0.5 else name)
        elif way == 1:
            file[name] = h5py.ExternalLink(["missing.h5", "/etc/passwd", "model.h5"][rng.integers(3)], "/parameters")
        elif way == 2:
            file.create_group(name)
        elif way == 3:
            file[name] = h5py.Empty("f8")
        elif way == 4:
            file.create_dataset(name, shape, "f8", chunks=(min(shape[0], 1000),))
        elif way == 5:
            file.create_dataset(name, (20,), "u1", external=[("/etc/passwd", 0, 20)])
        elif way == 6:
            layout = h5py.VirtualLayout(shape, "f8")
            layout[:] = h5py.VirtualSource("missing.h5", "x", shape)
            file.create_virtual_dataset(name, layout)
        elif way == 7:
            file[name] = "text"
        elif way == 8:
            file.create_dataset(name, (10**4, 10**4), "f4", chunks=(10**3, 10**3))
        elif way == 9:
            file[name] = file["/"]  # a circle
        elif was is None:
            file[name] = np.ones(3)
        elif way == 10:
            file[name] = np.asarray(was).reshape(-1)[:1] if np.size(was) else 1
        else:
            file[name] = np.asarray(was) * (np.nan if np.asarray(was).dtype.kind in "fc" else 10**9)
    return "rearranged"


# cases --------------------------------------------------------------------------------------------------------


def commands(kind: str, path: Path, folder: Path, rng: np.random.Generator) -> list[str]:
    """A command that reads a file of a kind."""
    out = folder / f"out{('.h5', '.npz', '.mat')[rng.integers(3)]}"
    match kind:
        case "pilots" | "vectors" if rng.random() < 0.75:
            algorithm = "ista" if kind == "vectors" or rng.random() < 0.7 else "na-sbl"
            return ["estimate", "--input", str(path), "--output", str(out), "--algorithm", algorithm]
        case "model" if rng.random() < 0.75:
            return [*SIMULATED, "--model", str(path), "--output", str(folder / "out.h5")]
        case "checkpoint" if rng.random() < 0.75:
            return [*TRAIN, "--resume", "--output", str(path.with_suffix(""))]
        case "scenario" if rng.random() < 0.6:
            return ["simulate", "--scenario", str(path), "--samples", "2", "--output", str(out)]
        case "recording":
            return ["simulate", "--scenario", str(path.with_suffix(".toml")), "--samples", "2", "--output", str(out)]
        case "sweep":
            return [*COMPARE, "--resume", "--output", str(path)]
    return ["info", str(path)]


SIMULATED = ["estimate", "--only", "--samples", "2", "--pilots", "20", "--snr", "10", "--json"]
TRAIN = ["train", "--algorithm", "alista", "--iterations", "2", "--steps", "2", "--batch", "16"]


def run(arguments: list[str]) -> tuple[int, str, str]:
    """What a command comes to, in this process."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["chanest", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            command_line()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = before
    return code, out.getvalue(), err.getvalue()


def tried(case: int, seed: int, good: dict[str, list[Path]], before: dict[str, bytes], folder: Path) -> str:
    """One case: ``ok``, ``refused``, or what is wrong, after its kind."""
    rng = np.random.default_rng((seed, case))
    kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
    kind = kinds[rng.integers(len(kinds))]
    source = good[kind][rng.integers(len(good[kind]))]
    for old in folder.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    path = folder / ("recording.h5" if kind == "recording" else source.name)
    shutil.copy(source, path)
    if kind == "recording":
        shutil.copy(source.with_suffix(".toml"), path.with_suffix(".toml"))
    way = damaged(path, rng)
    command = commands(kind, path, folder, rng)
    damage = path.read_bytes()
    _reset_peak()
    resting, started = _memory(), time.process_time()
    code, _, err = run(command)
    seconds, grown = time.process_time() - started, _memory() - resting
    said = f"{source.name} {way} {command[0]}"
    lines = [line for line in err.splitlines() if not line.startswith("chanest: warning: ")]
    if code == 2 and len(lines) == 1 and lines[0].startswith("chanest: error: "):
        if seconds > SECONDS or grown > MOST:
            return f"too much: {said}: {seconds:.1f} s, {grown >> 20} MiB to say {lines[0]}"
        left = {one.name for one in folder.iterdir()} - {path.name, path.with_suffix(".toml").name}
        return f"left over: {said}: {left}" if left else "refused"
    if code != 0 or lines:
        return f"traceback: {said}: {code} {err[-2000:]}"
    if grown > 2 * MOST:
        return f"too much: {said}: {grown >> 20} MiB"
    wrong = None
    if command[0] == "estimate" and kind == "pilots":
        wrong = _wrong_channels(path, Path(command[4]), command[6])
    elif command[0] == "estimate" and kind == "model" and Path(command[-1]).read_bytes():
        with h5py.File(command[-1]) as now:
            wrong = None if now["cfr"][()].tobytes() == before["model"] else "another answer"
    if path.read_bytes() != damage and kind not in ("checkpoint", "sweep"):
        wrong = "the input was changed"
    return f"wrong: {said}: {wrong}" if wrong else "ok"


SHARES = {
    "pilots": 10, "vectors": 4, "estimates": 2, "model": 4, "checkpoint": 1, "scenario": 2, "recording": 1, "sweep": 1,
}  # fmt: skip


def _wrong_channels(path: Path, found: Path, algorithm: str) -> str | None:
    """How estimates in a file differ from those of the arrays in the file of pilots."""
    with ArrayReader(path) as file:
        names = set(file.names()) & set(PILOTS)
        given = {name: file.read(name) for name in names}
    with ArrayReader(found) as file:
        cfr = file.read("cfr")
    k = given["pilot_subcarriers"].reshape(-1)
    received = given["received_pilots"].reshape(-1, k.size)
    batch = given["received_pilots"].size // k.size
    symbols = given.get("pilot_symbols")
    noise = given.get("noise_variance")
    more: dict[str, Any] = {"n_fft": int(given["n_fft"].reshape(-1)[0])} if "n_fft" in given else {}
    used = given.get("used_subcarriers")
    model = "na-sbl-wide" if algorithm == "na-sbl" else pick_model(algorithm, load_scenario("wide"), k.size)
    try:
        expected = estimate(
            np.ascontiguousarray(received),
            k,
            None if noise is None else noise.reshape(-1) if noise.size == batch > 1 else float(noise.reshape(-1)[0]),
            used_subcarriers=None if used is None else np.sort(used.reshape(-1)),
            pilot_symbols=None
            if symbols is None
            else symbols.reshape(-1)
            if symbols.size > 1
            else complex(symbols.item()),
            model=model,
            **more,
        ).cfr
    except ChanestError as error:
        return f"Python refuses: {error}"
    gap = np.abs(cfr.reshape(expected.shape) - expected).max(-1)
    size = np.abs(expected).max(-1)
    return f"{gap.max():.2g} off" if (gap > 2e-3 * size + 1e-300).any() or not np.isfinite(cfr).all() else None


# workers ------------------------------------------------------------------------------------------------------


def _reset_peak() -> None:
    for pid in _pids():
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def _pids() -> list[int]:
    child = reader._process._started
    return [os.getpid(), *([] if child is None else [child.pid])]


def _memory() -> int:
    """Peak bytes of this process and the one that parses."""
    peak = 0
    for pid in _pids():
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            peak += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return peak


class Worker:
    """A fork that tries cases; what becomes of it is for the process that forked it to see."""

    def __init__(self, try_case: Callable[[int], str]) -> None:
        asked, answers = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(asked[1])
            os.close(answers[0])
            code = 1
            try:
                with os.fdopen(asked[0], "rb") as cases, os.fdopen(answers[1], "wb") as told:
                    for line in cases:
                        told.write(pickle.dumps(try_case(int(line))))
                        told.flush()
                reader._process.stop()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)  # what follows is for the process that forked this one
        os.close(asked[0])
        os.close(answers[1])
        self._cases, self._answers = asked[1], answers[0]

    def try_case(self, case: int) -> str:
        os.write(self._cases, b"%d\n" % case)
        if not select.select([self._answers], [], [], HANG)[0]:
            os.kill(self.pid, signal.SIGKILL)
            self.end()
            return f"hang: more than {HANG:g} s"
        told = os.read(self._answers, 1 << 16)
        if not told:
            return f"crash: {os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])}"
        return str(pickle.loads(told))

    def end(self) -> None:
        os.close(self._cases)
        os.close(self._answers)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def main() -> None:
    """Try, count, print what is wrong, exit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="one case again")
    parser.add_argument("--keep", type=Path, help="where the files of cases that went wrong are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a fork of torch's threads would hang
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "work"
        for made in (Path(name) / "good", folder):
            made.mkdir()
        good = write_good_files(Path(name) / "good")
        run([*SIMULATED, "--model", str(good["model"][0]), "--output", str(folder / "out.h5")])
        with h5py.File(folder / "out.h5") as file:
            before = {"model": file["cfr"][()].tobytes()}
        reader._process.stop()

        def try_case(case: int) -> str:
            return tried(case, options.seed, good, before, folder)

        worker: Worker | None = None
        for case in range(options.cases) if options.only is None else [options.only]:
            worker = worker or Worker(try_case)
            told = worker.try_case(case)
            counts[told.split(":")[0]] += 1
            if told in ("ok", "refused"):
                continue
            print(f"seed {options.seed} case {case}: {told}", flush=True)
            if options.keep:
                shutil.copytree(folder, options.keep / f"{options.seed}-{case}", dirs_exist_ok=True)
            if told.startswith(("hang", "crash")):
                worker = None
        if worker:
            worker.end()
    failed = sum(count for what, count in counts.items() if what not in ("ok", "refused"))
    said = ", ".join(f"{counts[what]} {what}" for what in ("ok", "refused"))
    rest = ("traceback", "crash", "hang", "too much", "left over", "wrong")
    print(f"{sum(counts.values())} cases, seed {options.seed}: {said}; {', '.join(f'{counts[w]} {w}' for w in rest)}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
