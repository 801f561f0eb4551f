"""Model and Estimate: pilots in, channel out. The only module that converts between H and y = H / sqrt(M)."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from types import ModuleType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from ..algorithms import Algorithm, Interpolator, Recovery, namespace
from ..errors import ModelError, ObservationError, ScenarioError
from ..operators import DenseOperator, PartialDFT
from ..problems import (
    Grid,
    PilotPattern,
    Problem,
    Scenario,
    Sensing,
    check_measurements,
    checked_symbols,
    gaussian,
    ofdm,
    whole_band,
)

Array = Tensor | np.ndarray
_Result = TypeVar("_Result")
_Stamp = tuple[tuple[int, int], ...]
_copies: WeakKeyDictionary[Algorithm, dict[tuple[torch.device, torch.dtype], tuple[_Stamp, Algorithm]]] = (
    WeakKeyDictionary()
)


@dataclass(frozen=True)
class Estimate:
    """An estimated channel; NumPy arrays where the pilots were one, else tensors.

    Attributes:
        cir: (*batch, n_taps) complex, taps from ``first_tap_samples`` on; None from an interpolator.
        cfr: (*batch, n_used) complex on ``used_subcarriers``, those of the pattern's grid.
        used_subcarriers: (n_used,) int64.
        first_tap_samples: delay of the first tap.
        error_variance: (*batch, n_used), expected |error|^2 of the CFR, when asked for.
        iterates: the CIR after every iteration, when recorded.
        step_sizes, thresholds: of every iteration, (K, *batch) or (K,), when recorded; thresholds are
            relative to observations of unit RMS.
    """

    cir: Any
    cfr: Any
    used_subcarriers: Any
    first_tap_samples: int
    error_variance: Any = None
    iterates: tuple[Any, ...] = ()
    step_sizes: Any = None
    thresholds: Any = None


@dataclass(frozen=True)
class Solution:
    """What a model makes of observations, whatever the setting.

    Attributes:
        values: estimates by the name of the quantity: ``cir`` and ``cfr``, ``cfr`` alone, or ``x``.
        error_variance: of the CFR, (*batch, n_used), when asked for and known.
        first_tap_samples: delay of the first coefficient.
        iterates: the coefficients after every iteration, when recorded.
        step_sizes, thresholds: as of an :class:`Estimate`.
    """

    values: dict[str, Tensor]
    error_variance: Tensor | None
    first_tap_samples: int
    iterates: tuple[Tensor, ...] = ()
    step_sizes: Tensor | None = None
    thresholds: Tensor | None = None


@dataclass
class Model:
    """An algorithm with its parameters, and the problem it was made for.

    An OFDM scenario gives the delay window (first_tap_samples, n_taps); the pilot pattern and the band are free
    (:meth:`estimate`). With a synthetic one, :meth:`recover` takes any matrix of real numbers. Neither changes the
    algorithm: pilots of another precision or device go through a copy.
    """

    algorithm: Algorithm | Interpolator
    scenario: Problem
    name: str = "untrained"
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def ofdm(self) -> Scenario:
        """The scenario; ModelError where the model was made for the synthetic setting."""
        try:
            return ofdm(self.scenario)
        except ScenarioError:
            raise ModelError(
                f"model {self.name}: made for synthetic vectors (scenario {self.scenario.name}), not for OFDM pilots"
            ) from None

    def estimate(
        self,
        received_pilots: Array,
        pattern: PilotPattern | Sequence[int] | Array,
        noise_variance: Array | float | None = None,
        *,
        pilot_symbols: Array | complex | None = None,
        n_iterations: int | None = None,
        record: bool = False,
        error_variance: bool = False,
    ) -> Estimate:
        """Estimate channels from received pilots.

        The result scales with the input: estimate(a Y) = a estimate(Y). All-zero pilots give a zero channel.

        Args:
            received_pilots: (*batch, n_pilots) complex64 or complex128, in the order of the pattern. Device
                and precision of the result are theirs, and so is its kind: NumPy array or tensor.
            pattern: where the pilots lie; the CFR is estimated on the used subcarriers of its grid. Or
                their subcarriers, (n_pilots,) whole numbers, on the grid of the model's scenario.
            noise_variance: complex variance per received pilot, a number or (*batch,); estimated where it is
                needed and not given. The estimates of the ISTA family do not use it.
            pilot_symbols: what was sent, a number or (n_pilots,), of one modulus; 1 when not given.
            n_iterations: another K than the model's.
            record: keep the iterates, step sizes and thresholds.
            error_variance: estimate it too, on every used subcarrier.

        Raises:
            ModelError: the model was made for the synthetic setting.
            ObservationError: wrong shape, real numbers, NaN or Inf, an impossible noise variance.
            PilotError: subcarriers that are no pattern.
            AlgorithmError: n_iterations differs from a K that the model is bound to.

        >>> from chanest import PilotPattern, load_model
        >>> pattern = PilotPattern.random(75, seed=0)
        >>> model = load_model("na-alista-lte10-m75")
        >>> model.estimate(torch.ones(2, 75, dtype=torch.complex64), pattern).cfr.shape
        torch.Size([2, 600])
        >>> type(model.estimate(np.ones((2, 4), complex), [-300, -7, 5, 120]).cfr).__name__
        'ndarray'
        """
        scenario = self.ofdm
        if not isinstance(pattern, PilotPattern):
            pattern = PilotPattern(tuple(np.asarray(pattern).tolist()), scenario.grid)
        received, noise = _tensor(received_pilots), _tensor(noise_variance)
        scenario.check(received, pattern, noise)
        if pilot_symbols is not None:
            symbols = checked_symbols(_tensor(pilot_symbols), received)
            received = received / symbols
            if noise is not None:
                noise = noise / float(symbols.abs().double().square().mean())
        found = self._solve(
            received, pattern, noise, n_iterations=n_iterations, record=record, error_variance=error_variance
        )
        estimate = Estimate(
            found.values.get("cir"),
            found.values["cfr"],
            torch.from_numpy(pattern.used_subcarriers).to(received.device),
            found.first_tap_samples,
            found.error_variance,
            found.iterates,
            found.step_sizes,
            found.thresholds,
        )
        return _in_kind(estimate, received_pilots)

    def recover(
        self,
        observations: Array,
        phi: Array | DenseOperator,
        noise_variance: Array | float | None = None,
        *,
        n_iterations: int | None = None,
        record: bool = False,
    ) -> Recovery:
        """Recover sparse real vectors x from y = Phi x + z: the synthetic setting.

        The result scales with the observations, and inversely with the columns of Phi, which need no unit norm.

        Args:
            observations: (*batch, n_measurements) float32 or float64; the result is an array or tensor as they are.
            phi: (n_measurements, n_coefficients), of the same type and device.
            noise_variance: of an entry of z, a number or (*batch,); estimated where it is needed and not given.
            n_iterations: another K than the model's.
            record: keep the iterates, step sizes and thresholds.

        Raises:
            ModelError: the model was made for OFDM pilots.
            ObservationError: wrong shape, NaN or Inf, a zero column, no fewer measurements than coefficients.
            AlgorithmError: n_iterations differs from a K that the model is bound to.

        >>> from chanest import load_scenario
        >>> from chanest.models import pick_model
        >>> model = pick_model("ista", load_scenario("synthetic"))
        >>> model.recover(torch.ones(2, 3), torch.eye(3, 4) + 0.1).x.shape
        torch.Size([2, 4])
        """
        try:
            gaussian(self.scenario)
        except ScenarioError:
            raise ModelError(
                f"model {self.name}: made for OFDM pilots (scenario {self.scenario.name}), not for synthetic vectors"
            ) from None
        matrix = phi.matrix if isinstance(phi, DenseOperator) else _tensor(phi)
        y, noise = _tensor(observations), _tensor(noise_variance)
        check_measurements(y, matrix, noise)
        sensing = phi if isinstance(phi, DenseOperator) else DenseOperator(matrix)
        found = self._solve(y, sensing, noise, n_iterations=n_iterations, record=record, error_variance=False)
        return _in_kind(Recovery(found.values["x"], found.iterates, found.step_sizes, found.thresholds), observations)

    def solve(
        self,
        observations: Tensor,
        sensing: Sensing,
        noise_variance: Tensor | float | None = None,
        *,
        n_iterations: int | None = None,
        record: bool = False,
        error_variance: bool = False,
    ) -> Solution:
        """:meth:`estimate` or :meth:`recover`, as the model's setting is.

        Args:
            observations: (*batch, M), pilot symbols divided out.
            sensing: a pilot pattern, or a matrix.
            noise_variance, n_iterations, record, error_variance: as of :meth:`estimate`.

        Raises:
            ObservationError, AlgorithmError: as of those.

        >>> from chanest import load_model
        >>> model = load_model("na-sbl-lte10-m75")
        >>> list(model.solve(torch.ones(2, 75) + 0j, model.scenario.sensing(seed=0)).values)
        ['cir', 'cfr']
        """
        self.scenario.check(observations, sensing, noise_variance)
        return self._solve(
            observations,
            sensing,
            noise_variance,
            n_iterations=n_iterations,
            record=record,
            error_variance=error_variance,
        )

    def _solve(
        self,
        observations: Tensor,
        sensing: Sensing,
        noise_variance: Tensor | float | None,
        *,
        error_variance: bool,
        **how: Any,
    ) -> Solution:
        y, rms = normalise(observations)
        noise = None if noise_variance is None else noise_of_y(noise_variance, rms, y.shape[-1])
        forward = self.scenario.forward_model(sensing, y.dtype, y.device)
        found = _converted(self.algorithm, y).estimate(
            y, forward.phi, forward.band, noise, error_variance=error_variance, **how
        )
        variance = None if found.error_variance is None else found.error_variance * rms.square()
        first = self.scenario.first_tap_samples
        if found.recovery is None:
            assert found.response is not None
            return Solution({"cfr": found.response * rms}, variance, first)
        recovery, scale = found.recovery, forward.scale(rms)
        return Solution(
            forward.quantities(recovery.x * scale),
            variance,
            first,
            tuple(x * scale for x in recovery.iterates),
            recovery.step_sizes,
            recovery.thresholds,
        )

    def operator(self, pattern: PilotPattern, dtype: torch.dtype, device: torch.device | str) -> PartialDFT:
        """Phi for a pilot pattern over this model's delay window.

        Raises:
            ObservationError: the pattern belongs to another DFT length.
        """
        if pattern.n_fft != self.ofdm.n_fft:
            raise ObservationError(f"made for {self.ofdm.n_fft}, the pilots have {pattern.n_fft}", field="n_fft")
        return self.ofdm.operator(pattern, dtype, device)

    def band(self, dtype: torch.dtype, device: torch.device | str, grid: Grid | None = None) -> PartialDFT:
        """Phi for all used subcarriers of a grid, the scenario's when not given, as if each were a pilot."""
        return self.ofdm.operator(whole_band(self.ofdm.grid if grid is None else grid), dtype, device)


