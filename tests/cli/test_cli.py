"""The command line: what it prints and writes, and that every mistake is one line on stderr and nothing else."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from child import COMMAND_LINE, MEBIBYTE, measurable, measured
from conftest import FORMATS, assert_refused, contents, write_arrays, write_format

from chanest import PilotPattern, cli, load_model, load_scenario
from chanest.algorithms import ALGORITHMS, LISTA
from chanest.files import arrays as arrayfile
from chanest.files.arrays import ArrayReader
from chanest.models.hdf5 import shipped_models, write_model
from chanest.problems.load import scenario_names

ROOT = Path(__file__).resolve().parents[2]
SCORE = ["cir_nmse_db", "cfr_nmse_db", "seconds_per_estimate"]
KEYS = [
    *("scenario", "algorithm", "model", "n_pilots", "n_distinct_pilots", "snr_db", "snr_convention"),
    *("n_samples", "n_iterations", "seed", "device", *SCORE, "algorithms"),
]
RECEIVED_KEYS = ["trained_for", "warnings", "detected", "median_snr_db", "median_timing_samples", "noise_variance"]
BEYOND = "chanest: warning: model na: 20 pilots, trained for 75\n"
REFERENCES = ["oracle-ls", "oracle-mmse"]
SHIPPED = {path.stem for path in shipped_models()}
LEARNED = [name for name, algorithm in ALGORITHMS.items() if algorithm.learned]


@pytest.fixture
def here(tmp_path, monkeypatch, small_models, pilot_arrays):
    """A working folder with pilots.npz, two models, and files that are in the way or are not what they say."""
    monkeypatch.chdir(tmp_path)
    write_arrays(tmp_path / "pilots.npz", pilot_arrays())
    shutil.copy(small_models["na-alista"], "na.h5")
    shutil.copy(small_models["alista"], "alista.h5")
    with h5py.File("foreign.h5", "w") as file:
        file["data"] = np.arange(3)
    Path("truncated.h5").write_bytes(Path("na.h5").read_bytes()[:3000])
    Path("empty.h5").touch()
    Path("text.h5").write_text("subcarrier real imag\n" * 50)
    Path("folder.h5").mkdir()
    shutil.copy("na.h5", "nan.h5")
    with h5py.File("nan.h5", "a") as file:
        file["parameters/head/bias"][1] = np.nan
    for name in ("there.h5", "there.npz", "there.mat", "there.png", "there.csv"):
        Path(name).write_text("precious")
    lte10 = (ROOT / "scenarios/lte10.toml").read_text()
    Path("unknown.toml").write_text("colour = 1\n" + lte10)
    Path("impossible.toml").write_text(lte10.replace("n_taps = 256", "n_taps = 0"))
    Path("broken.toml").write_text("name = ")
    Path("same.toml").write_text(lte10.replace("n_taps = 256", "n_taps = 128"))
    Path("few.toml").write_text(re.sub(r"ista_error = .*", "ista_error = [1.0]", lte10, count=1))
    Path("narrow.toml").write_text(lte10.replace("n_used = 600", "n_used = 300"))
    return tmp_path


# mistakes ---------------------------------------------------------------------------------------------------

RECEIVED = "estimate --input pilots.npz --model na.h5"
MISTAKES = [
    ("estimate --snr nan", "--snr: ", "finite number, got nan"),
    ("estimate --snr inf", "--snr: ", "finite number, got inf"),
    ("estimate --snr 101", "--snr: ", "less than or equal to 100, got 101"),
    ("estimate --snr -51", "--snr: ", "greater than or equal to -50, got -51"),
    ("estimate --snr loud", "--snr", "valid number"),
    ("estimate --samples 0", "--samples: expected 1...10000000, got 0"),
    ("estimate --samples 10000001", "--samples: expected 1...10000000, got 10000001"),
    ("estimate --samples 1.5", "--samples"),
    ("estimate --seed -1", "--seed: expected 0...2^63 - 1, got -1"),
    (f"estimate --seed {2**63}", "--seed: expected 0...2^63 - 1"),
    ("estimate --pilots 1", "--pilots: ", "got 1"),
    ("estimate --pilots 601", "--pilots: expected 2...600 (the used subcarriers), got 601"),
    ("estimate --iterations 0", "--iterations: expected 1...10000, got 0"),
    ("estimate --iterations 10001", "--iterations: expected 1...10000, got 10001"),
    ("estimate --model alista.h5 --iterations 3", "--iterations: alista has", "4 iterations, asked for 3"),
    ("estimate --input pilots.npz --model alista.h5 --iterations 3", "--iterations: alista has", "asked for 3"),
    ("estimate --algorithm magic", "--algorithm: expected one of ista, fista, alista, na-alista, na-sbl", "got magic"),
    ("estimate --model na.h5 --algorithm alista", "--algorithm: alista asked for, model na is na-alista"),
    ("estimate --model nosuch", "model nosuch: expected a file, or one of"),
    ("estimate --model nosuch.h5", "nosuch.h5: no such file"),
    ("estimate --model na.h5 --scenario nosuch", "scenario nosuch: expected one of", "lte10"),
    ("estimate --scenario nosuch.toml", "nosuch.toml: cannot be read (No such file"),
    ("estimate --scenario unknown.toml", "unknown.toml: colour: unknown field"),
    ("estimate --scenario impossible.toml", "impossible.toml: n_taps: ", "greater than or equal to 1, got 0"),
    ("estimate --scenario broken.toml", "broken.toml: not valid TOML"),
    ("estimate --device tpu", "--device: expected auto, cpu, cuda or cuda:N, got tpu"),
    ("estimate --device cuda:x", "--device: expected auto, cpu, cuda or cuda:N, got cuda:x"),
    ("estimate --device cuda:99", "--device: cuda:99 asked for, found "),
    ("estimate --output there.h5", "there.h5: exists already; give --force"),
    ("estimate --plot there.png", "there.png: exists already; give --force"),
    ("estimate --output folder.h5 --force", "folder.h5: expected a file to write, found a folder"),
    ("estimate --output nowhere/x.h5", "nowhere/x.h5: no folder nowhere"),
    ("estimate --plot nowhere/x.png", "nowhere/x.png: no folder nowhere"),
    ("estimate --output x.csv", "x.csv: expected an output ending in .h5, .npz, .mat, found x.csv"),
    ("estimate --plot x.gif", "x.gif: expected a picture ending in .png, .pdf, .svg"),
    (f"estimate --output {'a' * 300}.h5", "File name too long"),
    (f"{RECEIVED} --output there.npz", "there.npz: exists already; give --force"),
    (f"{RECEIVED} --output there.mat", "there.mat: exists already; give --force"),
    (f"{RECEIVED} --output ./pilots.npz --force", "--output: pilots.npz is the file of --input too"),
    (f"{RECEIVED} --output na.h5 --force", "--output: na.h5 is the file of --model too"),
    (f"{RECEIVED} --pilots 20", "--pilots: describes a simulation, not pilots.npz; leave it out"),
    (f"{RECEIVED} --snr 10", "--snr: describes a simulation, not pilots.npz; leave it out"),
    (f"{RECEIVED} --samples 10", "--samples: describes a simulation, not pilots.npz; leave it out"),
    (f"{RECEIVED} --seed 0", "--seed: describes a simulation, not pilots.npz; leave it out"),
    ("estimate --input pilots.csv", "pilots.csv: no such file"),
    ("estimate --input unknown.toml", "unknown.toml: expected a file ending in .h5, .npz, .mat"),
    ("estimate --input na.h5", "na.h5: pilot_subcarriers: missing; the file has nothing"),
    ("estimate --colour red", "--colour"),
    ("nosuch", "nosuch"),
    ("simulate", "--output"),
    ("simulate --output there.h5", "there.h5: exists already; give --force"),
    ("simulate --output nowhere/x.h5", "nowhere/x.h5: no folder nowhere"),
    ("simulate --output x.csv", "x.csv: expected an output ending in .h5, .npz, .mat"),
    ("simulate --output x.h5 --samples 0", "--samples: expected 1...10000000, got 0"),
    ("simulate --output x.npz --samples 10000000", "x.npz: ", "too much for .npz", "give an output ending in .h5"),
    ("train --output x.npz", "--output: expected a file ending in .h5, got x.npz"),
    ("train --output there.h5", "there.h5: exists already; give --force"),
    ("train --output x.h5 --algorithm ista", f"--algorithm: expected one of {', '.join(LEARNED)}, got ista"),
    ("train --output x.h5 --algorithm lista", "--algorithm: lista is bound to one pilot pattern", "--fixed-pattern"),
    ("train --output x.h5 --algorithm lista-cpss --hidden 8", "--hidden: not an option of lista-cpss"),
    ("train --output x.h5 --start nosuch", "model nosuch: expected a file, or one of"),
    ("train --output x.h5 --start foreign.h5", "foreign.h5: "),
    ("train --output x.h5 --start na.h5 --algorithm alista", "--algorithm: alista asked for, model na is na-alista"),
    ("train --output x.h5 --start alista.h5 --iterations 3", "--iterations: alista can grow from 4", "asked for 3"),
    ("train --output x.h5 --start na.h5 --hidden 9", "--hidden: lstm_hidden of model na is 8, asked for 9"),
    ("train --output x.h5 --start na.h5 --scenario synthetic", "--start: model na was made for lte10", "synthetic"),
    ("train --output na.h5 --start na.h5 --force", "--output: na.h5 is the file of --start too"),
    ("train --output x.h5 --steps 0", "--steps: expected a positive number, got 0"),
    ("train --output x.h5 --batch 9", "--batch: expected a multiple of", "got 9"),
    ("train --output x.h5 --learning-rate 0", "--learning-rate: expected a positive number, got 0"),
    ("train --output x.h5 --learning-rate nan", "--learning-rate: expected a positive number, got nan"),
    ("train --output x.h5 --iterations 0", "--iterations: expected 1...10000, got 0"),
    ("train --output x.h5 --hidden 0", "--hidden: expected at least 1, got 0"),
    ("train --output x.h5 --algorithm alista --hidden 8", "--hidden: not an option of alista"),
    ("train --output x.h5 --inputs q", '--inputs: expected "r", "u" or "r,u"'),
    ("train --output x.h5 --sparsity -1", "--sparsity: expected a number not below 0, got -1"),
    ("train --output x.h5 --ridge nan", "--ridge: expected a number not below 0, got nan"),
    ("train --output x.h5 --snr 9:1", "--snr: expected -50 <= LOW <= HIGH <= 100, got 9:1"),
    ("train --output x.h5 --snr loud", "--snr: expected DB or LOW:HIGH, got loud"),
    ("train --output x.h5 --resume", "x.h5.checkpoint: no checkpoint to resume from"),
    ("estimate --algorithm linear --iterations 3", "--iterations: linear does not iterate, asked for 3"),
    ("train --output x.h5 --algorithm na-sbl --inputs u", "--inputs: not an option of na-sbl"),
    ("train --output x.h5 --algorithm na-sbl --hidden 1", "--hidden: expected at least 2, got 1"),
    ("compare", "--output"),
    ("compare --output x.h5", "--output: expected a file ending in .csv, got x.h5"),
    ("compare --output there.csv", "there.csv: exists already; give --force"),
    ("compare --output nowhere/x.csv", "nowhere/x.csv: no folder nowhere"),
    ("compare --output x.csv --algorithms magic", "--algorithms: expected some of ista, fista", "got magic"),
    ("compare --output x.csv --scenarios nosuch", "scenario nosuch: expected one of"),
    ("compare --output x.csv --snr loud", "--snr: expected numbers like 0,10,20 or 0:30:10, got loud"),
    ("compare --output x.csv --snr 9:1:1", "--snr: expected FIRST:LAST:STEP"),
    ("compare --output x.csv --pilots 7.5", "--pilots: expected whole numbers"),
    ("compare --output x.csv --pilots 1", "--pilots: ", "got 1"),
    ("compare --output x.csv --pilots=", "--pilots: expected whole numbers"),
    ("compare --output x.csv --samples 0", "--samples: expected 1...10000000, got 0"),
    ("compare --output there.csv --force --samples 0", "--samples: expected 1...10000000, got 0"),
    ("compare --output there.csv --force --scenarios nosuch", "scenario nosuch: expected one of"),
    ("compare --output x.csv --scenarios lte10,same.toml", "--scenarios: two different scenarios have one name"),
    ("train --output x.h5 --algorithm na-sbl --iterations 1", "--iterations: expected at least 2, got 1"),
    ("estimate --scenario few.toml", "ista_error: expected 7 numbers, got 1"),
    ("compare --output there.csv --resume", "there.csv: expected the columns scenario, n_pilots"),
    ("info nosuch", "nosuch: no such file, and not one of"),
    ("info pilots.csv", "pilots.csv: no such file"),
    ("info foreign.h5", "foreign.h5: expected a model, received pilots or estimates; the file has data"),
    ("info nan.h5", "nan.h5: parameters/head/bias: NaN or Inf at index (1,)"),
    ("info unknown.toml", "unknown.toml: colour: unknown field"),
]


@pytest.mark.parametrize(("command", "said"), [(c, s) for c, *s in MISTAKES], ids=[m[0][:60] for m in MISTAKES])
def test_a_mistake_is_one_line_and_changes_nothing(here, chanest, command, said):
    before = contents(here)
    assert_refused(chanest(*command.split()), *said)
    assert contents(here) == before


@pytest.mark.parametrize("command", ["estimate --output x.h5 --input", "estimate --output x.h5 --model", "info"])
@pytest.mark.parametrize("name", ["missing.h5", "truncated.h5", "empty.h5", "text.h5", "foreign.h5", "folder.h5"])
def test_files_that_are_not_what_they_should_be_are_named(here, chanest, command, name):
    before = contents(here)
    assert_refused(chanest(*command.split(), name), f"{name}: ")
    assert contents(here) == before


@pytest.mark.parametrize("name", ["missing", "truncated", "empty", "text"])
@pytest.mark.parametrize("suffix", [".npz", ".mat"])
def test_damaged_pilot_files_of_other_formats_are_named(here, chanest, name, suffix):
    content = {"truncated": Path("pilots.npz").read_bytes()[:900], "empty": b"", "text": b"1+2j\n" * 200}
    if name in content:
        Path(name + suffix).write_bytes(content[name])
    for command in ("estimate --model na.h5 --output x.h5 --input", "info"):
        assert_refused(chanest(*command.split(), name + suffix), f"{name}{suffix}: ")
    assert not Path("x.h5").exists()


def test_bad_values_in_the_input_leave_no_output(here, chanest, pilot_arrays):
    for index, shape in (((515, 3), (520,)), ((1, 2, 3, 4), (2, 3, 4))):
        arrays = pilot_arrays(shape, truth=())
        arrays["received_pilots"][index] = np.inf
        write_arrays(here / "bad.h5", arrays)
        before = contents(here)
        for output in ("x.h5", "x.npz", "x.mat"):
            said = f"bad.h5: received_pilots[{', '.join(map(str, index))}]: NaN or Inf"
            options = ("--algorithm", "ista", "--iterations", 1, "--output", output)
            assert_refused(chanest("estimate", "--input", "bad.h5", *options), said)
        assert contents(here) == before


LTE10 = {"used_subcarriers": np.r_[-300:0, 1:301], "n_fft": 1024}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"pilot_subcarriers": np.r_[301, np.arange(1, 20)], **LTE10},
            "pilot subcarriers[0]: 301 is outside the band",
        ),
        ({"pilot_subcarriers": np.arange(-10, 10), **LTE10}, "pilot subcarriers[10]: 0 is on DC"),
        ({"pilot_subcarriers": np.r_[1:21]}, "n_fft: expected the DFT length"),
        ({"pilot_subcarriers": np.ones(20, int)}, "1 stands there more than once"),
        ({"pilot_subcarriers": np.arange(1, 20), **LTE10}, "expected shape (*batch, 19)"),
        ({"received_pilots": np.ones((6, 20))}, "received_pilots: expected complex numbers, got float64"),
    ],
)
def test_impossible_pilots_name_the_file(here, chanest, pilot_arrays, fields, said):
    write_arrays(here / "bad.npz", {**pilot_arrays(), **fields})
    for command in ("estimate --model na.h5 --input", "info"):
        assert_refused(
            chanest(*command.split(), "bad.npz"), f"bad.npz: {said}" if "pilots:" in said else said, "bad.npz"
        )


@pytest.mark.parametrize("suffix", [".npz", ".mat"])
def test_files_too_large_to_load_whole_point_to_h5(here, chanest, pilot_arrays, monkeypatch, suffix):
    write_arrays(here / f"big{suffix}", pilot_arrays((100,)))
    monkeypatch.setattr(arrayfile, "WHOLE_FILE_LIMIT", 100_000)
    ran = chanest("estimate", "--model", "na.h5", "--input", f"big{suffix}")
    assert_refused(ran, f"big{suffix}: ", "store it as .h5")


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_cuda_asked_for_and_absent_is_an_error(here, chanest):
    assert_refused(chanest("estimate", "--device", "cuda"), "--device: cuda asked for, found no CUDA device")


# received pilots --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_received_pilots_in_any_format_become_the_same_estimates(here, chanest, pilot_arrays, format):
    expected = chanest("estimate", "--input", "pilots.npz", "--model", "na.h5", "--output", "a.h5", "--json").json
    source = write_format(here, format, pilot_arrays(), name="other")
    found = chanest("estimate", "--input", source, "--model", "na.h5", "--output", "b.h5", "--json").json
    assert found["cfr_nmse_db"] == pytest.approx(expected["cfr_nmse_db"], abs=1e-3)
    with ArrayReader(Path("a.h5")) as a, ArrayReader(Path("b.h5")) as b:
        np.testing.assert_allclose(a.read("cfr"), b.read("cfr"), atol=1e-5)
        assert a.attributes["input"] == "pilots.npz"


def test_json_of_received_pilots_is_one_object_with_the_chosen_algorithm_only(here, chanest):
    ran = chanest("estimate", "--input", "pilots.npz", "--model", "na.h5", "--json")
    assert ran.err == BEYOND
    facts = ran.json
    assert list(facts) == [*KEYS, *RECEIVED_KEYS]
    assert facts["warnings"] == ["20 pilots, trained for 75"]
    assert facts["trained_for"] == load_model("na.h5").trained_for
    assert list(facts["algorithms"]) == ["na-alista"]
    assert facts["algorithms"]["na-alista"] == {key: facts[key] for key in SCORE}
    told = {key: facts[key] for key in ("algorithm", "model", "n_pilots", "n_samples", "n_iterations", "snr_db")}
    assert list(told.values()) == ["na-alista", "na", 20, 6, 4, None]
    assert facts["cir_nmse_db"] < 1
    assert facts["seconds_per_estimate"] > 0


def test_nmse_is_null_without_the_truth_and_for_silence(here, chanest, pilot_arrays):
    arrays = pilot_arrays()
    silent = {name: 0 * values if name != "pilot_subcarriers" else values for name, values in arrays.items()}
    truth = {**silent, "cir": arrays["cir"], "cfr": arrays["cfr"]}
    write_arrays(here / "a.npz", pilot_arrays(truth=()))
    write_arrays(here / "b.npz", silent)
    write_arrays(here / "c.npz", truth)
    for name, nmse in (("a", None), ("b", None), ("c", 0.0)):
        options = ("--model", "na.h5", "--output", f"{name}.mat", "--plot", f"{name}.png")
        facts = chanest("estimate", "--input", f"{name}.npz", *options, "--json").json
        assert facts["cir_nmse_db"] == facts["cfr_nmse_db"] == nmse
    with ArrayReader(Path("b.mat")) as reader:
        assert not reader.read("cfr").any()


def test_iterations_may_change_where_the_network_is_the_same_in_each(here, chanest):
    ran = chanest("estimate", "--input", "pilots.npz", "--model", "na.h5", "--iterations", 2, "--json")
    assert ran.json["n_iterations"] == 2


def test_ista_needs_no_model(here, chanest):
    facts = chanest("estimate", "--input", "pilots.npz", "--algorithm", "ista", "--iterations", 3, "--json").json
    assert (facts["algorithm"], facts["n_iterations"]) == ("ista", 3)


def test_the_table_of_received_pilots_says_what_was_done(here, chanest):
    ran = chanest("estimate", "--input", "pilots.npz", "--model", "na.h5", "--output", "x.npz", "--plot", "x.png")
    assert ran.code == 0
    assert ran.err == BEYOND
    for words in ("20 pilots", "6 channels", "na-alista", "wrote x.npz", "wrote x.png"):
        assert words in ran.out
    assert Path("x.png").read_bytes().startswith(b"\x89PNG")


def test_received_pilots_of_any_grid_go_to_na_sbl_and_come_back_with_what_was_found(here, chanest):
    """Wi-Fi's 52 pilots from two antennas: 4 observations each, noise of 0.01 and a first path at 2 samples."""
    rng = np.random.default_rng(0)
    used = np.r_[-26:0, 1:27]
    gains = rng.normal(size=(4, 2, 2, 2)).view(complex)[..., 0]
    cfr = gains @ np.exp(-2j * np.pi * np.outer([2.0, 4.5], used) / 64)
    noise = 0.1 * rng.normal(size=(4, 2, 52, 2)).view(complex)[..., 0] / 2**0.5
    fields = {"pilot_subcarriers": used, "received_pilots": cfr + noise, "n_fft": 64, "snapshot_axes": 1}
    write_arrays(here / "wifi.npz", {**fields, "used_subcarriers": used, "subcarrier_spacing_hz": 312.5e3, "cfr": cfr})
    ran = chanest("estimate", "--input", "wifi.npz", "--output", "wifi.out.h5", "--plot", "wifi.png", "--paths")
    assert (ran.code, ran.err) == (0, "")
    for words in (
        "model na-sbl-wide, trained for any receiver",
        "first path at 2.0 samples (0.10 µs)",
        "sent in 4 of 4",
    ):
        assert words in ran.out
    with ArrayReader(Path("wifi.out.h5")) as reader:
        assert reader.shape("cfr") == reader.shape("error_variance") == (4, 2, 52)
        assert np.abs(reader.read("timing_samples") - 2).max() < 0.3
        assert reader.read("detected").all()
        assert np.abs(10 * np.log10(reader.read("noise_variance") / 0.01)).max() < 2
        count, delays = reader.read("n_paths"), reader.read("path_delays_s") * 20e6
        assert reader.shape("path_gains") == (4, 2, delays.shape[-1])
        assert reader.shape("path_variances") == delays.shape
        for row in range(4):
            assert np.array_equal(np.isnan(delays[row]), np.arange(delays.shape[-1]) >= count[row])
            assert np.abs(delays[row][:, None] - [2.0, 4.5]).min(0).max() < 0.2
    facts = chanest("estimate", "--input", "wifi.npz", "--json").json
    assert facts["model"] == "na-sbl-wide"
    assert facts["detected"] == 1
    assert facts["cfr_nmse_db"] < -25
    summary = chanest("info", "wifi.out.h5").out
    for words in (
        "channel estimates by na-sbl-wide",
        "SNR",
        "first path at 2.0 samples",
        "something was sent in 4 of 4",
    ):
        assert words in summary


