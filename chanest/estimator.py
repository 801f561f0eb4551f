"""Model and Estimate: pilots in, channel out. The only room that converts between H and y = H / sqrt(M)."""

import re
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .algorithms import ALGORITHMS, Algorithm, Recovery
from .errors import AlgorithmError, ModelError, ObservationError
from .frontend import check_pilots, checked_symbols
from .modelfile import read_model, shipped_models
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
            torch.from_numpy(self.scenario.used_subcarriers).to(cir.device),
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
    audible = peak >= torch.finfo(peak.dtype).tiny  # below, division underflows: as good as silence
    peak = torch.where(audible, peak, 1.0)
    relative = torch.where(audible, observations / peak, 0.0)
    rms = relative.abs().square().mean(-1, keepdim=True).sqrt()
    y = relative / torch.where(rms > 0, rms, 1.0) / observations.shape[-1] ** 0.5
    return y, rms * peak


def cfr_of(cir: Tensor, scenario: Scenario, first_tap_samples: int | None = None) -> Tensor:
    """H[k] = sum_n cir[n] exp(-2 pi i k n / n_fft) on the used subcarriers: (*batch, N) -> (*batch, n_used).

    Taps begin at the scenario's first_tap_samples, or at the given one.

    >>> from chanest import load_scenario
    >>> cfr_of(torch.ones(256, dtype=torch.complex64), load_scenario("lte10")).shape
    torch.Size([600])
    """
    used = PilotPattern(tuple(scenario.used_subcarriers), scenario.n_fft, scenario.n_used)
    first = scenario.first_tap_samples if first_tap_samples is None else first_tap_samples
    phi = PartialDFT(used, cir.shape[-1], first, dtype=cir.dtype, device=cir.device)
    return phi.forward(cir) * len(used) ** 0.5


def load_model(name: str | Path) -> Model:
    """A shipped model by name, or one from an HDF5 file; its parameters are frozen (requires_grad False).

    Raises:
        ModelError: no such model, or the file is not one or is damaged.
        FileError: the file cannot be read.

    >>> load_model("na-alista-lte10-m75").algorithm.n_iterations
    16
    """
    path = Path(name)
    if path.suffix != ".h5" and not path.exists():
        names = [shipped.stem for shipped in shipped_models()]
        if str(name) not in names:
            raise ModelError(f"model {name}: expected a file, or one of {', '.join(names)}")
        path = shipped_models()[names.index(str(name))]
    algorithm, scenario, training = read_model(path)
    return Model(algorithm.requires_grad_(False), scenario, path.stem, training)


def pick_model(algorithm: str, scenario: Scenario, n_pilots: int, n_iterations: int | None = None) -> Model:
    """The estimator of one name that fits a scenario and a number of pilots best.

    ISTA and FISTA take the scenario's penalty. Learned algorithms take the shipped model for the scenario
    with the nearest number of pilots, else the one trained on ``wide``, made for any channel.

    Raises:
        AlgorithmError: unknown algorithm.
        ModelError: nothing shipped fits.

    >>> from chanest import load_scenario
    >>> pick_model("na-alista", load_scenario("lte10"), 60).name
    'na-alista-lte10-m50'
    """
    if algorithm not in ALGORITHMS:
        raise AlgorithmError(f"algorithm: expected one of {', '.join(ALGORITHMS)}, got {algorithm}")
    if not ALGORITHMS[algorithm].learned:
        penalty = getattr(scenario.penalties, algorithm)
        made = ALGORITHMS[algorithm](n_iterations=n_iterations or 16, penalty=penalty)
        return Model(made, scenario, f"{algorithm}, penalty {penalty:g}")
    for wanted in (scenario.name, "wide"):
        prefix = f"{algorithm}-{wanted}"
        fitting = [p for p in shipped_models() if re.fullmatch(rf"{re.escape(prefix)}(-m\d+)?", p.stem)]
        if fitting:
            return load_model(min(fitting, key=lambda path: _pilot_distance(path, n_pilots)))
    raise ModelError(f"{algorithm}: no model for scenario {scenario.name} is shipped; give --model FILE")


def _pilot_distance(path: Path, n_pilots: int) -> float:
    count = re.search(r"-m(\d+)$", path.stem)
    return abs(log(int(count[1]) / n_pilots)) if count else 0.0
