"""Gaussian posteriors for given tap variances: what LMMSE, SBL, NA-SBL and EP share.

x ~ CN(0, diag(g)) and y = Phi x + z, z ~ CN(0, s I), give C = Phi diag(g) Phi^H + s I, the mean
g * Phi^H C^-1 y, and the diagonal d of Phi^H C^-1 Phi, from which the variances g (1 - g d) follow. Operators
give all of these (:meth:`LinearOperator.posterior_moments`).
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..operators import LinearOperator, PartialDFT, tap_domain
from ..operators.cholesky import cholesky
from . import namespace
from .namespace import Array, Covariances, Namespace

CHUNK = 64
LEAST_LEFT = 1e-4  # of sum(g), below which a difference in single precision says nothing


def log_rank_deficit(phi: Covariances, g: Array, xp: Namespace = namespace) -> Array:
    """log of M over the effective rank tr(C)^2 / ||C||^2 of C = Phi diag(g) Phi^H; 0 for a comb.

    Args:
        g: (N,) tap variances.

    Returns:
        (*batch_shape,) of the operator.

    >>> from chanest import PartialDFT, PilotPattern
    >>> comb, random = (p.operator(272) for p in (PilotPattern.comb(8), PilotPattern.random(75, seed=0)))
    >>> bool(log_rank_deficit(comb, torch.ones(272)) < 0.03 < log_rank_deficit(random, torch.ones(272)))
    True
    """
    c = phi.covariance(xp.broadcast_to(g, (*phi.batch_shape, phi.n_coefficients)))
    trace = xp.sum(xp.real(xp.diagonal(c)), -1)
    return xp.log(phi.n_measurements * xp.sum(xp.abs2(c), (-2, -1)) / xp.square(trace))


@torch.no_grad()
def posterior_variance(phi: LinearOperator, band: LinearOperator, g: Tensor, noise_variance: Tensor) -> Tensor:
    """Variance of sqrt(M') (Phi' x) given y, for the rows of another operator Phi' over the same taps.

    p[k] = sum(g) - M' v_k^H C^-1 v_k with v_k = Phi diag(g) Phi'_k^H: for a PartialDFT on the used subcarriers,
    the posterior variance of the CFR.

    Args:
        phi: where y was observed.
        band: Phi', M' rows.
        g: (*batch, N).
        noise_variance: (*batch,).

    Returns:
        (*batch, M') real, not negative.
    """
    noise_variance = noise_variance.expand(g.shape[:-1])
    if not (isinstance(phi, PartialDFT) and isinstance(band, PartialDFT)):
        return _of_pilots(phi, band, g, noise_variance)

    def taps(g: Tensor, noise_variance: Tensor) -> Tensor:
        return tap_domain.band_variance(phi, band, g, noise_variance.unsqueeze(-1))

    return tap_domain.where_it_pays(phi, (g, noise_variance), (1, 0), taps, partial(_of_pilots, phi, band))


def _of_pilots(phi: LinearOperator, band: LinearOperator, g: Tensor, noise_variance: Tensor) -> Tensor:
    """:func:`posterior_variance` from matrices of the pilots."""
    batch, rows_g, rows_s = g.shape[:-1], g, noise_variance
    if torch.compiler.is_exporting():  # a batch of unknown size cannot be cut
        return _explained_away(phi, band, rows_g, rows_s)
    size = max(1, len(rows_g)) if g.ndim > 1 else 1
    if not phi.batch_shape:
        rows_g, rows_s, size = g.reshape(-1, g.shape[-1]), rows_s.reshape(-1), CHUNK
    if isinstance(phi, PartialDFT) and isinstance(band, PartialDFT) and tap_domain.never_pays(phi):
        rows_g, rows_s = g.reshape(-1, g.shape[-1]), noise_variance.expand(batch).reshape(-1)
        found = phi.unexplained(band, rows_g, rows_s)
        if found is not None:
            lost = found.amin(-1) < LEAST_LEFT * rows_g.sum(-1)
            if bool(lost.any()):
                found[lost] = _of_pilots_exactly(phi, band, rows_g[lost], rows_s[lost])
            return found.reshape(*batch, -1)
    return _of_pilots_exactly(phi, band, rows_g, rows_s, size).reshape(*batch, -1)


def _of_pilots_exactly(
    phi: LinearOperator, band: LinearOperator, g: Tensor, noise_variance: Tensor, size: int = CHUNK
) -> Tensor:
    parts = zip(g.split(size), noise_variance.split(size), strict=True)
    return torch.cat([_explained_away(phi, band, *part) for part in parts])


def _explained_away(phi: Any, band: Any, g: Tensor, noise_variance: Tensor) -> Tensor:
    """The variances of :func:`posterior_variance` for a batch that fits memory.

    In double precision: what is left of sum(g) may be a millionth of it.
    """
    kind = g.dtype
    phi, band = (one.to(torch.promote_types(one.dtype, torch.float64)) for one in (phi, band))
    g, noise_variance = g.double(), noise_variance.double()
    factor = cholesky(phi.loaded_covariance(g, noise_variance))
    identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device).expand(factor.shape)
    inverse = torch.linalg.solve_triangular(factor, identity, upper=False)  # and a product: faster
    whitened = inverse @ phi.cross_covariance(band, g)
    if whitened.is_complex():  # without the hypotenuses of abs
        explained = torch.view_as_real(whitened.resolve_conj()).square().sum(-3).sum(-1)
    else:
        explained = whitened.square().sum(-2)
    return (g.sum(-1, keepdim=True) - band.n_measurements * explained).clamp_min(0).to(kind)
