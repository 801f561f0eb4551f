"""Hyperparameters, growth and the registry."""

import pytest
import torch
from plain import M, N, operator

from chanest.algorithms import (
    AGLISTA,
    ALGORITHMS,
    ALISTA,
    ALISTAAT,
    EP,
    FISTA,
    ISTA,
    LISTA,
    LISTACPSS,
    NAALISTA,
    NASBL,
    OMP,
    SBL,
    VAMP,
    GatedLISTA,
    HyperLISTA,
    StepsizeISTA,
)
from chanest.errors import AlgorithmError

SIZES = {"n_measurements": M, "n_coefficients": N}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ISTA(penalty=0), "penalty"),
        (lambda: ISTA(n_iterations=0), "n_iterations"),
        (lambda: ALISTA(ridge=-1), "ridge"),
        (lambda: ALISTA(sparsity=-1), "sparsity"),
        (lambda: NAALISTA(lstm_inputs="x"), "lstm_inputs"),
        (lambda: NAALISTA(lstm_hidden=0), "lstm_hidden"),
        (lambda: StepsizeISTA(penalty=0), "penalty"),
        (lambda: ALISTAAT(epsilon=0), "epsilon"),
        (lambda: AGLISTA(epsilon=-1), "epsilon"),
        (lambda: LISTA(field="quaternion"), "field: expected real or complex"),
        (lambda: LISTA(n_measurements=0), "n_measurements"),
        (lambda: LISTA(4, 5, 6, shared=2), "shared"),
        (lambda: GatedLISTA(4, 5, 6, epsilon=0), "epsilon"),
        (lambda: LISTACPSS(n_coefficients=-3), "n_coefficients"),
        (lambda: HyperLISTA(c2=-1), "c2"),
        (lambda: VAMP(sparsity=0), "sparsity"),
        (lambda: VAMP(damping=2), "damping"),
    ],
)
def test_impossible_hyperparameters(make, said):
    with pytest.raises(AlgorithmError, match=said):
        make()


@pytest.mark.parametrize("algorithm", [ISTA(4), OMP(4), NAALISTA(4, 6), VAMP(4), EP(4)], ids=lambda a: a.name)
def test_algorithms_without_parameters_per_iteration_grow_too(algorithm):
    grown = algorithm.double().grown(7)
    assert grown.n_iterations == 7
    assert all(torch.equal(value, grown.state_dict()[name]) for name, value in algorithm.state_dict().items())


def test_a_network_that_runs_in_every_iteration_shrinks_too():
    y = torch.randn(2, M, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    algorithm = NAALISTA(6, 6, sparsity=4).double()
    shrunk = algorithm.grown(3)
    assert shrunk.n_iterations == 3
    assert torch.equal(shrunk(y, operator("real")).x, algorithm(y, operator("real"), n_iterations=3).x)


def test_the_rules_of_new_iterations_are_the_last_ones():
    algorithm = NASBL(4, n_hidden=6).double()
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.uniform_(-0.1, 0.1, generator=torch.Generator().manual_seed(3))
    grown = algorithm.grown(6)
    for rules in ("tap_rules", "noise_rules"):
        old, new = getattr(algorithm, rules), getattr(grown, rules)
        assert (len(old), len(new)) == (3, 5)
        for k in range(5):
            expected = old[min(k, 2)].state_dict()
            assert all(torch.equal(value, expected[name]) for name, value in new[k].state_dict().items())
    assert torch.equal(grown.calibration.output.weight, algorithm.calibration.output.weight)


def test_what_cannot_grow_says_so():
    with pytest.raises(AlgorithmError, match="can grow from 4 to more, asked for 3"):
        ALISTA(4).grown(3)
    assert ALISTA(4).grown(4).n_iterations == 4


def test_the_registry_keeps_its_order():
    first = [cls.name for cls in (ISTA, FISTA, ALISTA, NAALISTA, NASBL, OMP, SBL, EP)]
    assert list(ALGORITHMS)[:8] == first
    assert all(cls.name == name for name, cls in ALGORITHMS.items())
