"""What NA-ALISTA's network reads, and what its answers mean; in the arrays of any namespace."""

from . import namespace
from .namespace import Array, Namespace

THRESHOLD = 0.02  # where thresholds start, for ||y|| = 1


def log_norms(norms: Array, xp: Namespace = namespace) -> Array:
    """Logarithms of norms, finite for silence too."""
    return xp.log(xp.clip(norms, xp.tiny(norms)))


def steps_and_thresholds(answers: Array, xp: Namespace = namespace) -> tuple[Array, Array]:
    """gamma in units of 1/L and theta, (*batch,) each, from the head's answers (*batch, 2)."""
    gamma, theta = xp.unstack(xp.softplus(answers), -1)
    return gamma, theta * THRESHOLD
