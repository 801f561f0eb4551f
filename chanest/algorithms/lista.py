"""LISTA, LISTA-CPSS and Gated-LISTA: unrolled ISTA whose matrices are learned, bound to the one Phi of training."""

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import AlgorithmError
from ..operators import LinearOperator
from .error_calibration import ResidualCalibration
from .gates import Gated, Gates
from .proximal import IterativeShrinkage
from .results import Recovery, Trace
from .shrinkage import soft_threshold

_FIELDS = ("real", "complex")


class _LearnedMatrices(IterativeShrinkage):
    """Sizes, thresholds, matrices as real tensors, and a start taken from Phi.

    The matrices are zero until :meth:`fit_normalisation` (which training calls) has seen Phi.
    """

    learned = True
    any_n_iterations = False

    def __init__(self, n_iterations: int, n_measurements: int, n_coefficients: int, field: str, **others: Any) -> None:
        super().__init__(
            n_iterations, n_measurements=n_measurements, n_coefficients=n_coefficients, field=field, **others
        )
        for name, size in (("n_measurements", n_measurements), ("n_coefficients", n_coefficients)):
            AlgorithmError.unless(size >= 1, "at least 1", size, name)
        AlgorithmError.unless(field in _FIELDS, " or ".join(_FIELDS), field, "field")
        self.n_measurements, self.n_coefficients, self.field = n_measurements, n_coefficients, field
        self.log_threshold = nn.Parameter(torch.full((n_iterations,), math.log(0.02)))
        self.calibration = ResidualCalibration()

    def _zeros(self, *shape: int) -> nn.Parameter:
        return nn.Parameter(torch.zeros(*shape, 2) if self.field == "complex" else torch.zeros(*shape))

    def _matrices(self, stored: Tensor) -> Tensor:
        return torch.view_as_complex(stored) if self.field == "complex" else stored

    def _store(self, stored: Tensor, matrix: Tensor) -> None:
        """Set every layer to one matrix."""
        stored.copy_(torch.view_as_real(matrix.resolve_conj()) if self.field == "complex" else matrix)

    def check(self, phi: LinearOperator) -> None:
        """Raise AlgorithmError where Phi has another size or field, or there is one per entry."""
        field = "complex" if phi.dtype.is_complex else "real"
        expected = f"{self.n_measurements} x {self.n_coefficients} {self.field}"
        found = f"{phi.n_measurements} x {phi.n_coefficients} {field}"
        if phi.batch_shape:
            raise AlgorithmError(f"{self.name}: expected one Phi for the whole batch, got one per entry")
        if expected != found:
            raise AlgorithmError(f"{self.name}: expected the {expected} Phi it was made for, got {found}")

    @torch.no_grad()
    def fit_normalisation(self, y: Tensor, phi: LinearOperator) -> None:
        """Set the matrices to those of ISTA with step size 1/L for this Phi."""
        self.check(phi)
        self._start(phi.dense(), phi.squared_norm())

    @abstractmethod
    def _start(self, phi: Tensor, norm: Tensor) -> None: ...


class LISTA(_LearnedMatrices):
    """x <- eta_theta(W1 y + W2 x) (Gregor & LeCun 2010); starts at ISTA: W1 = Phi^H/L, W2 = I - Phi^H Phi/L.

    Args:
        n_iterations: K.
        n_measurements, n_coefficients: M, N.
        field: "real" or "complex".
        shared: 1 for the same matrices in all layers, 0 for a pair each.
        sparsity: S of the schedule of support selection; 0 for none.
        schedule: of support selection, "ofdm" (also where None), "published" or "synthetic".

    Parameters: ``log_threshold`` (K,); ``w1`` (K or 1, N, M), ``w2`` (K or 1, N, N), with a last axis (real,
    imaginary) in a complex field; ``calibration`` (:class:`ResidualCalibration`).

    Raises:
        AlgorithmError: a size below 1, an unknown field or schedule; when called, another Phi's size or field.

    >>> LISTA(4, n_measurements=20, n_coefficients=64, field="complex").w1.shape
    torch.Size([4, 64, 20, 2])
    """

    name = "lista"

    def __init__(
        self,
        n_iterations: int = 16,
        n_measurements: int = 250,
        n_coefficients: int = 1000,
        field: str = "real",
        shared: int = 0,
        sparsity: float = 0,
        schedule: str | None = None,
    ) -> None:
        sizes = n_measurements, n_coefficients
        super().__init__(n_iterations, *sizes, field, shared=shared, sparsity=sparsity, schedule=schedule)
        AlgorithmError.unless(shared in (0, 1), "0 or 1", shared, "shared")
        layers = 1 if shared else n_iterations
        self.w1 = self._zeros(layers, n_coefficients, n_measurements)
        self.w2 = self._zeros(layers, n_coefficients, n_coefficients)

    def _start(self, phi: Tensor, norm: Tensor) -> None:
        self._store(self.w1, phi.mH / norm)
        self._store(self.w2, torch.eye(self.n_coefficients, dtype=phi.dtype, device=phi.device) - phi.mH @ phi / norm)

    def _iterate(
        self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, noise_variance: Tensor | None
    ) -> Recovery:
        w1, w2 = (self._matrices(w).expand(n_iterations, -1, -1) for w in (self.w1, self.w2))
        theta, exempt = self.log_threshold.exp(), self.exempt(n_iterations)
        x = y.new_zeros(*y.shape[:-1], self.n_coefficients)
        for k in range(n_iterations):
            v = soft_threshold(y @ w1[k].mT + self.gained(k, x, theta) @ w2[k].mT, theta[k], exempt[k])
            x = self.overshot(k, x, v)
            trace.add(x)
        return trace.recovery(x)


