"""Exports: every format gives the model's estimates in its own reader, or leaves nothing behind."""

import builtins
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from conftest import write_arrays

from chanest import Model, PilotPattern, load_model, load_scenario
from chanest.algorithms import ISTA, NASBL, gaussian
from chanest.errors import ExportError, ModelError
from chanest.integrations.export import (
    ChannelProgram,
    Inputs,
    export_model,
    onnx_file,
    relative_error,
    torch_file,
    verified,
)
from chanest.integrations.export.matlab import read_mat, write_mat
from chanest.integrations.export.savedmodel import run_savedmodel
from chanest.models import pick_model, read_model, write_model

PATTERN = PilotPattern.random(50, seed=1)
OTHER = PilotPattern.random(50, seed=2)


@pytest.fixture(scope="module")
def paths(small_models, tmp_path_factory):
    """Small models by algorithm."""
    path = tmp_path_factory.mktemp("sbl") / "small-na-sbl.h5"
    write_model(path, NASBL(n_iterations=2, n_hidden=3), load_scenario("lte10"), {"steps": 0})
    return {**small_models, "na-sbl": path}


@pytest.fixture(scope="module")
def programs(paths, tmp_path_factory):
    """.pt2 files by algorithm, each made once, and what their verification measured."""
    folder, made = tmp_path_factory.mktemp("programs"), {}

    def program(algorithm):
        if algorithm not in made:
            path = folder / f"{algorithm}.pt2"
            made[algorithm] = path, export_model(load_model(paths[algorithm]), "torch-export", path, PATTERN)
        return made[algorithm]

    return program


@pytest.fixture
def here(tmp_path, monkeypatch, paths, pilot_arrays):
    """A working folder with small models and files in the way."""
    monkeypatch.chdir(tmp_path)
    for name, path in paths.items():
        shutil.copy(path, f"{name}.h5")
    write_model(Path("ista.h5"), ISTA(), load_scenario("lte10"), {})
    write_arrays(tmp_path / "pilots.npz", pilot_arrays())
    for suffix in (".h5", ".mat", ".pt2", ".onnx"):
        Path(f"there{suffix}").write_text("precious")
    Path("folder.savedmodel").mkdir()
    Path("folder.savedmodel/thesis.txt").write_text("precious")
    Path("old.savedmodel").mkdir()
    Path("old.savedmodel/saved_model.pb").touch()
    return tmp_path


# parameters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["hdf5", "mat"])
@pytest.mark.parametrize(
    "name", ["alista", "na-alista", "na-sbl", "alista-lte10-m75", "na-sbl-wide-window", "na-alista-wide"]
)
def test_parameters_come_back_bit_equal(tmp_path, paths, name, to):
    model = load_model(paths.get(name, name))
    file = tmp_path / f"model.{'h5' if to == 'hdf5' else 'mat'}"
    assert export_model(model, to, file, PATTERN) == {"cfr": 0, "cir": 0, "error_variance": 0}
    found = load_model(file) if to == "hdf5" else read_mat(file, model)
    assert found.algorithm.hyperparameters == model.algorithm.hyperparameters
    for name, tensor in model.algorithm.state_dict().items():
        assert torch.equal(found.algorithm.state_dict()[name], tensor)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("to", ["hdf5", "mat"])
def test_any_model_file_can_be_copied(tmp_path, to):
    scenario = load_scenario("tdl-c300")
    ista = Model(ISTA(error_calibration=(0.1,) * 7).requires_grad_(False), scenario, "ista")
    assert export_model(ista, to, tmp_path / "x", PATTERN)["error_variance"] == 0
    assert set(export_model(pick_model("fista", load_scenario("etu")), to, tmp_path / "y", PATTERN)) >= {"cfr", "cir"}
    assert export_model(load_model("na-alista-synthetic-40db"), to, tmp_path / "z") == {"x": 0}


def test_the_struct_has_the_names_and_axes_of_the_hdf5_file(tmp_path):
    write_model(tmp_path / "m.h5", NASBL(n_iterations=4, n_hidden=3), load_scenario("lte10"), {"steps": 0})
    write_mat(tmp_path / "m.mat", load_model(tmp_path / "m.h5"))
    model = scipy.io.loadmat(tmp_path / "m.mat", simplify_cells=True)["model"]
    raw = scipy.io.loadmat(tmp_path / "m.mat")["model"]
    with h5py.File(tmp_path / "m.h5") as file:
        assert model["algorithm"] == file.attrs["algorithm"] == "na-sbl"
        assert model["format_version"] == 1
        assert model.keys() == {*file.attrs, *file} - {"digest"}  # of the HDF5 file
        for group in ("hyperparameters", "scenario"):
            assert model[group].keys() == {*file[group].attrs, *file[group]}
        for name in ("input/weight", "hidden/bias", "output/weight"):
            one, two = name.split("/")
            found = model["parameters"]["tap_rules"][0][one][two]
            assert np.array_equal(found, np.squeeze(file["parameters/tap_rules/0"][name][()]))
    rules = raw["parameters"][0, 0]["tap_rules"][0, 0]
    assert rules.shape == (3, 1)
    layer = rules[1, 0]["input"][0, 0]
    weight, bias = layer["weight"], layer["bias"]
    assert (weight.shape, bias.shape, weight.dtype) == ((3, 36), (3, 1), np.float32)