def test_paths_are_of_received_pilots_and_need_a_file(here, chanest):
    for options in ("--paths", f"{RECEIVED.split(' ', 1)[1]} --paths"):
        assert_refused(chanest("estimate", *options.split()), "--paths: writes the paths of received pilots", "--paths")


def test_pilots_beyond_what_a_model_was_trained_for_are_named_in_the_file_too(here, chanest):
    assert chanest(*f"{RECEIVED} --output new.h5 --model na.h5".split()).code == 0
    with h5py.File("new.h5") as file:
        assert file.attrs["warnings"] == "20 pilots, trained for 75"


def test_force_replaces_what_is_there(here, chanest):
    assert chanest(*f"{RECEIVED} --output there.h5 --plot there.png --force".split()).code == 0
    assert h5py.is_hdf5("there.h5")
    assert Path("there.png").read_bytes().startswith(b"\x89PNG")


def test_a_scenario_name_in_a_file_is_no_markup(here, chanest, pilot_arrays):
    write_arrays(here / "odd.npz", {**pilot_arrays(), "scenario": "[/red] :smile:"})
    ran = chanest("estimate", "--input", "odd.npz", "--model", "na.h5")
    assert ran.code == 0
    assert "[/red] :smile:" in ran.out


# simulated pilots -------------------------------------------------------------------------------------------


