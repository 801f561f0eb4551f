"""Points of the paper's figures, measured by our own runs: trained, cached by content, and tested."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..algorithms import ALGORITHMS, Algorithm
from ..estimator import Model
from ..metrics import ErrorSums
from ..modelfile import read_model
from ..picking import pick_model
from ..pilots import draw_pattern
from ..scenario import AnyScenario, SyntheticScenario, load_any_scenario
from ..signals import simulate
from ..training import TrainingSettings, train
from ..trainingdata import training_lesson
from ..vectors import draw_matrix, simulate_vectors
from .points import KEY, Point

COLUMNS = (
    *KEY,
    "nmse_db",
    "steps",
    "batch_size",
    "learning_rate",
    "warm_start",
    "seconds",
    "n_samples",
    "seed",
    "device",
    "chanest_version",
)
FEWEST_STEPS = 20
_EPOCH = 50_000  # samples
_CONTENT = 1  # raised when training itself changes, so that no model of before is taken for a new one


@dataclass(frozen=True)
class Recipe:
    """How an algorithm is trained for a point: Adam's peak rate, the steps of a full training, where it begins.

    ``grown_from``: a point begins at the next smaller K of its curve, if that is at least this. An LSTM made for few
    iterations is no better than a new one; one made for 16 is. A new one for K < 8 gets (8/K)^2 times the steps, at
    most eight times: it learns late. ``snr_groups``: parts of a batch whose losses are averaged; in a single one a
    rare target that diverges counts in full, as it does in the test.
    """

    learning_rate: float
    steps: int
    batch_size: int = 512
    grown_from: int = 1
    snr_groups: int = 8

    def full_steps(self, n_iterations: int) -> int:
        """The steps of a full training for K iterations.

        >>> Recipe(3e-3, 300, grown_from=16).full_steps(2), Recipe(3e-2, 100).full_steps(2)
        (2400, 100)
        """
        longer = min(8.0, max(1.0, 8 / n_iterations) ** 2)
        return self.steps if self.grown_from == 1 else round(self.steps * longer)


RECIPES: dict[str, Mapping[str, Recipe]] = {
    "ofdm": {
        "alista": Recipe(3e-2, 100),
        "alista-at": Recipe(2e-2, 120, snr_groups=1),
        "aglista": Recipe(1e-2, 120),
        "na-alista": Recipe(3e-3, 300, grown_from=16),
    },
    "synthetic": {
        "alista": Recipe(2e-2, 600),
        "alista-at": Recipe(2e-2, 600),
        "aglista": Recipe(1e-2, 600),
        "na-alista": Recipe(2e-3, 1500, grown_from=16),
        "na-alista-mlp": Recipe(2e-3, 1500, grown_from=16),
        "na-alista-rnn": Recipe(1e-3, 1500, grown_from=16),
    },
}


@dataclass(frozen=True)
class Bench:
    """Where and how points are measured.

    Attributes:
        cache: folder of trained models, by content.
        device: where to train and test.
        n_samples: of the test set.
        seed: of the matrix or pilot pattern, of training and of the test set.
        progress: called with (point, steps done, steps in all, NMSE of the batch in dB).
    """

    cache: Path
    device: torch.device
    n_samples: int = 10_000
    seed: int = 0
    progress: Callable[[Point, int, int, float], None] | None = None

    def measure(self, point: Point, start: Point | None = None, seconds: float = math.inf) -> dict[str, object]:
        """A row of :data:`COLUMNS`.

        Args:
            point: what to measure.
            start: a point of the same curve with fewer iterations, measured before: its model is the warm start.
            seconds: what its training may take; it gets fewer steps than its recipe says where they would take
                longer.

        Raises:
            TrainingError: training went wrong.

        >>> import tempfile
        >>> bench = Bench(Path(tempfile.mkdtemp()), torch.device("cpu"), n_samples=64)
        >>> row = bench.measure(Point("ofdm", "fista", n_taps=256, n_pilots=75, sparsity=8, snr_db=10, n_iterations=4))
        >>> row["steps"], row["nmse_db"] < -1
        (0, True)
        """
        scenario = scenario_of(point)
        began = time.perf_counter()
        row: dict[str, object] = dict(zip(KEY, point.key, strict=True))
        if ALGORITHMS[point.algorithm].learned:
            recipe = RECIPES[point.setting][point.algorithm]
            algorithm = made(point)
            start = start if start and start.n_iterations >= recipe.grown_from else None
            begun_from = self._trained_before(start)
            if begun_from is not None:
                algorithm = begun_from[0].grown(point.n_iterations)
            steps = self._affordable(algorithm, scenario, recipe, seconds)
            model, path = self._trained(point, algorithm, scenario, recipe, steps, begun_from and begun_from[1])
            row |= {"steps": steps, "batch_size": recipe.batch_size, "learning_rate": recipe.learning_rate}
            row["warm_start"] = None if start is None else start.n_iterations
            row["seconds"] = round(float(model.training["wall_seconds"]), 1)
            self._remember(point, path)
        else:
            model = pick_model(point.algorithm, scenario, None, point.n_iterations)
            row |= {"steps": 0, "seconds": round(time.perf_counter() - began, 1)}
        row["nmse_db"] = round(measured_nmse_db(model, self.n_samples, self.seed, self.device), 3)
        row |= {"n_samples": self.n_samples, "seed": self.seed, "device": str(self.device)}
        return row | {"chanest_version": version("chanest")}

    def history(self, point: Point) -> list[tuple[float, float]]:
        """(epochs, NMSE in dB) along the training of a point measured before, means over ten batches.

        An epoch is 50,000 samples, as in the paper; empty where there was no training.
        """
        before = self._trained_before(point)
        if before is None:
            return []
        record = read_model(self.cache / before[1])[2]
        nmse = record["nmse_db"]
        size = int(record["batch_size"])
        return [(size * (i + 5) / _EPOCH, float(nmse[i : i + 10].mean())) for i in range(0, len(nmse) - 9, 10)]

    def _trained(
        self, point: Point, algorithm: Algorithm, scenario: AnyScenario, recipe: Recipe, steps: int, start: str | None
    ) -> tuple[Model, Path]:
        """The model from the cache, or trained now."""
        content = {
            "version": _CONTENT,
            "scenario": scenario.model_dump(),
            "algorithm": algorithm.name,
            "hyperparameters": algorithm.hyperparameters,
            "recipe": (recipe.learning_rate, recipe.batch_size, recipe.snr_groups),
            "steps": steps,
            "seed": self.seed,
            "start": start,
        }
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        path = self.cache / f"{point.algorithm}-{digest}.h5"
        if path.exists():
            found, _, record = read_model(path)
            return Model(found, scenario, path.stem, record), path
        self.cache.mkdir(parents=True, exist_ok=True)
        settings = TrainingSettings(
            steps=steps,
            batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            snr_groups=recipe.snr_groups,
            seed=self.seed,
            checkpoint_every=10**9,
            calibration_batches=0,
        )

        def progress(step: int, nmse: float, _: float) -> None:
            if self.progress is not None:
                self.progress(point, step, steps, nmse)

        model = train(
            algorithm,
            scenario,
            settings,
            path,
            warm=start is not None,
            device=self.device,
            command=f"chanest reproduce: {' '.join(point.key)}",
            progress=progress,
        )
        return model, path

    def _remember(self, point: Point, path: Path) -> None:
        """Note which model a point got last, for points that start from it."""
        note = self.cache / f"{_name(point)}.txt"
        note.write_text(path.name, encoding="utf-8")

    def _trained_before(self, start: Point | None) -> tuple[Algorithm, str] | None:
        """The model that a point got, and its file's name; None where it was not trained."""
        note = None if start is None else self.cache / f"{_name(start)}.txt"
        if note is None or not note.exists():
            return None
        path = self.cache / note.read_text(encoding="utf-8")
        return (read_model(path)[0], path.name) if path.exists() else None

    def _affordable(self, algorithm: Algorithm, scenario: AnyScenario, recipe: Recipe, seconds: float) -> int:
        """The steps of the recipe, or as many as the time allows."""
        full = recipe.full_steps(algorithm.n_iterations)
        if math.isinf(seconds):
            return full
        lesson = training_lesson(scenario, self.seed, 0, recipe.batch_size, 8, self.device)
        algorithm = algorithm.to(self.device)
        laps = []
        for _ in range(3):
            began = time.perf_counter()
            algorithm(lesson.y, lesson.phi).x.abs().square().sum().backward()
            laps.append(time.perf_counter() - began)
        algorithm.zero_grad()
        return max(FEWEST_STEPS, min(full, int(seconds / min(laps))))


