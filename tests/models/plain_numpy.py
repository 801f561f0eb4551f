"""Channel estimates from a chanest model file by h5py and NumPy alone, written from docs/models.md.

Knows nothing of chanest or torch. ``read(path)`` gives a model as nested dictionaries of arrays and attributes;
``estimate(model, received_pilots, subcarriers, noise_variance)`` gives cfr, cir and error variance in the precision of
the pilots.
"""

from types import SimpleNamespace

import h5py
import numpy as np


def read(path):
    with h5py.File(path, "r") as file:
        return _tree(file)


def estimate(model, received_pilots, subcarriers, noise_variance=None):
    """(batch, M) complex64 or complex128, (M,), None or (batch,) -> cfr (batch, n_used), cir (batch, N), variance."""
    window = SimpleNamespace(**{k: model["scenario"][k] for k in ("n_fft", "n_used", "n_taps", "first_tap_samples")})
    dtype = received_pilots.dtype
    half = window.n_used // 2
    used = np.r_[-half:0, 1 : half + 1]
    phi = (_exponentials(subcarriers, window) / np.sqrt(len(subcarriers))).astype(dtype)
    band = _exponentials(used, window).astype(dtype)
    start = model.get("constants", {}).get("power_start")
    start = power_start(window.n_taps) if start is None else start
    solver = {"alista": _Alista, "na-alista": _NaAlista, "na-sbl": _NaSbl}[model["algorithm"]]
    told = [None] * len(received_pilots) if noise_variance is None else noise_variance
    solved = solver(model, phi, band, start)
    rows = [_one(solved, y, phi, band, sigma) for y, sigma in zip(received_pilots, told, strict=True)]
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


def _one(solver, received, phi, band, variance):
    m, real = len(received), received.real.dtype
    norm = np.linalg.norm(received.astype(complex))
    if norm == 0:
        return np.zeros(len(band), phi.dtype), np.zeros(phi.shape[1], phi.dtype), np.zeros(len(band), real)
    rms = norm / np.sqrt(m)
    y = (received / norm).astype(phi.dtype)
    s = noise_level(y, phi) if variance is None else min(float(variance) / rms**2, 1e6) / m
    s = real.type(np.clip(s, 1e-5 / m, 4 / m))
    x, log_variance = solver.solve(y, s, variance is not None)
    cir = x * real.type(rms)
    return band @ cir, cir, np.broadcast_to(rms**2 * np.exp(log_variance), len(band)).astype(real)


def _exponentials(subcarriers, window):
    delays = window.first_tap_samples + np.arange(window.n_taps)
    turns = np.outer(np.asarray(subcarriers), delays) % window.n_fft
    return np.exp(-2j * np.pi * turns / window.n_fft)


class _Alista:
    def __init__(self, model, phi, band, start):
        m = len(phi)
        self.phi, real = phi, phi.real.dtype
        self.p, self.settings = _cast(model["parameters"], real), model["hyperparameters"]
        self.normalisation = _cast(model.get("normalisation", {}), real)
        self.w = phi.conj().T
        if self.settings["ridge"] > 0:
            wide = phi.astype(complex)
            a = wide @ wide.conj().T
            a += self.settings["ridge"] * np.trace(a).real / m * np.eye(m)
            b = wide.conj().T @ np.linalg.inv(a)
            self.w = (b / np.einsum("nm,mn->n", b, wide).real[:, None]).astype(phi.dtype)
        v, nu = start.astype(phi.dtype), real.type(1)
        for _ in range(30):
            v = self.w @ (phi @ (v / nu))
            nu = np.linalg.norm(v)
        self.largest = nu
        self.exempt = schedule(
            self.settings["sparsity"], self.settings["n_iterations"], self.settings.get("schedule", "ofdm")
        )

    def solve(self, y, s, told):
        x = np.zeros(self.phi.shape[1], self.phi.dtype)
        for k, exempt in enumerate(self.exempt):
            gamma, theta = np.exp(self.p["log_step_size"][k]) / self.largest, np.exp(self.p["log_threshold"][k])
            x = shrink(x - gamma * (self.w @ (self.phi @ x - y)), theta, exempt)
        return x, self.log_variance(x, y, s)

    def log_variance(self, x, y, s):
        m, linear = len(y), self.p["calibration"]["linear"]
        e = np.log(max(np.linalg.norm(y - self.phi @ x) ** 2, 1e-6))
        r, t = e / 6, np.log(m * s) / 6
        return e + linear["weight"][0] @ np.array([r, t, np.log(m / 75), r * r, r * t, t * t]) + linear["bias"][0]


