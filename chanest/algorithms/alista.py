"""ALISTA and its two refinements: analytic weights, learned step size and threshold per iteration."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import AlgorithmError
from ..kernels.adapters import Array, prepared, recover, singles, suits
from ..operators import LinearOperator
from ..operators.tables import tables
from .error_calibration import ResidualCalibration
from .gates import Gated, Gates
from .proximal import ProximalGradient
from .results import Recovery

_UNIT = math.sqrt(50)  # ||y||, and what divides x, where 50 taps of unit variance are scaled to ||y|| = 1


class _LearnedSteps(ProximalGradient):
    """A step size, in 1/L, and a threshold for every iteration."""

    learned = True
    any_n_iterations = False

    def __init__(
        self, n_iterations: int = 16, sparsity: float = 8, ridge: float = 0.1, schedule: str | None = None
    ) -> None:
        super().__init__(n_iterations, ridge=ridge, sparsity=sparsity, schedule=schedule)
        self.log_step_size = nn.Parameter(torch.zeros(n_iterations))
        self.log_threshold = nn.Parameter(torch.full((n_iterations,), math.log(0.02)))
        self.calibration = ResidualCalibration()

    def steps(self, norm: Tensor, n_iterations: int) -> tuple[Tensor, Tensor]:
        return self.log_step_size.exp() / norm, self.log_threshold.exp()


class ALISTA(_LearnedSteps):
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
    joint = True

    def _compiled(self, y: Tensor, phi: LinearOperator, n_iterations: int) -> Recovery | None:
        if not suits(y, phi, self):
            return None
        from ..kernels.alista import alista

        return Recovery(recover(y, phi.n_coefficients, alista, *self._arrays(phi, n_iterations)))

    def prepared_loop(self, phi: LinearOperator) -> Callable[[Array, Array], None]:
        from ..kernels.alista import alista

        arrays = self._arrays(phi, self.n_iterations)
        return lambda y, x: alista(y, *arrays, x, 0, len(y))

    def _arrays(self, phi: LinearOperator, n_iterations: int) -> tuple[Any, ...]:
        """What the compiled loop takes beside y."""
        made, exempt = tables(phi, self.weights(phi)), np.minimum(self.exempt(n_iterations), phi.n_coefficients)
        gamma, theta = prepared(self, lambda: (singles(self.log_step_size.exp()), singles(self.log_threshold.exp())))
        return made.arrays, gamma * np.float32(made.reciprocal_norm), theta, exempt


class ALISTAAT(_LearnedSteps):
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
        AlgorithmError.unless(epsilon > 0, "a positive number", epsilon, "epsilon")
        self.hyperparameters["epsilon"] = self.epsilon = epsilon

    def adapted(self, theta: Tensor, x: Tensor) -> Tensor:
        return theta / (1 + x.abs() / self.epsilon)


class AGLISTA(Gated, _LearnedSteps):
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