def test_json_of_a_simulation_has_the_whole_family_and_the_references(here, chanest):
    facts = chanest("estimate", "--pilots", 75, "--snr", 10, "--samples", 20, "--json").json
    assert list(facts) == KEYS
    assert list(facts["algorithms"]) == [*load_scenario("lte10").peers, *REFERENCES]
    assert facts["algorithms"]["linear"]["cir_nmse_db"] is None
    assert facts["algorithms"]["na-alista"] == {key: facts[key] for key in SCORE}
    told = {key: facts[key] for key in KEYS[:10]}
    expected = ["lte10", "na-alista", "na-alista-lte10-m75", 75, 75, 10, "pilot", 20, 16, 0]
    assert list(told.values()) == expected
    assert facts["cfr_nmse_db"] < facts["algorithms"]["linear"]["cfr_nmse_db"]


def test_the_table_of_a_simulation_shows_every_estimator(here, chanest):
    ran = chanest("estimate", "--samples", 8, "--model", "na.h5", "--output", "x.npz", "--plot", "x.svg")
    assert ran.code == 0, ran.err
    for name in [*load_scenario("lte10").peers, *REFERENCES]:
        assert re.search(rf"│ {name} ", ran.out)
    assert "model na, " in ran.out
    with ArrayReader(Path("x.npz")) as reader:
        assert reader.shape("cfr") == (8, 600)
        assert (reader.text("scenario"), reader.text("model")) == ("lte10", "na")


