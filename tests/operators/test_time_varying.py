"""Pilots of several symbols of taps that move: every quantity against plain matrices, and compiled loops."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from chanest.errors import OperatorError
from chanest.operators import Motion, PartialDFT, Repeated, Superposed, TimeVarying
from chanest.problems import jakes

N, P = 24, 3
TIMES = np.array([0.0, 4e-4, 1.1e-3])
DOPPLERS = np.array([0.0, 80.0, 300.0])


def motion(n_symbols: int = P) -> Motion:
    times = TIMES[:n_symbols]
    turns = torch.exp(2j * torch.pi * torch.tensor([0.0, 90.0, -150.0])[:, None] * torch.from_numpy(times))
    return Motion(jakes(DOPPLERS, times, times), turns.to(torch.complex128), torch.zeros(3, dtype=torch.float64))


def case(
    kind: str, dtype: torch.dtype = torch.complex128, batch: int = 4, r: int = 2, n_symbols: int = P
) -> tuple[Any, ...]:
    """An operator, y (batch, R, M), g, noise, weights; ``kind`` is "own", "layers" or "same" pilots on all symbols."""
    generator = torch.Generator().manual_seed(5)
    rng = np.random.default_rng(3)
    per_symbol = 16
    drawn = [np.sort(rng.choice(np.arange(-30, 30), per_symbol, replace=False)) for _ in range(n_symbols)]
    pilots = [drawn[0]] * n_symbols if kind == "same" else drawn
    symbol = torch.arange(n_symbols).repeat_interleave(per_symbol)
    phi: Any = PartialDFT(torch.from_numpy(np.concatenate(pilots)), N, -1.0, 128, dtype, spacing_samples=0.5)
    n_layers = 2 if kind == "layers" else 1
    if n_layers == 2:
        code = torch.ones(2, n_symbols * per_symbol)
        code[1, ::2] = -1
        phi = Superposed(phi, code)
    weights = torch.softmax(torch.randn(batch, 3, dtype=torch.float64, generator=generator), -1)
    real = dtype.to_real()
    g = torch.rand(batch, n_layers * N, generator=generator, dtype=real).square() / N
    y = (
        torch.randn(batch, r, n_symbols * per_symbol, dtype=dtype, generator=generator)
        / (n_symbols * per_symbol) ** 0.5
    )
    noise = (0.02 + 0.1 * torch.rand(batch, n_symbols * per_symbol, generator=generator, dtype=real)) / (
        n_symbols * per_symbol
    )
    return TimeVarying(phi, symbol, motion(n_symbols), weights), y, g, noise


def dense(phi: Any) -> Tensor:
    """exp(-2 pi i k tau / n_fft) of the pilots of all symbols times what the layers send, over sqrt(M)."""
    layer = phi.layer
    tau = layer.first_tap_samples + layer.spacing_samples * torch.arange(layer.n_coefficients).double()
    angle = -2 * torch.pi * layer.subcarriers.double()[:, None] * tau / layer.n_fft
    one = torch.polar(torch.ones_like(angle), angle) / layer.n_measurements**0.5
    return torch.cat([code.to(one.dtype)[:, None] * one for code in phi.symbols], 1)


def matrices(moving: TimeVarying, g: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Phi, and C of every group, with the diagonal load."""
    phi, m = dense(moving.phi), moving.phi.n_measurements
    between = moving.correlation[:, moving.symbol][:, :, moving.symbol]
    c = (phi * g.double().unsqueeze(-2)) @ phi.mH * between
    load = noise.double() + 1e-5 * g.double().sum(-1, keepdim=True) / m
    return phi, c + torch.diag_embed(load).to(c.dtype)


@pytest.mark.parametrize("kind", ["own", "layers"])
def test_moments_are_those_of_plain_matrices(kind: str) -> None:
    moving, y, g, noise = case(kind)
    phi, c = matrices(moving, g, noise)
    found = moving.joint_moments(y, g, noise)
    inverse = torch.linalg.inv(c)
    w = (inverse @ y.mT).mT
    of = torch.nn.functional.one_hot(moving.symbol, P).to(phi.dtype)
    q = torch.einsum("mn,mp,brm->brpn", phi.conj(), of, w)
    quadratic = torch.einsum("brpn,bpq,brqn->brn", q.conj(), moving.correlation.to(q.dtype), q).real.mean(1)
    each = torch.einsum("mn,mp,bmk,kq,kn->bnpq", phi.conj(), of, inverse, of, phi)
    spread = torch.einsum("bpq,bnqp->bn", moving.correlation.to(each.dtype), each).real
    looks = torch.maximum(g * spread, moving.looks.unsqueeze(-1))
    torch.testing.assert_close(found.q2, quadratic / looks)
    torch.testing.assert_close(found.d, spread / looks)
    torch.testing.assert_close(found.fit, (y.conj() * w).real.mean((-2, -1)))
    torch.testing.assert_close(found.surprise, w.abs().square().mean(-2))
    torch.testing.assert_close(found.information, inverse.diagonal(dim1=-2, dim2=-1).real)
    torch.testing.assert_close(moving.joint_solution(y, g, noise), w)
    torch.testing.assert_close(moving.adjoint(w), q)


