"""HyperLISTA: ALISTA with momentum whose steps follow from three numbers (Chen, Liu, Wang & Yin, NeurIPS 2021)."""

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from ..errors import AlgorithmError
from ..operators import (
    AnalyticWeights,
    LinearOperator,
    analytic_weights,
    generalised_coherence,
)
from .proximal import IterativeShrinkage
from .results import Recovery, Trace
from .shrinkage import soft_threshold


class HyperLISTA(IterativeShrinkage):
    """x+ <- eta_{theta,p}(x - W^H b + beta (x - x_before)), b = Phi x - y, with for every vector

    theta = c1 mu ||A b||_1, beta = c2 mu ||x||_0, and the p = c3 min(log(||A y||_1 / ||A b||_1), N) entries of
    largest modulus exempt (rounded down). W is analytic, A = Phi^H (Phi Phi^H + ridge)^-1 the regularised
    pseudo-inverse that W is a column scaling of, mu their coherence (:func:`generalised_coherence`).

    Nothing is trained by gradients: :func:`tune_hyperlista` searches c1, c2, c3.

    Args:
        n_iterations: K.
        c1, c2, c3: not negative; of threshold, momentum and support. The defaults suit eight taps and M = 75 at 10 dB;
            a Gaussian 250 x 1000 matrix with S = 50 at 40 dB wants 0.03, 0.013, 13 and a ridge of 1e-6.
        ridge: of the analytic weights; 0 for a well-conditioned Phi only.
        error_calibration: weights and, last, the bias of a :class:`ResidualCalibration`.

    Raises:
        AlgorithmError: a negative number.

    >>> from chanest import PartialDFT, PilotPattern
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=256)
    >>> HyperLISTA(n_iterations=4)(torch.zeros(2, 75, dtype=torch.complex64), phi).x.shape
    torch.Size([2, 256])
    """

    name = "hyperlista"

    def __init__(
        self,
        n_iterations: int = 16,
        c1: float = 0.06,
        c2: float = 0.01,
        c3: float = 6.0,
        ridge: float = 0.1,
        error_calibration: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__(n_iterations, ridge=ridge, c1=c1, c2=c2, c3=c3, error_calibration=error_calibration)
        for name, value in (("c1", c1), ("c2", c2), ("c3", c3)):
            AlgorithmError.unless(value >= 0, "a number not below 0", value, name)
        self.c1, self.c2, self.c3 = c1, c2, c3

    def weights(self, phi: LinearOperator) -> AnalyticWeights:
        """W, analytic whatever the ridge."""
        return analytic_weights(phi, self.ridge)

    def _iterate(
        self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, noise_variance: Tensor | None
    ) -> Recovery:
        w = self.weights(phi)
        return self.iterate(y, phi, w, generalised_coherence(w, phi), n_iterations, trace)

    def iterate(
        self, y: Tensor, phi: LinearOperator, w: AnalyticWeights, mu: Tensor, n_iterations: int, trace: Trace
    ) -> Recovery:
        """The iterations with W and mu at hand."""
        mu = mu.unsqueeze(-1)
        tiny = torch.finfo(y.real.dtype).tiny
        start = _sum(w.pseudo_inverse(y)).clamp_min(tiny)
        x = x_before = torch.zeros_like(phi.adjoint(y))
        for _ in range(n_iterations):
            whitened = w.pseudo_inverse(phi.forward(x) - y)
            left = _sum(whitened).clamp_min(tiny)
            theta = self.c1 * mu * left
            beta = self.c2 * mu * (x != 0).sum(-1, keepdim=True)
            p = self.c3 * (start / left).log().clamp(0, phi.n_coefficients)
            step = x - w.scale * whitened + beta * (x - x_before)
            x_before, x = x, soft_threshold(step, theta, p.long())
            trace.add(x, torch.ones_like(theta), theta)
        return trace.recovery(x)


@torch.no_grad()
def tune_hyperlista(
    y: Tensor,
    phi: LinearOperator,
    truth: Tensor,
    n_iterations: int = 16,
    ridge: float = 0.1,
    c1: Sequence[float] = (0.003, 0.01, 0.03, 0.1, 0.3),
    c2: Sequence[float] = (0.0, 0.003, 0.01, 0.03),
    c3: Sequence[float] = (0.0, 1.0, 3.0, 10.0, 30.0),
    n_refinements: int = 2,
) -> HyperLISTA:
    """The HyperLISTA of least squared error on given vectors, by grid search.

    First the whole grid, then finer grids around the best: each number times 1/f, 1 and f, f a square root smaller
    every time. The search stays on the device of y.

    Args:
        y: (*batch, M), ||y|| = 1.
        phi: the operator, one for the batch or one per entry.
        truth: (*batch, N), in the scale of y.
        n_iterations, ridge: as :class:`HyperLISTA`.
        c1, c2, c3: the grid.
        n_refinements: finer grids.

    >>> from chanest import PartialDFT, PilotPattern
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=256)
    >>> x = torch.zeros(1, 256, dtype=torch.complex64).index_fill(1, torch.tensor([3, 200]), 0.7)
    >>> tuned = tune_hyperlista(phi.forward(x), phi, x, c1=[0.01, 0.1], c2=[0.01], c3=[3], n_refinements=0)
    >>> tuned.c1, tuned.c2, tuned.c3
    (0.1, 0.01, 3)
    """

    def made(numbers: tuple[float, ...]) -> HyperLISTA:
        c1, c2, c3 = numbers
        return HyperLISTA(n_iterations, c1, c2, c3, ridge)

    w = analytic_weights(phi, ridge)
    mu = generalised_coherence(w, phi)

    def error(numbers: tuple[float, ...]) -> float:
        found = made(numbers).iterate(y, phi, w, mu, n_iterations, Trace(False)).x
        value = float((found - truth).abs().square().sum())
        return math.inf if math.isnan(value) else value

    best = min(product(c1, c2, c3), key=error)
    factor = 3.0
    for _ in range(n_refinements):
        factor = factor**0.5
        best = min(product(*((c / factor, c, c * factor) for c in best)), key=error)
    return made(best)


def _sum(x: Tensor) -> Tensor:
    """||x||_1, (*batch, N) -> (*batch, 1)."""
    return x.abs().sum(-1, keepdim=True)
