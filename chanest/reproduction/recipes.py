"""How a point of the paper's figures is made and trained, and which one its training starts from."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..algorithms import ALGORITHMS, Algorithm
from ..problems import Problem, load_scenario
from .points import KEY, NMSE_FIGURES, Point, panels

_CURVES = ("n_taps", "snr_db")  # what may differ between a point and its start, beside K


@dataclass(frozen=True)
class Recipe:
    """How an algorithm is trained for a point.

    Attributes:
        learning_rate: Adam's peak rate.
        steps, batch_size: of a point that starts anew.
        further: steps and batch size of one that starts from a neighbour's model; as anew where not given.
        beside: steps and batch size of one that starts from a model of another N; as further where not given.
        trunk: the K of a curve that is trained first; the others follow by distance from it, each from its neighbour.
            A curve of scalars begins at its smallest K. An LSTM made for few iterations is no better than a new one;
            one made for 16 serves fewer as well as more.
        snr_groups: parts of a batch whose losses are averaged; in a single one a rare target that diverges counts in
            full, as it does in the test.
        most_per_coefficient: bounds the rate by so much times N: where N is small, and ALISTA converges fast.
    """

    learning_rate: float
    steps: int
    batch_size: int = 512
    further: tuple[int, int] | None = None
    beside: tuple[int, int] | None = None
    trunk: int = 1
    snr_groups: int = 8
    most_per_coefficient: float = math.inf


_FURTHER, _BESIDE = (120, 128), (180, 256)  # of the synthetic setting
_DENSER = 1.4
_SCALARS = Recipe(5e-2, 300, 128, _FURTHER, _BESIDE, snr_groups=1, most_per_coefficient=5e-5)
_SYNTHETIC = {
    "alista": _SCALARS,
    "alista-at": replace(_SCALARS, learning_rate=2e-2),
    "aglista": replace(_SCALARS, snr_groups=8),
    "na-alista": Recipe(2e-3, 1500, 128, _FURTHER, trunk=16, snr_groups=1),
    "na-alista-mlp": Recipe(2e-3, 1500, 128, _FURTHER, trunk=16, snr_groups=1),
    "na-alista-rnn": Recipe(1e-3, 1500, 128, _FURTHER, trunk=16, snr_groups=1),
}
RECIPES: dict[str, Mapping[str, Recipe]] = {  # by setting, or by setting and SNR where they differ
    "ofdm": {
        "alista": Recipe(3e-2, 100),
        "alista-at": Recipe(2e-2, 120, snr_groups=1),
        "aglista": Recipe(1e-2, 120),
        "na-alista": Recipe(3e-3, 300, trunk=16),
    },
    "synthetic": _SYNTHETIC,
    "synthetic-20db": {**_SYNTHETIC, "aglista": replace(_SCALARS, learning_rate=2e-2)},
}


def recipe_of(point: Point) -> Recipe:
    """How the point's algorithm is trained in its setting.

    >>> recipe_of(Point("synthetic", "na-alista", n_iterations=4)).trunk
    16
    """
    return RECIPES.get(f"{point.setting}-{point.snr_db}db", RECIPES[point.setting])[point.algorithm]


def rate_of(point: Point) -> float:
    """The peak of Adam's rate.

    >>> [rate_of(Point("synthetic", "alista", n_taps=n)) for n in (500, 1000, 2000)]
    [0.025, 0.05, 0.05]
    """
    recipe = recipe_of(point)
    return min(recipe.learning_rate, recipe.most_per_coefficient * point.n_taps)


def full_training(point: Point, start: Point | None) -> tuple[int, int]:
    """Steps and batch size of a point's full training, from the model of ``start`` or anew.

    A new LSTM for K < 8 learns late and gets (8/K)^2 times the steps. From another N the way is longer: for every
    factor of two four more times the steps, of scalars as many again.

    >>> ofdm = Point("ofdm", "na-alista", n_iterations=4)
    >>> full_training(ofdm, None), full_training(Point("synthetic", "alista"), Point("synthetic", "alista", n_taps=500))
    ((1200, 512), (360, 256))
    """
    recipe = recipe_of(point)
    if start is None:
        longer = min(8.0, max(1.0, 8 / point.n_iterations) ** 2) if recipe.trunk > 1 else 1.0
        return round(recipe.steps * longer), recipe.batch_size
    beside = recipe.beside if point.n_taps != start.n_taps else None
    steps, batch_size = beside or recipe.further or (recipe.steps, recipe.batch_size)
    more = 4 if recipe.trunk > 1 else 1
    return round(steps * (1 + more * abs(math.log2(point.n_taps / start.n_taps)))), batch_size


def scenario_of(point: Point) -> Problem:
    """The scenario of a point: ``lte10-reference``, as published, or ``synthetic``.

    >>> training = scenario_of(Point("synthetic", "alista", snr_db=20)).training
    >>> training.snr_db, training.denser
    ((20.0, 20.0), 1.4)
    """
    return _SETTINGS[point.setting][0](point)


def _published_scenario(point: Point) -> Problem:
    return load_scenario("lte10-reference").replace(n_pilots=point.n_pilots, snr_db=point.snr_db)


def _synthetic_scenario(point: Point) -> Problem:
    """Scalars see denser vectors in training, lest they diverge on them: one in a thousand can spoil an NMSE."""
    scenario = load_scenario("synthetic")
    scalars = ALGORITHMS[point.algorithm].learned and recipe_of(point).trunk == 1
    denser = _DENSER if scalars else 1.0
    training = {**scenario.training.model_dump(), "snr_db": (point.snr_db, point.snr_db), "denser": denser}
    sizes = {"n_measurements": point.n_pilots, "n_coefficients": point.n_taps, "sparsity": point.sparsity}
    return scenario.replace(**sizes, snr_db=point.snr_db, training=training)


def made(point: Point) -> Algorithm:
    """The untrained algorithm of a point.

    >>> made(Point("synthetic", "na-alista", lstm_inputs="u", lstm_hidden=32)).hyperparameters["lstm_hidden"]
    32
    """
    settings: dict[str, Any] = {"n_iterations": point.n_iterations, "sparsity": float(point.sparsity)}
    settings |= _SETTINGS[point.setting][1](point)
    if point.algorithm.startswith("na-alista"):
        settings |= {"lstm_inputs": point.lstm_inputs, "lstm_hidden": point.lstm_hidden}
    return ALGORITHMS[point.algorithm](**settings)


def ridge_of(point: Point) -> float:
    """The ridge of W in the synthetic setting.

    W without one whitens the noise too. That costs where Phi Phi^T has small eigenvalues or the noise is strong, once
    there are iterations enough to come down to it. (The published W is regularised likewise at N = 500, where its
    decaying steps stop long before the end.)

    >>> [ridge_of(Point("synthetic", "alista", n_taps=n, snr_db=snr)) for n, snr in ((500, 40), (1000, 40), (1000, 20))]
    [0.1, 1e-06, 0.3]
    """
    noisy = point.snr_db < 30
    enough = point.n_taps / (128 if point.algorithm.startswith("na-alista") else 64)
    if point.n_iterations < enough or (point.n_taps >= 1000 and not noisy):
        return 1e-6
    return (1.0 if point.n_taps < 1000 else 0.3) if noisy else 0.1


_SETTINGS: dict[str, tuple[Callable[[Point], Problem], Callable[[Point], dict[str, Any]]]] = {  # + hyperparameters
    "ofdm": (_published_scenario, lambda point: {"schedule": "published"}),
    "synthetic": (_synthetic_scenario, lambda point: {"schedule": "synthetic", "ridge": ridge_of(point)}),
}


def ordered(
    points: Sequence[Point], known: Callable[[Point], bool] = lambda point: False
) -> list[tuple[Point, Point | None]]:
    """Points without repetition, each with the one whose model its training starts from: before it here, or known.

    A curve begins at its recipe's trunk and goes on by neighbours. Of the synthetic setting the curves of 40 dB come
    first, N = 1000 before the others; the beginning of a curve starts from the same K of the nearest curve before it,
    and so do scalars of every K.

    Args:
        points: wanted.
        known: whether there is a model already of a point of the paper that is not among them.

    >>> chain = ordered([Point("ofdm", "alista", n_iterations=k) for k in (4, 1, 2)])
    >>> [(point.n_iterations, start and start.n_iterations) for point, start in chain]
    [(1, None), (2, 1), (4, 2)]
    >>> chain = ordered([Point("synthetic", "alista", n_taps=n, snr_db=snr) for n in (500, 1000) for snr in (20, 40)])
    >>> [(point.n_taps, point.snr_db, start and (start.n_taps, start.snr_db)) for point, start in chain]
    [(1000, 40, None), (500, 40, (1000, 40)), (1000, 20, (1000, 40)), (500, 20, (1000, 20))]
    """
    wanted = set(points)
    every = {point for figure in NMSE_FIGURES for panel in panels(figure) for point in panel.points}
    chain: list[tuple[Point, Point | None]] = []
    before: dict[tuple[str, ...], list[Point]] = {}
    for point in sorted({*wanted, *filter(known, every - wanted)}, key=_place):
        relatives = before.setdefault(_family(point), [])
        if point in wanted:
            chain.append((point, _start(point, relatives)))
        if ALGORITHMS[point.algorithm].learned:
            relatives.append(point)
    return chain


def _start(point: Point, relatives: Sequence[Point]) -> Point | None:
    """A neighbour on the point's curve, or else the point's like on the nearest curve.

    Scalars of another N begin from their like of the same SNR: grown in K there, one vector in a thousand diverged.
    """
    if not relatives:
        return None
    trunk = recipe_of(point).trunk
    curve = [other for other in relatives if other.key[:-1] == point.key[:-1]]
    # for one iteration there is nothing to be had from another curve
    like = [other for other in relatives if other.n_iterations == point.n_iterations > 1]
    beside = [other for other in like if other.snr_db == point.snr_db]
    if trunk == 1 and beside:
        near = beside
    elif curve:  # an LSTM made for few iterations serves no more
        near = [other for other in curve if other.n_iterations >= min(point.n_iterations, trunk)]
    else:
        near = like
    return min(near, key=lambda other: _distance(point, other), default=None)


def named_start(point: Point, start: Point) -> str:
    """What the CSV says of a start: its K, and what else is not the point's.

    >>> named_start(Point("synthetic", "alista", n_iterations=4), Point("synthetic", "alista", n_iterations=2))
    '2'
    >>> named_start(Point("synthetic", "alista", n_taps=500), Point("synthetic", "alista", snr_db=20))
    '16 of n_taps=1000 snr_db=20'
    """
    others = [f"{name}={getattr(start, name)}" for name in _CURVES if getattr(start, name) != getattr(point, name)]
    return str(start.n_iterations) + (f" of {' '.join(others)}" if others else "")


def _family(point: Point) -> tuple[str, ...]:
    """What a point and its start have in common."""
    return tuple(value for name, value in zip(KEY, point.key, strict=True) if name not in (*_CURVES, "n_iterations"))


def _place(point: Point) -> tuple[object, ...]:
    """By which points are sorted: families, curves, and from the trunk of a curve to its ends."""
    trunk = recipe_of(point).trunk if ALGORITHMS[point.algorithm].learned else 1
    variant = point.lstm_inputs not in ("", "r,u")  # the paper's default comes first
    size = abs(math.log(point.n_taps / 1000))
    curve = (variant, *_family(point), -point.snr_db, size, point.n_taps)
    return (*curve, abs(point.n_iterations - trunk), -point.n_iterations)


def _distance(point: Point, other: Point) -> tuple[float, float, float]:
    """How far a start is: first in N, then in SNR, then in K."""
    size = abs(math.log(point.n_taps / other.n_taps))
    return size, abs(point.snr_db - other.snr_db), abs(point.n_iterations - other.n_iterations)
