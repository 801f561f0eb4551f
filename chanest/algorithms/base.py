"""Estimators, and algorithms among them: loops over (Phi, W) that know nothing of scenarios, files or links."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from ..errors import AlgorithmError
from ..kernels.adapters import Array
from ..operators import LinearOperator
from .error_calibration import Calibration
from .gaussian import posterior_variance
from .results import BandEstimate, Recovery, Trace


class Told(NamedTuple):
    """The noise of y as far as it is known.

    Attributes:
        variance: (*batch,) or (*batch, M); None where the level is not known.
        ratio: (*batch, M), of the pilots over such a level; None where all are alike.
    """

    variance: Tensor | None
    ratio: Tensor | None = None


class Estimator(nn.Module, ABC):
    """Base of all estimators of a channel from pilots: iterative algorithms and interpolators.

    Constructor arguments are the hyperparameters: they are stored in ``self.hyperparameters`` and in the model file,
    and rebuild the estimator. Observations come with ||y|| = 1 (the model scales), so penalties and thresholds are
    relative to that.

    Attributes:
        name: lower-case name, as on the command line.
        learned: whether training changes it.
        any_n_iterations: whether another K can be asked for.
        complex_only: whether it takes complex vectors only.
        joint: whether it takes snapshots, (*batch, R, M).
        circle: whether it looks at all delays that the pilots tell apart, on a grid of its own.
        weighs_delays: whether it finds variances of taps, which say where else a path may lie.
        n_iterations: K it was made for.
    """

    name: ClassVar[str]
    learned: ClassVar[bool] = False
    any_n_iterations: ClassVar[bool] = True
    complex_only: ClassVar[bool] = False
    joint: ClassVar[bool] = False
    circle: ClassVar[bool] = False
    weighs_delays: ClassVar[bool] = False
    n_iterations: int
    hyperparameters: dict[str, Any]

    @abstractmethod
    def estimate(
        self,
        y: Tensor,
        phi: LinearOperator,
        band: LinearOperator | None,
        noise_variance: Tensor | None = None,
        *,
        n_iterations: int | None = None,
        record: bool = False,
        error_variance: bool = False,
    ) -> BandEstimate:
        """Estimate from y = Phi x + z, on the rows of ``band`` too.

        Args:
            y: (*batch, M), ||y|| = 1.
            phi: the operator.
            band: Phi', M' rows over the same coefficients; None where there is no band, nor an error variance.
            noise_variance: (*batch,) of an entry of y, where it is known.
            n_iterations: another K than the estimator's own.
            record: record iterates, step sizes and thresholds.
            error_variance: give it, where :attr:`gives_error_variance`.

        Raises:
            AlgorithmError: another K that is impossible, or a Phi that the estimator was not made for.
        """

    @property
    def gives_error_variance(self) -> bool:
        """Whether there is an error variance: of ISTA, FISTA and HyperLISTA only where they were calibrated."""
        return True

    def rescaled(self, factor: float) -> Self:
        """The same estimator where the samples are shorter by a factor; itself where it knows no delays."""
        return self

    def check(self, phi: LinearOperator) -> None:
        """Raise AlgorithmError where this was made for another Phi; most serve any."""

    def checked_iterations(self, asked: int | None) -> int:
        """K when another one is asked for, or None; AlgorithmError when that is impossible."""
        if asked is None or asked == self.n_iterations:
            return self.n_iterations
        AlgorithmError.unless(asked >= 1, "at least 1", asked, "iterations")
        if not self.any_n_iterations:
            raise AlgorithmError(
                f"{self.name} has parameters for each of its {self.n_iterations} iterations, "
                f"asked for {asked}; train a model with --iterations {asked}",
                field="iterations",
            )
        return asked


class Algorithm(Estimator):
    """Base of all iterative algorithms; hyperparameters that are None are left out.

    Attributes:
        supervision: weight in training of the iterates before the last one.
        calibration: corrects the error variance, or gives one where the algorithm has no posterior.
    """

    supervision: ClassVar[float] = 0.0

    def __init__(self, n_iterations: int, **hyperparameters: Any) -> None:
        super().__init__()
        AlgorithmError.unless(n_iterations >= 1, "at least 1", n_iterations, "n_iterations")
        self.n_iterations = n_iterations
        given = {"n_iterations": n_iterations, **hyperparameters}
        self.hyperparameters = {name: value for name, value in given.items() if value is not None}
        self.calibration: Calibration | None = None

    def forward(
        self,
        y: Tensor,
        phi: LinearOperator,
        n_iterations: int | None = None,
        record: bool = False,
        noise_variance: Tensor | None = None,
        snapshots: bool = False,
        noise_ratio: Tensor | None = None,
    ) -> Recovery:
        """Recover x from y = Phi x + z: checks, then a compiled way where there is one, else :meth:`_iterate`.

        Args:
            y: (*batch, M), ||y|| of order 1.
            phi: the operator.
            n_iterations: another K than the algorithm's own.
            record: record iterates, step sizes and thresholds.
            noise_variance: (*batch,) of an entry of y, where it is known; the ISTA family does not use it.
            snapshots: y is (*batch, R, M), R snapshots of channels that share their delays, for those that are
                ``joint``; on a ``circle`` these also take a noise variance of every pilot, (*batch, M).
            noise_ratio: (*batch, M), of the pilots' noise over a level that is not known, for those on a ``circle``.

        Raises:
            AlgorithmError: n_iterations differs from the K that the parameters belong to, or another Phi from theirs;
                snapshots for an algorithm that takes them one by one.
        """
        n_iterations = self.checked_iterations(n_iterations)
        self.check(phi)
        if snapshots:
            return self._jointly(y, phi, n_iterations, Trace(record), Told(noise_variance, noise_ratio))
        found = None if record else self._compiled(y, phi, n_iterations)
        return self._iterate(y, phi, n_iterations, Trace(record), noise_variance) if found is None else found

    def _jointly(self, y: Tensor, phi: Any, n_iterations: int, trace: Trace, told: Told) -> Recovery:
        """The iterations for snapshots, y (*batch, R, M); AlgorithmError where the algorithm is not ``joint``."""
        raise AlgorithmError(f"{self.name} takes snapshots one by one, (*batch, M)", field="y")

    @abstractmethod
    def _iterate(
        self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, noise_variance: Tensor | None
    ) -> Recovery:
        """The iterations in torch."""

    def _compiled(self, y: Tensor, phi: LinearOperator, n_iterations: int) -> Recovery | None:
        """The same by a compiled loop; None where there is none for this algorithm or these tensors."""
        return None

    def prepared_loop(self, phi: LinearOperator) -> Callable[[Array, Array], None] | None:
        """A compiled loop from y (n, M) complex64 to x (n, N), which it fills, with all else that it needs at hand.

        None where there is none, or one that costs nothing to prepare.
        """
        return None

    def estimate(
        self,
        y: Tensor,
        phi: LinearOperator,
        band: LinearOperator | None,
        noise_variance: Tensor | None = None,
        *,
        n_iterations: int | None = None,
        record: bool = False,
        error_variance: bool = False,
    ) -> BandEstimate:
        recovery = self(y, phi, n_iterations, record, noise_variance)
        if band is None or not (error_variance and self.gives_error_variance):
            return BandEstimate(recovery)
        return BandEstimate(recovery, error_variance=self.error_variance(recovery, y, phi, band, noise_variance))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw what is random in the initial parameters; nothing in most algorithms."""

    def fit_normalisation(self, y: Tensor, phi: LinearOperator) -> None:
        """Set the buffers that standardise features from one batch; most algorithms have none."""

    @torch.no_grad()
    def error_variance(
        self, recovery: Recovery, y: Tensor, phi: LinearOperator, band: LinearOperator, noise_variance: Tensor | None
    ) -> Tensor:
        """Variance of the error of sqrt(M') (Phi' x), of the CFR where Phi' is the used band: (*batch, M').

        Args:
            recovery: what this algorithm found in y.
            y, phi, noise_variance: as they were given to it.
            band: Phi', M' rows over the same coefficients.

        Raises:
            AlgorithmError: the algorithm has neither a posterior nor a calibration.
        """
        if self.calibration is not None:
            found = self.calibration.log_variance(recovery, y, phi, band, noise_variance)
            return self.calibration.settled(found).exp().expand(*y.shape[:-1], band.n_measurements)
        if recovery.posterior is None:
            raise AlgorithmError(f"{self.name}: has no posterior and no calibration to give an error variance")
        return posterior_variance(phi, band, recovery.posterior.variances, recovery.posterior.noise_variance)

    def grown(self, n_iterations: int) -> Self:
        """The same algorithm with another number of iterations: a warm start for training it.

        Parameters are copied; those that iterations have of their own, one behind the other along the first axis
        or in numbered modules, are continued by the last. Without support selection, whose schedule depends on K,
        the first iterates are those of this one (of NA-SBL where the noise is told).

        Args:
            n_iterations: the new K.

        Raises:
            AlgorithmError: fewer iterations than now where they have parameters of their own, or parameters that are
                numbered otherwise.

        >>> from chanest.algorithms import ALISTA
        >>> ALISTA(n_iterations=4).grown(6).log_threshold.shape
        torch.Size([6])
        """
        if n_iterations < self.n_iterations and not self.any_n_iterations:
            raise AlgorithmError(
                f"{self.name} can grow from {self.n_iterations} to more, asked for {n_iterations}", field="n_iterations"
            )
        made = type(self)(**{**self.hyperparameters, "n_iterations": n_iterations})
        old, new = self.state_dict(), made.state_dict()
        for name in new:
            if name not in old:
                last_one = next((other for other in reversed(old) if _unnumbered(other) == _unnumbered(name)), None)
                if last_one is None:
                    raise AlgorithmError(f"{self.name}: has parameters that cannot be continued to more iterations")
                old[name] = old[last_one]
            tensor = old[name]
            made.to(tensor.device, tensor.dtype)  # before values go in, lest double precision be lost
            if tensor.shape != new[name].shape:
                old[name] = torch.cat([tensor, tensor[-1:].expand(n_iterations - self.n_iterations, *tensor.shape[1:])])
        made.load_state_dict(old)
        return made


def _unnumbered(name: str) -> str:
    """A parameter's name without the number of its module."""
    return re.sub(r"\.\d+\.", "..", name)
