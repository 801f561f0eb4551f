"""Analytic weights: the W of ALISTA in closed form, at the cost of an M x M product and Phi's own adjoint.

Beside it, the paper's way to the same W by projected gradient descent, and what the literature measures both by.
"""

from math import sqrt

import torch
from torch import Tensor

from ..errors import OperatorError
from . import tap_domain
from .base import LinearOperator, Weights, cached
from .dense import DenseOperator

_BLOCK = 128  # columns of W^H Phi at a time


class AnalyticWeights:
    """W = A^-1 Phi, column-scaled to W_i^H Phi_i = 1, with A = Phi Phi^H + ridge * tr(Phi Phi^H)/M * I.

    Minimises ||W^H Phi||_F under that constraint as the ridge goes to zero; on the partial DFT the ridge keeps
    A, whose condition number reaches 1e7, invertible. W^H b = D Phi^H (A^-1 b): the adjoint stays an FFT.

    Args:
        phi: the operator, n_measurements at most a few hundred.
        ridge: relative to the mean eigenvalue of Phi Phi^H; 0 where that matrix is well-conditioned, as for a
            Gaussian Phi.

    Raises:
        OperatorError: Phi Phi^H + ridge is singular.

    >>> from chanest.operators import DenseOperator
    >>> phi = DenseOperator(torch.randn(8, 16, dtype=torch.float64))
    >>> w = AnalyticWeights(phi, ridge=1e-6)
    >>> torch.allclose(w.gram(torch.eye(16, dtype=torch.float64)).diagonal(), torch.ones(16, dtype=torch.float64))
    True
    """

    def __init__(self, phi: LinearOperator, ridge: float) -> None:
        self.phi, self.n_coefficients, self.batch_shape = phi, phi.n_coefficients, phi.batch_shape
        self.dtype, self.device = phi.dtype, phi.device
        self.of_taps = tap_domain.few_taps(phi)
        if self.of_taps:  # Phi^H A^-1 = (Phi^H Phi + ...)^-1 Phi^H, the smaller matrix
            a = tap_domain.gram_matrix(phi)
            load = ridge * a.diagonal().real.sum() / phi.n_measurements
        else:
            ones = torch.ones(*phi.batch_shape, phi.n_coefficients, dtype=phi.dtype.to_real(), device=phi.device)
            a = phi.covariance(ones)
            load = ridge * a.diagonal(dim1=-2, dim2=-1).real.mean(-1)
        loaded = a + load[..., None, None] * torch.eye(a.shape[-1], dtype=a.dtype, device=phi.device)
        try:
            inverse = torch.linalg.inv(loaded.to(torch.promote_types(a.dtype, torch.float64)))
        except torch.linalg.LinAlgError:
            raise OperatorError(f"Phi Phi^H is singular, expected more than {ridge:g}", field="ridge") from None
        if self.of_taps:
            self.scale = (1 / (inverse * a.mT).sum(-1).real).to(phi.dtype.to_real())
        self.inverse = inverse.to(phi.dtype)
        self.inverse = (self.inverse + self.inverse.mH) / 2
        if not self.of_taps:
            self.scale = 1 / phi.quadratic_diagonal(self.inverse)
        single = isinstance(phi, DenseOperator) and not phi.batch_shape
        self.matrix = (self.inverse @ phi.dense()) * self.scale if single else None

    def adjoint(self, b: Tensor) -> Tensor:
        """W^H b: (*batch, M) -> (*batch, N)."""
        if self.matrix is not None:  # where Phi is a matrix, W is no dearer
            return b @ self.matrix.conj()
        return self.scale * self.pseudo_inverse(b)

    def pseudo_inverse(self, b: Tensor) -> Tensor:
        """Phi^H A^-1 b, W^H b but for the column scaling: (*batch, M) -> (*batch, N)."""
        if self.of_taps:
            return self.phi.adjoint(b) @ self.inverse.mT
        if self.phi.batch_shape:
            return self.phi.adjoint((self.inverse @ b.unsqueeze(-1)).squeeze(-1))
        return self.phi.adjoint(b @ self.inverse.mT)

    def gram(self, x: Tensor) -> Tensor:
        """W^H Phi x: (*batch, N) -> (*batch, N)."""
        return self.adjoint(self.phi.forward(x))

    squared_norm = LinearOperator.squared_norm
    _power_iteration = LinearOperator._power_iteration


