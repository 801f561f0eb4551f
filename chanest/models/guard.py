"""No estimate makes things worse in silence: how much of what an iteration found is returned."""

import torch
from torch import Tensor

from ..operators import LinearOperator

_MOST_BAND = 2.0  # mean power on the used subcarriers over that at the pilots
_ROUNDING = 1e-4


@torch.no_grad()
def kept_share(x: Tensor, y: Tensor, phi: LinearOperator, band: LinearOperator | None) -> Tensor:
    """How much of x to return, (*batch,) in 0...1: 1 unless ||y - Phi x|| > ||y||, or the band is twice as loud as y.

    Then the largest share that leaves no more than y and keeps the band; 0 where x is not finite.

    Args:
        x, y: (*batch, N) and (*batch, M).
        phi: of the pilots, or a matrix.
        band: of the used subcarriers, whose mean power counts; None where there is none.

    >>> from chanest.operators import DenseOperator
    >>> x = torch.tensor([[1.0, 0.0], [4.0, 0.0], [-1.0, 0.0]])
    >>> kept_share(x, torch.tensor([[1.0, 0.0]]).expand(3, -1), DenseOperator(torch.eye(2)), None).tolist()
    [1.0, 0.25, 0.0]
    """
    sound = torch.isfinite(x.abs().sum(-1, keepdim=True))
    x = torch.where(sound, x, 0.0)
    fitted = phi.forward(x)
    power, energy = (v.abs().double().square().sum(-1) for v in (y, fitted))
    agreeing = (fitted.conj() * y).sum(-1)
    agreeing = (agreeing.real if agreeing.is_complex() else agreeing).double()
    worse = energy - 2 * agreeing > _ROUNDING * power
    share = torch.where(worse, (agreeing / energy.clamp_min(1e-300)).clamp(0, 1), 1.0)
    if band is not None:
        loud = (
            band.forward(x).abs().double().square().sum(-1)
        )  # mean |H|^2 of the band where ||y||^2 is that of the pilots
        share = torch.minimum(share, (_MOST_BAND * power / loud.clamp_min(1e-300)).sqrt())
    return torch.where(sound.squeeze(-1), share, 0.0).clamp_max(1).to(y.real.dtype)


def kept(x: Tensor, share: Tensor) -> Tensor:
    """x, (*batch, N), or the share of it that is kept, (*batch,).

    >>> kept(torch.tensor([[1.0, torch.nan]]), torch.zeros(1)).tolist()
    [[0.0, 0.0]]
    """
    share = share.unsqueeze(-1)
    return torch.where(share > 0, x * share, 0.0)


def unsure(variance: Tensor, share: Tensor, y: Tensor) -> Tensor:
    """Error variances, (*batch, n), where part of an estimate was not kept: at least the power of the pilots.

    >>> unsure(torch.zeros(2, 3), torch.tensor([1.0, 0.5]), torch.ones(2, 1)).tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    power = y.abs().square().sum(-1, keepdim=True)
    return torch.where(share.unsqueeze(-1) < 1, torch.maximum(variance.nan_to_num(0.0), power), variance)
