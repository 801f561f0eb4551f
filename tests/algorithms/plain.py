"""Small operators, observations and NumPy shrinkage for the plain loops that algorithms are held against."""

import numpy as np
import torch

from chanest import DenseOperator, PilotPattern
from chanest.algorithms import Algorithm
from chanest.operators import LinearOperator

M, N, K = 20, 48, 4


FIELDS = ("real", "complex")


def operator(field: str) -> LinearOperator:
    if field == "complex":
        return PilotPattern.random(M, 0).operator(N, dtype=torch.complex128)
    matrix = torch.randn(M, N, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return DenseOperator(matrix / matrix.norm(dim=0))


def signals(phi: LinearOperator, n: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, N, dtype=phi.dtype, generator=generator)
    y = phi.forward(x * (torch.rand(n, N, generator=generator) < 0.08))
    y = y + 0.05 * torch.randn(n, M, dtype=phi.dtype, generator=generator)
    return y / y.norm(dim=-1, keepdim=True)


def perturbed(algorithm: Algorithm, y: torch.Tensor, phi: LinearOperator) -> Algorithm:
    """Started from Phi, in double precision, with parameters that a test can tell apart."""
    algorithm = algorithm.double()
    algorithm.fit_normalisation(y, phi)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in algorithm.named_parameters():
            size = 0.02 if name in ("w", "w1", "w2") else 0.2
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return algorithm


def shrink(x: np.ndarray, theta: float | np.ndarray, p: int) -> np.ndarray:
    modulus = np.abs(x)
    out = np.where(modulus > theta, (1 - theta / np.maximum(modulus, 1e-300)) * x, 0)
    keep = np.argsort(modulus)[::-1][:p]
    out[keep] = x[keep]
    return out
