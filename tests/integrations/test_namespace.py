"""Maths that torch and TensorFlow share: the two namespaces, and what is written over them, give the same numbers."""

import math
import os
import warnings
from types import ModuleType

import numpy as np
import pytest
import torch

from chanest import PilotPattern
from chanest.algorithms import (
    error_calibration,
    na_alista_rules,
    na_sbl_circle_rules,
    na_sbl_rules,
    namespace,
    noise,
    shrinkage,
)
from chanest.algorithms.gaussian import log_rank_deficit
from chanest.algorithms.na_sbl_circle_rules import Setting, State
from chanest.algorithms.sbl import Moments
from chanest.models import guard
from chanest.models.model import noise_of_y
from chanest.operators import JointMoments
from chanest.operators.cholesky import diagonal_load

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of TensorFlow's own imports
    tf = pytest.importorskip("tensorflow")

from chanest.integrations.tensorflow import namespace as tf_namespace
from chanest.integrations.tensorflow.operators import PartialDFT

BATCH, N, M, K = 3, 16, 10, 7
RNG = np.random.default_rng(0)
X, Z = RNG.uniform(0.1, 0.9, (BATCH, 4, 5)), RNG.normal(size=(BATCH, 5, 5, 2)).view(complex)[..., 0]
CONVERT = {namespace: torch.from_numpy, tf_namespace: tf.constant}
CALLS = {
    "abs2": ((Z,), ()),
    "argmax": ((X,), (-1,)),
    "cumsum": ((X,), (-1,)),
    "arange": ((), (5, X)),
    "broadcast_to": ((X[0],), ((BATCH, 4, 5),)),
    "clip": ((X,), (0.3, 0.6)),
    "conj": ((Z,), ()),
    "constant": ((X,), ()),
    "diagonal": ((Z,), ()),
    "double": ((X.astype(np.float32),), ()),
    "exp": ((X,), ()),
    "isfinite": ((np.where(X > 0.5, np.inf, X),), ()),
    "linspace": ((), (-1, 1, 5, X)),
    "log": ((X,), ()),
    "logit": ((X,), ()),
    "logsumexp": ((X,), (-1,)),
    "matrix_transpose": ((X,), ()),
    "matvec": ((X, X[:, 0]), ()),
    "max": ((X,), (-1,)),
    "min": ((X,), (-1,)),
    "maximum": ((X, X[::-1].copy()), ()),
    "mean": ((X,), (-1,)),
    "median_where": ((X, (X > 0.3) & (np.arange(4)[:, None] > 0)), ()),
    "pad_rows": ((X,), ()),
    "real": ((Z,), ()),
    "reshape": ((X,), ((-1, 10),)),
    "roll": ((X,), (-2, -1)),
    "rows": ((X,), (3,)),
    "sigmoid": ((60 * X - 30,), ()),
    "sqrt": ((X,), ()),
    "softmax": ((X,), (-1,)),
    "softplus": ((60 * X - 30,), ()),
    "square": ((X,), ()),
    "sum": ((X,), (-2,)),
    "unflatten": ((X.reshape(BATCH, 20),), ((4, 5),)),
}


def functions(module: ModuleType) -> set[str]:
    """The functions of a namespace by name."""
    return {name for name in vars(module) if name.islower() and callable(getattr(module, name)) and name[0] != "_"}


def in_both(f, *arrays: np.ndarray) -> list[np.ndarray]:
    """What f(arrays, namespace) gives in torch and in TensorFlow, one array behind the other."""
    found = []
    for xp, convert in CONVERT.items():
        given = f(*map(convert, arrays), xp)
        parts = given if isinstance(given, tuple | list) else (given,)
        found.append([np.asarray(part.resolve_conj() if xp is namespace else part) for part in parts])
    ours, theirs = found
    assert [part.dtype for part in ours] == [part.dtype for part in theirs]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-12)
    return ours


