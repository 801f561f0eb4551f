"""Several layers on the same pilots: each layer's taps through its own pilot symbols, summed."""

from functools import partial

import torch
from torch import Tensor

from ..errors import OperatorError
from . import tap_domain
from .base import JointMoments, LinearOperator, cached
from .partial_dft import PartialDFT


class Superposed(LinearOperator):
    """y = sum over l of diag(X_l) Phi x_l, the layers' taps one behind the other: N L coefficients.

    Args:
        phi: of one layer.
        symbols: (L, M) complex, X: what every layer sends on each pilot.

    Raises:
        OperatorError: symbols of another number of pilots, or an operator per batch entry.

    >>> phi = PartialDFT(torch.tensor([-300, -7, 5, 120]), n_taps=16)
    >>> code = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1]])
    >>> Superposed(phi, code).forward(torch.zeros(3, 32, dtype=torch.complex64)).shape
    torch.Size([3, 4])
    """

    def __init__(self, phi: PartialDFT, symbols: Tensor) -> None:
        if phi.batch_shape:
            raise OperatorError("expected one set of pilots for the batch", field="phi")
        if symbols.ndim != 2 or symbols.shape[-1] != phi.n_measurements:
            raise OperatorError(
                f"expected (n_layers, {phi.n_measurements}), got {tuple(symbols.shape)}", field="pilot_symbols"
            )
        self.layer, self.symbols = phi, symbols.to(phi.device, phi.dtype)
        self.n_layers = len(symbols)
        self.n_measurements, self.n_coefficients = phi.n_measurements, self.n_layers * phi.n_coefficients
        self.dtype, self.device, self.batch_shape = phi.dtype, phi.device, phi.batch_shape
        self.n_fft, self.spacing_samples = phi.n_fft, phi.spacing_samples
        self.first_tap_samples, self.resolution_samples = phi.first_tap_samples, phi.resolution_samples
        self.window_told, self.coarse_ratio = phi.window_told, phi.coarse_ratio

    def forward(self, x: Tensor) -> Tensor:
        return (self.layer.forward(self.of_layers(x)) * self.symbols).sum(-2)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.layer.adjoint(y.unsqueeze(-2) * self.symbols.conj()).flatten(-2)

    def covariance(self, g: Tensor) -> Tensor:
        code = self.symbols.unsqueeze(-1) * self.symbols.conj().unsqueeze(-2)
        return (self.layer.covariance(self.of_layers(g)) * code).sum(-3)

    def quadratic_diagonal(self, c: Tensor) -> Tensor:
        code = self.symbols.conj().unsqueeze(-1) * self.symbols.unsqueeze(-2)
        return self.layer.quadratic_diagonal(c.unsqueeze(-3) * code).flatten(-2)

    def cross_covariance(self, other: LinearOperator, g: Tensor) -> Tensor:
        if not isinstance(other, Superposed) or other.n_layers != self.n_layers:
            return super().cross_covariance(other, g)
        code = self.symbols.unsqueeze(-1) * other.symbols.conj().unsqueeze(-2)
        return (self.layer.cross_covariance(other.layer, self.of_layers(g)) * code).sum(-3)

    def joint_moments(self, y: Tensor, g: Tensor, noise_variance: Tensor, reach: int | None = None) -> JointMoments:
        taps = partial(tap_domain.joint_moments, self, reach=reach)
        return tap_domain.where_it_pays(self, (y, g, noise_variance), (2, 1, 1), taps, super().joint_moments)

    def joint_solution(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> Tensor:
        taps = partial(tap_domain.joint_solution, self)
        return tap_domain.where_it_pays(self, (y, g, noise_variance), (2, 1, 1), taps, super().joint_solution)

    def _eigenvectors(self) -> tuple[Tensor, Tensor]:
        return tap_domain.eigenvectors(self) if tap_domain.few_taps(self) else super()._eigenvectors()

    def to(self, dtype: torch.dtype) -> "Superposed":
        """The same in another precision."""
        return cached(self, ("to", dtype), lambda: Superposed(self.layer.to(dtype), self.symbols))

    def coarser(self, ratio: int) -> "Superposed":
        """The same layers over delays ``ratio`` times as far apart."""
        return cached(self, ("coarser", ratio), lambda: Superposed(self.layer.coarser(ratio), self.symbols))

    def widened(self, n_taps: int) -> "Superposed":
        """The same layers over more delays each, from the same first one."""
        return Superposed(self.layer.widened(n_taps), self.symbols)

    def of_layers(self, x: Tensor) -> Tensor:
        """(*batch, L N) -> (*batch, L, N)."""
        return x.unflatten(-1, (self.n_layers, -1))
