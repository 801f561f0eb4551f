"""ISTA, FISTA and Stepsize-ISTA: proximal gradient descent on 1/2 ||y - Phi x||^2 + lambda ||x||_1."""

from math import sqrt

import torch
from torch import Tensor, nn

from ..errors import AlgorithmError
from ..operators import LinearOperator
from .base import Algorithm
from .error_calibration import ResidualCalibration
from .results import Recovery, Trace
from .shrinkage import soft_threshold


class _ProximalGradient(Algorithm):
    """Step size 1/L, threshold penalty/L, L the largest eigenvalue of Phi^H Phi.

    ``error_calibration`` holds the weights and, last, the bias of a :class:`ResidualCalibration`.
    """

    def __init__(
        self, n_iterations: int = 16, penalty: float = 0.003, error_calibration: tuple[float, ...] | None = None
    ) -> None:
        super().__init__(n_iterations, penalty=penalty)
        if not penalty > 0:
            raise AlgorithmError(f"expected a positive number, got {penalty}", field="penalty")
        self.penalty = penalty
        del self.hyperparameters["ridge"]
        if error_calibration is not None:
            self.hyperparameters["error_calibration"] = error_calibration
            self.calibration = ResidualCalibration.from_numbers(error_calibration)

    @property
    def gives_error_variance(self) -> bool:
        return self.calibration is not None


class ISTA(_ProximalGradient):
    """Iterative shrinkage-thresholding (Daubechies et al. 2004; paper, eq. 3).

    >>> from chanest import PartialDFT, PilotPattern
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=256)
    >>> ISTA(n_iterations=16)(torch.zeros(2, 75, dtype=torch.complex64), phi).x.shape
    torch.Size([2, 256])
    """

    name = "ista"

    def forward(
        self,
        y: Tensor,
        phi: LinearOperator,
        n_iterations: int | None = None,
        record: bool = False,
        noise_variance: Tensor | None = None,
    ) -> Recovery:
        gamma = 1 / phi.squared_norm().unsqueeze(-1)
        theta = self.penalty * gamma
        z = phi.adjoint(y)
        x = torch.zeros_like(z)
        trace = Trace(record)
        for _ in range(self.checked_iterations(n_iterations)):
            x = soft_threshold(x - gamma * (phi.gram(x) - z), theta)
            trace.add(x, gamma, theta)
        return trace.recovery(x)


class FISTA(_ProximalGradient):
    """ISTA with Nesterov momentum (Beck & Teboulle 2009): t+ = (1 + sqrt(1 + 4 t^2)) / 2.

    >>> FISTA(penalty=0.005).hyperparameters
    {'n_iterations': 16, 'penalty': 0.005}
    """

    name = "fista"

    def forward(
        self,
        y: Tensor,
        phi: LinearOperator,
        n_iterations: int | None = None,
        record: bool = False,
        noise_variance: Tensor | None = None,
    ) -> Recovery:
        gamma = 1 / phi.squared_norm().unsqueeze(-1)
        theta = self.penalty * gamma
        z = phi.adjoint(y)
        x = momentum = torch.zeros_like(z)
        t = 1.0
        trace = Trace(record)
        for _ in range(self.checked_iterations(n_iterations)):
            x_last, t_last = x, t
            x = soft_threshold(momentum - gamma * (phi.gram(momentum) - z), theta)
            t = (1 + sqrt(1 + 4 * t_last**2)) / 2
            momentum = x + (t_last - 1) / t * (x - x_last)
            trace.add(x, gamma, theta)
        return trace.recovery(x)


class StepsizeISTA(Algorithm):
    """ISTA with a learned step size per iteration, gamma_k = exp(log_step_size_k) / L, theta_k = gamma_k penalty.

    (Ablin et al. 2019.) Training starts at ISTA.

    Args:
        n_iterations: K.
        penalty: lambda for ||y|| = 1. The paper's 0.4 for taps of unit variance, 50 of them, is 0.4/sqrt(50) here.

    Parameters: ``log_step_size`` (K,); ``calibration`` (:class:`ResidualCalibration`).

    Raises:
        AlgorithmError: penalty is not positive.

    >>> StepsizeISTA(n_iterations=3, penalty=0.06).log_step_size.tolist()
    [0.0, 0.0, 0.0]
    """

    name = "stepsize-ista"
    learned = True
    any_n_iterations = False

    def __init__(self, n_iterations: int = 16, penalty: float = 0.003) -> None:
        super().__init__(n_iterations, penalty=penalty)
        del self.hyperparameters["ridge"]
        if not penalty > 0:
            raise AlgorithmError(f"expected a positive number, got {penalty}", field="penalty")
        self.penalty = penalty
        self.log_step_size = nn.Parameter(torch.zeros(n_iterations))
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
        gamma = self.log_step_size.exp() / phi.squared_norm().unsqueeze(-1)
        theta = self.penalty * gamma
        z = phi.adjoint(y)
        x = torch.zeros_like(z)
        trace = Trace(record)
        for k in range(n_iterations):
            step, threshold = gamma[..., k : k + 1], theta[..., k : k + 1]
            x = soft_threshold(x - step * (phi.gram(x) - z), threshold)
            trace.add(x, step, threshold)
        return trace.recovery(x)
