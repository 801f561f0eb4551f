"""The synthetic setting on the command line."""

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import assert_refused, contents, write_arrays
from small_gaussian import MATRIX, PHI, SYNTHETIC, Y, arrays, changed, vectors

from chanest import load_model
from chanest.files.arrays import ArrayReader

FORMATS = (".h5", ".npz", ".mat")
SCORE = ["cir_nmse_db", "cfr_nmse_db", "seconds_per_estimate"]
SMALL_TOML = """
setting = "synthetic"
name = "small"
description = "Small enough for tests"
n_measurements = 40
n_coefficients = 80
sparsity = 4.0
snr_db = 40.0
training = {snr_db = [40.0, 40.0], fixed_matrix = true}
penalties = {ista = 0.055, fista = 0.05}
"""


def parameters(path):
    return load_model(path).algorithm.state_dict()


@pytest.fixture
def here(tmp_path, monkeypatch, trained, small_models, pilot_arrays):
    """A working folder with the small scenario, its measurements, a model of either setting, received pilots."""
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(SMALL_TOML)
    Path("tiny.h5").write_bytes(trained[0].read_bytes())
    Path("na.h5").write_bytes(small_models["na-alista"].read_bytes())
    write_arrays(tmp_path / "vectors.npz", arrays())
    write_arrays(tmp_path / "pilots.npz", pilot_arrays())
    return tmp_path


BAD_FILES = [
    ({"phi": changed(MATRIX, (slice(None), 7), 0.0)}, "phi: column 7 is zero"),
    ({"phi": changed(MATRIX, (2, 3), torch.nan)}, "phi[2, 3]: NaN or Inf"),
    ({"observations": changed(Y, (5, 3), torch.nan)}, "observations[5, 3]: NaN or Inf"),
    ({"x": changed(vectors().truth["x"], (5, 3), torch.inf)}, "x[5, 3]: NaN or Inf"),
    ({"phi": MATRIX[:, :40]}, "phi: expected fewer rows (measurements) than columns (coefficients), got 40 x 40"),
    ({"phi": MATRIX * 1j}, "phi: expected real numbers, got complex64"),
    ({"observations": Y * 1j}, "observations: expected real numbers, got complex64"),
    ({"phi": MATRIX[0]}, "phi: expected a matrix"),
    ({"observations": Y[:, :39]}, "observations: expected shape (*batch, 40)"),
    ({"observations": Y[:0]}, "observations: expected at least one observation, got shape (0, 40)"),
    ({"x": vectors().truth["x"][:, :79]}, "x: expected shape (6, 80), got (6, 79)"),
    ({"x": vectors().truth["x"][:5]}, "x: expected shape (6, 80), got (5, 80)"),
    ({"x": vectors().truth["x"].mT}, "x: expected shape (6, 80), got (80, 6)"),
    ({"noise_variance": torch.ones(5)}, "noise_variance: expected a number or shape (6,), got (5,)"),
    ({"noise_variance": torch.ones(6, 2)}, "noise_variance: expected a number or shape (6,), got (6, 2)"),
    ({"noise_variance": -torch.ones(6)}, "noise_variance[0]: expected a finite number from 0 on, found -1"),
    ({"noise_variance": 1j * torch.ones(6)}, "noise_variance: expected real numbers, got complex64"),
    ({"observations": None}, "observations: missing; the file has noise_variance, phi, x"),
]


@pytest.mark.parametrize(("fields", "said"), BAD_FILES, ids=[said[:50] for _, said in BAD_FILES])
def test_impossible_measurements_name_the_file(here, chanest, fields, said):
    made = arrays() | {name: value if value is None else value.numpy() for name, value in fields.items()}
    made = {name: value for name, value in made.items() if value is not None}
    for source in ("bad.h5", "bad.npz"):
        write_arrays(here / source, made)
        before = contents(here)
        for output in ("x.h5", "x.npz"):
            ran = chanest("estimate", "--algorithm", "fista", "--input", source, "--output", output)
            assert_refused(ran, f"{source}: {said}")
        assert contents(here) == before


