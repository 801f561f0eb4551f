"""Orthogonal matching pursuit (Pati, Rezaiifar & Krishnaprasad 1993), batched, stopped at the noise level."""

import torch
from torch import Tensor

from ..operators import LinearOperator
from .base import Algorithm, Told
from .noise import noise_level, noise_of_snapshots
from .results import Posterior, Recovery, Trace

_HIDDEN = 1 / 8


class OMP(Algorithm):
    """Adds the atom that matches the residual best until ||r||^2 <= M s, then takes least squares on the atoms.

    The noise variance s is taken as given, or estimated where unknown. The posterior takes |x|^2 for the variances
    of the atoms found, near the least-squares covariance s (A^H A)^-1, and a share of the noise power for what may
    hide below the level where the search stops: an eighth of M s, over all taps.

    Of snapshots the atom matches that has most energy in all residuals together: simultaneous OMP (Tropp, Gilbert &
    Strauss 2006).

    Args:
        n_iterations: most atoms; never more than M - 1.

    >>> from chanest import PartialDFT, PilotPattern
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=256)
    >>> x = torch.zeros(1, 256, dtype=torch.complex64).index_fill(1, torch.tensor([3, 200]), 0.7)
    >>> found = OMP()(phi.forward(x), phi, noise_variance=torch.tensor([1e-6])).x
    >>> torch.allclose(found, x, atol=1e-5)
    True
    """

    name = "omp"
    complex_only = True
    joint = True

    def __init__(self, n_iterations: int = 40) -> None:
        super().__init__(n_iterations)

    def _iterate(
        self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, noise_variance: Tensor | None
    ) -> Recovery:
        s = noise_level(y, phi, noise_variance)
        return self._pursue(y.unsqueeze(-2), phi, n_iterations, trace, s, single=True)

    def _jointly(self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, told: Told) -> Recovery:
        return self._pursue(y, phi, n_iterations, trace, noise_of_snapshots(y, phi, told.variance), single=False)

    def _pursue(
        self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, s: Tensor, single: bool
    ) -> Recovery:
        """Atoms for snapshots (*batch, R, M), whose axis goes again from the results where it is ``single``."""
        (*batch, n_snapshots, m), n = y.shape, phi.n_coefficients
        most = min(n_iterations, m - 1, n)
        chosen = torch.zeros(*batch, n, dtype=torch.bool, device=y.device)
        atoms = torch.zeros(*batch, most, dtype=torch.int64, device=y.device)
        basis = y.new_zeros(*batch, most, m)  # orthonormal rows: Q^H
        triangle = torch.eye(most, dtype=y.dtype, device=y.device).repeat(*batch, 1, 1)  # A = Q R
        projection = y.new_zeros(*batch, most, n_snapshots)
        residual = y
        for k in range(most):
            active = residual.abs().square().sum(-1).mean(-1) > m * s
            if not bool(active.any()):
                break
            if n_snapshots == 1:
                matched = phi.adjoint(residual.squeeze(-2)).abs()
            else:
                matched = phi.adjoint(residual).abs().square().sum(-2)
            atom = matched.masked_fill(chosen, -1).argmax(-1, keepdim=True)
            along = y.new_zeros(*batch, most)
            orthogonal = phi.forward(torch.zeros_like(chosen, dtype=y.dtype).scatter(-1, atom, 1.0))
            for _ in range(2):  # Gram-Schmidt, twice is enough
                step = (basis.conj() @ orthogonal.unsqueeze(-1)).squeeze(-1)
                orthogonal = orthogonal - (step.unsqueeze(-2) @ basis).squeeze(-2)
                along = along + step
            norm = torch.linalg.vector_norm(orthogonal, dim=-1, keepdim=True)
            on = active.unsqueeze(-1) & (norm > 1e-4)  # else the atom lies in the span of the others
            direction = torch.where(on, orthogonal / norm.clamp_min(1e-4), 0)
            amount = (direction.conj().unsqueeze(-2) * residual).sum(-1, keepdim=True)
            residual = residual - amount * direction.unsqueeze(-2)
            along[..., k : k + 1] = norm.to(y.dtype)
            basis[..., k, :] = direction
            triangle[..., k] = torch.where(on, along, triangle[..., k])
            projection[..., k, :] = amount.squeeze(-1)
            atoms[..., k : k + 1] = torch.where(on, atom, atoms[..., k : k + 1])
            chosen = chosen.scatter(-1, atom, chosen.gather(-1, atom) | on)
            if trace.record:
                x = _spread(triangle, projection, atoms, n)
                trace.add(x.squeeze(-2) if single else x)
        x = _spread(triangle, projection, atoms, n)
        hidden = _HIDDEN * m * s.unsqueeze(-1) / n
        power = x.abs().square()
        power = power.squeeze(-2) if n_snapshots == 1 else power.mean(-2)
        return trace.recovery(x.squeeze(-2) if single else x, Posterior((power + hidden).clamp_max(4.0), s))


def _spread(triangle: Tensor, projection: Tensor, atoms: Tensor, n: int) -> Tensor:
    """The coefficients R^-1 Q^H y at their places; atoms that were never active add zero to place zero."""
    coefficients = torch.linalg.solve_triangular(triangle, projection, upper=True).mT
    places = atoms.unsqueeze(-2).expand(coefficients.shape)
    return coefficients.new_zeros(*coefficients.shape[:-1], n).scatter_add(-1, places, coefficients)