def normalise(observations: Tensor) -> tuple[Tensor, Tensor]:
    """y of unit norm and the RMS of the observations: observations = y * sqrt(M) * rms.

    Dividing first by the largest modulus keeps squares inside float32 whatever the receiver's units.

    Args:
        observations: (*batch, M), complex or real.

    Returns:
        y (*batch, M) with ||y|| = 1 (or 0), rms (*batch, 1).

    >>> y, rms = normalise(torch.full((1, 4), 3e-30 + 0j))
    >>> float(torch.linalg.vector_norm(y)), f"{float(rms):.1e}"
    (1.0, '3.0e-30')
    """
    parts = torch.view_as_real(observations.resolve_conj()) if observations.is_complex() else observations.unsqueeze(-1)
    peak = parts.abs().amax((-2, -1)).unsqueeze(-1)
    audible = peak >= torch.finfo(peak.dtype).tiny  # below, division underflows: as good as silence
    peak = torch.where(audible, peak, 1.0)
    relative = torch.where(audible, observations / peak, 0.0)
    rms = relative.abs().square().mean(-1, keepdim=True).sqrt()
    y = relative / torch.where(rms > 0, rms, 1.0) / observations.shape[-1] ** 0.5
    return y, rms * peak


def noise_of_y(noise_variance: Any, scale: Any, n_pilots: Any, xp: ModuleType = namespace) -> Any:
    """The noise variance of an entry of y, given that of an observation and the RMS that normalise found.

    >>> noise_of_y(0.3, torch.tensor([[2.0]]), 75)
    tensor([0.0010])
    """
    rms = scale[..., 0]
    noise = xp.full_like(xp.double(rms), noise_variance)
    relative = xp.clip(xp.square(xp.sqrt(noise) / xp.clip(xp.double(rms), xp.tiny(rms))), 0.0, 1e6)
    return xp.astype(relative / n_pilots, rms.dtype)


