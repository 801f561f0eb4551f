"""The synthetic setting: Gaussian matrices, Bernoulli-Gaussian vectors, their recovery, files and command line."""

import csv
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import assert_refused, contents, write_arrays, write_format

from chanest import PilotPattern, load_model, load_scenario
from chanest.algorithms import ALISTA, LISTA, NAALISTA, VAMP
from chanest.errors import AlgorithmError, ModelError, ObservationError
from chanest.evaluation.metrics import nmse_db
from chanest.evaluation.vectors import told_the_support
from chanest.files.arrays import ArrayReader
from chanest.files.vectors import VectorFile
from chanest.models.model import Model
from chanest.models.zoo import NOT_SYNTHETIC, SYNTHETIC_PEERS, pick_model
from chanest.operators import DenseOperator
from chanest.problems.gaussian import SyntheticScenario
from chanest.problems.load import load_any_scenario
from chanest.problems.random import seeded
from chanest.problems.vectors import Vectors, draw_matrix, draw_vectors, simulate_vectors
from chanest.training.batches import training_lesson, validation_lesson
from chanest.training.trainer import TrainingSettings, checkpoint_path, train

SYNTHETIC = load_any_scenario("synthetic")
assert isinstance(SYNTHETIC, SyntheticScenario)
SMALL = SYNTHETIC.replace(name="small", n_measurements=40, n_coefficients=80, sparsity=4)
PHI = draw_matrix(SMALL, 0)
TRAINING = TrainingSettings(steps=20, batch_size=64, learning_rate=0.3, checkpoint_every=8)
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


def alista(k=8) -> ALISTA:
    return ALISTA(k, sparsity=4, ridge=1e-6, schedule="synthetic")


def vectors(n=6, snr_db=40.0) -> Vectors:
    return draw_vectors(SMALL, PHI, n, seeded(0, "test"), snr_db)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> tuple[Path, list[float]]:
    """A model file of a tiny ALISTA, and the NMSE of every step of its training."""
    path, nmse = tmp_path_factory.mktemp("synthetic") / "tiny.h5", []
    train(alista(), SMALL, TRAINING, path, progress=lambda step, value, rate: nmse.append(value))
    return path, nmse


def arrays(batch: tuple[int, ...] = (6,), x: bool = True, noise: bool = True) -> dict[str, np.ndarray]:
    """The fields of a file of measurements of the small scenario."""
    drawn = vectors(math.prod(batch))
    fields = {"phi": PHI.matrix.numpy(), "observations": drawn.observations.numpy().reshape(*batch, 40)}
    if x:
        fields["x"] = drawn.x.numpy().reshape(*batch, 80)
    if noise:
        fields["noise_variance"] = drawn.noise_variance.numpy().reshape(batch)
    return fields


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


# data -------------------------------------------------------------------------------------------------------


def test_the_scenario_is_the_papers():
    sizes = (SYNTHETIC.n_measurements, SYNTHETIC.n_coefficients, SYNTHETIC.sparsity, SYNTHETIC.snr_db)
    assert sizes == (250, 1000, 50, 40)
    assert SYNTHETIC.training.fixed_matrix


def test_the_matrix_is_gaussian_with_unit_columns_and_its_seed_decides_it():
    matrix = draw_matrix(SYNTHETIC, 3).matrix
    assert (matrix.shape, matrix.dtype) == ((250, 1000), torch.float32)
    torch.testing.assert_close(matrix.norm(dim=0), torch.ones(1000), rtol=0, atol=1e-6)
    entries = matrix.double().flatten() * 250**0.5
    assert abs(float(entries.mean())) < 0.01
    assert float(entries.pow(4).mean()) == pytest.approx(3 * 250 / 252, rel=0.02)  # of a sphere in 250 dimensions
    assert torch.equal(draw_matrix(SYNTHETIC, 3).matrix, matrix)
    assert not torch.equal(draw_matrix(SYNTHETIC, 4).matrix, matrix)


