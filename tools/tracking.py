"""Users tracked from slot to slot: error against the number of slots, beside LMMSE told the profile, and after a jump.

usage: python tools/tracking.py [--scenarios tdl-c300,etu,eva] [--snr 0,10,20] [--antennas 1,4] [--kmh 0] [--users 48]
           [--slots 20] [--correlation 0] [--jump-to 5] [--untold] [--memory 0] [--drift 0] [--model na-sbl-wide]

One line per scenario, antennas and SNR: MSE of LMMSE told the delays, powers and Doppler; that of the CFR in some of
the slots, in dB of the mean power, in brackets what the error variance expects over it; the mean number of slots that
share a profile; and in the two slots after the profile of every user has become another one's, beside each by itself.
Without a speed, slots are single symbols of 75 pilots, their gains correlated as asked; with one, two symbols of 75
other pilots each, in slots of 14 symbols, a slot each millisecond, at 2.1 GHz.
"""

import argparse
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from chanest import PilotPattern, SlotPattern, load_model
from chanest.problems import Scenario, jakes, ofdm, seeded
from chanest.problems.ofdm.draw import frequency_response
from chanest.problems.ofdm.motion import moving_gains

SYMBOLS, SLOT_S, CARRIER_HZ = (2, 10), 1e-3, 2.1e9
SHOWN = (1, 2, 5, 10, 20, 40)


@dataclass
class Users:
    """Received pilots and CFR of every slot, and the MSE of LMMSE told everything."""

    received: list[Tensor]
    cfr: list[Tensor]
    told: float


def mean_square(values: Tensor) -> float:
    return float(values.abs().square().mean())


def db(ratio: float) -> float:
    return 10 * math.log10(max(ratio, 1e-30))


def told_error(
    delays: np.ndarray, powers: np.ndarray, pattern: PilotPattern | SlotPattern, noise: float, doppler: float
) -> float:
    """MSE of linear MMSE on the true delays, powers and Doppler, over every seventh used subcarrier."""
    k, used = np.asarray(pattern.subcarriers), pattern.used_subcarriers[::7]
    a, b = (np.exp(-2j * np.pi * np.outer(x, delays) / pattern.n_fft) * np.sqrt(powers) for x in (k, used))
    at, wanted = np.zeros(len(k)), np.zeros(1)
    if isinstance(pattern, SlotPattern):
        at, wanted = np.asarray(pattern.times_s)[pattern.symbol], np.asarray(pattern.output_times_s)
    c = (a @ a.conj().T) * jakes([doppler], at, at)[0].numpy() + noise * np.eye(len(k))
    left = []
    for row in jakes([doppler], wanted, at)[0].numpy():
        v = (a * row[:, None]) @ b.conj().T
        left.append(powers.sum() - np.einsum("mk,mk->k", v.conj(), np.linalg.solve(c, v)).real.mean())
    return float(np.mean(left))


