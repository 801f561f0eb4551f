"""Results of estimators: recoveries, posteriors, estimates on a band, and the trace of the iterations."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


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
class JointPosterior(Posterior):
    """A posterior that snapshots share; ``noise_variance`` is (*batch, M), of every pilot.

    Attributes:
        level: (*batch,), what the noise variances of pilots have in common: s where none is told or found to differ.
    """

    level: Tensor = field(kw_only=True)


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

    def to(self, dtype: torch.dtype) -> "Recovery":
        """The same in another precision, that of a complex dtype."""
        return self._map(lambda t: t.to(dtype if t.is_complex() else dtype.to_real()))

    def followed_by(self, other: "Recovery", order: Tensor) -> "Recovery":
        """This one's batch and another's, (n, ...) both, in some order."""
        others = iter(other._tensors())
        return self._map(lambda t: torch.cat([t, next(others)])[order])

    def rows(self, which: Tensor) -> "Recovery":
        """Some of its batch, (n, ...)."""
        return self._map(lambda t: t[which])

    def latest(self, n_snapshots: int) -> "Recovery":
        """The last snapshots, of estimates (batch, R, ...)."""
        return replace(self, x=self.x[:, -n_snapshots:], iterates=tuple(x[:, -n_snapshots:] for x in self.iterates))

    def _tensors(self) -> list[Tensor]:
        found: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            found.append(tensor)
            return tensor

        self._map(keep)
        return found

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Recovery":
        """Estimates and posterior changed, one after the other."""
        posterior = self.posterior
        if posterior is not None:
            posterior = replace(posterior, **{f.name: change(getattr(posterior, f.name)) for f in fields(posterior)})
        return replace(self, x=change(self.x), iterates=tuple(map(change, self.iterates)), posterior=posterior)

    def single(self) -> "Recovery":
        """The same without the axis of snapshots, of which there is one."""
        return replace(self, x=self.x.squeeze(-2), iterates=tuple(x.squeeze(-2) for x in self.iterates))


def some_groups(values: T, which: Tensor) -> T:
    """A dataclass of tensors (B, ...), of some of the groups, (B,) bool."""
    return replace(values, **{f.name: getattr(values, f.name)[which] for f in fields(values)})  # type: ignore


def with_groups(values: T, which: Tensor, other: T) -> T:
    """The same with some of the groups, (B,) bool, from elsewhere."""

    def mixed(mine: Tensor, theirs: Tensor) -> Tensor:
        return mine.masked_scatter(which.view(-1, *(1,) * (mine.ndim - 1)).expand_as(mine), theirs)

    names = [f.name for f in fields(values)]  # type: ignore
    return replace(values, **{name: mixed(getattr(values, name), getattr(other, name)) for name in names})  # type: ignore


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
