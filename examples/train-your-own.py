"""# Train for your own scenario

You know where your receivers stand: a hall, short delays, NR at 30 kHz, 52 pilots a symbol. A scenario is a small
TOML file; training for it is one command. This one trains for less than a minute, which is enough to overtake the
shipped model of its kind; half an hour on a few cores goes further.
"""

# %%
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from chanest import PilotPattern, TrainingSettings, algorithm, load_model, load_scenario, nmse_db, train
from chanest.evaluation.plots import style
from chanest.models import pick_model

plt.rcParams.update(style())

# %% [markdown]
# ## The scenario
#
# What is sent (the carrier by its name and size, the number of pilots), over which channels, at which SNRs. Every
# field: [Scenarios](../scenarios.md), or `chanest scenarios --explain`. Delays count in samples of n_fft × spacing,
# here 30.72 MHz: 33 ns.

# %%
Path("hall.toml").write_text(
    """
name = "hall"
description = "A factory hall: 2 to 8 paths within 1 µs, NR, 52 blocks at 30 kHz"
grid_name = "nr-52-30"
n_fft = 1024
n_used = 624
subcarrier_spacing_hz = 30e3
cp_samples = 72
n_taps = 64
first_tap_samples = -8
n_pilots = 52

[channel]
kind = "paths"
n_paths = [2, 8]
span_samples = [4.0, 30.0]
decay = [1.0, 5.0]

[training]
snr_db = [0.0, 30.0]
comb_fraction = 0.5
"""
)

hall = load_scenario(Path("hall.toml"))
print(hall)

# %% [markdown]
# ## Train
#
# NA-ALISTA, 16 iterations, on batches of fresh channels, pilots and SNRs. In a shell:
#
# ```sh
# chanest train --scenario hall.toml --algorithm na-alista --steps 500 --batch 256 --output hall.h5
# ```
#
# `--resume` continues what was interrupted; `--device cuda` and torchrun take more machines. In Python, here with
# less time for the last part, the calibration of the error variance:

# %%
settings = TrainingSettings(steps=450, batch_size=256, calibration_batches=96)
train(algorithm("na-alista"), hall, settings, Path("hall.h5"))
told = subprocess.run(["chanest", "info", "hall.h5"], capture_output=True, text=True, check=True).stdout
print("\n".join(told.splitlines()[1:8]))

# %% [markdown]
# ## Is it better?
#
# On channels of the scenario that training did not see, a comb of every twelfth subcarrier, beside the shipped models
# for everything, LMMSE and linear interpolation.

# %%
comb = PilotPattern.comb(12, grid=hall.grid)
models = {
    "ours": load_model(Path("hall.h5")),
    "na-alista-wide": load_model("na-alista-wide"),
    "na-sbl-wide": load_model("na-sbl-wide"),
    "lmmse-exponential": pick_model("lmmse-exponential", hall),
    "linear": pick_model("linear", hall),
}
snrs = np.arange(0, 31, 10)
figure, axis = plt.subplots(figsize=(6, 4))
for name, model in models.items():
    curve = []
    for snr in snrs:
        batch = hall.draw(comb, 300, generator=0, snr_db=float(snr))
        curve.append(nmse_db(model.estimate(batch.observations, comb, batch.noise_variance).cfr, batch.truth["cfr"]))
    axis.plot(snrs, curve, ".-", label=name)
    print(f"{name:<18}", *(f"{value:6.1f}" for value in curve))
axis.set(xlabel="SNR (dB)", ylabel="NMSE (dB)", title="hall, a comb of 52 pilots")
figure.legend(*axis.get_legend_handles_labels(), loc="outside right center")
figure.savefig("hall.svg")

# %% [markdown]
# NA-ALISTA's kind, trained for this hall alone, is ahead of the one for everything. `na-sbl-wide` needed no training
# and is ahead of both at eight times the time; `--algorithm na-sbl` trains one of your own, `--start na-alista-wide`
# begins from a shipped model.
#
# Tables and plots:
# `chanest compare --scenarios hall.toml --pilots 52 --algorithms hall.h5,na-sbl,linear --output hall.csv`.
