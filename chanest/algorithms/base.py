"""What every algorithm is: a loop over (Phi, W) that knows nothing of scenarios, files or links."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ..errors import AlgorithmError
from ..operators import AnalyticWeights, LinearOperator


class Weights(Protocol):
    """W: its adjoint, W^H Phi, and the largest eigenvalue of that."""

    def adjoint(self, y: Tensor, /) -> Tensor: ...

    def gram(self, x: Tensor, /) -> Tensor: ...

    def squared_norm(self) -> Tensor: ...


@dataclass(frozen=True)
class Recovery:
    """What an algorithm found.

    Attributes:
        x: (*batch, N), the last iterate.
        iterates: the K iterates (x after every iteration), or empty when not recorded.
        step_sizes, thresholds: gamma and theta of every iteration, (K, *batch) or (K,); None when not
            recorded.
    """

    x: Tensor
    iterates: tuple[Tensor, ...] = ()
    step_sizes: Tensor | None = None
    thresholds: Tensor | None = None


class Trace:
    """Collects iterates, step sizes and thresholds while an algorithm runs, when asked to."""

    def __init__(self, record: bool) -> None:
        self.record = record
        self._rows: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, x: Tensor, step_size: Tensor, threshold: Tensor) -> None:
        if self.record:
            self._rows.append((x, step_size.squeeze(-1), threshold.squeeze(-1)))

    def recovery(self, x: Tensor) -> Recovery:
        if not self._rows:
            return Recovery(x)
        iterates, step_sizes, thresholds = zip(*self._rows, strict=True)
        return Recovery(x, iterates, torch.stack(step_sizes), torch.stack(thresholds))


class Algorithm(nn.Module, ABC):
    """Base of all iterative algorithms.

    Constructor arguments are the hyperparameters: they are kept in ``self.hyperparameters``, stored in the
    model file, and rebuild the algorithm. Observations come with ||y|| = 1 (the estimator scales), so
    penalties and thresholds are relative to that.

    Attributes:
        name: lower-case name, as on the command line.
        learned: whether training changes it.
        n_iterations: K it was made for.
        any_n_iterations: whether another K can be asked for.
        ridge: of the analytic weights; 0 stands for W = Phi.
    """

    name: ClassVar[str]
    learned: ClassVar[bool] = False
    any_n_iterations: ClassVar[bool] = True

    def __init__(self, n_iterations: int, ridge: float = 0.0, **others: Any) -> None:
        super().__init__()
        if n_iterations < 1:
            raise AlgorithmError(f"{self.name}: n_iterations: expected at least 1, got {n_iterations}")
        if not ridge >= 0:
            raise AlgorithmError(f"{self.name}: ridge: expected a number not below 0, got {ridge}")
        if not others.get("sparsity", 0) >= 0:
            raise AlgorithmError(f"{self.name}: sparsity: expected a number not below 0, got {others['sparsity']}")
        self.n_iterations = n_iterations
        self.ridge = ridge
        self.hyperparameters: dict[str, Any] = {"n_iterations": n_iterations, "ridge": ridge, **others}

    @abstractmethod
    def forward(
        self, y: Tensor, phi: LinearOperator, n_iterations: int | None = None, record: bool = False
    ) -> Recovery:
        """Recover x from y = Phi x + z.

        Args:
            y: (*batch, M), ||y|| of order 1.
            phi: the operator.
            n_iterations: another K than the algorithm's own.
            record: keep iterates, step sizes and thresholds.

        Raises:
            AlgorithmError: n_iterations differs from the K that the parameters belong to.
        """

    def initialise(self, generator: torch.Generator) -> None:
        """Draw what is random in the initial parameters; nothing in most algorithms."""

    def fit_normalisation(self, y: Tensor, phi: LinearOperator) -> None:
        """Set the buffers that standardise features from one batch; most algorithms have none."""

    def weights(self, phi: LinearOperator) -> Weights:
        """W for this operator: analytic where the algorithm has a ridge, else Phi itself."""
        return AnalyticWeights(phi, self.ridge) if self.ridge > 0 else phi

    def checked_iterations(self, asked: int | None) -> int:
        """K when another one is asked for, or None; AlgorithmError when that is impossible."""
        if asked is None or asked == self.n_iterations:
            return self.n_iterations
        if asked < 1:
            raise AlgorithmError(f"iterations: expected at least 1, got {asked}")
        if not self.any_n_iterations:
            raise AlgorithmError(
                f"iterations: {self.name} has parameters for each of its {self.n_iterations} iterations, "
                f"asked for {asked}; train a model with --iterations {asked}"
            )
        return asked
