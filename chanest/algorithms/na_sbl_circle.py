"""NA-SBL for whatever a receiver sends: snapshots, layers, a noise variance per pilot, delays on a circle.

Ours. Beside it: M-SBL (Wipf & Rao 2007) for variances that snapshots share, T-SBL (Zhang & Rao 2011), PC-SBL, and
superfast line spectral estimation (Hansen, Fleury & Rao) for delays off the grid.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import AlgorithmError
from ..kernels.adapters import prepared, run, singles, suits
from ..kernels.constants import EXPLAINED_MARGIN, LARGEST_EXPONENT, REFERENCE_PILOTS
from ..operators import JointMoments, LinearOperator, PartialDFT, Superposed, cached
from .base import Algorithm, Told
from .error_calibration import JointCalibration
from .gaussian import log_rank_deficit
from .noise import CEILING, FLOOR
from .perceptron import Perceptron
from .results import JointPosterior, Recovery, Trace

MOST_BY_FFT, MOST_FLAT = 8, 300  # snapshots and pilots, up to which the first iteration needs no factorisation
RATIO = 4  # of the two spacings of taps
COARSE_NEIGHBOURS, FINE_NEIGHBOURS = (-2, -1, 0, 1, 2), (-4, -2, -1, 0, 1, 2, 4)
N_OWN, N_SHARED, N_PILOT = 4, 14, 10
ALIVE, KEPT = 0.01, 0.003  # g/s of a tap that the fine grid starts with, or keeps
SMALLEST, LARGEST = 7.5e-7, 4.0  # of g, the first over M
RESOLVED_MARGIN = 1e-5
OUTLYING = 10.0  # a factor on a pilot's noise from which all updates run once more, with it from the start
MOST_NOISE = 1e6  # over M: of a pilot that says nothing
SILENT = 1e3  # noise over the level: of pilots that are not to be trusted
UNKNOWN_NOISE = 0.1  # of the power, where nothing is told
_Phi = PartialDFT | Superposed


@dataclass(frozen=True)
class _State:
    """Where the iterations are.

    Attributes:
        g: (B, N) tap variances; 0 where a tap is dead.
        s: (B,) noise level.
        outlier: (B, M) factors of 1 and more on the noise of single pilots.
        relative: (B, M) told noise of a pilot over the level.
    """

    g: Tensor
    s: Tensor
    outlier: Tensor
    relative: Tensor

    @property
    def noise(self) -> Tensor:
        """(B, M)."""
        return self.s.unsqueeze(-1) * self.relative * self.outlier

    def rows(self, which: Tensor) -> "_State":
        """Some of the groups."""
        return _State(self.g[which], self.s[which], self.outlier[which], self.relative[which])

    def with_rows(self, which: Tensor, other: "_State") -> "_State":
        """Some of the groups from elsewhere."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return _State(*(mine.masked_scatter(_like(which, mine), theirs) for mine, theirs in pairs))


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
        n_coarse: updates on the coarse grid of taps, :data:`RATIO` times the spacing; where the noise is not told they
            run twice.
        n_hidden: units of the perceptrons of taps; those of noise and pilots have half as many.
        delays: "circle", which tells this form of NA-SBL from :class:`NASBL` in a model file.

    Parameters, for k = 0...K-2: ``tap_rules/k``, ``noise_rules/k``, ``pilot_rules/k`` (:class:`Perceptron`);
    ``calibration`` (:class:`JointCalibration`).

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
        self.initialise(torch.Generator().manual_seed(0))

    def initialise(self, generator: torch.Generator) -> None:
        """Every perceptron at zero output: EM."""
        for perceptron in (*self.tap_rules, *self.noise_rules, *self.pilot_rules, self.calibration):
            perceptron.initialise(generator)

    def _iterate(
        self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, noise_variance: Tensor | None
    ) -> Recovery:
        return self._jointly(y.unsqueeze(-2), phi, n_iterations, trace, Told(noise_variance)).single()

    def _jointly(self, y: Tensor, phi: Any, n_iterations: int, trace: Trace, told: Told) -> Recovery:
        batch, rows, m = y.shape[:-2], y.reshape(-1, *y.shape[-2:]), y.shape[-1]
        levels, ratio = told
        if levels is not None:
            levels = levels if levels.ndim == y.ndim - 1 else levels.unsqueeze(-1)
            levels = levels.expand(*batch, m).reshape(-1, m)
        ratio = None if ratio is None else ratio.expand(*batch, m).reshape(-1, m)
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
        base, features = self.calibration.read(recovery, y, phi, band, noise_variance)
        return self.calibration.settled(base + self.calibration.correction(features)).exp()

    @property
    def _is_learning(self) -> bool:
        return torch.is_grad_enabled() and next(self.parameters()).requires_grad

    def _infer(
        self, y: Tensor, phi: _Phi, told: Tensor | None, ratio: Tensor | None, record: bool
    ) -> tuple[_State, list[_State]]:
        start, known = self._start(y, phi.coarser(RATIO), told, ratio), told is not None
        if not known:  # the level first, from the coarse grid
            found = self._updated(range(self.n_coarse), y, phi.coarser(RATIO), start, False)[0]
            start = replace(start, s=found.s, outlier=found.outlier)
        state, states = self._run(y, phi, start, known, record)
        if self._is_learning or not bool((again := state.outlier.amax(-1) > OUTLYING).any()):
            return state, states
        # jammers found late have misled the taps: once more, knowing them from the start
        informed = replace(start, s=start.s if known else state.s, outlier=state.outlier).rows(again)
        return state.with_rows(again, self._run(y[again], phi, informed, known, False)[0]), states

    def _run(self, y: Tensor, phi: _Phi, start: _State, known: bool, record: bool) -> tuple[_State, list[_State]]:
        """All updates, on the coarse grid and on the fine one."""
        state = self._updated(range(self.n_coarse), y, phi.coarser(RATIO), start, known)[0]
        later = range(self.n_coarse, self.n_iterations - 1)
        return self._updated(later, y, phi, self._refined(state, phi), known, record)

    def _start(self, y: Tensor, phi: _Phi, told: Tensor | None, ratio: Tensor | None) -> _State:
        """Variances alike on all taps; the noise as told, or a share of the power that outliers do not raise."""
        m, r = phi.n_measurements, y.shape[-2]
        if told is None:
            level, relative = None, torch.ones_like(y[:, 0].real) if ratio is None else ratio
        else:
            told = told.clamp(FLOOR / m, MOST_NOISE / m)
            level = 1 / (1 / told).mean(-1)
            relative = told / level.unsqueeze(-1)
        heard = torch.where(relative < SILENT, (y.real.square() + y.imag.square()).mean(-2), torch.nan)
        robust = heard.nanmedian(-1).values / (1 - 1 / (9 * r)) ** 3
        power = torch.minimum(robust, heard.nanmean(-1)).nan_to_num(0.0).clamp_min(1e-12)
        s = (UNKNOWN_NOISE * power if level is None else level).clamp(FLOOR / m, CEILING / m)
        total = torch.maximum(m * (power - s), 0.1 * m * power)
        g = (total / phi.n_coefficients).unsqueeze(-1).expand(-1, phi.n_coefficients)
        return _State(g, s, torch.ones_like(relative), relative)

    def _updated(
        self, which: range, y: Tensor, phi: _Phi, state: _State, known: bool, record: bool = False
    ) -> tuple[_State, list[_State]]:
        deficit = cached(phi, "log rank deficit", lambda: log_rank_deficit(phi, torch.ones_like(state.g[0])))
        states = []
        compiled = prepared(self, self._arrays) if suits(y, phi, self) else None
        for k in which:
            if record:
                states.append(state)
            m = self._moments(y, phi, state, k == 0)
            step = self._step if compiled is None else self._compiled_step
            state = step(k, m, state, phi, y.shape[-2], known, deficit)
        return state, states

    def _moments(self, y: Tensor, phi: _Phi, state: _State, first: bool) -> JointMoments:
        """Of the first iteration, where all variances and noises are alike, without a factorisation."""
        flat = first and y.shape[-2] <= MOST_BY_FFT and phi.n_measurements <= MOST_FLAT and not self._is_learning
        alike = flat and bool(((state.relative * state.outlier - 1).abs() < 1e-5).all())
        if alike:
            return phi.flat_moments(y, state.g.sum(-1), state.s)
        return phi.joint_moments(y, state.g, state.noise)

    def _step(
        self, k: int, m: JointMoments, state: _State, phi: _Phi, n_snapshots: int, known: bool, deficit: Tensor
    ) -> _State:
        n_pilots, g, s = phi.n_measurements, state.g, state.s
        heard = (state.relative < SILENT).sum(-1).clamp_min(1).to(s)
        noise = state.noise
        kappa = (1 / noise).mean(-1)
        total = g.sum(-1)
        n_layers = phi.n_layers
        per_cell = phi.spacing_samples / phi.resolution_samples
        d = m.d.clamp_min(1e-12)
        em_noise = (noise * (1 + noise * (m.surprise - m.information))).clamp_min(1e-12)
        em_level = (em_noise / (state.relative * state.outlier) * (state.relative < SILENT)).sum(-1) / heard
        explained = ((g * m.d).sum(-1) / heard).clamp(EXPLAINED_MARGIN, 1 - EXPLAINED_MARGIN)
        effective = total.square() / g.square().sum(-1).clamp_min(1e-20) * per_cell
        of_all = (
            (m.fit * n_pilots / heard).clamp_min(1e-12).log() / 3,
            (em_level / s).log() / 3,
            (heard / REFERENCE_PILOTS).log(),
            torch.full_like(s, float(known)),
            explained.logit() / 6,
            deficit.to(s).expand(s.shape),
            torch.full_like(s, math.log(n_snapshots) / 3),
            (kappa * total).clamp_min(1e-6).log() / 6,
            torch.full_like(s, math.log(per_cell) + 1.75),
            (heard / (phi.n_coefficients * per_cell)).log() / 2,
            effective.clamp_min(1e-3).log() / 4,
            torch.full_like(s, float(n_layers - 1)),
            state.outlier.log().mean(-1),
            torch.full_like(s, float(phi.window_told)),
        )
        shared = torch.stack(of_all, -1)
        # the noise
        new_s = ((s if known else em_level) * _factor(self.noise_rules[k](shared))).clamp(
            FLOOR / n_pilots, CEILING / n_pilots
        )
        # single pilots: leave-one-out residual w/C^-1_mm of variance 1/C^-1_mm, of which the noise is a part
        t = (m.surprise / m.information).clamp_min(1e-6)
        part = (noise * m.information).clamp(1e-6, 1)
        own = torch.stack(
            [
                t.log() / 3,
                (t / (1 + 6 / n_snapshots**0.5)).clamp_max(50.0),
                part.log() / 3,
                state.outlier.log() / 3,
                *(f.unsqueeze(-1).expand(t.shape) for f in (shared[:, 0], shared[:, 2], shared[:, 3])),
                *(f.unsqueeze(-1).expand(t.shape) for f in (shared[:, 4], shared[:, 6], shared[:, 7])),
            ],
            -1,
        )
        start = 4 * (t.log() - math.log(1 + 6 / n_snapshots**0.5))
        gate = torch.sigmoid(start + 4 * self.pilot_rules[k](own))
        alone = ((t - 1) / m.information + noise) / (state.relative * new_s.unsqueeze(-1))
        outlier = 1 + gate * (alone - 1).clamp(0, MOST_NOISE)
        # the taps
        share = g * d
        own = torch.stack(
            [
                (m.q2.clamp_min(1e-20) / d).log() / 3,
                share.clamp(RESOLVED_MARGIN, 1 - RESOLVED_MARGIN).logit() / 6,
                (g * kappa.unsqueeze(-1)).clamp_min(1e-6).log() / 6,
                (d / kappa.unsqueeze(-1)).clamp_min(1e-6).log() / 6,
            ],
            -1,
        )
        n = g.shape[-1] // n_layers
        place = torch.linspace(-1, 1, n, dtype=g.dtype, device=g.device) * float(phi.window_told)
        by_layer = own.reshape(-1, n, N_OWN)
        fine = k >= self.n_coarse
        em = g * g * m.q2 + g * (1 - share).clamp_min(0)
        if fine:
            of_batch, taps = (g > 0).nonzero(as_tuple=True)
            layer = of_batch * n_layers + taps // n
            at = taps % n
            offsets = torch.tensor(FINE_NEIGHBOURS, device=g.device)
            read = by_layer[layer.unsqueeze(-1), (at.unsqueeze(-1) + offsets) % n].flatten(-2)
            f = self.tap_rules[k](torch.cat([read, place[at].unsqueeze(-1), shared[of_batch]], -1))
            value = (em[of_batch, taps] * _factor(f)).clamp_max(LARGEST)
            value = torch.where(value * kappa[of_batch] > KEPT, value, 0.0)
            new_g = torch.zeros_like(g).index_put((of_batch, taps), value)
        else:
            read = torch.cat([by_layer.roll(-o, -2) for o in COARSE_NEIGHBOURS], -1).reshape(*g.shape, -1)
            places = place.repeat(n_layers).unsqueeze(-1).expand(*g.shape, 1)
            f = self.tap_rules[k](torch.cat([read, places, shared.unsqueeze(-2).expand(*g.shape, -1)], -1))
            new_g = (em * _factor(f)).clamp(SMALLEST / n_pilots, LARGEST)
        return _State(new_g, new_s, outlier, state.relative)

    def _compiled_step(
        self, k: int, m: JointMoments, state: _State, phi: _Phi, n_snapshots: int, known: bool, deficit: Tensor
    ) -> _State:
        """:meth:`_step` by a compiled loop."""
        from ..kernels.na_sbl_circle import update

        n_pilots, fine = phi.n_measurements, k >= self.n_coarse
        of_groups = (m.q2, m.d, state.g, state.s, m.fit, m.surprise, m.information, state.relative, state.outlier)
        given = [np.ascontiguousarray(t.detach().numpy()) for t in of_groups]
        per_cell = phi.spacing_samples / phi.resolution_samples
        facts = singles((n_snapshots, float(known), float(deficit), per_cell, float(phi.window_told)))
        limits = singles(
            (
                *(SMALLEST / n_pilots, LARGEST, KEPT if fine else -1.0),
                *(FLOOR / n_pilots, CEILING / n_pilots, MOST_NOISE, SILENT),
            )
        )
        neighbours = np.array(FINE_NEIGHBOURS if fine else COARSE_NEIGHBOURS)
        made = [np.empty_like(given[i]) for i in (2, 3, 8)]
        rules = prepared(self, self._arrays)[k]
        n_layers = phi.n_layers
        run(update, len(given[0]), *given, facts, limits, neighbours, n_layers, *rules, *made)
        g, s, outlier = map(torch.from_numpy, made)
        return _State(g, s, outlier, state.relative)

    def _arrays(self) -> list[tuple[Any, ...]]:
        """The perceptrons of every iteration as the compiled loop takes them."""
        made = []
        for tap_rule, *others in zip(self.tap_rules, self.noise_rules, self.pilot_rules, strict=True):
            weight, *rest = tap_rule.parameters()
            own, shared = weight[:, :-N_SHARED], weight[:, -N_SHARED:]
            small = (tuple(map(singles, rule.parameters())) for rule in others)
            made.append((tuple(map(singles, (own, *rest))), singles(shared), *small))
        return made

    def _refined(self, state: _State, phi: _Phi) -> _State:
        """The variances on the fine grid, linear between the coarse taps; dead where they lie far below the noise."""
        n_layers = phi.n_layers
        g = state.g.unflatten(-1, (n_layers, -1))
        after = g.roll(-1, -1)
        parts = torch.arange(RATIO, device=g.device) / RATIO
        fine = (g.unsqueeze(-1) * (1 - parts) + after.unsqueeze(-1) * parts) / RATIO
        fine = fine.flatten(-3)
        kappa = (1 / state.noise).mean(-1, keepdim=True)
        alive = (fine * kappa > ALIVE) | (fine >= fine.amax(-1, keepdim=True))
        return replace(state, g=torch.where(alive, fine, 0.0))


def _like(which: Tensor, values: Tensor) -> Tensor:
    """(B,) bool in the shape of (B, ...) values."""
    return which.view(-1, *(1,) * (values.ndim - 1)).expand_as(values)


def _factor(f: Tensor) -> Tensor:
    """exp(2 f), kept where float32 and its gradient stay finite."""
    return torch.exp((2 * f).clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT))
