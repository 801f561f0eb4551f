"""Cholesky factors, inverses and solutions that stay finite whatever the rounding, and can be differentiated."""

from typing import Any

import torch
from torch import Tensor

LOADING = 1e-5  # of the mean power: keeps noiseless float32 factorisations positive
_LOADS = (0.0, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 1e3, 1e6)


def diagonal_load(power: Any, noise_variance: Any, n_measurements: Any) -> Any:
    """What the diagonal of a covariance Phi diag(g) Phi^H carries, s + 1e-5 power / M with power = sum(g): (*batch,).

    Numbers, or arrays of any library.

    >>> f"{diagonal_load(100.0, 0.5, 10):.4f}"
    '0.5001'
    """
    return noise_variance + LOADING * power / n_measurements


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
        w = torch.cholesky_solve(y, factor)
        ctx.save_for_backward(factor, w)
        return w

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        factor, w = ctx.saved_tensors
        v = torch.cholesky_solve(gradient, factor)
        return -v @ w.mH, v


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
    return _Solve.apply(c, y.expand(c.shape[:-1]).unsqueeze(-1)).squeeze(-1)


def solve_all(c: Tensor, y: Tensor) -> Tensor:
    """C^-1 Y, (*batch, M, M), (*batch, M, R) -> (*batch, M, R), by one factorisation.

    >>> solve_all(torch.diag(torch.tensor([2.0, 4.0])).to(torch.complex64), torch.ones(2, 3) + 0j).real[:, 0]
    tensor([0.5000, 0.2500])
    """
    return _Solve.apply(c, y)


def cholesky(c: Tensor) -> Tensor:
    """Lower Cholesky factors; entries that fail are taken again in double precision, ever more loaded.

    NaN or Inf in a matrix gives NaN in its factor.
    """
    factor, info = torch.linalg.cholesky_ex(c)
    if torch.compiler.is_exporting():
        return torch.cond((info != 0).any(), _mended, _unchanged, (c, factor, info))
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
    """The factors of :func:`cholesky` where some entries failed, without looking at values, for torch.export."""
    failed, identity = info != 0, torch.eye(c.shape[-1], dtype=c.dtype, device=c.device)
    exact, load_of_one = _exact(torch.where(failed[..., None, None], c, identity))
    found, pending = torch.zeros_like(exact), torch.ones_like(failed.any())
    for load in _LOADS:
        again, left = torch.linalg.cholesky_ex(exact + load * load_of_one)
        found = torch.where(pending, torch.where((left != 0)[..., None, None], torch.nan, again), found)
        pending = pending & (left != 0).any()
    return torch.where(failed[..., None, None], found.to(c.dtype), factor)


def _unchanged(c: Tensor, factor: Tensor, info: Tensor) -> Tensor:
    return factor.clone()


def _exact(c: Tensor) -> tuple[Tensor, Tensor]:
    """c in double precision, and the load that is one mean diagonal entry."""
    exact = c.to(torch.complex128 if c.is_complex() else torch.float64)
    scale = exact.diagonal(dim1=-2, dim2=-1).real.abs().mean(-1)[..., None, None]
    return exact, torch.where(scale > 0, scale, 1.0) * torch.eye(c.shape[-1], dtype=exact.dtype, device=c.device)
