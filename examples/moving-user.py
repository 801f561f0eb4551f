"""# Antennas and a moving user

A car drives by at 120 km/h. Within one slot its channel turns by half a wave: an estimate from one symbol is wrong a
few symbols later. chanest takes the pilots of all symbols at once, finds the Doppler, and gives the channel on every
symbol with its error. Antennas of one receiver see the same delays, and help each other.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from chanest import Grid, PilotPattern, SlotPattern, estimate, load_scenario, nmse_db
from chanest.evaluation.plots import style
from chanest.problems import moving_response

plt.rcParams.update(style())

# %% [markdown]
# ## A slot of NR at 3.5 GHz
#
# 52 resource blocks at 30 kHz, 14 symbols in half a millisecond, DMRS of type 1 on symbols 2 and 11, four antennas,
# 15 dB, the delays of 3GPP's EVA. The maximal Doppler shift of 120 km/h at 3.5 GHz is 389 Hz.

# %%
carrier = Grid.nr(52, 30)
times_s = np.arange(14) * 0.5e-3 / 14
symbols = (2, 11)
dmrs = PilotPattern.nr_dmrs(carrier)

doppler_hz = 120 / 3.6 * 3.5e9 / 3e8
delays, powers = load_scenario("eva").delay_profile()
delays = delays * (carrier.n_fft * 30e3 / 15.36e6)  # samples of this carrier
n_slots, n_antennas, noise = 8, 4, 10 ** (-15 / 10)
seeded = torch.Generator().manual_seed(1)
shape = delays.expand(n_slots, -1), powers.expand(n_slots, -1).float()
h = moving_response(*shape, carrier, times_s, torch.full((n_slots,), doppler_hz), n_antennas, seeded).numpy()

place = np.searchsorted(carrier.used_subcarriers, dmrs.subcarriers)
received = np.stack([h[:, :, s][..., place] for s in symbols], axis=2)  # (slots, antennas, symbols, pilots)
rng = np.random.default_rng(0)
received = received + np.sqrt(noise / 2) * (
    rng.standard_normal(received.shape) + 1j * rng.standard_normal(received.shape)
)
received = received.reshape(n_slots, n_antennas, -1)  # the pilots of all symbols, one symbol after the other
print("channel", h.shape, "received", received.shape)

# %% [markdown]
# ## Three ways to look at it
#
# A `SlotPattern` says which pilots stand on which symbol, when these symbols are, and when the channel is wanted.
# `snapshot_axes=1`: the axis before the pilots holds antennas. What is not told (noise, Doppler, timing) is found.

# %%
slot = SlotPattern((dmrs, dmrs), tuple(times_s[list(symbols)]), tuple(times_s))
together = estimate(received, slot, snapshot_axes=1, error_variance=True)
alone = estimate(received, slot, error_variance=True)  # every antenna by itself
at_rest = estimate(received, slot, snapshot_axes=1, doppler_hz=0.0)  # what if we believed that nothing moves
print(f"antennas together {nmse_db(together.cfr, h):.1f} dB, one by one {nmse_db(alone.cfr, h):.1f} dB")
print(f"taken as at rest  {nmse_db(at_rest.cfr, h):.1f} dB")
print(f"Doppler found {np.median(together.doppler_hz):.0f} Hz, true {doppler_hz:.0f} Hz")

# %% [markdown]
# ## Where in the slot it is wrong, and whether it knows
#
# The error is smallest on the symbols with pilots and grows between and beyond them. The expected error, from
# `error_variance`, follows.

# %%
index = np.arange(14)


def per_symbol(error):
    power = np.sum(np.abs(h) ** 2, (0, 1, 3))
    return 10 * np.log10(np.sum(error, (0, 1, 3)) / power)


figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
left.plot(index, per_symbol(np.abs(at_rest.cfr - h) ** 2), "C1o-", label="taken as at rest")
left.plot(index, per_symbol(np.abs(alone.cfr - h) ** 2), "C2o-", label="one antenna at a time")
left.plot(index, per_symbol(np.abs(together.cfr - h) ** 2), "C0o-", label="four antennas together")
left.plot(index, per_symbol(together.error_variance), "C0o--", mfc="white", label="expected")
for s in symbols:
    left.axvline(s, color="0.8", zorder=0, lw=6)
left.set(xlabel="OFDM symbol (grey: pilots)", ylabel="NMSE (dB)", title=f"{n_slots} slots at 120 km/h")

k = 100
one, deviation = np.abs(together.cfr[0, 0, :, k]), 2 * np.sqrt(together.error_variance[0, 0, :, k])
right.fill_between(times_s * 1e3, np.maximum(one - deviation, 0), one + deviation, color="C0", alpha=0.25, lw=0)
right.plot(times_s * 1e3, np.abs(h[0, 0, :, k]), "k", lw=2, label="truth")
right.plot(times_s * 1e3, np.abs(at_rest.cfr[0, 0, :, k]), "C1", label="taken as at rest")
right.plot(times_s * 1e3, one, "C0", label="estimate ± 2 deviations")
right.set(
    xlabel="time (ms)",
    ylabel="|H|",
    title=f"one subcarrier ({carrier.used_subcarriers[k]}) over the slot",
    ylim=(0, None),
)
for axis in (left, right):
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
figure.savefig("moving.svg")

# %% [markdown]
# Told `doppler_hz=0.0` where the user does move costs what the picture shows; told where the user rests it helps. A
# residual carrier frequency offset is found beside it (`cfo_hz`), and taken back. More: [users in motion,
# measured](../estimators.md#users-in-motion).