def drawn(
    scenario: Scenario,
    pattern: PilotPattern | SlotPattern,
    args: argparse.Namespace,
    antennas: int,
    snr_db: float,
    n_slots: int,
    doppler: float,
    shift: float = 0.0,
) -> Users:
    generator, noise = seeded(0, "test"), 10 ** (-snr_db / 10)
    delays, _, variances = scenario.draw_paths(args.users, generator)
    moving, times = isinstance(pattern, SlotPattern), np.zeros(1)
    if isinstance(pattern, SlotPattern):
        times = np.asarray(pattern.output_times_s)
        every = (np.arange(n_slots)[:, None] * SLOT_S + times).ravel()
        dopplers = torch.full((args.users,), doppler, dtype=torch.float64)
        gains = moving_gains(variances, every, dopplers, antennas, generator).unflatten(2, (n_slots, -1))
    else:
        shape = args.users, antennas, n_slots, 1, variances.shape[-1]
        gains = torch.randn(shape, dtype=torch.complex64, generator=generator)
        for t in range(1, n_slots):
            own = (1 - args.correlation**2) ** 0.5
            gains[:, :, t] = args.correlation * gains[:, :, t - 1] + own * gains[:, :, t]
        gains = gains * variances[:, None, None, None].sqrt()
    patterns = pattern.patterns if isinstance(pattern, SlotPattern) else (pattern,)
    symbols = SYMBOLS if moving else (0,)
    at = [torch.from_numpy(np.searchsorted(pattern.used_subcarriers, one.subcarriers)) for one in patterns]
    received, responses = [], []
    for t in range(n_slots):
        rows = gains[:, :, t].flatten(0, 2)
        late = (delays + shift + args.drift * t).repeat_interleave(antennas * len(times), 0)
        cfr = frequency_response(late, rows, scenario.grid).view(args.users, antennas, len(times), -1)
        seen = torch.cat([cfr[:, :, s, i] for s, i in zip(symbols, at, strict=True)], -1)
        z = torch.randn(seen.shape, dtype=seen.dtype, generator=generator)
        received.append(seen + z * noise**0.5)
        responses.append(cfr if moving else cfr.squeeze(2))
    told = told_error(delays[0].double().numpy(), variances[0].double().numpy(), pattern, noise, doppler)
    return Users(received, responses, told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", default="tdl-c300,etu,eva", help="of fixed profiles")
    parser.add_argument("--snr", default="0,10,20")
    parser.add_argument("--antennas", default="1,4")
    parser.add_argument("--kmh", type=float, default=0.0)
    parser.add_argument("--users", type=int, default=48)
    parser.add_argument("--slots", type=int, default=20)
    parser.add_argument("--correlation", type=float, default=0.0, help="of gains from slot to slot, without a speed")
    parser.add_argument("--jump-to", type=float, default=5.0, help="samples by which the other profile comes later")
    parser.add_argument("--untold", action="store_true", help="do not tell the noise")
    parser.add_argument("--memory", type=int, default=0, help="slots at most, 0 for as many as there may be")
    parser.add_argument("--drift", type=float, default=0.0, help="of the timing, in samples a slot")
    parser.add_argument("--model", default="na-sbl-wide")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, names = load_model(args.model), args.scenarios.split(",")
    doppler = args.kmh / 3.6 * CARRIER_HZ / 299792458
    for i, name in enumerate(names):
        scenario, other = ofdm(name), ofdm(names[(i + 1) % len(names)])
        pattern: PilotPattern | SlotPattern = PilotPattern.random(75, seed=3)
        if args.kmh:
            two, times = tuple(PilotPattern.random(75, seed=3 + j) for j in range(2)), np.arange(14) * SLOT_S / 14
            pattern = SlotPattern(two, tuple(times[list(SYMBOLS)]), tuple(times))
        for antennas in map(int, args.antennas.split(",")):
            for snr in map(float, args.snr.split(",")):
                users = drawn(scenario, pattern, args, antennas, snr, args.slots, doppler)
                jumped = drawn(other, pattern, args, antennas, snr, 2, doppler, args.jump_to)
                memory = args.memory or None
                tracker = model.track(pattern, snapshot_axes=1, memory_slots=memory, error_variance=True)
                noise, said = None if args.untold else 10 ** (-snr / 10), []
                start = time.perf_counter()
                for t, (received, cfr) in enumerate(zip(users.received, users.cfr, strict=True), 1):
                    with torch.inference_mode():
                        found = tracker(received, noise)
                    if t in SHOWN or t == args.slots:
                        error = mean_square(found.cfr - cfr)
                        expected = float(found.error_variance.mean()) / error
                        said.append(f"{t}: {db(error):.2f} ({db(expected):+.1f})")
                elapsed = (time.perf_counter() - start) / args.slots / args.users * 1e3
                shared, after = float(tracker.n_slots.double().mean()), []
                for received, cfr in zip(jumped.received, jumped.cfr, strict=True):
                    with torch.inference_mode():
                        own = model.estimate(received, pattern, noise, snapshot_axes=1)
                        found = tracker(received, noise)
                    errors = [db(mean_square(one.cfr - cfr)) for one in (found, own)]
                    after.append(f"{errors[0]:.2f} (by itself {errors[1]:.2f})")
                print(
                    f"{name} {antennas} antennas, {snr:g} dB: told {db(users.told):.2f}; {'; '.join(said)}; "
                    f"{shared:.1f} slots; after a jump {', '.join(after)}; {elapsed:.0f} ms",
                    flush=True,
                )


if __name__ == "__main__":
    main()
