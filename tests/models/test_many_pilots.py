"""Carriers of hundreds of pilots: any delay, weak channels, antennas, layers, unequal noise, through every door."""

import numpy as np
import pytest
import torch

import chanest
from chanest import Grid, PilotPattern, load_model, load_scenario
from chanest.algorithms import na_sbl_circle_rules
from chanest.algorithms.na_sbl_circle_rules import unless_calm
from chanest.models import pick_model
from chanest.models.arcs import arcs_of, on_circle
from chanest.problems import delay_grid

NR = PilotPattern.comb(2, 0, Grid.nr(106))
DELAYS, POWERS = np.array([0.0, 12.3, 60.0, 95.5]), np.array([0.5, 0.25, 0.15, 0.1])


def received(
    snr_db: float, n: int = 12, r: int = 1, shift: float = 0.0, seed: int = 0, pattern: PilotPattern = NR
) -> tuple[np.ndarray, np.ndarray]:
    """Received pilots (n, r, M) and CFR (n, r, n_used)."""
    rng = np.random.default_rng(seed)
    gains = (rng.standard_normal((2, n, r, 4)) * np.sqrt(POWERS / 2)).astype(np.float64)
    k = np.asarray(pattern.used_subcarriers)
    cfr = (gains[0] + 1j * gains[1]) @ np.exp(-2j * np.pi * np.outer(DELAYS + shift, k) / pattern.n_fft)
    noise = rng.standard_normal((2, n, r, len(pattern))) * np.sqrt(10 ** (-snr_db / 10) / 2)
    return cfr[..., np.searchsorted(k, pattern.subcarriers)] + noise[0] + 1j * noise[1], cfr


def genie_db(snr_db: float, pattern: PilotPattern = NR) -> float:
    """Mean MMSE of the CFR where delays and powers are known."""
    k, used = np.asarray(pattern.subcarriers), np.asarray(pattern.used_subcarriers)
    a, b = (np.exp(-2j * np.pi * np.outer(x, DELAYS) / pattern.n_fft) for x in (k, used))
    posterior = np.linalg.inv(np.diag(1 / POWERS) + a.conj().T @ a * 10 ** (snr_db / 10))
    return float(10 * np.log10(np.einsum("kp,pq,kq->k", b, posterior, b.conj()).real.mean()))


def nmse_db(found: np.ndarray, cfr: np.ndarray) -> float:
    return float(10 * np.log10((np.abs(found - cfr) ** 2).sum() / (np.abs(cfr) ** 2).sum()))


@pytest.mark.parametrize(("snr_db", "allowed_db"), [(-5.0, 8.0), (5.0, 5.0), (20.0, 5.0), (40.0, 6.5)])
@pytest.mark.parametrize("shift", [-100.0, 0.0, 500.0])
def test_near_to_the_genie_wherever_the_channel_lies(snr_db: float, allowed_db: float, shift: float) -> None:
    y, cfr = received(snr_db, shift=shift)
    found = load_model("na-sbl-wide").estimate(y[:, 0], NR, 10 ** (-snr_db / 10), error_variance=True)
    error = nmse_db(found.cfr, cfr[:, 0])
    assert error < genie_db(snr_db) + allowed_db
    expected = 10 * np.log10(found.error_variance.mean() / (np.abs(found.cfr - cfr[:, 0]) ** 2).mean())
    assert abs(expected) < 3


def test_antennas_are_ahead_of_one() -> None:
    y, cfr = received(10.0, r=4)
    model = load_model("na-sbl-wide")
    together = nmse_db(model.estimate(y, NR, 0.1, snapshot_axes=1).cfr, cfr)
    assert together < nmse_db(model.estimate(y, NR, 0.1).cfr, cfr) - 0.4


def test_what_else_is_found() -> None:
    y, _ = received(20.0, shift=7.0)
    found = chanest.estimate(y[:, 0], NR.subcarriers, grid="nr-106-30", paths=True)
    np.testing.assert_allclose(found.timing_samples, 7.0, atol=0.3)
    assert bool(found.detected.all())
    assert 10 * np.log10(found.noise_variance.mean()) == pytest.approx(-20, abs=0.7)
    delays = found.paths.delays_samples[0, : found.paths.count[0]]
    assert np.abs(delays[:, None] - (DELAYS + 7)).min(0).max() < 0.5


def test_abundant_pilots_are_alike_until_one_is_outlying() -> None:
    outlier = torch.ones(3, 400)
    outlier[:, 0] = torch.tensor([9.0, 11.0, 9.0])
    outlier[:, 1] = 1.5
    before = torch.ones(3, 400)
    before[2, 7] = 2.0
    found = unless_calm(outlier, before, 400)
    assert bool((found[0] == 1).all())
    assert torch.equal(found[1:], outlier[1:])
    assert torch.equal(unless_calm(outlier, before, 300), outlier)