def test_vectors_are_bernoulli_gaussian():
    x = draw_vectors(SYNTHETIC, draw_matrix(SYNTHETIC, 0), 2000, seeded(1, "test")).x.double()
    count = (x != 0).double().sum(-1)
    assert float(count.mean()) == pytest.approx(50, abs=0.6)
    assert float(count.var()) == pytest.approx(50 * 0.95, rel=0.12)
    present = x[x != 0]
    assert float(present.mean()) == pytest.approx(0, abs=0.012)
    assert float(present.var()) == pytest.approx(1, rel=0.02)
    assert float(present.pow(4).mean()) == pytest.approx(3, rel=0.05)
    assert float(((x != 0).double().mean(0) - 0.05).abs().max()) < 0.025  # every place alike


@pytest.mark.parametrize("snr_db", [0, 20, 40])
def test_snr_is_the_ratio_of_expected_energies(snr_db):
    phi = draw_matrix(SYNTHETIC, 0)
    drawn = draw_vectors(SYNTHETIC, phi, 1000, seeded(1, "test"), snr_db)
    clean = drawn.x.double() @ phi.matrix.double().mT
    noise = drawn.observations.double() - clean
    assert 10 * math.log10(float(clean.square().sum() / noise.square().sum())) == pytest.approx(snr_db, abs=0.15)
    assert float(noise.square().mean() / drawn.noise_variance.double().mean()) == pytest.approx(1, abs=0.02)


def test_every_vector_may_have_an_snr_of_its_own():
    snr = torch.tensor([0.0, 40.0])
    variance = draw_vectors(SMALL, PHI, 2, seeded(0, "test"), snr).noise_variance
    torch.testing.assert_close(variance, 4 / 40 * torch.tensor([1.0, 1e-4]))


def test_a_vector_does_not_depend_on_how_many_there_are():
    many, few = (list(simulate_vectors(SMALL, PHI, n, seed=5)) for n in (700, 530))
    assert [len(block) for block in few] == [512, 18]
    for name in ("x", "observations", "noise_variance"):
        a, b = (torch.cat([getattr(block, name) for block in blocks]) for blocks in (many, few))
        assert torch.equal(a[:530], b)
    assert not torch.equal(next(simulate_vectors(SMALL, PHI, 1, seed=6)).x, many[0].x[:1])


def test_lessons_keep_the_matrix_or_draw_new_ones():
    fixed = [training_lesson(SMALL, 0, step, 16, 8, "cpu").phi.dense() for step in (-1, 0, 1)]
    fixed.append(validation_lesson(SMALL, 0, 0, "cpu").phi.dense())
    assert all(torch.equal(phi, PHI.matrix) for phi in fixed)
    free = SMALL.replace(training={"snr_db": (20, 40), "fixed_matrix": False})
    drawn = [training_lesson(free, 0, step, 16, 8, "cpu").phi.dense() for step in range(3)]
    drawn += [validation_lesson(free, 0, index, "cpu").phi.dense() for index in range(3)]
    assert len({float(phi.sum()) for phi in drawn}) == 6


def test_a_lesson_is_of_unit_norm_and_its_answer_in_the_units_of_x():
    lesson = training_lesson(SMALL, 0, 0, 16, 8, "cpu")
    torch.testing.assert_close(lesson.y.norm(dim=-1), torch.ones(16))
    x = torch.linalg.lstsq(PHI.matrix.double(), lesson.y.double().mT).solution.mT  # any x that explains y
    clean = lesson.answer(x) @ PHI.matrix.double().mT
    truth = lesson.truth.double() @ PHI.matrix.double().mT
    assert nmse_db(clean, truth) < -35  # the noise, at 40 dB


# exact recovery ---------------------------------------------------------------------------------------------


def test_told_the_support_is_exact_without_noise():
    x = vectors(8).x.double()
    block = Vectors(x, x @ PHI.matrix.double().mT, torch.zeros(8))
    assert nmse_db(told_the_support(block, PHI, mmse=False).double(), x) < -100


