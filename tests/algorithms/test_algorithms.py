"""Algorithms against exact oracles and against plain NumPy loops written from the paper's equations."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import stacked

from chanest import DenseOperator, PartialDFT, PilotPattern
from chanest.algorithms import ALISTA, FISTA, ISTA, NAALISTA, Algorithm
from chanest.algorithms.shrinkage import soft_threshold, support_schedule
from chanest.errors import AlgorithmError
from chanest.operators import AnalyticWeights
from chanest.problems.oracles import path_gains


def signals(seed: int = 0, n: int = 3) -> tuple[torch.Tensor, PartialDFT]:
    phi = PilotPattern.random(40, seed).operator(128, dtype=torch.complex128)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 128, dtype=torch.complex128, generator=generator)
    x = x * (torch.rand(n, 128, generator=generator) < 0.05)
    y = phi.forward(x)
    return y / y.norm(dim=-1, keepdim=True), phi


def perturbed(algorithm: Algorithm) -> Algorithm:
    """Parameters that a test can tell apart from their initial values."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return algorithm.double()


def numpy_shrink(x: np.ndarray, theta: float, p: int) -> np.ndarray:
    modulus = np.abs(x)
    out = np.where(modulus > theta, (1 - theta / np.maximum(modulus, 1e-300)) * x, 0)
    keep = np.argsort(modulus)[::-1][:p]
    out[keep] = x[keep]
    return out


def test_one_step_of_ista_on_an_orthonormal_dft_is_one_soft_threshold():
    bins = torch.arange(64)
    phi = PartialDFT(bins, 64, n_fft=64, dtype=torch.complex128)
    x = torch.randn(2, 64, dtype=torch.complex128)
    found = ISTA(n_iterations=1, penalty=0.3)(phi.forward(x), phi).x
    torch.testing.assert_close(found, soft_threshold(x, 0.3))
    torch.testing.assert_close(FISTA(n_iterations=1, penalty=0.3)(phi.forward(x), phi).x, found)


@pytest.mark.parametrize("algorithm", [ISTA, FISTA])
def test_ista_and_fista_solve_the_lasso(algorithm):
    """At the minimum, |Phi^H (y - Phi x)| <= lambda, with equality and matching phase on the support."""
    y, phi = signals()
    x = algorithm(n_iterations=4000, penalty=0.05)(y, phi).x
    residual = phi.adjoint(y) - phi.gram(x)
    assert float(residual.abs().max()) <= 0.05 * (1 + 1e-3)
    on = x.abs() > 1e-3
    torch.testing.assert_close(residual[on], 0.05 * x[on] / x[on].abs(), rtol=0, atol=1e-3)


def test_ista_never_increases_the_objective():
    y, phi = signals()
    iterates = ISTA(n_iterations=30, penalty=0.05)(y, phi, record=True).iterates
    cost = [0.5 * (phi.forward(x) - y).abs().square().sum(-1) + 0.05 * x.abs().sum(-1) for x in iterates]
    assert all(bool((later <= earlier + 1e-12).all()) for earlier, later in pairwise(cost))


def test_fista_is_ahead_of_ista():
    y, phi = signals()

    def cost(x: torch.Tensor) -> float:
        return float((0.5 * (phi.forward(x) - y).abs().square().sum(-1) + 0.02 * x.abs().sum(-1)).sum())

    assert cost(FISTA(50, 0.02)(y, phi).x) < cost(ISTA(50, 0.02)(y, phi).x)


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_alista_equals_a_plain_loop(ridge):
    y, phi = signals(n=1)
    algorithm = perturbed(ALISTA(n_iterations=5, ridge=ridge))
    matrix = phi.dense().numpy()
    w = matrix
    norm = float((AnalyticWeights(phi, ridge) if ridge else phi).squared_norm())
    if ridge:
        a = matrix @ matrix.conj().T
        a += ridge * np.trace(a).real / 40 * np.eye(40)
        w = np.linalg.solve(a, matrix)
        w = w / np.sum(w.conj() * matrix, 0).real
    x, target = np.zeros(128, complex), y[0].numpy()
    for k in range(5):
        gamma = np.exp(algorithm.log_step_size[k].item()) / norm
        theta = np.exp(algorithm.log_threshold[k].item())
        x = x - gamma * w.conj().T @ (matrix @ x - target)
        x = numpy_shrink(x, theta, support_schedule(8, 5)[k])
    np.testing.assert_allclose(algorithm(y, phi).x[0].detach().numpy(), x, atol=1e-9)


