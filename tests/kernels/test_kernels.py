"""The compiled loops against the same algorithms in torch, in single and in double precision."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from conftest import stacked
from hypothesis import given, settings
from hypothesis import strategies as st

from chanest import PartialDFT, PilotPattern, kernels, load_model, load_scenario
from chanest.algorithms import ALISTA, NAALISTA, NASBL, SBL, Algorithm
from chanest.algorithms.gaussian import posterior_variance
from chanest.kernels import elementwise as functions
from chanest.kernels import na_sbl as tap_rules
from chanest.kernels import threads
from chanest.kernels.adapters import suits
from chanest.models import guard, scaling
from chanest.models.hdf5 import shipped_models
from chanest.operators import DenseOperator
from chanest.problems import whole_band
from chanest.problems.ofdm.grid import Grid
from chanest.problems.random import seeded

OFDM = [path.stem for path in shipped_models() if "synthetic" not in path.stem]


def noisy_parameters(algorithm: Algorithm, seed: int = 1) -> Algorithm:
    """The algorithm with parameters that none of its formulas can ignore."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return algorithm.requires_grad_(False)


def distance(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Relative distance of every estimate."""
    n = torch.linalg.vector_norm
    return n(found - expected, dim=-1) / n(expected, dim=-1).clamp_min(1e-30)


def sparse_observations(phi: PartialDFT, n: int, noise: float = 0.05, seed: int = 0) -> torch.Tensor:
    """y of unit norm, from four taps each."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros(n, phi.n_coefficients, dtype=torch.complex64)
    place = torch.randint(0, phi.n_coefficients, (n, 4), generator=generator)
    x.scatter_(-1, place, torch.randn(n, 4, dtype=torch.complex64, generator=generator))
    y = phi.forward(x) + noise * torch.randn(n, phi.n_measurements, dtype=torch.complex64, generator=generator)
    return y / torch.linalg.vector_norm(y, dim=-1, keepdim=True)


@pytest.mark.parametrize("name", [n for n in OFDM if "sbl" not in n])
def test_shrinkage_models_are_those_of_torch(name):
    model = load_model(name)
    pattern = PilotPattern.random(model.ofdm.n_pilots, seed=3)
    pilots = model.ofdm.replace(snr_db=12.0).draw(pattern, 40, seeded(0, "test")).observations
    compiled = model.estimate(pilots, pattern)
    with kernels.plain():
        plain = model.estimate(pilots, pattern)
        exact = model.estimate(pilots.to(torch.complex128), pattern)
    rounding = distance(plain.cir, exact.cir)  # amplified in some channels by the models for lte10-reference
    assert (distance(compiled.cir, plain.cir) < 1e-5 + 3 * rounding.max()).all()
    assert distance(compiled.cir, plain.cir).median() < 1e-5 + 3 * rounding.median()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", [n for n in OFDM if "sbl" in n])
def test_na_sbl_strays_from_double_precision_no_further_than_torch(name, known):
    model = load_model(name)
    pattern = PilotPattern.random(model.ofdm.n_pilots, seed=3)
    data = model.ofdm.replace(snr_db=12.0).draw(pattern, 40, seeded(0, "test"))
    noise = torch.as_tensor(data.noise_variance) if known else None
    compiled = model.estimate(data.observations, pattern, noise)
    with kernels.plain():
        plain = model.estimate(data.observations, pattern, noise)
        exact = model.estimate(data.observations.to(torch.complex128), pattern, noise)
    assert distance(compiled.cfr, exact.cfr).mean() < 1e-4 + 3 * distance(plain.cfr, exact.cfr).mean()
    assert distance(compiled.cfr, plain.cfr).max() < 0.1


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 40),
    st.integers(2, 50),
    st.sampled_from((64, 63, 128)),
    st.integers(-8, 8),
    st.integers(0, 99),
)
def test_moments_of_any_size_are_those_of_dense_matrices(m, n, n_fft, first, seed):
    """Odd DFT lengths, pilots half a DFT apart, negative delays."""
    generator = torch.Generator().manual_seed(seed)
    bins = torch.randperm(n_fft, generator=generator)[:m]
    phi = PartialDFT(bins, n, first, n_fft)
    exact = DenseOperator(PartialDFT(bins, n, first, n_fft, dtype=torch.complex128).dense())
    y = torch.randn(3, m, dtype=torch.complex64, generator=generator)
    g = torch.rand(3, n, generator=generator)
    s = torch.full((3,), 0.3)
    found = phi.posterior_moments(y, g, s)
    expected = exact.posterior_moments(y.to(torch.complex128), g.double(), s.double())
    for name in ("mean", "q", "d", "fit", "noise"):
        torch.testing.assert_close(
            getattr(found, name).to(getattr(expected, name).dtype), getattr(expected, name), rtol=2e-3, atol=2e-4
        )
    solved = phi.posterior_mean(y, g, s).to(torch.complex128)
    torch.testing.assert_close(solved, expected.mean, rtol=2e-3, atol=2e-4)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(6, 40),
    st.integers(2, 70),
    st.integers(1, 9),
    st.sampled_from(("r", "u", "r,u")),
    st.sampled_from((0.0, 0.1)),
    st.integers(0, 5),
)
def test_shrinkage_of_any_size(m, n, hidden, inputs, ridge, sparsity):
    phi = PilotPattern.random(m, 1, Grid.around_dc(80, 128)).operator(n, -3)
    y = sparse_observations(phi, 5)
    for algorithm in (
        NAALISTA(4, hidden, inputs, sparsity, ridge),
        ALISTA(4, sparsity, ridge),
    ):
        noisy_parameters(algorithm)
        with kernels.plain():
            plain = algorithm(y, phi).x
        x = algorithm(y, phi).x
        assert (distance(x, plain) < 2e-4).sum() >= 4  # one may be a tie of the support selection