MISTAKES = [
    ("estimate --model na-alista-lte10-m75 --scenario synthetic", "na-alista-lte10-m75: made for OFDM", "of synthetic"),
    ("estimate --model na.h5 --input vectors.npz", "model na: made for OFDM pilots (scenario lte10)"),
    ("estimate --model tiny.h5 --pilots 75", "model tiny: made for synthetic vectors (scenario small)"),
    ("estimate --model tiny.h5", "model tiny: made for synthetic vectors (scenario small), not for OFDM pilots"),
    ("estimate --scenario synthetic --pilots 75", "--pilots: scenario synthetic has --measurements and --coefficients"),
    ("estimate --measurements 100", "--measurements: scenario lte10 has --pilots"),
    ("estimate --scenario lte10 --coefficients 100", "--coefficients: scenario lte10 has --pilots"),
    ("estimate --scenario synthetic --measurements 1000", "--measurements: expected fewer than n_coefficients = 1000"),
    ("estimate --scenario synthetic --coefficients 2", "--coefficients: ", "got 2"),
    ("estimate --scenario synthetic --snr 151", "--snr: ", "got 151"),
    ("estimate --scenario synthetic --algorithm na-sbl", "--algorithm: na-sbl estimates OFDM channels only"),
    ("estimate --scenario synthetic --algorithm linear", "--algorithm: linear estimates OFDM channels only"),
    ("estimate --scenario small.toml --algorithm vamp --plot x.png", "--plot: draws channels"),
    ("estimate --input vectors.npz --algorithm vamp --plot x.png", "--plot: draws channels"),
    ("estimate --input vectors.npz --snr 40", "--snr: describes a simulation, not vectors.npz; leave it out"),
    ("estimate --input vectors.npz --measurements 40", "--measurements: describes a simulation, not vectors.npz"),
    ("estimate --input vectors.npz --scenario lte10", "--scenario: vectors.npz holds measurements", "lte10 is OFDM"),
    (
        "estimate --input vectors.npz",
        "na-alista: no model for scenario synthetic with 40 measurements of 80 coefficients is shipped",
    ),
    ("estimate --scenario small.toml --model tiny.h5 --iterations 3", "--iterations: alista has", "asked for 3"),
    ("simulate --scenario synthetic --pilots 75 --output x.h5", "--pilots: scenario synthetic has --measurements"),
    ("simulate --scenario small.toml --samples 0 --output x.h5", "--samples: expected 1...10000000, got 0"),
    ("train --scenario synthetic --algorithm na-sbl --output x.h5", "--algorithm: na-sbl is for OFDM scenarios only"),
    ("train --scenario synthetic --pilots 75 --output x.h5", "--pilots: scenario synthetic has --measurements"),
    (
        "train --scenario synthetic --algorithm lista --no-fixed-pattern --output x.h5",
        "--algorithm: lista is bound to one matrix, scenario synthetic draws a new matrix every step",
        "give --fixed-pattern",
    ),
    ("train --start tiny.h5 --output x.h5", "--start: model tiny was made for small, not for lte10"),
    ("estimate --input pilots.npz --model tiny.h5 --output x.h5", "model tiny: made for synthetic vectors"),
    (
        "estimate --input pilots.npz --scenario synthetic --algorithm ista",
        "--scenario: pilots.npz holds received pilots, scenario synthetic is for sparse vectors",
    ),
    ("estimate --input vectors.npz --algorithm omp --output x.h5", "--algorithm: omp estimates OFDM channels only"),
    ("compare --scenarios synthetic --pilots 75 --output x.csv", "--pilots: no OFDM scenario among synthetic"),
    ("compare --scenarios synthetic --error-variance --output x.csv", "--error-variance: no OFDM scenario among"),
    ("compare --scenarios synthetic --algorithms magic --output x.csv", "--algorithms: expected some of ista"),
]


@pytest.mark.parametrize(("command", "said"), [(c, s) for c, *s in MISTAKES], ids=[m[0][:70] for m in MISTAKES])
def test_a_mistake_is_one_line_and_changes_nothing(here, chanest, command, said):
    before = contents(here)
    assert_refused(chanest(*command.split()), *said)
    assert contents(here) == before


def test_bad_values_far_into_a_file_leave_no_output_and_are_found_where_they_are(here, chanest):
    for name, index, shape in (("observations", (515, 3), (520,)), ("x", (1, 2, 3, 4), (2, 3, 4))):
        made = arrays(shape)
        made[name][index] = np.inf
        write_arrays(here / "bad.h5", made)
        before = contents(here)
        ran = chanest("estimate", "--algorithm", "ista", "--input", "bad.h5", "--output", "x.h5")
        assert_refused(ran, f"bad.h5: {name}[{', '.join(map(str, index))}]: NaN or Inf")
        assert contents(here) == before


