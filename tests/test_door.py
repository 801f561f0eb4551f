"""The public door: its names, what every room exports, and NumPy in, NumPy out."""

import ast
from importlib import import_module, metadata
from pathlib import Path

import numpy as np
import pytest
import torch

import chanest

PACKAGE = Path(chanest.__file__).parent
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
OF_VERSION_0_1 = {
    *("DenseOperator", "Estimate", "Model", "PartialDFT", "PilotPattern"),
    *("Scenario", "load_model", "load_scenario", "nmse_db", "observe"),
}


def test_the_door_is_small_and_keeps_what_0_1_exported():
    assert 20 <= len(chanest.__all__) <= 30
    assert set(chanest.__all__) >= OF_VERSION_0_1
    assert all(getattr(chanest, name).__doc__ for name in chanest.__all__)


def test_names_that_come_late_are_the_ones_that_type_checkers_see():
    """Of every package with a ``__getattr__``: what it imports for them, what it exports, and what it finds."""
    lazy = [room for room in ("", *ROOMS) if "__getattr__" in vars(import_module(f"chanest.{room}".rstrip(".")))]
    assert {"", "models"} <= set(lazy)
    for room in lazy:
        package = import_module(f"chanest.{room}".rstrip("."))
        tree = ast.parse(Path(package.__file__).read_text())
        (block,) = (node for node in tree.body if isinstance(node, ast.If))
        seen = {alias.name: f"{package.__name__}.{node.module}" for node in block.body for alias in node.names}
        assert seen.keys() == set(package.__all__)
        assert set(package.__all__) <= set(dir(package))
        for name, module in seen.items():
            assert getattr(package, name) is getattr(import_module(module), name)
        with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'sown'"):
            package.sown  # noqa: B018


def test_the_version_is_that_of_the_package():
    assert chanest.__version__ == metadata.version("chanest")


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_says_what_it_exports(room):
    module = import_module(f"chanest.{room}")
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__) > 0
    for name in module.__all__:
        assert hasattr(module, name) or (PACKAGE / room / name).is_dir()


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_arrays_in_arrays_out(dtype):
    subcarriers = np.array([-200, -31, -4, 17, 90, 211])
    received = np.exp(1j * np.arange(12).reshape(2, 6)).astype(dtype)
    found = chanest.estimate(received, subcarriers, 0.1, error_variance=True)
    tensors = chanest.estimate(torch.from_numpy(received), subcarriers.tolist(), 0.1, error_variance=True)
    assert isinstance(found.cfr, np.ndarray)
    assert found.cfr.dtype == dtype
    assert isinstance(tensors.cfr, torch.Tensor)
    np.testing.assert_array_equal(found.cfr, tensors.cfr.numpy())
    np.testing.assert_array_equal(found.error_variance, tensors.error_variance.numpy())


def test_vectors_in_arrays_too():
    rng = np.random.default_rng(0)
    phi, x = rng.standard_normal((250, 1000)).astype(np.float32), np.zeros((3, 1000), np.float32)
    x[:, ::40] = 1.0
    model = chanest.load_model("na-alista-synthetic-40db")
    found = model.recover(x @ phi.T, phi).x
    assert isinstance(found, np.ndarray)
    assert np.linalg.norm(found - x) < 0.2 * np.linalg.norm(x)


def test_an_algorithm_by_name_is_an_estimator_for_a_model():
    scenario = chanest.load_scenario("lte10")
    model = chanest.Model(chanest.algorithm("sbl", n_iterations=4), scenario)
    assert model.estimate(np.ones(4, complex), [-9, -2, 3, 40]).cfr.shape == (600,)
    with pytest.raises(chanest.ChanestError, match=r"algorithm: expected one of ista, .*, got magic"):
        chanest.algorithm("magic")
    with pytest.raises(chanest.ChanestError, match=r"algorithm: omp: .*speed"):
        chanest.algorithm("omp", speed=9)