def test_every_peer_serves_another_band(here, chanest):
    ran = chanest("estimate", "--samples", 4, "--scenario", "narrow.toml", "--algorithm", "na-alista", "--pilots", 20)
    assert ran.code == 0, ran.err
    assert "left out: " not in ran.out
    assert "model na-alista-wide" in ran.out


def test_a_simulated_file_gives_the_nmse_of_the_simulation(here, chanest):
    options = ("--pilots", 40, "--snr", 15, "--samples", 700, "--seed", 3)
    expected = chanest("estimate", *options, "--model", "na.h5", "--json").json
    for suffix in (".h5", ".mat"):
        assert chanest("simulate", *options, "--output", f"s{suffix}").code == 0
        found = chanest("estimate", "--input", f"s{suffix}", "--model", "na.h5", "--json").json
        assert found["scenario"] == "lte10"
        assert (found["n_pilots"], found["n_samples"]) == (40, 700)
        for key in ("cir_nmse_db", "cfr_nmse_db"):
            assert found[key] == pytest.approx(expected[key], abs=0.01)


def test_pattern_and_first_samples_depend_on_the_seed_alone(here, chanest):
    for name, samples, seed in (("few", 5, 0), ("many", 600, 0), ("other", 5, 1)):
        options = ("--samples", samples, "--seed", seed, "--output", f"{name}.h5")
        assert chanest("simulate", *options).code == 0
    with h5py.File("few.h5") as few, h5py.File("many.h5") as many, h5py.File("other.h5") as other:
        for name in ("pilot_subcarriers", "received_pilots", "cir", "cfr"):
            np.testing.assert_array_equal(many[name][: len(few[name])], few[name])
        assert few["pilot_subcarriers"][()].tolist() != other["pilot_subcarriers"][()].tolist()


