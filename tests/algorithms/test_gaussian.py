"""Gaussian posteriors and the noise level against the textbook's dense formulas."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from conftest import stacked
from hypothesis import given, settings
from hypothesis import strategies as st

from chanest import DenseOperator, PartialDFT, PilotPattern, kernels, load_scenario
from chanest.algorithms.gaussian import log_rank_deficit, posterior_variance
from chanest.algorithms.noise import estimate_noise, noise_level
from chanest.models.model import noise_of_y, normalise
from chanest.operators.cholesky import LOADING, cholesky, inverse, solve
from chanest.problems import whole_band
from chanest.problems.ofdm.grid import Grid
from chanest.problems.random import seeded

N_FFT, N_USED, N_TAPS, FIRST = 256, 150, 40, -5
LTE10 = load_scenario("lte10")
CASES = ["one pattern", "comb", "pattern per entry", "dense"]


def randn(*shape: int, dtype: torch.dtype = torch.complex128, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def matrix(bins: torch.Tensor, first: int = FIRST) -> torch.Tensor:
    """The definition of a PartialDFT, entry by entry."""
    angle = -2 * torch.pi * bins.double().unsqueeze(-1) * (first + torch.arange(N_TAPS)) / N_FFT
    return torch.polar(torch.ones_like(angle), angle) / bins.shape[-1] ** 0.5


def make(case: str):
    """An operator and its matrix."""
    if case == "dense":
        phi = DenseOperator(randn(20, N_TAPS))
        return phi, phi.matrix
    if case == "comb":
        pattern = PilotPattern.comb(5, 2, Grid.around_dc(N_USED, N_FFT))
    elif case == "one pattern":
        pattern = PilotPattern.random(20, 0, Grid.around_dc(N_USED, N_FFT))
    else:
        patterns = [PilotPattern.random(20, seed, Grid.around_dc(N_USED, N_FFT)) for seed in range(3)]
        phi = stacked(patterns, N_TAPS, FIRST, torch.complex128)
        return phi, matrix(phi.bins)
    phi = pattern.operator(N_TAPS, FIRST, dtype=torch.complex128)
    return phi, matrix(phi.bins)


def band(n: int = 50) -> PartialDFT:
    return PilotPattern.random(n, 7, Grid.around_dc(N_USED, N_FFT)).operator(N_TAPS, FIRST, dtype=torch.complex128)


def random_prior(*batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tap variances over four decades, and noise."""
    generator = torch.Generator().manual_seed(1)
    g = 10 ** (-4 * torch.rand(*batch, N_TAPS, generator=generator, dtype=torch.float64))
    return g, 0.01 + torch.rand(batch, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("case", CASES)
def test_loaded_covariance_is_the_dense_formula(case):
    phi, dense = make(case)
    g, s = random_prior(4, 3)
    m = phi.n_measurements
    load = s + LOADING * g.sum(-1) / m
    expected = (dense * g.unsqueeze(-2)) @ dense.mH + load[..., None, None] * torch.eye(m)
    torch.testing.assert_close(phi.loaded_covariance(g, s), expected)


@pytest.mark.parametrize("case", CASES)
def test_posterior_variance_is_the_diagonal_of_the_posterior_covariance(case):
    """diag(F (G^-1 + Phi^H Phi / s)^-1 F^H), F = sqrt(M') Phi', the noise loaded as in loaded_covariance()."""
    phi, dense = make(case)
    g, s = random_prior(3)
    load = s + LOADING * g.sum(-1) / phi.n_measurements
    precision = torch.diag_embed(1 / g) + dense.mH @ dense / load[:, None, None]
    f = 50**0.5 * matrix(band().bins)
    expected = (f @ torch.linalg.inv(precision) @ f.mH).diagonal(dim1=-2, dim2=-1).real
    torch.testing.assert_close(posterior_variance(phi, band(), g, s), expected.to(torch.float64))


def test_posterior_variance_of_batches_of_any_shape():
    phi, _ = make("one pattern")
    g, s = random_prior(5, 30)  # more than one chunk
    together = posterior_variance(phi, band(), g, s)
    torch.testing.assert_close(together[3, 7], posterior_variance(phi, band(), g[3, 7], s[3, 7]))
    torch.testing.assert_close(together[4, 29], posterior_variance(phi, band(), g[4, 29], s[4, 29]))
    assert together.shape == (5, 30, 50)
    total = g.sum(-1, keepdim=True)
    assert bool((together <= total).all())
    loud = posterior_variance(phi, band(), g, torch.tensor(1e9))
    torch.testing.assert_close(loud, total.expand_as(loud))  # pilots drowned in noise leave the prior


@pytest.mark.parametrize("case", CASES)
def test_cross_covariance_is_the_dense_product(case):
    phi, dense = make(case)
    g, _ = random_prior(4, 3)
    for first in (FIRST, 9):
        other = PilotPattern.random(30, 5, Grid.around_dc(N_USED, N_FFT)).operator(
            N_TAPS, first, dtype=torch.complex128
        )
        expected = (dense * g.unsqueeze(-2)) @ matrix(other.bins, first).mH
        torch.testing.assert_close(phi.cross_covariance(other, g), expected)


class TestInverse:
    def test_inverse_and_solve_are_linalgs(self):
        a, y = randn(4, 3, 8, 8), randn(4, 3, 8, seed=1)
        c = a @ a.mH + 0.1 * torch.eye(8)
        torch.testing.assert_close(inverse(c), torch.linalg.inv(c))
        torch.testing.assert_close(solve(c, y), torch.linalg.solve(c, y))
        torch.testing.assert_close(solve(c, y[0, 0]), torch.linalg.solve(c, y[:1, :1].expand(4, 3, 8)))

    def test_gradients(self):
        """Over Hermitian C = A A^H + I / 2, a factorisation sees one triangle only."""
        a, y = randn(2, 5, 5).requires_grad_(), randn(5, seed=1).requires_grad_()

        def c(a: torch.Tensor) -> torch.Tensor:
            return a @ a.mH + 0.5 * torch.eye(5)

        assert torch.autograd.gradcheck(lambda a: inverse(c(a)), a)
        assert torch.autograd.gradcheck(lambda a, y: solve(c(a), y), (a, y))

    def test_gradients_are_those_of_linalg_through_a_covariance(self):
        phi, _ = make("one pattern")
        g, s = random_prior(3)
        y = randn(3, 20)
        found, expected = [], []
        for gradients, way in ((found, solve), (expected, torch.linalg.solve)):
            variable, noise = g.clone().requires_grad_(), s.clone().requires_grad_()
            (y.conj() * way(phi.loaded_covariance(variable, noise), y)).real.sum().backward()
            gradients += [variable.grad, noise.grad]
        torch.testing.assert_close(found, expected)

    @settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 1000),
        rank=st.integers(1, 12),
        decades=st.sampled_from([0, 6, 12]),
        indefinite=st.sampled_from([0, 1e-7, 1e-5]),
        scale=st.sampled_from([1e-3, 1.0, 1e3]),
        real=st.booleans(),
    )
    def test_singular_and_indefinite_matrices_stay_finite(self, seed, rank, decades, indefinite, scale, real):
        dtype = torch.float32 if real else torch.complex64
        basis = torch.linalg.qr(randn(12, rank, dtype=dtype, seed=seed)).Q
        eigenvalues = torch.logspace(0, -decades, rank)
        c = (scale * ((basis * eigenvalues) @ basis.mH - indefinite * torch.eye(12))).requires_grad_()
        y = randn(12, dtype=dtype, seed=seed + 1).requires_grad_()
        for out in (inverse(c), solve(c, y)):
            assert bool(out.isfinite().all())
            out.abs().square().sum().sqrt().backward()
            assert bool(c.grad.isfinite().all())
        assert bool(y.grad.isfinite().all())
        v = basis[:, 0]
        image = c.detach() @ solve(c.detach(), v)  # v lies in the range
        assert float((image - v).abs().max()) < 0.01

    def test_good_matrices_do_not_see_their_bad_neighbours(self):
        ones = torch.ones(6, 6, dtype=torch.complex64)
        good = torch.eye(6) + 0.1 * ones
        both = cholesky(torch.stack([good, ones - 1e-6 * torch.eye(6), 2 * good]))
        torch.testing.assert_close(both[::2], torch.linalg.cholesky(torch.stack([good, 2 * good])), rtol=0, atol=0)
        torch.testing.assert_close(both[1] @ both[1].mH, ones, rtol=0, atol=1e-4)

    def test_noiseless_covariances_of_every_size(self):
        """A comb that folds taps onto each other, one tap, no noise: rank one by construction."""
        for spacing in (3, 4, 8, 25):
            phi = PilotPattern.comb(spacing).operator(256)
            for g in (torch.eye(256)[:2], torch.full((2, 256), 1e-8)):
                c = phi.loaded_covariance(g, torch.zeros(2))
                assert bool(inverse(c).isfinite().all())
                assert bool((cholesky(c).diagonal(dim1=-2, dim2=-1).real > 0).all())


