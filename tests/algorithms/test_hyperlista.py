"""HyperLISTA against a plain NumPy loop, and its tuning."""

import numpy as np
import pytest
import torch
from plain import FIELDS, M, N, operator, shrink, signals

from chanest.algorithms import HyperLISTA, tune_hyperlista
from chanest.evaluation.metrics import nmse_db


@pytest.mark.parametrize("field", FIELDS)
def test_hyperlista_equals_a_plain_loop(field):
    phi = operator(field)
    y = signals(phi)
    algorithm = HyperLISTA(6, c1=0.2, c2=0.02, c3=8.0, ridge=0.1)
    a = phi.dense().numpy()
    covariance = a @ a.conj().T
    covariance += 0.1 * np.trace(covariance).real / M * np.eye(M)
    inverse = a.conj().T @ np.linalg.inv(covariance)
    wh = inverse / np.diag(inverse @ a).real[:, None]
    off = np.abs(wh @ a - np.eye(N))
    mu = off.max()
    found = algorithm(y, phi, record=True)
    for i, target in enumerate(y.numpy()):
        x = before = np.zeros(N, a.dtype)
        counts = []
        for k in range(6):
            b = a @ x - target
            left = np.abs(inverse @ b).sum()
            p = int(8.0 * max(0.0, min(np.log(np.abs(inverse @ target).sum() / left), N)))
            momentum = 0.02 * mu * np.count_nonzero(x) * (x - before)
            before, x = x, shrink(x - wh @ b + momentum, 0.2 * mu * left, p)
            counts.append(p)
            np.testing.assert_allclose(found.iterates[k][i].numpy(), x, atol=1e-9)
        assert max(counts) > 1


def test_tuning_hyperlista_beats_its_defaults():
    phi = operator("real")
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, N, dtype=torch.float64, generator=generator)
    x = x * (torch.rand(64, N, generator=generator) < 0.06)
    y = phi.forward(x)
    norm = y.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    tuned = tune_hyperlista(y / norm, phi, x / norm, ridge=0.0)
    assert tuned.ridge == 0.0
    default = HyperLISTA(ridge=0.0)
    assert nmse_db(tuned(y / norm, phi).x, x / norm) < nmse_db(default(y / norm, phi).x, x / norm) - 1