@pytest.mark.parametrize("inputs", ["u", "r", "r,u"])
def test_na_alista_equals_a_plain_loop(inputs):
    y, phi = signals(n=1)
    algorithm = perturbed(NAALISTA(n_iterations=4, lstm_hidden=6, lstm_inputs=inputs))
    algorithm.feature_mean.fill_(0.3)
    algorithm.feature_deviation.fill_(1.7)
    p = {name: value.detach().numpy() for name, value in algorithm.named_parameters()}

    def sigmoid(v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-v))

    matrix, target = phi.dense().numpy(), y[0].numpy()
    x = np.zeros(128, complex)
    h, cell = p["initial_hidden"], p["initial_cell"]
    for k in range(4):
        b = matrix @ x - target
        c = matrix.conj().T @ b
        norms = {"r": np.abs(b).sum(), "u": np.abs(c).sum()}
        features = (np.log([norms[name] for name in inputs.split(",")]) - 0.3) / 1.7
        gates = p["lstm.weight_ih"] @ features + p["lstm.bias_ih"] + p["lstm.weight_hh"] @ h + p["lstm.bias_hh"]
        i, f, g, o = np.split(gates, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(cell)
        hidden = np.maximum(p["hidden.weight"] @ cell + p["hidden.bias"], 0)
        gamma, theta = np.log1p(np.exp(p["head.weight"] @ hidden + p["head.bias"]))
        x = numpy_shrink(x - gamma / float(phi.squared_norm()) * c, 0.02 * theta, support_schedule(8, 4)[k])
    np.testing.assert_allclose(algorithm(y, phi).x[0].detach().numpy(), x, atol=1e-9)


ALL = [ISTA(6), FISTA(6), ALISTA(6), ALISTA(6, ridge=0.0), NAALISTA(6), NAALISTA(6, lstm_inputs="r,u", ridge=0.1)]


@pytest.mark.parametrize("algorithm", ALL, ids=lambda a: f"{a.name} {a.hyperparameters}")
class TestEveryAlgorithm:
    def test_batch_shape_does_not_matter(self, algorithm):
        y, phi = signals(n=6)
        algorithm = algorithm.double()
        together = algorithm(y, phi).x
        torch.testing.assert_close(algorithm(y.view(2, 3, -1), phi).x, together.view(2, 3, -1))
        torch.testing.assert_close(algorithm(y[4], phi).x, together[4])

    def test_one_pattern_per_entry(self, algorithm):
        algorithm = algorithm.double()
        patterns = [PilotPattern.random(40, seed) for seed in range(3)]
        y, _ = signals(n=3)
        together = algorithm(y, stacked(patterns, 128, dtype=torch.complex128)).x
        for i, pattern in enumerate(patterns):
            alone = algorithm(y[i], pattern.operator(128, dtype=torch.complex128)).x
            torch.testing.assert_close(together[i], alone)

    def test_records_every_iteration_on_request(self, algorithm):
        y, phi = signals()
        algorithm = algorithm.double()
        recovery = algorithm(y, phi, record=True)
        assert len(recovery.iterates) == len(recovery.step_sizes) == len(recovery.thresholds) == 6
        assert torch.equal(recovery.iterates[-1], recovery.x)
        assert bool((recovery.step_sizes > 0).all() & (recovery.thresholds > 0).all())
        assert algorithm(y, phi).iterates == ()

    def test_zero_observations_give_zero(self, algorithm):
        _, phi = signals()
        algorithm = algorithm.double()
        x = algorithm(torch.zeros(2, 40, dtype=torch.complex128), phi).x
        assert bool((x == 0).all())

    def test_real_dense_operator_runs_on_the_same_code(self, algorithm):
        algorithm = algorithm.double()
        phi = DenseOperator(torch.randn(20, 30, dtype=torch.float64) / 20**0.5)
        assert algorithm(torch.randn(4, 20, dtype=torch.float64), phi).x.dtype == torch.float64

    def test_gradients_reach_every_parameter(self, algorithm):
        y, phi = signals()
        algorithm = algorithm.double()
        if not algorithm.learned:
            assert not list(algorithm.parameters())
            return
        algorithm(y, phi).x.abs().square().sum().backward()
        for name, parameter in algorithm.named_parameters():
            if name.startswith("calibration."):  # has a part in error variances only
                continue
            assert parameter.grad is not None, name
            assert bool(parameter.grad.isfinite().all()), name
            assert bool((parameter.grad != 0).any()) or name in ("lstm.weight_hh", "initial_hidden"), name

    def test_another_number_of_iterations(self, algorithm):
        y, phi = signals()
        algorithm = algorithm.double()
        if algorithm.any_n_iterations:
            assert len(algorithm(y, phi, 3, record=True).iterates) == 3
        else:
            with pytest.raises(AlgorithmError, match="parameters for each of its 6 iterations, asked for 3"):
                algorithm(y, phi, 3)
        with pytest.raises(AlgorithmError, match="at least 1"):
            algorithm(y, phi, 0)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_gpu_agrees_with_cpu(self, algorithm):
        y, phi = signals()
        algorithm = algorithm.double()
        expected = algorithm(y, phi).x
        on_gpu = PilotPattern.random(40, 0).operator(128, dtype=torch.complex128, device="cuda")
        found = algorithm.cuda()(y.cuda(), on_gpu).x.cpu()
        algorithm.cpu()
        assert float((found - expected).norm() / expected.norm()) < 1e-4


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ISTA(penalty=0), "penalty"),
        (lambda: ISTA(n_iterations=0), "n_iterations"),
        (lambda: ALISTA(ridge=-1), "ridge"),
        (lambda: ALISTA(sparsity=-1), "sparsity"),
        (lambda: NAALISTA(lstm_inputs="x"), "lstm_inputs"),
        (lambda: NAALISTA(lstm_hidden=0), "lstm_hidden"),
    ],
)
def test_impossible_hyperparameters(make, said):
    with pytest.raises(AlgorithmError, match=said):
        make()


