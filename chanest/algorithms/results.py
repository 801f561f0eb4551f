"""Results of estimators: recoveries, posteriors, estimates on a band, and the trace of the iterations."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Posterior:
    """A Gaussian posterior: taps CN(0, diag(g)) before y = Phi x + CN(0, s I) was seen.

    Attributes:
        variances: (*batch, N) g.
        noise_variance: (*batch,) s.
    """

    variances: Tensor
    noise_variance: Tensor


@dataclass(frozen=True)
class Recovery:
    """The result of an algorithm.

    Attributes:
        x: (*batch, N), the last iterate.
        iterates: the K iterates (x after every iteration), or empty when not recorded.
        step_sizes, thresholds: gamma and theta of every iteration, (K, *batch) or (K,); None when not
            recorded.
        posterior: where the algorithm ends with one.
    """

    x: Tensor
    iterates: tuple[Tensor, ...] = ()
    step_sizes: Tensor | None = None
    thresholds: Tensor | None = None
    posterior: Posterior | None = None


@dataclass(frozen=True)
class BandEstimate:
    """An estimate on a band of M' rows, for ||y|| = 1.

    Attributes:
        recovery: the coefficients, from algorithms.
        response: (*batch, M') H on the rows of the band for pilots sqrt(M) y, from interpolators.
        error_variance: (*batch, M') expected |error|^2 of the response, where it was asked for.
    """

    recovery: Recovery | None = None
    response: Tensor | None = None
    error_variance: Tensor | None = None


class Trace:
    """Collects iterates, step sizes and thresholds while an algorithm runs, when asked to."""

    def __init__(self, record: bool) -> None:
        self.record = record
        self._iterates: list[Tensor] = []
        self._steps: list[tuple[Tensor, Tensor]] = []

    def add(self, x: Tensor, step_size: Tensor | None = None, threshold: Tensor | None = None) -> None:
        if self.record:
            self._iterates.append(x)
            if step_size is not None and threshold is not None:
                self._steps.append((step_size.squeeze(-1), threshold.squeeze(-1)))

    def recovery(self, x: Tensor, posterior: Posterior | None = None) -> Recovery:
        if not self._steps:
            return Recovery(x, tuple(self._iterates), posterior=posterior)
        step_sizes, thresholds = (torch.stack(rows) for rows in zip(*self._steps, strict=True))
        return Recovery(x, tuple(self._iterates), step_sizes, thresholds, posterior)
