"""Users tracked from slot to slot: nearer to MMSE told the profile, jumps, the state, units, what is refused."""

import io
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from chanest import Grid, PilotPattern, SlotPattern, load_model
from chanest.errors import ModelError, ObservationError
from chanest.models.tracking import Tracker
from chanest.problems import moving_response, ofdm, seeded
from chanest.problems.ofdm.draw import frequency_response

PATTERN = PilotPattern.random(75, seed=3)
DELAYS, POWERS = torch.tensor([0.3, 3.4, 11.7, 40.2], dtype=torch.float64), torch.tensor([0.5, 0.25, 0.15, 0.1])
ETU, _, ETU_POWERS = ofdm("etu").draw_paths(1, seeded(0, "test"))
ELSEWHERE = torch.tensor([70.1, 78.6, 95.2, 130.8], dtype=torch.float64)


@pytest.fixture(scope="module")
def model():
    return load_model("na-sbl-wide")


def slots(
    delays: Tensor,
    n_slots: int,
    snr_db: float,
    users: int = 24,
    antennas: int = 1,
    seed: int = 0,
    powers: Tensor = POWERS,
) -> tuple[Tensor, Tensor]:
    """Received pilots (slots, users, antennas, 75) and the CFR."""
    generator = torch.Generator().manual_seed(seed)
    shape = n_slots, users, antennas, len(delays)
    gains = torch.randn(shape, dtype=torch.complex64, generator=generator) * powers.sqrt()
    rows = delays.expand(n_slots * users * antennas, -1)
    cfr = frequency_response(rows, gains.flatten(0, 2), PATTERN.grid).view(n_slots, users, antennas, -1)
    at = torch.from_numpy(np.searchsorted(PATTERN.used_subcarriers, PATTERN.subcarriers))
    seen = cfr[..., at]
    noise = torch.randn(seen.shape, dtype=seen.dtype, generator=generator)
    return seen + noise * 10 ** (-snr_db / 20), cfr


def told_db(delays: Tensor, powers: Tensor, snr_db: float) -> float:
    """Mean MSE of linear MMSE on the true delays and powers."""
    k, used = np.asarray(PATTERN.subcarriers), PATTERN.used_subcarriers
    a, b = (np.exp(-2j * np.pi * np.outer(x, delays.numpy()) / 1024) * np.sqrt(powers.numpy()) for x in (k, used))
    c = a @ a.conj().T + 10 ** (-snr_db / 10) * np.eye(len(k))
    explained = np.einsum("km,mk->k", b @ a.conj().T, np.linalg.solve(c, a @ b.conj().T)).real
    return float(10 * np.log10(np.mean(1 - explained)))


def nmse_db(found: Tensor, cfr: Tensor) -> float:
    return float(10 * ((found - cfr).abs().square().mean() / cfr.abs().square().mean()).log10())


