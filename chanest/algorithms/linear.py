"""Linear interpolation of the pilots: what a receiver does today."""

import torch
from torch import Tensor


def interpolate_linear(observations: Tensor, pilots: Tensor, subcarriers: Tensor) -> Tensor:
    """The CFR between the pilots on a straight line, beyond the outermost ones constant.

    Args:
        observations: (*batch, n_pilots) complex, H + noise at the pilots.
        pilots: (n_pilots,) ascending subcarriers.
        subcarriers: (n,) subcarriers to interpolate at.

    Returns:
        (*batch, n) complex.

    >>> interpolate_linear(torch.tensor([1.0, 3.0]), torch.tensor([2, 4]), torch.tensor([1, 2, 3, 4, 9]))
    tensor([1., 1., 2., 3., 3.])
    """
    right = torch.searchsorted(pilots, subcarriers).clamp(1, len(pilots) - 1)
    left = right - 1
    span = pilots[right] - pilots[left]
    fraction = ((subcarriers - pilots[left]).double() / span).clamp(0, 1).to(observations.real.dtype)
    return observations[..., left] * (1 - fraction) + observations[..., right] * fraction
