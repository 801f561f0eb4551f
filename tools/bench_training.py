"""Training in tools/bench_estimators.py: steps per second, ours and the textbook's, and memory of backpropagation."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from bench_laps import alternating
from bench_operators import peak_bytes
from textbook import TextbookNAALISTA, TextbookTraining
from torch import Tensor

from chanest import load_model
from chanest.algorithms import Algorithm
from chanest.training import TrainingBatch, TrainingSettings, group_loss, training_batch

MODEL = "na-alista-lte10-m75"
LEARNING_RATE = 6e-7  # of a first step: 3e-5, a fiftieth of it while it warms up


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
        model = load_model(MODEL)
        self.scenario, self.size, self.device, self.seed = model.ofdm, batch, device, seed
        self.groups = TrainingSettings().snr_groups
        self.batch = self.draw()
        pattern = self.scenario.training_sensing(seed, 0)
        assert isinstance(model.algorithm, Algorithm)
        self.algorithm = deepcopy(model.algorithm).requires_grad_(True).to(device)
        self.optimiser = torch.optim.Adam(self.algorithm.parameters(), lr=LEARNING_RATE)
        self.textbook = TextbookTraining(TextbookNAALISTA(model, pattern, device=device), LEARNING_RATE, self.groups)

    def draw(self) -> TrainingBatch:
        """The data of step 0."""
        return training_batch(self.scenario, self.seed, 0, self.size, self.groups, self.device)

    def our_step(self) -> float:
        """Loss, gradients, their norm, Adam; the NMSE in dB."""
        self.optimiser.zero_grad(set_to_none=True)
        loss, nmse_db = group_loss(self.algorithm, self.batch, self.groups)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.algorithm.parameters(), 1.0)
        assert bool(torch.isfinite(loss) & torch.isfinite(norm))
        self.optimiser.step()
        return nmse_db

    def textbook_step(self) -> float:
        """The same by the textbook; the loss."""
        return self.textbook.step(self.batch.y, self.batch.scale, self.batch.truth)

    def losses(self) -> tuple[float, float]:
        """Of both with the parameters that they have: equal before the first step."""
        with torch.no_grad():
            ours, _ = group_loss(self.algorithm, self.batch, self.groups)
            return float(ours), float(self.textbook.loss(self.batch.y, self.batch.scale, self.batch.truth))


def measure(batch: int, device: torch.device, laps: int, most_seconds: float) -> dict[str, Any]:
    """Steps per second and bytes."""
    training = Training(batch, device)
    ours, theirs = training.losses()
    runs: dict[str, Callable[[], object]] = {"chanest": training.our_step, "textbook": training.textbook_step}
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
