"""OMP against a plain greedy loop."""

import numpy as np
import pytest
import torch

from chanest import PartialDFT, PilotPattern
from chanest.algorithms import OMP

M, N = 30, 64


def operator(seed: int = 0, m: int = M) -> PartialDFT:
    return PilotPattern.random(m, seed).operator(N, dtype=torch.complex128)


def signals(counts: list[int], noise: float, phi: PartialDFT, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """x with so many taps each, and y of unit norm."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros(len(counts), N, dtype=torch.complex128)
    for row, count in zip(x, counts, strict=True):
        at = torch.randperm(N // 4, generator=generator)[:count] * 4
        row[at] = torch.randn(count, dtype=torch.complex128, generator=generator) + 0.5
    y = phi.forward(x)
    y = y + noise * torch.randn(y.shape, dtype=y.dtype, generator=generator)
    norm = y.norm(dim=-1, keepdim=True)
    return x / norm, y / norm


class TestOMP:
    @staticmethod
    def loop(y: np.ndarray, a: np.ndarray, s: float, most: int) -> tuple[np.ndarray, int]:
        """Greedy: the largest correlation with the residual, then least squares on all atoms so far."""
        support: list[int] = []
        x, residual = np.zeros(N, complex), y
        while len(support) < most and np.sum(np.abs(residual) ** 2) > len(y) * s:
            match = np.abs(a.conj().T @ residual)
            match[support] = -1
            support.append(int(np.argmax(match)))
            gains = np.linalg.lstsq(a[:, support], y, rcond=None)[0]
            residual = y - a[:, support] @ gains
            x = np.zeros(N, complex)
            x[support] = gains
        return x, len(support)

    @pytest.mark.parametrize("most", [40, 3])
    def test_equals_a_plain_loop(self, most):
        phi = operator()
        _, y = signals([1, 3, 6, 2, 9], 0.02, phi)
        s = torch.tensor([1e-3, 1e-3, 1e-2, 0.5, 1e-4], dtype=torch.float64)
        found = OMP(most)(y, phi, noise_variance=s)
        counts = set()
        for i in range(5):
            expected, count = self.loop(y[i].numpy(), phi.dense().numpy(), float(s[i]), min(most, M - 1))
            np.testing.assert_allclose(found.x[i].numpy(), expected, atol=1e-9)
            counts.add(count)
        assert len(counts) >= 3  # they stopped at different times
        hidden = s.clamp_max(4 / M).unsqueeze(-1) * M / 8 / N
        torch.testing.assert_close(found.posterior.variances, (found.x.abs().square() + hidden).clamp_max(4))

    def test_exact_without_noise(self):
        phi = operator(m=60)
        x, y = signals([1, 2, 3, 4], 0.0, phi)
        torch.testing.assert_close(OMP()(y, phi, noise_variance=torch.tensor(0.0)).x, x, rtol=0, atol=1e-9)

    def test_iterations_cap_the_atoms(self):
        phi = operator()
        _, y = signals([9, 9], 0.1, phi)
        told = torch.tensor(0.0)
        for k in (1, 2, 5):
            assert (OMP(k)(y, phi, noise_variance=told).x != 0).sum(-1).tolist() == [k, k]
            assert (OMP()(y, phi, k, noise_variance=told).x != 0).sum(-1).tolist() == [k, k]
        assert bool(((OMP(1000)(y, phi, noise_variance=told).x != 0).sum(-1) <= M - 1).all())

    def test_every_iterate_has_one_atom_more(self):
        phi = operator()
        _, y = signals([5, 5], 0.1, phi)
        recovery = OMP(4)(y, phi, record=True, noise_variance=torch.tensor(0.0))
        assert [(x != 0).sum(-1).tolist() for x in recovery.iterates] == [[k, k] for k in (1, 2, 3, 4)]
        assert torch.equal(recovery.iterates[-1], recovery.x)