def test_both_have_the_same_functions():
    assert functions(namespace) == functions(tf_namespace)
    assert {
        *CALLS,
        "asarray",
        "astype",
        "concat",
        "eigh",
        "full_like",
        "shape",
        "stack",
        "tiny",
        "unstack",
        "where",
    } == functions(namespace)


@pytest.mark.parametrize("name", CALLS)
def test_a_function_gives_the_same(name):
    arrays, rest = CALLS[name]

    def call(*given):
        *tensors, xp = given
        return getattr(xp, name)(*tensors, *(CONVERT[xp](one) if one is X else one for one in rest))

    found = in_both(call, *arrays)[0]
    assert found.size
    assert np.isfinite(found).all()


def test_those_with_other_arguments_give_the_same():
    in_both(lambda x, xp: xp.concat([x, xp.stack([x[..., 0], x[..., 1]], -1)], -1), X)
    in_both(lambda x, xp: xp.where(x < 0.5, x, 0.0), X)
    in_both(lambda x, xp: [xp.full_like(x, 0.25), xp.full_like(x, x[0, 0])], X)
    in_both(lambda x, xp: xp.unstack(x, -1), X)
    in_both(lambda z, xp: xp.real(xp.eigh(z @ xp.conj(xp.matrix_transpose(z)))[0]), Z)
    for xp, x in ((xp, convert(X)) for xp, convert in CONVERT.items()):
        assert xp.log(2) == math.log(2)
        assert list(xp.shape(x)) == [BATCH, 4, 5]
        assert xp.tiny(x) == np.finfo(np.float64).tiny
        assert xp.astype(x, xp.real(xp.double(x)).dtype).dtype == x.dtype
        assert np.array_equal(xp.asarray(noise.GRID, x).numpy(), noise.GRID.numpy())


# what is written over them -----------------------------------------------------------------------------------


def posteriors() -> tuple[np.ndarray, ...]:
    """q complex, d, g, f (BATCH, N), fit, noise, s (BATCH,), p (N,)."""
    q = RNG.normal(size=(BATCH, N, 2)).view(complex)[..., 0]
    of_taps = (RNG.uniform(0, 2, (BATCH, N)), RNG.uniform(1e-8, 1, (BATCH, N)), RNG.normal(size=(BATCH, N)))
    return q, *of_taps, *RNG.uniform(0.01, 1, (3, BATCH)), np.full(N, 1 / N)