class GatedLISTA(Gated, LISTA):
    """LISTA with gates: v = eta_theta(W1 y + W2 (g x)), x <- o v + (1 - o) x (Wu et al. 2020).

    Args:
        n_iterations, n_measurements, n_coefficients, field, shared, sparsity, schedule: as :class:`LISTA`.
        epsilon: of the overshoot, for ||y|| = 1; the default is 0.01 for taps of unit variance, 50 of them.

    Parameters: as :class:`LISTA`, and ``gates`` (:class:`Gates`).

    Raises:
        AlgorithmError: as :class:`LISTA`; epsilon is not positive.

    >>> GatedLISTA(4, n_measurements=20, n_coefficients=64, shared=1).w2.shape
    torch.Size([1, 64, 64])
    """

    name = "gated-lista"

    def __init__(
        self,
        n_iterations: int = 16,
        n_measurements: int = 250,
        n_coefficients: int = 1000,
        field: str = "real",
        shared: int = 0,
        sparsity: float = 0,
        epsilon: float = 0.01 / math.sqrt(50),
        schedule: str | None = None,
    ) -> None:
        super().__init__(n_iterations, n_measurements, n_coefficients, field, shared, sparsity, schedule)
        self.gates = Gates(n_iterations, epsilon)
        self.hyperparameters["epsilon"] = epsilon


class LISTACPSS(_LearnedMatrices):
    """x <- eta_theta(x - W^H (Phi x - y)), W a matrix per layer, with support selection (Chen et al. 2018).

    Starts at ISTA: W = Phi/L.

    Args:
        n_iterations: K.
        n_measurements, n_coefficients: M, N.
        field: "real" or "complex".
        sparsity: S of the schedule of support selection; 0 for none (LISTA-CP).
        schedule: of support selection, "ofdm" (also where None), "published" or "synthetic".

    Parameters: ``log_threshold`` (K,); ``w`` (K, M, N), with a last axis (real, imaginary) in a complex field;
    ``calibration`` (:class:`ResidualCalibration`).

    Raises:
        AlgorithmError: a size below 1, an unknown field or schedule; when called, another Phi's size or field.

    >>> LISTACPSS(4, n_measurements=20, n_coefficients=64).w.shape
    torch.Size([4, 20, 64])
    """

    name = "lista-cpss"

    def __init__(
        self,
        n_iterations: int = 16,
        n_measurements: int = 250,
        n_coefficients: int = 1000,
        field: str = "real",
        sparsity: float = 8,
        schedule: str | None = None,
    ) -> None:
        super().__init__(n_iterations, n_measurements, n_coefficients, field, sparsity=sparsity, schedule=schedule)
        self.w = self._zeros(n_iterations, n_measurements, n_coefficients)

    def _start(self, phi: Tensor, norm: Tensor) -> None:
        self._store(self.w, phi / norm)

    def _iterate(
        self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, noise_variance: Tensor | None
    ) -> Recovery:
        w, theta, exempt = self._matrices(self.w), self.log_threshold.exp(), self.exempt(n_iterations)
        x = y.new_zeros(*y.shape[:-1], self.n_coefficients)
        for k in range(n_iterations):
            x = soft_threshold(x - (phi.forward(x) - y) @ w[k].conj(), theta[k], exempt[k])
            trace.add(x)
        return trace.recovery(x)