@pytest.mark.parametrize(("jam_db", "share"), [(5.0, 0.2), (12.0, 0.03), (20.0, 0.2)])
def test_some_of_many_pilots_are_jammed(monkeypatch: pytest.MonkeyPatch, jam_db: float, share: float) -> None:
    y, cfr = received(20.0, n=8)
    rng = np.random.default_rng(5)
    jammed = rng.standard_normal((2, *y.shape)) * np.sqrt(10 ** ((jam_db - 20) / 10) / 2)
    y = y + (rng.random(y.shape) < share) * (jammed[0] + 1j * jammed[1])
    model = load_model("na-sbl-wide")
    now = nmse_db(model.estimate(y[:, 0], NR, 0.01).cfr, cfr[:, 0])
    monkeypatch.setattr(na_sbl_circle_rules, "ABUNDANT", 10**6)  # the noise of every pilot by itself, from the start
    assert now < nmse_db(model.estimate(y[:, 0], NR, 0.01).cfr, cfr[:, 0]) + 0.2


def test_noise_alone_is_not_sought_all_around(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal((24, len(NR))) + 1j * rng.standard_normal((24, len(NR)))
    turned = []

    def looking(parts, phi):
        turned.extend(part.turned_samples is not None for part in parts)
        return on_circle(parts, phi)

    monkeypatch.setattr("chanest.models.model.on_circle", looking)
    found = load_model("na-sbl-wide").estimate(y, NR, 2.0)
    assert turned
    assert all(turned)
    assert float((np.abs(found.cfr) ** 2).mean()) < 0.1 * 2
    assert not found.detected.any()


def test_two_layers_and_unequal_noise() -> None:
    code = np.ones((2, len(NR)))
    code[1, 1::2] = -1
    (first, cfr), (second, other) = received(100.0, seed=1), received(100.0, seed=2)
    rng = np.random.default_rng(3)
    level = 0.01 * 10 ** rng.uniform(0, 1, len(NR))
    noise = rng.standard_normal((2, *first.shape)) * np.sqrt(level / 2)
    y = first + code[1] * second + noise[0] + 1j * noise[1]
    found = load_model("na-sbl-wide").estimate(
        y[:, 0], NR, np.broadcast_to(level, y[:, 0].shape), pilot_symbols=code, window_samples=(-16, 160)
    )
    assert nmse_db(found.cfr[:, 0], cfr[:, 0]) < -27
    assert nmse_db(found.cfr[:, 1], other[:, 0]) < -27


def test_a_batch_is_its_members() -> None:
    y, _ = received(3.0, n=6, shift=300.0)
    model = load_model("na-sbl-wide")
    together = model.estimate(y[:, 0], NR, 0.5).cfr
    for i in range(6):
        assert nmse_db(model.estimate(y[i, 0], NR, 0.5).cfr, together[i]) < -40


@pytest.mark.parametrize(
    "name", ["sbl", "ep", "alista", "hyperlista", "omp", "vamp", "lmmse-flat", "lmmse-exponential"]
)
def test_every_estimator_is_ahead_of_a_line(name: str) -> None:
    grid = Grid.nr(52)
    pattern = PilotPattern.comb(2, 0, grid)
    y, cfr = received(15.0, n=4, pattern=pattern)
    problem = load_scenario("wide")
    model, line = (pick_model(one, problem, len(pattern)) for one in (name, "linear"))
    for noise in (10**-1.5, None):
        found = model.estimate(y[:, 0], pattern, noise, n_iterations=4 if name == "sbl" else None)
        assert nmse_db(found.cfr, cfr[:, 0]) < nmse_db(line.estimate(y[:, 0], pattern, noise).cfr, cfr[:, 0])


def test_arcs_of_many_pilots_are_short_ones_first() -> None:
    arcs = arcs_of(delay_grid(NR), NR, (-16.0, 528.0))
    lengths = [arc.n_taps * arc.spacing_samples for arc in arcs]
    assert lengths == [136.0, 272.0, 544.0]
    assert all(arc.spacing_samples == 0.125 and arc.coarse_ratio == 8 for arc in arcs)


def test_a_channel_longer_than_the_shortest_arc() -> None:
    pattern = NR
    k = np.asarray(pattern.used_subcarriers)
    cfr = 0.8 + 0.6 * np.exp(-2j * np.pi * k * 400.3 / pattern.n_fft)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, len(pattern))) * 0.05
    y = cfr[np.searchsorted(k, pattern.subcarriers)] + noise[0] + 1j * noise[1]
    assert nmse_db(load_model("na-sbl-wide").estimate(y, pattern, 0.005).cfr, cfr) < -40


def test_gradients_pass() -> None:
    y, _ = received(20.0, n=2)
    given = torch.tensor(y[:, 0], requires_grad=True)
    found = load_model("na-sbl-wide").estimate(given, NR, 0.01, window_samples=(-16, 160))
    found.cfr.abs().square().sum().backward()
    assert given.grad is not None
    assert bool(given.grad.isfinite().all())
    assert float(given.grad.abs().max()) > 0
