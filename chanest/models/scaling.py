"""Between H at the pilots and y = H / sqrt(M) of unit norm: the only module that converts."""

from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..algorithms import namespace
from ..kernels import adapters


def normalise(observations: Tensor) -> tuple[Tensor, Tensor]:
    """y of unit norm and the RMS of the observations: observations = y * sqrt(M) * rms.

    Dividing first by the largest modulus keeps squares inside float32 whatever the receiver's units.

    Args:
        observations: (*batch, M), complex or real.

    Returns:
        y (*batch, M) with ||y|| = 1 (or 0), rms (*batch, 1).

    >>> y, rms = normalise(torch.full((1, 4), 3e-30 + 0j))
    >>> float(torch.linalg.vector_norm(y)), f"{float(rms):.1e}"
    (1.0, '3.0e-30')
    """
    if adapters.are_single(observations) and not (torch.is_grad_enabled() and observations.requires_grad):
        return _normalised(observations)
    parts = torch.view_as_real(observations.resolve_conj()) if observations.is_complex() else observations.unsqueeze(-1)
    peak = parts.abs().amax((-2, -1)).unsqueeze(-1)
    audible = peak >= torch.finfo(peak.dtype).tiny  # below, division underflows: as good as silence
    peak = torch.where(audible, peak, 1.0)
    relative = torch.where(audible, observations / peak, 0.0)
    rms = relative.abs().square().mean(-1, keepdim=True).sqrt()
    y = relative / torch.where(rms > 0, rms, 1.0) / observations.shape[-1] ** 0.5
    return y, rms * peak


def _normalised(observations: Tensor) -> tuple[Tensor, Tensor]:
    """The same by a compiled loop."""
    from ..kernels.scaling import normalise

    (observed,) = adapters.rows(observations)
    y, rms = np.empty_like(observed), np.empty(len(observed), np.float32)
    adapters.run(normalise, len(observed), observed, y, rms)
    return torch.from_numpy(y).view(observations.shape), torch.from_numpy(rms).view(*observations.shape[:-1], 1)


def normalise_group(observations: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`normalise` of snapshots together: entries of mean square 1/M, and one RMS.

    Args:
        observations: (*batch, R, M).

    Returns:
        y (*batch, R, M), rms (*batch, 1).

    >>> y, rms = normalise_group(torch.full((1, 2, 4), 3 + 0j))
    >>> round(y.abs().max().item(), 6), rms.item()
    (0.5, 3.0)
    """
    r, m = observations.shape[-2:]
    y, rms = normalise(observations.flatten(-2))
    return y.unflatten(-1, (r, m)) * r**0.5, rms


def noise_of_y(noise_variance: Any, scale: Any, n_pilots: Any, xp: ModuleType = namespace) -> Any:
    """The noise variance of an entry of y, given that of an observation and the RMS that normalise found.

    >>> noise_of_y(0.3, torch.tensor([[2.0]]), 75)
    tensor([0.0010])
    """
    rms = scale[..., 0]
    noise = xp.full_like(xp.double(rms), noise_variance)
    relative = xp.clip(xp.square(xp.sqrt(noise) / xp.clip(xp.double(rms), xp.tiny(rms))), 0.0, 1e6)
    return xp.astype(relative / n_pilots, rms.dtype)


def noise_of_pilots(noise_variance: Tensor, rms: Tensor, n_pilots: int) -> Tensor:
    """The noise variance of every entry of y, (groups, M), from that of every observation and the RMS (groups, 1)."""
    relative = (noise_variance.double().sqrt() / rms.double().clamp_min(torch.finfo(rms.dtype).tiny)).square()
    return (relative.clamp(0, 1e12) / n_pilots).to(rms.dtype)
