"""NA-SBL for whatever a receiver sends: properties of its estimates on any grid, with snapshots, layers and jammers."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import chanest
from chanest import Grid, ObservationError, PilotError, PilotPattern, load_model
from chanest.algorithms import CircleNASBL, na_sbl_circle
from chanest.errors import ModelError
from chanest.models import normalise_group
from chanest.operators import Superposed, partial_dft
from chanest.problems import delay_grid, period_samples

WIFI = [*range(-26, 0), *range(1, 27)]
CSI30 = [*range(-28, 0, 2), -1, *range(1, 28, 2), 28]
LTE10 = PilotPattern.random(75, seed=0)
DELAYS, POWERS = (0.0, 3.4, 11.7, 40.2), (0.5, 0.25, 0.15, 0.1)


def received(
    pilots: Any, used: Any, n_fft: int, n: int, snr_db: float, delays: Any = DELAYS, seed: int = 0, n_snapshots: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Pilots and CFR of ``n`` channels with ``n_snapshots`` each, (n, R, ...)."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / math.sqrt(2)

    gains = normal(n, n_snapshots, len(delays)) * np.sqrt(POWERS[: len(delays)])
    steering = [np.exp(-2j * np.pi * np.outer(k, delays) / n_fft) for k in (pilots, used)]
    noise = normal(n, n_snapshots, len(pilots)) * 10 ** (-snr_db / 20)
    return gains @ steering[0].T + noise, gains @ steering[1].T


def nmse_db(estimate: np.ndarray, truth: np.ndarray) -> float:
    return 10 * math.log10(float((np.abs(estimate - truth) ** 2).sum() / (np.abs(truth) ** 2).sum()))


@pytest.mark.parametrize(
    ("pilots", "n_fft", "period"),
    [
        (PilotPattern.comb(6).subcarriers, 1024, 1024 / 6),  # skips DC
        (PilotPattern.comb(12).subcarriers, 1024, 1024 / 12),
        (CSI30, 64, 32.0),
        (WIFI, 64, 64.0),
        (tuple(range(-312, 312, 2)), 1024, 512.0),
        (LTE10.subcarriers, 1024, 1024.0),
        (tuple(range(-100, -25)), 1024, 1024.0),
        (tuple(k for k in range(-300, 300, 6) if k % 42), 1024, 1024 / 6),  # a comb with pilots missing
    ],
)
def test_the_circle_is_cut_where_pilots_become_ambiguous(pilots: Any, n_fft: int, period: float) -> None:
    pattern = PilotPattern(tuple(pilots), Grid(n_fft, tuple(range(pilots[0], pilots[-1] + 1))))
    assert period_samples(pattern) == pytest.approx(period)
    grid = delay_grid(pattern)
    assert grid.n_taps * grid.spacing_samples == pytest.approx(period, abs=4 * grid.spacing_samples)
    assert grid.first_tap_samples == pytest.approx(-period / 4, abs=4 * grid.spacing_samples)


@given(seed=st.integers(0, 10**6), n_pilots=st.integers(12, 128))
@example(seed=1803, n_pilots=12)  # two long runs of one parity
@settings(max_examples=40, deadline=None)
def test_random_pilots_keep_the_whole_circle(seed: int, n_pilots: int) -> None:
    assert period_samples(PilotPattern.random(n_pilots, seed)) == 1024


def test_only_k_over_n_fft_counts() -> None:
    """Twice the DFT length and twice every subcarrier and delay give the same channel."""
    pilots = np.array(WIFI)
    y, _ = received(pilots, pilots, 64, 8, 20, (0.0, 2.3))
    y = y[:, 0].astype(np.complex64)
    one = chanest.estimate(y, pilots, 0.01, n_fft=64, used_subcarriers=pilots)
    two = chanest.estimate(y, 2 * pilots, 0.01, n_fft=128, used_subcarriers=2 * pilots)
    assert one.tap_spacing_samples == two.tap_spacing_samples == 0.25
    assert np.abs(one.cfr - two.cfr).max() < 0.05 * np.abs(one.cfr).max()


def test_order_of_pilots_does_not_count() -> None:
    order = np.random.default_rng(0).permutation(75)
    y, _ = received(LTE10.subcarriers, [0], 1024, 3, 20)
    noise = np.linspace(0.01, 0.02, 75)[None]
    straight = chanest.estimate(y[:, 0], LTE10.subcarriers, noise, error_variance=True)
    mixed = chanest.estimate(y[:, 0, order], np.array(LTE10.subcarriers)[order], noise[:, order], error_variance=True)
    np.testing.assert_array_equal(straight.cfr, mixed.cfr)
    np.testing.assert_array_equal(straight.error_variance, mixed.error_variance)


@pytest.mark.parametrize(
    ("noise", "dtype"),
    [
        *((noise, np.complex64) for noise in (0.0, 1e-30, 1e30)),
        *((noise, np.complex128) for noise in (None, 0.0, 0.01, 1e30)),
    ],
)
@pytest.mark.parametrize("scale", [1e-12, 5109.0, 1e12])
def test_estimates_scale_with_the_pilots(noise: float | None, dtype: type, scale: float) -> None:
    """Single precision rounds scaled pilots otherwise, and taps at the threshold live or die by that."""
    y, _ = received(LTE10.subcarriers, [0], 1024, 8, 20)
    y = y[:, 0].astype(np.complex64)
    one = chanest.estimate(y.astype(dtype), LTE10, noise)
    other = chanest.estimate((scale * y).astype(dtype), LTE10, noise if noise is None else scale**2 * noise)
    assert np.isfinite(one.cfr).all()
    assert np.abs(other.cfr / scale - one.cfr).max() <= 1e-3 * np.abs(one.cfr).max()
    assert not np.isnan(other.noise_variance).any()


@pytest.mark.parametrize("noise", [None, 0.0, 0.01])
def test_a_batch_is_its_members_alone(noise: float | None) -> None:
    y, _ = received(LTE10.subcarriers, [0], 1024, 12, 30, (-5.0, 3.0, 300.0))
    y = y[:, 0].astype(np.complex64)
    whole = chanest.estimate(y, LTE10, noise).cfr
    alone = np.concatenate([chanest.estimate(row[None], LTE10, noise).cfr for row in y])
    most = 1e-2 if noise is None else 1e-3  # single precision; sums over a batch are taken in another order
    assert np.abs(whole - alone).max() <= most * np.abs(whole).max()


def test_nothing_gives_nothing() -> None:
    found = chanest.estimate(np.zeros((2, 75), np.complex64), LTE10, 0.1, error_variance=True, paths=True)
    assert not found.detected.any()
    assert not found.cfr.any()
    assert np.isfinite(found.error_variance).all()
    assert found.paths.count.tolist() == [0, 0]
    assert chanest.estimate(np.zeros((2, 75), np.complex64), LTE10).detected.tolist() == [False, False]


@pytest.mark.parametrize("shift", [-200, -20, 0, 300, 500])
def test_a_channel_may_lie_anywhere(shift: int) -> None:
    delays = np.array(DELAYS) + shift
    y, truth = received(LTE10.subcarriers, LTE10.used_subcarriers, 1024, 64, 20, delays)
    found = chanest.estimate(y[:, 0], LTE10, 0.01)
    assert nmse_db(found.cfr, truth[:, 0]) < -28
    assert float(np.median(found.timing_samples)) == pytest.approx(shift, abs=0.5)


def test_snapshots_share_delays() -> None:
    y, truth = received(LTE10.subcarriers, LTE10.used_subcarriers, 1024, 32, 10, n_snapshots=8)
    together = chanest.estimate(y, LTE10, 0.1, snapshot_axes=1, error_variance=True)
    apart = chanest.estimate(y, LTE10, 0.1)
    assert together.cfr.shape == together.error_variance.shape == (32, 8, 600)
    assert together.noise_variance.shape == together.snr_db.shape == together.detected.shape == (32,)
    assert apart.detected.shape == (32, 8)
    assert nmse_db(together.cfr, truth) < nmse_db(apart.cfr, truth) - 1
    np.testing.assert_allclose(together.snr_db, 10, atol=3)


def test_one_snapshot_is_no_snapshot() -> None:
    y, _ = received(LTE10.subcarriers, [0], 1024, 4, 20)
    one, none = chanest.estimate(y, LTE10, 0.01, snapshot_axes=1), chanest.estimate(y[:, 0], LTE10, 0.01)
    np.testing.assert_array_equal(one.cfr[:, 0], none.cfr)


def test_groups_split_where_noise_differs_among_snapshots() -> None:
    y, _ = received(LTE10.subcarriers, [0], 1024, 4, 20, n_snapshots=2)
    noise = np.full((4, 2), 0.01)
    joined = chanest.estimate(y, LTE10, noise, snapshot_axes=1)
    noise[:, 1] = 0.02
    split = chanest.estimate(y, LTE10, noise, snapshot_axes=1)
    assert joined.detected.shape == (4,)
    assert split.detected.shape == (4, 2)
    np.testing.assert_array_equal(split.cfr, chanest.estimate(y, LTE10, noise).cfr)


def test_layers_are_told_apart() -> None:
    pilots, used = np.arange(-150, 150, 2), np.arange(-150, 150)
    code = np.ones((2, 150))
    code[1, 1::2] = -1
    first, h = zip(*(received(pilots, used, 1024, 32, 300, seed=i) for i in range(2)), strict=True)
    noise = 0.1 * received(pilots, used, 1024, 32, 0, delays=(0.0,), seed=3)[0]
    y = (first[0] * code[0] + first[1] * code[1])[:, 0] + 0.1 * (noise[:, 0] - noise[:, 0].mean(-1, keepdims=True))
    found = chanest.estimate(
        y, pilots, 0.01, n_fft=1024, used_subcarriers=used, pilot_symbols=code, error_variance=True, covariance=True
    )
    assert found.cfr.shape == found.error_variance.shape == (32, 2, 300)
    assert found.covariance_factor.shape[:3] == (32, 2, 300)
    assert nmse_db(found.cfr, np.stack([h[0][:, 0], h[1][:, 0]], 1)) < -25


def test_boosted_pilots_and_noise_per_pilot_are_one_thing() -> None:
    y, _ = received(LTE10.subcarriers, [0], 1024, 4, 15)
    y = y[:, 0]
    boost = np.where(np.arange(75) % 2, 1.0, 1.4125)
    divided = chanest.estimate(y, LTE10, (0.03 / boost**2)[None])
    symbols = chanest.estimate(y * boost, LTE10, 0.03, pilot_symbols=boost)
    np.testing.assert_allclose(divided.cfr, symbols.cfr, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("told", [True, False])
def test_pilots_that_are_not_valid_do_not_count(told: bool) -> None:
    y, truth = received(LTE10.subcarriers, LTE10.used_subcarriers, 1024, 32, 20)
    y, noise = y[:, 0], 0.01 if told else None
    valid = np.random.default_rng(1).random(y.shape) > 0.1
    one = chanest.estimate(np.where(valid, y, 9), LTE10, noise, pilot_valid=valid)
    two = chanest.estimate(np.where(valid, y, -1e3j), LTE10, noise, pilot_valid=valid)
    np.testing.assert_array_equal(one.cfr, two.cfr)
    assert nmse_db(one.cfr, truth[:, 0]) < -27


def test_jammed_pilots_silence_themselves() -> None:
    y, truth = received(LTE10.subcarriers, LTE10.used_subcarriers, 1024, 64, 20)
    y = y[:, 0].copy()
    y[:, 30:33] += 10 * np.exp(2j * np.pi * np.random.default_rng(0).random((64, 3)))
    found = chanest.estimate(y, LTE10)
    assert nmse_db(found.cfr, truth[:, 0]) < -24
    assert 10 * np.log10(found.noise_variance.mean() / 0.01) == pytest.approx(0, abs=1.5)


def test_noise_and_snr_are_found() -> None:
    y, _ = received(LTE10.subcarriers, [0], 1024, 200, 12)
    found = chanest.estimate(y[:, 0], LTE10)
    assert 10 * np.log10(found.noise_variance.mean()) == pytest.approx(-12, abs=0.7)
    assert 10 * np.log10(np.mean(10 ** (found.snr_db / 10))) == pytest.approx(12, abs=1)
    told = chanest.estimate(y[:, 0], LTE10, 0.05)
    np.testing.assert_allclose(told.noise_variance, 0.05, rtol=1e-5)


def test_paths_lie_between_the_taps() -> None:
    y, _ = received(LTE10.subcarriers, [0], 1024, 64, 30)
    found = chanest.estimate(y[:, 0], LTE10, 1e-3, paths=True).paths
    nearest = np.nanmin(np.abs(found.delays_samples[..., None] - np.array(DELAYS)), 1)
    assert float(np.median(nearest)) < 0.03
    assert float(np.median(found.count)) == 4
    assert found.gains.shape == found.delays_samples.shape


def test_the_covariance_has_the_error_variance_on_its_diagonal() -> None:
    y, _ = received(LTE10.subcarriers, [0], 1024, 5, 10)
    found = chanest.estimate(torch.from_numpy(y[:, 0]), LTE10, 0.1, error_variance=True, covariance=True)
    own = found.covariance_factor.abs().square().sum(-1)
    torch.testing.assert_close(own, found.error_variance, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(("n_layers", "n_snapshots"), [(1, 1), (1, 4), (2, 3)])
def test_the_compiled_update_is_the_one_in_torch(
    told: bool, n_layers: int, n_snapshots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm = load_model("na-sbl-wide").algorithm
    pattern = PilotPattern.random(60, seed=1)
    y, _ = received(pattern.subcarriers, [0], 1024, 6, 15, n_snapshots=n_snapshots)
    rows, _ = normalise_group(torch.from_numpy(y).to(torch.complex64))
    phi: Any = delay_grid(pattern, None, n_layers).operator(pattern)
    if n_layers > 1:
        phi = Superposed(phi, torch.tensor([[1.0, 1.0] * 30, [1.0, -1.0] * 30]))
    noise = torch.full((6,), 0.03 / 60) if told else None
    with torch.inference_mode():
        fast = algorithm(rows, phi, noise_variance=noise, snapshots=True)
        monkeypatch.setattr(na_sbl_circle, "suits", lambda *_: False)
        monkeypatch.setattr(partial_dft, "suits", lambda *_: False)
        slow = algorithm(rows, phi, noise_variance=noise, snapshots=True)
    difference = (fast.x - slow.x).abs().square().sum() / slow.x.abs().square().sum()
    assert float(difference) < 1e-3


def test_it_starts_at_em() -> None:
    """Untrained perceptrons say nothing: taps follow EM, pilots their leave-one-out residual."""
    phi = delay_grid(LTE10, (-8, 264)).operator(LTE10)
    y, truth = received(LTE10.subcarriers, LTE10.used_subcarriers, 1024, 16, 20)
    rows, rms = normalise_group(torch.from_numpy(y).to(torch.complex64))
    with torch.inference_mode():
        x = CircleNASBL(12)(rows, phi, noise_variance=0.01 / 75 / rms.square().squeeze(-1), snapshots=True).x
    taps = delay_grid(LTE10, (-8, 264))
    band = taps.operator(PilotPattern(LTE10.grid.used_subcarriers, LTE10.grid))
    cfr = band.forward(x) * 600**0.5 * rms.unsqueeze(-1)
    assert nmse_db(cfr.numpy(), truth) < -15


def test_what_cannot_be_used_is_refused() -> None:
    y = np.ones((2, 52), np.complex64)
    with pytest.raises(PilotError, match="n_fft"):
        chanest.estimate(y, WIFI)
    for wrong in (
        {"pilot_valid": np.zeros(52, bool)},
        {"pilot_valid": np.ones(52)},
        {"pilot_valid": np.ones(3, bool)},
        {"pilot_symbols": np.zeros(52)},
        {"pilot_symbols": np.ones((2, 3))},
        {"snapshot_axes": 2},
        {"noise_variance": np.ones((2, 3))},
        {"noise_variance": -np.ones((2, 52))},
    ):
        with pytest.raises(ObservationError):
            chanest.estimate(y, WIFI, n_fft=64, **wrong)
    model = load_model("na-alista-wide")
    for wrong in ({"pilot_symbols": np.ones((2, 75))}, {"paths": True}, {"pilot_valid": np.ones(75, bool)}):
        with pytest.raises(ModelError, match="na-sbl-wide"):
            model.estimate(np.ones((2, 75), np.complex64), LTE10, **wrong)


@pytest.mark.parametrize("name", ["ista", "fista", "omp", "sbl", "alista-wide"])
def test_classical_estimators_take_snapshots(name: str) -> None:
    from chanest import load_scenario
    from chanest.models import pick_named

    model = pick_named(name, load_scenario("wide"))
    y, truth = received(LTE10.subcarriers, LTE10.used_subcarriers, 1024, 24, 10, n_snapshots=8)
    y = y.astype(np.complex64)
    together = model.estimate(y, LTE10, 0.1, snapshot_axes=1, error_variance=True)
    apart = model.estimate(y, LTE10, 0.1)
    assert together.cfr.shape == together.error_variance.shape == (24, 8, 600)
    assert nmse_db(together.cfr, truth) < nmse_db(apart.cfr, truth)
    one = model.estimate(y[:, :1], LTE10, 0.1, snapshot_axes=1)
    np.testing.assert_allclose(one.cfr[:, 0], apart.cfr[:, 0], atol=1e-3)
