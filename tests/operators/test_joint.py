"""Moments that snapshots share, finer taps and superposed layers, against dense matrices."""

import math

import pytest
import torch

from chanest import Grid, PilotPattern
from chanest.errors import OperatorError
from chanest.operators import LinearOperator, PartialDFT, Superposed, partial_dft

SUBCARRIERS = torch.tensor([-300, -291, -77, -5, 1, 2, 3, 40, 111, 170, 233, 299])


def fine(dtype: torch.dtype = torch.complex128) -> PartialDFT:
    return PartialDFT(SUBCARRIERS, 160, -3.0, 1024, dtype, spacing_samples=0.25)


def layered(dtype: torch.dtype = torch.complex128) -> Superposed:
    generator = torch.Generator().manual_seed(1)
    symbols = torch.randn(2, len(SUBCARRIERS), dtype=dtype, generator=generator)
    return Superposed(fine(dtype), symbols)


def drawn(phi: LinearOperator, n_snapshots: int = 3, batch: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """y (batch, R, M), g (batch, N), noise (batch, M)."""
    generator = torch.Generator().manual_seed(2)
    real = phi.dtype.to_real()
    y = torch.randn(batch, n_snapshots, phi.n_measurements, dtype=phi.dtype, generator=generator)
    g = torch.rand(batch, phi.n_coefficients, dtype=real, generator=generator) / phi.n_coefficients
    return y, g, 0.01 + torch.rand(batch, phi.n_measurements, dtype=real, generator=generator) / 20


def test_taps_between_the_samples_are_columns_of_the_formula() -> None:
    phi = fine()
    tau = -3.0 + 0.25 * torch.arange(160, dtype=torch.float64)
    expected = torch.exp(-2j * math.pi * SUBCARRIERS.double()[:, None] * tau / 1024) / len(SUBCARRIERS) ** 0.5
    torch.testing.assert_close(phi.dense(), expected)


@pytest.mark.parametrize("phi", [fine(), layered(), fine().coarser(4), layered().coarser(4)])
def test_what_is_overridden_is_what_is_derived(phi: LinearOperator) -> None:
    y, g, _ = drawn(phi)
    dense = phi.dense()
    c = torch.randn(3, phi.n_measurements, phi.n_measurements, dtype=phi.dtype)
    c = c @ c.mH
    torch.testing.assert_close(phi.adjoint(y), y @ dense.conj())
    torch.testing.assert_close(phi.forward(phi.adjoint(y)), y @ dense.conj() @ dense.mT)
    torch.testing.assert_close(phi.covariance(g), (dense * g.unsqueeze(-2)) @ dense.mH)
    torch.testing.assert_close(phi.quadratic_diagonal(c), (dense.mH @ c @ dense).diagonal(dim1=-2, dim2=-1).real)


@pytest.mark.parametrize("phi", [fine(), layered()])
@pytest.mark.parametrize("n_snapshots", [1, 3, 20])
def test_joint_moments_are_those_of_the_dense_posterior(phi: LinearOperator, n_snapshots: int) -> None:
    y, g, noise = drawn(phi, n_snapshots)
    m = phi.joint_moments(y, g, noise)
    inverse = torch.linalg.inv(phi.loaded_covariance(g, noise))
    w = (inverse @ y.mT).mT
    q = phi.adjoint(w)
    torch.testing.assert_close(m.q2, q.abs().square().mean(-2))
    torch.testing.assert_close(m.surprise, w.abs().square().mean(-2))
    torch.testing.assert_close(m.information, inverse.diagonal(dim1=-2, dim2=-1).real)
    torch.testing.assert_close(m.fit, (y.conj() * w).real.mean((-2, -1)))
    torch.testing.assert_close(phi.joint_solution(y, g, noise), w)


@pytest.mark.parametrize("n_snapshots", [1, 4])
def test_the_compiled_moments_are_those_in_torch(n_snapshots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    phi = PilotPattern.random(40, seed=0).operator(256, -4.5, spacing_samples=0.25)
    y, g, noise = drawn(phi, n_snapshots)
    fast, w = phi.joint_moments(y, g, noise), phi.joint_solution(y, g, noise)
    monkeypatch.setattr(partial_dft, "suits", lambda *_: False)
    slow = phi.joint_moments(y, g, noise)
    for name in ("q2", "d", "fit", "surprise", "information"):
        torch.testing.assert_close(getattr(fast, name), getattr(slow, name), rtol=2e-4, atol=1e-4)
    torch.testing.assert_close(w, phi.joint_solution(y, g, noise), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("phi", [fine(), layered()])
def test_flat_variances_need_no_factorisation(phi: LinearOperator) -> None:
    y, _, _ = drawn(phi, 2)
    total, s = torch.tensor([1.0, 0.5, 2.0, 1e-3]).double(), torch.tensor([0.1, 1e-3, 1.0, 0.01]).double()
    g = (total / phi.n_coefficients).unsqueeze(-1).expand(-1, phi.n_coefficients)
    flat = phi.flat_moments(y, total, s)
    full = phi.joint_moments(y, g, s.unsqueeze(-1).expand(-1, phi.n_measurements))
    for name in ("q2", "d", "fit", "surprise", "information"):
        torch.testing.assert_close(getattr(flat, name), getattr(full, name), rtol=1e-9, atol=1e-9)


def test_two_equal_layers_are_one_of_twice_the_variance() -> None:
    phi = fine()
    both = Superposed(phi, torch.ones(2, len(SUBCARRIERS)))
    y, g, noise = drawn(phi)
    one = phi.joint_moments(y, 2 * g, noise)
    two = both.joint_moments(y, g.repeat(1, 2), noise)
    torch.testing.assert_close(two.q2, one.q2.repeat(1, 2))
    torch.testing.assert_close(two.d, one.d.repeat(1, 2))


def test_a_spacing_off_the_grid_is_refused() -> None:
    with pytest.raises(OperatorError, match="spacing_samples"):
        PartialDFT(SUBCARRIERS, 16, 0, 1024, spacing_samples=0.3)
    with pytest.raises(OperatorError, match="spacing_samples"):
        PartialDFT(SUBCARRIERS, 16, 0.5, 1024)
    with pytest.raises(OperatorError, match="pilot_symbols"):
        Superposed(fine(), torch.ones(2, 3))
    with pytest.raises(OperatorError, match="phi"):
        Superposed(PartialDFT(SUBCARRIERS.expand(2, -1), 8), torch.ones(2, len(SUBCARRIERS)))


def test_resolution_is_that_of_the_span() -> None:
    assert PilotPattern((-300, 299)).operator(8).resolution_samples == 1024 / 600
    assert PilotPattern((-2, 1), Grid(8, (-2, -1, 0, 1))).operator(8).resolution_samples == 2
