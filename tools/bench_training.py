"""Training in tools/bench_estimators.py: steps per second, ours and the textbook's, and memory of backpropagation."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from bench_laps import alternating
from bench_operators import peak_bytes
from textbook import TextbookNAALISTA, TextbookTraining
from torch import Tensor

from chanest import load_model
from chanest.models.model import normalise
from chanest.training.batches import Lesson, training_batch, training_lesson
from chanest.training.distributed import Processes
from chanest.training.loss import group_loss
from chanest.training.trainer import TrainingSettings, _Trainer

MODEL = "na-alista-lte10-m75"


def saved_bytes(run: Callable[[], object]) -> int:
    """What the forward passes of a call keep for backpropagation: every storage counted once."""
    sizes: dict[int, int] = {}
    kept = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        kept.append(tensor)  # or its memory would serve another
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(sizes.values())


class Training:
    """One step of each, on the same batch: what `chanest train` does but for drawing the data, and the textbook's.

    Both keep pattern and operator from step to step. Parameters start from those of the shipped model and hardly move.
    """

    def __init__(self, batch: int, device: torch.device, seed: int = 0) -> None:
        self.batch, self.device, self.seed = batch, device, seed
        model = load_model(MODEL)
        self.settings = TrainingSettings(steps=1, batch_size=batch, learning_rate=3e-5)
        self.groups = self.settings.snr_groups
        self.lesson = self.draw()
        simulation, pattern = training_batch(model.ofdm, seed, 1, batch, self.groups)
        simulation = simulation.to(device)
        self.y, self.scale = normalise(simulation.observations)
        self.truth = simulation.cir
        self.network = TextbookNAALISTA(model, pattern, device=device)
        self.algorithm = deepcopy(model.algorithm).requires_grad_(True).to(device)
        self.trainer = _Trainer(self.algorithm, model.ofdm, self.settings, Path("none.checkpoint"), device, Processes())
        self.trainer._lesson = lambda step: self.lesson  # type: ignore[method-assign]
        self.textbook = TextbookTraining(self.network, self.trainer.learning_rate, self.groups)

    def draw(self) -> Lesson:
        """The data of step 0."""
        model = load_model(MODEL)
        return training_lesson(model.ofdm, self.seed, 0, self.batch, self.groups, self.device)

    def our_step(self) -> float:
        self.trainer.step = 0  # the learning rate is that of a first step, and stays
        return self.trainer.advance()

    def textbook_step(self) -> float:
        assert self.truth is not None
        return self.textbook.step(self.y, self.scale, self.truth)

    def losses(self) -> tuple[float, float]:
        """Of both with the parameters that they have: equal before the first step."""
        assert self.truth is not None
        with torch.no_grad():
            ours, _ = group_loss(self.algorithm, self.lesson, self.groups)
            return float(ours), float(self.textbook.loss(self.y, self.scale, self.truth))


def measure(batch: int, device: torch.device, laps: int, most_seconds: float) -> dict[str, Any]:
    """Steps per second and bytes."""
    training = Training(batch, device)
    ours, theirs = training.losses()
    runs = {"chanest": training.our_step, "textbook": training.textbook_step}
    memory = {
        way: {"saved_bytes": saved_bytes(run), "peak_bytes": peak_bytes(run, device)} for way, run in runs.items()
    }
    medians, _ = alternating({**runs, "data": training.draw}, device, laps, most_seconds)
    return {
        "batch": batch,
        "loss": {"chanest": ours, "textbook": theirs},
        "seconds": {way: medians[way] for way in runs},
        "seconds_of_drawing_the_data": medians["data"],
        "times_textbook": medians["textbook"] / medians["chanest"],
        "memory": memory,
    }
