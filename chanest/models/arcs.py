"""NA-SBL for any receiver on the circle of delays: first the arc that holds the channel, then that as a told window.

A network looks at some hundred delays more closely than at thousands. Where the pilots show clearly enough on which arc
of the circle the energy lies, they are turned so that the first path has delay 0, and the arc is taken for a window
that was told; a group in which something is left outside of its arc, or that is weak, is sought on the whole circle.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..algorithms import CircleNASBL, JointPosterior, MovingPosterior, Recovery
from ..algorithms import na_sbl_circle_rules as rules
from ..operators import PartialDFT, Repeated, TimeVarying, cached
from ..problems import DelayGrid, PilotPattern, delay_grid
from .groups import Groups
from .precision import converted

ENOUGH = 128  # pilots, to find an arc by
SHORTER = (4, 2, 1)  # arcs of many pilots are these parts of the window, the shortest first
_CLEAN = 1e-3  # noise over the power, of what a matched filter shows above its floor
SINGLE_ENOUGH = 1e-4  # noise over the power: below it single precision tells the noise from rounding no more
LONGEST = 0.75  # of the circle, of an arc that is worth a look of its own


@dataclass(frozen=True)
class Part:
    """Some groups, and what was recovered of them.

    Attributes:
        rows: (n,) which groups.
        y: (n, R, M), turned by ``turned_samples``.
        noise, ratio: of :class:`Groups`, of these.
        phi: the operator of their delays.
        recovery: on these delays.
        turned_samples: (n,) float64 delays by which they were turned; None where they were not.
    """

    rows: Tensor
    y: Tensor
    noise: Tensor | None
    ratio: Tensor | None
    phi: Any
    recovery: Recovery
    turned_samples: Tensor | None = None


def recovered(
    algorithm: CircleNASBL,
    groups: Groups,
    phi: Any,
    arcs: tuple[Any, ...],
    n_iterations: int | None = None,
    record: bool = False,
) -> list[Part]:
    """What an algorithm recovers of groups of snapshots, those on an arc of the circle first.

    Args:
        algorithm: of any precision and device.
        groups: the observations.
        phi: of the whole circle, or of a window that was told.
        arcs: of windows that an arc may be taken for, the shortest first, see :func:`arcs_of`.
        n_iterations, record: as of the algorithm.
    """
    rows = torch.arange(len(groups.y), device=groups.y.device)
    whole = Part(rows, groups.y, groups.noise, groups.ratio, phi, Recovery(groups.y))

    def run(part: Part) -> Part:
        return replace(part, recovery=_precisely(algorithm, part, n_iterations, record))

    if not arcs:
        return [run(whole)]
    parts, left = [], torch.ones_like(rows, dtype=torch.bool)
    many = phi.n_measurements > ENOUGH and not isinstance(phi, TimeVarying)
    for look in (_coarsely, _matched) if many else (_coarsely,):
        if not bool(left.any()):
            break
        with torch.no_grad():
            state, seen = look(algorithm, whole)
            silent = (state.g == 0).all(-1)  # no path stands out of the noise anywhere: one arc is as good as all
        for arc in arcs:
            with torch.no_grad():
                first, clear = _first_delays(state, seen, arc)
            clear = clear & left
            if not bool(clear.any()):
                continue
            turned = run(_turned(_some(whole, clear), first[clear], arc))
            with torch.no_grad():
                found = (silent[clear] | ~_outside(turned, phi)) & ~_unplaceable(turned, phi)
            if bool(found.any()):
                parts.append(turned if bool(found.all()) else _some(turned, found))
                left[turned.rows[found]] = False
    if bool(left.any()):
        parts.append(run(_some(whole, left)))
    return parts


def arcs_of(
    circle: DelayGrid, pattern: PilotPattern, window_samples: tuple[float, float], n_snapshots: int = 1
) -> tuple[DelayGrid, ...]:
    """The delays of arcs of a circle, as windows that were told, the shortest first; none where it does not pay.

    It pays where an arc is much shorter than the circle. Up to :data:`ENOUGH` pilots, which training has seen, there is
    one, where the pilots tell all delays of the symbol apart; more pilots cost less on shorter arcs, and are worth it
    on any circle.

    Args:
        circle: all delays.
        pattern: the pilots.
        window_samples: first and last delay of a channel whose first path has delay 0.
        n_snapshots: that share the delays.

    >>> from chanest import Grid
    >>> from chanest.problems import delay_grid
    >>> patterns = PilotPattern.random(75, seed=0), PilotPattern.comb(6), PilotPattern.comb(2, 0, Grid.nr(106))
    >>> [len(arcs_of(delay_grid(pattern), pattern, (-8, 264))) for pattern in patterns]
    [1, 0, 3]
    """
    length, many = circle.n_taps * circle.spacing_samples, len(pattern) > ENOUGH
    if circle.window_told or (length < pattern.n_fft and not many):
        return ()
    first, last = window_samples
    parts = SHORTER if many else (1,)
    made = [delay_grid(pattern, (first, first + (last - first) / part), 1, n_snapshots) for part in parts]
    return tuple(arc for arc in made if arc.n_taps * arc.spacing_samples <= LONGEST * length)


def on_circle(parts: list[Part], phi: Any) -> Recovery:
    """What was recovered of all groups, in their order, on the delays of ``phi``."""
    made = [part.recovery if part.turned_samples is None else _placed(part, phi) for part in parts]
    if len(parts) == 1:
        return made[0]
    order = _order(parts)
    first, *others = made
    for other in others[:-1]:
        first = first.followed_by(other, torch.arange(len(first.x) + len(other.x), device=order.device))
    return first.followed_by(others[-1], order)


def of_groups(parts: list[Part], found: Callable[[Part], Tensor]) -> Tensor:
    """Something of every part, (n, ...), in the order of the groups."""
    made = [found(part) for part in parts]
    return made[0] if len(parts) == 1 else torch.cat(made)[_order(parts)]


def _order(parts: list[Part]) -> Tensor:
    return torch.cat([part.rows for part in parts]).argsort()


def _some(part: Part, which: Tensor) -> Part:
    chosen = {
        f: v[which] for f in ("rows", "y", "noise", "ratio", "turned_samples") if (v := getattr(part, f)) is not None
    }
    return replace(part, recovery=part.recovery.rows(which), **chosen)


def _turned(part: Part, delays: Tensor, arc: PartialDFT) -> Part:
    """Groups as if their channels came earlier by some delays, (n,)."""
    angle = 2 * torch.pi / arc.n_fft * (arc.subcarriers * delays.unsqueeze(-1))
    return replace(
        part,
        y=part.y * torch.polar(torch.ones_like(angle), angle).to(part.y.dtype).unsqueeze(-2),
        phi=arc,
        turned_samples=delays,
    )


def enough_pilots(n_pilots: int, device: torch.device) -> Tensor:
    """Which pilots are looked at where :data:`ENOUGH` of them do: ascending, the same from call to call."""
    if n_pilots <= ENOUGH:
        return torch.arange(n_pilots, device=device)
    chosen = torch.randperm(n_pilots, generator=torch.Generator().manual_seed(0))[:ENOUGH]
    return chosen.sort().values.to(device)


def _coarsely(algorithm: CircleNASBL, part: Part) -> tuple[rules.State, PartialDFT]:
    """Where the coarse iterations end, of as many pilots as are enough, and their operator."""
    phi, m = part.phi, part.phi.n_measurements
    y, noise, ratio = part.y, part.noise, part.ratio
    if m > ENOUGH and (isinstance(phi, Repeated) or not isinstance(phi, TimeVarying)):
        at = enough_pilots(m, y.device)
        if isinstance(phi, Repeated):
            phi, at = phi.thinned(at)
        else:
            phi = cached(phi, "thinned", lambda: phi.seen_at(phi.subcarriers[at]))
        share = m / ENOUGH  # entries of y have the mean square 1/M
        y = y[..., at] * share**0.5
        noise, ratio = (v if v is None or v.ndim == 1 else v[:, at] for v in (noise, ratio))
        noise = None if noise is None else noise * share
    return converted(algorithm, y).coarsely(y, phi, noise, ratio), phi


def _matched(algorithm: CircleNASBL, part: Part) -> tuple[rules.State, PartialDFT]:
    """As :func:`_coarsely`, of many pilots and weak channels: the energy of a matched filter above its floor."""
    y, phi = part.y, part.phi
    n_snapshots, m = y.shape[-2:]
    coarse = phi.coarser(phi.coarse_ratio)
    k = phi.subcarriers - phi.subcarriers.double().mean()
    taper = 0.5 + 0.5 * torch.cos(torch.pi * k / k.abs().max().clamp_min(1))
    levels = part.noise if part.noise is not None and part.noise.ndim == 2 else part.ratio
    heard = 1 if levels is None else (levels < rules.SILENT * levels.amin(-1, keepdim=True)).unsqueeze(-2)
    energy = coarse.adjoint(y * heard * taper.to(y.real.dtype)).abs().square().mean(-2)
    floor = energy.median(-1, keepdim=True).values / (1 - 1 / (9 * n_snapshots)) ** 3
    rare = math.log(energy.shape[-1] / rules.FALSE_ALARMS)
    above = 1 + (rare + math.sqrt(2 * rare * n_snapshots)) / n_snapshots
    g = torch.where(energy > above * floor, energy, 0.0)
    ones = torch.ones_like(y[:, 0].real)
    return rules.State(g, ones[:, 0] * _CLEAN / m, ones, ones), phi


def _first_delays(state: rules.State, phi: PartialDFT, arc: PartialDFT) -> tuple[Tensor, Tensor]:
    """(n,) delay of the first path on the best arc, from the coarse iterations, and whether that is clear."""
    coarse = phi.coarser(phi.coarse_ratio)
    first, clear = rules.first_of_arc(state, arc.n_coefficients // arc.coarse_ratio, phi.n_measurements)
    return first * coarse.spacing_samples + coarse.first_tap_samples, clear


def _outside(part: Part, phi: Any) -> Tensor:
    """(n,) bool: whether more is left on the rest of the circle than noise leaves there."""
    arc, posterior = part.phi, part.recovery.posterior
    assert isinstance(posterior, JointPosterior)
    n, looks, y, noise = phi.n_coefficients, 1.0, part.y, posterior.noise_variance
    if isinstance(posterior, MovingPosterior):
        arc = arc.with_weights(posterior.weights)
        looks = arc.looks.to(posterior.variances)
        y, noise = arc.arranged(arc.turned_back(y, posterior.turn)), arc.of_symbol(noise) * arc.unit
    circle = arc.widened(n)
    g = torch.nn.functional.pad(posterior.variances, (0, n - arc.n_coefficients))
    moments = circle.joint_moments(y, g, noise, reach=0)
    rest = slice(arc.n_coefficients, None)
    loudest = (moments.q2[:, rest] / moments.d[:, rest].clamp_min(1e-12)).amax(-1)
    r = torch.full_like(loudest, y.shape[-2]) * looks
    cells = (n - arc.n_coefficients) * arc.spacing_samples / arc.resolution_samples
    chance = torch.special.gammaincc(r, loudest * r)
    return chance * cells < rules.FALSE_ALARMS


def _around(phi: Any) -> Tensor:
    """(M,) complex128: what a tap that is moved around the circle once is multiplied by, as the pilots see it.

    1 where the circle is the whole symbol, alike for all pilots of a comb, of one value in each run of two that are.
    """
    turn = phi.subcarriers.double() * (phi.n_coefficients * phi.spacing_samples / phi.n_fft)
    return torch.polar(torch.ones_like(turn), -2 * torch.pi * turn)


def _places(part: Part, phi: Any) -> tuple[Tensor, Tensor]:
    """(n, taps of the arc) which tap of the circle each is, and how many times around it."""
    assert part.turned_samples is not None
    arc, n = part.phi, phi.n_coefficients
    first = (part.turned_samples + arc.first_tap_samples - phi.first_tap_samples) / phi.spacing_samples
    at = first.round().long().unsqueeze(-1) + torch.arange(arc.n_coefficients, device=first.device)
    return at % n, at.div(n, rounding_mode="floor")


def _unplaceable(part: Part, phi: Any) -> Tensor:
    """(n,) bool: whether a tap that is alive would go around a circle of which the pilots do not all see the same."""
    posterior = part.recovery.posterior
    assert isinstance(posterior, JointPosterior)
    around = _around(phi)
    if bool(((around - around[0]).abs() < 1e-6).all()):
        return torch.zeros(len(part.rows), dtype=torch.bool, device=part.rows.device)
    return ((posterior.variances > 0) & (_places(part, phi)[1] != 0)).any(-1)


def _placed(part: Part, phi: Any) -> Recovery:
    """What was recovered on an arc, on the circle."""
    recovery, n = part.recovery, phi.n_coefficients
    at, times = _places(part, phi)
    turns = _around(phi)[0] ** times

    def placed(values: Tensor) -> Tensor:
        shape = len(at), *(1,) * (values.ndim - 2), -1
        if values.is_complex():
            values = values * turns.to(values.dtype).view(shape)
        return values.new_zeros(*values.shape[:-1], n).scatter(-1, at.view(shape).expand(values.shape), values)

    posterior = recovery.posterior
    assert isinstance(posterior, JointPosterior)
    return replace(
        recovery,
        x=placed(recovery.x),
        iterates=tuple(map(placed, recovery.iterates)),
        posterior=replace(posterior, variances=placed(posterior.variances)),
    )


def _precisely(algorithm: CircleNASBL, part: Part, n_iterations: int | None, record: bool) -> Recovery:
    """What the algorithm recovers; in double precision where the noise is told so low that single loses its way."""
    y, noise = part.y, part.noise

    def run(some: Any, dtype: torch.dtype) -> Recovery:
        own = [None if v is None else v[some].to(dtype.to_real()) for v in (noise, part.ratio)]
        at = part.phi if dtype == part.phi.dtype else part.phi.to(dtype)
        rows = y[some].to(dtype)
        return converted(algorithm, rows)(
            rows, at, n_iterations, record, noise_variance=own[0], snapshots=True, noise_ratio=own[1]
        )

    if noise is None or y.dtype == torch.complex128:
        return run(slice(None), y.dtype)
    lowest = noise if noise.ndim == 1 else noise.amin(-1)
    exact = lowest * y.shape[-1] < SINGLE_ENOUGH
    if not bool(exact.any()):
        return run(slice(None), y.dtype)
    if bool(exact.all()):
        return run(slice(None), torch.complex128).to(y.dtype)
    order = torch.cat([exact.nonzero(), (~exact).nonzero()]).squeeze(-1).argsort()
    return run(exact, torch.complex128).to(y.dtype).followed_by(run(~exact, y.dtype), order)