@pytest.mark.parametrize("known", [True, False])
def test_rules_of_na_sbl(known):
    q, d, g, f, fit, em, s, p = posteriors()
    d[0, 0] = g[0, 0] = 1e-8  # and silence
    q[0] = fit[0] = 0

    def features(q, d, g, fit, em, s, p, xp):
        return na_sbl_rules.features(Moments(q, q, d, fit, em), g, s, p, M, known, xp.sum(p, -1), xp)

    taps, shared = in_both(features, q, d, g, fit, em, s, p)
    assert taps.shape == (BATCH, N, 12)
    assert shared.shape == (BATCH, 7)
    assert np.isfinite(taps).all()
    assert (taps[..., 9] == known).all()
    beside = in_both(lambda t, xp: na_sbl_rules.beside_neighbours(t, xp), taps)[0]
    assert np.array_equal(beside[:, 1, :12], taps[:, 0])
    assert not beside[:, 0, :12].any()
    updated = in_both(lambda q, d, g, f, xp: na_sbl_rules.updated(Moments(q, q, d, g, g), g, 10 * f, xp), q, d, g, f)[0]
    assert updated.min() >= na_sbl_rules.SMALLEST
    assert updated.max() <= na_sbl_rules.LARGEST


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_rules_of_na_sbl_for_any_receiver(known, n_layers):
    q2, d, g, f = RNG.uniform(1e-3, 1, (4, BATCH, N))
    told, surprise, information, power, f_pilots = RNG.uniform(0.01, 1, (5, BATCH, M))
    fit, f_all = RNG.uniform(0.1, 1, (2, BATCH))
    told[0, 0], power[1], g[0, 3] = 1e5, 0.0, 0.0  # a pilot that is not trusted, silence, a dead tap
    arrays = (power, told, q2, d, g, f, surprise, information, f_pilots, fit, f_all)

    def rules(power, told, q2, d, g, f, surprise, information, f_pilots, fit, f_all, xp):
        r = na_sbl_circle_rules
        begun = r.start(power, told if known else None, None if known else told, M, N, 5, xp)
        state = State(g, begun.s, begun.outlier + 0.5, begun.relative)
        setting = Setting(M, N, 5, n_layers, 0.3, True, known, 0.2)
        m = JointMoments(q2, d, fit, surprise, information)
        found = r.read(m, state, setting, xp)
        level = r.new_level(found, state, setting, f_all, xp)
        outlier = r.new_outliers(found, m, state, setting, level, f_pilots, xp)
        em = r.em_variances(m, g, xp)
        coarse, fine = r.coarse_variances(em, f, setting, xp), r.fine_variances(em, found.kappa[:, None], f - 2, xp)
        refined = r.refined(state, n_layers, xp=xp)
        beside = r.beside(xp.unflatten(xp.matrix_transpose(found.taps), (n_layers, -1)), (-1, 2), xp)
        return (begun.g, found.shared, found.pilots, found.taps, level, outlier, coarse, fine, refined, beside)

    begun, shared, pilots, taps, level, outlier, coarse, fine, refined, _ = in_both(rules, *arrays)
    assert all(np.isfinite(part).all() for part in (begun, shared, pilots, taps, level, coarse, refined))
    assert (shared.shape, pilots.shape, taps.shape) == ((BATCH, 14), (BATCH, M, 10), (BATCH, N, 4))
    assert refined.shape == (BATCH, 4 * N)
    assert outlier.min() >= 1
    assert coarse.min() > 0 == fine[0, 3]


def test_the_prior_sums_to_one_and_decays():
    p = in_both(lambda like, xp: na_sbl_rules.prior(N, 3.0, like, xp), X)[0]
    assert abs(p.sum() - 1) < 1e-12
    np.testing.assert_allclose(p[-1] / p[0], np.exp(-3 * (N - 1) / N))


def test_error_calibrations():
    _, _, g, _, base, level, s, _ = posteriors()
    y, r = RNG.normal(size=(2, BATCH, M, 2)).view(complex)[..., 0]
    variance = RNG.uniform(0, 1, (BATCH, K))
    g[0] = variance[0] = 0  # silence

    def residual(energy, level, xp):
        return error_calibration.residual_features(error_calibration.residual_base(energy, xp), level, M, xp)

    assert in_both(residual, base * (base > 0.3), level)[0].shape == (BATCH, 6)

    def posterior(y, r, g, s, variance, xp):
        base = error_calibration.posterior_base(variance, g, xp)
        features = error_calibration.posterior_features(base, y, r, g, s, M, True, xp.sum(g[1], -1), xp)
        return base, features, error_calibration.nearer_to_the_mean(base, xp)

    base, features, drawn = in_both(posterior, y, r, g, s, variance)
    assert features.shape == (BATCH, K, 11)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(np.ptp(drawn, -1), error_calibration.SPREAD * np.ptp(base, -1))


def test_the_joint_error_calibration():
    g, noise, variance = (
        RNG.uniform(0, 1, (BATCH, N)),
        RNG.uniform(0.1, 1, (BATCH, M)),
        RNG.uniform(0, 1, (BATCH, 2, K)),
    )
    y, r = RNG.normal(size=(2, BATCH, 3, M, 2)).view(complex)[..., 0]
    g[0] = variance[0] = 0  # silence

    def joint(y, r, g, noise, variance, xp):
        base = error_calibration.joint_base(variance, noise, xp)
        return base, error_calibration.joint_features(base, y, r, g, noise, M, 20.0, True, 2, xp)

    base, features = in_both(joint, y, r, g, noise, variance)
    assert features.shape == (BATCH, 2, K, 13)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(features[:, 0, 0, 2:], features[:, 1, 3, 2:])
    np.testing.assert_allclose(np.exp(base[0]), error_calibration.LEAST / (1 / noise[0]).mean())


