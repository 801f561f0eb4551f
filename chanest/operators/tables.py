"""An operator and its weights as the arrays of compiled loops."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..kernels.adapters import LANES, Array, singles
from .base import LinearOperator, Weights, cached
from .partial_dft import PartialDFT


@dataclass(frozen=True)
class Tables:
    """W^H Phi, Phi and W^H as arrays: see :mod:`chanest.kernels.alista`.

    Attributes:
        arrays: for each of the three, tables (2, ...) of real and imaginary parts, and where each of its columns (of
            W^H: for every pilot the conjugate row of W) begins in them; what follows a column there may be read, to
            the next multiple of lanes.
        reciprocal_norm: 1/L.
    """

    arrays: tuple[Array, ...]
    reciprocal_norm: float


def tables(phi: LinearOperator, w: Weights) -> Tables:
    """The tables of Phi and W, cached with W.

    >>> from chanest import PartialDFT, PilotPattern
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=256)
    >>> [table.shape for table in tables(phi, phi).arrays[::2]]
    [(2, 527), (2, 20480), (2, 19200)]
    """
    return cached(w, "tables", lambda: _tables(phi, w))


def _tables(phi: LinearOperator, w: Weights) -> Tables:
    n, m = phi.n_coefficients, phi.n_measurements
    if w is phi and isinstance(phi, PartialDFT):  # Toeplitz
        sequence = phi.gram(torch.eye(1, n, dtype=phi.dtype))[0]
        gram = torch.cat([sequence[1:].conj().flip(-1), sequence])
        first = np.arange(n - 1, -1, -1)
    else:
        gram = w.gram(torch.eye(n, dtype=phi.dtype)).flatten()
        first = np.arange(n) * n
    arrays = [_parts(nn.functional.pad(gram, (0, LANES))), first]
    for columns in (phi.dense().mT, w.adjoint(torch.eye(m, dtype=phi.dtype))):
        filled = nn.functional.pad(columns, (0, -columns.shape[-1] % LANES))
        arrays += [_parts(filled.flatten()), np.arange(len(filled)) * filled.shape[-1]]
    return Tables(tuple(arrays), 1 / float(w.squared_norm()))


def _parts(v: Tensor) -> Array:
    """Real and imaginary part, stacked first."""
    return singles(torch.stack([v.real, v.imag]))
