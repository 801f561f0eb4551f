"""Model and Estimate: pilots in, channel out. The only room that converts between H and y = H / sqrt(M)."""

from copy import deepcopy
from dataclasses import dataclass, field, replace
from math import sqrt
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..algorithms import Algorithm, Interpolator, Recovery, namespace
from ..algorithms.namespace import Array
from ..errors import ModelError, ObservationError
from ..operators import DenseOperator, PartialDFT
from ..problems.gaussian import SyntheticScenario
from ..problems.load import AnyScenario
from ..problems.ofdm.frontend import check_measurements, check_pilots, checked_symbols
from ..problems.ofdm.pilots import PilotPattern
from ..problems.ofdm.scenario import Scenario
from .operator_cache import cfr_of, kept_operator, whole_band

_Stamp = tuple[tuple[int, int], ...]
_copies: WeakKeyDictionary[Algorithm, dict[tuple[torch.device, torch.dtype], tuple[_Stamp, Algorithm]]] = (
    WeakKeyDictionary()
)


@dataclass(frozen=True)
class Estimate:
    """An estimated channel.

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

    cir: Tensor | None
    cfr: Tensor
    used_subcarriers: Tensor
    first_tap_samples: int
    error_variance: Tensor | None = None
    iterates: tuple[Tensor, ...] = ()
    step_sizes: Tensor | None = None
    thresholds: Tensor | None = None


@dataclass
class Model:
    """An algorithm with its parameters, and the scenario it was made for.

    An OFDM scenario gives the delay window (first_tap_samples, n_taps); the pilot pattern and the
    band are free. With a synthetic one, :meth:`recover` takes any matrix of real numbers.
    """

    algorithm: Algorithm | Interpolator
    scenario: AnyScenario
    name: str = "untrained"
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def ofdm(self) -> Scenario:
        """The scenario; ModelError where the model was made for the synthetic setting."""
        if isinstance(self.scenario, SyntheticScenario):
            raise ModelError(
                f"model {self.name}: made for synthetic vectors (scenario {self.scenario.name}), not for OFDM pilots"
            )
        return self.scenario

    def operator(self, pattern: PilotPattern, dtype: torch.dtype, device: torch.device | str) -> PartialDFT:
        """Phi for a pilot pattern over this model's delay window.

        Raises:
            ObservationError: the pattern belongs to another DFT length.
        """
        self._check_n_fft(pattern)
        return kept_operator(pattern, self.ofdm.n_taps, self.ofdm.first_tap_samples, dtype, device)

    def estimate(
        self,
        received_pilots: Tensor,
        pattern: PilotPattern,
        noise_variance: Tensor | float | None = None,
        *,
        pilot_symbols: Tensor | complex | None = None,
        n_iterations: int | None = None,
        record: bool = False,
        error_variance: bool = False,
    ) -> Estimate:
        """Estimate channels from received pilots.

        The result scales with the input: estimate(a Y) = a estimate(Y). All-zero pilots give a zero channel.

        Args:
            received_pilots: (*batch, n_pilots) complex64 or complex128, in the order of the pattern. Device
                and precision of the result are theirs.
            pattern: where the pilots lie; the CFR is estimated on the used subcarriers of its grid.
            noise_variance: complex variance per received pilot, a number or (*batch,); estimated where it is
                needed and not given. The estimates of the ISTA family do not use it.
            pilot_symbols: what was sent, a number or (n_pilots,), of one modulus; 1 when not given.
            n_iterations: another K than the model's.
            record: keep the iterates, step sizes and thresholds.
            error_variance: estimate it too, on every used subcarrier.

        Raises:
            ObservationError: wrong shape, real numbers, NaN or Inf, an impossible noise variance.
            AlgorithmError: n_iterations differs from a K that the model is bound to.

        >>> from chanest import PilotPattern, load_model
        >>> pattern = PilotPattern.random(75, seed=0)
        >>> pilots = torch.ones(2, 75, dtype=torch.complex64)
        >>> load_model("na-alista-lte10-m75").estimate(pilots, pattern).cfr.shape
        torch.Size([2, 600])
        """
        check_pilots(received_pilots, pattern, noise_variance)
        self._check_n_fft(pattern)
        observations = received_pilots
        if pilot_symbols is not None:
            symbols = checked_symbols(pilot_symbols, received_pilots)
            observations = received_pilots / symbols
            if noise_variance is not None:
                noise_variance = noise_variance / float(symbols.abs().double().square().mean())
        y, scale = normalise(observations)
        noise = None if noise_variance is None else noise_of_y(noise_variance, scale, len(pattern))
        if isinstance(self.algorithm, Interpolator):
            self.algorithm.checked_iterations(n_iterations)
            return self._interpolate(self.algorithm, y, scale, pattern, noise, error_variance)
        phi = self.operator(pattern, y.dtype, y.device)
        algorithm = _converted(self.algorithm, y)
        recovery = algorithm(y, phi, n_iterations, record, noise)
        band = self.band(y.dtype, y.device, pattern)
        estimate = self._estimate(recovery, scale, band, self.used_subcarriers(pattern))
        if not error_variance:
            return estimate
        variance = algorithm.error_variance(recovery, y, phi, band, noise)
        return replace(estimate, error_variance=variance * scale.square())

    def recover(
        self,
        observations: Tensor,
        phi: Tensor | DenseOperator,
        noise_variance: Tensor | float | None = None,
        *,
        n_iterations: int | None = None,
        record: bool = False,
    ) -> Recovery:
        """Recover sparse real vectors x from y = Phi x + z: the synthetic setting.

        The result scales with the observations, and inversely with the columns of Phi, which need no unit norm.

        Args:
            observations: (*batch, n_measurements) float32 or float64.
            phi: (n_measurements, n_coefficients), of the same type and device.
            noise_variance: of an entry of z, a number or (*batch,); estimated where it is needed and not given.
            n_iterations: another K than the model's.
            record: keep the iterates, step sizes and thresholds.

        Raises:
            ModelError: the model was made for OFDM pilots.
            ObservationError: wrong shape, NaN or Inf, a zero column, no fewer measurements than coefficients.
            AlgorithmError: n_iterations differs from a K that the model is bound to.

        >>> from chanest.models.zoo import pick_model
        >>> from chanest.problems.load import load_any_scenario
        >>> model = pick_model("ista", load_any_scenario("synthetic"))
        >>> model.recover(torch.ones(2, 3), torch.eye(3, 4) + 0.1).x.shape
        torch.Size([2, 4])
        """
        if isinstance(self.algorithm, Interpolator) or not isinstance(self.scenario, SyntheticScenario):
            raise ModelError(
                f"model {self.name}: made for OFDM pilots (scenario {self.scenario.name}), not for synthetic vectors"
            )
        matrix = phi if isinstance(phi, Tensor) else phi.matrix
        check_measurements(observations, matrix, noise_variance)
        norms = torch.linalg.vector_norm(matrix, dim=-2)
        y, rms = normalise(observations)
        noise = None if noise_variance is None else noise_of_y(noise_variance, rms, y.shape[-1])
        algorithm = _converted(self.algorithm, y)
        found = algorithm(y, DenseOperator(matrix / norms), n_iterations, record, noise)
        scale = rms * sqrt(y.shape[-1]) / norms
        return replace(found, x=found.x * scale, iterates=tuple(x * scale for x in found.iterates), posterior=None)

    def band(self, dtype: torch.dtype, device: torch.device | str, pattern: PilotPattern | None = None) -> PartialDFT:
        """Phi for all used subcarriers of the pattern's grid, or of the scenario's, as if each were a pilot."""
        n_taps, first = self.ofdm.n_taps, self.ofdm.first_tap_samples
        grid = self.ofdm.grid if pattern is None else pattern.grid
        return kept_operator(whole_band(grid), n_taps, first, dtype, device)

    def cfr(self, cir: Tensor) -> Tensor:
        """The frequency response of taps of this model's delay window, (*batch, n_taps) -> (*batch, n_used)."""
        return cfr_of(cir, self.ofdm)

    def _check_n_fft(self, pattern: PilotPattern) -> None:
        if pattern.n_fft != self.ofdm.n_fft:
            raise ObservationError(
                f"model {self.name} was made for {self.ofdm.n_fft}, the pilots have {pattern.n_fft}", field="n_fft"
            )

    def used_subcarriers(self, pattern: PilotPattern) -> Tensor:
        """(n_used,) int64: those of the pattern's grid.

        >>> from chanest import PilotPattern, load_model
        >>> load_model("na-sbl-wide").used_subcarriers(PilotPattern.random(75, seed=0)).shape
        torch.Size([600])
        """
        return torch.from_numpy(pattern.used_subcarriers)

    def _estimate(self, recovery: Recovery, scale: Tensor, band: PartialDFT, used: Tensor) -> Estimate:
        cir = recovery.x * scale
        return Estimate(
            cir,
            band.forward(cir) * band.n_measurements**0.5,
            used.to(cir.device),
            self.ofdm.first_tap_samples,
            None,
            tuple(x * scale for x in recovery.iterates),
            recovery.step_sizes,
            recovery.thresholds,
        )

    def _interpolate(
        self,
        interpolator: Interpolator,
        y: Tensor,
        scale: Tensor,
        pattern: PilotPattern,
        noise: Tensor | None,
        error_variance: bool,
    ) -> Estimate:
        m = len(pattern)
        pilots = torch.tensor(pattern.subcarriers, device=y.device)
        used = self.used_subcarriers(pattern).to(y.device)
        relative = None if noise is None else noise * m
        cfr, variance = interpolator(y * m**0.5, pilots, used, pattern.n_fft, relative, error_variance)
        variance = None if variance is None else variance * scale.square()
        return Estimate(None, cfr * scale, used, self.ofdm.first_tap_samples, variance)


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


def noise_of_y(noise_variance: Array, scale: Array, n_pilots: Array, xp: ModuleType = namespace) -> Array:
    """The noise variance of an entry of y, given that of an observation and the RMS that normalise found.

    >>> noise_of_y(0.3, torch.tensor([[2.0]]), 75)
    tensor([0.0010])
    """
    rms = scale[..., 0]
    noise = xp.full_like(xp.double(rms), noise_variance)
    relative = xp.clip(xp.square(xp.sqrt(noise) / xp.clip(xp.double(rms), xp.tiny(rms))), 0.0, 1e6)
    return xp.astype(relative / n_pilots, rms.dtype)


def _converted(algorithm: Algorithm, y: Tensor) -> Algorithm:
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
