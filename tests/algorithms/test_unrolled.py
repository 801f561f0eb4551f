"""The learned algorithms against plain NumPy loops written from their equations, in a real and a complex field."""

import math

import numpy as np
import pytest
import torch
from plain import FIELDS, K, M, N, operator, perturbed, shrink, signals

from chanest import DenseOperator, load_scenario
from chanest.algorithms import (
    AGLISTA,
    ALISTA,
    ALISTAAT,
    ISTA,
    LISTA,
    LISTACPSS,
    NAALISTAMLP,
    NAALISTARNN,
    Algorithm,
    GatedLISTA,
    StepsizeISTA,
)
from chanest.algorithms.shrinkage import support_schedule
from chanest.errors import AlgorithmError
from chanest.models.hdf5 import read_model, write_model
from chanest.operators import AnalyticWeights, LinearOperator

SIZES = {"n_measurements": M, "n_coefficients": N}


LEARNED = {
    "stepsize-ista": lambda k, field, s=3.0: StepsizeISTA(k, penalty=0.02),
    "lista": lambda k, field, s=3.0: LISTA(k, **SIZES, field=field, sparsity=s),
    "lista shared": lambda k, field, s=3.0: LISTA(k, **SIZES, field=field, shared=1),
    "lista-cpss": lambda k, field, s=3.0: LISTACPSS(k, **SIZES, field=field, sparsity=s, schedule="synthetic"),
    "gated-lista": lambda k, field, s=3.0: GatedLISTA(k, **SIZES, field=field, sparsity=s),
    "alista-at": lambda k, field, s=3.0: ALISTAAT(k, sparsity=s, schedule="synthetic"),
    "aglista": lambda k, field, s=3.0: AGLISTA(k, sparsity=s, ridge=0.0),
    "na-alista-rnn": lambda k, field, s=3.0: NAALISTARNN(k, 6, sparsity=s, schedule="synthetic"),
    "na-alista-mlp": lambda k, field, s=3.0: NAALISTAMLP(k, 6, lstm_inputs="u", sparsity=s),
}


def loop(algorithm: Algorithm, y: np.ndarray, phi: LinearOperator) -> np.ndarray:
    """The iterations of the learned algorithms, entry by entry from the equations."""
    a = phi.dense().numpy()
    p = {name: value.detach().numpy() for name, value in algorithm.named_parameters()}
    for name in ("w", "w1", "w2"):
        if name in p and algorithm.field == "complex":
            p[name] = p[name][..., 0] + 1j * p[name][..., 1]
    w, norm = a, float(phi.squared_norm())
    if algorithm.ridge > 0:
        covariance = a @ a.conj().T
        covariance += algorithm.ridge * np.trace(covariance).real / M * np.eye(M)
        w = np.linalg.solve(covariance, a)
        w = w / np.sum(w.conj() * a, 0).real
        norm = float(AnalyticWeights(phi, algorithm.ridge).squared_norm())
    wh = w.conj().T
    exempt = support_schedule(algorithm.sparsity, K, algorithm.schedule)
    theta = np.exp(p["log_threshold"]) if "log_threshold" in p else None
    gamma = np.exp(p["log_step_size"]) / norm if "log_step_size" in p else None
    x, state = np.zeros(N, a.dtype), p.get("initial_hidden")

    def gain(k: int) -> np.ndarray:
        if k == 0:
            return np.ones(N)
        nu, mu = np.exp(p["gates.log_gain"][k]), np.exp(p["gates.log_gain_decay"][k])
        return 1 + theta[k - 1] * nu * np.exp(-mu * np.abs(x))

    def overshoot(k: int, v: np.ndarray) -> np.ndarray:
        epsilon = algorithm.gates.epsilon
        o = 1 + p["gates.relative_overshoot"][k] * epsilon / (np.abs(v - x) + epsilon)
        return o * v + (1 - o) * x

    for k in range(K):
        layer = 0 if "w1" in p and len(p["w1"]) == 1 else k
        match algorithm.name:
            case "stepsize-ista":
                x = shrink(x - gamma[k] * wh @ (a @ x - y), gamma[k] * algorithm.penalty, 0)
            case "lista":
                x = shrink(p["w1"][layer] @ y + p["w2"][layer] @ x, theta[k], exempt[k])
            case "lista-cpss":
                x = shrink(x - p["w"][k].conj().T @ (a @ x - y), theta[k], exempt[k])
            case "gated-lista":
                x = overshoot(k, shrink(p["w1"][k] @ y + p["w2"][k] @ (gain(k) * x), theta[k], exempt[k]))
            case "alista-at":
                adapted = theta[k] / (1 + np.abs(x) / algorithm.epsilon)
                x = shrink(x - gamma[k] * wh @ (a @ x - y), adapted, exempt[k])
            case "aglista":
                x = overshoot(k, shrink(x - gamma[k] * wh @ (a @ (gain(k) * x) - y), theta[k], exempt[k]))
            case _:
                b = a @ x - y
                c = wh @ b
                norms = {"r": np.abs(b).sum(), "u": np.abs(c).sum()}
                features = np.log([norms[name] for name in algorithm.lstm_inputs.split(",")])
                features = (features - algorithm.feature_mean.numpy()) / algorithm.feature_deviation.numpy()
                if algorithm.name == "na-alista-rnn":
                    state = p["rnn.weight_ih"] @ features + p["rnn.bias_ih"] + p["rnn.weight_hh"] @ state
                    state = np.tanh(state + p["rnn.bias_hh"])
                else:
                    state = np.maximum(p["input.weight"] @ features + p["input.bias"], 0)
                hidden = np.maximum(p["hidden.weight"] @ state + p["hidden.bias"], 0)
                step, threshold = np.log1p(np.exp(p["head.weight"] @ hidden + p["head.bias"]))
                x = shrink(x - step / norm * c, 0.02 * threshold, exempt[k])
    return x


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("case", LEARNED)
class TestEveryLearnedAlgorithm:
    def test_equals_a_plain_loop(self, case, field):
        phi = operator(field)
        y = signals(phi)
        algorithm = perturbed(LEARNED[case](K, field), y, phi)
        found = algorithm(y, phi).x
        assert found.dtype == phi.dtype
        assert found.shape == (3, N)
        for i in range(3):
            np.testing.assert_allclose(found[i].detach().numpy(), loop(algorithm, y[i].numpy(), phi), atol=1e-10)

    def test_model_file_keeps_it(self, case, field, tmp_path):
        phi = operator(field)
        y = signals(phi)
        algorithm = perturbed(LEARNED[case](K, field), y, phi).float()
        write_model(tmp_path / "m.h5", algorithm, load_scenario("lte10"), {"steps": 0})
        read, _, _ = read_model(tmp_path / "m.h5")
        assert type(read) is type(algorithm)
        assert read.hyperparameters == algorithm.hyperparameters
        assert read.state_dict().keys() == algorithm.state_dict().keys()
        assert all(torch.equal(value, read.state_dict()[name]) for name, value in algorithm.state_dict().items())
        assert torch.equal(read.double()(y, phi).x, algorithm.double()(y, phi).x)

    def test_growing_keeps_the_first_iterates(self, case, field):
        phi = operator(field)
        y = signals(phi)
        algorithm = perturbed(LEARNED[case](K, field, 0.0), y, phi)
        grown = algorithm.grown(K + 2)
        assert (grown.n_iterations, grown.hyperparameters["n_iterations"]) == (K + 2, K + 2)
        iterates = grown(y, phi, record=True).iterates
        assert len(iterates) == K + 2
        for old, new in zip(algorithm(y, phi, record=True).iterates, iterates, strict=False):
            assert torch.equal(old, new)
        if "log_threshold" in dict(grown.named_parameters()):
            assert grown.log_threshold.tolist() == [*algorithm.log_threshold.tolist(), *[grown.log_threshold[-1]] * 2]