# the rest ---------------------------------------------------------------------------------------------------


def test_training_writes_a_model_that_estimates_and_leaves_no_checkpoint(here, chanest):
    before = set(contents(here))
    options = "--algorithm alista --steps 2 --batch 8 --iterations 2 --snr 5:15 --output new.h5"
    ran = chanest("train", *options.split())
    assert (ran.code, ran.err) == (0, "")
    assert set(contents(here)) - before == {"new.h5"}
    assert chanest("estimate", "--input", "pilots.npz", "--model", "new.h5", "--json").json["n_iterations"] == 2


@pytest.mark.parametrize("algorithm", LEARNED)
def test_every_learned_algorithm_trains_with_its_defaults(here, chanest, monkeypatch, algorithm):
    monkeypatch.setattr("chanest.training.trainer.fit_error_variance", lambda *_, **__: None)  # it takes seconds
    options = "--steps 1 --batch 8 --iterations 2 --pilots 20 --fixed-pattern --seed 3"
    assert chanest("train", "--algorithm", algorithm, *options.split(), "--output", "new.h5").code == 0
    options = "--model new.h5 --pilots 20 --samples 2 --seed 3 --json"
    facts = chanest("estimate", *options.split()).json
    assert (facts["algorithm"], facts["n_iterations"]) == (algorithm, 2)
    assert facts["cfr_nmse_db"] < 1


