"""NA-SBL for any receiver on the circle of delays: first the arc that holds the channel, then that as a told window.

A network looks at some hundred delays more closely than at thousands. Where the pilots show clearly enough on which arc
of the circle the energy lies, they are turned so that the first path has delay 0, and the arc is taken for a window
that was told; a group in which something is left outside of its arc, or that is weak, is sought on the whole circle.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..algorithms import CircleNASBL, JointPosterior, Recovery
from ..algorithms import na_sbl_circle_rules as rules
from ..algorithms.na_sbl_circle_rules import RATIO
from ..operators import PartialDFT
from ..problems import DelayGrid, PilotPattern, delay_grid
from .groups import Groups
from .precision import converted

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
    arc: PartialDFT | None,
    n_iterations: int | None = None,
    record: bool = False,
) -> list[Part]:
    """What an algorithm recovers of groups of snapshots, those on an arc of the circle first.

    Args:
        algorithm: of any precision and device.
        groups: the observations.
        phi: of the whole circle, or of a window that was told.
        arc: of the window that an arc is taken for, see :func:`arc_of`; None to take none.
        n_iterations, record: as of the algorithm.
    """
    rows = torch.arange(len(groups.y), device=groups.y.device)
    whole = Part(rows, groups.y, groups.noise, groups.ratio, phi, Recovery(groups.y))

    def run(part: Part) -> Part:
        return replace(part, recovery=_precisely(algorithm, part, n_iterations, record))

    if arc is None:
        return [run(whole)]
    with torch.no_grad():
        first, clear = _first_delays(algorithm, whole, arc)
    parts = []
    if bool(clear.any()):
        turned = run(_turned(_some(whole, clear), first[clear], arc))
        with torch.no_grad():
            found = ~_outside(turned, phi)
        clear = clear.clone()
        clear[turned.rows[~found]] = False
        if bool(found.any()):
            parts.append(turned if bool(found.all()) else _some(turned, found))
    if not bool(clear.all()):
        parts.append(run(_some(whole, ~clear)))
    return parts


def arc_of(circle: DelayGrid, pattern: PilotPattern, window_samples: tuple[float, float]) -> DelayGrid | None:
    """The delays of an arc of a circle, as a window that was told; None where it does not pay to look for one.

    It pays where the pilots tell all delays of the symbol apart, and the arc is much shorter.

    Args:
        circle: all delays.
        pattern: the pilots.
        window_samples: first and last delay of a channel whose first path has delay 0.

    >>> from chanest.problems import delay_grid
    >>> random, comb = PilotPattern.random(75, seed=0), PilotPattern.comb(6)
    >>> [arc_of(delay_grid(pattern), pattern, (-8, 264)) is None for pattern in (random, comb)]
    [False, True]
    """
    length = circle.n_taps * circle.spacing_samples
    if circle.window_told or length < pattern.n_fft:
        return None
    arc = delay_grid(pattern, window_samples)
    return arc if arc.n_taps * arc.spacing_samples <= LONGEST * length else None


def on_circle(parts: list[Part], phi: Any) -> Recovery:
    """What was recovered of all groups, in their order, on the delays of ``phi``."""
    made = [
        part.recovery if part.turned_samples is None else _placed(part.recovery, part.phi, phi, part.turned_samples)
        for part in parts
    ]
    return made[0] if len(parts) == 1 else made[0].followed_by(made[1], _order(parts))


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


def _first_delays(algorithm: CircleNASBL, part: Part, arc: PartialDFT) -> tuple[Tensor, Tensor]:
    """(n,) delay of the first path on the best arc, from the coarse iterations, and whether that is clear."""
    state = converted(algorithm, part.y).coarsely(part.y, part.phi, part.noise, part.ratio)
    coarse = part.phi.coarser(RATIO)
    first, clear = rules.first_of_arc(state, arc.n_coefficients // RATIO, arc.n_measurements)
    return first * coarse.spacing_samples + coarse.first_tap_samples, clear


def _outside(part: Part, phi: PartialDFT) -> Tensor:
    """(n,) bool: whether more is left on the rest of the circle than noise leaves there."""
    arc, posterior = part.phi, part.recovery.posterior
    assert isinstance(posterior, JointPosterior)
    n = phi.n_coefficients
    circle = PartialDFT(
        arc.subcarriers, n, arc.first_tap_samples, arc.n_fft, arc.dtype, arc.device, arc.spacing_samples
    )
    g = torch.nn.functional.pad(posterior.variances, (0, n - arc.n_coefficients))
    moments = circle.joint_moments(part.y, g, posterior.noise_variance)
    rest = slice(arc.n_coefficients, None)
    r = part.y.shape[-2]
    loudest = (moments.q2[:, rest] / moments.d[:, rest].clamp_min(1e-12)).amax(-1) * r
    cells = (n - arc.n_coefficients) * arc.spacing_samples / arc.resolution_samples
    chance = torch.special.gammaincc(torch.full_like(loudest, r), loudest)
    return chance * cells < rules.FALSE_ALARMS


def _placed(recovery: Recovery, arc: PartialDFT, phi: PartialDFT, turned: Tensor) -> Recovery:
    """What was recovered on an arc, on the circle."""
    spacing, n = phi.spacing_samples, phi.n_coefficients
    at = ((turned + arc.first_tap_samples - phi.first_tap_samples) / spacing).round().long().unsqueeze(-1)
    at = (at + torch.arange(arc.n_coefficients, device=at.device)) % n

    def placed(values: Tensor) -> Tensor:
        index = at.view(len(at), *(1,) * (values.ndim - 2), -1).expand(values.shape)
        return values.new_zeros(*values.shape[:-1], n).scatter(-1, index, values)

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