def scenario_of(point: Point) -> AnyScenario:
    """The scenario of a point: ``lte10-reference``, as published, or ``synthetic``.

    >>> scenario_of(Point("synthetic", "alista", n_taps=500, snr_db=20)).training.snr_db
    (20.0, 20.0)
    """
    if point.setting == "synthetic":
        scenario = load_any_scenario("synthetic")
        assert isinstance(scenario, SyntheticScenario)
        training = {**scenario.training.model_dump(), "snr_db": (point.snr_db, point.snr_db)}
        sizes = {"n_measurements": point.n_pilots, "n_coefficients": point.n_taps, "sparsity": point.sparsity}
        return scenario.replace(**sizes, snr_db=point.snr_db, training=training)
    return load_any_scenario("lte10-reference").replace(n_pilots=point.n_pilots, snr_db=point.snr_db)


def made(point: Point) -> Algorithm:
    """The untrained algorithm of a point.

    >>> made(Point("synthetic", "na-alista", lstm_inputs="u", lstm_hidden=32)).hyperparameters["lstm_hidden"]
    32
    """
    settings: dict[str, Any] = {"n_iterations": point.n_iterations, "sparsity": float(point.sparsity)}
    settings |= {"schedule": "synthetic", "ridge": 1e-6} if point.setting == "synthetic" else {"schedule": "published"}
    if point.algorithm.startswith("na-alista"):
        settings |= {"lstm_inputs": point.lstm_inputs, "lstm_hidden": point.lstm_hidden}
    return ALGORITHMS[point.algorithm](**settings)