def test_a_start_model_decides_the_algorithm_and_its_parameters_grow(here, chanest, monkeypatch):
    monkeypatch.setattr("chanest.training.trainer.fit_error_variance", lambda *_, **__: None)
    options = "--steps 1 --batch 8 --learning-rate 1e-12 --snr 5:15 --output new.h5"
    ran = chanest("train", "--start", "alista.h5", "--iterations", 6, *options.split())
    assert (ran.code, ran.err) == (0, "")
    assert "alista, 1 steps" in ran.out
    with h5py.File("alista.h5") as old, h5py.File("new.h5") as new:
        assert new.attrs["algorithm"] == "alista"
        assert new["hyperparameters"].attrs["n_iterations"] == 6
        for name in ("log_step_size", "log_threshold"):
            before, after = old[f"parameters/{name}"][()], new[f"parameters/{name}"][()]
            np.testing.assert_allclose(after[:4], before, atol=1e-9)
            np.testing.assert_allclose(after[4:], before[3], atol=1e-9)
        assert "--start alista.h5" in new["training"].attrs["command"]


def test_info_tells_models_scenarios_pilots_and_estimates_apart(here, chanest):
    chanest(*f"{RECEIVED} --output e.npz".split())
    shutil.copy("na.h5", "na.h5.checkpoint")
    for name, said in (
        ("na.h5", "a chanest model, na-alista"),
        ("na.h5.checkpoint", "a chanest model, na-alista"),
        ("lte10", "8 taps of 256"),
        ("narrow.toml", "300 of 1024 subcarriers"),
        ("etu", "Rayleigh paths"),
        ("pilots.npz", "6 observations of 20 pilots"),
        ("e.npz", "channel estimates by na"),
    ):
        ran = chanest("info", name)
        assert (ran.code, ran.err) == (0, "")
        assert said in ran.out