@pytest.mark.parametrize("algorithm", ["vamp", "fista", "tiny"])
def test_a_simulated_file_gives_the_nmse_of_the_simulation(here, chanest, algorithm):
    setting = ("--scenario", "small.toml", "--snr", 30, "--samples", 600, "--seed", 3)
    chosen = ("--model", "tiny.h5") if algorithm == "tiny" else ("--algorithm", algorithm)
    expected = chanest("estimate", *setting, *chosen, "--json").json
    for suffix in FORMATS:
        ran = chanest("simulate", *setting, "--output", f"s{suffix}")
        assert (ran.code, ran.err) == (0, "")
        assert "600 observations of 40 measurements of 80 coefficients, small, 30 dB (SNR)" in ran.out
        found = chanest("estimate", "--input", f"s{suffix}", *chosen, "--json").json
        assert (found["scenario"], found["n_samples"], found["snr_db"]) == ("small", 600, None)
        assert found["cir_nmse_db"] == pytest.approx(expected["cir_nmse_db"], abs=0.01)


def test_json_says_that_there_are_no_pilots(here, chanest):
    options = ("--scenario", "small.toml", "--model", "tiny.h5", "--samples", 40, "--output", "x.h5", "--json")
    facts = chanest("estimate", *options).json
    told = {key: facts[key] for key in ("scenario", "algorithm", "model", "n_measurements", "n_coefficients", "snr_db")}
    assert list(told.values()) == ["small", "alista", "tiny", 40, 80, 40]
    assert (facts["n_samples"], facts["n_iterations"], facts["seed"]) == (40, 8, 0)
    for key in ("n_pilots", "n_distinct_pilots", "snr_convention", "cfr_nmse_db"):
        assert facts[key] is None
    assert list(facts["algorithms"]) == ["ista", "fista", "alista", "vamp", "oracle-ls", "oracle-mmse"]
    assert facts["algorithms"]["alista"] == {key: facts[key] for key in SCORE}
    assert facts["algorithms"]["oracle-mmse"]["cir_nmse_db"] < facts["algorithms"]["vamp"]["cir_nmse_db"] < -20
    with h5py.File("x.h5") as file:
        assert file["x"].shape == (40, 80)
        assert (file.attrs["model"], file.attrs["algorithm"]) == ("tiny", "alista")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("batch", [(), (2, 3)], ids=str)
def test_the_output_has_the_shape_of_the_input(here, chanest, batch, suffix):
    write_arrays(here / f"in{suffix}", arrays(batch, x=False))
    options = ("--model", "tiny.h5", "--output", f"out{suffix}", "--json")
    facts = chanest("estimate", "--input", f"in{suffix}", *options).json
    assert facts["cir_nmse_db"] is None
    expected = load_model("tiny.h5").recover(torch.from_numpy(arrays(batch)["observations"]), PHI).x
    with ArrayReader(Path(f"out{suffix}")) as reader:
        np.testing.assert_allclose(reader.read("x").reshape(expected.shape), expected, atol=1e-6)
        if suffix != ".mat":
            assert reader.shape("x") == (*batch, 80)


INFO = (
    ("synthetic", "250 measurements of 1000 coefficients, 50 of them not zero on average"),
    ("tiny.h5", "40 measurements of 80 coefficients, one fixed matrix (seed 0), SNR 40 dB"),
    ("vectors.npz", "6 observations, 40 measurements of 80 coefficients each"),
    ("x.h5", "sparse vectors found by tiny"),
)


def test_the_tables_and_info_say_what_was_done(here, chanest):
    assert chanest("estimate", "--input", "vectors.npz", "--model", "tiny.h5", "--output", "x.h5").code == 0
    ran = chanest("estimate", "--scenario", "small.toml", "--model", "tiny.h5", "--samples", 8)
    assert (ran.code, ran.err) == (0, "")
    for words in ("40 measurements of 80", "40 dB", "8 vectors", "NMSE (dB)", "left out: na-alista", "true support"):
        assert words in ran.out
    assert "pilot" not in ran.out
    assert "CFR" not in ran.out
    for name, words in INFO:
        ran = chanest("info", name)
        assert (ran.code, ran.err) == (0, "")
        assert words in ran.out


def test_training_on_the_command_line_and_continuing_with_more_iterations(here, chanest):
    setting = "--scenario small.toml --batch 64"
    first = "--algorithm alista --steps 20 --iterations 8 --learning-rate 0.3 --output a.h5"
    assert chanest("train", *setting.split(), *first.split()).code == 0
    for name, tensor in parameters("tiny.h5").items():  # the fixture's own training
        if not name.startswith("calibration"):
            assert torch.equal(parameters("a.h5")[name], tensor), name
    more = "--start a.h5 --iterations 10 --steps 1 --learning-rate 1e-12 --output b.h5"
    assert chanest("train", *setting.split(), *more.split()).code == 0
    old, new = parameters("a.h5"), parameters("b.h5")
    for name in ("log_threshold", "log_step_size"):
        torch.testing.assert_close(new[name], torch.cat([old[name], old[name][-1:].expand(2)]))


