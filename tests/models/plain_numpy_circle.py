"""NA-SBL for any receiver by NumPy alone, in float64, from docs/models.md; dense matrices, one group at a time."""

import numpy as np
from plain_numpy import factor, logit, perceptron, sigmoid
from scipy.special import gammaincc

COARSE, FINE = (-2, -1, 0, 1, 2), (-4, -2, -1, 0, 1, 2, 4)


def period(k, n_fft):
    steps, m = np.diff(k), len(k)
    for d in range(int(steps.max()), 1, -1):
        runs = np.diff(np.r_[0, np.flatnonzero(steps % d) + 1, m])
        if len(runs) > 1 and (len(runs) == m or np.median(steps[steps % d == 0]) > 2 * d):
            continue
        if m * m / (runs**2).sum() <= (max(2.5, m / 8) if m >= 8 else 1.5):
            return n_fft / d
    return n_fft


def taps(k, n_fft, n_layers, window):
    """Delays of the fine grid, and the cells per fine tap."""
    span = k[-1] - k[0] + 1
    spacing = min(2.0 ** min(round(np.log2(n_fft / span / 5.5)), np.floor(np.log2(n_fft / 32))), (n_fft & -n_fft) / 4)
    length = period(k, n_fft) / n_layers
    first, last = (-length / 4, 3 * length / 4) if window is None else (window[0], min(window[1], window[0] + length))
    first = np.floor(first / (4 * spacing)) * 4 * spacing
    n = max(8, min(round((last - first) / (4 * spacing)), int(n_fft / (4 * spacing))))
    return first + spacing * np.arange(4 * n), spacing * span / n_fft


