"""Model and Estimate: pilots in, channel out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..algorithms import Algorithm, CircleNASBL, Interpolator, JointPosterior, Posterior, Recovery
from ..errors import ModelError, ObservationError, ScenarioError
from ..kernels import following
from ..operators import DenseOperator, PartialDFT, Superposed, cached
from ..problems import (
    ForwardModel,
    Grid,
    PilotPattern,
    Problem,
    Scenario,
    Sensing,
    SlotPattern,
    check_measurements,
    check_pilots,
    checked_symbols,
    delay_grid,
    gaussian,
    ofdm,
    whole_band,
)
from .arcs import Part, arcs_of, of_groups, on_circle, recovered
from .findings import (
    DETECTED,
    Paths,
    false_alarm_probability,
    noise_found,
    paths_of,
    response_factor,
    snr_db,
    timing_samples,
)
from .grids import serving
from .groups import MOST_SNAPSHOTS, Groups, grouped
from .guard import kept, kept_share, unsure
from .moving import Moves, found_in_motion, in_units, moves_of, received_units, slots_at_once
from .precision import converted
from .results import Array, Estimate, Solution, in_kind
from .scaling import noise_of_y, normalise
from .tracking import Tracker
from .trust import Found, leaves_open

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _on_fitting_threads(method: _Method) -> _Method:
    """The method with threads that follow the work, of which its observations (*batch, M) tell."""

    @wraps(method)
    def run(self: "Model", observations: Any, *others: Any, **how: Any) -> Any:
        shape = getattr(observations, "shape", ())
        with following(math.prod(shape) * shape[-1] if shape else 0, steady=self.algorithm.weighs_delays):
            return method(self, observations, *others, **how)

    return run  # type: ignore[return-value]


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

    @property
    def trained_for(self) -> str | None:
        """What the model was trained for, in words; None of a model without training.

        >>> from chanest import load_model
        >>> load_model("na-sbl-lte10-m75").trained_for
        'trained for lte10, 75 pilots'
        """
        if not self.training:
            return None
        receivers = self.ofdm.training.receivers if self.algorithm.circle else None
        if receivers is None:
            return self.scenario.trained_for
        low, high = receivers.n_pilots
        return f"trained for any receiver, {low}–{high} pilots"

    def estimate(
        self,
        received_pilots: Array,
        pattern: PilotPattern | SlotPattern | Sequence[int] | Array,
        noise_variance: Array | float | None = None,
        *,
        pilot_symbols: Array | complex | None = None,
        pilot_valid: Array | None = None,
        snapshot_axes: int = 0,
        window_samples: tuple[float, float] | None = None,
        doppler_hz: float | None = None,
        cfo_hz: float | None = None,
        n_iterations: int | None = None,
        record: bool = False,
        error_variance: bool = False,
        paths: bool = False,
        covariance: bool = False,
    ) -> Estimate:
        """Estimate channels from received pilots.

        The result scales with the input: estimate(a Y) = a estimate(Y). All-zero pilots give a zero channel.

        NA-SBL for any receiver (``na-sbl-wide``) takes any grid, timing, layers, snapshots and noise; the others take
        the DFT length of their scenario, its delays, one layer, one modulus and one noise variance. Snapshots share
        their delays with ISTA, FISTA, ALISTA, OMP and SBL too; other estimators take them one by one.

        Args:
            received_pilots: (*batch, n_pilots) complex64 or complex128, in the order of the pattern. Device
                and precision of the result are theirs, and so is its kind: NumPy array or tensor.
            pattern: where the pilots lie; the CFR is estimated on the used subcarriers of its grid. Or
                their subcarriers, (n_pilots,) whole numbers, on the grid of the model's scenario. A
                :class:`SlotPattern` of several symbols gives the channel of a user in motion on the symbols that it
                asks for.
            noise_variance: complex variance per received pilot, a number, (*batch,), or (*batch, n_pilots) with 1 where
                all are alike; estimated where it is needed and not given. The estimates of the ISTA family do not use
                it.
            pilot_symbols: what was sent, a number or (n_pilots,), of any modulus but 0; 1 when not given. Or (n_layers,
                n_pilots): layers superposed on the same pilots.
            pilot_valid: (*batch, n_pilots) or (n_pilots,) bool: which pilots to trust.
            snapshot_axes: so many axes of the batch before the pilots hold snapshots of one channel, whose delays are
                shared, such as antennas.
            window_samples: first and last delay of the channel, where they are known; else all that the pilots tell
                apart are looked at.
            doppler_hz: of a slot, the maximal Doppler shift; found where it is not given.
            cfo_hz: of a slot, a residual carrier frequency offset; found near 0 where it is not given, and 0 says that
                there is none.
            n_iterations: another K than the model's.
            record: keep the iterates, step sizes and thresholds.
            error_variance: estimate it too, on every used subcarrier.
            paths: find the paths: delays between the taps, gains, variances.
            covariance: give a factor of the covariance of the CFR's error.

        Raises:
            ModelError: the model was made for the synthetic setting, or cannot do what is asked.
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
        if not isinstance(pattern, PilotPattern | SlotPattern):
            pattern = PilotPattern(tuple(np.asarray(pattern).tolist()), scenario.grid)
        received = _tensor(received_pilots)
        found = self.solve(
            received,
            pattern,
            _tensor(noise_variance),
            pilot_symbols=_tensor(pilot_symbols),
            pilot_valid=_tensor(pilot_valid),
            snapshot_axes=snapshot_axes,
            window_samples=window_samples,
            doppler_hz=doppler_hz,
            cfo_hz=cfo_hz,
            n_iterations=n_iterations,
            record=record,
            error_variance=error_variance,
            findings=True,
            paths=paths,
            covariance=covariance,
        )
        facts = {f.name: getattr(found, f.name) for f in fields(Solution) if f.name not in ("values", "posterior")}
        used = torch.from_numpy(pattern.used_subcarriers).to(received.device)
        estimate = Estimate(found.values.get("cir"), found.values["cfr"], used, **facts)
        return in_kind(estimate, received_pilots)

    def track(
        self,
        pattern: PilotPattern | SlotPattern,
        *,
        pilot_symbols: Array | complex | None = None,
        snapshot_axes: int = 0,
        window_samples: tuple[float, float] | None = None,
        doppler_hz: float | None = None,
        cfo_hz: float | None = None,
        memory_slots: int | None = None,
        error_variance: bool = False,
    ) -> Tracker:
        """Follow users from slot to slot: what is called with the pilots of each gives an :class:`Estimate` of it.

        Delays and powers of paths, noise, timing and Doppler are those of the last slots together, gains those of each
        slot. NA-SBL for any receiver does so (``na-sbl-wide``).

        Args:
            pattern: where the pilots lie in every slot.
            pilot_symbols, snapshot_axes, window_samples, doppler_hz, cfo_hz, error_variance: as of :meth:`estimate`.
            memory_slots: of how many slots at most the profile comes, for users whose delays drift; as many as make 64
                snapshots when not given, less where the past stops explaining the pilots.

        Raises:
            ModelError: another kind of model, or a Doppler shift without several symbols.
            ObservationError: memory_slots below 1.

        >>> from chanest import PilotPattern, load_model
        >>> tracker = load_model("na-sbl-wide").track(PilotPattern.random(75, seed=0), snapshot_axes=1)
        >>> for slot in range(3):
        ...     found = tracker(torch.ones(2, 4, 75, dtype=torch.complex64), noise_variance=0.1)
        >>> found.cfr.shape, tracker.n_slots.tolist()
        (torch.Size([2, 4, 600]), [3, 3])
        """
        if not self.algorithm.circle:
            raise ModelError(f"model {self.name}: {self.algorithm.name} does not track users; take na-sbl-wide")
        slots = pattern if isinstance(pattern, SlotPattern) else None
        if slots is None and (doppler_hz is not None or cfo_hz is not None):
            raise ModelError("doppler_hz and cfo_hz: expected pilots of several symbols; give a SlotPattern")
        moves = None if slots is None else moves_of(slots, doppler_hz, cfo_hz)
        how: dict[str, Any] = {"error_variance": error_variance, "findings": True}

        def solve(groups: Groups, present: int) -> Solution:
            with following(groups.y.numel() * groups.y.shape[-1], steady=True):
                if slots is not None and moves is not None:
                    found = self._solve_slots(groups, slots, moves, window_samples, present=present, **how)
                else:
                    assert isinstance(pattern, PilotPattern)
                    found = self._solve_groups(
                        groups, pattern, window_samples, n_iterations=None, record=False, present=present, **how
                    )
            self._check_finite(found)
            return found

        return Tracker(solve, pattern, _tensor(pilot_symbols), snapshot_axes, window_samples, memory_slots)

    def _check_plain(self, symbols: Any, valid: Any, noise: Any, received: Tensor, more: bool) -> None:
        """Raise ModelError where something is asked for that only NA-SBL for any receiver does."""
        wanted = {
            "layers": isinstance(symbols, Tensor) and symbols.ndim == 2,
            "pilot_valid": valid is not None,
            "a noise variance per pilot": isinstance(noise, Tensor) and noise.ndim == received.ndim,
            "paths or a covariance": more,
        }
        for what, asked in wanted.items():
            if asked:
                raise ModelError(f"model {self.name}: {self.algorithm.name} takes no {what}; take na-sbl-wide")

    @_on_fitting_threads
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
        return in_kind(Recovery(found.values["x"], found.iterates, found.step_sizes, found.thresholds), observations)

    @_on_fitting_threads
    def solve(
        self,
        observations: Tensor,
        sensing: Sensing | SlotPattern,
        noise_variance: Tensor | float | None = None,
        *,
        pilot_symbols: Tensor | complex | None = None,
        pilot_valid: Tensor | None = None,
        snapshot_axes: int = 0,
        window_samples: tuple[float, float] | None = None,
        doppler_hz: float | None = None,
        cfo_hz: float | None = None,
        n_iterations: int | None = None,
        record: bool = False,
        error_variance: bool = False,
        findings: bool = False,
        paths: bool = False,
        covariance: bool = False,
    ) -> Solution:
        """:meth:`estimate` or :meth:`recover`, as the model's setting is, of tensors.

        Args:
            observations: (*batch, M).
            sensing: a pilot pattern, or a matrix.
            findings: look for noise, SNR, timing and presence too.
            noise_variance, pilot_symbols, pilot_valid, snapshot_axes, window_samples: as of
                :meth:`estimate`; of a matrix there are no pilots.
            doppler_hz, cfo_hz, n_iterations, record, error_variance, paths, covariance: likewise.

        Raises:
            ObservationError, AlgorithmError, ModelError: as of those.

        >>> from chanest import load_model
        >>> model = load_model("na-sbl-lte10-m75")
        >>> list(model.solve(torch.ones(2, 75) + 0j, model.scenario.sensing(seed=0)).values)
        ['cir', 'cfr']
        """
        found = self._found(
            observations,
            sensing,
            noise_variance,
            pilot_symbols,
            pilot_valid,
            snapshot_axes,
            window_samples,
            doppler_hz,
            cfo_hz,
            {"n_iterations": n_iterations, "record": record, "error_variance": error_variance},
            {"findings": findings, "paths": paths, "covariance": covariance},
        )
        self._check_finite(found)
        return found

    def _check_finite(self, found: Solution) -> None:
        """Raise ModelError where an answer is not finite; it names the first sample."""
        facts = {
            name: getattr(found, name) for name in ("error_variance", "noise_variance", "snr_db", "covariance_factor")
        }
        for name, values in {**found.values, **facts}.items():
            finite = None if values is None else values.isfinite()
            if finite is not None and not bool(finite.all()):
                bad = tuple((~finite).nonzero()[0].tolist())
                raise ModelError(
                    f"model {self.name}: the answer is not finite; the observations may be too large for their type "
                    "(give complex128), or the model's numbers are nonsense",
                    field=name,
                    index=bad[:-1] if name in ("error_variance", *found.values) else bad[:1],
                )

    def _found(
        self,
        observations: Tensor,
        sensing: Sensing | SlotPattern,
        noise_variance: Tensor | float | None,
        pilot_symbols: Tensor | complex | None,
        pilot_valid: Tensor | None,
        snapshot_axes: int,
        window_samples: tuple[float, float] | None,
        doppler_hz: float | None,
        cfo_hz: float | None,
        how: dict[str, Any],
        asked: dict[str, bool],
    ) -> Solution:
        """What :meth:`solve` finds, whether it is finite or not."""
        error_variance, findings = how["error_variance"], asked["findings"]
        more = asked["paths"] or asked["covariance"]
        if isinstance(sensing, SlotPattern):
            self._check_slot(how["n_iterations"], how["record"], more)
            check_pilots(observations, sensing, None)
            groups = grouped(observations, noise_variance, pilot_symbols, pilot_valid, snapshot_axes)
            moves = moves_of(sensing, doppler_hz, cfo_hz)
            return self._solve_slots(groups, sensing, moves, window_samples, error_variance, findings)
        if doppler_hz is not None or cfo_hz is not None:
            raise ModelError("doppler_hz and cfo_hz: expected pilots of several symbols; give a SlotPattern")
        if self.algorithm.circle:
            check_pilots(observations, sensing, None)
            groups = grouped(observations, noise_variance, pilot_symbols, pilot_valid, snapshot_axes)
            return self._solve_groups(groups, sensing, window_samples, **asked, **how)
        self._check_plain(pilot_symbols, pilot_valid, noise_variance, observations, more)
        self.scenario.check(observations, sensing, noise_variance)
        if not isinstance(sensing, PilotPattern):
            return self._solve(observations, sensing, noise_variance, **how)
        if pilot_symbols is not None:
            symbols = checked_symbols(pilot_symbols, observations)
            observations = observations / symbols
            if noise_variance is not None:
                noise_variance = noise_variance / float(symbols.abs().double().square().mean())
        fitted = serving(self, sensing)
        if snapshot_axes > 0 and self.algorithm.joint:
            groups = grouped(observations, noise_variance, None, None, snapshot_axes)
            return fitted._solve_plain_groups(groups, sensing, **how)
        return fitted._solve(observations, sensing, noise_variance, **how)

    def _solve_groups(
        self,
        groups: Groups,
        pattern: PilotPattern,
        window_samples: tuple[float, float] | None,
        *,
        n_iterations: int | None,
        record: bool,
        error_variance: bool,
        findings: bool = False,
        paths: bool = False,
        covariance: bool = False,
        present: int | None = None,
    ) -> Solution:
        """What an algorithm for any receiver finds in groups of snapshots; ``findings`` are all that is no channel.

        Of ``present`` snapshots at the end alone the channel is wanted, where that is given.
        """
        y, rms, n_layers = groups.y, groups.rms, 1 if groups.symbols is None else len(groups.symbols)
        sharing = y.shape[1] if present is None else MOST_SNAPSHOTS  # of a user that is tracked, sooner or later
        delays = delay_grid(pattern, window_samples, n_layers, sharing)
        dtype, device = y.dtype, y.device
        band = delays.operator(whole_band(pattern.grid), dtype, device)
        phi: Any = delays.operator(pattern, dtype, device)
        if groups.symbols is not None:
            phi = Superposed(phi, groups.symbols)
        arcs = arcs_of(delays, pattern, self._window_samples(pattern.n_fft), sharing) if n_layers == 1 else ()
        algorithm = converted(self.algorithm, y)
        assert isinstance(algorithm, CircleNASBL)
        sought = tuple(arc.operator(pattern, dtype, device) for arc in arcs)
        parts = recovered(algorithm, groups, phi, sought, n_iterations, record)
        recovery = on_circle(parts, phi)
        posterior, scale = recovery.posterior, rms.unsqueeze(-1)
        assert isinstance(posterior, JointPosterior)
        pooled = groups, recovery.x
        if present is not None:
            groups, recovery = groups.latest(present), recovery.latest(present)
            y = groups.y

        def of_layers(x: Tensor) -> Tensor:
            """(groups, R, L N) as (*batch, *snapshots, [L,] N)."""
            shaped = groups.of_snapshots(x)
            return shaped if n_layers == 1 else shaped.unflatten(-1, (n_layers, -1))

        def shared(values: Tensor) -> Tensor:
            """(groups, L, n), the same for all snapshots, as (*batch, *snapshots, [L,] n)."""
            wide = values.unsqueeze(1).expand(-1, y.shape[1], *values.shape[1:])
            shaped = groups.of_snapshots(wide)
            return shaped.squeeze(-2) if n_layers == 1 else shaped

        response = band.forward(recovery.x.unflatten(-1, (n_layers, -1)))
        if n_layers == 1:
            response = response.squeeze(-2)
            share = kept_share(at_pilots(response, phi, band), response, y)
        else:
            share = kept_share(phi.forward(recovery.x), None, y)
        whole = share.unsqueeze(-1) if n_layers > 1 else share
        heard = kept(response, whole) * (scale if n_layers == 1 else scale.unsqueeze(-1)) * band.n_measurements**0.5
        values = {"cir": of_layers(kept(recovery.x, share) * scale), "cfr": groups.of_snapshots(heard)}
        variance = None
        if error_variance or covariance:

            def expected(part: Part) -> Tensor:
                own = band if part.phi is phi else part.phi.seen_at(band.subcarriers)
                return algorithm.error_variance(part.recovery, part.y, part.phi, own, part.noise).double()

            variance = of_groups(parts, expected)
            variance = unsure(variance, share.amin(-1, keepdim=True), y.abs().square().mean(-2, keepdim=True).sqrt())
        if n_layers == 1:
            seen = Found(recovery.x, y, groups.noise, phi, band, pattern, True)
            response, variance = seen.doubted(values["cfr"].reshape(*y.shape[:2], -1), variance)
            values["cfr"] = groups.of_snapshots(response)
        found = Solution(
            values,
            None if variance is None or not error_variance else shared(variance * rms.double().square().unsqueeze(-1)),
            delays.first_tap_samples,
            tuple(of_layers(x * scale) for x in recovery.iterates),
            tap_spacing_samples=delays.spacing_samples,
            posterior=Posterior(*received_units(posterior, groups)),
        )
        if not findings:
            return found
        with torch.no_grad():
            circle = None if window_samples is not None else delays.n_taps * delays.spacing_samples
            noise = noise_found(*pooled, posterior, phi)
            chance = false_alarm_probability(groups, posterior, phi)
            factor = None
            if covariance and variance is not None:
                factor = response_factor(posterior, phi, band, variance) * rms.double().unsqueeze(-1)
                factor = groups.of_groups(factor if n_layers == 1 else factor.unflatten(-2, (n_layers, -1)))
            return replace(
                found,
                noise_variance=groups.of_groups(noise * rms.double().square().squeeze(-1)),
                snr_db=groups.of_groups(snr_db(groups, posterior, noise)),
                timing_samples=groups.of_groups(timing_samples(posterior.variances, phi, circle)),
                false_alarm=groups.of_groups(chance),
                detected=groups.of_groups(chance < DETECTED),
                paths=_scaled_paths(paths_of(y, posterior, phi), groups) if paths else None,
                covariance_factor=factor,
            )

    def _check_slot(self, n_iterations: int | None, record: bool, more: bool) -> None:
        """Raise ModelError where this model knows no motion, or something is asked for that slots do not have."""
        if not self.algorithm.circle:
            raise ModelError(f"model {self.name}: {self.algorithm.name} takes one symbol at a time; take na-sbl-wide")
        self.algorithm.checked_iterations(n_iterations)
        if record or more:
            raise ModelError("pilots of several symbols: there are no iterates, paths or covariances")

    def _solve_slots(
        self,
        groups: Groups,
        pattern: SlotPattern,
        moves: Moves,
        window_samples: tuple[float, float] | None,
        error_variance: bool,
        findings: bool,
        present: int | None = None,
    ) -> Solution:
        """What an algorithm for any receiver finds in slots, a few at a time; ``findings`` and ``present`` as above."""
        algorithm = converted(self.algorithm, groups.y)
        assert isinstance(algorithm, CircleNASBL)
        arc_window = self._window_samples(pattern.n_fft)
        n_layers = 1 if groups.symbols is None else len(groups.symbols)
        size, made = slots_at_once(groups, pattern), []
        for start in range(0, len(groups.y), size):
            some = groups.rows(slice(start, start + size))
            found = found_in_motion(
                algorithm, some, pattern, moves, window_samples, arc_window, error_variance, present
            )
            some = some if present is None else some.latest(present)
            made.append(in_units(found, some, pattern, window_samples is not None, findings))
        joined = {name: torch.cat([one[name] for one in made]) for name in made[0]}
        groups = groups if present is None else groups.latest(present)
        cfr, variance = groups.of_snapshots(joined.pop("cfr")), joined.pop("error_variance", None)
        posterior = Posterior(joined.pop("tap_variances"), joined.pop("noise_of_pilots"))
        if variance is not None:
            variance = groups.of_snapshots(variance.unsqueeze(1).expand(-1, groups.y.shape[1], -1, -1, -1))
        if n_layers == 1:
            cfr, variance = cfr.squeeze(-3), None if variance is None else variance.squeeze(-3)
        facts: dict[str, Any] = {name: groups.of_groups(values) for name, values in joined.items()}
        return Solution({"cfr": cfr}, variance, 0.0, posterior=posterior, **facts)

    def _window_samples(self, n_fft: int) -> tuple[float, float]:
        """The scenario's window of delays, in samples of another DFT length."""
        factor = n_fft / self.ofdm.n_fft
        first, last = self.ofdm.window_samples
        return first * factor, last * factor

    def _solve_plain_groups(
        self, groups: Groups, pattern: PilotPattern, *, n_iterations: int | None, record: bool, error_variance: bool
    ) -> Solution:
        """What a classical algorithm finds in groups of snapshots, on the delays of the scenario."""
        y, noise = groups.y, groups.noise
        forward = self.scenario.forward_model(pattern, y.dtype, y.device)
        algorithm = converted(self.algorithm, y)
        recovery = algorithm(y, forward.phi, n_iterations, record, noise_variance=noise, snapshots=True)
        scale = groups.rms.unsqueeze(-1)
        variance = None
        if error_variance and algorithm.gives_error_variance:
            told = noise if noise is None or recovery.posterior is not None else noise.unsqueeze(-1)
            variance = algorithm.error_variance(recovery, y, forward.phi, forward.band, told)
            variance = variance if variance.ndim == y.ndim else variance.unsqueeze(1).expand(-1, y.shape[1], -1)
        share = kept_share(*_seen(recovery.x, forward), y)
        x = kept(recovery.x, share) * scale
        found = forward.quantities(x)
        if variance is not None:
            variance = unsure(variance, share, y)
        seen = Found(recovery.x, y, noise, forward.phi, forward.band, pattern, algorithm.weighs_delays)
        found["cfr"], variance = seen.doubted(found["cfr"], variance)
        values = {name: groups.of_snapshots(v) for name, v in found.items()}
        variance = None if variance is None else groups.of_snapshots(variance.double() * scale.double().square())
        iterates = tuple(groups.of_snapshots(x * scale) for x in recovery.iterates)
        return Solution(values, variance, self.scenario.first_tap_samples, iterates)

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
        found = converted(self.algorithm, y).estimate(
            y, forward.phi, forward.band, noise, error_variance=error_variance, **how
        )
        variance, first = found.error_variance, self.scenario.first_tap_samples
        power = rms.double().square()  # of large units it leaves float32
        if found.recovery is None:
            assert found.response is not None
            variance = None if variance is None else variance.double() * power
            return Solution({"cfr": found.response * rms}, variance, first)
        recovery, scale = found.recovery, forward.scale(rms)
        if forward.band is None:
            share = kept_share(forward.phi.forward(recovery.x), None, y)
            values = forward.quantities(kept(recovery.x, share) * scale)
        else:
            response = forward.band.forward(recovery.x)
            share = kept_share(at_pilots(response, forward.phi, forward.band), response, y)
            heard = kept(response, share) * (scale * forward.band.n_measurements**0.5)
            values = {"cir": kept(recovery.x, share) * scale, "cfr": heard}
        if variance is not None:
            variance = unsure(variance, share, y)
        if isinstance(sensing, PilotPattern) and leaves_open(sensing):

            def rows(values: Tensor) -> Tensor:
                return values.reshape(-1, 1, values.shape[-1])

            told = None if noise is None else noise.reshape(-1)
            weighs = self.algorithm.weighs_delays
            seen = Found(rows(recovery.x), rows(y), told, forward.phi, forward.band, sensing, weighs)
            cfr, doubt = seen.doubted(rows(values["cfr"]), None if variance is None else rows(variance))
            values["cfr"] = cfr.reshape(values["cfr"].shape)
            variance = None if variance is None or doubt is None else doubt.reshape(variance.shape)
        return Solution(
            values,
            None if variance is None else variance.double() * power,
            first,
            tuple(x * scale for x in recovery.iterates),
            recovery.step_sizes,
            recovery.thresholds,
        )

    def operator(self, pattern: PilotPattern, dtype: torch.dtype, device: torch.device | str) -> PartialDFT:
        """Phi for a pilot pattern over this model's delay window.

        Args:
            pattern: M pilots.
            dtype, device: of the (*batch, M) that it gives.

        Raises:
            ObservationError: the pattern belongs to another DFT length.
        """
        if pattern.n_fft != self.ofdm.n_fft:
            raise ObservationError(f"made for {self.ofdm.n_fft}, the pilots have {pattern.n_fft}", field="n_fft")
        return self.ofdm.operator(pattern, dtype, device)

    def band(self, dtype: torch.dtype, device: torch.device | str, grid: Grid | None = None) -> PartialDFT:
        """Phi for all used subcarriers of a grid, as if each were a pilot.

        Args:
            dtype, device: of the (*batch, n_used) that it gives.
            grid: the scenario's when not given.
        """
        return self.ofdm.operator(whole_band(self.ofdm.grid if grid is None else grid), dtype, device)


def _scaled_paths(found: Paths, groups: Groups) -> Paths:
    """Paths in the units of the received pilots and the shape of the batch."""
    rms = groups.rms.double()
    gains = groups.of_snapshots(found.gains * rms.unsqueeze(-1))
    shaped = {name: groups.of_groups(getattr(found, name)) for name in ("delays_samples", "layers", "count")}
    return Paths(gains=gains, variances=groups.of_groups(found.variances * rms.square()), **shaped)


def _tensor(value: Any) -> Any:
    """NumPy arrays as tensors; everything else as it is."""
    return torch.from_numpy(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value


def at_pilots(response: Tensor, phi: Any, band: Any) -> Tensor:
    """Phi x, (*batch, M), where all pilots stand in the band, from Phi' x there, (*batch, M')."""
    at = cached(phi, "in the band", lambda: torch.searchsorted(band.subcarriers, phi.subcarriers))
    return response[..., at] * (band.n_measurements / phi.n_measurements) ** 0.5


def _seen(x: Tensor, forward: ForwardModel) -> tuple[Tensor, Tensor | None]:
    """What coefficients look like to the pilots, and on the used subcarriers where there are any."""
    return forward.phi.forward(x), None if forward.band is None else forward.band.forward(x)
