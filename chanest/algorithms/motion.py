"""NA-SBL of a user in motion: the correlation of taps between OFDM symbols, found by likelihood on the way.

The iterations of :class:`CircleNASBL` on the pilots of all symbols together. Between them, candidates for that
correlation, and for what turns all taps from symbol to symbol, are weighed by how well they explain the pilots; taps
go on with the mean correlation. docs/models.md has every formula.
"""

from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from ..operators import TimeVarying
from ..operators.time_varying import mean_turn
from . import na_sbl_circle_rules as rules
from .na_sbl_circle_rules import State
from .results import JointPosterior, Recovery, some_groups, with_groups

LEAST_POWER = 0.01  # of an observation, that its taps have at least
NOISE_STEPS = 2  # in the end, where the noise is not told
FAR = 0.05  # turns of a symbol, from which the iterations run again without them


class Updates(Protocol):
    """The updates of :class:`CircleNASBL`."""

    n_iterations: int
    n_coarse: int

    def updated(
        self, which: range, y: Tensor, phi: TimeVarying, state: State, known: bool, record: bool = False
    ) -> tuple[State, list[State]]: ...


@dataclass(frozen=True)
class MovingPosterior(JointPosterior):
    """A posterior whose taps have a correlation between symbols; variances are matched to the power of the pilots.

    Attributes:
        weights: (*batch, D) of the candidates for that correlation.
        turn: (*batch, V) of the candidates for what turns symbols, of which one was taken back.
    """

    weights: Tensor = field(kw_only=True)
    turn: Tensor = field(kw_only=True)


@dataclass(frozen=True)
class _Seen:
    """Observations, their symbols turned back, and what is known of the motion."""

    y: Tensor
    weights: Tensor
    turn: Tensor


def recover_moving(
    algorithm: Updates, y: Tensor, phi: TimeVarying, levels: Tensor | None, ratio: Tensor | None
) -> Recovery:
    """Taps of the symbols that carry pilots: x = g q, of which T x is the channel, and a :class:`MovingPosterior`.

    Args:
        algorithm: whose updates run.
        y: (groups, R, M).
        phi: of all pilots; its candidates are weighed.
        levels, ratio: (groups, M), noise variances of an entry of y, or over a level that is not known; or None.

    Returns:
        x (groups, R, P, N), of observations whose symbols are turned back.
    """
    known = levels is not None
    y, levels, ratio = arranged(y, phi, levels, ratio)
    coarse = at_first(phi)
    power = (y.real.square() + y.imag.square()).mean(-2)
    sizes = phi.n_measurements, coarse.n_coefficients, y.shape[-2]
    start = rules.start(power, levels, ratio, *sizes)
    seen = _unmoved(y, phi)
    if not known:
        found = algorithm.updated(range(algorithm.n_coarse), y, coarse, start, False)[0]
        start = replace(start, s=found.s, outlier=found.outlier)
    state, seen = _run(algorithm, seen, phi, start, known)
    again = (state.outlier.amax(-1) > rules.OUTLYING) | _far(seen, phi)
    if bool(again.any()):
        informed = some_groups(replace(start, s=start.s if known else state.s, outlier=state.outlier), again)
        part = some_groups(seen, again)
        other, found_again = _run(algorithm, part, phi, informed, known)
        state = with_groups(state, again, other)
        seen = with_groups(seen, again, found_again)
    levels = _levels(start if known else state, state)
    g = matched(seen.y, state.g, levels)
    moving = phi.with_weights(seen.weights)
    for _ in range(0 if known else NOISE_STEPS):
        state, g = _left_over(seen.y, moving, state, g)
        levels = _levels(state, state)
    x = g[:, None, None] * moving.adjoint(moving.joint_solution(seen.y, g, levels))
    noise = phi.of_pilots(levels) / phi.unit
    posterior = MovingPosterior(g, noise, level=state.s / phi.unit, weights=seen.weights, turn=seen.turn)
    return Recovery(x, posterior=posterior)


def at_first(phi: TimeVarying, weights: Tensor | None = None) -> TimeVarying:
    """What the coarse updates see: symbols that have nothing to do with each other, as snapshots in training.

    Of a tap that hardly changes one direction of its symbols has nearly all the power, the others next to none, which
    no training showed: on combs the first updates then went astray, and found a motion to go with it. Layers that
    differ by a code over the symbols need the correlation to be told apart.
    """
    coarse = phi.coarser(phi.coarse_ratio)
    if phi.n_layers == 1:
        return coarse.unrelated()
    return coarse if weights is None else coarse.with_weights(weights)


