"""Posteriors in the domain of the taps against matrices of the pilots."""

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from chanest import Grid, PilotPattern
from chanest.operators import JointMoments, LinearOperator, PartialDFT, Superposed, tap_domain

COMB = torch.arange(-150, 150, 2)
SKIPPING_DC = torch.cat([torch.arange(-300, 0, 4), torch.arange(1, 301, 4)])
RANDOM = torch.tensor(PilotPattern.random(160, seed=3).subcarriers)
DENSE = torch.arange(-96, 96)
HOLES = torch.cat([torch.arange(-300, -150), torch.arange(220, 300, 3)])


def operator(subcarriers: Tensor, n_layers: int = 1, n_taps: int = 120) -> PartialDFT | Superposed:
    phi = PartialDFT(subcarriers, n_taps, -3.0, 1024, torch.complex128, spacing_samples=0.5)
    if n_layers == 1:
        return phi
    generator = torch.Generator().manual_seed(1)
    return Superposed(phi, torch.randn(n_layers, len(subcarriers), dtype=phi.dtype, generator=generator))


def drawn(phi: PartialDFT | Superposed, alive: float, r: int = 3, batch: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """y (batch, R, M), g (batch, N) of which a share is not 0, another one in every group, noise (batch, M)."""
    generator = torch.Generator().manual_seed(2)
    g = torch.rand(batch, phi.n_coefficients, dtype=torch.float64, generator=generator) / phi.n_coefficients
    share = alive * torch.rand(batch, 1, dtype=torch.float64, generator=generator)
    g = g * (torch.rand(g.shape, dtype=torch.float64, generator=generator) < share)
    noise = (0.001 + torch.rand(batch, phi.n_measurements, dtype=torch.float64, generator=generator) / 20) / 100
    y = torch.randn(batch, r, phi.n_measurements, dtype=phi.dtype, generator=generator)
    return y / phi.n_measurements**0.5, g, noise


def assert_same(found: JointMoments, expected: JointMoments, rtol: float = 1e-8) -> None:
    for f in fields(JointMoments):
        theirs = getattr(expected, f.name)
        torch.testing.assert_close(getattr(found, f.name), theirs, rtol=rtol, atol=rtol * float(theirs.abs().max()))


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tap matters that is not 0."""
    monkeypatch.setattr(tap_domain, "MATTERS", 1e-12)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("subcarriers", [COMB, SKIPPING_DC, RANDOM, DENSE, HOLES], ids=len)
def test_moments_are_those_of_a_matrix_of_the_pilots(subcarriers: Tensor, n_layers: int) -> None:
    phi = operator(subcarriers, n_layers)
    y, g, noise = drawn(phi, 0.4)
    assert_same(tap_domain.joint_moments(phi, y, g, noise, None), LinearOperator.joint_moments(phi, y, g, noise))
    w = tap_domain.joint_solution(phi, y, g, noise)
    torch.testing.assert_close(w, LinearOperator.joint_solution(phi, y, g, noise), rtol=1e-8, atol=1e-8)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("subcarriers", [COMB, COMB + 37, SKIPPING_DC, DENSE, HOLES, RANDOM], ids=len)
def test_real_matrices_where_pilots_and_noise_are_symmetric(subcarriers: Tensor) -> None:
    phi = operator(subcarriers)
    y, g, noise = drawn(phi, 0.4)
    alike = noise[:, :1].expand_as(noise).contiguous()
    t = tap_domain.Correlations(phi, 1 / alike)
    turns, taps = t.turns, torch.arange(phi.n_coefficients).expand(len(g), -1)
    assert (turns is None) == (subcarriers is HOLES or subcarriers is RANDOM)
    if turns is not None:
        still = turns.conj().unsqueeze(-1) * t.between(taps, taps) * turns
        assert float(still.imag.abs().max()) < 1e-12 * float(still.real.abs().max())
    assert tap_domain.Correlations(phi, 1 / noise).turns is None
    assert_same(tap_domain.joint_moments(phi, y, g, alike, None), LinearOperator.joint_moments(phi, y, g, alike))


@pytest.mark.usefixtures("exact")
def test_without_compiled_loops_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    phi = operator(RANDOM, 2)
    y, g, noise = drawn(phi, 0.4)
    compiled = tap_domain.joint_moments(phi, y, g, noise, None)
    monkeypatch.setattr(tap_domain.kernels, "available", lambda: False)
    assert_same(tap_domain.joint_moments(phi, y, g, noise, None), compiled)


@pytest.mark.usefixtures("exact")
def test_gradients_are_those_of_a_matrix_of_the_pilots() -> None:
    phi = operator(RANDOM)
    y, g, noise = drawn(phi, 0.3)
    found = []
    for make in (lambda *a: tap_domain.joint_moments(*a, None), LinearOperator.joint_moments):
        variances = g.clone().requires_grad_(True)
        m = make(phi, y, variances, noise)
        (m.q2.mean() + m.fit.sum() + m.surprise.mean() + m.information.mean() * 1e-3).backward()
        assert variances.grad is not None
        found.append(variances.grad[g > 0])
    torch.testing.assert_close(*found, rtol=1e-7, atol=1e-7 * float(found[1].abs().max()))


def test_what_is_left_out_does_not_matter() -> None:
    phi = operator(RANDOM)
    y, g, noise = drawn(phi, 0.3)
    least = tap_domain.MATTERS * phi.n_measurements / phi.length * noise.amin(-1, keepdim=True)
    weak = torch.where(g > 0, g, 0.9 * least)
    expected = LinearOperator.joint_moments(phi, y, weak, noise)
    found = tap_domain.joint_moments(phi, y, weak, noise, None)
    assert_same(found, expected, rtol=0.1)
    mean = [weak.unsqueeze(-2) * phi.adjoint(w) for w in (phi.joint_solution(y, weak, noise),)]
    exact = weak.unsqueeze(-2) * phi.adjoint(LinearOperator.joint_solution(phi, y, weak, noise))
    assert float((mean[0] - exact).abs().square().sum()) < 1e-3 * float(exact.abs().square().sum())


def test_diagonal_only_where_it_is_wanted() -> None:
    phi = operator(RANDOM)
    y, g, noise = drawn(phi, 0.1)
    whole = tap_domain.joint_moments(phi, y, g, noise, None)
    near = tap_domain.joint_moments(phi, y, g, noise, 2)
    alive = g > 0
    wanted = torch.stack([alive.roll(i, -1) for i in range(-2, 3)]).any(0)
    torch.testing.assert_close(near.d[wanted], whole.d[wanted], rtol=1e-9, atol=0)
    assert bool((near.d >= whole.d * (1 - 1e-9)).all())
    assert bool((near.d[~wanted] > whole.d[~wanted] * 1.001).any())


@pytest.mark.parametrize("subcarriers", [COMB, RANDOM, SKIPPING_DC], ids=len)
def test_flat_moments_of_more_pilots_than_taps(subcarriers: Tensor) -> None:
    phi = operator(subcarriers, n_taps=100)
    y, _, _ = drawn(phi, 0.3)
    total, s = torch.linspace(0.2, 1, 5, dtype=torch.float64), torch.full((5,), 1e-4, dtype=torch.float64)
    flat = (total / phi.n_coefficients).unsqueeze(-1).expand(-1, phi.n_coefficients)
    noise = s.unsqueeze(-1).expand(-1, phi.n_measurements)
    assert len(phi._eigenvectors()[0]) < phi.n_measurements
    assert_same(phi.flat_moments(y, total, s), LinearOperator.joint_moments(phi, y, flat, noise), rtol=1e-6)


def test_the_operator_chooses() -> None:
    few, many = operator(SUBSET := RANDOM[:100]), operator(RANDOM)
    for phi, alive, expected in ((few, 0.02, False), (many, 0.02, True), (many, 3.0, False)):
        y, g, noise = drawn(phi, alive)
        found = tap_domain.pays(phi, g, noise)
        assert (found is not None and bool(found.all())) == expected, (len(SUBSET), alive)
        assert_same(phi.joint_moments(y, g, noise), LinearOperator.joint_moments(phi, y, g, noise), rtol=1e-2)


def test_every_entry_chooses_for_itself() -> None:
    phi = operator(RANDOM)
    y, few, noise = drawn(phi, 0.02)
    g = torch.where(torch.arange(len(y)).unsqueeze(-1) % 2 == 0, few, drawn(phi, 3.0)[1])
    found = tap_domain.pays(phi, g, noise)
    assert found is not None
    assert found.tolist() == [i % 2 == 0 for i in range(len(y))]
    together, alone = (
        phi.joint_moments(y, g, noise),
        [phi.joint_moments(y[i : i + 1], g[i : i + 1], noise[i : i + 1]) for i in range(len(y))],
    )
    for name in ("q2", "d", "fit", "surprise", "information"):
        expected = torch.cat([getattr(one, name) for one in alone])
        torch.testing.assert_close(getattr(together, name), expected, rtol=1e-9, atol=0)


def test_comb_of_a_carrier() -> None:
    grid = Grid.nr(106)
    pattern = PilotPattern.comb(2, 0, grid)
    phi = PartialDFT(torch.tensor(pattern.subcarriers), 400, 0.0, grid.n_fft, spacing_samples=0.25)
    y, g, noise = drawn(phi.to(torch.complex128), 0.1, batch=2)
    single = phi.joint_moments(y.to(torch.complex64), g.float(), noise.float())
    assert single.q2.dtype == torch.float32
    assert_same(
        JointMoments(*(getattr(single, f.name).double() for f in fields(JointMoments))),
        LinearOperator.joint_moments(phi.to(torch.complex128), y, g, noise),
        rtol=2e-3,
    )
