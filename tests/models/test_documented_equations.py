"""docs/models.md says all: plain NumPy, written from it alone, gives chanest's estimates from the file."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import plain_numpy
import plain_numpy_circle as circle
import pytest
import torch

from chanest import Grid, PilotPattern, load_model, load_scenario, nmse_db
from chanest.algorithms import ALISTA, NAALISTA, NASBL
from chanest.integrations.export.matlab import write_mat
from chanest.models import shipped_models, write_model
from chanest.operators import power_start
from chanest.problems import seeded

LARGEST = {  # relative errors of the CFR
    ("alista", torch.complex128): 1e-10,
    ("na-alista", torch.complex128): 1e-10,
    ("na-sbl", torch.complex128): 1e-8,
    ("alista", torch.complex64): 1e-5,
    ("na-alista", torch.complex64): 1e-5,
    ("na-sbl", torch.complex64): 1e-2,
}
SHIPPED = {path.stem: path for path in shipped_models()}
TYPES = [torch.complex128, torch.complex64]


def simulated(scenario, n_pilots, n=16, snr_db=15.0):
    scenario = load_scenario(scenario).replace(n_pilots=n_pilots, snr_db=snr_db)
    pattern = PilotPattern.random(n_pilots, 4, scenario.grid)
    return pattern, scenario.draw(pattern, n, seeded(1, "test"))


def errors(path, pattern, received, noise):
    """Relative errors of CFR, CIR and error variance, over all samples, and both CFRs."""
    expected = load_model(path).estimate(received, pattern, noise, error_variance=True)
    told = None if noise is None else noise.numpy()
    found = plain_numpy.estimate(plain_numpy.read(path), received.numpy(), pattern.subcarriers, told)
    pairs = list(zip(found, (expected.cfr, expected.cir, expected.error_variance), strict=True))
    assert all(f.shape == e.shape for f, e in pairs)
    assert all(f.dtype == e.numpy().dtype for f, e in pairs[:2])
    assert expected.error_variance.dtype == torch.float64
    return [distance(f, e.numpy()) for f, e in pairs], torch.from_numpy(found[0]), expected.cfr


def distance(found, expected):
    """Relative, in double precision whatever the units."""
    found, expected = (part.astype(np.result_type(part, np.float64)) for part in (found, expected))
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_the_plain_reader_knows_nothing_of_chanest_or_torch():
    tree = ast.parse(Path(plain_numpy.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"h5py", "numpy", "types"}


@pytest.mark.parametrize("known", [True, False], ids=["noise told", "noise unknown"])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("algorithm", ["alista", "na-alista", "na-sbl"])
@pytest.mark.parametrize(("scenario", "n_pilots"), [("lte10", 75), ("wide", 40)])
def test_shipped_models_give_the_same_estimates(scenario, n_pilots, algorithm, dtype, known):
    suffix = {"lte10": "-m75", "wide": "-window" if algorithm == "na-sbl" else ""}[scenario]
    path = SHIPPED[f"{algorithm}-{scenario}{suffix}"]
    pattern, data = simulated(scenario, n_pilots)
    noise = data.noise_variance if known else None
    (cfr, cir, variance), found, expected = errors(path, pattern, data.observations.to(dtype), noise)
    assert cfr < LARGEST[algorithm, dtype]
    assert cir < 2 * LARGEST[algorithm, dtype]
    assert variance < (0.3 if (algorithm, dtype) == ("na-sbl", torch.complex64) else 10 * LARGEST[algorithm, dtype])
    truth = data.truth["cfr"].to(dtype)
    assert abs(nmse_db(found, truth) - nmse_db(expected, truth)) < 0.02


def scattered(algorithm):
    """The algorithm with parameters that are all different."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in (*algorithm.named_parameters(), *algorithm.named_buffers()):
        size = 0.02 if "rules" in name and "output" in name else 0.2
        drawn = size * torch.randn(tensor.shape, generator=generator)
        tensor.data.copy_(drawn.abs() + 0.5 if name == "feature_deviation" else tensor.data + drawn)
    return algorithm


@pytest.mark.parametrize("known", [True, False], ids=["noise told", "noise unknown"])
@pytest.mark.parametrize(
    "algorithm",
    [
        ALISTA(5, sparsity=0, ridge=0.0),
        ALISTA(1, sparsity=8, ridge=0.3),
        ALISTA(6, sparsity=13, ridge=0.01, schedule="synthetic"),
        NAALISTA(5, 4, "r", sparsity=5),
        NAALISTA(4, 3, "u", sparsity=0),
        NAALISTA(7, 6, "r,u", sparsity=2.5, ridge=0.25),
        NASBL(2, 5, decay=0.0),
        NASBL(4, 9, decay=3.0),
    ],
    ids=lambda a: f"{a.name} {a.hyperparameters}",
)
@pytest.mark.parametrize("scenario", ["lte10", "etu"])
def test_every_hyperparameter_is_documented(tmp_path, scenario, algorithm, known):
    write_model(tmp_path / "m.h5", scattered(algorithm), load_scenario(scenario), {})
    pattern, data = simulated(scenario, 50, n=4, snr_db=20)
    noise = data.noise_variance if known else None
    relative, _, _ = errors(tmp_path / "m.h5", pattern, data.observations.to(torch.complex128), noise)
    assert max(relative) < (1e-7 if algorithm.name == "na-sbl" else 1e-10)


def test_silence_and_any_units():
    path, pattern = SHIPPED["na-alista-lte10-m75"], PilotPattern.random(75, seed=0)
    silent = plain_numpy.estimate(plain_numpy.read(path), np.zeros((1, 75), np.complex64), pattern.subcarriers)
    assert not any(part.any() for part in silent)
    _, data = simulated("lte10", 75, n=2)
    for units in (1e-12, 1e9):
        relative, _, _ = errors(path, PilotPattern.random(75, seed=4), data.observations * units, None)
        assert max(relative) < 1e-4