def ordered(points: Sequence[Point]) -> list[tuple[Point, Point | None]]:
    """Points without repetition, each with the next smaller K of its curve, which comes before it.

    >>> chain = ordered([Point("ofdm", "alista", n_iterations=k) for k in (4, 1, 2)])
    >>> [(point.n_iterations, start and start.n_iterations) for point, start in chain]
    [(1, None), (2, 1), (4, 2)]
    """
    chain: list[tuple[Point, Point | None]] = []
    last: dict[tuple[str, ...], Point] = {}
    for point in sorted(dict.fromkeys(points), key=lambda point: point.n_iterations):
        curve = point.key[:-1]
        chain.append((point, last.get(curve)))
        last[curve] = point
    return sorted(chain, key=lambda pair: pair[0].key[:-1])


@torch.inference_mode()
def measured_nmse_db(model: Model, n_samples: int, seed: int, device: torch.device) -> float:
    """NMSE in dB of x or of the CIR on the test set.

    >>> point = Point("synthetic", "fista", n_iterations=8)
    >>> measured_nmse_db(pick_model("fista", scenario_of(point), None, 8), 64, 0, torch.device("cpu")) < -2
    True
    """
    sums = ErrorSums()
    scenario = model.scenario
    if isinstance(scenario, SyntheticScenario):
        phi = _matrix(scenario, seed)
        on_device = phi.to(device)
        for vectors in simulate_vectors(scenario, phi, n_samples, seed):
            block = vectors.to(device)
            sums.add(model.recover(block.observations, on_device, block.noise_variance).x, block.x)
        return sums.nmse_db
    pattern = draw_pattern(scenario, seed)
    for simulation in simulate(scenario, pattern, n_samples, seed):
        data = simulation.to(device)
        cir = model.estimate(data.observations, pattern, data.noise_variance).cir
        assert cir is not None
        assert data.cir is not None
        sums.add(cir, data.cir)
    return sums.nmse_db


_matrix = cache(draw_matrix)


def _name(point: Point) -> str:
    return "-".join(part or "0" for part in point.key)