def test_lists_name_everything_that_is_shipped_in_full(chanest):
    for command, names in (("models", SHIPPED), ("scenarios", scenario_names())):
        ran = chanest(command)
        assert ran.code == 0
        assert set(names) <= set(ran.out.split())


def test_no_arguments_show_the_help(chanest):
    ran = chanest()
    assert (ran.code, ran.err) == (0, "")
    assert "Usage: chanest" in ran.out


def subprocess_chanest(*arguments, **options):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from chanest.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_a_process_of_its_own_prints_json_or_one_line(here):
    good = subprocess_chanest("estimate", "--input", "pilots.npz", "--model", "na.h5", "--json")
    assert (good.returncode, good.stderr) == (0, BEYOND)
    assert list(json.loads(good.stdout)) == [*KEYS, *RECEIVED_KEYS]
    bad = subprocess_chanest("estimate", "--input", "text.h5")
    assert (bad.returncode, bad.stdout, bad.stderr.count("\n")) == (2, "", 1)
    plain = subprocess_chanest(*RECEIVED.split(), env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (plain.returncode, plain.stderr) == (0, BEYOND)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not measurable, reason="reads the memory of a process in /proc")
def test_a_million_observations_stream_through_in_two_gibibytes(tmp_path, small_models):
    n, n_pilots, rows = 10**6, 20, 10**5
    source, output = tmp_path / "many.h5", tmp_path / "estimates.h5"
    rng = np.random.default_rng(0)
    with h5py.File(source, "w") as file:
        file["pilot_subcarriers"] = np.asarray(PilotPattern.random(n_pilots, seed=0).subcarriers)
        received = file.create_dataset("received_pilots", (n, n_pilots), np.complex64)
        for first in range(0, n, rows):
            parts = rng.standard_normal((rows, n_pilots, 2), np.float32)
            received[first : first + rows] = parts.view(np.complex64)[..., 0]
    try:
        options = ("--input", source, "--output", output, "--model", small_models["na-alista"], "--json")
        out, most = measured(COMMAND_LINE, "estimate", *options, timeout=3600)
        assert json.loads(out)["n_samples"] == n
        assert most < 2048 * MEBIBYTE
        with h5py.File(output) as file:
            assert file["cfr"].shape == (n, 600)
            assert file["cir"][-1].any()
    finally:
        source.unlink()
        output.unlink(missing_ok=True)


def test_compare_resumes_with_the_same_rows(tmp_path, chanest, monkeypatch):
    from chanest.evaluation import comparison

    monkeypatch.chdir(tmp_path)
    grid = ["--scenarios", "lte10,etu", "--pilots", "40,75", "--snr", "0:20:20"]
    options = [*grid, "--algorithms", "linear,omp", "--samples", "16"]
    assert chanest("compare", *options, "--output", "whole.csv").code == 0
    done = 0

    def dies_at_the_third(*arguments, **named):
        nonlocal done
        done += 1
        if done == 3:
            raise KeyboardInterrupt
        return compare(*arguments, **named)

    compare = comparison.compare
    monkeypatch.setattr("chanest.cli.compare.compare_estimators", dies_at_the_third)
    assert chanest("compare", *options, "--output", "cut.csv").code != 0
    assert len(Path("cut.csv").read_text().splitlines()) == 1 + 2 * 4
    assert_refused(chanest("compare", *options, "--output", "cut.csv"), "cut.csv: exists already")
    assert_refused(
        chanest("compare", *options, "--output", "cut.csv", "--resume", "--seed", "1"), "seed: made with 0, asked for 1"
    )
    ran = chanest("compare", *options, "--output", "cut.csv", "--resume")
    assert ran.code == 0
    assert ran.out.count("CFR NMSE (dB)") == 4
    whole, cut = (list(csv.DictReader(Path(name).read_text().splitlines())) for name in ("whole.csv", "cut.csv"))
    for row in (*whole, *cut):
        del row["seconds_per_estimate"]
    assert whole == cut
    assert len(whole) == 8 * 4
    assert all(Path(f"cut-{kind}.png").stat().st_size > 10_000 for kind in ("snr", "frontier"))


