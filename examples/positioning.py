"""# Positioning: paths and their delays

The delay of the first path is the distance to the antenna that sent it: 1 ns is 30 cm. A sample of LTE at 10 MHz is
65 ns, 20 m. `paths=True` gives delays between the samples, with gains; here with what a peak search finds, and a user
put on a map.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import least_squares

from chanest import PilotPattern, estimate
from chanest.evaluation.plots import style

plt.rcParams.update(style())
METRES = 3e8 / 15.36e6  # that light goes in a sample of LTE's 10 MHz

# %% [markdown]
# ## Delays of one link
#
# 400 channels: a first path at an unknown delay and one to four echoes behind it, 100 pilots at 15 dB. A receiver
# that has only an inverse FFT of the interpolated response takes its first peak.

# %%
pattern = PilotPattern.comb(6)  # LTE's reference signals: every sixth subcarrier
k = np.array(pattern.subcarriers)
rng = np.random.default_rng(0)


def received(delays, snr_db=15.0):
    """Pilots of paths at these delays, in samples, the first the strongest."""
    powers = np.exp(-0.05 * (delays - delays[0])) * np.r_[2, np.ones(len(delays) - 1)]
    gains = np.sqrt(powers / powers.sum()) * np.exp(2j * np.pi * rng.random(len(delays)))
    noise = np.sqrt(0.5 * 10 ** (-snr_db / 10)) * (rng.standard_normal(len(k)) + 1j * rng.standard_normal(len(k)))
    return np.exp(-2j * np.pi * np.outer(k, delays) / 1024) @ gains + noise


def drawn(first):
    return first + np.r_[0, np.sort(rng.uniform(1.5, 40, rng.integers(1, 5)))]


truth = [drawn(rng.uniform(5, 60)) for _ in range(400)]
y = np.stack([received(delays) for delays in truth])
found = estimate(y, pattern, paths=True)
print("delays", found.paths.delays_samples.shape, "gains", found.paths.gains.shape)


def first_peak(y):
    """The first peak within 10 dB of the highest, of the response on the comb, padded to 16 points a sample."""
    spectrum = np.zeros(16384, complex)
    spectrum[np.round(k / 6).astype(int) % 16384] = y * np.hanning(len(k) + 2)[1:-1]
    power = np.abs(np.fft.ifft(spectrum)) ** 2
    peaks = np.flatnonzero((power > np.roll(power, 1)) & (power >= np.roll(power, -1)) & (power > 0.1 * power.max()))
    return peaks[0] * 1024 / (6 * 16384)


first = np.array([delays[0] for delays in truth])
ours = np.abs(found.timing_samples - first) * METRES
peak = np.abs(np.array([first_peak(one) for one in y]) - first) * METRES
for name, error in (("first path of chanest", ours), ("first peak of the FFT", peak)):
    print(f"{name}: median {np.median(error):.1f} m, 90 % within {np.quantile(error, 0.9):.1f} m")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
one = 1
count = int(found.paths.count[one])
at, heights = found.paths.delays_samples[one][:count] / 15.36, 20 * np.log10(np.abs(found.paths.gains[one][:count]))
left.stem(at, heights, linefmt="C0-", markerfmt="C0o", basefmt=" ", bottom=-30, label="paths found")
left.plot(truth[one] / 15.36, np.full(len(truth[one]), -29), "k^", ms=8, label="true delays")
left.set(xlabel="delay (µs)", ylabel="power (dB)", title="one channel", ylim=(-30, 2))
for error, name in ((ours, "first path of chanest"), (peak, "first peak of the FFT")):
    right.plot(np.sort(error), np.arange(1, 401) / 4, label=name)
right.set(
    xlabel="error of the distance (m)", ylabel="% of the channels below", xscale="log", title="400 channels, 15 dB"
)
for axis in (left, right):
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
figure.savefig("delays.svg")

# %% [markdown]
# ## A user on a map
#
# Four synchronous base stations, 400 m apart; the user's clock is unknown, so that only differences of delays count.
# Least squares over the position and the clock, 50 users.

# %%
stations = np.array([[0, 0], [400, 0], [0, 400], [400, 400]], float)
users = rng.uniform(50, 350, (50, 2))
clock = rng.uniform(3, 9, 50)  # samples
distance = np.linalg.norm(users[:, None] - stations, axis=-1)  # (users, stations)
links = np.stack([[received(drawn(d / METRES + c)) for d in row] for row, c in zip(distance, clock, strict=True)])
timing = estimate(links, pattern).timing_samples  # (users, stations)


def position(delays):
    def residual(guess):
        return np.linalg.norm(guess[:2] - stations, axis=-1) / METRES + guess[2] - delays

    return least_squares(residual, [200, 200, delays.min()], loss="soft_l1", f_scale=0.1).x[:2]


placed = np.array([position(row) for row in timing])
error = np.linalg.norm(placed - users, axis=-1)
print(f"50 users: median error {np.median(error):.1f} m, 90 % within {np.quantile(error, 0.9):.1f} m")

# %%
figure, axis = plt.subplots(figsize=(5.2, 4.8))
axis.plot(*stations.T, "k^", ms=10, label="base stations")
axis.plot(*users.T, "ko", mfc="none", ms=9, label="users")
axis.plot(*placed.T, "C1.", ms=6, label="found")
axis.set(xlabel="m", ylabel="m", aspect="equal")
figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3)
figure.savefig("map.svg")

# %% [markdown]
# Real channels are harder where the first path is blocked: no estimator of the channel sees what is not received. How
# near delays come to the Cramér–Rao bound: [measured](../estimators.md#any-receiver). `chanest estimate --input …
# --paths` writes the same to a file.
