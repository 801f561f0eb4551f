"""The same model files in PyTorch and in TensorFlow: eager, as a graph, compiled, and as a SavedModel."""

import os
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from chanest import Estimate, Grid, Model, PilotPattern, load_model, load_scenario, nmse_db
from chanest.algorithms import ALISTA, ISTA, NAALISTA, NASBL, Algorithm, CircleNASBL
from chanest.errors import ExtraError, FileError, ModelError, ObservationError
from chanest.models import shipped_models
from chanest.problems import seeded

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of TensorFlow's own imports
    tf = pytest.importorskip("tensorflow")
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

from chanest.integrations.tensorflow import ChannelEstimate, SparseEstimator, export_savedmodel  # noqa: E402
from chanest.integrations.tensorflow.delays import taps_of  # noqa: E402

MODELS = (
    "alista-lte10-m75",
    "na-alista-lte10-m75",
    "na-sbl-lte10-m75",
    "alista-wide",
    "na-alista-wide",
    "na-sbl-wide-window",
    "na-sbl-wide",
)
LIMITS = {"alista": (1e-5, 1e-10), "na-alista": (1e-5, 1e-10), "na-sbl": (1e-2, 1e-8)}  # complex64, complex128


def small_model(name: str) -> Model:
    """One of few iterations, with parameters that a test can tell apart from their initial values."""
    made: dict[str, Algorithm] = {"alista": ALISTA(3), "na-alista": NAALISTA(3, 8), "na-sbl": NASBL(2, 4)}
    made["circle"] = CircleNASBL(4, 1, 4)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made[name].parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return Model(made[name].requires_grad_(False), load_scenario("lte10").replace(n_taps=64), f"small-{name}")


SMALL = [pytest.param(name, id=f"small-{name}") for name in (*LIMITS, "circle")]
SHIPPED = [pytest.param(f"{name}-wide", id=f"{name}-wide", marks=pytest.mark.slow) for name in LIMITS]


def made(name: str) -> Model:
    return load_model(name) if "-wide" in name else small_model(name)


def both(
    model: Model, pattern: PilotPattern, snr_db: float, dtype: torch.dtype, known: bool, n: int = 16
) -> tuple[Estimate, ChannelEstimate, torch.Tensor]:
    """The estimates of the same pilots in PyTorch and in TensorFlow, and the true CFR."""
    data = model.ofdm.replace(snr_db=snr_db).draw(pattern, n, seeded(3, "test"))
    pilots = data.observations.to(dtype)
    noise = torch.as_tensor(data.noise_variance).double().expand(n) if known else None
    ours = model.estimate(pilots, pattern, noise, error_variance=True)
    told = None if noise is None else noise.numpy()
    theirs = SparseEstimator(model)(pilots.numpy(), pattern, told, error_variance=True)
    return ours, theirs, data.truth["cfr"]


def distances(found: tf.Tensor | torch.Tensor, expected: torch.Tensor) -> np.ndarray:
    """Relative distance of every estimate."""
    wanted = expected.numpy()
    return np.linalg.norm(found.numpy() - wanted, axis=-1) / np.linalg.norm(wanted, axis=-1)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("name", MODELS)
