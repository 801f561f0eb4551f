"""ALISTA: analytic weights, learned step size and threshold per iteration (Liu et al. 2019; paper, eq. 5)."""

import math

import torch
from torch import Tensor, nn

from ..operators import LinearOperator
from ..shrinkage import soft_threshold, support_schedule
from .base import Algorithm, Recovery, Trace
from .calibration import ResidualCalibration


class ALISTA(Algorithm):
    """x <- eta_theta(x - gamma W^H (Phi x - y)), with gamma_k = exp(log_step_size_k) / L, L = ||W^H Phi||.

    Measuring steps in 1/L lets one set of parameters serve every pilot pattern.

    Args:
        n_iterations: K.
        sparsity: S of the schedule of support selection (:func:`support_schedule`); 0 for none.
        ridge: of the analytic weights; 0 for W = Phi. The default gains about 1 dB over W = Phi at M = 75
            (docs/choices.md).

    Parameters: ``log_step_size`` (K,), ``log_threshold`` (K,); ``calibration`` (:class:`ResidualCalibration`).

    >>> ALISTA(n_iterations=4).log_threshold.exp().tolist()[0]  # doctest: +ELLIPSIS
    0.01999...
    """

    name = "alista"
    learned = True
    any_n_iterations = False

    def __init__(self, n_iterations: int = 16, sparsity: float = 8, ridge: float = 0.1) -> None:
        super().__init__(n_iterations, ridge, sparsity=sparsity)
        self.sparsity = sparsity
        self.log_step_size = nn.Parameter(torch.zeros(n_iterations))
        self.log_threshold = nn.Parameter(torch.full((n_iterations,), math.log(0.02)))
        self.calibration = ResidualCalibration()

    def forward(
        self,
        y: Tensor,
        phi: LinearOperator,
        n_iterations: int | None = None,
        record: bool = False,
        noise_variance: Tensor | None = None,
    ) -> Recovery:
        n_iterations = self.checked_iterations(n_iterations)
        exempt = support_schedule(self.sparsity, n_iterations)
        w = self.weights(phi)
        gamma = self.log_step_size.exp() / w.squared_norm().unsqueeze(-1)
        theta = self.log_threshold.exp()
        z = w.adjoint(y)
        x = torch.zeros_like(z)
        trace = Trace(record)
        for k in range(n_iterations):
            step = gamma[..., k : k + 1]
            x = soft_threshold(x - step * (w.gram(x) - z), theta[k], exempt[k])
            trace.add(x, step, theta[k : k + 1])
        return trace.recovery(x)