class _NaAlista(_Alista):
    def solve(self, y, s, told):
        tiny, read = np.finfo(y.real.dtype).tiny, self.settings["lstm_inputs"].split(",")
        lstm, hidden, head = self.p["lstm"], self.p["hidden"], self.p["head"]
        x = np.zeros(self.phi.shape[1], self.phi.dtype)
        h, cell = self.p["initial_hidden"], self.p["initial_cell"]
        for exempt in self.exempt:
            b = self.phi @ x - y
            c = self.w @ b
            f = np.array([np.log(max(np.abs({"r": b, "u": c}[name]).sum(), tiny)) for name in read])
            f = (f - self.normalisation["feature_mean"]) / self.normalisation["feature_deviation"]
            z = lstm["weight_ih"] @ f + lstm["bias_ih"] + lstm["weight_hh"] @ h + lstm["bias_hh"]
            i, g, q, o = np.split(z, 4)
            cell = sigmoid(g) * cell + sigmoid(i) * np.tanh(q)
            h = sigmoid(o) * np.tanh(cell)
            w = head["weight"] @ np.maximum(hidden["weight"] @ cell + hidden["bias"], 0) + head["bias"]
            gamma, theta = np.where(w > 20, w, np.log1p(np.exp(np.minimum(w, 20))))
            x = shrink(x - gamma / self.largest * c, y.real.dtype.type(0.02) * theta, exempt)
        return x, self.log_variance(x, y, s)


class _NaSbl:
    def __init__(self, model, phi, band, start):
        self.phi, self.band, self.real = phi, band, phi.real.dtype
        self.p, self.settings = _cast(model["parameters"], self.real), model["hyperparameters"]
        n = phi.shape[1]
        prior = np.exp(-self.settings["decay"] * np.arange(n) / n)
        self.prior = (prior / prior.sum()).astype(self.real)
        self.crowded, self.crowded_flat = self.crowding(self.prior), self.crowding(np.ones(n, self.real))

    def crowding(self, g):
        r = (self.phi * g) @ self.phi.conj().T
        return np.log(len(r) * (np.abs(r) ** 2).sum() / np.trace(r).real ** 2)

    def covariance(self, g, s):
        m = len(self.phi)
        return (self.phi * g) @ self.phi.conj().T + (s + self.real.type(1e-5) * g.sum() / m) * np.eye(
            m, dtype=self.real
        )

    def solve(self, y, s, told):
        if not told:
            _, s = self.infer(y, s, False)
        g, s = self.infer(y, s, True)
        lower = np.linalg.cholesky(self.covariance(g, s))
        x = g * (self.phi.conj().T @ np.linalg.solve(lower.conj().T, np.linalg.solve(lower, y)))
        return x, self.log_variance(x, y, g, s, lower, told)

    def infer(self, y, s, told):
        m, tiny, p, g = len(y), np.finfo(self.real).tiny, self.prior, self.prior
        place = np.linspace(-1, 1, len(p), dtype=self.real)
        for j in range(self.settings["n_iterations"] - 1):
            inverse = np.linalg.inv(self.covariance(g, s))
            w = inverse @ y
            q = self.phi.conj().T @ w
            d = np.einsum("mn,mn->n", self.phi.conj(), inverse @ self.phi).real
            em_s = s * (1 + s * (np.linalg.norm(w) ** 2 / m - np.trace(inverse).real / m))
            em_g = np.abs(g * q) ** 2 + g * np.maximum(1 - g * d, 0)
            fit = np.vdot(y, w).real / m
            explained = logit(np.clip((g * d).sum() / m, 1e-4, 1 - 1e-4)) / 6
            ratio = np.log(max(em_s, tiny) / s) / 6
            shared = [np.log(max(fit, tiny)) / 6, ratio, np.log(m / 75), float(told), explained, self.crowded]
            d, log_q = np.maximum(d, tiny), np.log(np.maximum(np.abs(q) ** 2, tiny))
            log_g, log_p = np.log(g), np.log(p)
            own = [
                (log_q + 2 * log_g - log_p) / 6,
                logit(np.clip(g * d, 1e-6, 1 - 1e-6)) / 6,
                (log_g - log_p) / 6,
                (log_p - np.log(s)) / 6,
                (log_q - np.log(d)) / 6,
                place,
            ]
            twelve = np.stack(own + [np.full(len(g), f) for f in shared], -1).astype(self.real)
            beyond = np.zeros((1, 12), self.real)
            three = np.hstack([np.vstack([beyond, twelve[:-1]]), twelve, np.vstack([twelve[1:], beyond])])
            seven = np.array([*shared, np.log(m * s) / 6], self.real)
            g = np.clip(em_g * factor(perceptron(self.p["tap_rules"][str(j)], three)), 1e-8, 4).astype(self.real)
            s = (s if told else em_s) * factor(perceptron(self.p["noise_rules"][str(j)], seven))
            s = self.real.type(np.clip(s, 1e-5 / m, 4 / m))
        return g, s

    def log_variance(self, x, y, g, s, lower, told):
        m, total = len(y), g.sum()
        v = (self.phi * g) @ self.band.conj().T
        p = np.maximum(total - (np.abs(np.linalg.solve(lower, v)) ** 2).sum(0), 0)
        e = np.maximum(np.log(np.maximum(p, 1e-30)), np.log(max(1e-7 * total, 1e-30)))
        r, noise = y - self.phi @ x, m * s
        shared = [
            noise,
            np.vdot(y, r).real / noise,
            np.linalg.norm(r) ** 2 / noise,
            total**2 / max((g**2).sum(), 1e-30),
            g[g < self.real.type(0.03) * total].sum() / noise,
        ]
        numbers = [np.log(max(f, 1e-6)) / 6 for f in shared]
        numbers += [np.log(max(g.max() / total, 1e-6)), np.log(m / 75), float(told), self.crowded_flat]
        features = [(e - np.log(noise)) / 6, (e - np.log(total)) / 6, *(np.full(len(e), f) for f in numbers)]
        c = e + perceptron(self.p["calibration"], np.stack(features, -1).astype(self.real)).clip(-1.8, np.log(100))
        mean = np.log(np.mean(np.exp(c)))
        return mean + 0.7 * (c - mean)


