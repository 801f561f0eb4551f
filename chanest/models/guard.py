"""No estimate makes things worse in silence: how much of what an iteration found is returned.

In the arrays of any namespace.
"""

from typing import Any

import numpy as np
import torch

from ..algorithms import namespace
from ..algorithms.namespace import Array, Namespace
from ..kernels import adapters

MOST_BAND = 2.0  # mean power on the used subcarriers over that at the pilots
ROUNDING = 1e-4
TINY = 1e-300


def kept_share(fitted: Array, response: Array | None, y: Array, xp: Namespace = namespace) -> Array:
    """How much of x to return, (*batch,) in 0...1: 1 unless ||y - Phi x|| > ||y||, or the band is twice as loud as y.

    Then the largest share that leaves no more than y and keeps the band; 0 where x is not finite. No gradient.

    Args:
        fitted: (*batch, M), Phi x.
        response: (*batch, n), x on the used subcarriers over sqrt(n), whose mean power counts; None where there are
            none.
        y: (*batch, M).

    >>> import torch
    >>> fitted = torch.tensor([[1.0, 0.0], [4.0, 0.0], [-1.0, 0.0], [torch.nan, 0.0]])
    >>> kept_share(fitted, None, torch.tensor([[1.0, 0.0]]).expand(4, -1)).tolist()
    [1.0, 0.25, 0.0, 0.0]
    """
    if xp is namespace and adapters.are_single(fitted, y, *(() if response is None else (response,))):
        return _compiled_share(fitted, response, y)
    dtype = xp.real(y).dtype
    fitted, y = xp.double(xp.constant(fitted)), xp.double(xp.constant(y))
    energy = xp.sum(xp.abs2(fitted), -1)
    loud = None if response is None else xp.sum(xp.double(xp.abs2(xp.constant(response))), -1)
    sound = xp.isfinite(energy if loud is None else energy + loud)
    fitted = xp.where(sound[..., None], fitted, xp.full_like(fitted, 0.0))
    energy = xp.where(sound, energy, xp.full_like(energy, 0.0))
    power = xp.sum(xp.abs2(y), -1)
    agreeing = xp.sum(xp.real(xp.conj(fitted) * y), -1)
    worse = energy - 2 * agreeing > ROUNDING * power
    share = xp.where(worse, xp.clip(agreeing / xp.clip(energy, TINY), 0.0, 1.0), xp.full_like(energy, 1.0))
    if loud is not None:  # mean |H|^2; of the pilots that is ||y||^2
        most = xp.sqrt(MOST_BAND * power / xp.clip(xp.where(sound, loud, xp.full_like(loud, 0.0)), TINY))
        share = xp.where(most < share, most, share)
    share = xp.where(sound, share, xp.full_like(share, 0.0))
    return xp.astype(share, dtype)


def _compiled_share(fitted: Any, response: Any, y: Any) -> Any:
    """The same by a compiled loop."""
    from ..kernels.scaling import shares

    found, given = adapters.rows(fitted, y)
    heard = np.zeros((len(found), 0), np.complex64) if response is None else adapters.rows(response)[0]
    share = np.empty(len(found), np.float32)
    adapters.run(shares, len(found), found, heard, given, ROUNDING, MOST_BAND, TINY, share)
    return torch.from_numpy(share).view(y.shape[:-1])


def kept(x: Array, share: Array, xp: Namespace = namespace) -> Array:
    """x, (*batch, N), or the share of it that is kept, (*batch,).

    >>> import torch
    >>> kept(torch.tensor([[1.0, torch.nan]]), torch.zeros(1)).tolist()
    [[0.0, 0.0]]
    """
    if _whole(share):
        return x
    share = share[..., None]
    return xp.where(share > 0, x * xp.astype(share, x.dtype), xp.full_like(x, 0.0))


def unsure(variance: Array, share: Array, y: Array, xp: Namespace = namespace) -> Array:
    """Error variances, (*batch, n), where part of an estimate was not kept: at least the power of the pilots.

    >>> import torch
    >>> unsure(torch.zeros(2, 3), torch.tensor([1.0, 0.5]), torch.ones(2, 1)).tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    if _whole(share):
        return variance
    power = xp.astype(xp.sum(xp.abs2(y), -1)[..., None], variance.dtype)
    known = xp.where(xp.isfinite(variance), variance, xp.full_like(variance, 0.0))
    return xp.where(share[..., None] < 1, xp.maximum(known, power), variance)


def _whole(share: Any) -> bool:
    """Whether nothing is held back, where that can be seen without waiting: on the CPU, in float32."""
    return adapters.are_plain(share) and share.dtype == torch.float32 and bool((share.detach().numpy() == 1).all())