def test_errors_in_common():
    error = np.abs(RNG.normal(size=(4, 8))) * 10.0 ** np.arange(-3, 1)[:, None]
    common = in_both(lambda e, p, xp: error_calibration.error_in_common(e, p, xp), error, np.ones((4, 1)))[0]
    np.testing.assert_allclose(common, error / np.maximum(np.log1p(1 / error), 1), rtol=1e-6)
    assert (common <= error * (1 + 1e-12)).all()


def test_the_guard():
    y = RNG.normal(size=(6, M, 2)).view(complex)[..., 0]
    x = np.array([0.5, 0.1, 2.0, -1.0, 3.0, 0.0])[:, None] * y
    x[4, 0] = np.nan
    share = in_both(lambda x, y, xp: guard.kept_share(2 * x, 2 * x, y, xp), x, y)[0]
    np.testing.assert_allclose(share, [1, 1, 0.25, 0, 0, 1])
    kept = in_both(lambda x, s, xp: guard.kept(x, s, xp), x, share)[0]
    assert not kept[3:5].any()
    variance = in_both(lambda v, s, y, xp: guard.unsure(v, s, y, xp), np.full((6, K), 1e-3), share, y)[0]
    np.testing.assert_allclose(variance[:, 0], np.where(share < 1, (np.abs(y) ** 2).sum(-1), 1e-3))


def test_shrinkage_and_answers_of_na_alista():
    gain = in_both(lambda x, xp: shrinkage.shrinking_gain(x - 0.1, 0.2, xp), np.maximum(X, 0.1))[0]
    assert gain.min() == 0
    assert np.isfinite(in_both(na_alista_rules.log_norms, X * (X > 0.5))[0]).all()
    gamma, theta = in_both(na_alista_rules.steps_and_thresholds, np.array([[0.5, -3.0], [30.0, 21.0]]))
    assert gamma[1] == 30.0
    assert theta[1] == 21.0 * na_alista_rules.THRESHOLD


def test_noise_log_rank_deficit_and_load():
    pattern = PilotPattern.random(M, 3)
    theirs = PartialDFT(tf.constant(pattern.subcarriers, tf.int64), N, 0, 1024, tf.complex128)
    phis = {namespace: pattern.operator(N, dtype=torch.complex128), tf_namespace: theirs}
    y = RNG.normal(size=(BATCH, M, 2)).view(complex)[..., 0]
    y /= np.linalg.norm(y, axis=-1, keepdims=True)
    g, told = RNG.uniform(0, 1, (BATCH, N)), np.array([0.0, 0.01, 9.0])
    estimated = in_both(lambda y, xp: noise.noise_level(y, phis[xp], None, xp), y)[0]
    assert ((estimated > 0) & (estimated < 1)).all()
    limited = in_both(lambda y, s, xp: noise.noise_level(y, phis[xp], s, xp), y, told)[0]
    np.testing.assert_allclose(limited * M, [noise.FLOOR, 0.1, noise.CEILING])
    per_entry = in_both(lambda s, scale, xp: noise_of_y(s, scale, M, xp), told, X[:, 0, :1])[0]
    np.testing.assert_allclose(per_entry, told / X[:, 0, 0] ** 2 / M)
    loud = in_both(lambda scale, xp: noise_of_y(1e9, scale, M, xp), X[:, 0, :1])[0]
    np.testing.assert_allclose(loud, 1e6 / M)
    assert in_both(lambda g, xp: log_rank_deficit(phis[xp], g, xp), g[0])[0] > 0
    assert (in_both(lambda g, s, xp: diagonal_load(xp.sum(g, -1), s, M), g, told)[0] > told).all()
