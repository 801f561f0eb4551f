"""The synthetic setting of the paper (section 4.1): a Gaussian matrix, Bernoulli-Gaussian vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ..errors import ObservationError, ScenarioError
from ..lazy import torch
from .base import (
    Batch,
    ForwardModel,
    Penalties,
    Problem,
    Range,
    Target,
    Training,
    Values,
    check_noise,
    not_none,
    words_of_range,
)
from .oracles import support_coefficients
from .random import seeded

if TYPE_CHECKING:
    from torch import Tensor

    from ..operators import DenseOperator


class GaussianTraining(Training):
    """What a model trained for the scenario must serve.

    ``fixed_matrix`` trains on the one Phi that the training's seed draws; else every step draws a new one.
    With ``denser`` every other vector of a batch has that many times the entries, and counts in the loss by how likely
    the scenario is to draw it (importance sampling): the loss means the same, but sees more of the rare dense vectors
    on which a network of scalars diverges.
    """

    fixed_matrix: bool = True
    """train on the one matrix that the training's seed draws, else on a new one in every step"""
    denser: Annotated[float, Field(ge=1, le=10)] = 1.0
    """every other vector of a batch has so many times the entries, and less weight"""

    @property
    def fixed(self) -> bool:
        return self.fixed_matrix


class GaussianScenario(Problem):
    """y = Phi x + z: Phi real Gaussian (n_measurements, n_coefficients) with unit columns; every entry of x is
    N(0, 1) with probability sparsity/n_coefficients, else zero; z white, SNR = E||Phi x||^2 / E||z||^2.

    >>> from chanest import load_scenario
    >>> scenario = load_scenario("synthetic").replace(n_coefficients=500, snr_db=20)
    >>> scenario.n_measurements, scenario.n_coefficients, scenario.sparsity
    (250, 500, 50.0)
    """

    quantities: ClassVar[tuple[str, ...]] = ("x",)
    size_fields: ClassVar[tuple[str, ...]] = ("n_measurements", "n_coefficients")
    peers: ClassVar[tuple[str, ...]] = ("ista", "fista", "alista", "na-alista", "vamp")
    sensing_word: ClassVar[str] = "matrix"
    sample_word: ClassVar[str] = "vectors"
    support_word: ClassVar[str] = "support"
    first_tap_samples: ClassVar[int] = 0  # type: ignore[misc]
    footnote: ClassVar[str] = "vamp is told the prior and the noise: the limit of large matrices"

    setting: Literal["synthetic"]
    """says that this is no OFDM scenario"""
    name: Annotated[str, Field(min_length=1)]
    """what tables and files call it"""
    description: str = ""
    """a line for people"""
    n_measurements: Annotated[int, Field(ge=2, le=100_000)] = 250
    """rows of the matrix"""
    n_coefficients: Annotated[int, Field(ge=3, le=1_000_000)] = 1000
    """columns of the matrix, more than rows"""
    sparsity: Annotated[float, Field(gt=0)] = 50.0
    """expected number of entries that are not zero"""
    snr_db: Annotated[float, Field(ge=-50, le=150)] = 40.0
    """dB, power of what is measured over that of the noise"""
    training: GaussianTraining = GaussianTraining(snr_db=(40.0, 40.0))
    """what models are trained for; see [training]"""
    penalties: Penalties = Penalties(ista=0.055, fista=0.05)
    """of ISTA and FISTA, see [penalties]"""

    @model_validator(mode="after")
    def _check(self) -> GaussianScenario:
        if self.n_measurements >= self.n_coefficients:
            raise ValueError(
                "n_measurements",
                f"expected fewer than n_coefficients = {self.n_coefficients}, got {self.n_measurements}",
            )
        if self.sparsity > self.n_coefficients:
            raise ValueError(
                "sparsity", f"expected at most n_coefficients = {self.n_coefficients}, got {self.sparsity:g}"
            )
        if self.training.denser > 1 and self.sparsity * self.training.denser >= self.n_coefficients:
            raise ValueError(
                "training.denser",
                f"expected less than n_coefficients/sparsity = "
                f"{self.n_coefficients / self.sparsity:g}, got {self.training.denser:g}",
            )
        return self

    # drawing ----------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def sensing(self, seed: int) -> DenseOperator:
        """Phi: entries N(0, 1), columns scaled to unit norm, float32.

        >>> from chanest import load_scenario
        >>> phi = load_scenario("synthetic").sensing(seed=0)
        >>> phi.matrix.shape, bool(torch.allclose(phi.column_norms(), torch.ones(1000)))
        (torch.Size([250, 1000]), True)
        """
        from ..operators import DenseOperator

        matrix = torch.randn(
            (self.n_measurements, self.n_coefficients), generator=seeded(seed, "pattern"), dtype=torch.float64
        )
        return DenseOperator((matrix / torch.linalg.vector_norm(matrix, dim=0)).float())

    def draw(
        self,
        sensing: DenseOperator,
        n_samples: int,
        generator: torch.Generator | int,
        snr_db: Tensor | float | None = None,
        denser: Tensor | float = 1.0,
    ) -> Batch:
        """Draw vectors and noise, and measure.

        Args:
            sensing: (n_measurements, n_coefficients) on the CPU.
            n_samples: batch.
            generator: a CPU generator, or the seed of test data.
            snr_db: one SNR, or one per vector; the scenario's when not given.
            denser: how many times more entries than the scenario's, or one such factor per vector; the noise is the
                same.

        >>> from chanest import load_scenario
        >>> synthetic = load_scenario("synthetic")
        >>> drawn = synthetic.draw(synthetic.sensing(0), 1000, 0, denser=2.0)
        >>> round(float((drawn.truth["x"] != 0).sum(-1).float().mean()) / synthetic.sparsity, 1)
        2.0
        """
        generator = seeded(generator, "test") if isinstance(generator, int) else generator
        shape = (n_samples, self.n_coefficients)
        probability = self.sparsity / self.n_coefficients * torch.as_tensor(denser).expand(n_samples).unsqueeze(-1)
        present = torch.rand(shape, generator=generator) < probability
        x = torch.randn(shape, generator=generator) * present
        snr = torch.as_tensor(self.snr_db if snr_db is None else snr_db, dtype=torch.float32)
        power = self.sparsity / self.n_measurements  # of an entry of Phi x: unit columns
        variance = (power * 10 ** (-snr / 10)).expand(n_samples)
        noise = torch.randn((n_samples, self.n_measurements), generator=generator)
        return Batch(sensing.forward(x) + noise * variance.sqrt().unsqueeze(-1), variance, {"x": x})

    def _told_the_support(self, batch: Batch, sensing: DenseOperator, noise_variance: Tensor | None) -> Values:
        support = batch.truth["x"] != 0
        return {"x": support_coefficients(batch.observations, sensing.matrix, support, noise_variance)}

    # estimating -------------------------------------------------------------------------------------------

    def check(self, observations: Tensor, sensing: DenseOperator, noise_variance: Tensor | float | None) -> None:
        check_measurements(observations, sensing.matrix, noise_variance)

    def forward_model(self, sensing: DenseOperator, dtype: torch.dtype, device: torch.device | str) -> ForwardModel:
        """Columns are scaled to unit norm: those of a user's Phi may have any."""
        from ..operators import DenseOperator, cached

        def make() -> ForwardModel:
            matrix = sensing.matrix.to(device, dtype)
            exponents = torch.frexp(matrix.abs().amax(-2)).exponent.clamp(-120, 120)
            unit = torch.ldexp(torch.ones_like(matrix[0]), -exponents)  # powers of two: squares stay inside float32
            matrix = matrix * unit
            norms = torch.linalg.vector_norm(matrix, dim=-2)
            root = math.sqrt(len(matrix))
            return ForwardModel(
                DenseOperator(matrix / norms), lambda rms: rms * root / norms * unit, lambda x: {"x": x}
            )

        return cached(sensing, ("forward model", dtype, str(device)), make)

    def refuses(self, made_for: Problem) -> str | None:
        if isinstance(made_for, GaussianScenario):
            return None
        return f"made for OFDM pilots (scenario {made_for.name}), not for the vectors of {self.name}"

    def distance(self, made_for: Problem, n_measurements: int) -> tuple[float, ...] | None:
        if not isinstance(made_for, GaussianScenario):
            return None
        sizes = [(s.n_measurements, s.n_coefficients, s.sparsity) for s in (self, made_for)]
        if sizes[0] != sizes[1]:
            return None
        return (abs(made_for.snr_db - self.snr_db),)

    def hyperparameters(self) -> dict[str, Any]:
        return {"sparsity": self.sparsity}

    # training ---------------------------------------------------------------------------------------------

    def training_sensing(self, seed: int, step: int) -> DenseOperator:
        return _matrix(self, seed if self.training.fixed_matrix else _matrix_seed(seed, step))

    def validation_sensing(self, seed: int, index: int) -> DenseOperator:
        return self.training_sensing(seed, -2 - index)

    def training_draw(
        self, sensing: DenseOperator, n_samples: int, generator: torch.Generator, snr_db: Tensor
    ) -> tuple[Batch, Tensor | None]:
        if self.training.denser == 1:
            return self.draw(sensing, n_samples, generator, snr_db), None
        factor = torch.ones(n_samples)
        factor[1::2] = self.training.denser
        batch = self.draw(sensing, n_samples, generator, snr_db, factor)
        return batch, self.density_weight((batch.truth["x"] != 0).sum(-1))

    def density_weight(self, n_entries: Tensor) -> Tensor:
        """How much likelier the scenario is to draw vectors of so many entries than its training, half of which is
        denser.

        The balance heuristic of multiple importance sampling (Veach and Guibas, SIGGRAPH 1995): p / (p/2 + q/2), at
        most 2. Each of N entries is drawn with probability p = sparsity/N, in the denser half with ``denser`` p.

        Args:
            n_entries: (batch,) other than zero.

        >>> from chanest import load_scenario
        >>> denser = load_scenario("synthetic").replace(training={"snr_db": (40, 40), "denser": 1.4})
        >>> denser.density_weight(torch.tensor([50, 80])).tolist()
        [1.9..., 0.0...]
        """
        n = self.n_coefficients
        p = self.sparsity / n
        q = self.training.denser * p
        entries = n_entries.double()
        log_ratio = entries * math.log(q / p) + (n - entries) * (math.log1p(-q) - math.log1p(-p))
        return (2 / (1 + log_ratio.exp())).float()

    def target(self, sensing: DenseOperator, batch: Batch) -> Target:
        from ..operators import cached

        device = batch.observations.device
        phi = cached(sensing, ("target", str(device)), lambda: sensing.to(device))
        root = math.sqrt(phi.n_measurements)
        return Target(phi, lambda rms: rms * root, batch.truth["x"], lambda x: x)

    def training_hyperparameters(self) -> dict[str, Any]:
        return {
            "sparsity": self.sparsity,
            "ridge": 1e-6,
            "schedule": "synthetic",
            "penalty": self.penalties.ista,
        }

    def matrix_size(self, seed: int) -> tuple[int, int, str]:
        if not self.training.fixed_matrix:
            raise ScenarioError(f"scenario {self.name} draws a new matrix every step; give --fixed-pattern")
        return self.n_measurements, self.n_coefficients, "real"

    def trained_with(self, snr_db: Range | None, fixed: bool | None, resized: bool) -> Self:
        training = {**self.training.model_dump(), **not_none(snr_db=snr_db, fixed_matrix=fixed)}
        within = {} if snr_db is None else {"snr_db": min(max(self.snr_db, snr_db[0]), snr_db[1])}
        return self.replace(training=training, **within)

    # files ------------------------------------------------------------------------------------------------

    def file_header(self, sensing: DenseOperator, seed: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        attributes = {"scenario": self.name, "snr_db": self.snr_db, "sparsity": self.sparsity, "seed": seed}
        return attributes, {"phi": sensing.matrix.numpy()}

    def file_rows(self, batch: Batch, header: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = {"observations": batch.observations, "x": batch.truth["x"], "noise_variance": batch.noise_variance}
        return {name: values.contiguous().numpy() for name, values in rows.items()}

    def estimate_header(self, sensing: DenseOperator) -> dict[str, np.ndarray]:
        return {}

    def constants(self) -> dict[str, Tensor]:
        return {}

    # words ------------------------------------------------------------------------------------------------

    def facts(self, sensing: DenseOperator) -> dict[str, Any]:
        return {
            "n_pilots": None,
            "n_distinct_pilots": None,
            "snr_convention": None,
            "n_measurements": self.n_measurements,
            "n_coefficients": self.n_coefficients,
        }

    @property
    def size(self) -> str:
        return f"{self.n_measurements} measurements of {self.n_coefficients} coefficients"

    @property
    def trained_size(self) -> str:
        return f"{self.n_measurements} x {self.n_coefficients}"

    def training_words(self, seed: object) -> str:
        denser = self.training.denser
        return super().training_words(seed) + (f", every other vector {denser:g} times denser" if denser > 1 else "")

    @property
    def trained_for(self) -> str:
        return f"trained at {self.snr_db:g} dB"

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.description}\n"
            f"  {self.size}, {self.sparsity:g} of them not zero on average\n"
            f"  default: {self.snr_db:g} dB; training: SNR {words_of_range(self.training.snr_db)} dB"
        )


