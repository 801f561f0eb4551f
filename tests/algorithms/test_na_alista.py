"""NA-ALISTA against a plain NumPy loop."""

import numpy as np
import pytest
import torch
from plain import shrink

from chanest import PartialDFT, PilotPattern
from chanest.algorithms import NAALISTA, Algorithm
from chanest.algorithms.shrinkage import support_schedule


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
        x = shrink(x - gamma / float(phi.squared_norm()) * c, 0.02 * theta, support_schedule(8, 4)[k])
    np.testing.assert_allclose(algorithm(y, phi).x[0].detach().numpy(), x, atol=1e-9)