def test_told_the_support_and_the_noise_is_the_mmse_estimate():
    """Entry by entry: E[x | y] = (P^T P / s + I)^-1 P^T y / s for the columns P of the support."""
    block = vectors(4, 10.0)
    found = told_the_support(block, PHI, mmse=True)
    for i in range(4):
        on, s = block.x[i] != 0, block.noise_variance[i].double()
        p = PHI.matrix.double()[:, on]
        expected = torch.linalg.solve(
            p.mT @ p / s + torch.eye(int(on.sum())), p.mT @ block.observations[i].double() / s
        )
        torch.testing.assert_close(found[i, on].double(), expected, rtol=1e-4, atol=1e-5)
        assert not found[i, ~on].any()


# Model.recover ----------------------------------------------------------------------------------------------

MODELS = {
    "ista": pick_model("ista", SMALL),
    "fista": pick_model("fista", SMALL),
    "alista": Model(alista().requires_grad_(False), SMALL),
    "na-alista": Model(NAALISTA(4, 8, sparsity=4, ridge=1e-6, schedule="synthetic").requires_grad_(False), SMALL),
    "vamp": pick_model("vamp", SMALL),
}


@pytest.mark.parametrize("told", [True, False], ids=["noise told", "noise unknown"])
@pytest.mark.parametrize("name", MODELS)
def test_units_do_not_matter(name, told):
    model, drawn = MODELS[name], vectors()
    noise = drawn.noise_variance.double()
    y, phi = drawn.observations.double(), PHI.matrix.double()
    expected = model.recover(y, phi, noise if told else None).x
    assert expected.abs().max() > 0.1
    for a in (1e-12, 1e-5, -1.0, 1e12):
        found = model.recover(a * y, phi, a * a * noise if told else None).x / a
        assert float((found - expected).norm() / expected.norm()) < 1e-5, a
    scales = torch.logspace(-12, 12, 80, dtype=torch.float64)[torch.randperm(80, generator=seeded(0, "test"))]
    found = model.recover(y, phi * scales, noise if told else None).x * scales
    assert float((found - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_units_do_not_matter_in_single_precision(scale):
    drawn = vectors()
    for model in MODELS.values():
        expected = model.recover(drawn.observations, PHI).x
        assert float((model.recover(scale * drawn.observations, PHI).x / scale - expected).norm()) < 1e-4
        assert float((model.recover(drawn.observations, scale * PHI.matrix).x * scale - expected).norm()) < 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_precision_and_shape_are_the_inputs(name):
    model, drawn = MODELS[name], vectors()
    for dtype in (torch.float64, torch.float32):
        y, phi = drawn.observations.to(dtype), PHI.matrix.to(dtype)
        together = model.recover(y, phi, record=True)
        assert (together.x.dtype, together.x.shape) == (dtype, (6, 80))
        torch.testing.assert_close(together.iterates[-1], together.x)
        torch.testing.assert_close(model.recover(y.view(3, 2, 40), DenseOperator(phi)).x.view(6, 80), together.x)
        torch.testing.assert_close(model.recover(y[4], phi).x, together.x[4])
    silence = model.recover(torch.zeros(2, 40), PHI).x
    assert not silence.any()


def test_one_vector_does_not_see_the_others():
    loud = vectors().observations
    loud[0] *= 1e6
    for model in MODELS.values():
        quiet = model.recover(vectors().observations, PHI).x[1:]
        torch.testing.assert_close(model.recover(loud, PHI).x[1:], quiet)


def changed(values: torch.Tensor, index, value: float) -> torch.Tensor:
    values = values.clone()
    values[index] = value
    return values


Y, MATRIX = vectors().observations, PHI.matrix
UNUSABLE = [
    ((Y, changed(MATRIX, (slice(None), 7), 0.0)), "phi: column 7 is zero"),
    ((Y, changed(MATRIX, (2, 3), torch.nan)), r"phi\[2, 3\]: NaN or Inf"),
    ((Y, changed(MATRIX, (2, 3), torch.inf)), r"phi\[2, 3\]: NaN or Inf"),
    ((changed(Y, (5, 3), torch.nan), MATRIX), r"observations\[5, 3\]: NaN or Inf"),
    ((Y, MATRIX[:, :40]), r"phi: expected fewer rows \(measurements\) than columns \(coefficients\), got 40 x 40"),
    ((Y, MATRIX.mT), r"expected fewer rows .* got 80 x 40"),
    ((Y, MATRIX.to(torch.complex64)), "phi: expected float32 or float64, got complex64"),
    ((Y.to(torch.complex64), MATRIX), "observations: expected float32 or float64, got complex64"),
    ((Y, MATRIX.long()), "phi: expected float32 or float64, got int64"),
    ((Y, MATRIX[0]), r"phi: expected a matrix \(n_measurements, n_coefficients\), got \(80,\)"),
    ((Y[:, :39], MATRIX), r"observations: expected shape \(\*batch, 40\) for 40 rows of phi, got \(6, 39\)"),
    ((Y[:0], MATRIX), r"observations: expected shape"),
    ((torch.tensor(1.0), MATRIX), r"observations: expected shape \(\*batch, 40\)"),
    ((Y, MATRIX, -1.0), "noise_variance: expected finite numbers, not negative"),
    ((Y, MATRIX, torch.ones(5)), r"noise_variance: expected a number or shape \(6,\), got \(5,\)"),
    ((Y.double(), MATRIX), "phi: expected float64 like the observations, got float32"),
]


@pytest.mark.parametrize(("given", "said"), UNUSABLE, ids=[said[:40] for _, said in UNUSABLE])
def test_unusable_measurements_are_refused(given, said):
    with pytest.raises(ObservationError, match=said):
        MODELS["fista"].recover(*given)


def test_a_model_of_the_other_setting_is_refused_both_ways():
    with pytest.raises(ModelError, match=r"na-alista-lte10-m75: made for OFDM pilots \(scenario lte10\)"):
        load_model("na-alista-lte10-m75").recover(Y, MATRIX)
    pilots = torch.ones(2, 75, dtype=torch.complex64)
    with pytest.raises(ModelError, match=r"made for synthetic vectors \(scenario small\), not for OFDM pilots"):
        MODELS["alista"].estimate(pilots, PilotPattern.random(75, 0))
    with pytest.raises(ModelError, match="linear: made for OFDM pilots"):
        pick_model("linear", load_scenario("lte10")).recover(Y, MATRIX)


def test_learned_matrices_refuse_another_size():
    model = Model(LISTA(2, n_measurements=40, n_coefficients=90), SMALL)
    with pytest.raises(AlgorithmError, match="expected the 40 x 90 real Phi it was made for, got 40 x 80 real"):
        model.recover(Y, MATRIX)


@pytest.mark.parametrize(("snr_db", "expected"), [(40, -45.4), (20, -23.0)])
def test_vamp_comes_to_the_limit_of_large_matrices(snr_db, expected):
    scenario = SYNTHETIC.replace(snr_db=snr_db)
    phi = draw_matrix(scenario, 0)
    block = next(simulate_vectors(scenario, phi, 512, seed=0))
    found = pick_model("vamp", scenario).recover(block.observations, phi, block.noise_variance).x
    assert nmse_db(found, block.x) == pytest.approx(expected, abs=0.7)


class TestPicking:
    def test_penalties_and_prior_come_from_the_scenario(self):
        assert pick_model("ista", SMALL).algorithm.penalty == SMALL.penalties.ista
        vamp = pick_model("vamp", SMALL, n_iterations=7).algorithm
        assert isinstance(vamp, VAMP)
        assert (vamp.sparsity, vamp.n_iterations) == (4, 7)

    @pytest.mark.parametrize("name", NOT_SYNTHETIC)
    def test_what_estimates_channels_only_is_refused(self, name):
        with pytest.raises(AlgorithmError, match=f"algorithm: {name} estimates OFDM channels only.* take ista, fista"):
            pick_model(name, SYNTHETIC)

    def test_sizes_that_no_model_serves_are_said(self):
        with pytest.raises(ModelError, match="na-alista: no model for 40 measurements of 80 coefficients, 4 of them"):
            pick_model("na-alista", SMALL)


# training ---------------------------------------------------------------------------------------------------


def test_twenty_steps_improve_and_the_file_round_trips(trained):
    path, nmse = trained
    assert sum(nmse[-5:]) / 5 < sum(nmse[:5]) / 5 - 3
    model = load_model(path)
    assert model.scenario == SMALL
    assert model.training["validation_nmse_db"] < nmse[0] - 3
    drawn = vectors(256)
    assert nmse_db(model.recover(drawn.observations, PHI).x, drawn.x) < nmse[0] - 3


def parameters(path):
    return load_model(path).algorithm.state_dict()


def test_a_killed_training_resumes_to_the_same_bits(tmp_path, trained):
    path = tmp_path / "cut.h5"

    def killed(step, nmse, rate):
        if step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(alista(), SMALL, TRAINING, path, progress=killed)
    assert checkpoint_path(path).exists()
    train(alista(), SMALL, TRAINING, path, resume=True)
    for name, tensor in parameters(trained[0]).items():
        assert torch.equal(parameters(path)[name], tensor), name


def test_a_warm_start_begins_where_the_other_ended(tmp_path, trained):
    """With a rate of next to nothing the first batch of the grown model is as good as the old one, and stays so."""
    old = load_model(trained[0])
    lesson = training_lesson(SMALL, 0, 0, 64, 8, "cpu")
    before = nmse_db(lesson.answer(old.algorithm(lesson.y, lesson.phi).x), lesson.truth)
    settings = TrainingSettings(steps=2, batch_size=64, learning_rate=1e-12)
    nmse = []
    algorithm = load_model(trained[0]).algorithm.grown(8)
    train(algorithm, SMALL, settings, tmp_path / "w.h5", warm=True, progress=lambda step, v, rate: nmse.append(v))
    assert nmse[0] == pytest.approx(before, abs=1e-3)
    for name, tensor in parameters(trained[0]).items():
        torch.testing.assert_close(parameters(tmp_path / "w.h5")[name], tensor)
    cold = []
    train(alista(), SMALL, settings, tmp_path / "c.h5", progress=lambda step, v, rate: cold.append(v))
    assert cold[0] > nmse[0] + 3


def test_a_killed_warm_start_resumes_to_the_same_bits(tmp_path, trained):
    settings = TrainingSettings(steps=9, batch_size=16, checkpoint_every=4)

    def grown():
        return load_model(trained[0]).algorithm.grown(10)

    def killed(step, nmse, rate):
        if step == 6:
            raise KeyboardInterrupt

    train(grown(), SMALL, settings, tmp_path / "whole.h5", warm=True)
    with pytest.raises(KeyboardInterrupt):
        train(grown(), SMALL, settings, tmp_path / "cut.h5", warm=True, progress=killed)
    train(grown(), SMALL, settings, tmp_path / "cut.h5", warm=True, resume=True)
    for name, tensor in parameters(tmp_path / "whole.h5").items():
        assert torch.equal(parameters(tmp_path / "cut.h5")[name], tensor), name


# files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_x", [True, False], ids=["x", "no x"])
@pytest.mark.parametrize("noise", [True, False], ids=["noise", "no noise"])
@pytest.mark.parametrize("batch", [(), (6,), (1,), (2, 3), (2, 3, 2)], ids=str)
@pytest.mark.parametrize("format", [*FORMATS, "v7.3"])
def test_files_in_any_format_and_shape(tmp_path, format, batch, noise, with_x):
    fields = arrays(batch, with_x, noise)
    n = math.prod(batch)
    with VectorFile(write_format(tmp_path, format, fields)) as file:
        assert (file.n_observations, file.has_x) == (n, with_x)
        assert file.batch_shape == (() if batch == (1,) and format in (".mat", "v7.3") else batch)
        assert torch.equal(file.phi.matrix.float(), PHI.matrix)
        chunks = list(file.chunks(4))
        found = torch.cat([chunk.observations for chunk in chunks])
        assert torch.equal(found.float(), torch.from_numpy(fields["observations"].reshape(n, 40)))
        for chunk in chunks:
            assert (chunk.x is None, chunk.noise_variance is None) == (not with_x, not noise)
        if with_x:
            truth = torch.cat([chunk.x for chunk in chunks])
            assert torch.equal(truth.float(), torch.from_numpy(fields["x"].reshape(n, 80)))
        if noise:
            told = torch.cat([chunk.noise_variance for chunk in chunks])
            np.testing.assert_array_equal(told.numpy(), fields["noise_variance"].astype(float).reshape(n))


def test_one_noise_variance_serves_all_and_whole_numbers_are_numbers(tmp_path):
    fields = {**arrays(noise=False), "noise_variance": np.float64(0.25)}
    fields["observations"] = np.arange(240).reshape(6, 40)
    with VectorFile(write_format(tmp_path, ".npz", fields)) as file:
        (chunk,) = file.chunks(10)
    assert chunk.noise_variance.tolist() == [0.25] * 6
    assert chunk.observations.dtype == torch.float32  # the precision of phi
    assert chunk.observations[0, :3].tolist() == [0, 1, 2]


# the command line -------------------------------------------------------------------------------------------

BAD_FILES = [
    ({"phi": changed(MATRIX, (slice(None), 7), 0.0)}, "phi: column 7 is zero"),
    ({"phi": changed(MATRIX, (2, 3), torch.nan)}, "phi[2, 3]: NaN or Inf"),
    ({"observations": changed(Y, (5, 3), torch.nan)}, "observations[5, 3]: NaN or Inf"),
    ({"x": changed(vectors().x, (5, 3), torch.inf)}, "x[5, 3]: NaN or Inf"),
    ({"phi": MATRIX[:, :40]}, "phi: expected fewer rows (measurements) than columns (coefficients), got 40 x 40"),
    ({"phi": MATRIX * 1j}, "phi: expected real numbers, got complex64"),
    ({"observations": Y * 1j}, "observations: expected real numbers, got complex64"),
    ({"phi": MATRIX[0]}, "phi: expected a matrix"),
    ({"observations": Y[:, :39]}, "observations: expected shape (*batch, 40)"),
    ({"observations": Y[:0]}, "observations: expected at least one, got shape (0, 40)"),
    ({"x": vectors().x[:, :79]}, "x: expected shape (6, 80), got (6, 79)"),
    ({"x": vectors().x[:5]}, "x: expected shape (6, 80), got (5, 80)"),
    ({"x": vectors().x.mT}, "x: expected shape (6, 80), got (80, 6)"),
    ({"noise_variance": torch.ones(5)}, "noise_variance: expected a number or shape (6,), got (5,)"),
    ({"noise_variance": torch.ones(6, 2)}, "noise_variance: expected a number or shape (6,), got (6, 2)"),
    ({"noise_variance": -torch.ones(6)}, "noise_variance: expected finite numbers, not negative"),
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
    ("estimate --input vectors.npz", "na-alista: no model for 40 measurements of 80 coefficients"),
    ("estimate --scenario small.toml --model tiny.h5 --iterations 3", "--iterations: alista has", "asked for 3"),
    ("simulate --scenario synthetic --pilots 75 --output x.h5", "--pilots: scenario synthetic has --measurements"),
    ("simulate --scenario small.toml --samples 0 --output x.h5", "--samples: expected 1...10000000, got 0"),
    ("train --scenario synthetic --algorithm na-sbl --output x.h5", "--algorithm: na-sbl is for OFDM scenarios only"),
    ("train --scenario synthetic --pilots 75 --output x.h5", "--pilots: scenario synthetic has --measurements"),
    (
        "train --scenario synthetic --algorithm lista --no-fixed-pattern --output x.h5",
        "--algorithm: lista is bound to one matrix, scenario synthetic draws a new one every step",
        "give --fixed-pattern",
    ),
    ("train --start tiny.h5 --output x.h5", "--start: model tiny was made for small, not for lte10"),
    ("estimate --input pilots.npz --model tiny.h5 --output x.h5", "model tiny: made for synthetic vectors"),
    ("estimate --input pilots.npz --scenario synthetic --algorithm ista", "scenario synthetic: not an OFDM scenario"),
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
    ("tiny.h5", "trained for small: 40 measurements of 80 coefficients, one fixed matrix (seed 0), SNR 40 dB"),
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
        assert row["algorithms"] == " ".join(SYNTHETIC_PEERS)
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
