"""The contract that every algorithm and every interpolator keeps, whatever its maths."""

from collections.abc import Callable

import pytest
import torch
from conftest import stacked
from hypothesis import given, settings
from hypothesis import strategies as st

from chanest import DenseOperator, PilotPattern, kernels, load_scenario
from chanest.algorithms import (
    AGLISTA,
    ALGORITHMS,
    ALISTA,
    ALISTAAT,
    EP,
    FISTA,
    INTERPOLATORS,
    ISTA,
    LISTA,
    LISTACPSS,
    NAALISTA,
    NAALISTAMLP,
    NAALISTARNN,
    NASBL,
    OMP,
    SBL,
    VAMP,
    Algorithm,
    Estimator,
    ExponentialLMMSE,
    FlatLMMSE,
    GatedLISTA,
    HyperLISTA,
    LinearInterpolation,
    SplineInterpolation,
    StepsizeISTA,
    TrueLMMSE,
)
from chanest.errors import AlgorithmError
from chanest.models.model import Model
from chanest.operators import LinearOperator

M, N, K = 20, 48, 4
CALIBRATION = (0.1, -0.2, 0.05, 0.01, 0.0, 0.02, 0.3)
SIZES = {"n_measurements": M, "n_coefficients": N}
CASES: dict[str, Callable[[str], Estimator]] = {
    "ista": lambda field: ISTA(K, 0.02, CALIBRATION),
    "fista": lambda field: FISTA(K, 0.02),
    "stepsize-ista": lambda field: StepsizeISTA(K, penalty=0.02),
    "alista": lambda field: ALISTA(K, sparsity=3),
    "alista ridge 0": lambda field: ALISTA(K, sparsity=0, ridge=0.0),
    "alista-at": lambda field: ALISTAAT(K, sparsity=3, schedule="synthetic"),
    "aglista": lambda field: AGLISTA(K, sparsity=3, ridge=0.0),
    "na-alista": lambda field: NAALISTA(K, 6, sparsity=3),
    "na-alista u": lambda field: NAALISTA(K, 6, "u", sparsity=0, ridge=0.1),
    "na-alista-rnn": lambda field: NAALISTARNN(K, 6, sparsity=3, schedule="synthetic"),
    "na-alista-mlp": lambda field: NAALISTAMLP(K, 6, "r", sparsity=3),
    "lista": lambda field: LISTA(K, **SIZES, field=field, sparsity=3),
    "lista shared": lambda field: LISTA(K, **SIZES, field=field, shared=1),
    "gated-lista": lambda field: GatedLISTA(K, **SIZES, field=field, sparsity=3),
    "lista-cpss": lambda field: LISTACPSS(K, **SIZES, field=field, sparsity=3, schedule="synthetic"),
    "hyperlista": lambda field: HyperLISTA(K, error_calibration=CALIBRATION),
    "vamp": lambda field: VAMP(K, sparsity=3),
    "omp": lambda field: OMP(K),
    "sbl": lambda field: SBL(K),
    "na-sbl": lambda field: NASBL(K, 6, 2.0),
    "ep": lambda field: EP(K, 4, 2.0),
    "lmmse-true": lambda field: TrueLMMSE(torch.tensor([0.0, 2.5, 30.7]), torch.tensor([2.0, 1.0, 0.5])),
    "lmmse-exponential": lambda field: ExponentialLMMSE(12.0, N),
    "lmmse-flat": lambda field: FlatLMMSE(N),
    "spline": lambda field: SplineInterpolation(),
    "linear": lambda field: LinearInterpolation(),
}
OFDM = load_scenario("lte10").replace(n_taps=N)
GAUSSIAN = load_scenario("synthetic")
PATTERNS = [PilotPattern.random(M, seed) for seed in range(3)]


def case(name: str, field: str = "complex") -> Estimator:
    """In double precision, started from Phi, with parameters that a test can tell apart."""
    made = CASES[name](field).double()
    generator = torch.Generator().manual_seed(3)
    if isinstance(made, Algorithm):
        phi = operator(field)
        made.fit_normalisation(observations(phi), phi)
    with torch.no_grad():
        for parameter_name, parameter in made.named_parameters():
            size = 0.02 if parameter_name in ("w", "w1", "w2") else 0.1
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return made.requires_grad_(False)


ITERATIVE = [name for name in CASES if isinstance(CASES[name]("complex"), Algorithm)]
REAL = [name for name in CASES if not CASES[name]("complex").complex_only]
LEARNED = [name for name in ITERATIVE if CASES[name]("complex").learned]
BOTH = [*((name, "complex") for name in CASES), *((name, "real") for name in REAL)]


