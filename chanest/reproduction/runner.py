"""Points of the paper's figures, measured by our own runs: trained, cached by content, and tested."""

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from ..algorithms import ALGORITHMS, Algorithm
from ..evaluation import ErrorSums
from ..models import Model, pick_model, read_model
from ..problems import Problem
from ..training import TrainingSettings, train, training_batch
from .points import KEY, Point
from .recipes import full_training, made, named_start, rate_of, recipe_of, scenario_of

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
            start: a point measured before (:func:`chanest.reproduction.recipes.ordered`): its model is the warm start.
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
        if ALGORITHMS[point.algorithm].learned:
            model, begun_from = self._learned(point, scenario, start, seconds)
            training = {
                **{name: model.training[name] for name in ("steps", "batch_size", "learning_rate")},
                "warm_start": begun_from,
                "seconds": round(float(model.training["wall_seconds"]), 1),
            }
        else:
            model = pick_model(point.algorithm, scenario, None, point.n_iterations)
            training = {"steps": 0, "seconds": round(time.perf_counter() - began, 1)}
        return {
            **dict(zip(KEY, point.key, strict=True)),
            **training,
            "nmse_db": round(measured_nmse_db(model, self.n_samples, self.seed, self.device), 3),
            "n_samples": self.n_samples,
            "seed": self.seed,
            "device": str(self.device),
            "chanest_version": version("chanest"),
        }

    def history(self, point: Point) -> list[tuple[float, float]]:
        """(epochs, NMSE in dB) along the training of a point that was measured without a start, means over ten batches.

        An epoch is 50,000 samples, as in the paper; empty where there was no training.
        """
        known = self._known(self._note(point, anew=True))
        if known is None:
            return []
        nmse, size = known.training["nmse_db"], int(known.training["batch_size"])
        return [(size * (i + 5) / _EPOCH, float(nmse[i : i + 10].mean())) for i in range(0, len(nmse) - 9, 10)]

    def has(self, point: Point) -> bool:
        """Whether the cache has a model of the point."""
        return any(self._named(self._note(point, anew)) for anew in (False, True))

    def _learned(
        self, point: Point, scenario: Problem, start: Point | None, seconds: float
    ) -> tuple[Model, str | None]:
        """A point's model, trained now or before, and what its training began from."""
        algorithm, before = made(point), self._last(start) if start else None
        if before is None:
            start = None
        else:
            assert isinstance(before.algorithm, Algorithm)
            algorithm.load_state_dict(before.algorithm.grown(point.n_iterations).state_dict())
        stage = self._affordable(algorithm, scenario, full_training(point, start), seconds)
        model, path = self._trained(point, algorithm, scenario, stage, before.name if before else None)
        note = self._note(point, anew=start is None)
        note.with_suffix(".new").write_text(path.name, encoding="utf-8")
        note.with_suffix(".new").replace(note)
        return model, named_start(point, start) if start else None

    def _trained(
        self, point: Point, algorithm: Algorithm, scenario: Problem, stage: tuple[int, int], start: str | None
    ) -> tuple[Model, Path]:
        """The model from the cache, or trained now."""
        recipe, (steps, batch_size) = recipe_of(point), stage
        content = {
            "version": _CONTENT,
            "scenario": scenario.model_dump(),
            "algorithm": algorithm.name,
            "hyperparameters": algorithm.hyperparameters,
            "recipe": (rate_of(point), batch_size, recipe.snr_groups),
            "steps": steps,
            "seed": self.seed,
            "start": start,
        }
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        path = self.cache / f"{point.algorithm}-{digest}.h5"
        if path.exists():
            found, _, record = read_model(path)
            return Model(found, scenario, path.name, record), path
        self.cache.mkdir(parents=True, exist_ok=True)
        settings = TrainingSettings(
            steps=steps,
            batch_size=batch_size,
            learning_rate=rate_of(point),
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

    def _last(self, point: Point) -> Model | None:
        """The model that a point got last, one with a start before one without."""
        return self._known(self._note(point, anew=False)) or self._known(self._note(point, anew=True))

    def _known(self, note: Path) -> Model | None:
        """The model that a note names; None where there is none."""
        path = self._named(note)
        if path is None:
            return None
        algorithm, scenario, record = read_model(path)
        return Model(algorithm, scenario, path.name, record)

    def _named(self, note: Path) -> Path | None:
        """The file that a note names; None where there is none."""
        path = self.cache / note.read_text(encoding="utf-8") if note.exists() else self.cache
        return path if path.is_file() else None

    def _note(self, point: Point, anew: bool) -> Path:
        """Where the name of a point's model is kept, by whether its training had a start."""
        key = "-".join(part or "0" for part in point.key)
        return self.cache / f"{key}-seed{self.seed}{'-anew' if anew else ''}.txt"

    def _affordable(
        self, algorithm: Algorithm, scenario: Problem, full: tuple[int, int], seconds: float
    ) -> tuple[int, int]:
        """Steps and batch size of a full training, or as many steps as the time allows."""
        steps, batch_size = full
        if math.isinf(seconds):
            return full
        algorithm = algorithm.to(self.device)
        laps = []
        for step in range(3):
            began = time.perf_counter()
            batch = training_batch(scenario, self.seed, step, batch_size, 8, self.device)
            algorithm(batch.y, batch.phi).x.abs().square().sum().backward()
            laps.append(time.perf_counter() - began)
        algorithm.zero_grad()
        return max(FEWEST_STEPS, min(steps, int(seconds / min(laps)))), batch_size


@torch.inference_mode()
def measured_nmse_db(model: Model, n_samples: int, seed: int, device: torch.device) -> float:
    """NMSE in dB of x or of the CIR on the test set.

    >>> point = Point("synthetic", "fista", n_iterations=8)
    >>> measured_nmse_db(pick_model("fista", scenario_of(point), None, 8), 64, 0, torch.device("cpu")) < -2
    True
    """
    sums, scenario = ErrorSums(), model.scenario
    sensing, name = scenario.sensing(seed), scenario.quantities[0]
    for block in scenario.simulate(sensing, n_samples, seed):
        data = block.to(device)
        sums.add(model.solve(data.observations, sensing, data.noise_variance).values[name], data.truth[name])
    return sums.nmse_db