def gradients(algorithm: Algorithm, y: torch.Tensor, phi: PartialDFT, aim: torch.Tensor) -> list[torch.Tensor]:
    """Of the squared distance from some x: in y and in every parameter that matters."""
    leaf = y.detach().clone().requires_grad_(True)
    parameters = [p for name, p in algorithm.named_parameters() if not name.startswith("calibration")]
    error = (algorithm(leaf, phi).x - aim).abs().square().sum()
    return [error.detach(), *torch.autograd.grad(error, [leaf, *parameters])]


@settings(max_examples=15, deadline=None)
@given(
    st.integers(8, 40),
    st.integers(10, 70),
    st.integers(1, 40),
    st.sampled_from(("r", "u", "r,u")),
    st.sampled_from((0.0, 0.1)),
    st.integers(1, 9),
)
def test_na_alista_trains_with_the_gradients_of_autograd(m, n, hidden, inputs, ridge, batch):
    algorithm = noisy_parameters(NAALISTA(4, hidden, inputs, 4, ridge)).requires_grad_(True)
    pattern = PilotPattern.random(m, 1, Grid.around_dc(80, 128))
    phi = pattern.operator(n, -3)
    y = sparse_observations(phi, batch)
    aim = torch.randn(batch, n, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    found = gradients(algorithm, y, phi, aim)
    with kernels.plain():
        plain = gradients(algorithm, y, phi, aim)
    far = [float((a - b).norm() / b.norm().clamp_min(1e-6)) for a, b in zip(found, plain, strict=True)]
    if far[0] < 1e-4:  # else a tie of the support selection
        assert max(far) < 1e-2
        assert sorted(far)[len(far) // 2] < 1e-3


def test_gradients_of_the_shipped_size_to_single_precision():
    model = load_model("na-alista-lte10-m75")
    pattern = PilotPattern.random(75, seed=3)
    phi = model.operator(pattern, torch.complex64, "cpu")
    data = model.ofdm.replace(snr_db=12.0).draw(pattern, 24, seeded(0, "test"))
    y, aim = data.observations / 75**0.5, data.truth["cir"]
    assert aim is not None
    algorithm = deepcopy(model.algorithm).requires_grad_(True)
    found = gradients(algorithm, y, phi, aim)
    exactly = deepcopy(algorithm).double()
    exact_phi = model.operator(pattern, torch.complex128, "cpu")
    exact = gradients(exactly, y.to(torch.complex128), exact_phi, aim.to(torch.complex128))
    with kernels.plain():
        plain = gradients(algorithm, y, phi, aim)
    for one, other, truth in zip(found, plain, exact, strict=True):
        assert (one - truth).norm() < (1e-5 * truth.norm() + 10 * (other - truth).norm())


def test_two_passes_before_a_backward_do_not_share_their_memory():
    algorithm = noisy_parameters(NAALISTA(3, 8)).requires_grad_(True)
    phi = PilotPattern.random(20, seed=0).operator(40)
    batches = [sparse_observations(phi, 6, seed=seed) for seed in (0, 1)]
    apart = [gradients(algorithm, y, phi, torch.zeros(6, 40)) for y in batches]
    leaves = [y.clone().requires_grad_(True) for y in batches]
    errors = [algorithm(leaf, phi).x.abs().square().sum() for leaf in leaves]
    for leaf, error, alone in zip(leaves, errors, apart, strict=True):
        (of_y,) = torch.autograd.grad(error, [leaf], retain_graph=True)
        torch.testing.assert_close(of_y, alone[1])
        (again,) = torch.autograd.grad(error, [leaf])
        torch.testing.assert_close(again, of_y)


@pytest.mark.parametrize("algorithm", [NAALISTA(3, 8), ALISTA(3), NASBL(3, 5), SBL(4)], ids=lambda a: a.name)
def test_batches_of_any_shape_on_any_number_of_threads(algorithm):
    noisy_parameters(algorithm)
    phi = PilotPattern.random(20, seed=0).operator(40)
    y = sparse_observations(phi, 60)
    together = algorithm(y, phi).x
    assert torch.equal(algorithm(y.view(3, 5, 4, 20), phi).x.view(60, 40), together)
    assert distance(algorithm(y[7], phi).x, together[7]) < 1e-4
    strided = torch.stack([y, y], -1)[..., 0]
    assert torch.equal(algorithm(strided, phi).x, together)
    assert torch.equal(algorithm(y.conj(), phi).x, algorithm(y.conj().resolve_conj(), phi).x)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(algorithm(y, phi).x, together)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("algorithm", [NAALISTA(3, 8), ALISTA(3), NASBL(3, 5)], ids=lambda a: a.name)
def test_changed_parameters_are_seen(algorithm):
    noisy_parameters(algorithm)
    phi = PilotPattern.random(20, seed=0).operator(40)
    y = sparse_observations(phi, 2)
    before = algorithm(y, phi).x
    noisy_parameters(algorithm, seed=2)
    with kernels.plain():
        plain = algorithm(y, phi).x
    after = algorithm(y, phi).x
    assert distance(after, before).max() > 1e-3
    assert distance(after, plain).max() < 1e-3


@pytest.mark.parametrize("algorithm", [NAALISTA(3, 8), ALISTA(3), NASBL(3, 5)], ids=lambda a: a.name)
def test_gradients_tracing_and_other_precisions_stay_in_torch(algorithm):
    answers: list[bool] = []
    phi = PilotPattern.random(20, seed=0).operator(40)
    y = sparse_observations(phi, 2)
    algorithm.requires_grad_(True)
    assert not suits(y, phi, algorithm)
    assert algorithm(y, phi).x.requires_grad
    with torch.no_grad():
        assert suits(y, phi, algorithm)
    algorithm.requires_grad_(False)
    assert suits(y, phi, algorithm)
    leaf = y.clone().requires_grad_(True)
    algorithm(leaf, phi).x.abs().sum().backward()
    assert leaf.grad is not None
    several = stacked([PilotPattern.random(20, seed) for seed in (0, 1)], 40)
    assert not suits(y, several, algorithm)
    assert not suits(y.to(torch.complex128), phi, algorithm)
    torch.func.vmap(lambda row: [answers.append(suits(row, phi, algorithm)), row][1])(y)
    assert answers == [False]


def test_where_rounding_takes_positive_definiteness_torch_goes_on():
    """All the power in one tap and no noise: pivots of rounding only."""
    phi = PilotPattern.random(75, seed=0).operator(256)
    y = torch.ones(2, 75, dtype=torch.complex64) / 75**0.5
    g = torch.zeros(2, 256)
    g[:, 0] = 4.0
    g[1] = 1 / 256
    s = torch.tensor([-1e-6, 1e-3])  # takes more than the loading adds
    found = phi.posterior_moments(y, g, s)
    with kernels.plain():
        expected = phi.posterior_moments(y, g, s)
    assert torch.isfinite(found.d).all()
    torch.testing.assert_close(found.q[1], expected.q[1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.q[0], expected.q[0])
    assert torch.isfinite(phi.posterior_mean(y, g, s).abs()).all()


def test_silence_pure_noise_and_sixty_db():
    scenario = load_scenario("lte10")
    pattern = PilotPattern.random(75, seed=0)
    for name in ("na-sbl-lte10-m75", "na-alista-lte10-m75", "alista-lte10-m75"):
        model = load_model(name)
        assert not model.estimate(torch.zeros(3, 75, dtype=torch.complex64), pattern).cfr.any()
        for snr_db in (-20.0, 60.0):
            data = scenario.replace(snr_db=snr_db).draw(pattern, 30, seeded(1, "test"))
            assert torch.isfinite(model.estimate(data.observations, pattern).cfr.abs()).all()


def test_tanh_and_silu_to_single_precision():
    x = np.linspace(-30, 30, 100_001).astype(np.float32)
    found = np.array([functions.tanh(v) for v in x[::50]])
    assert np.abs(found - np.tanh(x[::50].astype(float))).max() < 3e-7
    exact = x[::50].astype(float) / (1 + np.exp(-x[::50].astype(float)))
    assert np.abs(np.array([tap_rules.silu(v) for v in x[::50]]) - exact).max() < 3e-6


def test_an_error_in_a_thread_is_not_lost(monkeypatch):
    def run(start: int, end: int) -> None:
        if start > 0:
            raise ValueError("in a thread")

    with pytest.raises(ValueError, match="in a thread"):
        kernels.over_rows(run, 100, 4)
    monkeypatch.setattr(threads, "_openmp", lambda: None)
    with pytest.raises(ValueError, match="in a thread"):
        kernels.over_rows(run, 100, 4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(-36, 30), st.integers(1, 20))
def test_scaling_is_that_of_torch(seed, magnitude, n):
    generator = torch.Generator().manual_seed(seed)
    observed = torch.randn(2, n, dtype=torch.complex64, generator=generator) * 10.0**magnitude
    observed[1] *= 0
    y, rms = scaling.normalise(observed)
    with kernels.plain():
        expected_y, expected_rms = scaling.normalise(observed)
    torch.testing.assert_close(y, expected_y, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(rms, expected_rms, rtol=1e-5, atol=0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.3, 1.0, 1.7, 3.0, np.nan, np.inf, -1.0]), st.booleans())
def test_the_share_that_is_kept_is_that_of_torch(seed, factor, with_band):
    generator = torch.Generator().manual_seed(seed)
    y = torch.nn.functional.normalize(torch.randn(3, 9, dtype=torch.complex64, generator=generator), dim=-1)
    fitted = factor * y + 0.2 * torch.randn(y.shape, dtype=y.dtype, generator=generator)
    response = abs(factor) * torch.randn(3, 20, dtype=y.dtype, generator=generator) / 20**0.5 if with_band else None
    found = guard.kept_share(fitted, response, y)
    with kernels.plain():
        torch.testing.assert_close(found, guard.kept_share(fitted, response, y), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("first_tap", [0, -8])
def test_band_variances_are_those_of_torch(first_tap):
    pattern = PilotPattern.random(75, seed=0)
    generator = torch.Generator().manual_seed(0)
    g = torch.rand(20, 64, generator=generator) ** 6
    s = torch.rand(20, generator=generator) * 0.01 + 1e-3
    phi, band = (p.operator(64, first_tap) for p in (pattern, whole_band(pattern.grid)))
    exact = [p.operator(64, first_tap, torch.complex128) for p in (pattern, whole_band(pattern.grid))]
    found = posterior_variance(phi, band, g, s)
    expected = posterior_variance(*exact, g.double(), s.double())
    torch.testing.assert_close(found.double(), expected, rtol=2e-3, atol=1e-5)
    assert phi.unexplained(band, -g, s) is None  # no pivot is positive: torch takes over
