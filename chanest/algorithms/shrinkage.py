"""Shrinkage: one soft threshold for real and complex vectors, with or without support selection."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..errors import AlgorithmError
from . import namespace
from .namespace import Array, Namespace

SCHEDULES = ("ofdm", "published", "synthetic")
_FEWEST, _MOST = 3, 10  # entries, of the schedules "ofdm" and "published"


def soft_threshold(x: Tensor, threshold: Tensor | float, n_exempt: int | Tensor = 0, joint: bool = False) -> Tensor:
    """Shrink the modulus by ``threshold``, keep the sign or phase (paper, below eq. 3, and footnote 3).

    With ``n_exempt`` = p > 0 exactly p entries of largest modulus per vector pass unshrunk (support
    selection, Chen et al. 2018). The gradient at zero is zero, never NaN. Real x is differentiable once.

    Args:
        x: (*batch, N), real or complex.
        threshold: not negative, broadcast against x.
        n_exempt: p, 0...N; one for all vectors, or integers (*batch, 1), one for each.
        joint: x is (*batch, R, N), R snapshots that vanish together: the modulus of an entry is its root mean square
            over them (row sparsity, Yuan & Lin 2006).

    Returns:
        (*batch, N), of x's dtype.

    >>> soft_threshold(torch.tensor([3.0, -0.5, 1.0]), 1.0)
    tensor([2., 0., 0.])
    >>> soft_threshold(torch.tensor([3.0, -0.5, 1.0]), 1.0, n_exempt=1)
    tensor([3., 0., 0.])
    """
    if joint:
        power = torch.view_as_real(x).square().sum(-1) if x.is_complex() else x.square()
        modulus = power.mean(-2, keepdim=True).clamp_min(torch.finfo(power.dtype).tiny).sqrt()
        gain = shrinking_gain(modulus, threshold)
        if isinstance(n_exempt, Tensor):
            raise AlgorithmError("expected one number for all snapshots", field="n_exempt")
        if n_exempt > 0:
            gain = gain.scatter(-1, _largest(modulus, n_exempt), 1.0)
        return gain * x
    if x.is_floating_point() and isinstance(n_exempt, int):
        threshold = torch.as_tensor(threshold, dtype=x.dtype, device=x.device)
        if torch.is_grad_enabled() and (x.requires_grad or threshold.requires_grad):
            return _RealShrinkage.apply(x, threshold, n_exempt)
        return _shrunk(x, threshold, _largest(x, n_exempt))
    modulus = x.abs()
    gain = shrinking_gain(modulus, threshold)
    if isinstance(n_exempt, Tensor):
        order = modulus.detach().argsort(dim=-1, descending=True)
        first = (torch.arange(x.shape[-1], device=x.device) < n_exempt).expand_as(order)
        gain = torch.where(torch.zeros_like(first).scatter(-1, order, first), 1.0, gain)
    elif n_exempt > 0:
        gain = gain.scatter(-1, _largest(x, n_exempt), 1.0)
    return gain * x


def shrinking_gain(modulus: Array, threshold: Array, xp: Namespace = namespace) -> Array:
    """What a soft threshold multiplies entries of a modulus by."""
    return xp.clip(modulus - threshold, 0) / xp.clip(modulus, xp.tiny(modulus))


def _largest(x: Tensor, n: int) -> Tensor:
    """Where the n entries of largest modulus are: (*batch, n)."""
    return x.detach().abs().topk(min(n, x.shape[-1]), dim=-1, sorted=False).indices


def _shrunk(x: Tensor, threshold: Tensor, exempt: Tensor) -> Tensor:
    """Real x; what was clamped to +-threshold is what shrinkage takes away."""
    return (x - x.clamp(-threshold, threshold)).scatter(-1, exempt, x.gather(-1, exempt))


class _RealShrinkage(torch.autograd.Function):
    """Half the passes over memory that autograd makes of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: Tensor, n_exempt: int) -> Tensor:
        exempt = _largest(x, n_exempt)
        shrunk = _shrunk(x, threshold, exempt)
        ctx.save_for_backward(shrunk, exempt)
        ctx.shape = threshold.shape
        return shrunk

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_shrunk: Tensor) -> tuple[Tensor | None, ...]:
        shrunk, exempt = ctx.saved_tensors
        signs = shrunk.sign()
        by_threshold = None
        if ctx.needs_input_grad[1]:
            by_threshold = -(signs.scatter(-1, exempt, 0.0) * by_shrunk).sum_to_size(ctx.shape)
        by_x = (by_shrunk * signs.abs_()).scatter_(-1, exempt, by_shrunk.gather(-1, exempt))
        return by_x, by_threshold, None


def support_schedule(sparsity: float, n_iterations: int, kind: str | None = None) -> tuple[int, ...]:
    """How many entries pass unshrunk in each iteration; all zero for S = 0.

    Args:
        sparsity: S.
        n_iterations: K.
        kind: "ofdm", also where None: linspace(1.5 S // K, 1.5 S, K) clipped to 3...10; "published": one less, which is
            what passed in the published OFDM runs, where an entry had to be larger than the p-th largest; or
            "synthetic": linspace(1.2 S / K, 1.2 S, K). All are rounded down.

    Raises:
        AlgorithmError: another kind.

    >>> support_schedule(8, 16)
    (3, 3, 3, 3, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 10, 10)
    >>> support_schedule(8, 4), support_schedule(8, 4, "published")
    ((3, 6, 9, 10), (2, 5, 8, 9))
    >>> support_schedule(50, 8, "synthetic")
    (7, 15, 22, 30, 37, 45, 52, 60)
    """
    AlgorithmError.unless(kind in (None, *SCHEDULES), f"one of {', '.join(SCHEDULES)}", kind, "schedule")
    if sparsity == 0:
        return (0,) * n_iterations
    if kind == "synthetic":  # the hair keeps whole numbers whole
        return tuple(int(1.2 * sparsity * k / n_iterations + 1e-9) for k in range(1, n_iterations + 1))
    low, high = 1.5 * sparsity // n_iterations, 1.5 * sparsity
    step = (high - low) / max(1, n_iterations - 1)
    ramp = [  # from either end, so that both are met exactly
        low + step * k if n_iterations == 1 or k < n_iterations // 2 else high - step * (n_iterations - 1 - k)
        for k in range(n_iterations)
    ]
    return tuple(int(min(max(p, _FEWEST), _MOST)) - (kind == "published") for p in ramp)
