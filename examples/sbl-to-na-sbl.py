"""# From SBL to NA-SBL

Sparse Bayesian learning separates paths that gradient steps cannot, but takes dozens of matrix inversions to do it.
NA-SBL takes six. This is the idea, in fifteen lines, and what it looks like: the variances of the taps, iteration by
iteration.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from chanest import load_model, load_scenario
from chanest.algorithms.gaussian import log_rank_deficit
from chanest.algorithms.na_sbl_rules import beside_neighbours, factor, features, prior, updated
from chanest.evaluation.plots import style

plt.rcParams.update(style())

# %% [markdown]
# ## The problem
#
# M pilots see N > M taps: y = Φx + z, Φ a partial DFT. Few taps hold energy, nobody says which. Here 75 pilots at 15
# dB, 256 taps, 8 of them alive.

# %%
scenario = load_scenario("lte10").replace(n_pilots=75, snr_db=15)
pattern = scenario.sensing(seed=0)
batch = scenario.draw(pattern, 200, generator=2)
phi = pattern.operator(n_taps=256)  # two FFTs, never a matrix
scale = batch.observations.norm(dim=-1, keepdim=True)
y = batch.observations / scale  # algorithms see ||y|| = 1
x_true = batch.truth["cir"] * np.sqrt(75) / scale
s = batch.noise_variance / scale[:, 0] ** 2  # noise variance of an entry of y

# %% [markdown]
# ## SBL: expectation, maximisation
#
# Every tap gets a variance g, its prior CN(0, g). Given all g the posterior is Gaussian: mean μ = g·Φᴴ C⁻¹ y with C =
# Φ diag(g) Φᴴ + s·I, variance g(1 − g·d), d the diagonal of ΦᴴC⁻¹Φ. The EM update sets g to the second moment, |μ|² +
# g(1 − g·d), and repeats. Taps that the pilots do not need fade, slowly: the closer g is to its end, the smaller the
# step.

# %%
g = torch.full((200, 256), 1 / 256)
sbl = [g]
for _ in range(30):
    m = phi.posterior_moments(y, g, s)  # one Cholesky factorisation of C a channel
    g = m.mean.abs() ** 2 + g * (1 - g * m.d).clamp_min(0)
    sbl.append(g)


def nmse_db(g):
    x = phi.posterior_moments(y, g, s).mean
    return 10 * np.log10(float((x - x_true).abs().square().sum() / x_true.abs().square().sum()))


print("SBL    ", *(f"{k}: {nmse_db(sbl[k]):.1f} dB" for k in (1, 2, 5, 10, 30)), sep="   ")

# %% [markdown]
# ## NA-SBL: a network corrects the update
#
# The direction is right and the step is too timid. So a small network looks at every tap and multiplies the EM update
# by exp(2f): f = 0 is EM, where training starts. What it reads has no scale (log |μ|²/p, logit g·d, log g/p, …),
# beside the same of the two neighbouring taps, where a path between the samples leaks. One network per iteration
# serves all taps, every pilot pattern, every noise level: about 2,300 numbers.

# %%
network = load_model("na-sbl-lte10-m75").algorithm
p = prior(256, network.decay, s)  # mean delay profile: exp(-decay n/N)
g = p.expand(200, -1)
deficit = log_rank_deficit(phi, p)  # how unevenly the pilots stand
with torch.no_grad():
    na_sbl, level = [g], s
    for rule, noise_rule in zip(network.tap_rules, network.noise_rules, strict=True):
        m = phi.posterior_moments(y, g, level)
        of_taps, of_noise = features(m, g, level, p, 75, True, deficit)
        g = updated(m, g, rule(beside_neighbours(of_taps)))
        level = s * factor(noise_rule(of_noise))  # a smaller one corrects the noise variance
        na_sbl.append(g)
print("NA-SBL ", *(f"{k}: {nmse_db(g):.1f} dB" for k, g in enumerate(na_sbl) if k), sep="   ")

# %% [markdown]
# ## What it looks like
#
# One channel: colour is g in dB, down the iterations; circles are the true taps. After 30 iterations SBL still gives
# every tap a variance of −25 dB; NA-SBL has all but emptied the false ones after two.

# %%
one = 3
true = torch.nonzero(x_true[one].abs() > 0)[:, 0].numpy()
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharex=True)
for axis, name, steps in ((axes[0], "SBL", sbl), (axes[1], "NA-SBL", na_sbl)):
    picture = 10 * np.log10(torch.stack(steps)[:, one].clamp_min(1e-6).numpy())
    image = axis.imshow(
        picture,
        aspect="auto",
        cmap="cividis",
        interpolation="nearest",
        vmin=-45,
        vmax=-5,
        extent=(0, 256 / 15.36, len(steps) - 0.5, -0.5),
    )
    axis.plot(true / 15.36, np.full(len(true), len(steps) - 1), "o", mfc="none", mec="white", ms=7, clip_on=False)
    axis.set(title=name, xlabel="delay (µs)", ylabel="iteration")
    axis.grid(False)
figure.colorbar(image, ax=axes, label="g (dB)")
figure.savefig("g.svg")

# %%
figure, axes = plt.subplots(5, 1, figsize=(9, 6.5), sharex=True, sharey=True)
delays = np.arange(256) / 15.36
for k, axis in enumerate(axes, 1):
    axis.stem(
        true / 15.36,
        10 * np.log10(x_true[one][true].abs().square().numpy()),
        linefmt="k-",
        markerfmt="ko",
        basefmt=" ",
        bottom=-45,
    )
    axis.plot(delays, 10 * np.log10(sbl[k][one].clamp_min(1e-6).numpy()), "C1", label="SBL")
    axis.plot(delays, 10 * np.log10(na_sbl[k][one].clamp_min(1e-6).numpy()), "C0", label="NA-SBL")
    axis.set(ylim=(-45, 0), ylabel=f"after {k}")
axes[0].set_title("g in dB, true taps in black")
axes[-1].set_xlabel("delay (µs)")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
figure.savefig("strip.svg")

# %% [markdown]
# ## What came of it
#
# `na-sbl-wide` carries the idea on: taps between the samples, snapshots that share g, layers, a noise variance per
# pilot that it finds itself, any carrier ([equations](../models.md#na-sbl-for-any-receiver)). Its error variance
# comes from the same posterior, corrected by one more network. Prior art: SBL is Tipping's (2001) and Wipf and Rao's
# (2004); others unfolded it before, for one matrix at a time.
