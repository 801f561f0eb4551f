"""A Gaussian problem small enough for tests: its matrix, vectors, a tiny ALISTA, and the arrays of a file."""

import math

import numpy as np
import torch

from chanest import load_scenario
from chanest.algorithms import ALISTA
from chanest.problems import Batch, gaussian
from chanest.training import TrainingSettings

SYNTHETIC = gaussian(load_scenario("synthetic"))
SMALL = SYNTHETIC.replace(name="small", n_measurements=40, n_coefficients=80, sparsity=4)
PHI = SMALL.sensing(0)
TRAINING = TrainingSettings(steps=20, batch_size=64, learning_rate=0.3, checkpoint_every=8)


def alista(k: int = 8) -> ALISTA:
    return ALISTA(k, sparsity=4, ridge=1e-6, schedule="synthetic")


def vectors(n: int = 6, snr_db: float = 40.0) -> Batch:
    return SMALL.draw(PHI, n, 0, snr_db)


def arrays(batch: tuple[int, ...] = (6,), x: bool = True, noise: bool = True) -> dict[str, np.ndarray]:
    """The fields of a file of measurements."""
    drawn = vectors(math.prod(batch))
    fields = {"phi": PHI.matrix.numpy(), "observations": drawn.observations.numpy().reshape(*batch, 40)}
    if x:
        fields["x"] = drawn.truth["x"].numpy().reshape(*batch, 80)
    if noise:
        fields["noise_variance"] = drawn.noise_variance.numpy().reshape(batch)
    return fields


def changed(values: torch.Tensor, index, value: float) -> torch.Tensor:
    values = values.clone()
    values[index] = value
    return values


Y, MATRIX = vectors().observations, PHI.matrix
