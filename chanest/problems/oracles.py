"""Bounds, not estimators: least squares and MMSE for a receiver that is told the true delays."""

import torch
from torch import Tensor


def oracle(
    observations: Tensor,
    subcarriers: Tensor,
    delays: Tensor,
    variances: Tensor,
    noise_variance: Tensor | None,
    n_fft: int,
) -> Tensor:
    """Path gains when the delays are known: MMSE given the prior and noise variances, else least squares.

    Solves (A^H A + D) g = A^H h in complex128, A[m, p] = exp(-2 pi i k_m delay_p / n_fft), with
    D = noise_variance / variances (MMSE) or 1e-12 M (least squares, so that equal delays stay solvable).

    Args:
        observations: (batch, M) complex, H + noise at the pilots.
        subcarriers: (M,) pilot subcarriers, counted from DC (bins would be wrong between the samples).
        delays: (batch, P) samples.
        variances: (batch, P) prior variances; zero marks an absent path, whose gain is zero.
        noise_variance: (batch,) mean over the pilots, all that a receiver can know; None for least squares.

    Returns:
        (batch, P) complex128.

    >>> h = torch.ones(1, 4, dtype=torch.complex64)
    >>> zero_delay, flat = torch.zeros(1, 1), torch.ones(1, 1)
    >>> oracle(h, torch.arange(4), zero_delay, flat, None, 1024).real.round(decimals=6)
    tensor([[1.]], dtype=torch.float64)
    >>> oracle(h, torch.arange(4), zero_delay, flat, torch.ones(1), 1024).real
    tensor([[0.8000]], dtype=torch.float64)
    """
    turns = subcarriers.double().unsqueeze(-1) * delays.double().unsqueeze(-2) / n_fft
    present = variances > 0
    a = torch.polar(torch.ones_like(turns), -2 * torch.pi * turns) * present.unsqueeze(-2)
    if noise_variance is None:
        load = torch.full_like(delays, 1e-12 * len(subcarriers), dtype=torch.float64)
    else:
        load = noise_variance.double().unsqueeze(-1) / variances.double().clamp_min(1e-300)
    load = torch.where(present, load, 1.0)
    normal = a.mH @ a + torch.diag_embed(load)
    right = (a.mH @ observations.to(a.dtype).unsqueeze(-1)).squeeze(-1)
    return torch.linalg.solve(normal, right)