def analytic_weights(phi: LinearOperator, ridge: float) -> AnalyticWeights:
    """:class:`AnalyticWeights`, made once for each ridge and cached with the operator.

    >>> from chanest.operators import DenseOperator
    >>> phi = DenseOperator(torch.randn(8, 16))
    >>> analytic_weights(phi, 0.1) is analytic_weights(phi, 0.1)
    True
    """
    return cached(phi, ("analytic weights", ridge), lambda: AnalyticWeights(phi, ridge))


def generalised_coherence(w: Weights, phi: LinearOperator) -> Tensor:
    """max over i != j of |W_i^H Phi_j|, with the columns of W scaled to W_i^H Phi_i = 1 (paper, eq. 4).

    With W = Phi the coherence of Phi. Costs N adjoints, a block of them at a time.

    Args:
        w: an operator or :class:`AnalyticWeights`.
        phi: the operator, N at least 2.

    Returns:
        (*batch_shape,) of phi.

    >>> from chanest.operators import DenseOperator
    >>> phi = DenseOperator(torch.tensor([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]]))
    >>> generalised_coherence(phi, phi)
    tensor(0.8000)
    """
    n, blank = phi.n_coefficients, (1,) * len(phi.batch_shape)
    largest = torch.zeros(*phi.batch_shape, n, dtype=phi.dtype.to_real(), device=phi.device)
    diagonal = torch.zeros_like(largest)
    for columns in torch.eye(n, dtype=phi.dtype, device=phi.device).split(_BLOCK):
        shaped = columns.reshape(-1, *blank, n).expand(-1, *phi.batch_shape, -1)
        products = w.adjoint(phi.forward(shaped)).abs()  # row j of the block: |W_i^H Phi_j| for all i
        own = shaped.abs() > 0
        diagonal = torch.where(own, products, 0).sum(0) + diagonal
        largest = torch.maximum(largest, products.masked_fill(own, 0).amax(0))
    return (largest / diagonal).amax(-1)


def welch_bound(n_measurements: int, n_coefficients: int) -> float:
    """The least coherence that N unit columns of M entries can have (Welch 1974): sqrt((N - M) / (M (N - 1))).

    >>> f"{welch_bound(250, 1000):.4f}", welch_bound(8, 8)
    ('0.0548', 0.0)
    """
    m, n = n_measurements, n_coefficients
    return sqrt((n - m) / (m * (n - 1))) if n > m else 0.0


def projected_gradient_weights(
    phi: Tensor, n_steps: int = 1000, step_size: float = 0.01, decay: float = 0.999
) -> Tensor:
    """W that minimises ||W^H Phi||_F^2 with W_i^H Phi_i = 1, as the paper finds it (below eq. 4); starts at Phi.

    W <- P(W - step_size decay^t 2 Phi Phi^H W) for t = 0...n_steps - 1, P the projection on the constraint, column
    by column. :class:`AnalyticWeights` with ridge 0 is the limit. On a Gaussian 250 x 1000 matrix the published decay,
    0.99, stops 1e-4 above its ||W^H Phi - I||_F with W 2 % off; 0.999 reaches both to float64's last digits and
    1e-7. Less underdetermined matrices take more steps. Steps above 1/||Phi Phi^H|| diverge.

    Args:
        phi: (*batch_shape, M, N), real or complex.
        n_steps: gradient steps.
        step_size: of the first one.
        decay: of the step size, from step to step.

    Returns:
        (*batch_shape, M, N).

    >>> phi = torch.randn(8, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> w = projected_gradient_weights(phi / phi.norm(dim=0))
    >>> torch.allclose((w * phi / phi.norm(dim=0)).sum(0), torch.ones(16, dtype=torch.float64))
    True
    """
    covariance = phi @ phi.mH
    energy = phi.abs().square().sum(-2, keepdim=True)
    w = phi / energy
    for t in range(n_steps):
        w = w - step_size * decay**t * 2 * covariance @ w
        w = w + phi * (1 - (phi.conj() * w).sum(-2, keepdim=True)) / energy
    return w
