"""The synthetic setting's data: Gaussian matrices and Bernoulli-Gaussian vectors, from explicit generators."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..operators import DenseOperator
from .gaussian import SyntheticScenario
from .random import BLOCK, seeded


@dataclass(frozen=True)
class Vectors:
    """Sparse vectors and what was measured of them.

    Attributes:
        x: (batch, n_coefficients) float32.
        observations: (batch, n_measurements) float32: Phi x + z.
        noise_variance: (batch,) float32: of an entry of z.
    """

    x: Tensor
    observations: Tensor
    noise_variance: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device | str) -> "Vectors":
        """The same data on another device."""
        return Vectors(self.x.to(device), self.observations.to(device), self.noise_variance.to(device))

    def __getitem__(self, samples: slice) -> "Vectors":
        return Vectors(self.x[samples], self.observations[samples], self.noise_variance[samples])


def draw_matrix(scenario: SyntheticScenario, seed: int) -> DenseOperator:
    """The scenario's Phi: entries N(0, 1), columns scaled to unit norm, float32.

    >>> from chanest.problems.load import load_any_scenario
    >>> phi = draw_matrix(load_any_scenario("synthetic"), seed=0)
    >>> phi.matrix.shape, bool(torch.allclose(phi.column_norms(), torch.ones(1000)))
    (torch.Size([250, 1000]), True)
    """
    shape = (scenario.n_measurements, scenario.n_coefficients)
    matrix = torch.randn(shape, generator=seeded(seed, "pattern"), dtype=torch.float64)
    return DenseOperator((matrix / torch.linalg.vector_norm(matrix, dim=0)).float())


def draw_vectors(
    scenario: SyntheticScenario,
    phi: DenseOperator,
    n_samples: int,
    generator: torch.Generator,
    snr_db: Tensor | float | None = None,
    denser: Tensor | float = 1.0,
) -> Vectors:
    """Draw vectors and noise, and measure.

    Args:
        scenario: what to draw.
        phi: (n_measurements, n_coefficients) on the CPU.
        n_samples: batch.
        generator: a CPU generator.
        snr_db: one SNR, or one per vector; the scenario's when not given.
        denser: how many times more entries than the scenario's, or one such factor per vector; the noise is the same.

    >>> from chanest.problems.load import load_any_scenario
    >>> synthetic = load_any_scenario("synthetic")
    >>> drawn = draw_vectors(synthetic, draw_matrix(synthetic, 0), 1000, seeded(0, "test"), denser=2.0)
    >>> round(float((drawn.x != 0).sum(-1).float().mean()) / synthetic.sparsity, 1)
    2.0
    """
    shape = (n_samples, scenario.n_coefficients)
    probability = scenario.sparsity / scenario.n_coefficients * torch.as_tensor(denser).expand(n_samples).unsqueeze(-1)
    present = torch.rand(shape, generator=generator) < probability
    x = torch.randn(shape, generator=generator) * present
    snr = torch.as_tensor(scenario.snr_db if snr_db is None else snr_db, dtype=torch.float32)
    power = scenario.sparsity / scenario.n_measurements  # of an entry of Phi x: unit columns
    variance = (power * 10 ** (-snr / 10)).expand(n_samples)
    noise = torch.randn((n_samples, scenario.n_measurements), generator=generator)
    return Vectors(x, phi.forward(x) + noise * variance.sqrt().unsqueeze(-1), variance)


def simulate_vectors(scenario: SyntheticScenario, phi: DenseOperator, n_samples: int, seed: int) -> Iterator[Vectors]:
    """``n_samples`` test vectors in blocks of at most 512; vector i does not depend on ``n_samples``.

    >>> from chanest.problems.load import load_any_scenario
    >>> synthetic = load_any_scenario("synthetic")
    >>> [len(block) for block in simulate_vectors(synthetic, draw_matrix(synthetic, 0), 600, seed=0)]
    [512, 88]
    """
    for index, first in enumerate(range(0, n_samples, BLOCK)):
        block = draw_vectors(scenario, phi, BLOCK, seeded(seed, "test", index))
        yield block[: min(BLOCK, n_samples - first)]
