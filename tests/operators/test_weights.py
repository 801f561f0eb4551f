"""Analytic weights, coherence and the Welch bound."""

import math

import pytest
import torch
from conftest import stacked

from chanest import DenseOperator, PilotPattern
from chanest.errors import OperatorError
from chanest.operators import (
    AnalyticWeights,
    LinearOperator,
    generalised_coherence,
    projected_gradient_weights,
    welch_bound,
)

M, N, K = 20, 48, 4


FIELDS = ("real", "complex")


def operator(field: str) -> LinearOperator:
    if field == "complex":
        return PilotPattern.random(M, 0).operator(N, dtype=torch.complex128)
    matrix = torch.randn(M, N, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return DenseOperator(matrix / matrix.norm(dim=0))


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
