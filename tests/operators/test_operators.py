"""One harness for every operator: shape, linearity, the dense matrix, the adjoint identity, gradients."""

import numpy as np
import pytest
import torch
from conftest import stacked
from hypothesis import given, settings
from hypothesis import strategies as st

from chanest import DenseOperator, PartialDFT, PilotPattern
from chanest.errors import OperatorError
from chanest.operators import AnalyticWeights, LinearOperator
from chanest.problems.ofdm.grid import Grid

N_FFT, N_USED = 256, 150


def explicit_matrix(phi: PartialDFT) -> torch.Tensor:
    """The definition, entry by entry."""
    delays = phi.first_tap_samples + torch.arange(phi.n_coefficients, dtype=torch.float64)
    angle = -2 * torch.pi * phi.bins.double().unsqueeze(-1) * delays / phi.n_fft
    return torch.polar(torch.ones_like(angle), angle) / phi.n_measurements**0.5


def make(case: str, dtype: torch.dtype, n_taps: int = 64, first_tap: int = 0, device: str = "cpu") -> PartialDFT:
    if case == "one pattern":
        pattern = PilotPattern.random(20, 0, Grid.around_dc(N_USED, N_FFT))
    elif case == "comb":
        pattern = PilotPattern.comb(5, 2, Grid.around_dc(N_USED, N_FFT))
    else:
        patterns = [PilotPattern.random(20, seed, Grid.around_dc(N_USED, N_FFT)) for seed in range(3)]
        return PartialDFT(torch.tensor([p.subcarriers for p in patterns]), n_taps, first_tap, N_FFT, dtype, device)
    return pattern.operator(n_taps, first_tap, dtype=dtype, device=device)