@pytest.mark.parametrize("n", [16, 17, 64, 256, 272, 300])
def test_the_start_of_the_power_iteration_can_be_computed(n):
    np.testing.assert_allclose(plain_numpy.power_start(n), power_start(n).numpy(), rtol=0, atol=1e-15)


def test_the_file_carries_the_start_of_the_power_iteration(tmp_path):
    for scenario in ("lte10", "etu"):
        write_model(tmp_path / "m.h5", ALISTA(3), load_scenario(scenario), {})
        with h5py.File(tmp_path / "m.h5") as file:
            start = file["constants/power_start"][()]
        assert start.dtype == np.float64
        assert np.array_equal(start, power_start(load_scenario(scenario).n_taps).numpy())


# readers of other programs ----------------------------------------------------------------------------------

TENSORS = ["log_step_size", "log_threshold", "calibration/linear/weight", "calibration/linear/bias"]


def by_octave(folder, path):
    write_mat(folder / "model.mat", load_model(path))
    lines = [
        f"load('{folder / 'model.mat'}'); p = model.parameters; printf('%d\\n', model.hyperparameters.n_iterations);"
    ]
    lines += [f"printf('%.9g ', p.{name.replace('/', '.')}); printf('\\n');" for name in TENSORS]
    command = ["octave", "--quiet", "--no-init-file", "--eval", " ".join(lines)]
    first, *rows = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()
    return int(first), [np.array(row.split(), float) for row in rows]


def by_h5dump(folder, path):
    def dump(*options):
        command = ["h5dump", *options, "-y", "-m", "%.9g", str(path)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return np.array(re.search(r"DATA \{([^}]*)\}", printed)[1].replace(",", " ").split(), float)

    return int(dump("-a", "/hyperparameters/n_iterations")[0]), [dump("-d", f"/parameters/{n}") for n in TENSORS]


def by_h5py(folder, path):
    with h5py.File(path, "r") as file:
        values = [file["parameters"][name][()].ravel() for name in TENSORS]
        return int(file["hyperparameters"].attrs["n_iterations"]), values


READERS = {"octave": by_octave, "h5dump": by_h5dump, "h5py": by_h5py}


@pytest.mark.parametrize("reader", ["h5py", *filter(shutil.which, ("octave", "h5dump"))])
def test_other_readers_give_what_an_estimate_needs(tmp_path, reader):
    path = SHIPPED["alista-lte10-m75"]
    n_iterations, values = READERS[reader](tmp_path, path)
    model = plain_numpy.read(path)
    model["hyperparameters"]["n_iterations"] = n_iterations
    steps, thresholds, weight, bias = (value.astype(np.float32) for value in values)
    linear = {"weight": weight.reshape(1, 6), "bias": bias}
    model["parameters"] = {"log_step_size": steps, "log_threshold": thresholds, "calibration": {"linear": linear}}
    pattern, data = simulated("lte10", 75, n=2)
    received = data.observations.to(torch.complex128)
    expected = load_model(path).estimate(received, pattern, 0.1, error_variance=True)
    found = plain_numpy.estimate(model, received.numpy(), pattern.subcarriers, [0.1, 0.1])
    for f, e in zip(found, (expected.cfr, expected.cir, expected.error_variance), strict=True):
        np.testing.assert_allclose(f, e.numpy(), rtol=1e-9, atol=1e-9 * np.abs(e.numpy()).max())


@pytest.mark.parametrize("known", [True, False], ids=["noise told", "noise unknown"])
@pytest.mark.parametrize("kind", ["one antenna", "four antennas", "a window", "two layers", "jammed"])
def test_any_receiver_as_documented(kind, known):
    rng = np.random.default_rng(0)
    model = plain_numpy.read(SHIPPED["na-sbl-wide"])
    k, used = np.sort(rng.choice(np.r_[-150:0, 1:151], 60, replace=False)), np.r_[-150:0, 1:151]
    r, n_layers = (4 if kind == "four antennas" else 1), (2 if kind == "two layers" else 1)
    codes = np.ones((n_layers, 60), complex)
    codes[1:] = rng.choice([1, 1j, -1, -1j], (n_layers - 1, 60))
    shape = (3, r, n_layers, 3)
    gains = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    steering = np.exp(-2j * np.pi * np.outer(k, (0.0, 4.3, 21.7)) / 1024)
    y = np.einsum("brlp,mp,lm->brm", gains, steering, codes)
    y = y + 0.1 * (rng.standard_normal(y.shape) + 1j * rng.standard_normal(y.shape))
    if kind == "jammed":
        y[..., 20:22] += 9
    window, noise = ((-8.0, 120.0) if kind == "a window" else None), (0.02 if known else None)
    found = load_model("na-sbl-wide").estimate(
        y,
        PilotPattern(tuple(k.tolist()), Grid(1024, tuple(used.tolist()))),
        noise,
        pilot_symbols=codes if n_layers > 1 else None,
        snapshot_axes=1,
        window_samples=window,
        error_variance=True,
    )
    for i in range(3):
        told = None if noise is None else np.full(60, noise)
        cfr, variance = circle.estimate(model, y[i], k, used, 1024, told, codes, window)
        expected, of_error = found.cfr[i].reshape(r, n_layers, -1), found.error_variance[i].reshape(r, n_layers, -1)[0]
        assert distance(cfr, expected) < 1e-6
        assert distance(variance, of_error) < 1e-5
