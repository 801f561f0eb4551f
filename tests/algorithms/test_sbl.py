"""SBL and NA-SBL against plain NumPy loops, and whatever comes never a NaN."""

import numpy as np
import pytest
import torch

from chanest import PartialDFT, PilotPattern, load_scenario
from chanest.algorithms import NASBL, SBL, Algorithm
from chanest.errors import AlgorithmError
from chanest.models.model import Model
from chanest.problems.random import seeded

WIDE = load_scenario("wide")
M, N, LOADING, FLOOR, CEILING = 24, 48, 1e-5, 1e-5, 4.0


def operator(seed: int = 0) -> PartialDFT:
    return PilotPattern.random(M, seed).operator(N, -3, dtype=torch.complex128)


def signals(n: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(n, N, dtype=torch.complex128, generator=generator)
    x = x * (torch.rand(n, N, generator=generator) < 0.1)
    x[:, 5] += 1
    noise = 0.05 * torch.randn(n, M, dtype=torch.complex128, generator=generator)
    y = operator().forward(x) + noise
    return y / y.norm(dim=-1, keepdim=True)


def perturbed(algorithm: Algorithm, by: float = 0.2) -> Algorithm:
    """Parameters that a test can tell apart from their initial values."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))
    return algorithm.requires_grad_(False).double()


# plain loops -------------------------------------------------------------------------------------------------


def clamped(s: float) -> float:
    return float(np.clip(s, FLOOR / M, CEILING / M))


def expected_noise(y: np.ndarray, a: np.ndarray) -> float:
    """The mean share of noise, given y, when the taps decay in 2, 6, 20 or 60 samples or not at all."""
    shares, logs, grid = np.logspace(-4, 0, 41), [], []
    for decay in (2, 6, 20, 60, np.inf):
        signal = a @ np.diag(np.exp(-np.arange(N) / decay)) @ a.conj().T
        for t in shares:
            c = (1 - t) * signal / np.trace(signal).real + t / M * np.eye(M)
            logs.append(-np.linalg.slogdet(c)[1] - np.vdot(y, np.linalg.solve(c, y)).real)
            grid.append(t)
    return float(np.average(grid, weights=np.exp(np.array(logs) - max(logs)))) / M


def posterior(y: np.ndarray, a: np.ndarray, g: np.ndarray, s: float) -> dict[str, np.ndarray]:
    c = a @ np.diag(g) @ a.conj().T + (s + LOADING * g.sum() / M) * np.eye(M)
    c_inverse = np.linalg.inv(c)
    w = c_inverse @ y
    q = a.conj().T @ w
    return {
        "mean": g * q,
        "q": q,
        "d": np.diag(a.conj().T @ c_inverse @ a).real,
        "fit": np.vdot(y, w).real / M,
        # the noise z in y has the posterior mean s w and covariance s I - s^2 C^-1
        "noise": np.sum(np.abs(s * w) ** 2 + s - s**2 * np.diag(c_inverse).real) / M,
    }


def em(p: dict[str, np.ndarray], g: np.ndarray) -> np.ndarray:
    return np.abs(p["mean"]) ** 2 + g * (1 - g * p["d"])


def em_loop(y: np.ndarray, a: np.ndarray, k: int, g: np.ndarray, s: float | None) -> list[np.ndarray]:
    """The means along k - 1 updates; s None is estimated and updated too."""
    known = s is not None
    s = clamped(s if known else expected_noise(y, a))
    means = []
    for _ in range(k):
        p = posterior(y, a, g, s)
        means.append(p["mean"])
        g = em(p, g)
        s = s if known else clamped(p["noise"])
    return means


def perceptron(layers: torch.nn.Module, features: np.ndarray) -> float:
    p = {name: value.numpy() for name, value in layers.named_parameters()}

    def silu(v: np.ndarray) -> np.ndarray:
        return v / (1 + np.exp(-v))

    v = silu(p["input.weight"] @ features + p["input.bias"])
    v = silu(p["hidden.weight"] @ v + p["hidden.bias"])
    return float((p["output.weight"] @ v + p["output.bias"])[0])


def na_sbl_loop(algorithm: NASBL, y: np.ndarray, a: np.ndarray, s: float | None) -> tuple[np.ndarray, ...]:
    """The whole rule, tap by tap: last mean, variances and noise variance."""
    if s is None:
        s = na_sbl_pass(algorithm, y, a, expected_noise(y, a), known=False)[2]
    return na_sbl_pass(algorithm, y, a, s, known=True)


def na_sbl_pass(algorithm: NASBL, y: np.ndarray, a: np.ndarray, s: float, known: bool) -> tuple[np.ndarray, ...]:
    s = clamped(s)
    prior = np.exp(-algorithm.decay * np.arange(N) / N)
    prior /= prior.sum()
    g = prior
    filled = np.linalg.eigvalsh(a @ np.diag(prior) @ a.conj().T)
    crowded = np.log(M * np.sum(filled**2) / np.sum(filled) ** 2)
    for tap_rule, noise_rule in zip(algorithm.tap_rules, algorithm.noise_rules, strict=True):
        p = posterior(y, a, g, s)
        explained = np.sum(g * p["d"]) / M
        shared = [np.log(p["fit"]) / 6, np.log(p["noise"] / s) / 6, np.log(M / 75), float(known)]
        shared += [np.log(explained / (1 - explained)) / 6, crowded]
        own = []
        for n in range(N):
            energy, occupied = np.abs(p["q"][n]) ** 2, g[n] * p["d"][n]
            logs = [
                np.log(np.abs(p["mean"][n]) ** 2 / prior[n]),
                np.log(occupied / (1 - occupied)),
                np.log(g[n] / prior[n]),
                np.log(prior[n] / s),
                np.log(energy / p["d"][n]),
            ]
            own.append(np.r_[np.array(logs) / 6, 2 * n / (N - 1) - 1, shared])
        beyond = np.zeros(12)
        padded = [beyond, *own, beyond]
        f = np.array([perceptron(tap_rule, np.concatenate(padded[n : n + 3])) for n in range(N)])
        g = np.clip(em(p, g) * np.exp(2 * f), 1e-8, 4)
        base = s if known else p["noise"]
        s = clamped(base * np.exp(2 * perceptron(noise_rule, np.r_[shared, np.log(M * s) / 6])))
    return posterior(y, a, g, s)["mean"], g, s


@pytest.mark.parametrize("told", [None, 0.0, 2e-3])
def test_sbl_equals_a_plain_loop(told):
    y, phi = signals(), operator()
    recovery = SBL(6)(y, phi, record=True, noise_variance=None if told is None else torch.tensor(told))
    for i in range(len(y)):
        expected = em_loop(y[i].numpy(), phi.dense().numpy(), 6, np.full(N, 1 / N), told)
        np.testing.assert_allclose(torch.stack(recovery.iterates)[:, i].numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("decay", [0.0, 3.5])
def test_na_sbl_starts_at_em_from_its_prior(decay):
    y, phi = signals(), operator()
    algorithm = NASBL(5, 8, decay).requires_grad_(False).double()
    prior = np.exp(-decay * np.arange(N) / N)
    recovery = algorithm(y, phi, record=True, noise_variance=torch.tensor([1e-3, 2e-3, 4e-3]))
    for i, s in enumerate((1e-3, 2e-3, 4e-3)):
        expected = em_loop(y[i].numpy(), phi.dense().numpy(), 5, prior / prior.sum(), s)
        found = torch.stack(recovery.iterates)[:, i].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)  # float32 weights of nothing: exact but for g's floor


@pytest.mark.parametrize("told", [None, 2e-3])
@pytest.mark.parametrize("decay", [0.0, 3.5])
def test_na_sbl_equals_a_plain_loop_of_the_whole_rule(told, decay):
    y, phi = signals(), operator()
    algorithm = perturbed(NASBL(4, 6, decay))
    recovery = algorithm(y, phi, noise_variance=None if told is None else torch.tensor(told).double())
    for i in range(len(y)):
        mean, g, s = na_sbl_loop(algorithm, y[i].numpy(), phi.dense().numpy(), told)
        np.testing.assert_allclose(recovery.posterior.variances[i].numpy(), g, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(recovery.posterior.noise_variance[i].numpy(), s, rtol=1e-6)
        np.testing.assert_allclose(recovery.x[i].numpy(), mean, atol=1e-8)


# properties --------------------------------------------------------------------------------------------------

ALL = [SBL(4).double(), NASBL(4, 6).requires_grad_(False).double(), perturbed(NASBL(4, 6, 2.0))]
IDS = ["sbl", "na-sbl", "na-sbl perturbed"]


@pytest.mark.parametrize("algorithm", ALL, ids=IDS)
class TestBoth:
    def test_the_posterior_has_the_mean_that_is_returned(self, algorithm):
        y, phi = signals(), operator()
        recovery = algorithm(y, phi)
        g, s = recovery.posterior.variances, recovery.posterior.noise_variance
        w = torch.linalg.solve(phi.loaded_covariance(g, s), y)
        torch.testing.assert_close(recovery.x, g * phi.adjoint(w))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SBL(0), "n_iterations"),
        (lambda: NASBL(0), "n_iterations"),
        (lambda: NASBL(n_hidden=1), "n_hidden"),
        (lambda: NASBL(decay=-1.0), "decay"),
        (lambda: NASBL(decay=float("nan")), "decay"),
    ],
)
def test_impossible_hyperparameters(make, said):
    with pytest.raises(AlgorithmError, match=said):
        make()


def test_em_never_decreases_the_marginal_likelihood():
    y, phi = signals(8), operator()
    s = torch.logspace(-4, -1.5, 8, dtype=torch.float64)
    values = []
    for k in range(1, 25):
        g = SBL(k)(y, phi, noise_variance=s).posterior.variances
        c = phi.loaded_covariance(g, s)
        quadratic = (y.conj() * torch.linalg.solve(c, y)).real.sum(-1)
        values.append(-torch.linalg.slogdet(c).logabsdet - quadratic)
    rises = torch.stack(values).diff(dim=0)
    assert bool((rises > 0).all())
    assert bool((rises[0] > 0.1).all())


def test_the_network_can_be_trained():
    """Every parameter but those of the calibration gets a finite gradient, in float32 at 60 dB too."""
    pattern = PilotPattern.random(40, 0)
    data = WIDE.draw(pattern, 16, seeded(0, "test"), torch.linspace(-10, 60, 16))
    y = data.observations / data.observations.norm(dim=-1, keepdim=True)
    algorithm = perturbed(NASBL(4, 8), 0.05).float().requires_grad_(True)
    algorithm(y, pattern.operator(WIDE.n_taps, WIDE.first_tap_samples)).x.abs().square().sum().backward()
    for name, parameter in algorithm.named_parameters():
        if not name.startswith("calibration."):
            assert bool(parameter.grad.isfinite().all()), name
            assert bool((parameter.grad != 0).any()), name


@torch.no_grad()
@pytest.mark.parametrize("by", [0.0, 0.6], ids=["untrained", "perturbed"])
def test_never_a_nan(by):
    """16 batches of 256: any pattern, -20...60 dB, noise told rightly, wrongly, as zero, or not at all."""
    model = Model(perturbed(NASBL(3, 8), by).float(), WIDE)
    rng = np.random.default_rng(int(10 * by))
    for i in range(16):
        n_pilots = round(24 * (200 / 24) ** rng.random())
        spacing = round(600 / n_pilots)
        comb = PilotPattern.comb(spacing, int(rng.integers(spacing)))
        pattern = comb if i % 3 == 0 else PilotPattern.random(n_pilots, i)
        data = WIDE.draw(pattern, 256, seeded(i, "test"), torch.from_numpy(rng.uniform(-20, 60, 256)).float())
        received = data.observations
        received[0] = 0
        received[1:11] = one_path(pattern, 10)
        received[11:21] = torch.randn(10, len(pattern), dtype=received.dtype, generator=seeded(i, "noise"))
        told = [data.noise_variance, data.noise_variance * 100 ** rng.choice([-1.0, 1.0]), None, 0.0][i % 4]
        estimate = model.estimate(received, pattern, told)
        assert bool(estimate.cir.isfinite().all() & estimate.cfr.isfinite().all())
        few = model.estimate(received[:24:6], pattern, None if told is None else 0.0, error_variance=True)
        assert bool(few.error_variance.isfinite().all() & (few.error_variance >= 0).all())


def one_path(pattern: PilotPattern, n: int) -> torch.Tensor:
    """n channels of one path each, at delays 0, 1, 2...: no noise."""
    turns = torch.outer(torch.arange(n), torch.tensor(pattern.subcarriers)) / pattern.n_fft
    return torch.polar(torch.ones_like(turns), -2 * torch.pi * turns)
