"""The paper's peers against plain NumPy loops written from their equations, in a real and a complex field."""

import inspect
import math

import numpy as np
import pytest
import torch
from conftest import stacked

from chanest import DenseOperator, PilotPattern, load_scenario
from chanest.algorithms import (
    AGLISTA,
    ALGORITHMS,
    ALISTA,
    ALISTAAT,
    EP,
    FISTA,
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
    GatedLISTA,
    HyperLISTA,
    StepsizeISTA,
    tune_hyperlista,
)
from chanest.algorithms.ep import bernoulli_gaussian
from chanest.algorithms.shrinkage import soft_threshold, support_schedule
from chanest.errors import AlgorithmError, OperatorError
from chanest.evaluation.metrics import nmse_db
from chanest.models.hdf5 import read_model, write_model
from chanest.operators import (
    AnalyticWeights,
    LinearOperator,
    generalised_coherence,
    projected_gradient_weights,
    welch_bound,
)

M, N, K = 20, 48, 4
FIELDS = ("real", "complex")
SIZES = {"n_measurements": M, "n_coefficients": N}
LEARNED = {
    "stepsize-ista": lambda k, field, s=3.0: StepsizeISTA(k, penalty=0.02),
    "lista": lambda k, field, s=3.0: LISTA(k, **SIZES, field=field, sparsity=s),
    "lista shared": lambda k, field, s=3.0: LISTA(k, **SIZES, field=field, shared=1),
    "lista-cpss": lambda k, field, s=3.0: LISTACPSS(k, **SIZES, field=field, sparsity=s, schedule="synthetic"),
    "gated-lista": lambda k, field, s=3.0: GatedLISTA(k, **SIZES, field=field, sparsity=s),
    "alista-at": lambda k, field, s=3.0: ALISTAAT(k, sparsity=s, schedule="synthetic"),
    "aglista": lambda k, field, s=3.0: AGLISTA(k, sparsity=s, ridge=0.0),
    "na-alista-rnn": lambda k, field, s=3.0: NAALISTARNN(k, 6, sparsity=s, schedule="synthetic"),
    "na-alista-mlp": lambda k, field, s=3.0: NAALISTAMLP(k, 6, lstm_inputs="u", sparsity=s),
}
ALL = LEARNED | {"hyperlista": lambda k, field: HyperLISTA(k), "vamp": lambda k, field: VAMP(k, sparsity=3)}


