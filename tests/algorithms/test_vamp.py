"""VAMP against the textbook's loop."""

import numpy as np
import pytest
import torch
from plain import FIELDS, M, N, operator, signals

from chanest import DenseOperator, PilotPattern
from chanest.algorithms import VAMP
from chanest.evaluation.metrics import nmse_db


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