class TestNoise:
    @pytest.mark.parametrize(
        ("n_pilots", "snr_db", "typical"),
        [(50, 0, 1.5), (75, 0, 1.5), (100, 0, 1.5), (50, 10, 3), (75, 10, 2), (100, 10, 2), (75, 20, 3), (100, 20, 2)],
    )
    def test_estimates_are_near(self, n_pilots, snr_db, typical):
        """Within 1.5 dB in the median; few pilots, which 8 taps nearly explain, leave a wide spread."""
        errors = []
        for seed in range(3):
            pattern = PilotPattern.random(n_pilots, seed)
            data = LTE10.draw(pattern, 128, seeded(seed, "test"), snr_db)
            y, rms = normalise(data.observations)
            phi = pattern.operator(LTE10.n_taps)
            errors.append(10 * torch.log10(estimate_noise(y, phi) / noise_of_y(data.noise_variance, rms, n_pilots)))
        error = torch.cat(errors)
        assert abs(float(error.median())) < 1.5
        assert float(error.abs().median()) < typical

    def test_it_is_the_mean_of_the_posterior(self):
        """Weighed by scipy's density; for real numbers its square, as complex ones have twice the exponent."""
        from scipy.stats import multivariate_normal

        phi = DenseOperator(randn(6, 4, dtype=torch.float64))
        y = randn(5, 6, dtype=torch.float64)
        y = y / y.norm(dim=-1, keepdim=True)
        shares, weights, grid = 10 ** (-np.arange(41) / 10), [], []
        for decay in (2, 6, 20, 60, np.inf):
            signal = (phi.matrix * torch.exp(-torch.arange(4) / decay)) @ phi.matrix.T
            for t in shares:
                c = (1 - t) * signal / signal.trace() + t / 6 * torch.eye(6)
                weights.append(multivariate_normal(cov=c.numpy()).pdf(y) ** 2)
                grid.append(t)
        expected = np.average(np.tile(grid, (5, 1)).T, 0, np.stack(weights))
        np.testing.assert_allclose(estimate_noise(y, phi).numpy() * 6, expected, rtol=1e-5)

    def test_levels_are_clamped(self):
        phi = PilotPattern.random(75, 0).operator(256)
        y = randn(5, 75, dtype=torch.complex64) / 75**0.5
        told = torch.tensor([0.0, 1e-9, 0.5, 3.0, 1e9]) / 75
        expected = torch.tensor([1e-5, 1e-5, 0.5, 3.0, 4.0]) / 75
        torch.testing.assert_close(noise_level(y, phi, told), expected)
        torch.testing.assert_close(noise_level(y, phi, torch.tensor(0.01)), torch.full((5,), 0.01))
        torch.testing.assert_close(noise_level(y, phi, None), estimate_noise(y, phi))
        assert bool((estimate_noise(torch.zeros(1, 75) + 0j, phi) > 0).all())

    def test_one_pattern_per_entry(self):
        patterns = [PilotPattern.random(40, seed) for seed in range(3)]
        y = randn(3, 40)
        together = estimate_noise(y, stacked(patterns, 64, dtype=torch.complex128))
        for i, pattern in enumerate(patterns):
            alone = estimate_noise(y[i], pattern.operator(64, dtype=torch.complex128))
            torch.testing.assert_close(together[i], alone)


