"""How good an estimate is."""

import math

import numpy as np
import torch
from torch import Tensor

from ..errors import ObservationError


def nmse_db(estimate: Tensor | np.ndarray, truth: Tensor | np.ndarray) -> float:
    """10 log10 of the summed squared error over the summed squared truth: a ratio of sums, as in the paper.

    Args:
        estimate, truth: (*batch, N), the same shape, tensors or NumPy arrays.

    Returns:
        NMSE in dB; -inf for a perfect estimate.

    Raises:
        ObservationError: shapes that differ.

    >>> round(nmse_db(torch.tensor([1.1, 0.0]), torch.tensor([1.0, 0.0])), 2)
    -20.0
    >>> round(nmse_db(np.array([0.9j, 0.0]), np.array([1j, 0.0])), 2)
    -20.0
    """
    estimate, truth = torch.as_tensor(estimate), torch.as_tensor(truth)
    if estimate.shape != truth.shape:
        shapes = tuple(estimate.shape), tuple(truth.shape)
        raise ObservationError(f"expected the shape of the truth, {shapes[1]}, got {shapes[0]}", field="estimate")
    sums = ErrorSums()
    sums.add(estimate, truth)
    return sums.nmse_db


class ErrorSums:
    """Squared error and squared truth, summed chunk by chunk in float64.

    >>> sums = ErrorSums()
    >>> for chunk in torch.ones(4, 10).split(2):
    ...     sums.add(0.9 * chunk, chunk)
    >>> round(sums.nmse_db, 3)
    -20.0
    """

    def __init__(self) -> None:
        self.error = 0.0
        self.truth = 0.0

    def add(self, estimate: Tensor, truth: Tensor) -> None:
        """Add one chunk, (*batch, N) both; squared in float64, where no receiver's units overflow."""
        wide = torch.complex128 if truth.is_complex() else torch.float64
        estimate, truth = estimate.to(wide), truth.to(wide)
        self.error += float((estimate - truth).abs().square().sum())
        self.truth += float(truth.abs().square().sum())

    @property
    def nmse_db(self) -> float:
        """The NMSE of everything added, in dB."""
        if self.error == 0:
            return -math.inf
        return 10 * math.log10(self.error / self.truth) if self.truth > 0 else math.inf


def common_window(estimate: Tensor, estimate_first: int, truth: Tensor, truth_first: int) -> tuple[Tensor, Tensor]:
    """Two impulse responses over the union of their delay windows, zero where a window does not reach.

    Args:
        estimate, truth: (*batch, taps).
        estimate_first, truth_first: delays of their first taps, in samples.

    >>> common_window(torch.ones(2), 0, torch.ones(2), -1)
    (tensor([0., 1., 1.]), tensor([1., 1., 0.]))
    """
    first = min(estimate_first, truth_first)
    last = max(estimate_first + estimate.shape[-1], truth_first + truth.shape[-1])
    padded = [
        torch.nn.functional.pad(cir, (start - first, last - start - cir.shape[-1]))
        for cir, start in ((estimate, estimate_first), (truth, truth_first))
    ]
    return padded[0], padded[1]