def operator(field: str = "complex", dtype: torch.dtype = torch.complex128) -> LinearOperator:
    if field == "complex":
        return PATTERNS[0].operator(N, dtype=dtype)
    matrix = torch.randn(M, N, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return DenseOperator(matrix / matrix.norm(dim=0))


def band(field: str = "complex", dtype: torch.dtype = torch.complex128) -> LinearOperator | None:
    return PilotPattern.random(30, 9).operator(N, dtype=dtype) if field == "complex" else None


def observations(phi: LinearOperator, n: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, N, dtype=phi.dtype, generator=generator)
    y = phi.forward(x * (torch.rand(n, N, generator=generator) < 0.08))
    y = y + 0.05 * torch.randn(n, M, dtype=phi.dtype, generator=generator)
    return y / y.norm(dim=-1, keepdim=True)


def answer(estimator: Estimator, y: torch.Tensor, phi: LinearOperator, field: str = "complex") -> torch.Tensor:
    """The coefficients, or the response of an interpolator."""
    found = estimator.estimate(y, phi, band(field, phi.dtype), 1e-3 + torch.zeros(y.shape[:-1]))
    return found.response if found.recovery is None else found.recovery.x


def test_no_estimator_is_left_out():
    assert {CASES[name]("real").name for name in CASES} == set(ALGORITHMS) | set(INTERPOLATORS)


@pytest.mark.parametrize(("name", "field"), BOTH)
class TestEstimates:
    def test_shape_and_dtype_are_those_of_the_observations(self, name, field):
        phi = operator(field)
        found = answer(case(name, field), observations(phi), phi, field)
        assert found.shape == (6, N if name in ITERATIVE else 30)
        assert found.dtype == phi.dtype
        assert bool(found.isfinite().all())
        assert bool((found != 0).any())

    def test_batch_shape_does_not_matter(self, name, field):
        phi, estimator = operator(field), case(name, field)
        y = observations(phi)
        together = answer(estimator, y, phi, field)
        torch.testing.assert_close(answer(estimator, y.view(2, 3, M), phi, field), together.view(2, 3, -1))
        torch.testing.assert_close(answer(estimator, y[4], phi, field), together[4])

    def test_one_sample_does_not_see_the_others(self, name, field):
        phi, estimator = operator(field), case(name, field)
        y = observations(phi)
        others = torch.cat([y[:1], y[1:].flip(-1)])
        torch.testing.assert_close(answer(estimator, others, phi, field)[0], answer(estimator, y, phi, field)[0])

    def test_views_are_what_they_show(self, name, field):
        phi, estimator = operator(field), case(name, field)
        y = observations(phi)
        expected = answer(estimator, y, phi, field)
        torch.testing.assert_close(answer(estimator, torch.stack([y, 2 * y], -1)[..., 0], phi, field), expected)
        torch.testing.assert_close(answer(estimator, y.mT.contiguous().mT, phi, field), expected)
        torch.testing.assert_close(answer(estimator, y.conj().resolve_conj().conj(), phi, field), expected)

    def test_the_model_scales(self, name, field):
        """estimate(a y) = a estimate(y), for tiny and for huge a; zeros give zeros."""
        phi = operator(field)
        y, noise = observations(phi), 1e-3
        model = Model(case(name, field), OFDM if field == "complex" else GAUSSIAN)

        def found(y: torch.Tensor, noise: float) -> torch.Tensor:
            if field == "complex":
                return model.estimate(y, PATTERNS[0], noise).cfr
            return model.recover(y, phi, noise).x

        expected = found(y, noise)
        phase = 1j if field == "complex" else -1
        for a in (1e-12, 3e-7, 1.0, 2e9, 1e12):
            scaled = found(a * phase * y, a**2 * noise)
            torch.testing.assert_close(scaled / (a * phase), expected, rtol=1e-6, atol=1e-7)
        assert not found(0 * y, 0.0).any()

    def test_gradients_with_respect_to_the_observations_are_finite(self, name, field):
        phi, estimator = operator(field), case(name, field)
        y = torch.cat([observations(phi), torch.zeros(1, M, dtype=phi.dtype)]).requires_grad_()
        answer(estimator, y, phi, field).abs().square().sum().backward()
        assert bool(y.grad.isfinite().all())
        assert bool((y.grad[:6] != 0).any(-1).all())

    def test_hyperparameters_rebuild_it(self, name, field):
        phi, estimator = operator(field), case(name, field)
        if name == "lmmse-true":  # is told the scenario's profile, which no file holds
            assert estimator.hyperparameters == {}
            return
        assert None not in estimator.hyperparameters.values()
        rebuilt = type(estimator)(**estimator.hyperparameters).double()
        assert rebuilt.hyperparameters == estimator.hyperparameters
        rebuilt.load_state_dict(estimator.state_dict())
        y = observations(phi)
        assert torch.equal(answer(rebuilt, y, phi, field), answer(estimator, y, phi, field))

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_gpu_agrees_with_cpu(self, name, field):
        phi, estimator = operator(field), case(name, field)
        y = observations(phi)
        expected = answer(estimator, y, phi, field)
        if field == "real":
            found = estimator.cuda().estimate(
                y.cuda(), DenseOperator(phi.dense().cuda()), None, 1e-3 + y.cuda()[:, 0] * 0
            )
        else:
            on_gpu = [p.operator(N, dtype=phi.dtype, device="cuda") for p in (PATTERNS[0], PilotPattern.random(30, 9))]
            found = estimator.cuda().estimate(y.cuda(), *on_gpu, 1e-3 + torch.zeros(6, device="cuda"))
        x = found.response if found.recovery is None else found.recovery.x
        assert float((x.cpu() - expected).norm() / expected.norm()) < 1e-4


@pytest.mark.parametrize("name", CASES)
class TestErrorVariances:
    @pytest.mark.parametrize("told", [True, False])
    def test_there_is_one_for_every_row_of_the_band_where_one_is_given(self, name, told):
        phi, estimator = operator(), case(name)
        noise = torch.full((2, 3), 1e-3, dtype=torch.float64) if told else None
        found = estimator.estimate(observations(phi).view(2, 3, M), phi, band(), noise, error_variance=True)
        assert estimator.gives_error_variance == (name != "fista")
        if name == "fista":
            assert found.error_variance is None
            return
        assert found.error_variance.shape == (2, 3, 30)
        assert bool((found.error_variance.isfinite() & (found.error_variance >= 0)).all())

    def test_it_is_left_out_unless_asked_for(self, name):
        phi = operator()
        assert case(name).estimate(observations(phi), phi, band()).error_variance is None

    def test_it_scales_with_the_power(self, name):
        phi, estimator = operator(), case(name)
        if not estimator.gives_error_variance:
            return
        model, y = Model(estimator, OFDM), observations(phi)
        expected = model.estimate(y, PATTERNS[0], 1e-3, error_variance=True).error_variance
        found = model.estimate(2e-6j * y, PATTERNS[0], 4e-15, error_variance=True).error_variance
        torch.testing.assert_close(found / 4e-12, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ITERATIVE)
class TestIterations:
    def test_a_record_holds_every_iterate_and_changes_nothing(self, name):
        phi, algorithm = operator(), case(name)
        y, silent = observations(phi), torch.zeros(6)
        recovery = algorithm(y, phi, record=True, noise_variance=silent)
        assert len(recovery.iterates) == K
        assert torch.equal(recovery.iterates[-1], recovery.x)
        assert not any(torch.equal(x, recovery.x) for x in recovery.iterates[:-1])
        plain = algorithm(y, phi, noise_variance=silent)
        assert plain.iterates == ()
        assert plain.step_sizes is plain.thresholds is None
        assert torch.equal(plain.x, recovery.x)
        if recovery.thresholds is not None:
            assert len(recovery.step_sizes) == len(recovery.thresholds) == K
            assert bool((recovery.step_sizes > 0).all() & (recovery.thresholds > 0).all())

    def test_another_number_of_iterations(self, name):
        phi, algorithm = operator(), case(name)
        y, silent = observations(phi), torch.zeros(6)
        if algorithm.any_n_iterations:
            assert len(algorithm(y, phi, 2, record=True, noise_variance=silent).iterates) == 2
            assert len(algorithm.estimate(y, phi, None, silent, n_iterations=7, record=True).recovery.iterates) == 7
        else:
            with pytest.raises(AlgorithmError, match="parameters for each of its 4 iterations, asked for 2"):
                algorithm(y, phi, 2)
        for wrong in (0, -1):
            with pytest.raises(AlgorithmError, match="iterations: expected at least 1"):
                algorithm(y, phi, wrong)

    def test_gradients_are_those_of_finite_differences(self, name):
        phi, algorithm = operator(), case(name)
        y = observations(phi, 2).requires_grad_()
        told = torch.full((2,), 1e-3, dtype=torch.float64)
        assert torch.autograd.gradcheck(
            lambda y: algorithm(y, phi, noise_variance=told).x, y, fast_mode=True, atol=1e-4
        )

    def test_compiled_loops_are_those_of_torch(self, name):
        phi, algorithm = operator(dtype=torch.complex64), case(name).float()
        y = observations(phi, 40)
        for told in (torch.full((40,), 1e-3), None):
            found = algorithm(y, phi, noise_variance=told).x
            with kernels.plain():
                plain = algorithm(y, phi, noise_variance=told).x
                exact = case(name)(y.to(torch.complex128), operator(), noise_variance=told).x
            rounding = (plain - exact).norm(dim=-1)
            assert found.dtype == torch.complex64
            assert float((found - plain).norm(dim=-1).median()) < 1e-5 + 3 * float(rounding.median())


@pytest.mark.parametrize(
    "name", [name for name in ITERATIVE if name not in ("lista", "lista shared", "gated-lista", "lista-cpss")]
)
def test_one_operator_per_entry_is_one_at_a_time(name):
    algorithm, y = case(name), observations(operator(), 3)
    noise = torch.tensor([1e-3, 2e-3, 5e-4], dtype=torch.float64)
    for told in (noise, None):
        together = algorithm(y, stacked(PATTERNS, N, dtype=torch.complex128), noise_variance=told).x
        for i, pattern in enumerate(PATTERNS):
            alone = algorithm(
                y[i], pattern.operator(N, dtype=torch.complex128), None, False, told if told is None else told[i]
            )
            torch.testing.assert_close(together[i], alone.x)


@pytest.mark.parametrize("n_iterations", [1, K])
@pytest.mark.parametrize(("name", "field"), [pair for pair in BOTH if pair[0] in LEARNED])
def test_gradients_reach_every_parameter(name, field, n_iterations):
    """Those of the calibration, which has a part in error variances only, excepted."""
    phi = operator(field)
    algorithm = case(name, field)
    if n_iterations == 1:
        if name == "na-sbl":
            return
        algorithm = type(algorithm)(**{**algorithm.hyperparameters, "n_iterations": 1}).double()
        algorithm.fit_normalisation(observations(phi), phi)
    algorithm.requires_grad_(True)
    algorithm(observations(phi), phi).x.abs().square().sum().backward()
    later = ("w2", "gates.log_gain", "gates.log_gain_decay", "lstm.weight_hh", "rnn.weight_hh", "initial_hidden")
    for parameter_name, parameter in algorithm.named_parameters():
        if not parameter_name.startswith("calibration."):
            assert bool(parameter.grad.isfinite().all()), parameter_name
            acts_later = n_iterations == 1 and parameter_name in later
            assert bool((parameter.grad != 0).any()) or acts_later, parameter_name


@pytest.mark.parametrize("name", [name for name in CASES if name not in ITERATIVE])
def test_interpolators_do_not_iterate(name):
    phi, y = operator(), observations(operator())
    with pytest.raises(AlgorithmError, match=f"{name} does not iterate, asked for 4"):
        case(name).estimate(y, phi, band(), n_iterations=4)
    found = case(name).estimate(y, phi, band(), n_iterations=1)
    assert found.recovery is None
    assert found.response.shape == (6, 30)


@pytest.mark.parametrize(("name", "field"), BOTH)
@settings(max_examples=5, deadline=None)
@given(scale=st.sampled_from([1e-30, 1e-8, 1.0, 1e8, 1e18]), noise=st.sampled_from([None, 0.0, 1e-12, 1.0]))
def test_single_precision_stays_finite(name, field, scale, noise):
    """Zeros, tiny and huge observations, and one path without noise, with the noise told rightly, wrongly or not."""
    phi = operator(field)
    single = torch.complex64 if field == "complex" else torch.float32
    one_path = phi.forward(torch.eye(N, dtype=phi.dtype)[:1])
    y = torch.cat([torch.zeros(1, M, dtype=phi.dtype), one_path, observations(phi)]).to(single) * scale
    estimator = case(name, field).float()
    told = None if noise is None else noise * scale**2
    if field == "complex":
        estimate = Model(estimator, OFDM).estimate(y, PATTERNS[0], told, error_variance=estimator.gives_error_variance)
        assert bool(estimate.cfr.isfinite().all())
        assert estimate.error_variance is None or bool(estimate.error_variance.isfinite().all())
    else:
        found = Model(estimator, GAUSSIAN).recover(y, DenseOperator(phi.dense().float()), told)
        assert bool(found.x.isfinite().all())