class TestOracle:
    pilots = torch.tensor(PilotPattern.random(40, 0).subcarriers)

    def test_least_squares_is_exact_without_noise_between_the_samples_too(self):
        delays = torch.tensor([[0.3, 17.25, 90.0]], dtype=torch.float64)
        gains = torch.tensor([[1.0, 0.5j, -0.2]], dtype=torch.complex128)
        turns = self.pilots.double().unsqueeze(-1) * delays / 1024
        h = (torch.exp(-2j * torch.pi * turns) * gains).sum(-1).unsqueeze(0)
        torch.testing.assert_close(path_gains(h, self.pilots, delays, torch.ones(1, 3), None, 1024), gains)

    def test_mmse_is_the_conditional_mean(self):
        """Against the textbook form C_g A^H (A C_g A^H + s^2 I)^-1 h."""
        delays = torch.tensor([[0.0, 3.0, 50.5]], dtype=torch.float64)
        variances = torch.tensor([[1.0, 0.5, 0.1]], dtype=torch.float64)
        h = torch.randn(1, 40, dtype=torch.complex128)
        a = torch.exp(-2j * torch.pi * self.pilots.double().unsqueeze(-1) * delays / 1024)
        c = (a * variances) @ a.mH + 0.3 * torch.eye(40)
        expected = variances * (a.mH @ torch.linalg.solve(c, h.mT)).squeeze(-1)
        found = path_gains(h, self.pilots, delays, variances, torch.tensor([0.3]), 1024)
        torch.testing.assert_close(found, expected)

    def test_absent_paths_are_zero(self):
        variances = torch.tensor([[1.0, 0.0]])
        gains = path_gains(torch.ones(1, 40) + 0j, self.pilots, torch.tensor([[0.0, 9.0]]), variances, None, 1024)
        assert gains[0, 1] == 0