def test_estimates_equal_those_of_pytorch(name, dtype, known):
    model = load_model(name)
    limit = LIMITS[model.algorithm.name][dtype == torch.complex128]
    for pattern, snr_db in ((PilotPattern.random(75, 1), 10.0), (PilotPattern.random(90, 2), 20.0)):
        ours, theirs, truth = both(model, pattern, snr_db, dtype, known, 8)
        assert distances(theirs.cfr, ours.cfr).max() < limit
        assert theirs.cfr.dtype.name == str(dtype).removeprefix("torch.")
        nmse = [nmse_db(cfr, truth.to(dtype)) for cfr in (torch.from_numpy(theirs.cfr.numpy()), ours.cfr)]
        assert abs(nmse[0] - nmse[1]) < 0.02
        if dtype == torch.complex128 or not model.algorithm.circle:  # taps nearer than the resolution trade places
            assert distances(theirs.cir, ours.cir).max() < 10 * limit
        ratio = theirs.error_variance.numpy() / ours.error_variance.numpy()
        assert np.abs(np.log(ratio)).max() < 100 * limit


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in shipped_models() if "synthetic" not in p.stem], ids=lambda p: p.stem)
def test_every_shipped_model_equals_that_of_pytorch(path):
    """At its own number of pilots, over the SNRs it was trained for; docs/tensorflow.md has the figures.

    In float32 those estimates are compared that rounding leaves alone, PyTorch's float32 and float64 being near:
    steps of NA-ALISTA that amplify, and ties of the support selection, take the others as far apart. NA-SBL's float32
    is that of TensorFlow's double-precision factorisation: near PyTorch's float64, from which PyTorch's float32 strays
    at high SNR.
    """
    model = load_model(path.stem)
    limits = LIMITS[model.algorithm.name]
    far: dict[int, list[np.ndarray]] = {0: [], 1: []}
    low, high = model.ofdm.training.snr_db
    snrs = [snr for snr in (0.0, 10.0, 20.0, 30.0) if low <= snr <= high]
    n = 128 // len(snrs)
    for snr_db in snrs:
        for pattern in (PilotPattern.random(model.ofdm.n_pilots, seed) for seed in (1, 2)):
            exact, found, truth = both(model, pattern, snr_db, torch.complex128, True, n)
            far[1].append(distances(found.cfr, exact.cfr) > limits[1])
            ours, theirs, _ = both(model, pattern, snr_db, torch.complex64, True, n)
            settled = distances(ours.cfr, exact.cfr) < limits[0] / 10
            far[0].append((distances(theirs.cfr, ours.cfr) > limits[0])[settled])
            cfr = torch.from_numpy(theirs.cfr.numpy())
            assert abs(nmse_db(cfr, truth) - nmse_db(exact.cfr, truth.to(torch.complex128))) < 0.02
            assert snr_db > 10 or abs(nmse_db(cfr, truth) - nmse_db(ours.cfr, truth)) < 0.02
    assert np.concatenate(far[0]).size > 100
    assert np.mean(np.concatenate(far[0])) <= 0.02
    assert np.mean(far[1]) <= (0.02 if model.algorithm.name == "na-sbl" else 0)


@pytest.mark.parametrize("lstm_inputs", ["r", "u", "r,u"])
def test_na_alista_reads_what_the_file_says(lstm_inputs):
    algorithm = NAALISTA(4, 8, lstm_inputs, ridge=0.1 if lstm_inputs == "r" else 0.0, schedule="synthetic")
    model = Model(algorithm.requires_grad_(False), load_scenario("lte10"))
    ours, theirs, _ = both(model, PilotPattern.random(40, 1), 10.0, torch.complex64, True)
    assert distances(theirs.cfr, ours.cfr).max() < 1e-5


def test_alista_without_a_ridge_and_taps_that_fill_the_symbol():
    scenario = load_scenario("lte10").replace(n_taps=600, first_tap_samples=-20, cp_samples=0)
    model = Model(ALISTA(4, ridge=0.0).requires_grad_(False), scenario)
    ours, theirs, _ = both(model, PilotPattern.random(100, 1), 20.0, torch.complex128, True)
    assert distances(theirs.cfr, ours.cfr).max() < 1e-10


@pytest.mark.parametrize("name", MODELS[:3])
def test_silence_scale_and_nan(name):
    estimator, pattern = SparseEstimator(name), PilotPattern.random(75, 1)
    pilots = np.random.default_rng(0).normal(size=(2, 3, 75, 2)).astype(np.float32).view(np.complex64)[..., 0]
    found = estimator(pilots, pattern, 0.1, error_variance=True)
    assert found.cfr.shape == found.error_variance.shape == (2, 3, 600)
    assert found.cir.shape == (2, 3, 256)
    for scale in (1e-30, 1e30):
        scaled = estimator(pilots * np.float32(scale), pattern, 0.1 * scale**2)
        assert np.allclose(scaled.cfr.numpy() / np.float32(scale), found.cfr, rtol=1e-3, atol=1e-4)
    pilots[0, 0] = 0
    pilots[1, 2, 5] = np.nan
    for told in (0.1, None):
        spoilt = estimator(pilots, pattern, told, error_variance=True)
        assert not np.any(spoilt.cfr[0, 0])
        assert all(np.isnan(part[1, 2].numpy()).all() for part in spoilt[:3])
        assert np.isfinite(np.delete(spoilt.cfr.numpy().reshape(6, -1), 5, axis=0)).all()


@pytest.mark.parametrize("name", SMALL + SHIPPED)
def test_a_graph_serves_every_batch_and_pattern(name):
    model = made(name)
    graph = tf.function(SparseEstimator(model)).get_concrete_function(
        tf.TensorSpec([None, None], tf.complex64), tf.TensorSpec([None], tf.int64), tf.TensorSpec([None], tf.float32)
    )
    limit = LIMITS[model.algorithm.name][0]
    for batch, n_pilots in ((1, 40), (7, 75), (70, 75)):
        pattern = PilotPattern.random(n_pilots, batch)
        pilots = model.ofdm.draw(pattern, batch, seeded(1, "test")).observations
        found = graph(tf.constant(pilots.numpy()), tf.constant(pattern.subcarriers, tf.int64), tf.fill([batch], 0.1))
        assert distances(found.cfr, model.estimate(pilots, pattern, 0.1).cfr).max() < limit


