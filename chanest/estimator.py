"""Model and Estimate: pilots in, channel out. The only room that converts between H and y = H / sqrt(M)."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .algorithms import Algorithm, Recovery
from .errors import ObservationError
from .operators import PartialDFT
from .pilots import PilotPattern
from .scenario import Scenario


@dataclass(frozen=True)
class Estimate:
    """An estimated channel.

    Attributes:
        cir: (*batch, n_taps) complex, taps from ``first_tap_samples`` on.
        cfr: (*batch, n_used) complex on ``used_subcarriers``.
        used_subcarriers: (n_used,) int64.
        first_tap_samples: delay of the first tap.
        iterates: the CIR after every iteration, when recorded.
        step_sizes, thresholds: of every iteration, (K, *batch) or (K,), when recorded; thresholds are
            relative to observations of unit RMS.
    """

    cir: Tensor
    cfr: Tensor
    used_subcarriers: Tensor
    first_tap_samples: int
    iterates: tuple[Tensor, ...] = ()
    step_sizes: Tensor | None = None
    thresholds: Tensor | None = None


@dataclass
class Model:
    """An algorithm with its parameters, and the scenario it was made for.

    The scenario gives the delay window (first_tap_samples, n_taps) and the band; the pilot pattern is free.
    """

    algorithm: Algorithm
    scenario: Scenario
    name: str = "untrained"
    training: dict[str, Any] = field(default_factory=dict)

    def operator(self, pattern: PilotPattern, dtype: torch.dtype, device: torch.device | str) -> PartialDFT:
        """Phi for a pilot pattern over this model's delay window.

        Raises:
            ObservationError: the pattern belongs to another DFT length.
        """
        if pattern.n_fft != self.scenario.n_fft:
            raise ObservationError(
                f"n_fft: model {self.name} was made for {self.scenario.n_fft}, the pilots have {pattern.n_fft}"
            )
        window = (self.scenario.n_taps, self.scenario.first_tap_samples)
        return PartialDFT(pattern, *window, dtype=dtype, device=device)

    def estimate(
        self,
        received_pilots: Tensor,
        pattern: PilotPattern,
        noise_variance: Tensor | float | None = None,
        *,
        pilot_symbols: Tensor | complex | None = None,
        n_iterations: int | None = None,
        record: bool = False,
    ) -> Estimate:
        """Estimate channels from received pilots.

        The result scales with the input: estimate(a Y) = a estimate(Y). All-zero pilots give a zero channel.

        Args:
            received_pilots: (*batch, n_pilots) complex64 or complex128, in the order of the pattern. Device
                and precision of the result are theirs.
            pattern: where the pilots lie.
            noise_variance: complex variance per received pilot, a number or (*batch,). Checked; the
                algorithms of the ISTA family do not use it.
            pilot_symbols: what was sent, a number or (n_pilots,), of one modulus; 1 when not given.
            n_iterations: another K than the model's.
            record: keep the iterates, step sizes and thresholds.

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
        observations = received_pilots
        if pilot_symbols is not None:
            observations = received_pilots / checked_symbols(pilot_symbols, received_pilots)
        y, scale = normalise(observations)
        phi = self.operator(pattern, y.dtype, y.device)
        algorithm = self.algorithm.to(y.device, y.real.dtype)
        recovery = algorithm(y, phi, n_iterations, record)
        return self._estimate(recovery, scale)

    def cfr(self, cir: Tensor) -> Tensor:
        """The frequency response of taps of this model's delay window, (*batch, n_taps) -> (*batch, n_used)."""
        return cfr_of(cir, self.scenario)

    def _estimate(self, recovery: Recovery, scale: Tensor) -> Estimate:
        cir = recovery.x * scale
        return Estimate(
            cir,
            self.cfr(cir),
            torch.from_numpy(self.scenario.used_subcarriers),
            self.scenario.first_tap_samples,
            tuple(x * scale for x in recovery.iterates),
            recovery.step_sizes,
            recovery.thresholds,
        )


