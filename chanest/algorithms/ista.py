"""ISTA, FISTA and Stepsize-ISTA: proximal gradient descent on 1/2 ||y - Phi x||^2 + lambda ||x||_1."""

from functools import cache
from math import sqrt

import torch
from torch import Tensor, nn

from ..errors import AlgorithmError
from .error_calibration import ResidualCalibration
from .proximal import ProximalGradient


class _Lasso(ProximalGradient):
    """Threshold gamma penalty, so that iterates go to the minimum."""

    def __init__(
        self, n_iterations: int = 16, penalty: float = 0.003, error_calibration: tuple[float, ...] | None = None
    ) -> None:
        super().__init__(n_iterations, penalty=penalty, error_calibration=error_calibration)
        AlgorithmError.unless(penalty > 0, "a positive number", penalty, "penalty")
        self.penalty = penalty


class ISTA(_Lasso):
    """Iterative shrinkage-thresholding (Daubechies et al. 2004; paper, eq. 3): step size 1/L, threshold penalty/L.

    L is the largest eigenvalue of Phi^H Phi.

    Args:
        n_iterations: K.
        penalty: lambda for ||y|| = 1.
        error_calibration: weights and, last, the bias of a :class:`ResidualCalibration`.

    Raises:
        AlgorithmError: penalty is not positive.

    >>> from chanest import PartialDFT, PilotPattern
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=256)
    >>> ISTA(n_iterations=16)(torch.zeros(2, 75, dtype=torch.complex64), phi).x.shape
    torch.Size([2, 256])
    """

    name = "ista"
    joint = True

    def steps(self, norm: Tensor, n_iterations: int) -> tuple[Tensor, Tensor]:
        gamma = (1 / norm).expand(*norm.shape[:-1], n_iterations)
        return gamma, self.penalty * gamma


class FISTA(ISTA):
    """ISTA with Nesterov momentum (Beck & Teboulle 2009): t+ = (1 + sqrt(1 + 4 t^2)) / 2.

    Args:
        n_iterations, penalty, error_calibration: as :class:`ISTA`.

    >>> FISTA(penalty=0.005).hyperparameters
    {'n_iterations': 16, 'penalty': 0.005}
    """

    name = "fista"

    def extrapolated(self, k: int, x: Tensor, x_before: Tensor) -> Tensor:
        return x + _momentum(k) * (x - x_before)


@cache
def _momentum(k: int) -> float:
    """(t_last - 1) / t before iteration k; 0 before the first two."""
    return (_t(k - 1) - 1) / _t(k) if k > 0 else 0.0


@cache
def _t(k: int) -> float:
    return (1 + sqrt(1 + 4 * _t(k - 1) ** 2)) / 2 if k > 0 else 1.0


class StepsizeISTA(_Lasso):
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
    joint = True
    learned = True
    any_n_iterations = False

    def __init__(self, n_iterations: int = 16, penalty: float = 0.003) -> None:
        super().__init__(n_iterations, penalty)
        self.log_step_size = nn.Parameter(torch.zeros(n_iterations))
        self.calibration = ResidualCalibration()

    def steps(self, norm: Tensor, n_iterations: int) -> tuple[Tensor, Tensor]:
        gamma = self.log_step_size.exp() / norm
        return gamma, self.penalty * gamma
