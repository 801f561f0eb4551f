"""Bounds, not estimators: least squares and MMSE for a receiver that is told the true delays, or the support."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def path_gains(
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
    >>> path_gains(h, torch.arange(4), zero_delay, flat, None, 1024).real.round(decimals=6)
    tensor([[1.]], dtype=torch.float64)
    >>> path_gains(h, torch.arange(4), zero_delay, flat, torch.ones(1), 1024).real
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


def support_coefficients(
    observations: Tensor, matrix: Tensor, support: Tensor, noise_variance: Tensor | None
) -> Tensor:
    """Coefficients N(0, 1) on a known support: MMSE given the noise variance, else least squares.

    Args:
        observations: (batch, M).
        matrix: (M, N).
        support: (batch, N) bool.
        noise_variance: (batch,) of an observation; None for least squares.

    Returns:
        (batch, N) float32.

    >>> y, support = torch.tensor([[2.0, 5.0]]), torch.tensor([[True, False, True]])
    >>> matrix = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    >>> support_coefficients(y, matrix, support, torch.ones(1)).round(decimals=3)
    tensor([[1.0000, 0.0000, 2.5000]])
    """
    present = support.double()
    load = torch.full((len(observations),), 1e-9).double() if noise_variance is None else noise_variance.double()
    matrix = matrix.double()
    c = torch.einsum("mn,bn,kn->bmk", matrix, present, matrix)
    c = c + load[:, None, None] * torch.eye(len(matrix), dtype=torch.float64)
    w = torch.cholesky_solve(observations.double().unsqueeze(-1), torch.linalg.cholesky(c)).squeeze(-1)
    return (present * (w @ matrix)).float()
