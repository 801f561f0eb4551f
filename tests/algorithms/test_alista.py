"""ALISTA against a plain NumPy loop."""

import numpy as np
import pytest
import torch
from plain import shrink

from chanest import PartialDFT, PilotPattern
from chanest.algorithms import ALISTA, Algorithm
from chanest.algorithms.shrinkage import support_schedule
from chanest.operators import AnalyticWeights


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
        x = shrink(x, theta, support_schedule(8, 5)[k])
    np.testing.assert_allclose(algorithm(y, phi).x[0].detach().numpy(), x, atol=1e-9)
