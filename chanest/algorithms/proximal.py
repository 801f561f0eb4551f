"""Iterative shrinkage: what ISTA and all that unrolls it share, and the proximal gradient step of most of them."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from ..errors import AlgorithmError
from ..operators import LinearOperator, Weights, analytic_weights
from .base import Algorithm, Told
from .error_calibration import ResidualCalibration
from .results import Recovery, Trace
from .shrinkage import soft_threshold, support_schedule


class IterativeShrinkage(Algorithm):
    """Algorithms of soft thresholds, whose error variance comes from the residual.

    Attributes:
        ridge: of the analytic weights; 0 stands for W = Phi.
        sparsity, schedule: of support selection (:func:`support_schedule`).

    A hyperparameter ``error_calibration`` gives the weights and, last, the bias of a :class:`ResidualCalibration`.
    """

    def __init__(self, n_iterations: int, **hyperparameters: Any) -> None:
        super().__init__(n_iterations, **hyperparameters)
        self.ridge: float = hyperparameters.get("ridge", 0.0)
        self.sparsity: float = hyperparameters.get("sparsity", 0)
        self.schedule: str | None = hyperparameters.get("schedule")
        for name, value in (("ridge", self.ridge), ("sparsity", self.sparsity)):
            AlgorithmError.unless(value >= 0, "a number not below 0", value, name)
        support_schedule(0, 1, self.schedule)  # refuses an unknown one now, not when it is needed
        if "error_calibration" in self.hyperparameters:
            self.calibration = ResidualCalibration.from_numbers(self.hyperparameters["error_calibration"])

    @property
    def gives_error_variance(self) -> bool:
        return self.calibration is not None

    def weights(self, phi: LinearOperator) -> Weights:
        """W for this operator: analytic where the algorithm has a ridge, else Phi itself."""
        return analytic_weights(phi, self.ridge) if self.ridge > 0 else phi

    def exempt(self, n_iterations: int) -> tuple[int, ...]:
        """p of support selection in each iteration, from the hyperparameters ``sparsity`` and ``schedule``."""
        return support_schedule(self.sparsity, n_iterations, self.schedule)

    def gained(self, k: int, x: Tensor, theta: Tensor) -> Tensor:
        """g x, amplified before Phi in iteration k where there are gates; theta (K,) of all iterations."""
        return x

    def overshot(self, k: int, x: Tensor, v: Tensor) -> Tensor:
        """o v + (1 - o) x, the step from x to v taken further in iteration k where there are gates."""
        return v


class ProximalGradient(IterativeShrinkage):
    """x <- eta_theta(x - gamma W^H (Phi x - y)), the largest entries exempt; subclasses say gamma and theta."""

    @abstractmethod
    def steps(self, norm: Tensor, n_iterations: int) -> tuple[Tensor, Tensor]:
        """gamma and theta of all iterations, (*batch_shape, K) or (K,); norm (*batch_shape, 1) is L."""

    def extrapolated(self, k: int, x: Tensor, x_before: Tensor) -> Tensor:
        """The point from which iteration k steps; here x, without momentum."""
        return x

    def adapted(self, theta: Tensor, x: Tensor) -> Tensor:
        """The threshold of every entry of x, broadcast against it; here one for all."""
        return theta

    def _iterate(
        self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, noise_variance: Tensor | None
    ) -> Recovery:
        return self._descend(y, phi, n_iterations, trace, joint=False)

    def _jointly(self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, told: Told) -> Recovery:
        return self._descend(y, phi, n_iterations, trace, joint=True)

    def _descend(self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, joint: bool) -> Recovery:
        w, exempt = self.weights(phi), self.exempt(n_iterations)
        gammas, thetas = self.steps(w.squared_norm().unsqueeze(-1), n_iterations)
        z = w.adjoint(y)
        x = x_before = torch.zeros_like(z)
        for k, (gamma, theta) in enumerate(zip(gammas.split(1, -1), thetas.split(1, -1), strict=True)):
            v, x_before = self.extrapolated(k, x, x_before), x
            adapted = self.adapted(theta, v)
            x = soft_threshold(v - gamma * (w.gram(self.gained(k, v, thetas)) - z), adapted, exempt[k], joint)
            x = self.overshot(k, v, x)
            trace.add(x, gamma, theta)
        return trace.recovery(x)