@lru_cache(maxsize=1)
def _matrix(scenario: GaussianScenario, seed: int) -> DenseOperator:
    """A matrix, with what was computed from it, for the next step with the same one."""
    with torch.inference_mode(False):  # it may be used in training later
        return scenario.sensing(seed)


def _matrix_seed(seed: int, step: int) -> int:
    return int(torch.randint(2**62, (1,), generator=seeded(seed, "pattern", step + 2**20)))


def check_measurements(observations: Tensor, matrix: Tensor, noise_variance: Tensor | float | None) -> None:
    """Raise ObservationError unless y and Phi of the synthetic setting are real, finite and fit each other.

    >>> check_measurements(torch.ones(5, 2), torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 2.0]]), None)
    Traceback (most recent call last):
    ...
    chanest.errors.ObservationError: phi: column 1 is zero; leave it out, nothing can be said of its coefficient
    """
    for name, values in (("phi", matrix), ("observations", observations)):
        if values.dtype not in (torch.float32, torch.float64):
            raise ObservationError(
                f"expected float32 or float64, got {str(values.dtype).removeprefix('torch.')}", field=name
            )
    if matrix.dtype != observations.dtype:
        wanted, found = (str(t.dtype).removeprefix("torch.") for t in (observations, matrix))
        raise ObservationError(f"expected {wanted} like the observations, got {found}", field="phi")
    if matrix.ndim != 2:
        raise ObservationError(
            f"expected a matrix (n_measurements, n_coefficients), got {tuple(matrix.shape)}", field="phi"
        )
    m, n = matrix.shape
    if not 1 <= m < n:
        raise ObservationError(
            f"expected fewer rows (measurements) than columns (coefficients), got {m} x {n}", field="phi"
        )
    if observations.ndim == 0 or observations.shape[-1] != m or not observations.numel():
        raise ObservationError(
            f"expected shape (*batch, {m}) for {m} rows of phi, got {tuple(observations.shape)}", field="observations"
        )
    for name, values in (("phi", matrix), ("observations", observations)):
        finite = torch.isfinite(values)
        if not finite.all():
            raise ObservationError("NaN or Inf", field=name, index=tuple((~finite).nonzero()[0].tolist()))
    zero = (matrix == 0).all(0)
    if zero.any():
        raise ObservationError(
            f"column {int(zero.nonzero()[0])} is zero; leave it out, nothing can be said of its coefficient",
            field="phi",
        )
    check_noise(noise_variance, observations.shape[:-1])
