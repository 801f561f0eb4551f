"""A matrix as an operator: the synthetic setting, and the yardstick of every fast operator."""

import torch
from torch import Tensor

from .base import LinearOperator


class DenseOperator(LinearOperator):
    """Phi given as a matrix, real or complex.

    Args:
        matrix: (*batch_shape, M, N).

    >>> phi = DenseOperator(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
    >>> phi.adjoint(phi.forward(torch.tensor([1.0, 1.0])))
    tensor([3., 7.])
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.n_measurements, self.n_coefficients = matrix.shape[-2:]
        self.batch_shape = matrix.shape[:-2]
        self.dtype, self.device = matrix.dtype, matrix.device

    def to(self, where: torch.device | str | torch.dtype) -> "DenseOperator":
        """The same matrix on another device, or in another precision."""
        return DenseOperator(self.matrix.to(where))

    def forward(self, x: Tensor) -> Tensor:
        return self._apply(self.matrix, x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._apply(self.matrix.mH, y)

    def dense(self) -> Tensor:
        return self.matrix

    def _apply(self, matrix: Tensor, v: Tensor) -> Tensor:
        return (matrix @ v.unsqueeze(-1)).squeeze(-1) if self.batch_shape else v @ matrix.mT
