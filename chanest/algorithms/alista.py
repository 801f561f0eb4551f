"""ALISTA and its two refinements: analytic weights, learned step size and threshold per iteration."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import AlgorithmError
from ..kernels.adapters import Array, prepared, recover, singles, suits, tables
from ..operators import LinearOperator, Weights
from .base import Algorithm
from .error_calibration import ResidualCalibration
from .gates import Gates
from .results import Recovery, Trace
from .shrinkage import soft_threshold

_UNIT = math.sqrt(50)  # ||y||, and what divides x, where 50 taps of unit variance are scaled to ||y|| = 1


class ALISTA(Algorithm):
    """x <- eta_theta(x - gamma W^H (Phi x - y)), with gamma_k = exp(log_step_size_k) / L, L = ||W^H Phi||.

    (Liu et al. 2019; paper, eq. 5.) Measuring steps in 1/L lets one set of parameters serve every pilot pattern.

    Args:
        n_iterations: K.
        sparsity: S of the schedule of support selection (:func:`support_schedule`); 0 for none.
        ridge: of the analytic weights; 0 for W = Phi. The default gains about 1 dB over W = Phi at M = 75
            (docs/choices.md).
        schedule: of support selection, "ofdm" (also where None), "published" or "synthetic".

    Parameters: ``log_step_size`` (K,), ``log_threshold`` (K,); ``calibration`` (:class:`ResidualCalibration`).

    >>> ALISTA(n_iterations=4).log_threshold.exp().tolist()[0]  # doctest: +ELLIPSIS
    0.01999...
    """

    name = "alista"
    learned = True
    any_n_iterations = False

    def __init__(
        self, n_iterations: int = 16, sparsity: float = 8, ridge: float = 0.1, schedule: str | None = None
    ) -> None:
        super().__init__(n_iterations, ridge, sparsity=sparsity, schedule=schedule)
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
        exempt = self.exempt(n_iterations)
        w = self.weights(phi)
        if type(self) is ALISTA and not record and suits(y, phi, self):
            return Recovery(self._compiled(y, phi, w, exempt))
        gamma = self.log_step_size.exp() / w.squared_norm().unsqueeze(-1)
        theta = self.log_threshold.exp()
        z = w.adjoint(y)
        x = torch.zeros_like(z)
        trace = Trace(record)
        for k in range(n_iterations):
            step = gamma[..., k : k + 1]
            x = soft_threshold(x - step * (w.gram(x) - z), self.adapted(theta[k], x), exempt[k])
            trace.add(x, step, theta[k : k + 1])
        return trace.recovery(x)

    def _compiled(self, y: Tensor, phi: LinearOperator, w: Weights, exempt: tuple[int, ...]) -> Tensor:
        from ..kernels.alista import alista

        made = tables(phi, w)
        gamma, theta = prepared(self, lambda: (singles(self.log_step_size.exp()), singles(self.log_threshold.exp())))
        gamma, counts = gamma * np.float32(made.reciprocal_norm), np.minimum(exempt, phi.n_coefficients)

        def run(y: Array, x: Array, start: int, end: int) -> None:
            alista(y, made.arrays, gamma, theta, counts, x, start, end)

        return recover(y, phi.n_coefficients, run)

    def adapted(self, theta: Tensor, x: Tensor) -> Tensor:
        """The threshold of every entry of x, broadcast against it; here one for all."""
        return theta


class ALISTAAT(ALISTA):
    """ALISTA with adaptive thresholds theta_i = theta / (1 + |x_i|/epsilon) (Kim & Park 2020).

    What is surely on is hardly shrunk: reweighted l1 minimisation, unrolled. x is the iterate that the step starts
    from, so that the first iteration is ALISTA's.

    Args:
        n_iterations: K.
        sparsity: S of the schedule of support selection; 0 for none.
        ridge: of the analytic weights; 0 for W = Phi.
        epsilon: for ||y|| = 1. The default is the published 0.1 for taps of unit variance, 50 of which give
            ||y|| of about sqrt(50).
        schedule: of support selection, "ofdm" (also where None), "published" or "synthetic".

    Parameters: as :class:`ALISTA`.

    Raises:
        AlgorithmError: epsilon is not positive.

    >>> model = ALISTAAT(n_iterations=4, epsilon=0.01)
    >>> model.adapted(torch.tensor(0.2), torch.tensor([0.0, 0.01, -0.03]))
    tensor([0.2000, 0.1000, 0.0500])
    """

    name = "alista-at"

    def __init__(
        self,
        n_iterations: int = 16,
        sparsity: float = 8,
        ridge: float = 0.1,
        epsilon: float = 0.1 / _UNIT,
        schedule: str | None = None,
    ) -> None:
        super().__init__(n_iterations, sparsity, ridge, schedule)
        if not epsilon > 0:
            raise AlgorithmError(f"expected a positive number, got {epsilon}", field="epsilon")
        self.hyperparameters["epsilon"] = self.epsilon = epsilon

    def adapted(self, theta: Tensor, x: Tensor) -> Tensor:
        return theta / (1 + x.abs() / self.epsilon)


class AGLISTA(ALISTA):
    """ALISTA with gain and overshoot gates (Wu et al. 2020; paper, 4.1): 5K numbers.

    v = eta_theta(x - gamma W^H (Phi (g x) - y)), x <- o v + (1 - o) x, with the gates g and o of :class:`Gates`:
    what the threshold made too small is amplified before Phi, and the step taken further than it points.

    Args:
        n_iterations: K.
        sparsity: S of the schedule of support selection; 0 for none.
        ridge: of the analytic weights; 0 for W = Phi.
        epsilon: of the overshoot, for ||y|| = 1; the default is the published 0.01 for taps of unit variance.
        schedule: of support selection, "ofdm" (also where None), "published" or "synthetic".

    Parameters: as :class:`ALISTA`, and ``gates`` (:class:`Gates`).

    Raises:
        AlgorithmError: epsilon is not positive.

    >>> sum(p.numel() for name, p in AGLISTA(n_iterations=4).named_parameters() if "calibration" not in name)
    20
    """

    name = "aglista"

    def __init__(
        self,
        n_iterations: int = 16,
        sparsity: float = 8,
        ridge: float = 0.1,
        epsilon: float = 0.01 / _UNIT,
        schedule: str | None = None,
    ) -> None:
        super().__init__(n_iterations, sparsity, ridge, schedule)
        self.gates = Gates(n_iterations, epsilon)
        self.hyperparameters["epsilon"] = epsilon

    def forward(
        self,
        y: Tensor,
        phi: LinearOperator,
        n_iterations: int | None = None,
        record: bool = False,
        noise_variance: Tensor | None = None,
    ) -> Recovery:
        n_iterations = self.checked_iterations(n_iterations)
        exempt = self.exempt(n_iterations)
        w = self.weights(phi)
        gamma = self.log_step_size.exp() / w.squared_norm().unsqueeze(-1)
        theta = self.log_threshold.exp()
        z = w.adjoint(y)
        x = torch.zeros_like(z)
        trace = Trace(record)
        for k in range(n_iterations):
            step = gamma[..., k : k + 1]
            c = w.gram(self.gates.gain(k, x, theta) * x) - z
            v = soft_threshold(x - step * c, theta[k], exempt[k])
            x = x + self.gates.overshoot(k, x, v) * (v - x)
            trace.add(x, step, theta[k : k + 1])
        return trace.recovery(x)
