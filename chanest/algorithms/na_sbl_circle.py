"""NA-SBL for whatever a receiver sends: snapshots, layers, a noise variance per pilot, delays on a circle.

Ours. Beside it: M-SBL (Wipf & Rao 2007) for variances that snapshots share, T-SBL (Zhang & Rao 2011), PC-SBL, and
superfast line spectral estimation (Hansen, Fleury & Rao) for delays off the grid.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import AlgorithmError
from ..kernels.adapters import prepared, run, singles, suits
from ..operators import JointMoments, LinearOperator, PartialDFT, Repeated, Superposed, TimeVarying, cached
from . import na_sbl_circle_rules as rules
from .base import Algorithm, Told
from .error_calibration import JointCalibration, MovingCalibration
from .gaussian import log_rank_deficit
from .motion import arranged, at_first, recover_moving
from .na_sbl_circle_rules import COARSE_NEIGHBOURS, FINE_NEIGHBOURS, N_OWN, N_PILOT, N_SHARED, Setting, State
from .noise import CEILING, FLOOR
from .perceptron import Perceptron
from .results import JointPosterior, Recovery, Trace, some_groups, with_groups

MOST_BY_FFT = 8  # snapshots up to which the first iteration needs no factorisation,
MOST_FLAT = 600  # and pilots or taps, whichever are fewer
_Phi = PartialDFT | Superposed | TimeVarying


class CircleNASBL(Algorithm):
    """NA-SBL for R snapshots of L layers, a noise variance per pilot, and delays on a circle or in a window.

    g <- (g^2 mean|q|^2 + g (1 - g d)) exp(2 f_k(features)), EM corrected tap by tap, first on a coarse grid of delays,
    then, of the taps that are alive, on the operator's own. A tap's features, scale-free: log mean|q|^2/d, logit(g d),
    log g kappa, log d/kappa with kappa the mean of 1/s_m, of its neighbours too; what all taps share, log R among it;
    its place where the window was told (``phi.window_told``). A second perceptron per iteration corrects the noise
    level s. A third opens a gate for each pilot through which its noise rises to what its leave-one-out residual
    w_m/[C^-1]_mm says: jammed pilots silence themselves. All start at EM. docs/models.md has every formula.

    Args:
        n_iterations: K factorisations, K - 1 updates.
        n_coarse: updates on the coarse grid of taps, ``phi.coarse_ratio`` times the spacing; where the noise is not
            told they run twice.
        n_hidden: units of the perceptrons of taps; those of noise and pilots have half as many.
        delays: "circle", which tells this form of NA-SBL from :class:`NASBL` in a model file.

    Parameters, for k = 0...K-2: ``tap_rules/k``, ``noise_rules/k``, ``pilot_rules/k`` (:class:`Perceptron`);
    ``calibration`` (:class:`JointCalibration`); ``moving_calibration`` (:class:`MovingCalibration`).

    Raises:
        AlgorithmError: sizes out of range.

    >>> from chanest import PilotPattern
    >>> from chanest.problems import delay_grid
    >>> pattern = PilotPattern.random(75, seed=0)
    >>> phi = delay_grid(pattern, (0, 64)).operator(pattern)
    >>> y = torch.ones(2, 4, 75, dtype=torch.complex64) / 75**0.5
    >>> CircleNASBL()(y, phi, snapshots=True).x.shape
    torch.Size([2, 4, 256])
    """

    name = "na-sbl"
    weighs_delays = True
    learned = True
    complex_only = True
    any_n_iterations = False
    joint = True
    circle = True
    supervision = 0.1

    def __init__(self, n_iterations: int = 6, n_coarse: int = 2, n_hidden: int = 32, delays: str = "circle") -> None:
        super().__init__(n_iterations, n_coarse=n_coarse, n_hidden=n_hidden, delays=delays)
        AlgorithmError.unless(1 <= n_coarse < n_iterations - 1, f"1...{n_iterations - 2}", n_coarse, "n_coarse")
        AlgorithmError.unless(n_hidden >= 4, "at least 4", n_hidden, "n_hidden")
        AlgorithmError.unless(delays == "circle", '"circle"', delays, "delays")
        self.n_coarse = n_coarse
        neighbours = [COARSE_NEIGHBOURS] * n_coarse + [FINE_NEIGHBOURS] * (n_iterations - 1 - n_coarse)
        self.tap_rules = nn.ModuleList(Perceptron(len(n) * N_OWN + 1 + N_SHARED, n_hidden) for n in neighbours)
        self.noise_rules = nn.ModuleList(Perceptron(N_SHARED, n_hidden // 2) for _ in neighbours)
        self.pilot_rules = nn.ModuleList(Perceptron(N_PILOT, n_hidden // 2) for _ in neighbours)
        self.calibration = JointCalibration()
        self.moving_calibration = MovingCalibration()
        self.initialise(torch.Generator().manual_seed(0))

    def initialise(self, generator: torch.Generator) -> None:
        """Every perceptron at zero output: EM."""
        for perceptron in (
            *self.tap_rules,
            *self.noise_rules,
            *self.pilot_rules,
            self.calibration,
            self.moving_calibration,
        ):
            perceptron.initialise(generator)

    def _iterate(
        self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, noise_variance: Tensor | None
    ) -> Recovery:
        return self._jointly(y.unsqueeze(-2), phi, n_iterations, trace, Told(noise_variance)).single()

    def coarsely(self, y: Tensor, phi: Any, noise_variance: Tensor | None, noise_ratio: Tensor | None) -> State:
        """Where the iterations on the coarse grid of delays end, from groups (B, R, M).

        Args:
            y, phi, noise_variance, noise_ratio: as of :meth:`forward` with snapshots.
        """
        levels, ratio = _of_pilots(y, noise_variance, noise_ratio)
        if isinstance(phi, TimeVarying):
            y, levels, ratio = arranged(y, phi, levels, ratio)
        power = (y.real.square() + y.imag.square()).mean(-2)
        coarse = at_first(phi) if isinstance(phi, TimeVarying) else phi.coarser(phi.coarse_ratio)
        start = rules.start(power, levels, ratio, phi.n_measurements, coarse.n_coefficients, y.shape[-2])
        return self.updated(range(self.n_coarse), y, coarse, start, noise_variance is not None)[0]

    def _jointly(self, y: Tensor, phi: Any, n_iterations: int, trace: Trace, told: Told) -> Recovery:
        batch, rows = y.shape[:-2], y.reshape(-1, *y.shape[-2:])
        levels, ratio = _of_pilots(y, *told)
        if isinstance(phi, TimeVarying):
            return recover_moving(self, rows, phi, levels, ratio)
        state, states = self._infer(rows, phi, levels, ratio, trace.record)
        for found in (*states, state):
            x = found.g.unsqueeze(-2) * phi.adjoint(phi.joint_solution(rows, found.g, found.noise))
            trace.add(x.reshape(*y.shape[:-1], -1))
        noise = state.noise.reshape(*batch, -1)
        posterior = JointPosterior(state.g.reshape(*batch, -1), noise, level=state.s.reshape(batch))
        return trace.recovery(x.reshape(*y.shape[:-1], -1), posterior)

    @torch.no_grad()
    def error_variance(
        self, recovery: Recovery, y: Tensor, phi: LinearOperator, band: LinearOperator, noise_variance: Tensor | None
    ) -> Tensor:
        """Variance of the error of the CFR of every layer, the same for all snapshots: (*batch, L, n_used).

        Args:
            recovery, y, phi, noise_variance: as they were given or found, y with its axis of snapshots.
            band: the used subcarriers of one layer.
        """
        assert isinstance(self.calibration, JointCalibration)
        return self.calibration.log_variance(recovery, y, phi, band, noise_variance).exp()

    @property
    def _is_learning(self) -> bool:
        return torch.is_grad_enabled() and next(self.parameters()).requires_grad

    def _infer(
        self, y: Tensor, phi: _Phi, told: Tensor | None, ratio: Tensor | None, record: bool
    ) -> tuple[State, list[State]]:
        coarse, known = phi.coarser(phi.coarse_ratio), told is not None
        power = (y.real.square() + y.imag.square()).mean(-2)
        start = rules.start(power, told, ratio, phi.n_measurements, coarse.n_coefficients, y.shape[-2])
        if not known:  # the level first, from the coarse grid
            found = self.updated(range(self.n_coarse), y, coarse, start, False)[0]
            start = replace(start, s=found.s, outlier=found.outlier)
        state, states = self._run(y, phi, start, known, record)
        if self._is_learning or not bool((again := state.outlier.amax(-1) > rules.OUTLYING).any()):
            return state, states
        # jammers found late have misled the taps: once more, knowing them from the start
        informed = some_groups(replace(start, s=start.s if known else state.s, outlier=state.outlier), again)
        return with_groups(state, again, self._run(y[again], phi, informed, known, False)[0]), states

    def _run(self, y: Tensor, phi: _Phi, start: State, known: bool, record: bool) -> tuple[State, list[State]]:
        """All updates: on the coarse grid, on one between where the ratio is large, and on the fine one."""
        state = self.updated(range(self.n_coarse), y, phi.coarser(phi.coarse_ratio), start, known)[0]
        state = replace(state, g=rules.refined(state, phi.n_layers))
        at, finer = self.n_coarse, phi.coarse_ratio // rules.RATIO
        if finer > 1:
            state = self.updated(range(at, at + 1), y, phi.coarser(finer), state, known)[0]
            state, at = replace(state, g=rules.refined(state, phi.n_layers, finer)), at + 1
        return self.updated(range(at, self.n_iterations - 1), y, phi, state, known, record)

    def updated(
        self, which: range, y: Tensor, phi: _Phi, state: State, known: bool, record: bool = False
    ) -> tuple[State, list[State]]:
        """The state after some of the updates, and those before each where they are recorded.

        Args:
            which: numbers of the updates.
            y: (groups, R, M).
            phi: of the taps of the state.
            state: where they start.
            known: whether the noise variance was told.
            record: keep the states.
        """
        look: tuple[Any, Any, Any]
        if isinstance(phi, TimeVarying):
            look = phi.log_rank_deficit(), phi.looks.to(state.s), phi.share.to(state.s)
        else:
            look = _deficit(phi, state.g), 1.0, 1.0
        per_cell = phi.spacing_samples / phi.resolution_samples
        sizes = phi.n_measurements, phi.n_coefficients, y.shape[-2], phi.n_layers
        setting, states = Setting(*sizes, per_cell, phi.window_told, known, *look), []
        compiled = prepared(self, self._arrays) if suits(y, phi, self) else None
        for k in which:
            if record:
                states.append(state)
            m = self._moments(y, phi, state, k)
            step = self._step if compiled is None else self._compiled_step
            before, state = state.outlier, step(k, m, state, setting)
            if not isinstance(phi, TimeVarying):
                state = replace(state, outlier=rules.unless_calm(state.outlier, before, phi.n_measurements))
        return state, states

    def _moments(self, y: Tensor, phi: _Phi, state: State, k: int) -> JointMoments:
        """Of the first iteration, where all variances and noises are alike, without a factorisation."""
        reach = None if k < self.n_coarse else max(FINE_NEIGHBOURS)
        if isinstance(phi, TimeVarying) and not isinstance(phi, Repeated):
            return phi.joint_moments(y, state.g, state.noise)
        small = y.shape[-2] <= MOST_BY_FFT and min(phi.n_measurements, phi.n_coefficients) <= MOST_FLAT
        alike = k == 0 and small and not self._is_learning
        if alike and bool(((state.relative * state.outlier - 1).abs() < 1e-5).all()):
            return phi.flat_moments(y, state.g.sum(-1), state.s)
        return phi.joint_moments(y, state.g, state.noise, reach)

    def _step(self, k: int, m: JointMoments, state: State, setting: Setting) -> State:
        found = rules.read(m, state, setting)
        s = rules.new_level(found, state, setting, self.noise_rules[k](found.shared))
        outlier = rules.new_outliers(found, m, state, setting, s, self.pilot_rules[k](found.pilots))
        em = rules.em_variances(m, state.g)
        taps = found.taps.unflatten(1, (setting.n_layers, -1))
        place = rules.places(taps.shape[-2], setting, s).unsqueeze(-1)
        if k < self.n_coarse:
            beside = rules.beside(taps, COARSE_NEIGHBOURS)
            read = torch.cat([beside, place.expand(*beside.shape[:-1], 1)], -1).flatten(1, 2)
            shared = found.shared.unsqueeze(-2).expand(-1, read.shape[-2], -1)
            f = self.tap_rules[k](torch.cat([read, shared], -1))
            return State(rules.coarse_variances(em, f, setting), s, outlier, state.relative)
        # only of taps that are alive
        group, tap = (state.g > 0).nonzero(as_tuple=True)
        layer, at = tap // taps.shape[-2], tap % taps.shape[-2]
        neighbours = torch.stack([at + offset for offset in FINE_NEIGHBOURS], -1) % taps.shape[-2]
        beside = taps[group.unsqueeze(-1), layer.unsqueeze(-1), neighbours]
        f = self.tap_rules[k](torch.cat([beside.flatten(-2), place[at], found.shared[group]], -1))
        g = rules.fine_variances(em[group, tap], found.kappa[group], f)
        return State(torch.zeros_like(em).index_put((group, tap), g), s, outlier, state.relative)

    def _compiled_step(self, k: int, m: JointMoments, state: State, setting: Setting) -> State:
        """:meth:`_step` by a compiled loop."""
        from ..kernels.na_sbl_circle import update

        n_pilots, fine = setting.n_pilots, k >= self.n_coarse
        of_groups = (m.q2, m.d, state.g, state.s, m.fit, m.surprise, m.information, state.relative, state.outlier)
        given = [np.ascontiguousarray(t.detach().numpy()) for t in of_groups]
        look = (np.full(len(state.s), v, np.float32) for v in (setting.looks, setting.share, setting.deficit))
        facts = singles((setting.n_snapshots, float(setting.known), setting.per_cell, float(setting.window_told)))
        limits = singles(
            (
                *(rules.SMALLEST / n_pilots, rules.LARGEST, rules.KEPT if fine else -1.0),
                *(FLOOR / n_pilots, CEILING / n_pilots, rules.MOST_NOISE, rules.SILENT),
            )
        )
        neighbours = np.array(FINE_NEIGHBOURS if fine else COARSE_NEIGHBOURS)
        made = [np.empty_like(given[i]) for i in (2, 3, 8)]
        own = prepared(self, self._arrays)[k]
        run(update, len(given[0]), *given, *look, facts, limits, neighbours, setting.n_layers, *own, *made)
        g, s, outlier = map(torch.from_numpy, made)
        return State(g, s, outlier, state.relative)

    def _arrays(self) -> list[tuple[Any, ...]]:
        """The perceptrons of every iteration as the compiled loop takes them."""
        made = []
        for tap_rule, *others in zip(self.tap_rules, self.noise_rules, self.pilot_rules, strict=True):
            weight, *rest = tap_rule.parameters()
            own, shared = weight[:, :-N_SHARED], weight[:, -N_SHARED:]
            small = (tuple(map(singles, rule.parameters())) for rule in others)
            made.append((tuple(map(singles, (own, *rest))), singles(shared), *small))
        return made


def _deficit(phi: PartialDFT | Superposed, g: Tensor) -> Tensor:
    """The log rank deficit of the pilots, a number."""
    return cached(phi, "log rank deficit", lambda: log_rank_deficit(phi, torch.ones_like(g[0])))


def _of_pilots(y: Tensor, levels: Tensor | None, ratio: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """What is told of the noise of y (*batch, R, M), of every pilot: (groups, M) both."""
    batch, m = y.shape[:-2], y.shape[-1]
    if levels is not None:
        levels = levels if levels.ndim == y.ndim - 1 else levels.unsqueeze(-1)
        levels = levels.expand(*batch, m).reshape(-1, m)
    return levels, None if ratio is None else ratio.expand(*batch, m).reshape(-1, m)
