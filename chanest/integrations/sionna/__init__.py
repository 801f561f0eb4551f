"""For Sionna 2.1 and later (PyTorch): a channel estimator, pilot patterns, and channels from scenarios.

Importing this imports sionna.phy, which reseeds torch's global generator.
"""

from ...errors import ExtraError

try:
    import sionna
except ImportError:
    raise ExtraError("Sionna: not installed; pip install 'chanest[sionna]'") from None
if tuple(map(int, sionna.__version__.split(".")[:2])) < (2, 1):
    raise ExtraError(f"Sionna: expected 2.1 or later, found {sionna.__version__}; pip install 'chanest[sionna]'")

from .channels import SparseCIR
from .estimator import SparseChannelEstimator
from .patterns import StreamPilots, pilot_patterns, random_pilot_pattern

__all__ = ["SparseCIR", "SparseChannelEstimator", "StreamPilots", "pilot_patterns", "random_pilot_pattern"]