@pytest.mark.parametrize(("snr_db", "antennas"), [(10.0, 1), pytest.param(20.0, 4, marks=pytest.mark.slow)])
def test_after_twenty_slots_the_profile_is_as_good_as_told(model, snr_db, antennas):
    delays, powers = ETU[0], ETU_POWERS[0]
    received, cfr = slots(delays, 24, snr_db, antennas=antennas, powers=powers)
    tracker = model.track(PATTERN, snapshot_axes=1, error_variance=True)
    found = [tracker(one, 10 ** (-snr_db / 10)) for one in received]
    measured = float((torch.stack([one.cfr for one in found[20:]]) - cfr[20:]).abs().square().mean())
    late = 10 * math.log10(measured)
    told = told_db(delays, powers, snr_db)
    assert told - 0.3 < late < told + 0.5
    assert late < 10 * math.log10(float((found[0].cfr - cfr[0]).abs().square().mean())) - 0.1
    expected = float(torch.stack([one.error_variance for one in found[20:]]).mean())
    assert abs(10 * math.log10(expected / measured)) < 1.5
    assert float(tracker.n_slots.double().mean()) > 0.8 * min(24, 64 // antennas)


@pytest.mark.parametrize("untold", [False, True])
def test_a_profile_that_jumps_is_begun_anew(model, untold):
    before, _ = slots(DELAYS, 8, 20.0)
    after, cfr = slots(ELSEWHERE, 4, 20.0, seed=1)
    noise = None if untold else 0.01
    tracker = model.track(PATTERN, snapshot_axes=1)
    for one in before:
        tracker(one, noise)
    for i, (one, truth) in enumerate(zip(after, cfr, strict=True)):
        tracked, alone = tracker(one, noise), model.estimate(one, PATTERN, noise, snapshot_axes=1)
        assert nmse_db(tracked.cfr, truth) < nmse_db(alone.cfr, truth) + (1.0 if i == 0 else 0.3)
    assert int(tracker.n_slots.max()) <= 4


def test_one_odd_slot_does_not_end_a_profile(model):
    same, _ = slots(DELAYS, 9, 20.0)
    odd, _ = slots(ELSEWHERE, 1, 20.0, seed=1)
    tracker = model.track(PATTERN, snapshot_axes=1)
    for one in same[:7]:
        tracker(one, 0.01)
    assert int(tracker.n_slots.min()) >= 6
    tracker(odd[0], 0.01)
    assert int(tracker.n_slots.max()) == 1
    tracker(same[7], 0.01)
    assert float(tracker.n_slots.double().mean()) > 6


def test_antennas_slots_and_users_in_motion(model):
    times = np.arange(14) / 14e3
    two = tuple(PilotPattern.random(75, seed=3 + i) for i in range(2))
    pattern = SlotPattern(two, (float(times[2]), float(times[10])), tuple(times))
    generator, doppler, users, n = torch.Generator().manual_seed(0), 120.0, 8, 10
    every = (np.arange(n)[:, None] * 1e-3 + times).ravel()
    cfr = moving_response(
        DELAYS.expand(users, -1),
        POWERS.expand(users, -1),
        Grid(),
        every,
        torch.full((users,), doppler).double(),
        2,
        generator,
    ).unflatten(2, (n, 14))
    at = [torch.from_numpy(np.searchsorted(pattern.used_subcarriers, one.subcarriers)) for one in two]
    seen = torch.cat([cfr[:, :, :, s, i] for s, i in zip((2, 10), at, strict=True)], -1)
    received = seen + 0.1 * torch.randn(seen.shape, dtype=seen.dtype, generator=generator)
    tracker = model.track(pattern, snapshot_axes=1, cfo_hz=0.0)
    errors, alone = [], []
    for t in range(n):
        found = tracker(received[:, :, t], 0.01)
        assert found.cfr.shape == (users, 2, 14, 600)
        errors.append(nmse_db(found.cfr, cfr[:, :, t]))
        alone.append(
            nmse_db(model.estimate(received[:, :, t], pattern, 0.01, snapshot_axes=1, cfo_hz=0.0).cfr, cfr[:, :, t])
        )
    assert np.mean(errors[4:]) < np.mean(alone[4:]) - 0.15
    assert float((found.doppler_hz - doppler).square().mean().sqrt()) < 0.16 * doppler


def test_the_state_goes_on_elsewhere_to_the_bit(model):
    received, _ = slots(DELAYS, 4, 15.0, users=3, antennas=2)
    one, other = (model.track(PATTERN, snapshot_axes=1) for _ in range(2))
    for slot in received[:3]:
        one(slot, 0.03)
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.n_slots.tolist() == one.n_slots.tolist() == [3, 3, 3]
    assert torch.equal(one(received[3], 0.03).cfr, other(received[3], 0.03).cfr)
    assert torch.equal(one.state_dict()["profile"], other.state_dict()["profile"])
    fresh: Tracker = model.track(PATTERN, snapshot_axes=1)
    assert fresh.state_dict() == {}
    fresh.load_state_dict({})
    one.reset()
    assert one.n_slots.numel() == 0


def test_units_and_the_gain_of_the_receiver_do_not_matter(model):
    received, _ = slots(DELAYS, 3, 15.0, users=3)
    noise = torch.full((3,), 10**-1.5, dtype=torch.float64)
    trackers = [model.track(PATTERN, snapshot_axes=1, error_variance=True) for _ in range(2)]
    for i, slot in enumerate(received):
        gain = torch.tensor([1.0, 10.0, 0.1])[i]  # told noise tells the gain of every slot
        found, louder = trackers[0](slot, noise), trackers[1](slot * gain, noise * gain.double() ** 2)
        torch.testing.assert_close(louder.cfr, found.cfr * gain, rtol=1e-3, atol=1e-4 * float(gain))
        torch.testing.assert_close(louder.error_variance, found.error_variance * gain.double() ** 2, rtol=1e-2, atol=0)
        torch.testing.assert_close(louder.noise_variance, found.noise_variance * gain.double() ** 2, rtol=1e-3, atol=0)
    faint, plain = (model.track(PATTERN, snapshot_axes=1) for _ in range(2))
    for slot in received:  # noise whose variance float32 does not hold
        quiet = faint(slot * 1e-25, noise * 1e-50).cfr.to(torch.complex128)
        torch.testing.assert_close(quiet * 1e25, plain(slot, noise).cfr.to(torch.complex128), rtol=1e-3, atol=1e-3)
    tiny = model.track(PATTERN, snapshot_axes=1)
    plain = model.track(PATTERN, snapshot_axes=1)
    for slot in received:
        torch.testing.assert_close(tiny(slot * 1e-12).cfr, plain(slot).cfr * 1e-12, rtol=1e-3, atol=1e-14)


def test_arrays_layers_and_one_user(model):
    code = torch.stack([torch.ones(75), (-1.0) ** torch.arange(75)]) + 0j
    received, _ = slots(DELAYS, 2, 20.0, users=2)
    tracker = model.track(PATTERN, pilot_symbols=code)
    for slot in received:
        found = tracker(slot[:, 0].numpy())
    assert isinstance(found.cfr, np.ndarray)
    assert found.cfr.shape == (2, 2, 600)
    single = model.track(PATTERN, memory_slots=2)
    for slot in [*received, *received]:
        found = single(slot[0, 0])
    assert found.cfr.shape == (600,)
    assert int(single.n_slots) <= 2
    assert found.snr_db.shape == found.detected.shape == ()


def test_silence_is_not_taken_for_the_channel_of_before(model):
    received, _ = slots(DELAYS, 6, 20.0, users=8)
    tracker = model.track(PATTERN, snapshot_axes=1)
    for slot in received:
        assert bool(tracker(slot, 0.01).detected.all())
    noise = torch.randn(8, 1, 75, dtype=torch.complex64, generator=torch.Generator().manual_seed(4)) * 0.1
    found = tracker(noise, 0.01)
    assert not bool(found.detected.any())
    assert float(found.cfr.abs().square().mean()) < 0.003


def test_what_is_refused(model):
    received, _ = slots(DELAYS, 2, 20.0, users=3)
    with pytest.raises(ModelError, match="take na-sbl-wide"):
        load_model("na-sbl-lte10-m75").track(PATTERN)
    with pytest.raises(ModelError, match="give a SlotPattern"):
        model.track(PATTERN, doppler_hz=3.0)
    with pytest.raises(ObservationError, match="memory_slots"):
        model.track(PATTERN, memory_slots=0)
    tracker = model.track(PATTERN, snapshot_axes=1)
    tracker(received[0], 0.01)
    with pytest.raises(ObservationError, match=r"expected \(3, 1, 75\)"):
        tracker(received[0][:2], 0.01)
    with pytest.raises(ObservationError, match="in all slots or in none"):
        tracker(received[1])
    with pytest.raises(ObservationError, match="NaN"):
        tracker(received[1] * math.nan, 0.01)
    assert tracker.n_slots.tolist() == [1, 1, 1]
    with pytest.raises(ModelError, match="75"):
        model.track(PilotPattern.random(76, seed=0)).load_state_dict(tracker.state_dict())
    with pytest.raises(ModelError, match="expected users"):
        tracker.load_state_dict({"users": torch.ones(1)})