def arranged(
    y: Tensor, phi: TimeVarying, levels: Tensor | None, ratio: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Observations, noise variances and their ratios of all pilots, as an operator takes them."""
    levels = None if levels is None else phi.of_symbol(levels) * phi.unit
    return phi.arranged(y), levels, None if ratio is None else phi.of_symbol(ratio)


def matched(y: Tensor, g: Tensor, noise: Tensor) -> Tensor:
    """Tap variances whose sum is the power of the pilots less their noise, both weighed by 1/noise.

    A network trained for small errors leaves the sum at a third of that, which single estimates do not notice, but a
    likelihood does.

    Args:
        y: (batch, R, M).
        g: (batch, N).
        noise: (batch, M).
    """
    weight = 1 / noise.double()
    heard = (weight * (y.real.square() + y.imag.square()).mean(-2)).sum(-1)
    kappa = weight.mean(-1)
    total = torch.maximum(heard - y.shape[-1], LEAST_POWER * heard) / kappa
    return (g.double() * (total / g.double().sum(-1).clamp_min(1e-30)).unsqueeze(-1)).to(g.dtype)


def _left_over(y: Tensor, moving: TimeVarying, state: State, g: Tensor) -> tuple[State, Tensor]:
    """The noise level by what the estimate leaves over, sum |w|^2 over tr C^-1, and variances matched to it."""
    noise = _levels(state, state)
    m = moving.joint_moments(y, g, noise)
    heard = (state.relative * state.outlier < rules.OUTLYING).to(noise.dtype)
    factor = (m.surprise * noise * heard).sum(-1) / (m.information * noise * heard).sum(-1).clamp_min(1e-12)
    state = replace(state, s=state.s * factor.clamp(0.1, 10.0))
    return state, matched(y, g, _levels(state, state))


def _run(algorithm: Updates, seen: _Seen, phi: TimeVarying, state: State, known: bool) -> tuple[State, _Seen]:
    """All updates; the motion is weighed where the taps have become fine, and in the end."""
    first = state
    coarse, at = at_first(phi, seen.weights), algorithm.n_coarse
    state = algorithm.updated(range(at), seen.y, coarse, state, known)[0]
    state = replace(state, g=rules.refined(state, phi.n_layers, looks=coarse.looks.to(state.s)))
    finer = phi.coarse_ratio // rules.RATIO
    if finer > 1:
        between = phi.coarser(finer).with_weights(seen.weights)
        seen = _weighed(seen, between, _levels(first if known else state, state), state.g)
        between = between.with_weights(seen.weights)
        state = algorithm.updated(range(at, at + 1), seen.y, between, state, known)[0]
        state, at = replace(state, g=rules.refined(state, phi.n_layers, finer, between.looks.to(state.s))), at + 1
    else:
        seen = _weighed(seen, phi, _levels(first if known else state, state), state.g)
    fine = phi.with_weights(seen.weights)
    state = algorithm.updated(range(at, algorithm.n_iterations - 1), seen.y, fine, state, known)[0]
    return state, _weighed(seen, phi, _levels(first if known else state, state), state.g)


def _unmoved(y: Tensor, phi: TimeVarying) -> _Seen:
    """Nothing found of the motion: all candidates alike, symbols turned as little as may be."""
    of = phi.motion
    weights = y.real.new_ones(len(y), len(of.correlations), dtype=torch.float64) / len(of.correlations)
    turn = y.real.new_zeros(len(y), len(of.turns), dtype=torch.float64)
    turn[:, int((of.turns - 1).abs().sum(-1).argmin())] = 1
    return _Seen(phi.turned(y, mean_turn(of.turns.to(y.device), turn).conj()), weights, turn)


def _weighed(seen: _Seen, phi: TimeVarying, noise: Tensor, g: Tensor) -> _Seen:
    """The candidates weighed anew by likelihood, at tap variances matched to the pilots."""
    of = phi.motion
    if len(of.correlations) == 1 and len(of.turns) == 1:
        return seen
    with torch.no_grad():
        evidence = phi.evidence(seen.y, matched(seen.y, g, noise), noise)
        turns = of.turns.to(seen.y.device)
        back = mean_turn(turns, seen.turn)  # what was taken back already
        score = evidence.log_likelihood(turns * back.conj().unsqueeze(1)) + of.log_prior.to(seen.y.device)
        joint = torch.softmax(score.flatten(1), -1).unflatten(1, score.shape[1:])
        weights, turn = joint.sum(-1), joint.sum(-2)
    at = mean_turn(turns, turn)
    return _Seen(phi.turned(seen.y, back * at.conj()), weights, turn)


def _levels(told: State, state: State) -> Tensor:
    """Noise of the pilots, (batch, M): as it was told, or found, outliers as they were found."""
    return told.s.unsqueeze(-1) * state.relative * state.outlier


def _far(seen: _Seen, phi: TimeVarying) -> Tensor:
    """(batch,) bool: whether symbols were found turned so far that the first iterations were misled."""
    if len(phi.motion.turns) == 1:
        return torch.zeros(len(seen.y), dtype=torch.bool, device=seen.y.device)
    at = mean_turn(phi.motion.turns.to(seen.y.device), seen.turn)
    return (at * at[:, :1].conj()).angle().abs().amax(-1) > 2 * torch.pi * FAR