def test_models_by_name_and_file_are_compared_beside_estimators(tmp_path, chanest, monkeypatch, small_models):
    monkeypatch.chdir(tmp_path)
    shutil.copy(small_models["alista"], "mine.h5")
    options = ["--scenarios", "lte10,synthetic", "--snr", "10", "--samples", "16", "--output", "m.csv"]
    compared = [*options, "--algorithms", "linear,alista,mine.h5,alista-lte10-m75,alista-synthetic-40db"]
    ran = chanest("compare", *compared)
    assert ran.code == 0
    found = {(row["scenario"], row["algorithm"]): row for row in csv.DictReader(Path("m.csv").read_text().splitlines())}
    assert found["lte10", "mine.h5"]["model"] == "mine"
    assert found["lte10", "alista-lte10-m75"]["cfr_nmse_db"] == found["lte10", "alista"]["cfr_nmse_db"]
    assert found["lte10", "mine.h5"]["cfr_nmse_db"] != found["lte10", "alista"]["cfr_nmse_db"]
    assert [name for kind, name in found if kind == "synthetic"][:2] == ["alista", "alista-synthetic-40db"]
    for model, made, asked in (
        ("mine", "OFDM pilots (scenario lte10)", "the vectors of synthetic"),
        ("alista-synthetic-40db", "synthetic vectors (scenario synthetic)", "OFDM pilots"),
    ):
        assert f"left out: model {model}: made for {made}, not for {asked}" in ran.out
    shutil.copy(small_models["na-alista"], "mine.h5")
    assert_refused(chanest("compare", *compared, "--resume"), "algorithms: made with", "mine.h5@")
    assert_refused(chanest("compare", *options, "--force", "--algorithms", "other.h5"), "other.h5: no such file")


def test_a_model_of_one_phi_is_left_out_where_the_pilots_are_others(tmp_path, chanest, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model(Path("lista.h5"), LISTA(2, 20, 256, "complex"), load_scenario("lte10"), {"steps": 0})
    options = ["--snr", "10", "--pilots", "20,40", "--samples", "8", "--algorithms", "linear,lista.h5"]
    ran = chanest("compare", *options, "--output", "l.csv")
    assert ran.code == 0
    rows = list(csv.DictReader(Path("l.csv").read_text().splitlines()))
    assert [row["n_pilots"] for row in rows if row["algorithm"] == "lista.h5"] == ["20"]
    assert "left out: model lista: lista: expected the 20 x 256 complex Phi it was made for, got 40 x 256" in ran.out


@pytest.mark.parametrize("algorithm", ["omp", "lmmse-exponential", "sbl"])
def test_any_estimator_serves_a_file_and_says_how_sure_it_is(here, chanest, algorithm):
    ran = chanest("estimate", "--input", "pilots.npz", "--algorithm", algorithm, "--output", "x.h5", "--json")
    assert ran.json["algorithm"] == algorithm
    with ArrayReader(Path("x.h5")) as found:
        names = set(found.names())
        assert found.shape("error_variance") == found.shape("cfr") == (6, 600)
    assert ("cir" in names) == (algorithm != "lmmse-exponential")


@pytest.mark.parametrize("name", scenario_names())
def test_info_describes_every_scenario(chanest, name):
    ran = chanest("info", name)
    assert ran.code == 0
    assert ran.out.startswith(f"{name}: ")


def test_info_knows_estimates_without_taps_and_recorded_channels(here, chanest):
    assert chanest("estimate", "--input", "pilots.npz", "--algorithm", "linear", "--output", "e.h5").code == 0
    assert "channel estimates by linear" in chanest("info", "e.h5").out
    assert "recorded channels" in chanest("info", ROOT / "scenarios/munich.h5").out


def test_estimates_of_an_uncalibrated_scenario_are_written_without_error_variance(here, chanest):
    text = Path(ROOT / "scenarios/lte10.toml").read_text()
    Path("own.toml").write_text(re.sub(r"f?ista_error = .*\n", "", text))
    options = ["--scenario", "own.toml", "--algorithm", "ista", "--samples", "8", "--output", "i.h5"]
    assert chanest("estimate", *options).code == 0
    with ArrayReader(Path("i.h5")) as found:
        assert "error_variance" not in set(found.names())


def test_an_interrupt_in_a_destructor_is_not_lost(monkeypatch):
    """Python drops exceptions of callbacks; h5py's run so often that interrupts fell into them."""

    class Unlucky:
        def __del__(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "unraisablehook", cli._interrupt_again)
    Unlucky()
    with pytest.raises(KeyboardInterrupt):
        time.sleep(5)


def test_info_tells_the_delays_and_paths_of_estimates(here, chanest):
    chanest("simulate", "--scenario", "eva", "--samples", "4", "--output", "eva.h5")
    chanest("estimate", "--input", "eva.h5", "--output", "eva.out.h5", "--paths")
    summary = chanest("info", "eva.out.h5").out
    assert re.search(r"RMS delay spread [\d.]+ samples \([\d.]+ µs\), \d+ (to \d+ )?paths", summary)


def test_octaves_own_hdf5_is_named(here, chanest):
    with h5py.File("octave.h5", "w") as file:
        file.create_group("received_pilots").attrs["OCTAVE_NEW_FORMAT"] = np.uint8(1)
    done = chanest("estimate", "--input", "octave.h5", "--output", "x.h5")
    assert "octave.h5: Octave's own kind of HDF5; save it with the option '-v7'" in done.err
