"""OMP, EP and the interpolators against plain NumPy; every estimator by name, with its error variance."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from chanest import PartialDFT, PilotPattern, load_scenario
from chanest.algorithms import (
    EP,
    LMMSE,
    OMP,
    ExponentialLMMSE,
    FlatLMMSE,
    LinearInterpolation,
    SplineInterpolation,
    TrueLMMSE,
)
from chanest.algorithms.ep import bernoulli_gaussian
from chanest.algorithms.interpolation import _LOADING as INTERPOLATORS_LOADING
from chanest.errors import AlgorithmError
from chanest.evaluation.metrics import nmse_db
from chanest.models.model import Model
from chanest.models.zoo import INTERPOLATORS, pick_model
from chanest.problems.ofdm.channels import TapChannel
from chanest.problems.random import seeded

M, N = 30, 64
LTE10, USED = load_scenario("lte10"), torch.from_numpy(load_scenario("lte10").used_subcarriers)


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

    def test_zero_observations_give_zero(self):
        assert bool((OMP()(torch.zeros(2, M, dtype=torch.complex128), operator()).x == 0).all())


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


class TestInterpolation:
    pilots = torch.tensor(PilotPattern.random(M, 0).subcarriers)
    h = torch.randn(3, M, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))

    @pytest.mark.parametrize("m", [2, M])
    def test_linear_is_numpys(self, m):
        p, h = self.pilots[:m], self.h[:, :m]
        found, variance = LinearInterpolation()(h, p, USED, 1024, torch.tensor(0.2))
        for row, one in zip(found, h, strict=True):
            expected = np.interp(USED, p, one.real) + 1j * np.interp(USED, p, one.imag)
            np.testing.assert_allclose(row.numpy(), expected)
        assert_weighted_noise(LinearInterpolation(), p, variance[0] / 0.2)

    @pytest.mark.parametrize("m", [2, 3, M])
    def test_spline_is_scipys(self, m):
        p, h = self.pilots[:m], self.h[:, :m]
        found, variance = SplineInterpolation()(h, p, USED, 1024, torch.tensor(0.2))
        inside = USED.clamp(p[0], p[-1]).numpy()
        for row, one in zip(found, h, strict=True):
            expected = CubicSpline(p, one, bc_type="natural" if m > 2 else "not-a-knot")(inside)
            np.testing.assert_allclose(row.numpy(), expected, atol=1e-10)
        assert_weighted_noise(SplineInterpolation(), p, variance[0] / 0.2)

    def test_lmmse_is_the_direct_formula(self):
        """H = R_ap (R_pp + s I)^-1 h with error diag(R_aa - R_ap (R_pp + s I)^-1 R_pa); R has the power 1 - s."""
        delays, powers = torch.tensor([0.0, 2.5, 30.7]), torch.tensor([2.0, 1.0, 0.5])
        s = torch.tensor([0.01, 0.1, 0.5], dtype=torch.float64)
        found, error = LMMSE(delays, powers)(self.h, self.pilots, USED, 1024, s)
        for i in range(3):
            r = correlation(USED, USED, delays, powers) * (1 - s[i])
            at = torch.searchsorted(USED, self.pilots)
            load = s[i] + INTERPOLATORS_LOADING
            gain = torch.linalg.solve(r[at][:, at] + load * torch.eye(M), r[at]).mH
            torch.testing.assert_close(found[i], gain @ self.h[i])
            torch.testing.assert_close(error[i], (r - gain @ r[at]).diagonal().real)

    def test_profiles(self):
        flat, exponential = FlatLMMSE(40), ExponentialLMMSE(12.0, 60)
        torch.testing.assert_close(flat.delays, torch.arange(40).double())
        torch.testing.assert_close(flat.powers, torch.full((40,), 1 / 40, dtype=torch.float64))
        expected = torch.exp(-torch.arange(60).double() / 12)
        torch.testing.assert_close(exponential.powers, expected / expected.sum())

    @pytest.mark.parametrize("powers", [[1.0], [1.0, -1.0], [0.0, 0.0]])
    def test_impossible_profiles(self, powers):
        with pytest.raises(AlgorithmError, match="a power, not negative, for each"):
            TrueLMMSE(torch.tensor([0.0, 1.0]), torch.tensor(powers))

    def test_the_true_profile_is_the_best_and_knows_its_error(self):
        eva = load_scenario("eva")
        errors: dict[str, list[torch.Tensor]] = {}
        for seed in range(3):
            pattern = PilotPattern.random(75, seed)
            data = eva.draw(pattern, 400, seeded(seed, "test"), 10)
            for name in INTERPOLATORS:
                model = pick_model(name, eva, 75)
                estimate = model.estimate(data.observations, pattern, data.noise_variance, error_variance=True)
                errors.setdefault(name, []).append(estimate.cfr - data.truth["cfr"])
                if name == "lmmse-true":
                    expected, actual = estimate.error_variance.mean(), errors[name][-1].abs().square().mean()
                    assert abs(float(10 * torch.log10(expected / actual))) < 0.5
        power = {name: float(torch.cat(e).abs().square().mean()) for name, e in errors.items()}
        best = power.pop("lmmse-true")
        assert all(best < 0.8 * other for other in power.values()), (best, power)

    @pytest.mark.parametrize("name", INTERPOLATORS)
    def test_iterations_are_refused(self, name):
        model = pick_model(name, LTE10, M)
        pattern = PilotPattern.random(M, 0)
        with pytest.raises(AlgorithmError, match=f"{name} does not iterate, asked for 4"):
            model.estimate(self.h, pattern, n_iterations=4)
        assert model.estimate(self.h, pattern, n_iterations=1).cir is None

    @pytest.mark.parametrize("name", INTERPOLATORS)
    def test_units_batch_and_unknown_noise(self, name):
        model, pattern = pick_model(name, LTE10, M), PilotPattern.random(M, 0)
        received = LTE10.draw(pattern, 6, seeded(0, "test")).observations.to(torch.complex128)
        together = model.estimate(received, pattern, error_variance=True)
        assert bool((together.error_variance > 0).all())
        rescaled = model.estimate(2e-6j * received.view(2, 3, M), pattern, error_variance=True)
        torch.testing.assert_close(rescaled.cfr / 2e-6j, together.cfr.view(2, 3, -1))
        torch.testing.assert_close(rescaled.error_variance / 4e-12, together.error_variance.view(2, 3, -1))
        torch.testing.assert_close(model.estimate(received[4], pattern).cfr, together.cfr[4])


def assert_weighted_noise(interpolator: torch.nn.Module, pilots: torch.Tensor, gain: torch.Tensor) -> None:
    """Unit noise at the pilots comes out with the squared norm of the weights, as identity inputs show them."""
    responses, _ = interpolator(torch.eye(len(pilots)).to(torch.complex128), pilots, USED, 1024, torch.tensor(0.2))
    torch.testing.assert_close(gain, responses.abs().square().sum(0))


def correlation(k: torch.Tensor, other: torch.Tensor, delays: torch.Tensor, powers: torch.Tensor) -> torch.Tensor:
    """R[k, k'] = sum_p power_p exp(-2 pi i (k - k') delay_p / n_fft)."""
    turns = (k.unsqueeze(-1) - other).unsqueeze(-1) * delays.double() / 1024
    return (torch.exp(-2j * torch.pi * turns) * (powers / powers.sum())).sum(-1)


@pytest.mark.parametrize("algorithm", [OMP(), EP(sparsity=8, decay=3.5)], ids=["omp", "ep"])
class TestGreedyAndMessages:
    pattern = PilotPattern.random(60, 0)

    @settings(max_examples=10, deadline=None)
    @given(exponent=st.floats(-12, 12), phase=st.sampled_from([1, 1j, -1]), told=st.booleans())
    def test_a_receivers_units_do_not_matter(self, algorithm, exponent, phase, told):
        data = LTE10.draw(self.pattern, 4, seeded(0, "test"))
        received, noise = data.observations.to(torch.complex128), data.noise_variance.double()
        model, a = Model(algorithm, LTE10), 10**exponent * phase
        expected = model.estimate(received, self.pattern, noise if told else None)
        found = model.estimate(a * received, self.pattern, abs(a) ** 2 * noise if told else None)
        torch.testing.assert_close(found.cfr / a, expected.cfr, rtol=1e-6, atol=1e-6)

    def test_one_sample_does_not_see_the_others(self, algorithm):
        received = LTE10.draw(self.pattern, 6, seeded(0, "test")).observations.to(torch.complex128)
        loud = received.clone()
        loud[0] = 1e6 * loud[0].real
        model = Model(algorithm, LTE10)
        together = model.estimate(received, self.pattern).cir
        torch.testing.assert_close(model.estimate(loud, self.pattern).cir[1:], together[1:])
        torch.testing.assert_close(model.estimate(received.view(2, 3, -1), self.pattern).cir.flatten(0, 1), together)
        torch.testing.assert_close(model.estimate(received[4], self.pattern).cir, together[4])

    def test_ahead_of_linear_interpolation_on_sparse_channels(self, algorithm):
        data = LTE10.draw(self.pattern, 300, seeded(0, "test"), 20)
        told = data.noise_variance
        ours = Model(algorithm, LTE10).estimate(data.observations, self.pattern, told).cfr
        linear = Model(LinearInterpolation(), LTE10).estimate(data.observations, self.pattern, told).cfr
        assert nmse_db(ours, data.truth["cfr"]) < nmse_db(linear, data.truth["cfr"]) - 3


PATTERNS = {"32": PilotPattern.random(32, 1), "75": PilotPattern.random(75, 1), "comb": PilotPattern.comb(8, 3)}


@pytest.mark.parametrize("scenario", ["lte10", "etu"])
@pytest.mark.parametrize("name", LTE10.peers)
def test_every_estimator_gives_a_finite_error_variance(name, scenario):
    scenario = load_scenario(scenario)
    for pattern in PATTERNS.values():
        model = pick_model(name, scenario, len(pattern))
        data = scenario.draw(pattern, 4, seeded(0, "test"))
        for told in (data.noise_variance, None):
            estimate = model.estimate(data.observations, pattern, told, error_variance=True)
            assert estimate.cfr.shape == estimate.error_variance.shape == (4, 600)
            assert bool(estimate.cfr.isfinite().all())
            assert bool((estimate.error_variance.isfinite() & (estimate.error_variance > 0)).all())
            assert (estimate.cir is None) == (name in INTERPOLATORS)


def test_ep_takes_the_scenarios_prior():
    ep = pick_model("ep", LTE10, 75).algorithm
    assert isinstance(LTE10.channel, TapChannel)
    assert (ep.sparsity, ep.decay) == (LTE10.channel.sparsity, LTE10.channel.decay)
    assert pick_model("ep", load_scenario("etu"), 75, 5).algorithm.n_iterations == 5
