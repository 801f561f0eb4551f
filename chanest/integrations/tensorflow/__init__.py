"""Trained models in TensorFlow, from the same HDF5 files: ``pip install 'chanest[tensorflow]'``.

:class:`SparseEstimator` estimates in eager or graph mode or compiled by XLA; :func:`export_savedmodel` writes a
SavedModel; ``chanest.integrations.tensorflow.sionna1`` is the channel estimator for Sionna 1.2. Features, updates and
calibrations are chanest.algorithms' own, given the TensorFlow functions of :mod:`.namespace`; operators, factorisations
and loops are written here. tests/integrations/test_tensorflow.py holds the two together.
"""

from ...errors import ExtraError

try:
    import tensorflow  # noqa: F401
except ImportError:
    raise ExtraError("TensorFlow: not installed; pip install 'chanest[tensorflow]'") from None

from .estimator import ChannelEstimate, SparseEstimator
from .savedmodel import export_savedmodel

__all__ = ["ChannelEstimate", "SparseEstimator", "export_savedmodel"]