def operator(field: str) -> LinearOperator:
    if field == "complex":
        return PilotPattern.random(M, 0).operator(N, dtype=torch.complex128)
    matrix = torch.randn(M, N, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return DenseOperator(matrix / matrix.norm(dim=0))


def signals(phi: LinearOperator, n: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, N, dtype=phi.dtype, generator=generator)
    y = phi.forward(x * (torch.rand(n, N, generator=generator) < 0.08))
    y = y + 0.05 * torch.randn(n, M, dtype=phi.dtype, generator=generator)
    return y / y.norm(dim=-1, keepdim=True)


def perturbed(algorithm: Algorithm, y: torch.Tensor, phi: LinearOperator) -> Algorithm:
    """Started from Phi, in double precision, with parameters that a test can tell apart."""
    algorithm = algorithm.double()
    algorithm.fit_normalisation(y, phi)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in algorithm.named_parameters():
            size = 0.02 if name in ("w", "w1", "w2") else 0.2
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return algorithm


def shrink(x: np.ndarray, theta: float | np.ndarray, p: int) -> np.ndarray:
    modulus = np.abs(x)
    out = np.where(modulus > theta, (1 - theta / np.maximum(modulus, 1e-300)) * x, 0)
    keep = np.argsort(modulus)[::-1][:p]
    out[keep] = x[keep]
    return out


def loop(algorithm: Algorithm, y: np.ndarray, phi: LinearOperator) -> np.ndarray:
    """The iterations of the learned algorithms, entry by entry from the equations."""
    a = phi.dense().numpy()
    p = {name: value.detach().numpy() for name, value in algorithm.named_parameters()}
    for name in ("w", "w1", "w2"):
        if name in p and algorithm.field == "complex":
            p[name] = p[name][..., 0] + 1j * p[name][..., 1]
    w, norm = a, float(phi.squared_norm())
    if algorithm.ridge > 0:
        covariance = a @ a.conj().T
        covariance += algorithm.ridge * np.trace(covariance).real / M * np.eye(M)
        w = np.linalg.solve(covariance, a)
        w = w / np.sum(w.conj() * a, 0).real
        norm = float(AnalyticWeights(phi, algorithm.ridge).squared_norm())
    wh = w.conj().T
    exempt = support_schedule(algorithm.sparsity, K, algorithm.schedule)
    theta = np.exp(p["log_threshold"]) if "log_threshold" in p else None
    gamma = np.exp(p["log_step_size"]) / norm if "log_step_size" in p else None
    x, state = np.zeros(N, a.dtype), p.get("initial_hidden")

    def gain(k: int) -> np.ndarray:
        if k == 0:
            return np.ones(N)
        nu, mu = np.exp(p["gates.log_gain"][k]), np.exp(p["gates.log_gain_decay"][k])
        return 1 + theta[k - 1] * nu * np.exp(-mu * np.abs(x))

    def overshoot(k: int, v: np.ndarray) -> np.ndarray:
        epsilon = algorithm.gates.epsilon
        o = 1 + p["gates.relative_overshoot"][k] * epsilon / (np.abs(v - x) + epsilon)
        return o * v + (1 - o) * x

    for k in range(K):
        layer = 0 if "w1" in p and len(p["w1"]) == 1 else k
        match algorithm.name:
            case "stepsize-ista":
                x = shrink(x - gamma[k] * wh @ (a @ x - y), gamma[k] * algorithm.penalty, 0)
            case "lista":
                x = shrink(p["w1"][layer] @ y + p["w2"][layer] @ x, theta[k], exempt[k])
            case "lista-cpss":
                x = shrink(x - p["w"][k].conj().T @ (a @ x - y), theta[k], exempt[k])
            case "gated-lista":
                x = overshoot(k, shrink(p["w1"][k] @ y + p["w2"][k] @ (gain(k) * x), theta[k], exempt[k]))
            case "alista-at":
                adapted = theta[k] / (1 + np.abs(x) / algorithm.epsilon)
                x = shrink(x - gamma[k] * wh @ (a @ x - y), adapted, exempt[k])
            case "aglista":
                x = overshoot(k, shrink(x - gamma[k] * wh @ (a @ (gain(k) * x) - y), theta[k], exempt[k]))
            case _:
                b = a @ x - y
                c = wh @ b
                norms = {"r": np.abs(b).sum(), "u": np.abs(c).sum()}
                features = np.log([norms[name] for name in algorithm.lstm_inputs.split(",")])
                features = (features - algorithm.feature_mean.numpy()) / algorithm.feature_deviation.numpy()
                if algorithm.name == "na-alista-rnn":
                    state = p["rnn.weight_ih"] @ features + p["rnn.bias_ih"] + p["rnn.weight_hh"] @ state
                    state = np.tanh(state + p["rnn.bias_hh"])
                else:
                    state = np.maximum(p["input.weight"] @ features + p["input.bias"], 0)
                hidden = np.maximum(p["hidden.weight"] @ state + p["hidden.bias"], 0)
                step, threshold = np.log1p(np.exp(p["head.weight"] @ hidden + p["head.bias"]))
                x = shrink(x - step / norm * c, 0.02 * threshold, exempt[k])
    return x


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("case", LEARNED)
class TestEveryLearnedAlgorithm:
    def test_equals_a_plain_loop(self, case, field):
        phi = operator(field)
        y = signals(phi)
        algorithm = perturbed(LEARNED[case](K, field), y, phi)
        found = algorithm(y, phi).x
        assert found.dtype == phi.dtype
        assert found.shape == (3, N)
        for i in range(3):
            np.testing.assert_allclose(found[i].detach().numpy(), loop(algorithm, y[i].numpy(), phi), atol=1e-10)

    def test_model_file_keeps_it(self, case, field, tmp_path):
        phi = operator(field)
        y = signals(phi)
        algorithm = perturbed(LEARNED[case](K, field), y, phi).float()
        write_model(tmp_path / "m.h5", algorithm, load_scenario("lte10"), {"steps": 0})
        read, _, _ = read_model(tmp_path / "m.h5")
        assert type(read) is type(algorithm)
        assert read.hyperparameters == algorithm.hyperparameters
        assert read.state_dict().keys() == algorithm.state_dict().keys()
        assert all(torch.equal(value, read.state_dict()[name]) for name, value in algorithm.state_dict().items())
        assert torch.equal(read.double()(y, phi).x, algorithm.double()(y, phi).x)

    def test_growing_keeps_the_first_iterates(self, case, field):
        phi = operator(field)
        y = signals(phi)
        algorithm = perturbed(LEARNED[case](K, field, 0.0), y, phi)
        grown = algorithm.grown(K + 2)
        assert (grown.n_iterations, grown.hyperparameters["n_iterations"]) == (K + 2, K + 2)
        iterates = grown(y, phi, record=True).iterates
        assert len(iterates) == K + 2
        for old, new in zip(algorithm(y, phi, record=True).iterates, iterates, strict=False):
            assert torch.equal(old, new)
        if "log_threshold" in dict(grown.named_parameters()):
            assert grown.log_threshold.tolist() == [*algorithm.log_threshold.tolist(), *[grown.log_threshold[-1]] * 2]


@pytest.mark.parametrize("field", FIELDS)
class TestWhatTheyStartAt:
    """Untrained, the learned algorithms are ISTA or ALISTA."""

    def test_ista(self, field):
        phi = operator(field)
        y = signals(phi)
        expected = ISTA(K, penalty=0.02)(y, phi).x
        assert torch.equal(StepsizeISTA(K, penalty=0.02).double()(y, phi).x, expected)
        unshared, shared, cp = (LEARNED[case](K, field, 0.0) for case in ("lista", "lista shared", "lista-cpss"))
        for algorithm in (unshared, shared, cp):
            algorithm.double().fit_normalisation(y, phi)
            with torch.no_grad():
                algorithm.log_threshold.fill_(math.log(0.02 / float(phi.squared_norm())))
            torch.testing.assert_close(algorithm(y, phi).x, expected)

    def test_alista(self, field):
        phi = operator(field)
        y = signals(phi)
        expected = ALISTA(K).double()(y, phi).x
        torch.testing.assert_close(ALISTAAT(K, epsilon=1e12).double()(y, phi).x, expected)
        gated = AGLISTA(K).double()
        with torch.no_grad():
            gated.gates.log_gain.fill_(-60)
        torch.testing.assert_close(gated(y, phi).x, expected)

    def test_gated_lista_is_lista(self, field):
        phi = operator(field)
        y = signals(phi)
        gated, plain = GatedLISTA(K, **SIZES, field=field).double(), LISTA(K, **SIZES, field=field).double()
        with torch.no_grad():
            gated.gates.log_gain.fill_(-60)
        for algorithm in (gated, plain):
            algorithm.fit_normalisation(y, phi)
        torch.testing.assert_close(gated(y, phi).x, plain(y, phi).x)


@pytest.mark.parametrize("case", ["lista", "lista-cpss", "gated-lista"])
def test_learned_matrices_refuse_another_phi(case):
    phi = operator("real")
    other = DenseOperator(torch.randn(M, N + 1, dtype=torch.float64))
    batched = DenseOperator(torch.randn(2, M, N, dtype=torch.float64))
    algorithm = LEARNED[case](K, "real").double()
    for wrong, said in (
        (operator("complex"), "expected the 20 x 48 real Phi it was made for, got 20 x 48 complex"),
        (other, "got 20 x 49 real"),
        (batched, "one per entry"),
    ):
        y = torch.zeros(2, M, dtype=wrong.dtype)
        for call in (algorithm, algorithm.fit_normalisation):
            with pytest.raises(AlgorithmError, match=said) as raised:
                call(y, wrong)
            assert "\n" not in str(raised.value)
    assert not algorithm(signals(phi), phi).x.any()  # zero until it has seen Phi


@pytest.mark.parametrize("algorithm", [ISTA(4), OMP(4), NAALISTA(4, 6), VAMP(4), EP(4)], ids=lambda a: a.name)
def test_algorithms_without_parameters_per_iteration_grow_too(algorithm):
    grown = algorithm.double().grown(7)
    assert grown.n_iterations == 7
    assert all(torch.equal(value, grown.state_dict()[name]) for name, value in algorithm.state_dict().items())


def test_a_network_that_runs_in_every_iteration_shrinks_too():
    y = torch.randn(2, M, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    algorithm = NAALISTA(6, 6, sparsity=4).double()
    shrunk = algorithm.grown(3)
    assert shrunk.n_iterations == 3
    assert torch.equal(shrunk(y, operator("real")).x, algorithm(y, operator("real"), n_iterations=3).x)


def test_the_rules_of_new_iterations_are_the_last_ones():
    algorithm = NASBL(4, n_hidden=6).double()
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.uniform_(-0.1, 0.1, generator=torch.Generator().manual_seed(3))
    grown = algorithm.grown(6)
    for rules in ("tap_rules", "noise_rules"):
        old, new = getattr(algorithm, rules), getattr(grown, rules)
        assert (len(old), len(new)) == (3, 5)
        for k in range(5):
            expected = old[min(k, 2)].state_dict()
            assert all(torch.equal(value, expected[name]) for name, value in new[k].state_dict().items())
    assert torch.equal(grown.calibration.output.weight, algorithm.calibration.output.weight)


def test_what_cannot_grow_says_so():
    with pytest.raises(AlgorithmError, match="can grow from 4 to more, asked for 3"):
        ALISTA(4).grown(3)
    assert ALISTA(4).grown(4).n_iterations == 4


@pytest.mark.parametrize("field", FIELDS)
def test_hyperlista_equals_a_plain_loop(field):
    phi = operator(field)
    y = signals(phi)
    algorithm = HyperLISTA(6, c1=0.2, c2=0.02, c3=8.0, ridge=0.1)
    a = phi.dense().numpy()
    covariance = a @ a.conj().T
    covariance += 0.1 * np.trace(covariance).real / M * np.eye(M)
    inverse = a.conj().T @ np.linalg.inv(covariance)
    wh = inverse / np.diag(inverse @ a).real[:, None]
    off = np.abs(wh @ a - np.eye(N))
    mu = off.max()
    found = algorithm(y, phi, record=True)
    for i, target in enumerate(y.numpy()):
        x = before = np.zeros(N, a.dtype)
        counts = []
        for k in range(6):
            b = a @ x - target
            left = np.abs(inverse @ b).sum()
            p = int(8.0 * max(0.0, min(np.log(np.abs(inverse @ target).sum() / left), N)))
            momentum = 0.02 * mu * np.count_nonzero(x) * (x - before)
            before, x = x, shrink(x - wh @ b + momentum, 0.2 * mu * left, p)
            counts.append(p)
            np.testing.assert_allclose(found.iterates[k][i].numpy(), x, atol=1e-9)
        assert max(counts) > 1


def test_tuning_hyperlista_beats_its_defaults():
    phi = operator("real")
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, N, dtype=torch.float64, generator=generator)
    x = x * (torch.rand(64, N, generator=generator) < 0.06)
    y = phi.forward(x)
    norm = y.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    tuned = tune_hyperlista(y / norm, phi, x / norm, ridge=0.0)
    assert tuned.ridge == 0.0
    default = HyperLISTA(ridge=0.0)
    assert nmse_db(tuned(y / norm, phi).x, x / norm) < nmse_db(default(y / norm, phi).x, x / norm) - 1


class TestVAMP:
    @staticmethod
    def loop(y: np.ndarray, a: np.ndarray, s: float, k: int, sparsity: float) -> np.ndarray:
        """shared/equations.md, with the N x N inverse, v from the energy of y and precisions kept in 1/4...1e10."""
        half = 1.0 if np.iscomplexobj(a) else 0.5
        rho = sparsity / N
        v = (1 - M * s) / (rho * np.trace(a @ a.conj().T).real)
        r2, g2 = np.zeros(N, a.dtype), np.clip(1 / (rho * v), 0.25, 1e10)
        for _ in range(k):
            inverse = np.linalg.inv(a.conj().T @ a / s + g2 * np.eye(N))
            x2 = inverse @ (a.conj().T @ y / s + g2 * r2)
            eta = 1 / np.diag(inverse).real.mean()
            g1 = eta - g2
            r1 = (eta * x2 - g2 * r2) / g1
            tau = 1 / g1
            odds = (1 - rho) / rho * ((v + tau) / tau) ** half
            pi = 1 / (1 + odds * np.exp(-half * np.abs(r1) ** 2 * (1 / tau - 1 / (v + tau))))
            x1 = pi * v * r1 / (v + tau)
            var = pi * (v * tau / (v + tau) + np.abs(v * r1 / (v + tau)) ** 2) - np.abs(x1) ** 2
            eta = 1 / np.maximum(var, 1e-12).mean()
            new = np.clip(eta - g1, 0.25, 1e10)
            r2 = 0.3 * r2 + 0.7 * (eta * x1 - g1 * r1) / new
            g2 = 0.3 * g2 + 0.7 * new
        return x1

    @pytest.mark.parametrize("field", FIELDS)
    def test_equals_the_textbook_loop(self, field):
        phi = operator(field)
        y = signals(phi)
        s = torch.tensor([1e-3, 3e-4, 2e-3], dtype=torch.float64)
        recovery = VAMP(5, sparsity=4)(y, phi, noise_variance=s)
        for i in range(3):
            expected = self.loop(y[i].numpy(), phi.dense().numpy(), float(s[i]), 5, 4)
            np.testing.assert_allclose(recovery.x[i].numpy(), expected, atol=1e-8)
        assert recovery.posterior.variances.shape == (3, N)
        assert bool((recovery.posterior.variances > 0).all())

    @pytest.mark.parametrize(("snr_db", "expected"), [(40, -45.4), (20, -23.0)])
    def test_reaches_the_known_figures(self, snr_db, expected):
        """M = 250, N = 1000, S = 50, as paper/notes.md measured it; told the noise, and 1.5 dB of it untold."""
        generator = torch.Generator().manual_seed(0)
        matrix = torch.randn(250, 1000, generator=generator)
        phi = DenseOperator(matrix / matrix.norm(dim=0))
        x = torch.randn(1000, 1000, generator=generator) * (torch.rand(1000, 1000, generator=generator) < 0.05)
        s = 50 / 250 * 10 ** (-snr_db / 10)
        y = phi.forward(x) + s**0.5 * torch.randn(1000, 250, generator=generator)
        norm = y.norm(dim=-1, keepdim=True)
        told = VAMP(sparsity=50)(y / norm, phi, noise_variance=s / norm.squeeze(-1) ** 2).x * norm
        assert nmse_db(told, x) < expected + 0.15
        untold = VAMP(sparsity=50)(y / norm, phi).x * norm
        assert nmse_db(untold, x) < expected + 1.5

    def test_one_phi_per_entry_and_more_rows_than_columns(self):
        generator = torch.Generator().manual_seed(0)
        matrices = torch.randn(2, 30, 20, dtype=torch.float64, generator=generator) / 30**0.5
        y = torch.randn(2, 30, dtype=torch.float64, generator=generator)
        y = y / y.norm(dim=-1, keepdim=True)
        s = torch.tensor([1e-3, 1e-2], dtype=torch.float64)
        together = VAMP(8, sparsity=3)(y, DenseOperator(matrices), noise_variance=s).x
        for i in range(2):
            alone = VAMP(8, sparsity=3)(y[i], DenseOperator(matrices[i]), noise_variance=s[i]).x
            torch.testing.assert_close(together[i], alone)
        assert bool(together.isfinite().all())

    def test_stays_finite_on_the_ofdm_matrix(self):
        phi = PilotPattern.random(75, 0).operator(256)
        y = phi.forward(torch.zeros(2, 256, dtype=torch.complex64).index_fill(1, torch.tensor([3, 4, 200]), 0.6))
        y = y / y.norm(dim=-1, keepdim=True)
        for noise in (torch.tensor(0.0), None):
            assert bool(VAMP(40)(y, phi, noise_variance=noise).x.isfinite().all())


@pytest.mark.parametrize(("r", "tau", "v", "rho"), [(0.3, 0.1, 1.0, 0.05), (-1.2, 0.4, 0.7, 0.5), (2.5, 0.2, 2.0, 0.9)])
def test_real_bernoulli_gaussian_is_bayes_rule(r, tau, v, rho):
    """Moments of the posterior by summing p(r | x) p(x) over a grid of x."""
    x = np.linspace(-12, 12, 40001)
    likelihood = np.exp(-((r - x) ** 2) / (2 * tau))
    slab = rho * likelihood * np.exp(-(x**2) / (2 * v)) / np.sqrt(2 * np.pi * v) * (x[1] - x[0])
    evidence = slab.sum() + (1 - rho) * np.exp(-(r**2) / (2 * tau))
    mean = (slab * x).sum() / evidence
    variance = (slab * x**2).sum() / evidence - mean**2
    found = bernoulli_gaussian(*(torch.tensor([value]).double() for value in (r, tau)), rho, torch.tensor([v]).double())
    np.testing.assert_allclose([part.item() for part in found], [mean, variance], atol=1e-8)


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


class TestWeights:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
    def test_projected_gradient_reaches_the_closed_form(self, dtype):
        matrix = torch.randn(25, 100, dtype=dtype, generator=torch.Generator().manual_seed(0))
        phi = DenseOperator(matrix / matrix.norm(dim=0))
        identity = torch.eye(100, dtype=dtype)
        closed = AnalyticWeights(phi, 0.0)
        w = projected_gradient_weights(phi.dense())
        least = (closed.gram(identity) - identity).norm()
        torch.testing.assert_close((w.mH @ phi.dense() - identity).norm(), least, rtol=1e-6, atol=0)
        torch.testing.assert_close(w.mH, closed.adjoint(torch.eye(25, dtype=dtype)).mT, rtol=0, atol=1e-6)
        torch.testing.assert_close(
            w.mH, AnalyticWeights(phi, 1e-6).adjoint(torch.eye(25, dtype=dtype)).mT, atol=1e-5, rtol=0
        )
        torch.testing.assert_close((w.conj() * phi.dense()).sum(0), torch.ones(100, dtype=dtype))

    @pytest.mark.parametrize("field", FIELDS)
    def test_coherence_is_the_definition(self, field):
        phi = operator(field)
        for w in (phi, AnalyticWeights(phi, 0.1), DenseOperator(2.5 * phi.dense())):
            gram = torch.stack([w.adjoint(column) for column in phi.dense().mT], -1)
            gram = gram / gram.diagonal().unsqueeze(-1)
            expected = (gram - gram.diagonal().diag()).abs().max()
            torch.testing.assert_close(generalised_coherence(w, phi), expected)

    def test_coherence_of_one_pattern_per_entry(self):
        patterns = [PilotPattern.random(30, seed) for seed in range(3)]
        phi = stacked(patterns, 200, dtype=torch.complex128)
        found = generalised_coherence(AnalyticWeights(phi, 0.1), phi)
        for value, pattern in zip(found, patterns, strict=True):
            alone = pattern.operator(200, dtype=torch.complex128)
            torch.testing.assert_close(value, generalised_coherence(AnalyticWeights(alone, 0.1), alone))

    def test_welch_bound(self):
        assert welch_bound(3, 7) == pytest.approx(math.sqrt(4 / 18))
        assert welch_bound(7, 7) == 0
        phi = operator("real")
        assert float(generalised_coherence(phi, phi)) > welch_bound(M, N)
        simplex = torch.eye(4, dtype=torch.float64) - 0.25
        frame = torch.linalg.svd(simplex).Vh[:3]
        etf = DenseOperator(frame / frame.norm(dim=0))
        assert float(generalised_coherence(etf, etf)) == pytest.approx(welch_bound(3, 4))

    def test_a_singular_phi_without_a_ridge_is_refused(self):
        phi = DenseOperator(torch.ones(3, 5, dtype=torch.float64))
        with pytest.raises(OperatorError, match=r"ridge: Phi Phi\^H is singular"):
            AnalyticWeights(phi, 0.0)


def test_the_registry_keeps_its_order():
    first = [cls.name for cls in (ISTA, FISTA, ALISTA, NAALISTA, NASBL, OMP, SBL, EP)]
    assert list(ALGORITHMS)[:8] == first
    assert {make(2, "real").name for make in ALL.values()} == set(ALGORITHMS) - set(first)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: StepsizeISTA(penalty=0), "penalty"),
        (lambda: ALISTAAT(epsilon=0), "epsilon"),
        (lambda: AGLISTA(epsilon=-1), "epsilon"),
        (lambda: LISTA(field="quaternion"), "field: expected real or complex"),
        (lambda: LISTA(n_measurements=0), "n_measurements"),
        (lambda: LISTA(4, 5, 6, shared=2), "shared"),
        (lambda: GatedLISTA(4, 5, 6, epsilon=0), "epsilon"),
        (lambda: LISTACPSS(n_coefficients=-3), "n_coefficients"),
        (lambda: HyperLISTA(c2=-1), "c2"),
        (lambda: VAMP(sparsity=0), "sparsity"),
        (lambda: VAMP(damping=2), "damping"),
    ],
)
def test_impossible_hyperparameters(make, said):
    with pytest.raises(AlgorithmError, match=said):
        make()