def _tensor(value: Any) -> Any:
    """NumPy arrays as tensors; everything else as it is."""
    return torch.from_numpy(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value


def _in_kind(result: _Result, given: Array) -> _Result:
    """A dataclass of tensors, with NumPy arrays in their place where one was given."""
    if not isinstance(given, np.ndarray):
        return result

    def array(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(array, value))
        return value.detach().resolve_conj().numpy() if isinstance(value, Tensor) else value

    changed = {f.name: array(getattr(result, f.name)) for f in fields(result)}  # type: ignore[arg-type]
    return replace(result, **changed)  # type: ignore[type-var]


def _converted(algorithm: Any, y: Tensor) -> Any:
    """The algorithm on y's device and in its precision: itself, or a copy, never changed in place.

    Copies are cached until a parameter changes. Where a gradient is asked for, the parameters of a copy made for this
    call alone depend on the algorithm's own.
    """
    dtype, device = y.dtype.to_real(), y.device
    tensors = [*algorithm.parameters(), *algorithm.buffers()]
    if all(tensor.dtype == dtype and tensor.device == device for tensor in tensors[:1]):
        return algorithm
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _differentiable_copy(algorithm, device, dtype)
    copies = _copies.setdefault(algorithm, {})
    stamp = tuple((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors)
    cached = copies.get((device, dtype))
    if cached is None or cached[0] != stamp:
        with torch.inference_mode(False), torch.no_grad():
            copy = deepcopy(algorithm).requires_grad_(False).to(device, dtype)
        cached = copies[device, dtype] = (stamp, copy)
    return cached[1]


def _differentiable_copy(algorithm: Algorithm, device: torch.device, dtype: torch.dtype) -> Algorithm:
    """A copy whose tensors are functions of the algorithm's parameters, so that gradients reach these."""
    copy = deepcopy(algorithm)
    for (_, source), (_, target) in zip(algorithm.named_modules(), copy.named_modules(), strict=True):
        for name, parameter in source.named_parameters(recurse=False):
            delattr(target, name)
            setattr(target, name, parameter.to(device, dtype))
        for name, buffer in source.named_buffers(recurse=False):
            target.register_buffer(name, buffer.to(device, dtype))
    return copy