def estimate(model, received, k, used, n_fft, variances=None, symbols=None, window=None):
    """(R, M), (M,) ascending, (n_used,), variances (M,) or None -> cfr (R, L, n_used), variance (L, n_used)."""
    k, (first, n) = np.asarray(k), (model["scenario"][name] for name in ("first_tap_samples", "n_taps"))
    arc = np.array([first, first + n]) * n_fft / model["scenario"]["n_fft"]
    tau = taps(k, n_fft, 1, None)[0]
    spacing, on_arc = tau[1] - tau[0], taps(k, n_fft, 1, arc)[0]
    alone = symbols is None or len(symbols) == 1
    if window is None and alone and len(tau) * spacing == n_fft and len(on_arc) <= 0.75 * len(tau):
        g, noise = on_delays(model, received, k, used, n_fft, variances, coarse_only=True)
        first, clear = first_delay(g, tau[::4], len(on_arc) // 4, len(k) / (1 / noise).mean())
        turned = received * np.exp(2j * np.pi * k * first / n_fft)
        cfr, variance, y, inverse, steering = on_delays(model, turned, k, used, n_fft, variances, window=arc)
        rest = steering(on_arc[0] + spacing * np.arange(len(on_arc), len(tau)))
        q = (np.abs(y @ inverse.T @ rest.conj()) ** 2).sum(0)
        d = np.maximum((rest.conj() * (inverse @ rest)).sum(0).real, 1e-12)
        cells = (len(tau) - len(on_arc)) * spacing * (k[-1] - k[0] + 1) / n_fft
        if clear and gammaincc(len(y), (q / d).max()) * cells >= 0.01:
            return cfr * np.exp(-2j * np.pi * used * first / n_fft), variance
    return on_delays(model, received, k, used, n_fft, variances, symbols, window)[:2]


def first_delay(g, tau, length, noise):
    """Of the best arc of coarse taps: the delay of its first path, and whether it is clear."""
    n = len(g)
    energy = np.array([g.take(np.arange(i, i + length), mode="wrap").sum() for i in range(n)])
    at = int(energy.argmax())
    least = (1 - np.clip(0.1 * noise, 1e-4, 0.05)) * energy[at]
    steps = next((i for i in range(1, n) if energy[(at + i) % n] < least), n) - 1
    return tau[(at + steps) % n], noise <= 0.35 and energy[at] >= 0.98 * g.sum()


def on_delays(model, received, k, used, n_fft, variances=None, symbols=None, window=None, coarse_only=False):
    r, m = received.shape
    codes = np.ones((1, m)) if symbols is None else symbols
    n_layers, told = len(codes), variances is not None
    tau, cells = taps(k, n_fft, n_layers, window)
    rms = np.sqrt((np.abs(received) ** 2).mean())
    y = received / rms / np.sqrt(m)
    p, n_coarse = model["parameters"], int(model["hyperparameters"]["n_coarse"])

    def operator(delays):
        steering = np.exp(-2j * np.pi * np.outer(k, delays) / n_fft) / np.sqrt(m)
        return np.concatenate([code[:, None] * steering for code in codes], 1)

    def solve(phi, state):
        g, noise = state["g"], state["s"] * ratio * state["o"]
        c = (phi * g) @ phi.conj().T + np.diag(noise + 1e-5 * g.sum() / m)
        return np.linalg.inv(c), noise

    def update(j, phi, beta, state, told):
        g, s, o = state["g"], state["s"], state["o"]
        inverse, noise = solve(phi, state)
        w = y @ inverse.T
        c, e = inverse.diagonal().real, (np.abs(w) ** 2).mean(0)
        q = (np.abs(w @ phi.conj()) ** 2).mean(0)
        d = np.maximum((phi.conj() * (inverse @ phi)).sum(0).real, 1e-12)
        kappa, total = (1 / noise).mean(), g.sum()
        s_em = np.maximum(noise * (1 + noise * (e - c)), 1e-12) / (ratio * o)
        s_em = s_em.mean()
        flat = phi @ phi.conj().T
        deficit = np.log(m * (np.abs(flat) ** 2).sum() / np.trace(flat).real ** 2)
        share = np.clip((g * d).sum() / m, 1e-4, 1 - 1e-4)
        f = np.array(
            [
                *(np.log((w * y.conj()).real.sum(1).mean() / m) / 3, np.log(s_em / s) / 3, np.log(m / 75), told),
                *(logit(share) / 6, deficit, np.log(r) / 3, np.log(max(kappa * total, 1e-6)) / 6),
                *(np.log(beta) + 1.75, np.log(m / (len(g) * beta)) / 2),
                *(np.log(max(beta * total**2 / (g**2).sum(), 1e-3)) / 4, n_layers - 1.0, np.log(o).mean()),
                float(window is not None),
            ]
        )
        new_s = np.clip((s if told else s_em) * factor(perceptron(p["noise_rules"][str(j)], f)), 1e-5 / m, 4 / m)
        t, usual = np.maximum(e / c, 1e-6), 1 + 6 / np.sqrt(r)
        own = [np.log(t) / 3, np.minimum(t / usual, 50), np.log(np.clip(noise * c, 1e-6, 1)) / 3, np.log(o) / 3]
        of_pilots = np.stack([*own, *(np.full(m, f[i]) for i in (0, 2, 3, 4, 6, 7))], -1)
        gate = sigmoid(4 * np.log(t / usual) + 4 * perceptron(p["pilot_rules"][str(j)], of_pilots))
        new_o = 1 + gate * np.clip(((t - 1) / c + noise) / (ratio * new_s) - 1, 0, 1e6)
        own = np.stack(
            [
                np.log(np.maximum(q, 1e-20) / d) / 3,
                logit(np.clip(g * d, 1e-5, 1 - 1e-5)) / 6,
                np.log(np.maximum(g * kappa, 1e-6)) / 6,
                np.log(np.maximum(d / kappa, 1e-6)) / 6,
            ],
            -1,
        ).reshape(n_layers, -1, 4)
        fine = j >= n_coarse
        beside = np.concatenate([np.roll(own, -i, 1) for i in (FINE if fine else COARSE)], -1).reshape(len(g), -1)
        place = np.tile(np.linspace(-1, 1, own.shape[1]), n_layers) * (window is not None)
        read = np.concatenate([beside, place[:, None], np.tile(f, (len(g), 1))], -1)
        new_g = (g**2 * q + g * np.maximum(1 - g * d, 0)) * factor(perceptron(p["tap_rules"][str(j)], read))
        if fine:
            new_g = np.where(g > 0, np.minimum(new_g, 4), 0)
            new_g[new_g * kappa <= 0.003] = 0
        else:
            new_g = np.clip(new_g, 7.5e-7 / m, 4)
        return {"g": new_g, "s": new_s, "o": new_o}

    fine, coarse = operator(tau), operator(tau[::4])
    power = np.minimum(_median((np.abs(y) ** 2).mean(0)) / (1 - 1 / (9 * r)) ** 3, (np.abs(y) ** 2).mean())
    if told:
        own = np.clip(variances / rms**2 / m, 1e-5 / m, 1e6 / m)
        s = 1 / (1 / own).mean()
        ratio = own / s
    else:
        s, ratio = 0.1 * power, np.ones(m)
    s = np.clip(s, 1e-5 / m, 4 / m)
    g = np.full(coarse.shape[1], max(m * (power - s), 0.1 * m * power) / coarse.shape[1])
    start = {"g": g, "s": s, "o": np.ones(m)}

    def on_coarse(state, told):
        for j in range(n_coarse):
            state = update(j, coarse, 4 * cells, state, told)
        return state

    def run(state):
        state = on_coarse(state, float(told))
        g = state["g"].reshape(n_layers, -1, 1)
        part = np.arange(4) / 4
        g = ((g * (1 - part) + np.roll(g, -1, 1) * part) / 4).ravel()
        kappa = (1 / (state["s"] * ratio * state["o"])).mean()
        state["g"] = np.where((g * kappa > 0.01) | (g >= g.max()), g, 0)
        for j in range(n_coarse, int(model["hyperparameters"]["n_iterations"]) - 1):
            state = update(j, fine, cells, state, float(told))
        return state

    if coarse_only:
        state = on_coarse(start, float(told))
        return state["g"], state["s"] * ratio * state["o"]
    if not told:
        start = {**on_coarse(start, 0.0), "g": g}
    state = run(start)
    if state["o"].max() > 10:
        state = run({"g": g, "s": start["s"] if told else state["s"], "o": state["o"]})
    inverse, noise = solve(fine, state)
    x = state["g"] * (y @ inverse.T @ fine.conj())
    band = np.exp(-2j * np.pi * np.outer(used, tau) / n_fft)
    cfr = rms * x.reshape(r, n_layers, -1) @ band.T
    variance = _variance(p["calibration"], y, x, fine, state["g"], noise, band, cells, n_layers, told)
    return cfr, rms**2 * variance, y, inverse, operator


def _median(values):
    """Of an even number the lower one of the two in the middle."""
    return np.sort(values)[(len(values) - 1) // 2]


def _variance(rule, y, x, phi, g, noise, band, cells, n_layers, told):
    m, (r, n) = len(noise), (len(y), len(g) // n_layers)
    alive = np.flatnonzero(g > 0)
    d = np.sqrt(g[alive])
    columns = phi[:, alive] * d
    p = d[:, None] * np.linalg.inv(np.eye(len(d)) + columns.conj().T @ (columns / noise[:, None])) * d
    kappa, total = (1 / noise).mean(), g.sum()
    e = []
    for layer in range(n_layers):
        own = np.flatnonzero(alive // n == layer)
        steering = band[:, alive[own] % n]
        own_variance = (steering @ p[np.ix_(own, own)] * steering.conj()).sum(1).real
        e.append(np.log(np.maximum(own_variance, 0.3 / kappa)))
    e, left = np.array(e), y - x @ phi.T

    def log6(value):
        return np.log(max(value, 1e-6)) / 6

    of_all = [
        *(log6(kappa * total), log6(((np.abs(left) ** 2) / noise).mean())),
        *(log6((y.conj() * left / noise).real.mean()), log6(total**2 / (g**2).sum() / m), log6(len(d) / m)),
        *(max(np.log(noise).mean() + np.log(kappa), 0), np.log(min(m, 128) / 75), float(told), np.log(r) / 3),
        *(np.log(cells * len(g) / m) / 2, n_layers - 1.0),
    ]
    read = np.concatenate(
        [np.stack([(e + np.log(kappa)) / 6, (e - np.log(total)) / 6], -1), np.tile(of_all, (*e.shape, 1))], -1
    )
    return np.exp(e + perceptron(rule, read).clip(-1.8, np.log(100)))