@pytest.mark.parametrize("case", CASES)
def test_log_rank_deficit_is_its_definition_and_knows_no_scale(case):
    phi, dense = make(case)
    g = torch.rand(N_TAPS, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    c = (dense * g) @ dense.mH
    eigenvalues = torch.linalg.eigvalsh(c)
    expected = (eigenvalues.shape[-1] * eigenvalues.square().sum(-1) / eigenvalues.sum(-1).square()).log()
    found = log_rank_deficit(phi, g)
    assert found.shape == phi.batch_shape
    torch.testing.assert_close(found, expected)
    assert bool((found > 0).all())
    for scale in (1e-12, 1e12):
        torch.testing.assert_close(log_rank_deficit(phi, scale * g), found)


@pytest.mark.parametrize("offset", [0, 3])
def test_a_comb_has_no_rank_deficit(offset):
    """256 bins, every eighth a pilot: 32 taps are orthogonal on 32 pilots, whatever the offset."""
    bins = torch.arange(offset, N_FFT, 8)
    angle = -2 * torch.pi * bins.double().unsqueeze(-1) * torch.arange(32) / N_FFT
    phi = DenseOperator(torch.polar(torch.ones_like(angle), angle) / 32**0.5)
    assert abs(float(log_rank_deficit(phi, torch.ones(32, dtype=torch.float64)))) < 1e-12
    phi = PilotPattern.comb(5, 2, Grid.around_dc(N_USED, N_FFT)).operator(N_TAPS, FIRST, dtype=torch.complex128)
    random = PilotPattern.random(30, 0, Grid.around_dc(N_USED, N_FFT)).operator(N_TAPS, FIRST, dtype=torch.complex128)
    g = torch.ones(N_TAPS, dtype=torch.float64)
    assert float(log_rank_deficit(phi, g)) < 0.5 * float(log_rank_deficit(random, g))


@pytest.mark.parametrize("compiled", [True, False])
def test_what_is_left_of_strong_taps_is_not_lost_in_rounding(compiled):
    pattern = PilotPattern.random(75, seed=3)
    phi, band = pattern.operator(256), whole_band(pattern.grid).operator(256)
    g = torch.zeros(4, 256)
    g[:, [3, 40, 41, 90, 200, 210, 230, 250]] = torch.tensor([0.1, 1.0, 10.0, 100.0]).unsqueeze(-1)
    s = torch.full((4,), 1e-4 / 75)
    with nullcontext() if compiled else kernels.plain():
        found = posterior_variance(phi, band, g, s)
    expected = posterior_variance(*(one.to(torch.complex128) for one in (phi, band)), g.double(), s.double())
    assert float((found / expected - 1).abs().max()) < 0.02
