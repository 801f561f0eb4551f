"""Gaussian posteriors for given tap variances: what LMMSE, SBL, NA-SBL and EP share.

x ~ CN(0, diag(g)) and y = Phi x + z, z ~ CN(0, s I), give C = Phi diag(g) Phi^H + s I, the mean
g * Phi^H C^-1 y, and the diagonal d of Phi^H C^-1 Phi, from which the variances g (1 - g d) follow. Operators
build C and d fast (PartialDFT: one FFT each).
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..operators import LinearOperator
from . import namespace
from .namespace import Array, Covariances

LOADING = 1e-5  # of the mean power: keeps noiseless float32 factorisations positive
CHUNK = 64
_LOADS = (0.0, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 1e3, 1e6)


def covariance(phi: LinearOperator, g: Tensor, noise_variance: Tensor) -> Tensor:
    """C = Phi diag(g) Phi^H + (s + 1e-5 sum(g) / M) I.

    Args:
        g: (*batch, N) tap variances.
        noise_variance: (*batch,) s, of an entry of y.

    Returns:
        (*batch, M, M), Hermitian.
    """
    c = phi.covariance(g)
    load = loading(g, noise_variance, phi.n_measurements)
    return c + torch.diag_embed(load.unsqueeze(-1).expand(c.shape[:-1])).to(c.dtype)


def loading(g: Array, noise_variance: Array, n_measurements: Array, xp: ModuleType = namespace) -> Array:
    """What :func:`covariance` adds to the diagonal, (*batch,).

    >>> loading(torch.ones(2, 100), torch.tensor(0.5), 10)
    tensor([0.5001, 0.5001])
    """
    return noise_variance + LOADING * xp.sum(g, -1) / n_measurements


def crowding(phi: Covariances, g: Array, xp: ModuleType = namespace) -> Array:
    """log M ||C||^2 / tr(C)^2, C = Phi diag(g) Phi^H: log of M over the directions that C fills; 0 for a comb.

    Args:
        g: (N,) tap variances.

    Returns:
        (*batch_shape,) of the operator.

    >>> from chanest import PartialDFT, PilotPattern
    >>> comb, random = (p.operator(272) for p in (PilotPattern.comb(8), PilotPattern.random(75, seed=0)))
    >>> bool(crowding(comb, torch.ones(272)) < 0.03 < crowding(random, torch.ones(272)))
    True
    """
    c = phi.covariance(xp.broadcast_to(g, (*phi.batch_shape, phi.n_coefficients)))
    trace = xp.sum(xp.real(xp.diagonal(c)), -1)
    return xp.log(phi.n_measurements * xp.sum(xp.abs2(c), (-2, -1)) / xp.square(trace))


class _Inverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, c: Tensor) -> Tensor:
        inverse = torch.cholesky_inverse(cholesky(c))
        ctx.save_for_backward(inverse)
        return inverse

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (inverse,) = ctx.saved_tensors
        return -inverse @ gradient @ inverse


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, c: Tensor, y: Tensor) -> Tensor:
        factor = cholesky(c)
        w = torch.cholesky_solve(y.unsqueeze(-1), factor)
        ctx.save_for_backward(factor, w)
        return w.squeeze(-1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        factor, w = ctx.saved_tensors
        v = torch.cholesky_solve(gradient.unsqueeze(-1), factor)
        return -v @ w.mH, v.squeeze(-1)


def inverse(c: Tensor) -> Tensor:
    """C^-1 of Hermitian positive definite matrices, differentiable, finite whatever the rounding.

    >>> inverse(torch.diag(torch.tensor([2.0, 4.0])).to(torch.complex64)).diagonal().real
    tensor([0.5000, 0.2500])
    """
    return _Inverse.apply(c)


def solve(c: Tensor, y: Tensor) -> Tensor:
    """C^-1 y, (*batch, M, M), (*batch, M) -> (*batch, M): as :func:`inverse`, cheaper.

    >>> solve(torch.diag(torch.tensor([2.0, 4.0])).to(torch.complex64), torch.ones(2) + 0j).real
    tensor([0.5000, 0.2500])
    """
    return _Solve.apply(c, y.expand(c.shape[:-1]))


def cholesky(c: Tensor) -> Tensor:
    """Lower Cholesky factors; entries that fail are taken again in double precision, ever more loaded.

    NaN or Inf in a matrix gives NaN in its factor.
    """
    factor, info = torch.linalg.cholesky_ex(c)
    if torch.compiler.is_exporting():
        return torch.cond((info != 0).any(), _mended, _kept, (c, factor, info))
    if not bool(info.any()):
        return factor
    failed = info != 0
    factor = factor.clone()
    factor[failed] = _loaded_factor(c[failed])
    return factor


def _loaded_factor(c: Tensor) -> Tensor:
    """Factors of (n, M, M) in double precision, with the first load at which none of them fails."""
    exact, load_of_one = _exact(c)
    for load in _LOADS:
        factor, info = torch.linalg.cholesky_ex(exact + load * load_of_one)
        if not bool(info.any()):
            break
    else:
        factor = torch.where((info != 0)[:, None, None], torch.nan, factor)
    return factor.to(c.dtype)


def _mended(c: Tensor, factor: Tensor, info: Tensor) -> Tensor:
    """What :func:`cholesky` returns where some entries failed, without looking at values, for torch.export."""
    failed = info != 0
    identity = torch.eye(c.shape[-1], dtype=c.dtype, device=c.device)
    exact, load_of_one = _exact(torch.where(failed[..., None, None], c, identity))
    found, pending = torch.zeros_like(exact), torch.ones_like(failed.any())
    for load in _LOADS:
        again, left = torch.linalg.cholesky_ex(exact + load * load_of_one)
        found = torch.where(pending, torch.where((left != 0)[..., None, None], torch.nan, again), found)
        pending = pending & (left != 0).any()
    return torch.where(failed[..., None, None], found.to(c.dtype), factor)


def _kept(c: Tensor, factor: Tensor, info: Tensor) -> Tensor:
    return factor.clone()


def _exact(c: Tensor) -> tuple[Tensor, Tensor]:
    """c in double precision, and the load that is one mean diagonal entry."""
    exact = c.to(torch.complex128 if c.is_complex() else torch.float64)
    identity = torch.eye(c.shape[-1], dtype=exact.dtype, device=c.device)
    scale = exact.diagonal(dim1=-2, dim2=-1).real.abs().mean(-1)[..., None, None]
    return exact, torch.where(scale > 0, scale, 1.0) * identity


@torch.no_grad()
def posterior_variance(phi: LinearOperator, band: LinearOperator, g: Tensor, noise_variance: Tensor) -> Tensor:
    """Variance of sqrt(M') (Phi' x) given y, for the rows of another operator Phi' over the same taps.

    p[k] = sum(g) - M' v_k^H C^-1 v_k with v_k = Phi diag(g) Phi'_k^H: for a PartialDFT on the used subcarriers,
    the posterior variance of the CFR.

    Args:
        phi: where y was observed.
        band: Phi', M' rows.
        g: (*batch, N).
        noise_variance: (*batch,).

    Returns:
        (*batch, M') real, not negative.
    """
    batch = g.shape[:-1]
    if torch.compiler.is_exporting():  # a batch of unknown size cannot be cut
        return _explained_away(phi, band, g, noise_variance.expand(batch))
    rows_g, rows_s = g, noise_variance.expand(batch)
    size = max(1, len(rows_g)) if g.ndim > 1 else 1
    if not phi.batch_shape:
        rows_g, rows_s, size = g.reshape(-1, g.shape[-1]), rows_s.reshape(-1), CHUNK
    parts = zip(rows_g.split(size), rows_s.split(size), strict=True)
    return torch.cat([_explained_away(phi, band, *part) for part in parts]).reshape(*batch, -1)


def _explained_away(phi: LinearOperator, band: LinearOperator, g: Tensor, noise_variance: Tensor) -> Tensor:
    """What :func:`posterior_variance` returns, for a batch that fits memory."""
    factor = cholesky(covariance(phi, g, noise_variance))
    v = phi.cross_covariance(band, g)
    explained = torch.linalg.solve_triangular(factor, v, upper=False).abs().square().sum(-2)
    return (g.sum(-1, keepdim=True) - band.n_measurements * explained).clamp_min(0)
