"""One training loop for every learned algorithm: batches, loss, the error variance fitted last, several processes."""

from .batches import TrainingBatch, training_batch, validation_batch
from .distributed import joined
from .fit_error_variance import fit_error_variance
from .loss import group_loss
from .trainer import TrainingSettings, checkpoint_path, train

__all__ = [
    "TrainingBatch",
    "TrainingSettings",
    "checkpoint_path",
    "fit_error_variance",
    "group_loss",
    "joined",
    "train",
    "training_batch",
    "validation_batch",
]
