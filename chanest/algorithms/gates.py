"""The gain and overshoot gates of Gated-LISTA and AGLISTA (Wu et al., ICLR 2020)."""

import math

import torch
from torch import Tensor, nn

from ..errors import AlgorithmError
from .proximal import IterativeShrinkage

_START = math.log(50) / 2  # one, for 50 taps of unit variance scaled to ||y|| = 1


class Gates(nn.Module):
    """Gain g = 1 + theta_{k-1} nu_k exp(-mu_k |x|), overshoot o = 1 + a_k / (|v - x| + epsilon), entry by entry.

    x is the iterate and v what shrinkage made of the step; complex entries count by their moduli. nu and mu are
    exponentials of parameters; a is measured in epsilons, and starts at 0: no overshoot. The first iterate is
    zero, so that its gain has nothing to amplify and needs no threshold before it.

    Args:
        n_iterations: K.
        epsilon: for ||y|| = 1.

    Parameters: ``log_gain`` (log nu), ``log_gain_decay`` (log mu) and ``relative_overshoot`` (a/epsilon), all (K,).

    Raises:
        AlgorithmError: epsilon is not positive.

    >>> gates = Gates(2, epsilon=0.1)
    >>> gates.overshoot(0, torch.zeros(3), torch.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, n_iterations: int, epsilon: float) -> None:
        super().__init__()
        AlgorithmError.unless(epsilon > 0, "a positive number", epsilon, "epsilon")
        self.epsilon = epsilon
        self.log_gain, self.log_gain_decay = (nn.Parameter(torch.full((n_iterations,), _START)) for _ in range(2))
        self.relative_overshoot = nn.Parameter(torch.zeros(n_iterations))

    def gain(self, k: int, x: Tensor, theta: Tensor) -> Tensor:
        """g of iteration k, (*batch, N) real; theta (K,) are the thresholds of all iterations."""
        nu, mu = self.log_gain[k].exp(), self.log_gain_decay[k].exp()
        return 1 + theta[max(k - 1, 0)] * nu * torch.exp(-mu * x.abs())

    def overshoot(self, k: int, x: Tensor, v: Tensor) -> Tensor:
        """o of iteration k, (*batch, N) real."""
        return 1 + self.relative_overshoot[k] / ((v - x).abs() / self.epsilon + 1)


class Gated(IterativeShrinkage):
    """Iterative shrinkage with the gain and overshoot of ``gates``."""

    gates: Gates

    def gained(self, k: int, x: Tensor, theta: Tensor) -> Tensor:
        return self.gates.gain(k, x, theta) * x

    def overshot(self, k: int, x: Tensor, v: Tensor) -> Tensor:
        return x + self.gates.overshoot(k, x, v) * (v - x)