def schedule(sparsity, n, kind):
    if sparsity == 0:
        return [0] * n
    if kind == "synthetic":
        return [int(1.2 * sparsity * (k + 1) / n + 1e-9) for k in range(n)]
    a, b = 1.5 * sparsity // n, 1.5 * sparsity
    h = (b - a) / max(n - 1, 1)
    u = [a + h * k if k < n // 2 or n == 1 else b - h * (n - 1 - k) for k in range(n)]
    return [int(np.clip(value, 3, 10)) - (kind == "published") for value in u]


def shrink(x, theta, exempt):
    modulus = np.abs(x)
    gain = np.maximum(modulus - theta, 0) / np.maximum(modulus, np.finfo(modulus.dtype).tiny)
    if exempt:
        gain[np.argsort(modulus)[-exempt:]] = 1
    return (gain * x).astype(x.dtype)


def noise_level(y, phi):
    y, phi = y.astype(complex), phi.astype(complex)
    m, n = phi.shape
    shares = 10 ** (-4 + np.arange(41) / 10)
    costs = []
    for c in (2, 6, 20, 60, 1e9):
        eigenvalues, u = np.linalg.eigh((phi * np.exp(-np.arange(n) / c)) @ phi.conj().T)
        relative = np.maximum(eigenvalues / eigenvalues.sum(), 0)
        power = np.abs(u.conj().T @ y) ** 2
        for a in shares:
            ci = (1 - a) * relative + a / m
            costs.append(np.log(ci).sum() + (power / ci).sum())
    weights = np.exp(min(costs) - np.array(costs))
    return float((weights * np.tile(shares, 5)).sum() / weights.sum() / m)


def power_start(n):
    twister = np.random.RandomState(0)

    def uniform(count):
        raw = twister.randint(0, 2**32, (count, 2), dtype=np.uint64)
        return ((raw[:, 0] << np.uint64(32) | raw[:, 1]) & np.uint64(2**53 - 1)) / 2**53

    def transform(u):
        radius = np.sqrt(-2 * np.log1p(-u[:8]))
        return np.r_[radius * np.cos(2 * np.pi * u[8:]), radius * np.sin(2 * np.pi * u[8:])]

    v = uniform(n)
    for i in range(0, n - 15, 16):
        v[i : i + 16] = transform(v[i : i + 16])
    if n % 16:
        v[-16:] = transform(uniform(16))
    return v


def perceptron(layers, f):
    for name in ("input", "hidden"):
        f = silu(f @ layers[name]["weight"].T + layers[name]["bias"])
    return (f @ layers["output"]["weight"].T + layers["output"]["bias"])[..., 0]


def factor(f):
    return np.exp(np.clip(2 * f, -20, 20))


def silu(a):
    return a * sigmoid(a)


def sigmoid(a):
    return 0.5 * (1 + np.tanh(a / 2))


def logit(a):
    return np.log(a / (1 - a))


def _cast(tree, dtype):
    return {k: _cast(v, dtype) if isinstance(v, dict) else v.astype(dtype) for k, v in tree.items()}


def _tree(group):
    made = dict(group.attrs)
    for name, item in group.items():
        made[name] = _tree(item) if isinstance(item, h5py.Group) else item[()]
    return made
