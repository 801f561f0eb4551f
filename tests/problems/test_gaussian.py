"""The synthetic setting: Gaussian matrices, Bernoulli-Gaussian vectors, and what is known when the support is."""

import math

import pytest
import torch
from small_gaussian import PHI, SMALL, SYNTHETIC, vectors

from chanest import nmse_db
from chanest.problems import Batch


def test_the_scenario_is_the_papers():
    sizes = (SYNTHETIC.n_measurements, SYNTHETIC.n_coefficients, SYNTHETIC.sparsity, SYNTHETIC.snr_db)
    assert sizes == (250, 1000, 50, 40)
    assert SYNTHETIC.training.fixed_matrix


def test_the_matrix_is_gaussian_with_unit_columns_and_its_seed_decides_it():
    matrix = SYNTHETIC.sensing(3).matrix
    assert (matrix.shape, matrix.dtype) == ((250, 1000), torch.float32)
    torch.testing.assert_close(matrix.norm(dim=0), torch.ones(1000), rtol=0, atol=1e-6)
    entries = matrix.double().flatten() * 250**0.5
    assert abs(float(entries.mean())) < 0.01
    assert float(entries.pow(4).mean()) == pytest.approx(3 * 250 / 252, rel=0.02)  # of a sphere in 250 dimensions
    assert torch.equal(SYNTHETIC.sensing(3).matrix, matrix)
    assert not torch.equal(SYNTHETIC.sensing(4).matrix, matrix)


def test_vectors_are_bernoulli_gaussian():
    x = SYNTHETIC.draw(SYNTHETIC.sensing(0), 2000, 1).truth["x"].double()
    count = (x != 0).double().sum(-1)
    assert float(count.mean()) == pytest.approx(50, abs=0.6)
    assert float(count.var()) == pytest.approx(50 * 0.95, rel=0.12)
    present = x[x != 0]
    assert float(present.mean()) == pytest.approx(0, abs=0.012)
    assert float(present.var()) == pytest.approx(1, rel=0.02)
    assert float(present.pow(4).mean()) == pytest.approx(3, rel=0.05)
    assert float(((x != 0).double().mean(0) - 0.05).abs().max()) < 0.025  # every place alike


@pytest.mark.parametrize("snr_db", [0, 20, 40])
def test_snr_is_the_ratio_of_expected_energies(snr_db):
    phi = SYNTHETIC.sensing(0)
    drawn = SYNTHETIC.draw(phi, 1000, 1, snr_db)
    clean = drawn.truth["x"].double() @ phi.matrix.double().mT
    noise = drawn.observations.double() - clean
    assert 10 * math.log10(float(clean.square().sum() / noise.square().sum())) == pytest.approx(snr_db, abs=0.15)
    assert float(noise.square().mean() / drawn.noise_variance.double().mean()) == pytest.approx(1, abs=0.02)


def test_every_vector_may_have_an_snr_of_its_own():
    snr = torch.tensor([0.0, 40.0])
    variance = SMALL.draw(PHI, 2, 0, snr).noise_variance
    torch.testing.assert_close(variance, 4 / 40 * torch.tensor([1.0, 1e-4]))


def test_a_vector_does_not_depend_on_how_many_there_are():
    many, few = (list(SMALL.simulate(PHI, n, seed=5)) for n in (700, 530))
    assert [len(block) for block in few] == [512, 18]
    for read in (lambda b: b.truth["x"], lambda b: b.observations, lambda b: b.noise_variance):
        a, b = (torch.cat([read(block) for block in blocks]) for blocks in (many, few))
        assert torch.equal(a[:530], b)
    assert not torch.equal(next(SMALL.simulate(PHI, 1, seed=6)).truth["x"], many[0].truth["x"][:1])


def test_told_the_support_is_exact_without_noise():
    x = vectors(8).truth["x"].double()
    batch = Batch(x @ PHI.matrix.double().mT, torch.zeros(8), {"x": x})
    assert nmse_db(SMALL.oracles(batch, PHI)["oracle-ls"]()["x"].double(), x) < -100


def test_told_the_support_and_the_noise_is_the_mmse_estimate():
    """Entry by entry: E[x | y] = (P^T P / s + I)^-1 P^T y / s for the columns P of the support."""
    block = vectors(4, 10.0)
    found = SMALL.oracles(block, PHI)["oracle-mmse"]()["x"]
    for i in range(4):
        on, s = block.truth["x"][i] != 0, block.noise_variance[i].double()
        p = PHI.matrix.double()[:, on]
        expected = torch.linalg.solve(
            p.mT @ p / s + torch.eye(int(on.sum())), p.mT @ block.observations[i].double() / s
        )
        torch.testing.assert_close(found[i, on].double(), expected, rtol=1e-4, atol=1e-5)
        assert not found[i, ~on].any()
