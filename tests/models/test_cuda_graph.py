"""Estimates as CUDA graphs: what can be captured, and what a replay may assume, also where there is no GPU."""

import pytest
import torch

from chanest import PilotPattern, kernels, load_model, load_scenario
from chanest.errors import AlgorithmError, DeviceError, ModelError, ObservationError
from chanest.models import cuda_graph as captured
from chanest.models import pick_model
from chanest.models.cuda_graph import CapturedEstimator

PATTERN = PilotPattern.random(75, seed=3)


def pilots(seed: int = 0, batch: int = 4, dtype: torch.dtype = torch.complex64) -> torch.Tensor:
    return torch.randn(batch, 75, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def on_cpu(monkeypatch):
    """Where there is no GPU: a replay that runs the same operations on the same memory."""
    monkeypatch.setattr(captured, "_cuda", torch.device)
    monkeypatch.setattr(captured, "_captured", lambda run, device: run)
    with kernels.plain():
        yield


@pytest.mark.parametrize("name", ["na-alista", "alista", "ista", "fista"])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_a_replay_gives_what_the_model_gives(on_cpu, name, dtype):
    model = pick_model(name, load_scenario("lte10"))
    graph = CapturedEstimator(model, PATTERN, 4, dtype, "cpu")
    first = graph(pilots(0, dtype=dtype))
    second = graph(pilots(1, dtype=dtype) * 1e-4)
    for found, given in ((first, pilots(0, dtype=dtype)), (second, pilots(1, dtype=dtype) * 1e-4)):
        expected = model.estimate(given, PATTERN)
        assert torch.equal(found.cir, expected.cir)
        assert torch.equal(found.cfr, expected.cfr)
        assert torch.equal(found.used_subcarriers, expected.used_subcarriers)
        assert found.first_tap_samples == expected.first_tap_samples


def test_the_models_parameters_may_change_afterwards(on_cpu):
    model = pick_model("alista", load_scenario("lte10"))
    graph = CapturedEstimator(model, PATTERN, 4, device="cpu")
    before = graph(pilots()).cfr
    model.algorithm.log_step_size.fill_(-9.0)
    assert torch.equal(graph(pilots()).cfr, before)


@pytest.mark.parametrize("name", ["na-sbl", "sbl", "ep", "omp"])
def test_what_looks_at_values_is_refused(on_cpu, name):
    with pytest.raises(AlgorithmError, match=f"^{name}: looks at values on its way, which a graph cannot"):
        CapturedEstimator(pick_model(name, load_scenario("lte10")), PATTERN, device="cpu")


def test_bad_requests_are_one_line(on_cpu):
    model = load_model("alista-lte10-m75")
    with pytest.raises(AlgorithmError, match="nothing to gain"):
        CapturedEstimator(pick_model("linear", load_scenario("lte10")), PATTERN, device="cpu")
    with pytest.raises(ModelError, match="made for synthetic vectors"):
        CapturedEstimator(load_model("alista-synthetic-40db"), PATTERN, device="cpu")
    graph = CapturedEstimator(model, PATTERN, 4, device="cpu")
    for wrong, said in (
        (pilots(batch=3), r"captured for \(4, 75\), torch.complex64 on cpu, got \(3, 75\)"),
        (pilots(dtype=torch.complex128), "got .* torch.complex128"),
        (pilots() * torch.nan, "NaN"),
        (pilots()[:, :70], "70"),
    ):
        with pytest.raises(ObservationError, match=said):
            graph(wrong)


@pytest.mark.parametrize(("batch", "dtype"), [(0, torch.complex64), (-1, torch.complex64), (1, torch.float32)])
def test_what_is_no_batch_of_pilots_is_refused(on_cpu, batch, dtype):
    with pytest.raises(ObservationError, match="batch: expected at least 1, complex64 or complex128"):
        CapturedEstimator(load_model("alista-lte10-m75"), PATTERN, batch, dtype, "cpu")


def test_calls_leave_no_gradient_behind_and_work_after_inference_mode(on_cpu):
    with torch.inference_mode():
        graph = CapturedEstimator(load_model("alista-lte10-m75"), PATTERN, 4, device="cpu")
    found = graph(pilots().requires_grad_())
    assert not found.cfr.requires_grad
    assert graph._pilots.grad_fn is None


def test_a_device_that_is_not_there_is_told():
    for device in ("cpu", f"cuda:{torch.cuda.device_count()}"):
        with pytest.raises(DeviceError, match=f"expected a CUDA device that is there, got {device}"):
            CapturedEstimator(load_model("alista-lte10-m75"), PATTERN, device=device)
    with pytest.raises(DeviceError, match="expected cuda or cuda:N, got gpu"):
        CapturedEstimator(load_model("alista-lte10-m75"), PATTERN, device="gpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["na-alista", "alista", "ista", "fista"])
def test_a_graph_on_a_gpu_agrees_with_the_cpu(name):
    model = pick_model(name, load_scenario("lte10"))
    graph = CapturedEstimator(model, PATTERN, 4)
    for seed in range(3):
        expected = model.estimate(pilots(seed), PATTERN).cfr
        found = graph(pilots(seed).cuda()).cfr.cpu()
        assert float((found - expected).norm() / expected.norm()) < 1e-4
