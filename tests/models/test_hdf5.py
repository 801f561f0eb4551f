"""The model file: read back bit-equal, self-describing, checked field by field."""

import contextlib
import re
import shutil

import h5py
import numpy as np
import pytest
import torch

from chanest import load_model, load_scenario
from chanest.algorithms import ALGORITHMS, ALISTA, FISTA, ISTA, NAALISTA
from chanest.errors import ChanestError, FileError, ModelError, ScenarioError
from chanest.models import describe_model, is_model, read_model, shipped_models, summarise_model, write_model
from chanest.models.hdf5 import read_optimiser

LTE10 = load_scenario("lte10")


def some(algorithm):
    """The algorithm with parameters and buffers that are all different."""
    generator = torch.Generator().manual_seed(0)
    for tensor in (*algorithm.parameters(), *algorithm.buffers()):
        tensor.data.copy_(torch.randn(tensor.shape, generator=generator).abs() + 0.1)
    return algorithm


@pytest.mark.parametrize(
    "algorithm",
    [
        ISTA(5, 0.1),
        FISTA(7, 0.2),
        ALISTA(3, sparsity=0, ridge=0.5),
        NAALISTA(5, 8, "r"),
        NAALISTA(5, 4, "r,u", 2.5, 0.25),
    ],
    ids=lambda a: f"{a.name} {a.hyperparameters}",
)
@pytest.mark.parametrize("name", ["lte10", "lte10-reference", "wide", "etu"])
def test_a_model_reads_back_bit_equal(tmp_path, algorithm, name):
    training = {
        "steps": 3,
        "command": "chanest train",
        "wall_seconds": 1.5,
        "nmse_db": np.array([-1.0, -2.0]),
    }
    write_model(tmp_path / "m.h5", some(algorithm), load_scenario(name), training)
    found, scenario, record = read_model(tmp_path / "m.h5")
    assert type(found) is type(algorithm)
    assert found.hyperparameters == algorithm.hyperparameters
    assert scenario == load_scenario(name)
    assert record.pop("nmse_db").tolist() == training.pop("nmse_db").tolist()
    assert record == training
    expected = algorithm.state_dict()
    assert found.state_dict().keys() == expected.keys()
    for key, tensor in found.state_dict().items():
        assert tensor.dtype == expected[key].dtype
        assert torch.equal(tensor, expected[key])


def test_reading_leaves_the_global_generator_alone(tmp_path):
    write_model(tmp_path / "m.h5", NAALISTA(3, 4), LTE10, {})
    torch.manual_seed(0)
    read_model(tmp_path / "m.h5")
    found = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(found, torch.rand(1))