@pytest.mark.parametrize("field", FIELDS)
class TestWhatTheyStartAt:
    """Untrained, the learned algorithms are ISTA or ALISTA."""

    def test_ista(self, field):
        phi = operator(field)
        y = signals(phi)
        expected = ISTA(K, penalty=0.02)(y, phi).x
        assert torch.equal(StepsizeISTA(K, penalty=0.02).double()(y, phi).x, expected)
        unshared, shared, cp = (LEARNED[case](K, field, 0.0) for case in ("lista", "lista shared", "lista-cpss"))
        for algorithm in (unshared, shared, cp):
            algorithm.double().fit_normalisation(y, phi)
            with torch.no_grad():
                algorithm.log_threshold.fill_(math.log(0.02 / float(phi.squared_norm())))
            torch.testing.assert_close(algorithm(y, phi).x, expected)

    def test_alista(self, field):
        phi = operator(field)
        y = signals(phi)
        expected = ALISTA(K).double()(y, phi).x
        torch.testing.assert_close(ALISTAAT(K, epsilon=1e12).double()(y, phi).x, expected)
        gated = AGLISTA(K).double()
        with torch.no_grad():
            gated.gates.log_gain.fill_(-60)
        torch.testing.assert_close(gated(y, phi).x, expected)

    def test_gated_lista_is_lista(self, field):
        phi = operator(field)
        y = signals(phi)
        gated, plain = GatedLISTA(K, **SIZES, field=field).double(), LISTA(K, **SIZES, field=field).double()
        with torch.no_grad():
            gated.gates.log_gain.fill_(-60)
        for algorithm in (gated, plain):
            algorithm.fit_normalisation(y, phi)
        torch.testing.assert_close(gated(y, phi).x, plain(y, phi).x)


@pytest.mark.parametrize("case", ["lista", "lista-cpss", "gated-lista"])
def test_learned_matrices_refuse_another_phi(case):
    phi = operator("real")
    other = DenseOperator(torch.randn(M, N + 1, dtype=torch.float64))
    batched = DenseOperator(torch.randn(2, M, N, dtype=torch.float64))
    algorithm = LEARNED[case](K, "real").double()
    for wrong, said in (
        (operator("complex"), "expected the 20 x 48 real Phi it was made for, got 20 x 48 complex"),
        (other, "got 20 x 49 real"),
        (batched, "one per entry"),
    ):
        y = torch.zeros(2, M, dtype=wrong.dtype)
        for call in (algorithm, algorithm.fit_normalisation):
            with pytest.raises(AlgorithmError, match=said) as raised:
                call(y, wrong)
            assert "\n" not in str(raised.value)
    assert not algorithm(signals(phi), phi).x.any()  # zero until it has seen Phi
