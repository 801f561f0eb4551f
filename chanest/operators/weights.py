"""Analytic weights: the W of ALISTA in closed form, at the cost of an M x M product and Phi's own adjoint."""

import torch
from torch import Tensor

from .base import LinearOperator


class AnalyticWeights:
    """W = A^-1 Phi, column-scaled to W_i^H Phi_i = 1, with A = Phi Phi^H + ridge * tr(Phi Phi^H)/M * I.

    Minimises ||W^H Phi||_F under that constraint as the ridge goes to zero; on the partial DFT the ridge keeps
    A, whose condition number reaches 1e7, invertible. W^H b = D Phi^H (A^-1 b): the adjoint stays an FFT.

    Args:
        phi: the operator, n_measurements at most a few hundred.
        ridge: relative to the mean eigenvalue of Phi Phi^H.

    >>> from chanest.operators import DenseOperator
    >>> phi = DenseOperator(torch.randn(8, 16, dtype=torch.float64))
    >>> w = AnalyticWeights(phi, ridge=1e-6)
    >>> torch.allclose(w.gram(torch.eye(16, dtype=torch.float64)).diagonal(), torch.ones(16, dtype=torch.float64))
    True
    """

    def __init__(self, phi: LinearOperator, ridge: float) -> None:
        self.phi = phi
        self.n_coefficients, self.batch_shape = phi.n_coefficients, phi.batch_shape
        self.dtype, self.device = phi.dtype, phi.device
        ones = torch.ones(*phi.batch_shape, phi.n_coefficients, dtype=phi.dtype.to_real(), device=phi.device)
        a = phi.covariance(ones)
        load = ridge * a.diagonal(dim1=-2, dim2=-1).real.mean(-1)
        identity = torch.eye(phi.n_measurements, dtype=phi.dtype, device=phi.device)
        a = (a + load[..., None, None] * identity).to(_double(phi.dtype))
        inverse = torch.linalg.inv(a).to(phi.dtype)
        self.inverse = (inverse + inverse.mH) / 2
        self.scale = 1 / phi.quadratic_diagonal(self.inverse)

    def adjoint(self, b: Tensor) -> Tensor:
        """W^H b: (*batch, M) -> (*batch, N)."""
        batched = bool(self.phi.batch_shape)
        whitened = (self.inverse @ b.unsqueeze(-1)).squeeze(-1) if batched else b @ self.inverse.mT
        return self.scale * self.phi.adjoint(whitened)

    def gram(self, x: Tensor) -> Tensor:
        """W^H Phi x: (*batch, N) -> (*batch, N)."""
        return self.adjoint(self.phi.forward(x))

    squared_norm = LinearOperator.squared_norm


def _double(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype.is_complex else torch.float64
