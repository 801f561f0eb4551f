"""# The paper in ten minutes

*Neurally Augmented ALISTA* (F. Behrens, J. Sauder, P. Jung, ICLR 2021) in its two settings: sparse vectors of a
Gaussian matrix, and OFDM channels. What each step of the family adds, run here on the shipped models.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

from chanest import load_model, load_scenario, nmse_db
from chanest.evaluation.plots import style
from chanest.models import pick_model

plt.rcParams.update(style())

# %% [markdown]
# ## Sparse vectors
#
# y = Φx + z: 250 measurements of 1,000 coefficients of which 50 are not zero, at 40 dB. ISTA takes a gradient step on
# ‖y − Φx‖² and shrinks what is small: x ← η(x − (1/L) Φᴴ(Φx − y)). It needs thousands of iterations; all below get
# 16.
#
# - **ISTA, FISTA**: nothing is learned; FISTA adds momentum.
# - **ALISTA**: one step size and one threshold per iteration are learned, 32 numbers. W, computed once from Φ alone,
#   takes the place of Φ in the adjoint.
# - **NA-ALISTA**: the same loop, but a recurrent network reads two norms, ‖Φx − y‖₁ and ‖Wᴴ(Φx − y)‖₁, and sets step
#   size and threshold for *this* vector. The norms say how far x is from the truth, and that differs between vectors.

# %%
setting = load_scenario("synthetic").replace(snr_db=40)
phi = setting.sensing(seed=0)
data = setting.draw(phi, 1000, generator=0)
models = {
    "ista": pick_model("ista", setting),
    "fista": pick_model("fista", setting),
    "alista": load_model("alista-synthetic-40db"),
    "na-alista": load_model("na-alista-synthetic-40db"),
}
found = {name: model.recover(data.observations, phi, record=True) for name, model in models.items()}
for name, recovery in found.items():
    print(f"{name:<10} {nmse_db(recovery.x, data.truth['x']):6.1f} dB after 16 iterations")

# %%
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.3))
for name, recovery in found.items():
    curve = [nmse_db(x, data.truth["x"]) for x in recovery.iterates]
    axes[0].plot(range(1, 17), curve, ".-", label=name)
axes[0].set(xlabel="iteration", ylabel="NMSE (dB)", title="1,000 vectors, 40 dB", xticks=range(2, 17, 2))
augmented = found["na-alista"]
for axis, values, label in ((axes[1], augmented.step_sizes, "step size"), (axes[2], augmented.thresholds, "threshold")):
    low, middle, high = np.quantile(values.numpy(), (0.05, 0.5, 0.95), axis=1)
    axis.fill_between(range(1, 17), low, high, color="C3", alpha=0.25, lw=0, label="5 to 95 % of the vectors")
    axis.plot(range(1, 17), middle, "C3", label="median")
    axis.set(xlabel="iteration", title=f"NA-ALISTA's {label}", xticks=range(2, 17, 2))
for axis in axes[:2]:
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
figure.savefig("synthetic.svg")

# %% [markdown]
# ## OFDM channels
#
# Section 4.3: LTE at 10 MHz, x is the impulse response (8 taps of 256), Φ the rows of the DFT at the pilots, all
# complex. Here NA-ALISTA pays: channels differ more from each other than synthetic vectors do, in the number of their
# taps, in power and in SNR. ALISTA has one threshold for all SNRs; NA-ALISTA does not need the SNR.

# %%
lte10 = load_scenario("lte10").replace(n_pilots=75)
pilots = lte10.sensing(seed=0)
snrs = (0, 10, 20, 30)
names = ("alista-lte10-m75", "na-alista-lte10-m75", "na-sbl-lte10-m75")
nmse = {}
for name in names:
    model = load_model(name)
    for snr in snrs:
        batch = lte10.draw(pilots, 1000, generator=0, snr_db=float(snr))
        cfr = model.estimate(batch.observations, pilots, batch.noise_variance).cfr
        nmse[name, snr] = nmse_db(cfr, batch.truth["cfr"])
    print(f"{name:<20}", *(f"{snr} dB: {nmse[name, snr]:6.1f}" for snr in snrs), sep="   ")

# %% [markdown]
# NA-SBL is not of the paper; [From SBL to NA-SBL](sbl-to-na-sbl.md) says what it is.
#
# ## The published numbers
#
# The published code's "10 dB" is not 10 dB at a pilot
# ([why](../scenarios.md#shipped-scenarios-and-two-meanings-of-10-db)). `lte10-reference` simulates that too, and
#
# ```sh
# chanest reproduce 13 --published published.csv
# ```
#
# draws Figure 13 with the published points as crosses, and the other figures likewise. What came out of all of them:
# [Reproduction](../reproduction.md).
