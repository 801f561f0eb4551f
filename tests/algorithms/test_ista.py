"""ISTA and FISTA against the optimality conditions of the lasso."""

from itertools import pairwise

import pytest
import torch

from chanest import PartialDFT, PilotPattern
from chanest.algorithms import FISTA, ISTA
from chanest.algorithms.shrinkage import soft_threshold


def signals(seed: int = 0, n: int = 3) -> tuple[torch.Tensor, PartialDFT]:
    phi = PilotPattern.random(40, seed).operator(128, dtype=torch.complex128)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 128, dtype=torch.complex128, generator=generator)
    x = x * (torch.rand(n, 128, generator=generator) < 0.05)
    y = phi.forward(x)
    return y / y.norm(dim=-1, keepdim=True), phi


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
