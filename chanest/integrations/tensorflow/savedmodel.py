"""SavedModels: a trained model for any program with TensorFlow, without chanest."""

from pathlib import Path

import tensorflow as tf

from ...errors import FileError
from ...models import Model
from .estimator import SparseEstimator


def export_savedmodel(model: Model, folder: Path, window_samples: tuple[float, float] | None = None) -> None:
    """Write a model as a SavedModel, in single precision, for every pilot pattern and batch.

    Two signatures, of named tensors. ``serving_default`` takes ``received_pilots`` [batch, n_pilots] complex64
    (divided by the pilot symbols), ``pilot_subcarriers`` [n_pilots] int32 (counted from DC, in the order of the
    pilots, distinct) and ``noise_variance`` [batch] float32 (complex variance per received pilot);
    ``unknown_noise`` the first two. Both return ``cir`` [batch, n_taps] and ``cfr`` [batch, n_used] complex64,
    ``error_variance`` [batch, n_used] and ``delays_samples`` [n_taps] float32, and ``used_subcarriers`` [n_used] int32.

    Args:
        model: ALISTA, NA-ALISTA or NA-SBL for OFDM pilots.
        folder: where to; must not exist, or be empty.
        window_samples: as of :class:`SparseEstimator`.

    Raises:
        ModelError: a model of another algorithm, or for the synthetic setting.
        FileError: the folder is in the way, or cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> from chanest import load_model
    >>> with TemporaryDirectory() as folder:
    ...     export_savedmodel(load_model("alista-lte10-m75"), Path(folder))
    ...     sorted(tf.saved_model.load(folder).signatures)
    ['serving_default', 'unknown_noise']
    """
    estimator = SparseEstimator(model, window_samples=window_samples)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileError("exists; give another folder or remove it", path=folder)
    served = _Served(estimator)
    given = (
        tf.TensorSpec([None, None], tf.complex64, "received_pilots"),
        tf.TensorSpec([None], tf.int32, "pilot_subcarriers"),
        tf.TensorSpec([None], tf.float32, "noise_variance"),
    )
    signatures = {
        "serving_default": served.estimate.get_concrete_function(*given),
        "unknown_noise": served.estimate.get_concrete_function(*given[:2]),
    }
    try:
        tf.saved_model.save(served, str(folder), signatures)
    except (OSError, tf.errors.OpError) as error:
        raise FileError(f"cannot be written ({error})", path=folder) from None


class _Served(tf.Module):
    """What a SavedModel holds: the estimator's variables, and a function of both signatures."""

    def __init__(self, estimator: SparseEstimator) -> None:
        super().__init__()
        self.estimator = estimator

    @tf.function(autograph=False)
    def estimate(
        self, received_pilots: tf.Tensor, pilot_subcarriers: tf.Tensor, noise_variance: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        found = self.estimator(received_pilots, pilot_subcarriers, noise_variance, error_variance=True)
        return {**found._asdict(), "used_subcarriers": tf.constant(self.estimator.used_subcarriers, tf.int32)}