def randn(*shape: int, dtype: torch.dtype = torch.complex128, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


CASES = ["one pattern", "comb", "pattern per entry"]
WINDOWS = [(64, 0), (40, -5), (33, 7), (128, 0), (200, -20), (256, 0)]  # pruned, unpruned, circulant of n_fft


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("case", CASES)
class TestPartialDFTAgainstTheDenseMatrix:
    @pytest.fixture
    def phi(self, case: str, window: tuple[int, int]) -> PartialDFT:
        return make(case, torch.complex128, *window)

    @pytest.fixture
    def dense(self, phi: PartialDFT) -> DenseOperator:
        return DenseOperator(explicit_matrix(phi))

    def test_forward_adjoint_and_gram(self, phi, dense):
        x, y = randn(4, 3, phi.n_coefficients), randn(4, 3, phi.n_measurements)
        torch.testing.assert_close(phi.forward(x), dense.forward(x))
        torch.testing.assert_close(phi.adjoint(y), dense.adjoint(y))
        torch.testing.assert_close(phi.gram(x), dense.gram(x))
        torch.testing.assert_close(phi.dense(), dense.dense())

    def test_covariance_and_quadratic_diagonal(self, phi, dense):
        g = torch.rand(*phi.batch_shape, phi.n_coefficients, dtype=torch.float64)
        c = randn(*phi.batch_shape, phi.n_measurements, phi.n_measurements)
        c = c @ c.mH
        torch.testing.assert_close(phi.covariance(g), dense.covariance(g))
        torch.testing.assert_close(phi.quadratic_diagonal(c), dense.quadratic_diagonal(c))

    def test_columns_have_unit_norm(self, phi, dense):
        ones = torch.ones(*phi.batch_shape, phi.n_coefficients, dtype=torch.float64)
        torch.testing.assert_close(phi.column_norms(), ones)

    def test_squared_norm_is_the_largest_eigenvalue(self, phi, dense):
        largest = torch.linalg.matrix_norm(dense.dense(), 2) ** 2
        assert bool((phi.squared_norm() <= largest * (1 + 1e-9)).all())
        torch.testing.assert_close(phi.squared_norm(), largest, rtol=0.05, atol=0)


def adjoint_error(phi: LinearOperator, seed: int, *batch: int) -> float:
    """|<Phi x, y> - <x, Phi^H y>| / (||Phi x|| ||y||), the largest of a batch."""
    x = randn(*batch, phi.n_coefficients, dtype=phi.dtype, seed=seed)
    y = randn(*batch, phi.n_measurements, dtype=phi.dtype, seed=seed + 1)
    image = phi.forward(x)
    left = (image.conj() * y).sum(-1)
    right = (x.conj() * phi.adjoint(y)).sum(-1)
    return float(((left - right).abs() / (image.norm(dim=-1) * y.norm(dim=-1))).max())


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_pilots=st.integers(2, 60),
    n_taps=st.integers(1, 256),
    first_tap=st.integers(-40, 40),
    double=st.booleans(),
    batch=st.sampled_from([(), (1,), (3, 2)]),
)
def test_partial_dft_properties(seed, n_pilots, n_taps, first_tap, double, batch):
    dtype = torch.complex128 if double else torch.complex64
    phi = PilotPattern.random(n_pilots, seed, Grid.around_dc(N_USED, N_FFT)).operator(n_taps, first_tap, dtype=dtype)
    tolerance = 1e-12 if double else 1e-5
    x1, x2 = randn(*batch, n_taps, dtype=dtype, seed=seed), randn(*batch, n_taps, dtype=dtype, seed=seed + 1)
    assert phi.forward(x1).shape == (*batch, n_pilots)
    assert phi.forward(x1).dtype == dtype
    assert adjoint_error(phi, seed, *batch) < tolerance
    torch.testing.assert_close(
        phi.forward(2j * x1 - x2), 2j * phi.forward(x1) - phi.forward(x2), rtol=0, atol=100 * tolerance
    )
    torch.testing.assert_close(phi.gram(x1), phi.adjoint(phi.forward(x1)), rtol=0, atol=100 * tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_dense_operator_properties(dtype):
    for matrix in (randn(6, 9, dtype=dtype), randn(3, 6, 9, dtype=dtype)):
        assert adjoint_error(DenseOperator(matrix), 1, 3) < 1e-12


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", ["forward", "adjoint", "gram"])
def test_gradients(case, method):
    phi = make(case, torch.complex128, 12, -2)
    length = phi.n_measurements if method == "adjoint" else phi.n_coefficients
    argument = randn(3, length).requires_grad_()
    assert torch.autograd.gradcheck(getattr(phi, method), argument)


def test_pattern_per_entry_equals_one_pattern_at_a_time():
    patterns = [PilotPattern.random(20, seed, Grid.around_dc(N_USED, N_FFT)) for seed in range(3)]
    together = stacked(patterns, 64, -3, dtype=torch.complex128)
    x, y = randn(3, 64), randn(3, 20)
    for i, pattern in enumerate(patterns):
        alone = pattern.operator(64, -3, dtype=torch.complex128)
        torch.testing.assert_close(together.forward(x)[i], alone.forward(x[i]))
        torch.testing.assert_close(together.adjoint(y)[i], alone.adjoint(y[i]))
        torch.testing.assert_close(together.gram(x)[i], alone.gram(x[i]))


def test_no_intermediate_is_as_large_as_the_matrix():
    """With the large size of the benchmark, no tensor that forward, adjoint or gram makes holds M x N entries."""
    phi = PilotPattern.random(600, 0, Grid.around_dc(4800, 8192)).operator(2048)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    with Watch():
        x = randn(2048, dtype=torch.complex64)
        phi.adjoint(phi.forward(x))
        phi.gram(x)
    assert largest < 600 * 2048 / 10


class TestAnalyticWeights:
    @pytest.fixture
    def phi(self) -> PartialDFT:
        return PilotPattern.random(40, 0).operator(256, dtype=torch.complex128)

    def test_matches_the_closed_form(self, phi):
        matrix = phi.dense()
        a = matrix @ matrix.mH
        a = a + 0.1 * a.diagonal().real.mean() * torch.eye(40)
        w = torch.linalg.solve(a, matrix)
        w = w / (w.conj() * matrix).sum(-2).real
        b = randn(3, 40)
        torch.testing.assert_close(AnalyticWeights(phi, 0.1).adjoint(b), b @ w.conj())

    def test_has_unit_diagonal_and_less_coherence_than_phi(self, phi):
        identity = torch.eye(256, dtype=torch.complex128)
        gram, plain = AnalyticWeights(phi, 1e-3).gram(identity), phi.gram(identity)
        torch.testing.assert_close(gram.diagonal(), torch.ones(256, dtype=torch.complex128))
        assert gram.abs().square().sum() < plain.abs().square().sum()

    def test_pattern_per_entry(self):
        patterns = [PilotPattern.random(20, seed, Grid.around_dc(N_USED, N_FFT)) for seed in range(3)]
        together = AnalyticWeights(stacked(patterns, 64, dtype=torch.complex128), 0.1)
        b = randn(3, 20)
        for i, pattern in enumerate(patterns):
            alone = AnalyticWeights(pattern.operator(64, dtype=torch.complex128), 0.1)
            torch.testing.assert_close(together.adjoint(b)[i], alone.adjoint(b[i]))
            torch.testing.assert_close(together.squared_norm()[i], alone.squared_norm())

    def test_real_operator(self):
        w = AnalyticWeights(DenseOperator(randn(8, 16, dtype=torch.float64)), 1e-8)
        gram = w.gram(torch.eye(16, dtype=torch.float64))
        torch.testing.assert_close(gram.diagonal(), torch.ones(16, dtype=torch.float64))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("case", CASES)
def test_gpu_agrees_with_cpu(case):
    cpu, gpu = make(case, torch.complex64, 64, -3), make(case, torch.complex64, 64, -3, "cuda")
    x, y = randn(3, 64, dtype=torch.complex64), randn(3, cpu.n_measurements, dtype=torch.complex64)
    for method, v in (("forward", x), ("adjoint", y), ("gram", x)):
        expected, found = getattr(cpu, method)(v), getattr(gpu, method)(v.cuda()).cpu()
        assert float((expected - found).norm() / expected.norm()) < 1e-4
    b = AnalyticWeights(gpu, 0.1).adjoint(y.cuda()).cpu()
    expected = AnalyticWeights(cpu, 0.1).adjoint(y)
    assert float((expected - b).norm() / expected.norm()) < 1e-4


@pytest.mark.parametrize(("n_taps", "bins"), [(0, [1]), (257, [1]), (8, [])])
def test_impossible_sizes_are_refused(n_taps, bins):
    with pytest.raises(OperatorError, match="expected"):
        PartialDFT(torch.tensor(bins), n_taps, n_fft=256)


def test_bins_can_be_given_directly():
    pattern = PilotPattern.random(20, 0, Grid.around_dc(N_USED, N_FFT))
    bins = torch.from_numpy(np.ascontiguousarray(pattern.bins))
    x = randn(64)
    by_pattern = pattern.operator(64, dtype=torch.complex128)
    by_bins = PartialDFT(bins, 64, n_fft=N_FFT, dtype=torch.complex128)
    torch.testing.assert_close(by_bins.forward(x), by_pattern.forward(x))