def test_the_file_describes_itself_to_any_hdf5_reader(tmp_path):
    write_model(tmp_path / "m.h5", NAALISTA(3, 4), LTE10, {"command": "chanest train", "nmse_db": np.ones(2)})
    kinds = {}
    with h5py.File(tmp_path / "m.h5", "r") as file:
        assert file.attrs["format"] == "chanest-model"
        assert file.attrs["algorithm"] == "na-alista"
        assert file["hyperparameters"].attrs["lstm_hidden"] == 4
        assert file["scenario/channel"].attrs["sparsity"] == 8
        assert file["parameters/lstm/weight_ih"].shape == (16, 2)
        assert file["normalisation/feature_mean"].shape == (2,)
        file.visititems(lambda name, item: kinds.update({name: getattr(item, "dtype", None)}))
    assert {kind.kind for kind in kinds.values() if kind is not None} == {"f"}


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    write_model(tmp_path / "m.h5", ISTA(), LTE10, {})
    old = (tmp_path / "m.h5").read_bytes()
    with pytest.raises(TypeError):
        write_model(tmp_path / "m.h5", ISTA(), LTE10, {"impossible": object()})
    with pytest.raises(FileError, match=r"nowhere/m\.h5: cannot be written"):
        write_model(tmp_path / "nowhere/m.h5", ISTA(), LTE10, {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"m.h5": old}


def test_a_checkpoint_is_a_model_with_an_optimiser(tmp_path):
    path = tmp_path / "m.h5.checkpoint"
    write_model(path, ALISTA(3), LTE10, {"steps": 1}, {"exp_avg": {"0": torch.ones(3)}, "fingerprint": "abc"})
    state = read_optimiser(path)
    assert state["fingerprint"] == "abc"
    assert state["exp_avg"]["0"].tolist() == [1, 1, 1]
    assert read_model(path)[0].n_iterations == 3
    write_model(path, ALISTA(3), LTE10, {})
    with pytest.raises(ModelError, match="expected a training checkpoint, found a finished model"):
        read_optimiser(path)


def test_describe_model_tells_what_the_file_says(small_models):
    facts = describe_model(small_models["na-alista"])
    assert facts["algorithm"] == "na-alista"
    assert facts["hyperparameters"]["lstm_hidden"] == 8
    assert facts["scenario"] == LTE10
    assert facts["training"] == {"steps": 0}
    assert facts["tensors"]["parameters/lstm/weight_ih"] == (32, 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*", facts["created"])
    assert facts["chanest_version"]
    summary = summarise_model(small_models["na-alista"])
    assert (summary["algorithm"], summary["scenario"]) == ("na-alista", LTE10)
    parameters = load_model(small_models["na-alista"]).algorithm.parameters()
    assert summary["n_parameters"] == sum(parameter.numel() for parameter in parameters)
    assert summary["validation_nmse_db"] is None


@pytest.mark.parametrize("path", shipped_models(), ids=lambda path: path.stem)
def test_every_shipped_model_loads_and_says_how_it_was_trained(path):
    model = load_model(path.stem)
    assert path.stem.startswith(f"{model.algorithm.name}-{model.scenario.name}")
    assert model.training["command"].startswith("chanest train ")
    assert model.training["steps"] == model.training["planned_steps"]
    assert model.training["validation_nmse_db"] < -5


# damaged and foreign files ----------------------------------------------------------------------------------


def deleted(name):
    def change(file):
        del file[name]

    return change


def replaced(name, change_values):
    def change(file):
        values = change_values(file[name][()])
        del file[name]
        file[name] = values

    return change


def attribute(group, name, value):
    def change(file):
        attributes = file[group].attrs if group else file.attrs
        if value is None:
            del attributes[name]
        else:
            attributes[name] = value

    return change


def poked(value, index=(3, 0)):
    def change(values):
        values[index] = value
        return values

    return change


WEIGHT = "parameters/lstm/weight_ih"
BAD = {
    "shape": (
        replaced(WEIGHT, lambda v: v[:16]),
        f"{WEIGHT}: expected (32, 1), the file has (16, 1); was it made with lstm_hidden=8, ",
    ),
    "no spread": (
        replaced("normalisation/feature_deviation", lambda v: 0 * v),
        "feature_deviation: expected positive numbers",
    ),
    "one number": (replaced("parameters/head/bias", lambda v: v.sum()), "head/bias: expected (2,), the file has ()"),
    "no value": (replaced(WEIGHT, lambda _: h5py.Empty("f4")), f"{WEIGHT}: expected (32, 1), the file has None"),
    "transposed": (replaced(WEIGHT, lambda v: v.T), f"{WEIGHT}: expected (32, 1), the file has (1, 32)"),
    "NaN": (replaced(WEIGHT, poked(np.nan)), f"{WEIGHT}: NaN or Inf at index (3, 0)"),
    "Inf": (replaced(WEIGHT, poked(-np.inf)), f"{WEIGHT}: NaN or Inf at index (3, 0)"),
    "float32 overflow": (replaced(WEIGHT, lambda v: 1e39 * v.astype(float)), f"{WEIGHT}: NaN or Inf"),
    "NaN normaliser": (
        replaced("normalisation/feature_mean", poked(np.nan, 0)),
        "normalisation/feature_mean: NaN or Inf at index (0,)",
    ),
    "integers": (
        replaced(WEIGHT, lambda v: v.astype(np.int32)),
        f"{WEIGHT}: expected floating-point numbers, the file has int32",
    ),
    "complex": (replaced(WEIGHT, lambda v: v + 0j), f"{WEIGHT}: expected floating-point numbers, the file has complex"),
    "text": (replaced(WEIGHT, lambda v: np.full(v.shape, b"x")), "expected floating-point numbers, the file has |S1"),
    "missing tensor": (deleted(WEIGHT), f"{WEIGHT}: missing"),
    "missing normaliser": (deleted("normalisation/feature_mean"), "normalisation/feature_mean: missing"),
    "extra tensor": (
        lambda f: f.create_dataset("parameters/more", (2,), "f4"),
        "parameters/more: not a tensor of na-alista",
    ),
    "missing group": (deleted("parameters"), "group parameters: missing"),
    "no scenario": (deleted("scenario"), "group scenario: missing"),
    "no training": (deleted("training"), "group training: missing"),
    "no hyperparameters": (deleted("hyperparameters"), "group hyperparameters: missing"),
    "no format": (attribute("", "format", None), "format: expected chanest-model, found None"),
    "other format": (attribute("", "format", "keras"), "format: expected chanest-model, found keras"),
    "strange format": (attribute("", "format", [1, 2]), "format: expected chanest-model, found (1, 2)"),
    "newer": (attribute("", "format_version", 2), "format_version: expected 1, found 2; this is chanest"),
    "strange version": (attribute("", "format_version", [1, 1]), "format_version: expected 1, found (1, 1)"),
    "other algorithm": (
        attribute("", "algorithm", "magic"),
        "algorithm: expected ista or fista or alista or na-alista",
    ),
    "strange algorithm": (attribute("", "algorithm", [1.5]), "algorithm: expected ista or"),
    "unknown hyperparameter": (
        attribute("hyperparameters", "depth", 3),
        "hyperparameters: depth: unknown; na-alista has n_iterations, lstm_hidden, lstm_inputs, sparsity, ridge",
    ),
    "missing hyperparameter": (attribute("hyperparameters", "ridge", None), "hyperparameters: ridge: missing"),
    "half an iteration": (
        attribute("hyperparameters", "n_iterations", 4.5),
        "hyperparameters: n_iterations: expected a whole number, found 4.5",
    ),
    "no iteration": (attribute("hyperparameters", "n_iterations", 0), "n_iterations: expected at least 1, got 0"),
    "true": (attribute("hyperparameters", "n_iterations", True), "n_iterations: expected a whole number, found True"),
    "NaN sparsity": (attribute("hyperparameters", "sparsity", np.nan), "sparsity: expected a finite number, found nan"),
    "two ridges": (
        attribute("hyperparameters", "ridge", [0.0, 1.0]),
        "ridge: expected a finite number, found (0.0, 1.0)",
    ),
    "unknown inputs": (attribute("hyperparameters", "lstm_inputs", "x"), 'lstm_inputs: expected "r", "u" or "r,u"'),
    "inputs by number": (attribute("hyperparameters", "lstm_inputs", 1), "lstm_inputs: expected text, found 1"),
    "large": (attribute("hyperparameters", "lstm_hidden", 10**6), "expected (1000000,), the file has (8,)"),
    "huge": (
        attribute("hyperparameters", "lstm_hidden", 10**7),
        "lstm_hidden: expected at most 1048576, found",
    ),
    "endless": (attribute("hyperparameters", "n_iterations", 2**31), "n_iterations: expected at most 10000, found"),
    "beyond huge": (attribute("hyperparameters", "lstm_hidden", 2**62), "hyperparameters: "),
    "scenario field": (attribute("scenario", "colour", "red"), "scenario: colour: unknown field"),
    "scenario value": (attribute("scenario", "n_taps", 0), "scenario: n_taps: input should be greater than"),
    "missing scenario field": (deleted("scenario/channel"), "scenario: channel: "),
}


@pytest.mark.parametrize(("change", "said"), BAD.values(), ids=BAD)
def test_a_wrong_field_is_named_with_what_was_expected(tmp_path, small_models, change, said):
    path = shutil.copy(small_models["na-alista"], tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises((ModelError, ScenarioError), match=re.escape(said)) as raised:
        read_model(path)
    assert str(raised.value).startswith(f"{path}: ")


@pytest.mark.parametrize("kept", [0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_model_is_refused(tmp_path, small_models, kept):
    whole = small_models["alista"].read_bytes()
    (tmp_path / "m.h5").write_bytes(whole[: int(kept * len(whole))])
    for read in (read_model, describe_model, is_model):
        with pytest.raises(FileError, match=r"m\.h5: (damaged or truncated HDF5|expected a chanest model)"):
            read(tmp_path / "m.h5")


@pytest.mark.parametrize("algorithm", ["alista", "na-alista"])
def test_a_model_with_flipped_bytes_loads_or_is_refused(tmp_path, small_models, algorithm):
    whole = small_models[algorithm].read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(0, 4096, 3):
            damaged[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "m.h5").write_bytes(damaged)
        with contextlib.suppress(ChanestError):
            assert read_model(tmp_path / "m.h5")[0].name in ALGORITHMS


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), (b"", "found an empty file"), (b"weights: 1\n" * 99, "found not HDF5")],
)
def test_missing_empty_and_text_models_are_refused(tmp_path, content, said):
    if content is not None:
        (tmp_path / "m.h5").write_bytes(content)
    with pytest.raises(FileError, match=rf"m\.h5: .*{said}"):
        read_model(tmp_path / "m.h5")


def test_folders_and_other_hdf5_are_no_models(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.arange(3)
    assert not is_model(tmp_path / "other.h5")
    with pytest.raises(ModelError, match=r"other\.h5: format: expected chanest-model, found None"):
        read_model(tmp_path / "other.h5")
    with pytest.raises(FileError, match="found a folder"):
        read_model(tmp_path)


def test_fixed_length_strings_are_read_too(tmp_path, small_models):
    path = shutil.copy(small_models["na-alista"], tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        for group in (file, file["hyperparameters"], file["scenario"]):
            for name, value in group.attrs.items():
                if isinstance(value, str):
                    group.attrs[name] = np.bytes_(value)
    algorithm, scenario, _ = read_model(path)
    assert (algorithm.name, scenario) == ("na-alista", LTE10)
