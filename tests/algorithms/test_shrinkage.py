"""Soft threshold and support selection."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chanest.algorithms import AGLISTA, ALISTA, ALISTAAT, LISTA, LISTACPSS, NAALISTA, GatedLISTA
from chanest.algorithms.shrinkage import soft_threshold, support_schedule
from chanest.errors import AlgorithmError


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), threshold=st.floats(0, 3), is_complex=st.booleans())
def test_it_is_the_proximal_operator_of_the_l1_norm(seed, threshold, is_complex):
    dtype = torch.complex128 if is_complex else torch.float64
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(20, dtype=dtype, generator=generator)
    found = soft_threshold(v, threshold)

    def objective(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * (x - v).abs().square() + threshold * x.abs()

    for _ in range(20):
        other = found + 0.1 * torch.randn(20, dtype=dtype, generator=generator)
        assert bool((objective(found) <= objective(other) + 1e-12).all())


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), n_exempt=st.integers(0, 25))
def test_exactly_p_entries_pass_ties_or_not(seed, n_exempt):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(1, 4, (5, 20), generator=generator).double()  # full of ties
    found = soft_threshold(x, 0.5, n_exempt)
    assert bool(((found == x).sum(-1) == min(n_exempt, 20)).all())
    shrunk_most = torch.where(found < x, x, 0).amax(-1)
    kept_least = torch.where(found == x, x, 9).amin(-1)
    assert bool((kept_least >= shrunk_most).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("n_exempt", [0, 2])
def test_gradient_is_right_and_safe_at_zero(dtype, n_exempt):
    x = torch.randn(3, 7, dtype=dtype, generator=torch.Generator().manual_seed(1)).requires_grad_()
    threshold = torch.full((3, 1), 0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, t: soft_threshold(a, t, n_exempt), (x, threshold))
    zero = torch.zeros(4, dtype=dtype, requires_grad=True)
    soft_threshold(zero, 0.0, n_exempt).abs().square().sum().backward()
    assert bool((zero.grad == 0).all())


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), n_exempt=st.integers(0, 8))
def test_real_vectors_are_shrunk_as_complex_ones_that_happen_to_be_real(seed, n_exempt):
    generator = torch.Generator().manual_seed(seed)
    given_x = torch.randn(4, 7, dtype=torch.float64, generator=generator)
    weights = torch.randn(4, 7, dtype=torch.float64, generator=generator)
    found = []
    for dtype in (torch.float64, torch.complex128):
        x, threshold = given_x.clone().requires_grad_(), torch.full((4, 1), 0.5, dtype=torch.float64).requires_grad_()
        shrunk = soft_threshold(x.to(dtype), threshold, n_exempt).real
        (shrunk * weights).sum().backward()
        with torch.no_grad():
            assert torch.equal(soft_threshold(x.to(dtype), threshold, n_exempt).real, shrunk)
        found.append((shrunk.detach(), x.grad, threshold.grad))
    for real, as_complex in zip(*found, strict=True):
        torch.testing.assert_close(real, as_complex)


def test_phase_is_kept():
    x = torch.tensor([3 + 4j])
    torch.testing.assert_close(soft_threshold(x, 1.0), x * 4 / 5)


def test_published_schedule():
    assert support_schedule(8, 16)[-1] == 10
    assert support_schedule(0, 4) == (0, 0, 0, 0)
    assert all(3 <= p <= 10 for k in range(1, 25) for p in support_schedule(8, k))


@pytest.mark.parametrize("n_iterations", [1, 2, 3, 7, 16, 33])
def test_the_schedule_is_the_published_linspace(n_iterations):
    for sparsity in torch.arange(1, 120).div(4).tolist():
        ramp = torch.linspace(1.5 * sparsity // n_iterations, 1.5 * sparsity, n_iterations, dtype=torch.float64)
        expected = tuple(int(p) for p in ramp.clamp(3, 10))
        assert support_schedule(sparsity, n_iterations) == expected


class TestSupportSelection:
    def test_published_synthetic_schedule(self):
        assert support_schedule(50, 16, "synthetic") == tuple(int(3.75 * k) for k in range(1, 17))
        assert support_schedule(50, 12, "synthetic") == tuple(range(5, 61, 5))
        assert support_schedule(50, 1, "synthetic") == (60,)
        assert support_schedule(0, 3, "synthetic") == (0, 0, 0)
        assert support_schedule(8, 16, "ofdm") == support_schedule(8, 16)
        with pytest.raises(AlgorithmError, match="schedule: expected one of ofdm, published, synthetic, got linear"):
            support_schedule(8, 16, "linear")

    @pytest.mark.parametrize("cls", [ALISTA, NAALISTA, ALISTAAT, AGLISTA, LISTA, LISTACPSS, GatedLISTA])
    def test_schedule_is_the_last_hyperparameter_and_not_written_when_none(self, cls):
        assert list(inspect.signature(cls).parameters)[-1] == "schedule"
        assert "schedule" not in cls().hyperparameters
        chosen = cls(sparsity=50, schedule="synthetic")
        assert chosen.hyperparameters["schedule"] == "synthetic"
        assert chosen.exempt(16)[-1] == 60
        with pytest.raises(AlgorithmError, match="schedule"):
            cls(schedule="x")

    def test_a_count_per_vector(self):
        x = torch.randn(4, 9, dtype=torch.complex128)
        counts = torch.tensor([[0], [2], [9], [30]])
        found = soft_threshold(x, 0.4, counts)
        for row, entry, count in zip(found, x, counts, strict=True):
            torch.testing.assert_close(row, soft_threshold(entry, 0.4, int(count)))