# programs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "algorithm",
    [pytest.param("alista", marks=pytest.mark.slow), "na-alista", pytest.param("na-sbl", marks=pytest.mark.slow)],
)
def test_a_program_gives_the_models_estimates_for_any_batch_and_subcarriers(programs, paths, algorithm):
    path, errors = programs(algorithm)
    assert max(errors.values()) < 1e-6
    model, program = load_model(paths[algorithm]), torch.export.load(path).module()
    for pattern, n in ((PATTERN, 1), (OTHER, 3), (OTHER, 32)):
        inputs = Inputs.random(model, pattern, seed=n).part(n)
        found = program(inputs.received_pilots, torch.tensor(pattern.subcarriers), inputs.noise_variance)
        for f, e in zip(found, inputs.estimate(model), strict=True):
            assert relative_error(f, e) < 1e-6
    silent = program(torch.zeros(2, 50, dtype=torch.complex64), torch.tensor(PATTERN.subcarriers), torch.zeros(2))
    assert not any(part.any() for part in silent)


def test_a_program_runs_in_a_fresh_process_without_chanest_and_says_what_it_is(programs, tmp_path):
    path, _ = programs("na-alista")
    code = (
        "import sys; sys.modules['chanest'] = None\n"
        "import torch, json\n"
        "facts = {'chanest.json': ''}\n"
        f"program = torch.export.load({str(path)!r}, extra_files=facts).module()\n"
        "cfr, cir, variance = program(torch.ones(5, 50, dtype=torch.complex64), torch.arange(1, 51), torch.ones(5))\n"
        "facts = json.loads(facts['chanest.json'])\n"
        "print(facts['algorithm'], facts['n_pilots'], [list(t.shape) for t in (cfr, cir, variance)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "na-alista 50 [[5, 600], [5, 256], [5, 600]]", done.stderr


class Factors(torch.nn.Module):
    def forward(self, c):
        return gaussian.cholesky(c)


def test_where_a_factorisation_fails_the_program_mends_it_as_the_model_does():
    """torch.cond's branches, exported, against the retries with their looks at values."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(6, 5, 5, dtype=torch.complex64, generator=generator)
    good = a @ a.mH + 0.1 * torch.eye(5)
    batch = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(Factors(), (good[:2],), dynamic_shapes=batch, strict=False).module()
    for bad in ({}, {1: -1.0}, {0: 1e-3, 4: -5.0}, {2: float("nan"), 3: -1.0}, {0: 0.0}):
        c = good.clone()
        for index, scale in bad.items():
            c[index] = scale * good[index] - (1e-4 if scale == 1e-3 else 0) * torch.eye(5)
        assert bool(torch.linalg.cholesky_ex(c).info.any()) == bool(bad)
        torch.testing.assert_close(program(c), gaussian.cholesky(c), rtol=0, atol=0, equal_nan=True)


def test_other_algorithms_and_synthetic_models_are_refused(tmp_path):
    fista = pick_model("fista", load_scenario("lte10"))
    with pytest.raises(ModelError, match=r"takes alista and na-alista and na-sbl, the model is fista; --to hdf5"):
        export_model(fista, "torch-export", tmp_path / "x.pt2", PATTERN)
    with pytest.raises(ModelError, match=r"linear has no parameters to export"):
        export_model(pick_model("linear", load_scenario("lte10")), "mat", tmp_path / "x.mat")
    with pytest.raises(ExportError, match=r"to: expected one of hdf5, mat, .*, got matlab"):
        export_model(fista, "matlab", tmp_path / "x.mat")
    with pytest.raises(ExportError, match=r"savedmodel: give savedmodel_writer"):
        export_model(fista, "savedmodel", tmp_path / "x")
    with pytest.raises(ModelError, match=r"made for synthetic vectors"):
        ChannelProgram(load_model("alista-synthetic-40db"))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("algorithm", [pytest.param("alista", marks=pytest.mark.slow), "na-alista"])
def test_onnx_gives_the_models_estimates_in_any_batch(tmp_path, paths, algorithm):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    model = load_model(paths[algorithm])
    errors = export_model(model, "onnx", tmp_path / "m.onnx", PATTERN)
    assert max(errors.values()) < 1e-4
    for n in (1, 5):
        inputs = Inputs.random(model, PATTERN, seed=n).part(n)
        for f, e in zip(onnx_file.run_onnx(tmp_path / "m.onnx", inputs), inputs.estimate(model), strict=True):
            assert relative_error(f, e) < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_onnx_has_no_factorisation_for_na_sbl(paths, tmp_path):
    with pytest.raises(ModelError, match=r"takes alista and na-alista, the model is na-sbl"):
        export_model(load_model(paths["na-sbl"]), "onnx", tmp_path / "m.onnx", PATTERN)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["torch-export", "onnx"])
@pytest.mark.parametrize("name", ["alista-lte10-m75", "na-alista-wide", "na-sbl-lte10-m75"])
def test_shipped_models_export(tmp_path, name, to):
    if to == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
        if name.startswith("na-sbl"):
            pytest.skip("ONNX has no Cholesky factorisation")
    errors = export_model(load_model(name), to, tmp_path / "m", PilotPattern.random(75, seed=0))
    assert max(errors.values()) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alista-lte10-m75", "na-alista-lte10-m75", "na-sbl-lte10-m75"])
def test_savedmodels(tmp_path, monkeypatch, chanest, name):
    pytest.importorskip("tensorflow")
    pytest.importorskip("chanest.integrations.tensorflow")
    monkeypatch.chdir(tmp_path)
    ran = chanest("export", name, "--to", "savedmodel")
    assert ran.code == 0, ran.err
    model = load_model(name)
    inputs = Inputs.random(model, OTHER, seed=5)
    cfr, _, _ = run_savedmodel(tmp_path / f"{name}.savedmodel", inputs)
    assert relative_error(cfr, inputs.estimate(model)[0]) < (3e-2 if "sbl" in name else 1e-4)


# verification -----------------------------------------------------------------------------------------------


def test_the_error_is_that_of_the_worst_sample():
    expected = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert relative_error(expected, expected) == 0
    assert relative_error(expected + torch.tensor([[0.3, 0.4], [0.0, 0.0]]), expected) == pytest.approx(0.1)
    assert relative_error(expected + 1e-9, expected) > 1
    assert relative_error(expected[:1], expected) == relative_error(expected * torch.nan, expected) == float("inf")


def test_what_differs_is_not_kept(tmp_path):
    (tmp_path / "old").write_text("precious")
    expected = (torch.ones(2, 3),)
    for found in (torch.ones(2, 3) * 1.01, torch.ones(2, 4), torch.full((2, 3), torch.nan)):
        with pytest.raises(ExportError, match=r"old: not written: what was exported differs"):
            verified(tmp_path / "old", lambda p: p.write_text("new"), lambda p, f=found: (f,), expected, (1e-3,))
    with pytest.raises(RuntimeError, match="reader"):
        verified(tmp_path / "old", lambda p: p.mkdir(), lambda p: (_ for _ in ()).throw(RuntimeError("reader")), (), ())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old": "precious"}
    found = verified(tmp_path / "old", lambda p: p.write_text("new"), lambda p: expected, expected, (0.0,))
    assert found == {"x": 0.0}
    assert (tmp_path / "old").read_text() == "new"


@pytest.mark.parametrize("to", ["hdf5", "mat", "torch-export", "onnx"])
def test_a_wrong_export_of_any_format_is_not_kept(here, chanest, monkeypatch, to):
    """The writers get another model than the one asked for."""
    wrong = load_model("na-alista.h5")
    wrong.algorithm.head.bias.add_(0.1)
    wrong_file = Path("wrong.h5")
    write_model(wrong_file, wrong.algorithm, wrong.scenario, {})
    match to:
        case "hdf5":
            monkeypatch.setattr("chanest.integrations.export.read_model", lambda path: read_model(wrong_file))
        case "mat":
            monkeypatch.setattr("chanest.integrations.export.write_mat", lambda path, model: write_mat(path, wrong))
        case _:
            name, room = ("run_onnx", onnx_file) if to == "onnx" else ("run_torch", torch_file)
            write = "write_onnx" if to == "onnx" else "write_torch"
            monkeypatch.setattr(room, write, lambda path, model, pattern: path.touch())
            monkeypatch.setattr(room, name, lambda path, inputs: inputs.estimate(wrong))
    before = {path.name for path in here.iterdir()}
    ran = chanest("export", "na-alista.h5", "--to", to, "--output", f"new{SUFFIX[to]}")
    assert_refused(ran, "not written", "differs from the model")
    assert {path.name for path in here.iterdir()} == before


# the command ------------------------------------------------------------------------------------------------

SUFFIX = {"hdf5": ".h5", "mat": ".mat", "torch-export": ".pt2", "onnx": ".onnx"}


def assert_refused(ran, *said):
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("chanest: error: ")
    assert ran.err.count("\n") == 1
    for words in said:
        assert words in ran.err


def test_the_command_says_what_it_wrote_and_measured(here, chanest):
    ran = chanest("export", "na-sbl-lte10-m75", "--to", "mat")
    assert ran.code == 0
    assert ran.out == (
        "wrote na-sbl-lte10-m75.mat: na-sbl for lte10, any pilots\n"
        "verified on random input, rebuilt from the struct: largest relative errors: "
        "cfr 0.0e+00, cir 0.0e+00, error_variance 0.0e+00\n"
    )
    assert Path("na-sbl-lte10-m75.mat").is_file()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), PilotPattern.random(75, seed=0)),
        (("--pilots", 33, "--seed", 4), PilotPattern.random(33, seed=4)),
        (("--input", "pilots.npz"), PilotPattern.random(20, seed=1)),
    ],
)
def test_the_command_takes_a_drawn_pattern_or_that_of_a_file(here, chanest, monkeypatch, options, expected):
    taken = []
    monkeypatch.setattr(torch_file, "write_torch", lambda path, model, pattern: (path.touch(), taken.append(pattern)))
    monkeypatch.setattr(torch_file, "run_torch", lambda path, inputs: inputs.estimate(load_model("alista.h5")))
    ran = chanest("export", "alista.h5", "--to", "torch-export", *options)
    assert ran.code == 0, ran.err
    assert taken == [expected]
    assert f"{len(expected)} pilots on any subcarriers, any batch" in ran.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("na-alista.h5 --to matlab", ["--to: expected hdf5, mat, savedmodel, torch-export, onnx, got matlab"]),
        ("na-alista.h5 --to mat --output there.mat", ["there.mat: exists already; give --force"]),
        ("na-alista.h5 --to hdf5", ["--output: na-alista.h5 is the file of --model too"]),
        ("na-alista.h5 --to hdf5 --force", ["--output: na-alista.h5 is the file of --model too"]),
        ("na-alista.h5 --to onnx --output there.onnx", ["there.onnx: exists already; give --force"]),
        ("na-alista.h5 --to mat --output x.h5", ["x.h5: expected an output ending in .mat"]),
        ("na-alista.h5 --to mat --output nowhere/x.mat", ["nowhere/x.mat: no folder nowhere"]),
        ("na-alista.h5 --to torch-export --pilots 1", ["--pilots: "]),
        ("na-alista.h5 --to torch-export --pilots 601", ["--pilots: "]),
        ("na-alista.h5 --to torch-export --seed -1", ["--seed: expected 0...2^63 - 1, got -1"]),
        ("na-alista.h5 --to onnx --pilots 20 --input pilots.npz", ["--input: the pilots are those of the file"]),
        ("na-alista.h5 --to onnx --input nothing.npz", ["nothing.npz: no such file"]),
        ("nothing.h5 --to mat", ["nothing.h5: no such file"]),
        ("there.h5 --to mat", ["there.h5: expected a chanest model in HDF5, found not HDF5"]),
        ("ista.h5 --to onnx", ["takes alista and na-alista, the model is ista"]),
        ("ista.h5 --to torch-export", ["takes alista and na-alista and na-sbl, the model is ista"]),
        ("alista-synthetic-20db --to torch-export", ["made for synthetic vectors"]),
        ("alista-synthetic-20db --to mat --pilots 5", ["--pilots: model alista-synthetic-20db is for synthetic"]),
        ("na-sbl.h5 --to onnx", ["takes alista and na-alista, the model is na-sbl"]),
        ("alista.h5 --to savedmodel --output old.savedmodel", ["old.savedmodel: exists already; give --force"]),
        ("alista.h5 --to savedmodel --output folder.savedmodel --force", ["exists already; it is no SavedModel"]),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(here, chanest, arguments, said):
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    assert_refused(chanest("export", *arguments.split()), *said)
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("to", "missing", "extra"),
    [("onnx", "onnxscript", "onnx"), ("onnx", "onnxruntime", "onnx"), ("savedmodel", "tensorflow", "tensorflow")],
)
def test_a_missing_extra_is_named(here, chanest, monkeypatch, to, missing, extra):
    present = builtins.__import__

    def without(name, *arguments, **options):
        if name.split(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return present(name, *arguments, **options)

    import importlib

    load = importlib.import_module
    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(
        importlib, "import_module", lambda n, *rest: without(n) if n.startswith(missing) else load(n, *rest)
    )
    for name in [name for name in sys.modules if name.startswith("chanest.integrations.tensorflow")]:
        monkeypatch.delitem(sys.modules, name)
    assert_refused(chanest("export", "alista.h5", "--to", to), f"pip install 'chanest[{extra}]'")
    assert not list(here.glob("alista.*[!h5]"))
