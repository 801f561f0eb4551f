"""One training loop for every learned algorithm: seeded step by step, resumable, stopped by the first NaN."""

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..algorithms import Algorithm
from ..errors import FileError, TrainingError
from ..evaluation.metrics import ErrorSums
from ..kernels import following
from ..models import Model, read_model, write_model
from ..models.hdf5 import read_optimiser
from ..problems import Problem, seeded
from .batches import TrainingBatch, training_batch, validation_batch
from .distributed import Processes
from .fit_error_variance import STEPS, fit_error_variance
from .fit_moving_variance import fit_moving_variance
from .loss import group_loss

Progress = Callable[[int, float, float], None]
_WHOLE = 3000  # steps of a training whose calibration is not shortened
_LEAST_BATCHES, _LEAST_STEPS = 8, 100  # of a calibration


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes:
        steps: batches in all.
        batch_size: samples per batch.
        learning_rate: peak of Adam's rate, reached after 50 steps, then a half cosine down to a hundredth.
        seed: of everything random.
        snr_groups: every batch is cut into so many groups, each at an SNR of its own; the loss is the mean of
            the groups' log NMSE, so that low SNRs do not drown high ones.
        checkpoint_every: steps between checkpoints.
        calibration_batches: batches of 64 channels, after the last step, that calibrate the error variance, of NA-SBL
            for any receiver also so many of 16 slots of users in motion; fewer after less than 3000 steps, in
            proportion; 0 for none.
    """

    steps: int = 3000
    batch_size: int = 512
    learning_rate: float = 3e-3
    seed: int = 0
    snr_groups: int = 8
    checkpoint_every: int = 250
    calibration_batches: int = 768

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "snr_groups", "checkpoint_every"):
            if not getattr(self, name) > 0:
                raise TrainingError(f"expected a positive number, got {getattr(self, name)}", field=name)
        if self.calibration_batches < 0:
            raise TrainingError(f"expected 0 or more, got {self.calibration_batches}", field="calibration_batches")
        if self.batch_size % self.snr_groups:
            raise TrainingError(
                f"expected a multiple of snr_groups = {self.snr_groups}, got {self.batch_size}", field="batch_size"
            )


def checkpoint_path(output: Path) -> Path:
    """Where a training that writes ``output`` keeps its checkpoint.

    >>> checkpoint_path(Path("a/model.h5")).name
    'model.h5.checkpoint'
    """
    return output.with_name(f"{output.name}.checkpoint")


def train(
    algorithm: Algorithm,
    scenario: Problem,
    settings: TrainingSettings,
    output: Path,
    *,
    resume: bool = False,
    warm: bool = False,
    device: torch.device | str = "cpu",
    command: str = "",
    progress: Progress | None = None,
    calibrating: Callable[[int, int], None] | None = None,
    processes: Processes | None = None,
) -> Model:
    """Train an algorithm for a scenario and write the model file.

    A step's data depend on (seed, step) alone, so on the CPU a training resumed from its checkpoint ends with
    the same bits as one that was never interrupted. (On a GPU, sums that CUDA takes in no fixed order differ.)

    Args:
        algorithm: a learned algorithm; changed in place.
        scenario: its ``training`` range says which SNRs and pilot patterns to draw.
        settings: how.
        output: the model file; a checkpoint lies beside it while training goes on.
        resume: continue from the checkpoint.
        warm: start from the parameters that the algorithm has, instead of drawing them from the seed.
        device: where to train; data are drawn on the CPU, the same for every device.
        command: recorded in the file.
        progress: called with (steps done, NMSE of the last batch in dB, learning rate).
        calibrating: called, after the last step, with how much of the calibration's work is done, and all of it.
        processes: those that share every batch, see :func:`chanest.training.distributed.joined`; this one alone when
            not given. Each takes its rows of the batch, the first writes, all end with the same model.

    Raises:
        TrainingError: nothing to train, no or another training's checkpoint, a batch smaller than there are
            processes, the loss is NaN, or another process ended.

    >>> import tempfile
    >>> from chanest import algorithm, load_scenario
    >>> settings = TrainingSettings(steps=1, batch_size=8, calibration_batches=0)
    >>> output = Path(tempfile.mkdtemp()) / "mine.h5"
    >>> train(algorithm("alista", n_iterations=2), load_scenario("lte10"), settings, output).trained_for
    'trained for lte10, 75 pilots'
    """
    if not algorithm.learned:
        raise TrainingError(f"{algorithm.name} has nothing to learn; choose a learned algorithm")
    trainer = _Trainer(
        algorithm.to(device), scenario, settings, checkpoint_path(output), device, processes or Processes()
    )
    if resume:
        trainer.restore()
    else:
        if not warm:
            trainer.initialise()
        trainer.save(command)
    while trainer.step < settings.steps:
        nmse = trainer.advance()
        if progress is not None:
            progress(trainer.step, nmse, trainer.learning_rate)
        if trainer.step % settings.checkpoint_every == 0 or trainer.step == settings.steps:
            trainer.save(command)  # after the last one too: what is interrupted then has only to calibrate
    return Model(algorithm, scenario, output.stem, trainer.finish(output, command, calibrating))


class _Trainer:
    def __init__(
        self,
        algorithm: Algorithm,
        scenario: Problem,
        settings: TrainingSettings,
        checkpoint: Path,
        device: torch.device | str,
        processes: Processes,
    ) -> None:
        self.algorithm, self.scenario, self.settings = algorithm, scenario, settings
        self.checkpoint, self.device = checkpoint, device
        self.processes = processes
        processes.share(settings.batch_size)  # refuses a batch too small now
        self.optimiser = torch.optim.Adam(algorithm.parameters(), lr=settings.learning_rate)
        self.step = 0
        self.seconds = 0.0
        self.history: list[float] = []

    @property
    def learning_rate(self) -> float:
        warm = min(1.0, (self.step + 1) / 50)
        cosine = (1 + math.cos(math.pi * self.step / self.settings.steps)) / 2
        return self.settings.learning_rate * warm * (0.01 + 0.99 * cosine)

    def initialise(self) -> None:
        """Draw the initial weights from the seed and the normalisation from a first batch."""
        self.algorithm.initialise(seeded(self.settings.seed, "initialise"))
        first = self._batch(-1)
        self.algorithm.fit_normalisation(first.y, first.phi)

    def advance(self) -> float:
        """One step; the NMSE of its batch in dB."""
        started = time.perf_counter()
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate
        batch = self._batch(self.step)
        self.optimiser.zero_grad(set_to_none=True)
        with following(batch.y.numel() * batch.y.shape[-1]):
            loss, nmse = group_loss(self.algorithm, batch, self.settings.snr_groups, self.processes)
            loss.backward()
        self.processes.sum_gradients(self.algorithm.parameters())
        norm = torch.nn.utils.clip_grad_norm_(self.algorithm.parameters(), 1.0)
        if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
            raise TrainingError(
                f"step {self.step + 1}: the loss or its gradient is not finite; the last good weights are in "
                f"{self.checkpoint if self.checkpoint.exists() else 'no checkpoint yet'}; "
                "try a smaller learning rate"
            )
        self.optimiser.step()
        self.step += 1
        self.history.append(nmse)
        self.seconds += time.perf_counter() - started
        return nmse

    def save(self, command: str) -> None:
        """Write the checkpoint, atomically."""
        if self.processes.first:
            write_model(self.checkpoint, self.algorithm, self.scenario, self.record(command), self._optimiser_state())

    def restore(self) -> None:
        """Continue where the checkpoint stopped."""
        tensors, training, state = self.processes.from_first(self._read_checkpoint)
        self.algorithm.load_state_dict(tensors)
        self.step, self.seconds = int(training["steps"]), float(training["wall_seconds"])
        self.history = list(training["nmse_db"])
        for index, parameter in enumerate(self.algorithm.parameters()):
            self.optimiser.state[parameter] = {
                "step": torch.tensor(float(self.step)),
                "exp_avg": torch.from_numpy(state["exp_avg"][str(index)]).to(parameter),
                "exp_avg_sq": torch.from_numpy(state["exp_avg_sq"][str(index)]).to(parameter),
            }

    def _read_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
        """Tensors of the algorithm, what is said of the training, and the optimiser's state."""
        if not self.checkpoint.exists():
            raise FileError("no checkpoint to resume from; start without --resume", path=self.checkpoint)
        algorithm, scenario, training = read_model(self.checkpoint)
        state = read_optimiser(self.checkpoint)
        if state["fingerprint"] != self._fingerprint():
            raise TrainingError(
                "made with other settings, scenario or hyperparameters; "
                "repeat the command that began it, or start anew with --force",
                path=self.checkpoint,
            )
        assert scenario == self.scenario
        return algorithm.state_dict(), training, state

    def finish(self, output: Path, command: str, calibrating: Callable[[int, int], None] | None) -> dict[str, Any]:
        """Write the model, drop the checkpoint, and return what the file says of the training."""
        tensors, record = self.processes.from_first(lambda: self._finish(output, command, calibrating))
        self.algorithm.load_state_dict(tensors)
        return record

    def _finish(
        self, output: Path, command: str, calibrating: Callable[[int, int], None] | None
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        started = time.perf_counter()
        if self.settings.calibration_batches:
            self._calibrate(calibrating)
        validation = self._validate()
        self.seconds += time.perf_counter() - started
        record = {**self.record(command), "validation_nmse_db": validation}
        write_model(output, self.algorithm, self.scenario, record)
        self.checkpoint.unlink(missing_ok=True)
        return {name: tensor.cpu() for name, tensor in self.algorithm.state_dict().items()}, record

    def _calibrate(self, calibrating: Callable[[int, int], None] | None) -> None:
        """The error variances, in a share of the time that does not depend on the number of steps."""
        settings, model = self.settings, Model(self.algorithm, self.scenario)
        share = min(1.0, settings.steps / _WHOLE)
        batches = min(
            settings.calibration_batches, max(_LEAST_BATCHES, math.ceil(share * settings.calibration_batches))
        )
        steps = max(_LEAST_STEPS, math.ceil(share * STEPS))
        halves = 2 if self.algorithm.circle else 1  # at rest, and in motion

        def told(half: int) -> Callable[[int, int], None] | None:
            if calibrating is None:
                return None
            return lambda done, work: calibrating(half * work + done, halves * work)

        fit_error_variance(model, settings.seed, settings.snr_groups, self.device, batches, steps, told(0))
        fit_moving_variance(model, settings.seed, batches, 2 * steps, told(1))

    def record(self, command: str) -> dict[str, Any]:
        """What the model file says of the training."""
        return {
            **asdict(self.settings),
            "steps": self.step,
            "planned_steps": self.settings.steps,
            "command": command,
            "nmse_db": np.asarray(self.history, dtype=np.float32),
            "wall_seconds": self.seconds,
            "torch_version": str(torch.__version__),
            "numpy_version": np.__version__,
            "chanest_version": version("chanest"),
        }

    def _optimiser_state(self) -> dict[str, Any]:
        parameters = list(self.algorithm.parameters())
        moments = {
            key: {str(i): self.optimiser.state[p].get(key, torch.zeros_like(p)) for i, p in enumerate(parameters)}
            for key in ("exp_avg", "exp_avg_sq")
        }
        return {"fingerprint": self._fingerprint(), **moments}

    def _fingerprint(self) -> str:
        made_with = {
            "settings": {k: v for k, v in asdict(self.settings).items() if k != "checkpoint_every"},
            "scenario": self.scenario.model_dump(),
            "algorithm": self.algorithm.name,
            "hyperparameters": self.algorithm.hyperparameters,
        }
        return hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()

    def _batch(self, step: int) -> TrainingBatch:
        settings = self.settings
        return training_batch(
            self.scenario,
            settings.seed,
            step,
            settings.batch_size,
            settings.snr_groups,
            self.device,
            self.algorithm.circle,
        )

    @torch.no_grad()
    def _validate(self, n_batches: int = 4) -> float:
        """NMSE in dB on samples, and where patterns vary on patterns, that training did not see."""
        sums = ErrorSums()
        for index in range(n_batches):
            batch = validation_batch(self.scenario, self.settings.seed, index, self.device, self.algorithm.circle)
            recovery = self.algorithm(
                batch.y, batch.phi, noise_variance=batch.noise_variance, snapshots=batch.y.ndim == 3
            )
            sums.add(batch.answer(recovery.x), batch.truth)
        return sums.nmse_db