def normalise(observations: Tensor) -> tuple[Tensor, Tensor]:
    """y of unit norm and the RMS of the observations: observations = y * sqrt(M) * rms.

    Dividing first by the largest modulus keeps squares inside float32 whatever the receiver's units.

    Args:
        observations: (*batch, M) complex.

    Returns:
        y (*batch, M) with ||y|| = 1 (or 0), rms (*batch, 1).

    >>> y, rms = normalise(torch.full((1, 4), 3e-30 + 0j))
    >>> float(torch.linalg.vector_norm(y)), f"{float(rms):.1e}"
    (1.0, '3.0e-30')
    """
    peak = torch.maximum(observations.real.abs(), observations.imag.abs()).amax(-1, keepdim=True)
    peak = torch.where(peak > 0, peak, 1.0)
    relative = observations / peak
    rms = relative.abs().square().mean(-1, keepdim=True).sqrt()
    y = relative / torch.where(rms > 0, rms, 1.0) / observations.shape[-1] ** 0.5
    return y, rms * peak


def cfr_of(cir: Tensor, scenario: Scenario) -> Tensor:
    """H[k] = sum_n cir[n] exp(-2 pi i k n / n_fft) on the used subcarriers: (*batch, N) -> (*batch, n_used).

    >>> from chanest import load_scenario
    >>> cfr_of(torch.ones(256, dtype=torch.complex64), load_scenario("lte10")).shape
    torch.Size([600])
    """
    used = PilotPattern(tuple(scenario.used_subcarriers), scenario.n_fft, scenario.n_used)
    window = (scenario.n_taps, scenario.first_tap_samples)
    return PartialDFT(used, *window, dtype=cir.dtype, device=cir.device).forward(cir) * len(used) ** 0.5


def check_pilots(received: Tensor, pattern: PilotPattern, noise_variance: Tensor | float | None) -> None:
    """Raise ObservationError unless received pilots are complex, finite and match the pattern.

    >>> check_pilots(torch.ones(3), PilotPattern((-2, 1, 2)), None)
    Traceback (most recent call last):
    ...
    chanest.errors.ObservationError: received_pilots: expected complex64 or complex128, got float32
    """
    if received.dtype not in (torch.complex64, torch.complex128):
        raise ObservationError(
            f"received_pilots: expected complex64 or complex128, got {str(received.dtype).removeprefix('torch.')}"
        )
    if received.ndim == 0 or received.shape[-1] != len(pattern):
        raise ObservationError(
            f"received_pilots: expected shape (*batch, {len(pattern)}) for {len(pattern)} pilot subcarriers, "
            f"got {tuple(received.shape)}"
        )
    finite = torch.isfinite(torch.view_as_real(received.resolve_conj())).all(-1)
    if not finite.all():
        first = tuple((~finite).nonzero()[0].tolist())
        raise ObservationError(f"received_pilots[{', '.join(map(str, first))}]: NaN or Inf")
    if noise_variance is not None:
        variance = torch.as_tensor(noise_variance)
        if not bool((torch.isfinite(variance) & (variance >= 0)).all()):
            raise ObservationError("noise_variance: expected finite numbers, not negative")
        if variance.ndim and variance.shape != received.shape[:-1]:
            raise ObservationError(
                f"noise_variance: expected a number or shape {tuple(received.shape[:-1])}, "
                f"got {tuple(variance.shape)}"
            )


def checked_symbols(pilot_symbols: Tensor | complex, received: Tensor) -> Tensor:
    """Pilot symbols as a tensor to divide by; ObservationError unless finite, of one modulus, and fitting.

    >>> checked_symbols(-1, torch.ones(3, dtype=torch.complex64))
    tensor(-1.+0.j)
    """
    symbols = torch.as_tensor(pilot_symbols).to(received.device, received.dtype)
    if symbols.ndim and symbols.shape != received.shape[-1:]:
        raise ObservationError(
            f"pilot_symbols: expected a number or shape ({received.shape[-1]},), got {tuple(symbols.shape)}"
        )
    modulus = symbols.abs()
    if not bool(torch.isfinite(modulus).all()) or not float(modulus.min()) > 0:
        raise ObservationError("pilot_symbols: expected finite numbers other than zero")
    if float(modulus.max()) > float(modulus.min()) * 1.001:
        raise ObservationError(
            f"pilot_symbols: expected one modulus, got {float(modulus.min()):.4g}...{float(modulus.max()):.4g}"
        )
    return symbols