@pytest.mark.parametrize("name", SMALL + SHIPPED)
def test_compiled_by_xla(name):
    estimator, pattern = SparseEstimator(made(name)), PilotPattern.random(20, 1)
    pilots = tf.constant(load_scenario("lte10").draw(pattern, 2, seeded(1, "test")).observations.numpy())
    plain = estimator(pilots, pattern, 0.1, error_variance=True)
    compiled = tf.function(estimator, jit_compile=True)(pilots, pattern, 0.1, error_variance=True)
    for found, expected in zip(compiled, plain, strict=True):
        assert np.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(np.abs(expected).max()))


def test_gradients_are_finite():
    pattern = PilotPattern.random(20, 1)
    for name in (*LIMITS, "circle"):
        estimator = SparseEstimator(small_model(name))
        for pilots in (tf.ones([2, 20], tf.complex64), tf.zeros([2, 20], tf.complex64)):
            with tf.GradientTape() as tape:
                tape.watch(pilots)
                energy = tf.reduce_sum(tf.square(tf.abs(estimator(pilots, pattern, 0.1).cfr)))
            assert np.isfinite(tape.gradient(energy, pilots)).all()


def test_a_window_that_is_told():
    model, pattern = load_model("na-sbl-wide"), PilotPattern.random(75, 1)
    pilots = model.ofdm.draw(pattern, 4, seeded(1, "test")).observations.to(torch.complex128)
    window = model.ofdm.window_samples
    ours = model.estimate(pilots, pattern, 0.1, window_samples=window, error_variance=True)
    found = SparseEstimator(model, window_samples=window)(pilots.numpy(), pattern, 0.1, error_variance=True)
    assert distances(found.cfr, ours.cfr).max() < 1e-8
    assert np.allclose(found.error_variance, ours.error_variance, rtol=1e-6)
    assert found.cir.shape == ours.cir.shape