@pytest.mark.parametrize("kind", ["own", "layers"])
def test_adjoint_and_forward_are_a_pair(kind: str) -> None:
    moving, y, g, _ = case(kind)
    x = torch.randn(*y.shape[:2], P, g.shape[-1], dtype=y.dtype, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close((moving.forward(x).conj() * y).sum(), (x.conj() * moving.adjoint(y)).sum())


@pytest.mark.parametrize("kind", ["own", "layers", "same"])
def test_evidence_is_the_gaussian_likelihood_of_every_candidate(kind: str) -> None:
    moving, y, g, noise = case(kind)
    if kind == "same":
        noise = noise[:, :16].repeat(1, P)
    turns = moving.motion.turns
    found = moving.evidence(y, g, noise).log_likelihood(turns)
    for d, v in np.ndindex(3, 3):
        still = y * turns[v].conj()[moving.symbol]
        _, c = matrices(moving.with_weights(torch.eye(3, dtype=torch.float64)[d].expand(len(y), -1)), g, noise)
        fit = torch.einsum("brm,bmk,brk->b", still.conj(), torch.linalg.inv(c), still).real
        torch.testing.assert_close(found[:, d, v], -fit - y.shape[1] * torch.linalg.slogdet(c)[1], rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["own", "layers"])
def test_what_is_explained_of_any_subcarrier(kind: str) -> None:
    moving, _, g, noise = case(kind)
    _, c = matrices(moving, g, noise)
    k = torch.tensor([-29, 0, 7])
    band = moving.layer.seen_at(k)
    found = moving.explained(band, g, noise)
    of = torch.nn.functional.one_hot(moving.symbol, P).to(c.dtype)
    row = dense(band) * len(k) ** 0.5
    for layer in range(moving.n_layers):
        own = slice(layer * N, (layer + 1) * N)
        v = (dense(moving.phi)[:, own] * g[:, None, own]) @ row.mH  # (batch, M, n)
        expected = torch.einsum("bmk,mp,bml,lq,blk->bkpq", v.conj(), of, torch.linalg.inv(c), of, v)
        torch.testing.assert_close(found[:, layer], expected)


def test_the_same_pilots_on_all_symbols_need_no_matrix_of_all() -> None:
    moving, y, g, noise = case("same")
    noise = noise[:, :16].repeat(1, P)
    one = PartialDFT(moving.layer.subcarriers[:16], N, -1.0, 128, y.dtype, spacing_samples=0.5)
    repeated = Repeated(one, moving.motion, moving.weights)
    own = repeated.arranged(y), g, repeated.of_symbol(noise) * repeated.unit
    mine, theirs = repeated.joint_moments(*own), moving.joint_moments(y, g, noise)
    for name in ("q2", "d", "fit"):
        torch.testing.assert_close(getattr(mine, name), getattr(theirs, name), rtol=1e-3, atol=1e-4)
    by_symbol = theirs.surprise.unflatten(-1, (P, 16)).mean(1) / P
    torch.testing.assert_close(mine.surprise, by_symbol, rtol=1e-3, atol=1e-4)
    solved = repeated.adjoint(repeated.joint_solution(*own)), moving.adjoint(moving.joint_solution(y, g, noise))
    torch.testing.assert_close(*solved, rtol=1e-3, atol=1e-4)
    turns = moving.motion.turns
    likely = repeated.evidence(*own).log_likelihood(turns), moving.evidence(y, g, noise).log_likelihood(turns)
    torch.testing.assert_close(*(one - one[:, :1, :1] for one in likely), rtol=1e-3, atol=1e-2)
    band = one.seen_at(torch.tensor([-29, 0, 7]))
    left = [operator.explained(band, g, s) for operator, s in ((repeated, own[2]), (moving, noise))]
    wanted = torch.rand(5, P, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    across = torch.linalg.solve(moving.correlation, moving.correlation @ wanted.mT).mT  # any mixture of the symbols
    explained = (torch.einsum("bsp,blkpq,bsq->blsk", across, one.real.double(), across) for one in left)
    torch.testing.assert_close(*explained, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(repeated.response(solved[0]), moving.response(solved[1]), rtol=1e-3, atol=1e-4)
    flat = torch.full_like(g, 1 / N), torch.full_like(own[2], 0.01)
    level = flat[1][:, 0]
    torch.testing.assert_close(
        repeated.flat_moments(own[0], flat[0].sum(-1), level).q2,
        repeated.joint_moments(own[0], *flat).q2,
        rtol=1e-4,
        atol=1e-7,
    )


@pytest.mark.parametrize("n_symbols", [2, 3])
def test_compiled_loops_give_the_same(n_symbols: int) -> None:
    exact, y, g, noise = case("own", n_symbols=n_symbols)
    moving, *_ = case("own", torch.complex64, n_symbols=n_symbols)
    single = y.to(torch.complex64), g.float(), noise.float()
    mine, theirs = moving.joint_moments(*single), exact.joint_moments(y, g, noise)
    for name in ("q2", "d", "fit", "surprise", "information"):
        torch.testing.assert_close(getattr(mine, name).double(), getattr(theirs, name), rtol=2e-3, atol=1e-4)
    likely = [
        one.log_likelihood(moving.motion.turns) for one in (moving.evidence(*single), exact.evidence(y, g, noise))
    ]
    torch.testing.assert_close(*likely, rtol=1e-3, atol=1e-2)


def test_at_rest_one_look_and_independent_symbols_as_many_as_there_are() -> None:
    moving, y, g, noise = case("own")
    at_rest = moving.with_weights(torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64).expand(len(y), -1))
    assert at_rest.looks.tolist() == pytest.approx([1.0] * len(y))
    torch.testing.assert_close(
        at_rest.joint_solution(y, g, noise), moving.phi.joint_solution(y, g, noise), rtol=1e-6, atol=1e-9
    )
    apart = TimeVarying(moving.phi, moving.symbol, Motion(torch.eye(P)[None].double(), *[torch.ones(1, P) + 0j] * 2))
    assert float(apart.looks) == pytest.approx(P)


def test_a_symbol_for_every_pilot_is_asked_for() -> None:
    moving, *_ = case("own")
    with pytest.raises(OperatorError, match=r"symbol: expected \(48,\), got \(3,\)"):
        TimeVarying(moving.phi, torch.arange(3), moving.motion)
