"""The rules of NA-SBL for any receiver: what its perceptrons read, and how their answers correct EM.

In the arrays of any namespace.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..kernels.constants import EXPLAINED_MARGIN, LARGEST_EXPONENT, REFERENCE_PILOTS
from ..operators import JointMoments
from . import namespace
from .namespace import Array, Namespace
from .noise import CEILING, FLOOR

RATIO = 4  # of the two spacings of taps
COARSE_NEIGHBOURS, FINE_NEIGHBOURS = (-2, -1, 0, 1, 2), (-4, -2, -1, 0, 1, 2, 4)
N_OWN, N_SHARED, N_PILOT = 4, 14, 10
ALIVE, KEPT = 0.01, 0.003  # g/s of a tap that the fine grid starts with, or keeps
SMALLEST, LARGEST = 7.5e-7, 4.0  # of g, the first over M
RESOLVED_MARGIN = 1e-5
OUTLYING = 10.0  # a factor on a pilot's noise from which all updates run once more, with it from the start
ABUNDANT = 300  # pilots, above which factors count only from where one is as large as that
MOST_NOISE = 1e6  # over M: of a pilot that says nothing
SILENT = 1e3  # noise over the level: of pilots that are not to be trusted
UNKNOWN_NOISE = 0.1  # of the power, where nothing is told
LOUDEST = 0.35  # noise over the power, up to which an arc of the circle is believed
OUTSIDE = 0.02  # of the energy, at most, outside of one that is
BEFORE, LEAST_BEFORE, MOST_BEFORE = 0.1, 1e-4, 0.05  # of the noise, energy before what counts as the first path
FALSE_ALARMS = 0.01  # of a path that noise pretends outside of an arc


@dataclass(frozen=True)
class State:
    """Where the iterations are.

    Attributes:
        g: (B, N) tap variances; 0 where a tap is dead.
        s: (B,) noise level.
        outlier: (B, M) factors of 1 and more on the noise of single pilots.
        relative: (B, M) told noise of a pilot over the level.
    """

    g: Array
    s: Array
    outlier: Array
    relative: Array

    @property
    def noise(self) -> Array:
        """(B, M)."""
        return self.s[..., None] * self.relative * self.outlier


@dataclass(frozen=True)
class Setting:
    """What all groups of a batch have in common; numbers, some of them arrays where a graph knows them late.

    Attributes:
        n_pilots, n_taps, n_snapshots, n_layers: M, N, R, L.
        per_cell: spacing of the taps over what the pilots resolve.
        window_told: whether the place of a tap counts.
        known: whether the noise variance was told.
        deficit: log rank deficit of the pilots.
        looks: how many independent ones a snapshot amounts to, where it is of several symbols of a channel that moves,
            a number or (B,).
        share: of the pilots, that one look has.
    """

    n_pilots: Array
    n_taps: Array
    n_snapshots: int
    n_layers: int
    per_cell: Array
    window_told: bool
    known: bool
    deficit: Array
    looks: Array = 1.0
    share: Array = 1.0


@dataclass(frozen=True)
class Read:
    """What an update goes by.

    Attributes:
        shared: (B, 14) features of a group, which the perceptron of the noise reads.
        pilots: (B, M, 10), what that of the pilots reads.
        taps: (B, N, 4) features of a tap itself.
        em_level: (B,) the noise level by EM.
        kappa: (B,) mean of 1/noise of the pilots of one look.
        surprise: (B, M) leave-one-out residuals over what is expected of them.
    """

    shared: Array
    pilots: Array
    taps: Array
    em_level: Array
    kappa: Array
    surprise: Array


def start(
    power: Array,
    told: Array | None,
    ratio: Array | None,
    n_pilots: Array,
    n_taps: Array,
    n_snapshots: int,
    xp: Namespace = namespace,
) -> State:
    """Variances alike on all taps; the noise as told, or a share of the power that outliers do not raise.

    Args:
        power: (B, M), mean of |y|^2 over the snapshots.
        told: (B, M) noise variances, or None.
        ratio: (B, M) noise of a pilot over a level that was not told, or None where all are alike.
        n_pilots, n_taps, n_snapshots: M, N of the coarse grid, R.
    """
    level, relative = None, xp.full_like(power, 1.0) if ratio is None else ratio
    if told is not None:
        told = xp.clip(told, FLOOR / n_pilots, MOST_NOISE / n_pilots)
        level = 1 / xp.mean(1 / told, -1)
        relative = told / level[..., None]
    trusted = relative < SILENT
    robust = xp.median_where(power, trusted) / (1 - 1 / (9 * n_snapshots)) ** 3
    weight = xp.astype(trusted, power.dtype)
    mean = xp.sum(power * weight, -1) / xp.clip(xp.sum(weight, -1), 1.0)
    heard = xp.clip(xp.where(robust < mean, robust, mean), 1e-12)
    s = xp.clip(UNKNOWN_NOISE * heard if level is None else level, FLOOR / n_pilots, CEILING / n_pilots)
    total = xp.maximum(n_pilots * (heard - s), 0.1 * n_pilots * heard)
    g = xp.rows((total / xp.full_like(total, n_taps))[..., None], n_taps)[..., 0]
    return State(g, s, xp.full_like(relative, 1.0), relative)


def read(m: JointMoments, state: State, setting: Setting, xp: Namespace = namespace) -> Read:
    """Features of taps, pilots and groups, from the moments for a state."""
    g, s, relative, outlier, noise = state.g, state.s, state.relative, state.outlier, state.noise
    trusted = xp.astype(relative < SILENT, s.dtype)
    heard = xp.clip(xp.sum(trusted, -1), 1.0)
    own = heard * setting.share  # pilots of one look, which has features of its own size
    kappa, total = xp.mean(1 / noise, -1) / setting.looks, xp.sum(g, -1)
    d = xp.clip(m.d, 1e-12)
    em_noise = xp.clip(noise * (1 + noise * (m.surprise - m.information)), 1e-12)
    em_level = xp.sum(em_noise / (relative * outlier) * trusted, -1) / heard
    explained = xp.clip(xp.sum(g * m.d, -1) / own, EXPLAINED_MARGIN, 1 - EXPLAINED_MARGIN)
    effective = xp.square(total) / xp.clip(xp.sum(xp.square(g), -1), 1e-20) * setting.per_cell
    of_all = (
        xp.log(xp.clip(m.fit * setting.n_pilots / heard, 1e-12)) / 3,
        xp.log(em_level / s) / 3,
        xp.log(own / REFERENCE_PILOTS),
        xp.full_like(s, float(setting.known)),
        xp.logit(explained) / 6,
        xp.full_like(s, setting.deficit),
        xp.log(xp.full_like(s, setting.n_snapshots * setting.looks)) / 3,
        xp.log(xp.clip(kappa * total, 1e-6)) / 6,
        xp.full_like(s, xp.log(setting.per_cell) + 1.75),
        xp.log(own / (xp.full_like(s, setting.n_taps) * setting.per_cell)) / 2,
        xp.log(xp.clip(effective, 1e-3)) / 4,
        xp.full_like(s, float(setting.n_layers - 1)),
        xp.mean(xp.log(outlier), -1),
        xp.full_like(s, float(setting.window_told)),
    )
    shared = xp.stack(of_all, -1)
    # a pilot's leave-one-out residual w/C^-1_mm has the variance 1/C^-1_mm, of which the noise is a part
    t = xp.clip(m.surprise / m.information, 1e-6)
    of_pilots = (
        xp.log(t) / 3,
        xp.clip(t / _usual(setting), 0.0, 50.0),
        xp.log(xp.clip(noise * m.information, 1e-6, 1.0)) / 3,
        xp.log(outlier) / 3,
        *(xp.full_like(t, shared[..., i][..., None]) for i in (0, 2, 3, 4)),
        xp.full_like(t, math.log(setting.n_snapshots) / 3),
        xp.full_like(t, shared[..., 7][..., None]),
    )
    of_taps = (
        xp.log(xp.clip(m.q2, 1e-20) / d) / 3,
        xp.logit(xp.clip(g * d, RESOLVED_MARGIN, 1 - RESOLVED_MARGIN)) / 6,
        xp.log(xp.clip(g * kappa[..., None], 1e-6)) / 6,
        xp.log(xp.clip(d / kappa[..., None], 1e-6)) / 6,
    )
    return Read(shared, xp.stack(of_pilots, -1), xp.stack(of_taps, -1), em_level, kappa, t)


def new_level(found: Read, state: State, setting: Setting, f: Array, xp: Namespace = namespace) -> Array:
    """The noise level, (B,): as told, or by EM, times exp(2 f)."""
    level = (state.s if setting.known else found.em_level) * factor(f, xp)
    return xp.clip(level, FLOOR / setting.n_pilots, CEILING / setting.n_pilots)


def new_outliers(
    found: Read, m: JointMoments, state: State, setting: Setting, level: Array, f: Array, xp: Namespace = namespace
) -> Array:
    """Factors on the noise of pilots, (B, M), which f lets rise to what the residuals say."""
    t = found.surprise
    gate = xp.sigmoid(4 * (xp.log(t) - math.log(_usual(setting))) + 4 * f)
    alone = ((t - 1) / m.information + state.noise) / (state.relative * level[..., None])
    return 1 + gate * xp.clip(alone - 1, 0.0, MOST_NOISE)


def unless_calm(outlier: Array, before: Array, n_pilots: Array, xp: Namespace = namespace) -> Array:
    """(B, M) factors on the noise of abundant pilots, 1 as long as none of a group is outlying, nor was ``before``.

    Among so many, chance alone makes some pilots look noisier than the others, and what that is worth is lost on
    matrices that are no longer real.
    """
    calm = (xp.max(outlier, -1) < OUTLYING) & (xp.max(before, -1) <= 1) & (n_pilots > ABUNDANT)
    return xp.where(calm[..., None], xp.full_like(outlier, 1.0), outlier)


def em_variances(m: JointMoments, g: Array, xp: Namespace = namespace) -> Array:
    """g^2 mean|q|^2 + g (1 - g d), (B, N)."""
    return g * g * m.q2 + g * xp.clip(1 - g * xp.clip(m.d, 1e-12), 0.0)


def coarse_variances(em: Array, f: Array, setting: Setting, xp: Namespace = namespace) -> Array:
    """EM times exp(2 f), (B, N)."""
    return xp.clip(em * factor(f, xp), SMALLEST / setting.n_pilots, LARGEST)


def fine_variances(em: Array, kappa: Array, f: Array, xp: Namespace = namespace) -> Array:
    """EM times exp(2 f), 0 where that lies far below the noise; ``kappa`` is broadcast against ``em``."""
    value = xp.clip(em * factor(f, xp), 0.0, LARGEST)
    return xp.where(value * kappa > KEPT, value, xp.full_like(value, 0.0))


def refined(state: State, n_layers: int, ratio: int = RATIO, looks: Array = 1.0, xp: Namespace = namespace) -> Array:
    """The variances on a finer grid, (B, ratio N), linear between the taps; dead far below the noise of one look."""
    g = xp.unflatten(state.g, (n_layers, -1))
    after = xp.roll(g, -1, -1)
    parts = xp.linspace(0, 1 - 1 / ratio, ratio, g)
    between = (g[..., None] * (1 - parts) + after[..., None] * parts) / ratio
    fine = xp.reshape(between, (-1, ratio * xp.shape(state.g)[-1]))
    kappa = (xp.mean(1 / state.noise, -1) / looks)[..., None]
    alive = (fine * kappa > ALIVE) | (fine >= xp.max(fine, -1)[..., None])
    return xp.where(alive, fine, xp.full_like(fine, 0.0))


def beside(taps: Array, neighbours: Sequence[int], xp: Namespace = namespace) -> Array:
    """Features of taps and of their neighbours round the circle: (..., n, F) -> (..., n, F len(neighbours))."""
    return xp.concat([xp.roll(taps, -offset, -2) for offset in neighbours], -1)


def first_of_arc(state: State, n_arc: Array, n_pilots: Array, xp: Namespace = namespace) -> tuple[Array, Array]:
    """The first path on the arc of the circle that holds the channel, a tap counted from 0 in float64, and whether the
    arc is clear, (B,) both.

    Of the arcs with the energy, but for what noise may put before a path, the last one begins there.

    Args:
        state: on the coarse grid of a circle of one layer.
        n_arc: taps of an arc.
        n_pilots: M.
    """
    g = xp.double(state.g)
    n = xp.shape(g)[-1]
    sums = xp.cumsum(xp.concat([xp.full_like(g[..., :1], 0.0), g, g], -1), -1)
    energy = sums[..., n_arc : n_arc + n] - sums[..., :n]  # of the arcs from every tap on
    most, whole = xp.max(energy, -1), xp.sum(g, -1)
    noise = n_pilots / xp.mean(1 / xp.double(state.noise), -1)
    least = (1 - xp.clip(BEFORE * noise, LEAST_BEFORE, MOST_BEFORE)) * most
    best, count = xp.double(xp.argmax(energy, -1)), xp.full_like(most, n)
    onward = xp.arange(n, g) - best[..., None]
    onward = xp.where(onward < 0, onward + count[..., None], onward)
    steps = xp.min(xp.where(energy < least[..., None], onward, count[..., None]), -1) - 1
    first = best + steps
    return xp.where(first >= count, first - count, first), (noise <= LOUDEST) & (most >= (1 - OUTSIDE) * whole)


def places(n: Array, setting: Setting, like: Array, xp: Namespace = namespace) -> Array:
    """-1...1 along the taps of a window; 0 on a circle: (n,)."""
    return xp.linspace(-1, 1, n, like) * float(setting.window_told)


def factor(f: Array, xp: Namespace = namespace) -> Array:
    """exp(2 f), kept where float32 and its gradient stay finite."""
    return xp.exp(xp.clip(2 * f, -LARGEST_EXPONENT, LARGEST_EXPONENT))


def _usual(setting: Setting) -> float:
    """The surprise that an outlier exceeds."""
    return 1 + 6 / math.sqrt(setting.n_snapshots)