def test_a_graph_lays_the_taps_that_are_laid_for_a_known_pattern():
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)], autograph=False)
    def late(subcarriers):
        return [(t.count, t.first, t.length) for t in (taps_of(subcarriers, 1024, w) for w in windows)]

    windows = (None, (-8.0, 264.0))
    generator = np.random.default_rng(0)
    combs = [np.arange(start, 300, step) for step in (1, 2, 3, 6, 8, 12, 30) for start in (-300, -17)]
    combs += [comb[comb != 0] for comb in combs] + [np.delete(comb, len(comb) // 2) for comb in combs]
    wifi = np.r_[-28:-1:2, -1, 1:28:2, 28]
    drawn = generator.integers(3, 200, (20, 4)) + np.array([-500, 0, 200, 9])
    blocks = [np.r_[a : a + n, b : b + m : 3] for a, n, b, m in drawn]
    random = [np.sort(generator.choice(np.arange(-400, 400), n, False)) for n in (2, 3, 5, 9, 16, 75, 200)]
    random += [np.array([5, 6]), np.array([-3, 1])]
    for subcarriers in (*combs, wifi, *blocks, *random):
        expected = [taps_of(tf.constant(subcarriers, tf.int64), 1024, window) for window in windows]
        found = late(tf.constant(generator.permutation(subcarriers), tf.int64))
        assert [[int(n) for n in one] for one in found] == [[t.count, t.first, t.length] for t in expected]


def test_cfr_on_other_subcarriers():
    pattern, used = PilotPattern.random(75, 1), np.array([-512, -3, 0, 1, 500])
    pilots = load_scenario("lte10").draw(pattern, 3, seeded(1, "test")).observations
    estimator = SparseEstimator("na-alista-lte10-m75", used)
    found = estimator(pilots.numpy(), tf.constant(pattern.subcarriers), 0.1, error_variance=True)
    phases = np.exp(-2j * np.pi * np.outer(np.arange(256), used) / 1024)
    assert np.allclose(found.cfr, found.cir.numpy() @ phases, atol=1e-4)
    assert found.error_variance.shape == (3, 5)


IN_A_FRESH_PROCESS = """
import sys, numpy as np, tensorflow as tf
folder, pilots, result = sys.argv[1:]
given = np.load(pilots)
served = tf.saved_model.load(folder)
told = served.signatures["serving_default"](
    received_pilots=tf.constant(given["pilots"]), pilot_subcarriers=tf.constant(given["subcarriers"], tf.int32),
    noise_variance=tf.constant(given["noise"], tf.float32))
untold = served.signatures["unknown_noise"](
    received_pilots=tf.constant(given["pilots"]), pilot_subcarriers=tf.constant(given["subcarriers"], tf.int32))
assert not [name for name in sys.modules if name.split(".")[0] in ("chanest", "torch")]
np.savez(result, used=told["used_subcarriers"], told=told["cfr"], untold=untold["cfr"], cir=told["cir"],
         delays=told["delays_samples"], error_variance=told["error_variance"])
"""


@pytest.mark.parametrize("name", SMALL[1:2] + SHIPPED)
def test_a_savedmodel_runs_without_chanest(name, tmp_path):
    model, pattern = made(name), PilotPattern.random(60, 1)
    export_savedmodel(model, tmp_path / "model")
    pilots = model.ofdm.draw(pattern, 5, seeded(1, "test")).observations
    given = {"pilots": pilots.numpy(), "subcarriers": pattern.subcarriers, "noise": np.full(5, 0.1)}
    np.savez(tmp_path / "pilots.npz", **given)
    arguments = [tmp_path / "model", tmp_path / "pilots.npz", tmp_path / "result.npz"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", IN_A_FRESH_PROCESS, *map(str, arguments)]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment, capture_output=True)
    limit = LIMITS[model.algorithm.name][0]
    told = model.estimate(pilots, pattern, 0.1, error_variance=True)
    untold = model.estimate(pilots, pattern)
    with np.load(tmp_path / "result.npz") as result:
        assert distances(tf.constant(result["told"]), told.cfr).max() < limit
        assert distances(tf.constant(result["untold"]), untold.cfr).max() < limit
        assert np.array_equal(result["used"], model.ofdm.used_subcarriers)
        assert result["cir"].shape == told.cir.shape
        first, spacing = told.first_tap_samples, told.tap_spacing_samples
        assert np.allclose(result["delays"], first + spacing * np.arange(told.cir.shape[-1]))
        assert np.allclose(result["error_variance"], told.error_variance, rtol=0.1)


def test_what_a_user_can_do_wrong(tmp_path, monkeypatch):
    pattern = PilotPattern.random(75, 1)
    estimator = SparseEstimator("alista-lte10-m75")
    with pytest.raises(ObservationError, match="expected complex64 or complex128, got float32"):
        estimator(tf.ones([2, 75]), pattern)
    with pytest.raises(ObservationError, match=r"expected shape \(\*batch, 75\).*got \(2, 74\)"):
        estimator(tf.ones([2, 74], tf.complex64), pattern)
    with pytest.raises(ObservationError, match="n_fft: model alista-lte10-m75 was made for 1024, the pilots have 512"):
        estimator(tf.ones([2, 75], tf.complex64), PilotPattern.random(75, 1, Grid.around_dc(300, 512)))
    elsewhere = PilotPattern.random(75, 1, Grid(1024, range(-200, 201)))
    with pytest.raises(ObservationError, match="band: the pattern's is not where this estimator gives the CFR"):
        estimator(tf.ones([2, 75], tf.complex64), elsewhere)
    there = SparseEstimator("alista-lte10-m75", elsewhere.used_subcarriers)
    assert there(tf.ones([2, 75], tf.complex64), elsewhere).cfr.shape == (2, 401)
    with pytest.raises(ModelError, match="ista has no TensorFlow version, expected alista, na-alista, na-sbl"):
        SparseEstimator(Model(ISTA(), load_scenario("lte10")))
    with pytest.raises(ModelError, match="made for synthetic vectors"):
        SparseEstimator("alista-synthetic-20db")
    with pytest.raises(ModelError, match="used_subcarriers: expected at most 512 from DC"):
        SparseEstimator("alista-wide", [513])
    (tmp_path / "mine").write_text("kept")
    for taken in (tmp_path, tmp_path / "mine"):
        with pytest.raises(FileError, match="exists"):
            export_savedmodel(load_model("alista-lte10-m75"), Path(taken))
    monkeypatch.setitem(sys.modules, "sionna", types.SimpleNamespace(__version__="2.2.0"))
    monkeypatch.delitem(sys.modules, "chanest.integrations.tensorflow.sionna1", raising=False)
    with pytest.raises(
        ExtraError, match=r"found 2\.2\.0; for Sionna 2 take chanest\.integrations\.sionna\.SparseChannelEst"
    ):
        import chanest.integrations.tensorflow.sionna1  # noqa: F401


def test_a_missing_tensorflow_is_named():
    code = "import sys; sys.modules['tensorflow'] = None\nimport chanest.integrations.tensorflow"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ExtraError: TensorFlow: not installed; pip install 'chanest[tensorflow]'" in done.stderr
