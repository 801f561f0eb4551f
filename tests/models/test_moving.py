"""Users in motion: any speed, pattern, timing, antennas, frequency offset; at rest; what is refused."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

import chanest
from chanest import Grid, PilotPattern, SlotPattern, load_model
from chanest.errors import ModelError, ObservationError, PilotError
from chanest.problems import jakes, moving_response

TIMES = np.arange(14) / 14e3
DELAYS, POWERS = torch.tensor([0.3, 3.4, 11.7, 40.2], dtype=torch.float64), torch.tensor([0.5, 0.25, 0.15, 0.1])


@dataclass
class Slots:
    """Received pilots (n, A, M), the channel (n, A, 14, n_used), what MMSE told everything makes of it."""

    pattern: SlotPattern
    received: Tensor
    cfr: Tensor
    noise: float
    doppler: float

    @property
    def told_db(self) -> float:
        """Mean MSE of MMSE on the true delays, powers and Doppler, in dB of the power."""
        n_fft = self.pattern.n_fft
        k, used = np.asarray(self.pattern.subcarriers), self.pattern.used_subcarriers[::7]
        a, b = (np.exp(-2j * np.pi * np.outer(x, DELAYS.numpy()) / n_fft) * np.sqrt(POWERS.numpy()) for x in (k, used))
        at = np.asarray(self.pattern.times_s)[self.pattern.symbol]
        c = (a @ a.conj().T) * jakes([self.doppler], at, at)[0].numpy() + self.noise * np.eye(len(k))
        across = jakes([self.doppler], TIMES, at)[0].numpy()
        left = []
        for row in across:
            v = (a * row[:, None]) @ b.conj().T
            left.append(1 - np.einsum("mk,mk->k", v.conj(), np.linalg.solve(c, v)).real.mean())
        return float(10 * np.log10(np.mean(left)))


def slots(
    kmh: float,
    snr_db: float = 20.0,
    n: int = 24,
    antennas: int = 1,
    patterns: tuple[PilotPattern, ...] | None = None,
    symbols: tuple[int, ...] = (2, 10),
    shift: float = 0.0,
    seed: int = 0,
) -> Slots:
    patterns = patterns or tuple(PilotPattern.random(75, 7 + i) for i in range(len(symbols)))
    grid, doppler = patterns[0].grid, kmh / 3.6 * 2.1e9 / 3e8
    pattern = SlotPattern(patterns, tuple(TIMES[list(symbols)]), tuple(TIMES))
    generator = torch.Generator().manual_seed(seed)
    delays = ((DELAYS + shift) * grid.n_fft / 1024).expand(n, -1)
    cfr = moving_response(
        delays, POWERS.expand(n, -1), grid, TIMES, torch.full((n,), doppler).double(), antennas, generator
    )
    at = [np.searchsorted(pattern.used_subcarriers, one.subcarriers) for one in patterns]
    seen = torch.cat([cfr[:, :, s, torch.from_numpy(i)] for s, i in zip(symbols, at, strict=True)], -1)
    noise = 10 ** (-snr_db / 10)
    z = torch.randn(seen.shape, dtype=seen.dtype, generator=generator)
    return Slots(pattern, seen + z * noise**0.5, cfr, noise, doppler)


def db(ratio: Tensor) -> float:
    return float(10 * ratio.log10())


def nmse_db(found: Tensor, cfr: Tensor) -> float:
    return db((found - cfr).abs().square().sum() / cfr.abs().square().sum())


@pytest.fixture(scope="module")
def model():
    return load_model("na-sbl-wide")


@pytest.mark.parametrize(("antennas", "behind_db"), [(1, 5.8), (4, 4.0)])
@pytest.mark.parametrize("kmh", [0.0, 3.0, 60.0, 150.0])
def test_near_to_who_is_told_everything(model, kmh, antennas, behind_db):
    case = slots(kmh, antennas=antennas)
    found = model.estimate(case.received, case.pattern, case.noise, snapshot_axes=1, error_variance=True, cfo_hz=0.0)
    assert found.cfr.shape == case.cfr.shape == found.error_variance.shape
    assert nmse_db(found.cfr, case.cfr) < case.told_db + behind_db
    error = (found.cfr - case.cfr).abs().square()
    most = 3 if (kmh, antennas) == (150.0, 1) else 2.5  # dB; the hardest case since users are tracked
    for where in (slice(None), [2, 10], [6], [13]):
        assert abs(db(found.error_variance[..., where, :].mean() / error[..., where, :].mean())) < most
    if kmh >= 60:
        off = (found.doppler_hz - case.doppler).square().mean().sqrt() / case.doppler
        assert float(off) < (0.6 if antennas == 1 else 0.3)
    else:
        assert float(found.doppler_hz.mean()) < 40


@pytest.mark.parametrize("shift", [-60.0, 0.0, 400.0])
def test_any_timing(model, shift):
    case = slots(60.0, shift=shift, n=96)  # now and then a path of one is missed
    found = model.estimate(case.received, case.pattern, case.noise, snapshot_axes=1, cfo_hz=0.0)
    assert nmse_db(found.cfr, case.cfr) < case.told_db + 5.5
    assert abs(float(found.timing_samples.median()) - 0.3 - shift) < 1
    assert bool(found.detected.all())


@pytest.mark.parametrize("kind", ["same comb", "staggered", "NR"])
def test_combs(model, kind):
    patterns = {
        "same comb": (PilotPattern.comb(8),) * 2,
        "staggered": tuple(PilotPattern.comb(12, 6 * (i % 2)) for i in range(4)),
        "NR": (PilotPattern.comb(2, 0, Grid.nr(52)),) * 2,
    }[kind]
    symbols = (0, 4, 7, 11) if kind == "staggered" else (2, 11)
    case = slots(60.0, n=8, patterns=patterns, symbols=symbols)
    found = model.estimate(case.received, case.pattern, case.noise, snapshot_axes=1, error_variance=True, cfo_hz=0.0)
    assert nmse_db(found.cfr, case.cfr) < case.told_db + 5
    error = (found.cfr - case.cfr).abs().square().mean()
    assert abs(db(found.error_variance.mean() / error)) < 3


@pytest.mark.parametrize("snr_db", [10.0, 20.0, 30.0])
@pytest.mark.parametrize(("antennas", "spacing", "n_used"), [(4, 1, 510), (4, 4, 478), (1, 8, 478), (2, 2, 414)])
def test_a_band_that_fills_the_dft_on_two_symbols_is_no_worse_than_on_one(model, antennas, spacing, n_used, snr_db):
    generator = torch.Generator().manual_seed(n_used)
    half = n_used // 2
    grid = Grid(512, (*range(-half, 0), *range(1, half + 1)))
    one = PilotPattern(grid.used_subcarriers[::spacing], grid)
    delays = torch.rand(8, 24, generator=generator, dtype=torch.float64).sort(-1).values * 40
    variances = torch.softmax(-delays.float() / 12 + torch.randn(8, 24, generator=generator), -1)
    times = np.arange(14) / 28e3
    pattern, doppler = SlotPattern((one, one), tuple(times[[2, 11]]), tuple(times)), torch.full((8,), 97.0).double()
    cfr = moving_response(delays, variances, grid, times, doppler, antennas, generator)
    at, noise = torch.arange(0, n_used, spacing), 10 ** (-snr_db / 10)
    seen = torch.cat([cfr[:, :, s, at] for s in (2, 11)], -1)
    seen = seen + noise**0.5 * torch.randn(seen.shape, dtype=seen.dtype, generator=generator)
    moving = model.estimate(seen, pattern, noise, snapshot_axes=1, error_variance=True)
    still = model.estimate(seen[..., : len(at)], one, noise, snapshot_axes=1)
    behind = 1.0 if snr_db > 20 else 0.3  # dB; there a Doppler between the candidates shows
    assert nmse_db(moving.cfr[..., 2, :], cfr[:, :, 2]) < nmse_db(still.cfr, cfr[:, :, 2]) + behind
    error = (moving.cfr - cfr).abs().square().mean((1, 2, 3))
    assert abs(db(moving.error_variance.mean() / error.mean())) < 3
    assert float((error / moving.error_variance.mean((1, 2, 3))).max()) < 6  # of no user in silence


def test_the_noise_untold_costs_little_and_is_found(model):
    case = slots(60.0, antennas=2)
    told, untold = (
        model.estimate(case.received, case.pattern, noise, snapshot_axes=1, cfo_hz=0.0) for noise in (case.noise, None)
    )
    assert nmse_db(untold.cfr, case.cfr) < nmse_db(told.cfr, case.cfr) + 0.5
    assert abs(db(untold.noise_variance.mean() / case.noise)) < 0.7
    assert float(told.noise_variance.mean()) == pytest.approx(case.noise)


def test_a_frequency_offset_is_found_and_taken_back(model):
    case = slots(3.0)
    turn = torch.from_numpy(np.exp(2j * np.pi * 100 * TIMES)).to(torch.complex64)
    received = case.received * turn[[2, 10]].repeat_interleave(75)
    found = model.estimate(received, case.pattern, case.noise, snapshot_axes=1)
    assert float((found.cfo_hz - 100).square().mean().sqrt()) < 15
    assert nmse_db(found.cfr, case.cfr * turn.unsqueeze(-1)) < case.told_db + 5.5
    told = model.estimate(received, case.pattern, case.noise, snapshot_axes=1, cfo_hz=100.0)
    assert nmse_db(told.cfr, case.cfr * turn.unsqueeze(-1)) < case.told_db + 5.5
    assert told.cfo_hz.tolist() == pytest.approx([100.0] * len(received))


def test_a_jammed_pilot_silences_itself(model):
    case = slots(60.0)
    case.received[..., [20, 100]] += 10
    found = model.estimate(case.received, case.pattern, case.noise, snapshot_axes=1, cfo_hz=0.0)
    assert nmse_db(found.cfr, case.cfr) < case.told_db + 6.5


def test_layers_with_a_cover_code_over_time(model):
    first, second = slots(3.0, 100.0, seed=1), slots(3.0, 100.0, seed=2)
    pattern = SlotPattern((PilotPattern.comb(8),) * 2, first.pattern.times_s, tuple(TIMES))
    at = torch.from_numpy(np.searchsorted(pattern.used_subcarriers, pattern.patterns[0].subcarriers))
    own, other = (one.cfr[:, :, [2, 10]][..., at].flatten(-2) for one in (first, second))
    code = torch.ones(2, 150)
    code[1, 1:75:2] = code[1, 75::2] = -1
    z = torch.randn(own.shape, dtype=own.dtype, generator=torch.Generator().manual_seed(4)) * 0.1
    found = model.estimate(
        own + code[1] * other + z,
        pattern,
        0.01,
        pilot_symbols=code,
        snapshot_axes=1,
        window_samples=(-8, 56),
        cfo_hz=0.0,
    )
    assert found.cfr.shape == (24, 1, 2, 14, 600)
    for layer, one in enumerate((first, second)):
        assert nmse_db(found.cfr[:, :, layer], one.cfr) < -25


def test_told_a_doppler_is_no_worse(model):
    case = slots(150.0)
    blind, told = (
        model.estimate(case.received, case.pattern, case.noise, snapshot_axes=1, cfo_hz=0.0, doppler_hz=doppler)
        for doppler in (None, case.doppler)
    )
    assert nmse_db(told.cfr, case.cfr) < nmse_db(blind.cfr, case.cfr)
    assert told.doppler_hz.tolist() == pytest.approx([case.doppler] * 24)


def test_a_batch_is_its_members_and_scales(model):
    case = slots(60.0, n=5)
    how = {"snapshot_axes": 1, "cfo_hz": 0.0}
    together = model.estimate(case.received, case.pattern, case.noise, **how).cfr
    for i in range(5):
        assert nmse_db(model.estimate(case.received[i], case.pattern, case.noise, **how).cfr, together[i]) < -40
    scaled = model.estimate(3e4 * case.received, case.pattern, 9e8 * case.noise, **how).cfr / 3e4
    assert nmse_db(scaled, together) < -50


def test_double_precision_and_gradients(model):
    case = slots(60.0, n=2)
    single = model.estimate(case.received, case.pattern, case.noise, snapshot_axes=1, cfo_hz=0.0).cfr
    exact = case.received.to(torch.complex128).requires_grad_()
    found = model.estimate(exact, case.pattern, case.noise, snapshot_axes=1, cfo_hz=0.0).cfr
    assert found.dtype == torch.complex128
    assert nmse_db(single, found.detach()) < -40
    found.abs().square().sum().backward()
    assert bool(exact.grad.isfinite().all())
    assert float(exact.grad.abs().max()) > 0


def test_the_one_liner_takes_pilots_in_any_order(model):
    case = slots(60.0, n=3)
    order = np.random.default_rng(0).permutation(150)
    found = chanest.estimate(
        case.received[:, 0].numpy()[:, order],
        np.asarray(case.pattern.subcarriers)[order],
        case.noise,
        pilot_symbol_index=np.array([2, 10])[case.pattern.symbol][order],
        symbol_times_s=TIMES,
        output_times_s=TIMES[[0, 6]],
        cfo_hz=0.0,
        error_variance=True,
    )
    expected = model.estimate(case.received, case.pattern, case.noise, snapshot_axes=1, cfo_hz=0.0).cfr
    assert isinstance(found.cfr, np.ndarray)
    np.testing.assert_allclose(found.cfr, expected[:, 0, [0, 6]], rtol=1e-3, atol=1e-3)


def test_far_from_the_pilots_the_response_is_not_believed(model):
    block = PilotPattern(tuple(range(-300, -200, 2)))
    case = slots(60.0, patterns=(block, block))
    found = model.estimate(case.received, case.pattern, case.noise, snapshot_axes=1, error_variance=True, cfo_hz=0.0)
    far = slice(500, 600)
    assert nmse_db(found.cfr[..., far], case.cfr[..., far]) < 0.5
    error = (found.cfr - case.cfr)[..., far].abs().square().mean()
    assert abs(db(found.error_variance[..., far].mean() / error)) < 3
    assert nmse_db(found.cfr[..., 20:90], case.cfr[..., 20:90]) < -12


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_silence_and_what_is_no_number(model, value):
    pattern = slots(0.0, n=1).pattern
    if np.isnan(value):
        with pytest.raises(ObservationError, match="NaN or Inf"):
            model.estimate(np.full((1, 150), value + 0j), pattern, 0.1)
        return
    found = model.estimate(np.zeros((2, 150), complex), pattern, 0.1, error_variance=True)
    assert np.abs(found.cfr).max() == 0
    assert np.isfinite(found.error_variance).all()


@pytest.mark.parametrize("counts", [(36, 4), (28, 4, 4, 4), (75, 75)])
def test_noise_alone_is_no_channel_however_the_pilots_are_shared_out(model, counts):
    patterns = tuple(PilotPattern.random(n, i) for i, n in enumerate(counts))
    pattern = SlotPattern(patterns, tuple(np.arange(len(counts)) * 5e-4))
    noise = torch.randn(300, sum(counts), dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    found = model.estimate(noise, pattern, 1.0, doppler_hz=100.0, cfo_hz=0.0)
    assert float(found.detected.double().mean()) < 0.02


def test_noise_of_observations_keeps_their_order():
    """As many observations as pilots, which stand in no order."""
    case = slots(3.0, n=20)
    order = np.random.default_rng(1).permutation(75)
    k = np.asarray(case.pattern.patterns[0].subcarriers)
    received = case.received[:, 0, :75]
    noise = torch.linspace(0.01, 5, 20, dtype=torch.float64)
    square = torch.cat([received] * 4)[:75], torch.cat([noise] * 4)[:75]
    expected = chanest.estimate(square[0], k, square[1]).cfr
    torch.testing.assert_close(chanest.estimate(square[0][:, order], k[order], square[1]).cfr, expected)


def test_what_cannot_be(model):
    case = slots(0.0, n=1)
    with pytest.raises(ModelError, match="takes one symbol at a time; take na-sbl-wide"):
        load_model("na-alista-wide").estimate(case.received, case.pattern, 0.1)
    with pytest.raises(ModelError, match="expected pilots of several symbols; give a SlotPattern"):
        model.estimate(case.received[..., :75], case.pattern.patterns[0], 0.1, doppler_hz=3.0)
    with pytest.raises(ModelError, match="there are no iterates, paths or covariances"):
        model.estimate(case.received, case.pattern, 0.1, paths=True)
    with pytest.raises(ObservationError, match="doppler_hz: expected a finite number from 0 on, got -3"):
        model.estimate(case.received, case.pattern, 0.1, doppler_hz=-3.0)
    with pytest.raises(ObservationError, match="cfo_hz: expected a finite number, got fast"):
        model.estimate(case.received, case.pattern, 0.1, cfo_hz="fast")
    with pytest.raises(PilotError, match="symbol_times_s: expected real numbers, got complex128"):
        chanest.estimate(np.ones(2, complex), [1, 2], pilot_symbol_index=[0, 0], symbol_times_s=[0j], n_fft=64)
    how = {"n_fft": 64, "used_subcarriers": range(-6, 7), "symbol_times_s": [0.0, 1.0]}
    with pytest.raises(PilotError, match=r"pilot subcarriers\[0\]: 9 is outside the band"):
        chanest.estimate(np.ones(4, complex), [9, 3, 9, 3], pilot_symbol_index=[0, 0, 1, 1], **how)
    with pytest.raises(PilotError, match="pilot_symbol_index: missing"):
        chanest.estimate(np.ones(150, complex), case.pattern.subcarriers, symbol_times_s=TIMES)
    with pytest.raises(PilotError, match=r"pilot_symbol_index: expected 0\.\.\.1, as there are times, got 0\.\.\.9"):
        chanest.estimate(np.ones(2, complex), [1, 2], pilot_symbol_index=[0, 9], symbol_times_s=[0, 1], n_fft=64)
    with pytest.raises(PilotError, match="symbol_times_s: expected finite times that ascend"):
        SlotPattern(case.pattern.patterns, (1.0, 0.0))
