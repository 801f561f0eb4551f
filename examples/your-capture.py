"""# Your own capture: LTE, NR and Wi-Fi from a file

A receiver has written what its FFT saw. You want the channel on every subcarrier and how wrong it is. What chanest
must be told: which subcarriers carry pilots, what was sent on them, and the carrier. What it finds: timing, noise,
Doppler.
"""

# %%
import subprocess

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.io import loadmat, savemat

from chanest import Grid, PilotPattern, estimate, load_scenario, nmse_db
from chanest.evaluation.plots import style
from chanest.problems import moving_response

plt.rcParams.update(style())
rng = np.random.default_rng(1)

# %% [markdown]
# ## An LTE subframe in a .mat
#
# So that this runs anywhere, we make the capture ourselves: 14 OFDM symbols of LTE at 10 MHz, reference signals (CRS)
# of port 0 on four of them, QPSK elsewhere, a user at 30 km/h in an urban channel (3GPP's ETU) at 10 dB. The
# receiver's window begins 1.3 µs before the first path. Yours comes from MATLAB or a recorder instead: the received
# grid, symbols by subcarriers, is all that is needed.

# %%
carrier = Grid.lte(10)
cell_id = 7
times_s = np.arange(14) / 14e3  # one symbol every 71.4 µs
crs = {
    symbol: PilotPattern.lte_crs(carrier, cell_id % 6, port=0, symbol=4 * (symbol % 7 > 0)) for symbol in (0, 4, 7, 11)
}

delays, powers = load_scenario("etu").delay_profile()
delays = delays + 1.3e-6 * 15.36e6  # samples
doppler_hz = 30 / 3.6 * 2.1e9 / 3e8
seeded = torch.Generator().manual_seed(4)
moving = torch.tensor([doppler_hz]), 1, seeded
h = moving_response(delays[None], powers[None].float(), carrier, times_s, *moving)[0, 0].numpy()  # (14, 600)

sent = np.exp(0.25j * np.pi * (1 + 2 * rng.integers(4, size=h.shape)))  # data and CRS are QPSK
noise = np.sqrt(0.05) * (rng.standard_normal(h.shape) + 1j * rng.standard_normal(h.shape))
savemat("capture.mat", {"received_grid": 40 * (h * sent + noise), "crs_grid": sent})  # any units

# %% [markdown]
# ### The pilots out of the grid
#
# `PilotPattern.lte_crs` knows where CRS stand. Subcarriers count from the carrier's centre, as everywhere in chanest;
# column 0 of the grid is subcarrier −300.

# %%
capture = loadmat("capture.mat")
column = {k: i for i, k in enumerate(carrier.used_subcarriers)}
symbol_index, subcarriers = zip(
    *[(symbol, k) for symbol, pattern in crs.items() for k in pattern.subcarriers], strict=True
)
place = np.array(symbol_index), np.array([column[k] for k in subcarriers])
received = capture["received_grid"][place]
reference = capture["crs_grid"][place]  # what your cell sends: TS 36.211, 6.10.1
print(received.shape, "pilots on symbols", *crs)

# %% [markdown]
# ### The channel, and how wrong it is
#
# Four symbols at once: `pilot_symbol_index` says on which symbol each pilot stands, `symbol_times_s` when the symbols
# are. The answer is the channel on all 14 symbols. Noise, timing and Doppler are not told.

# %%
found = estimate(
    received,
    subcarriers,
    grid=carrier,
    pilot_symbols=reference,
    pilot_symbol_index=symbol_index,
    symbol_times_s=times_s,
    error_variance=True,
)
truth = 40 * h
print(f"cfr {found.cfr.shape}, detected {bool(found.detected)}, SNR {float(found.snr_db):.1f} dB")
print(f"first path at {float(found.timing_samples) / 15.36:.2f} µs")
print(f"Doppler {float(found.doppler_hz):.0f} Hz, simulated {doppler_hz:.0f}")
expected = 10 * np.log10(found.error_variance.sum() / np.sum(np.abs(found.cfr) ** 2))
print(f"NMSE {nmse_db(found.cfr, truth):.1f} dB, expected {expected:.1f} dB")

# %% [markdown]
# What most receivers do instead is a straight line from pilot to pilot. Here on the first symbol, beside the truth;
# the shaded band is two standard deviations of the error that chanest expects.

# %%
used = np.array(carrier.used_subcarriers)
first = np.array(symbol_index) == 0
at, seen = np.array(subcarriers)[first], (received / reference)[first]
line = np.interp(used, at, seen.real) + 1j * np.interp(used, at, seen.imag)
print(f"NMSE on symbol 0: linear {nmse_db(line, truth[0]):.1f} dB, chanest {nmse_db(found.cfr[0], truth[0]):.1f} dB")


def db(x):
    return 20 * np.log10(np.maximum(np.abs(x), 1e-3) / 40)


figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), width_ratios=(1, 1.7))
shown = slice(300, 372)  # six resource blocks
image = left.imshow(
    db(capture["received_grid"][:, shown].T), aspect="auto", origin="lower", cmap="cividis", vmin=-20, vmax=8,
    extent=(-0.5, 13.5, used[shown][0], used[shown][-1])
)  # fmt: skip
inside = np.isin(subcarriers, used[shown])
left.plot(np.array(symbol_index)[inside], np.array(subcarriers)[inside], "s", ms=4, mfc="none", mec="white", mew=1)
left.set(title="received, 10 dB; squares are pilots", xlabel="OFDM symbol", ylabel="subcarrier", xticks=range(0, 14, 2))
left.grid(False)
figure.colorbar(image, ax=left, label="|Y| (dB)", pad=0.02)

deviation = 2 * np.sqrt(found.error_variance[0])
modulus = np.abs(found.cfr[0])
band = db(np.maximum(modulus - deviation, 0.05 * modulus)), db(modulus + deviation)
right.fill_between(used, *band, color="C0", alpha=0.25, lw=0, label="± 2 deviations expected")
right.plot(used, db(line), "C1", lw=1, label="linear interpolation")
right.plot(used, db(truth[0]), "k", lw=2, label="truth")
right.plot(used, db(found.cfr[0]), "C0", lw=1.6, label="chanest")
right.set(title="estimated, symbol 0", xlabel="subcarrier", ylabel="|H| (dB)", ylim=(-22, 9), xlim=(-150, 150))
figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4)
figure.savefig("channel.svg")

# %% [markdown]
# ## The same by the command line
#
# `chanest estimate` reads the fields of [File formats](../file-formats.md) from `.mat`, `.h5` or `.npz`. In MATLAB:
# `save('pilots.mat', 'pilot_subcarriers', 'received_pilots', 'pilot_symbols', …)`. Here ten Wi-Fi packets at four
# antennas, from the long training field: `snapshot_axes = 1` says that the axis before the pilots holds antennas,
# which see the same delays.

# %%
wifi = Grid.wifi(20, legacy=True)
delays, powers = load_scenario("epa").delay_profile()
delays = delays.expand(10, -1) * (20 / 15.36)  # samples of 20 MHz
at_rest = np.zeros(1), torch.zeros(10)
packets = moving_response(delays, powers.expand(10, -1).float(), wifi, *at_rest, 4, seeded)[:, :, 0].numpy()
ltf = rng.choice([-1.0, 1.0], 52)
noise = np.sqrt(0.005) * (rng.standard_normal(packets.shape) + 1j * rng.standard_normal(packets.shape))
savemat(
    "wifi.mat",
    {
        "received_pilots": packets * ltf + noise,  # (10, 4, 52)
        "pilot_subcarriers": np.array(wifi.used_subcarriers),
        "pilot_symbols": ltf,
        "snapshot_axes": 1,
        "cfr": packets,  # the truth, where it is known: the NMSE is printed then
    },
)
command = "chanest estimate --input wifi.mat --grid wifi20-legacy --output channels.mat"
ran = subprocess.run(command.split(), capture_output=True, text=True, check=True)
print(*ran.stdout.splitlines()[-4:], sep="\n")

# %%
print(
    {
        name: value.shape
        for name, value in loadmat("channels.mat").items()
        if name in ("cfr", "error_variance", "snr_db")
    }
)

# %% [markdown]
# ## NR
#
# DMRS of type 1 stand on every second subcarrier. Two ports of one CDM group use the same ones, with different signs:
# superposed layers, which `pilot_symbols` of shape (layers, pilots) tells apart.

# %%
nr = Grid.nr(52, 30)
dmrs = PilotPattern.nr_dmrs(nr, kind=1, port=0)
delays, powers = load_scenario("eva").delay_profile()
delays, powers = delays.expand(2, -1) * (nr.n_fft * 30e3 / 15.36e6), powers.expand(2, -1).float()
both = moving_response(delays, powers, nr, np.zeros(1), torch.zeros(2), 1, seeded)[:, 0, 0].numpy()  # (layers, 624)
sequence = np.exp(0.25j * np.pi * (1 + 2 * rng.integers(4, size=len(dmrs))))
signs = np.array([np.ones(len(dmrs)), (-1.0) ** np.arange(len(dmrs))])  # the cover code over frequency
sent = signs * sequence
at = np.searchsorted(nr.used_subcarriers, dmrs.subcarriers)
received = (both[:, at] * sent).sum(0)
received = received + np.sqrt(0.005) * (rng.standard_normal(len(dmrs)) + 1j * rng.standard_normal(len(dmrs)))
layers = estimate(received, dmrs, pilot_symbols=sent, error_variance=True)
print(f"cfr {layers.cfr.shape}: layers, subcarriers; NMSE {nmse_db(layers.cfr, both):.1f} dB at 20 dB")
