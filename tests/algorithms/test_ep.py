"""EP against a plain loop, and its prior against Bayes' rule."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chanest import PartialDFT, PilotPattern
from chanest.algorithms import EP
from chanest.algorithms.ep import bernoulli_gaussian
from chanest.errors import AlgorithmError

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


class TestEP:
    @settings(max_examples=40, deadline=None)
    @given(
        r=st.complex_numbers(max_magnitude=4),
        tau=st.floats(0.1, 2),
        v=st.floats(0.1, 3),
        rho=st.floats(0.02, 0.98),
    )
    def test_bernoulli_gaussian_is_bayes_rule(self, r, tau, v, rho):
        """Moments of the posterior by summing p(r | x) p(x) over a grid of x."""
        axis = np.linspace(-9, 9, 361)
        x = axis[:, None] + 1j * axis
        likelihood = np.exp(-(np.abs(r - x) ** 2) / tau) / (np.pi * tau)
        slab = rho * likelihood * np.exp(-(np.abs(x) ** 2) / v) / (np.pi * v) * (axis[1] - axis[0]) ** 2
        spike = (1 - rho) * np.exp(-(abs(r) ** 2) / tau) / (np.pi * tau)
        evidence = slab.sum() + spike
        mean = (slab * x).sum() / evidence
        variance = (slab * np.abs(x - mean) ** 2).sum() / evidence + spike * abs(mean) ** 2 / evidence
        given = torch.tensor([r], dtype=torch.complex128), torch.tensor([tau]).double()
        found = bernoulli_gaussian(*given, rho, torch.tensor([v]).double())
        np.testing.assert_allclose(found[0].item(), mean, atol=1e-5)
        np.testing.assert_allclose(found[1].item(), variance, atol=1e-5)

    @staticmethod
    def loop(y: np.ndarray, a: np.ndarray, s: float, k: int, sparsity: float, decay: float) -> list[np.ndarray]:
        """shared/equations.md with the prior's energy from that of y, and sites kept within 1/4...1e9."""
        m, n = a.shape
        rho = sparsity / n
        v = np.exp(-decay * np.arange(n) / n)
        v *= (1 - m * s) / (rho * v.sum())
        g2, h2 = 1 / (rho * v), np.zeros(n, complex)
        means = []
        for _ in range(k):
            d = np.diag(1 / g2)
            c = a @ d @ a.conj().T + (s + 1e-5 * np.sum(1 / g2) / m) * np.eye(m)
            x2 = d @ h2 + d @ a.conj().T @ np.linalg.solve(c, y - a @ d @ h2)
            v2 = np.diag(d - d @ a.conj().T @ np.linalg.solve(c, a @ d)).real
            g1, h1 = 1 / v2 - g2, x2 / v2 - h2
            g1 = np.maximum(g1, 1 / 40)
            r, tau = h1 / g1, 1 / g1
            with np.errstate(over="ignore"):
                present = 1 / (
                    1 + (1 - rho) / rho * (v + tau) / tau * np.exp(-(np.abs(r) ** 2) * (1 / tau - 1 / (v + tau)))
                )
            x1 = present * v * r / (v + tau)
            var = present * (v * tau / (v + tau) + np.abs(v * r / (v + tau)) ** 2) - np.abs(x1) ** 2
            site_g, site_h = 1 / var - g1, x1 / var - h1
            keep = site_g > 0
            g2 = np.where(keep, 0.5 * g2 + 0.5 * np.clip(site_g, 1 / 4, 1e9), g2)
            h2 = np.where(keep, 0.5 * h2 + 0.5 * site_h, h2)
            means.append(x1)
        return means

    @pytest.mark.parametrize(("sparsity", "decay"), [(4, 0.0), (8, 3.5)])
    def test_equals_a_plain_loop(self, sparsity, decay):
        phi = operator()
        _, y = signals([4, 2, 6], 0.02, phi)
        s = torch.tensor([1e-3, 3e-3, 1e-2], dtype=torch.float64)
        found = EP(8, sparsity, decay)(y, phi, record=True, noise_variance=s)
        for i in range(3):
            expected = self.loop(y[i].numpy(), phi.dense().numpy(), float(s[i]), 8, sparsity, decay)
            np.testing.assert_allclose(torch.stack(found.iterates)[:, i].numpy(), expected, atol=1e-6)
        assert torch.equal(found.iterates[-1], found.x)

    def test_with_every_tap_present_it_is_lmmse(self):
        """A Gaussian prior needs no sites of its own; the one of EP leaves out a thousandth of the taps."""
        phi = operator()
        y = torch.randn(4, M, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
        y = y / y.norm(dim=-1, keepdim=True)
        s, a = 0.1 / M, phi.dense()
        v = torch.exp(-3.5 * torch.arange(N).double() / N)
        v = v / v.sum() * 0.9
        expected = (v * a.conj()).mT @ torch.linalg.solve((a * v) @ a.mH + s * torch.eye(M), y.mT)
        found = EP(20, N, 3.5)(y, phi, noise_variance=torch.tensor(s)).x
        assert float((found - expected.mT).norm() / found.norm()) < 0.02

    @pytest.mark.parametrize(("arguments", "said"), [({"sparsity": 0}, "sparsity"), ({"damping": 0}, "damping")])
    def test_impossible_hyperparameters(self, arguments, said):
        with pytest.raises(AlgorithmError, match=said):
            EP(**arguments)


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