@pytest.mark.parametrize("algorithm", ["lista", "lista-cpss", "gated-lista", "stepsize-ista", "aglista"])
def test_algorithms_bound_to_their_matrix_train(here, chanest, algorithm):
    options = "--scenario small.toml --steps 2 --batch 8 --iterations 2 --seed 3 --output l.h5"
    assert chanest("train", "--algorithm", algorithm, *options.split()).code == 0
    options = "--scenario small.toml --model l.h5 --samples 64 --seed 3 --json"
    facts = chanest("estimate", *options.split()).json
    assert facts["algorithm"] == algorithm
    assert facts["cir_nmse_db"] < 0
    other = "--scenario small.toml --coefficients 90 --model l.h5 --samples 4 --output x.h5"
    if "n_coefficients" in load_model("l.h5").algorithm.hyperparameters:
        assert_refused(chanest("estimate", *other.split()), "expected the 40 x 80 real Phi it was made for")
        assert not Path("x.h5").exists()
    start = "--scenario small.toml --coefficients 90 --steps 1 --batch 8 --start l.h5 --output m.h5"
    if "n_coefficients" in load_model("l.h5").algorithm.hyperparameters:
        assert_refused(chanest("train", *start.split()), "--start: n_coefficients of model l is 80, asked for 90")
        assert not Path("m.h5.checkpoint").exists()


# compare ----------------------------------------------------------------------------------------------------


def test_compare_takes_synthetic_scenarios_alone(here, chanest):
    options = "--scenarios small.toml --snr 20,40 --samples 32 --output c.csv"
    ran = chanest("compare", *options.split())
    assert (ran.code, ran.err) == (0, "")
    assert "small: NMSE (dB)" in ran.out
    assert "CFR" not in ran.out
    assert "left out: na-alista" in ran.out
    rows = list(csv.DictReader(Path("c.csv").read_text().splitlines()))
    assert [row["algorithm"] for row in rows] == ["ista", "fista", "vamp", "oracle-ls", "oracle-mmse"] * 2
    for row in rows:
        assert row["n_pilots"] == row["n_distinct_pilots"] == row["cfr_nmse_db"] == row["snr_convention"] == ""
        assert row["algorithms"] == " ".join(SYNTHETIC.peers)
        assert float(row["cir_nmse_db"]) < -5
    assert [row["snr_db"] for row in rows] == ["20"] * 5 + ["40"] * 5
    assert all(Path(f"c-{kind}.png").stat().st_size > 10_000 for kind in ("snr", "frontier"))
    options = "--scenario small.toml --snr 20 --samples 32 --algorithm vamp --json"
    one = chanest("estimate", *options.split()).json
    assert float(rows[2]["cir_nmse_db"]) == pytest.approx(one["cir_nmse_db"], abs=1e-4)


RARE = "--scenarios rare.toml --snr 20 --samples 2 --output c.csv"


def test_compare_survives_vectors_that_are_all_zero(here, chanest):
    Path("rare.toml").write_text(SMALL_TOML.replace("sparsity = 4.0", "sparsity = 1e-6"))
    ran = chanest("compare", *RARE.split())
    assert (ran.code, ran.err) == (0, "")
    assert {row["cir_nmse_db"] for row in csv.DictReader(Path("c.csv").read_text().splitlines())} == {""}


def test_compare_mixes_settings_and_resumes(here, chanest):
    options = "--scenarios lte10,small.toml --pilots 40,75 --snr 20 --algorithms linear,fista,vamp,lista --samples 16"
    assert chanest("compare", *options.split(), "--output", "c.csv").code == 0
    whole = Path("c.csv").read_text().splitlines()
    Path("c.csv").write_text("\n".join(whole[:11]) + "\n")  # the header, and the ten rows of lte10
    ran = chanest("compare", *options.split(), "--output", "c.csv", "--resume")
    assert (ran.code, ran.err) == (0, "")
    for words in ("lte10, 40 pilots: CFR NMSE (dB)", "lte10, 75 pilots: CFR NMSE (dB)", "small: NMSE (dB)"):
        assert ran.out.count(words) == 1
    assert "left out: lista: " in ran.out
    rows = list(csv.DictReader(Path("c.csv").read_text().splitlines()))
    found = {}
    for row in rows:
        found.setdefault((row["scenario"], row["n_pilots"]), []).append(row["algorithm"])
    references = ["oracle-ls", "oracle-mmse"]
    assert found == {
        ("lte10", "40"): ["linear", "fista", "vamp", *references],
        ("lte10", "75"): ["linear", "fista", "vamp", *references],
        ("small", ""): ["fista", "vamp", *references],
    }
    assert rows[-1]["cir_nmse_db"] == list(csv.DictReader(whole))[-1]["cir_nmse_db"]
