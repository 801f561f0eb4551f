"""The interpolators against NumPy, SciPy and the direct formula."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from chanest import PartialDFT, PilotPattern, load_scenario
from chanest.algorithms import (
    LMMSE,
    ExponentialLMMSE,
    FlatLMMSE,
    Interpolator,
    LinearInterpolation,
    SplineInterpolation,
    TrueLMMSE,
)
from chanest.algorithms.interpolation import _LOADING as INTERPOLATORS_LOADING
from chanest.errors import AlgorithmError
from chanest.models.zoo import INTERPOLATORS, pick_model
from chanest.problems.random import seeded

M = 30


LTE10, USED = load_scenario("lte10"), torch.from_numpy(load_scenario("lte10").used_subcarriers)


class TestInterpolation:
    pilots = torch.tensor(PilotPattern.random(M, 0).subcarriers)
    h = torch.randn(3, M, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))

    @pytest.mark.parametrize("m", [2, M])
    def test_linear_is_numpys(self, m):
        p, h = self.pilots[:m], self.h[:, :m]
        found, variance = interpolated(LinearInterpolation(), h, p, 0.2)
        for row, one in zip(found, h, strict=True):
            expected = np.interp(USED, p, one.real) + 1j * np.interp(USED, p, one.imag)
            np.testing.assert_allclose(row.numpy(), expected)
        assert_weighted_noise(LinearInterpolation(), p, variance[0] / 0.2)

    @pytest.mark.parametrize("m", [2, 3, M])
    def test_spline_is_scipys(self, m):
        p, h = self.pilots[:m], self.h[:, :m]
        found, variance = interpolated(SplineInterpolation(), h, p, 0.2)
        inside = USED.clamp(p[0], p[-1]).numpy()
        for row, one in zip(found, h, strict=True):
            expected = CubicSpline(p, one, bc_type="natural" if m > 2 else "not-a-knot")(inside)
            np.testing.assert_allclose(row.numpy(), expected, atol=1e-10)
        assert_weighted_noise(SplineInterpolation(), p, variance[0] / 0.2)

    def test_lmmse_is_the_direct_formula(self):
        """H = R_ap (R_pp + s I)^-1 h with error diag(R_aa - R_ap (R_pp + s I)^-1 R_pa); R has the power 1 - s."""
        delays, powers = torch.tensor([0.0, 2.5, 30.7]), torch.tensor([2.0, 1.0, 0.5])
        s = torch.tensor([0.01, 0.1, 0.5], dtype=torch.float64)
        found, error = interpolated(LMMSE(delays, powers), self.h, self.pilots, s)
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


def interpolated(
    interpolator: Interpolator, h: torch.Tensor, pilots: torch.Tensor, noise_variance: torch.Tensor | float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The response on the used subcarriers, and its error variance, from h and its noise variance at the pilots."""
    m = len(pilots)
    noise = torch.as_tensor(noise_variance, dtype=h.real.dtype)
    return interpolator(h / m**0.5, PartialDFT(pilots, 1), PartialDFT(USED, 1), noise / m)


def assert_weighted_noise(interpolator: Interpolator, pilots: torch.Tensor, gain: torch.Tensor) -> None:
    """Unit noise at the pilots comes out with the squared norm of the weights, as identity inputs show them."""
    responses, _ = interpolated(interpolator, torch.eye(len(pilots)).to(torch.complex128), pilots, 0.2)
    torch.testing.assert_close(gain, responses.abs().square().sum(0))


def correlation(k: torch.Tensor, other: torch.Tensor, delays: torch.Tensor, powers: torch.Tensor) -> torch.Tensor:
    """R[k, k'] = sum_p power_p exp(-2 pi i (k - k') delay_p / n_fft)."""
    turns = (k.unsqueeze(-1) - other).unsqueeze(-1) * delays.double() / 1024
    return (torch.exp(-2j * torch.pi * turns) * (powers / powers.sum())).sum(-1)
