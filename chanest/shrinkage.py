"""Shrinkage: one soft threshold for real and complex vectors, with or without support selection."""

import torch
from torch import Tensor


def soft_threshold(x: Tensor, threshold: Tensor | float, n_exempt: int = 0) -> Tensor:
    """Shrink the modulus by ``threshold``, keep the sign or phase (paper, below eq. 3, and footnote 3).

    With ``n_exempt`` = p > 0 exactly p entries of largest modulus per vector pass unshrunk (support
    selection, Chen et al. 2018). The gradient at zero is zero, never NaN.

    Args:
        x: (*batch, N), real or complex.
        threshold: not negative, broadcast against x.
        n_exempt: p, 0...N.

    Returns:
        (*batch, N), of x's dtype.

    >>> soft_threshold(torch.tensor([3.0, -0.5, 1.0]), 1.0)
    tensor([2., -0., 0.])
    >>> soft_threshold(torch.tensor([3.0, -0.5, 1.0]), 1.0, n_exempt=1)
    tensor([3., -0., 0.])
    """
    modulus = x.abs()
    tiny = torch.finfo(modulus.dtype).tiny
    gain = (modulus - threshold).clamp_min(0) / modulus.clamp_min(tiny)
    if n_exempt > 0:
        exempt = modulus.detach().topk(min(n_exempt, x.shape[-1]), dim=-1, sorted=False).indices
        gain = gain.scatter(-1, exempt, 1.0)
    return gain * x


def support_schedule(sparsity: float, n_iterations: int, fewest: int = 3, most: int = 10) -> tuple[int, ...]:
    """How many entries pass unshrunk in each iteration, as in the published OFDM runs.

    linspace(1.5 S // K, 1.5 S, K), clipped to ``fewest``...``most`` and rounded down; all zero for S = 0.

    >>> support_schedule(8, 16)
    (3, 3, 3, 3, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 10, 10)
    """
    if sparsity == 0:
        return (0,) * n_iterations
    ramp = torch.linspace(1.5 * sparsity // n_iterations, 1.5 * sparsity, n_iterations, dtype=torch.float64)
    return tuple(int(p) for p in ramp.clamp(fewest, most).tolist())
