"""NA-SBL's rules: what its perceptrons read, and how their answers correct EM; in the arrays of any namespace."""

from ..kernels.constants import EXPLAINED_MARGIN, LARGEST_EXPONENT, LOG_SCALE, OCCUPIED_MARGIN, REFERENCE_PILOTS
from ..operators import Moments
from . import namespace
from .namespace import Array, Namespace
from .sbl import em_variances

SMALLEST, LARGEST = 1e-8, 4.0  # of g, for ||y|| = 1


def prior(n_taps: int, decay: float, like: Array, xp: Namespace = namespace) -> Array:
    """(N,): the prior variances exp(-decay n/N), of sum 1, in the precision of another array."""
    p = xp.exp(-decay * xp.arange(n_taps, like) / n_taps)
    return xp.astype(p / xp.sum(p, -1), like.dtype)


def features(
    m: Moments,
    g: Array,
    s: Array,
    p: Array,
    n_measurements: Array,
    known: bool,
    deficit: Array,
    xp: Namespace = namespace,
) -> tuple[Array, Array]:
    """What the perceptrons of the taps and of the noise read, (*batch, N, 12) and (*batch, 7); see :class:`NASBL`.

    Args:
        m: the moments for g (*batch, N) and s (*batch,).
        p: (N,) prior variances.
        n_measurements: M, a number or an array.
        known: whether the noise variance was told.
        deficit: log rank deficit of the pilots, broadcast against s.
    """
    tiny = xp.tiny(g)
    d = xp.clip(m.d, tiny)
    log_g, log_d, log_p = xp.log(g), xp.log(d), xp.log(p)
    log_q = xp.log(xp.clip(xp.abs2(m.q), tiny))
    of_taps = (
        log_q + 2 * log_g - log_p,
        xp.logit(xp.clip(g * d, OCCUPIED_MARGIN, 1 - OCCUPIED_MARGIN)),
        log_g - log_p,
        log_p - xp.log(s)[..., None],
        log_q - log_d,
    )
    explained = xp.clip(xp.sum(g * m.d, -1) / n_measurements, EXPLAINED_MARGIN, 1 - EXPLAINED_MARGIN)
    of_all = (
        xp.log(xp.clip(m.fit, tiny)) / LOG_SCALE,
        xp.log(xp.clip(m.noise, tiny) / s) / LOG_SCALE,
        xp.full_like(s, xp.log(n_measurements / REFERENCE_PILOTS)),
        xp.full_like(s, float(known)),
        xp.logit(explained) / LOG_SCALE,
        xp.full_like(s, deficit),
    )
    place = xp.full_like(g, xp.linspace(-1, 1, g.shape[-1], g))
    own = xp.concat([xp.stack(of_taps, -1) / LOG_SCALE, place[..., None]], -1)
    shared = xp.stack(of_all, -1)
    level = xp.log(n_measurements * s) / LOG_SCALE
    return xp.concat([own, xp.rows(shared, g.shape[-1])], -1), xp.concat([shared, level[..., None]], -1)


def beside_neighbours(features: Array, xp: Namespace = namespace) -> Array:
    """(*batch, N, F) -> (*batch, N, 3F): the tap before, this one, the next; zeros beyond the ends."""
    padded = xp.pad_rows(features)
    return xp.concat([padded[..., :-2, :], features, padded[..., 2:, :]], -1)


def factor(f: Array, xp: Namespace = namespace) -> Array:
    """exp(2 f), kept where float32 and its gradient stay finite."""
    return xp.exp(xp.clip(2 * f, -LARGEST_EXPONENT, LARGEST_EXPONENT))


def updated(m: Moments, g: Array, f: Array, xp: Namespace = namespace) -> Array:
    """The EM update of the variances times exp(2 f), (*batch, N)."""
    return xp.clip(em_variances(m, g, xp) * factor(f, xp), SMALLEST, LARGEST)
