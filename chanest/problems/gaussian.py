"""The synthetic setting of the paper (section 4.1): a Gaussian matrix, Bernoulli-Gaussian vectors."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .base import Frozen, Penalties, Range, ascending, validated


class SyntheticTraining(Frozen):
    """What a model trained for the scenario must serve.

    ``fixed_matrix`` trains on the one Phi that the training's seed draws; else every step draws a new one.
    With ``denser`` every other vector of a batch has that many times the entries, and counts in the loss by how likely
    the scenario is to draw it (importance sampling): the loss means the same, but sees more of the rare dense vectors
    on which a network of scalars diverges.
    """

    snr_db: Range
    fixed_matrix: bool = True
    denser: Annotated[float, Field(ge=1, le=10)] = 1.0

    @model_validator(mode="after")
    def _check(self) -> "SyntheticTraining":
        ascending("snr_db", self.snr_db)
        return self


class SyntheticScenario(Frozen):
    """y = Phi x + z: Phi real Gaussian (n_measurements, n_coefficients) with unit columns; every entry of x is
    N(0, 1) with probability sparsity/n_coefficients, else zero; z white, SNR = E||Phi x||^2 / E||z||^2.

    >>> from chanest.problems.load import load_any_scenario
    >>> scenario = load_any_scenario("synthetic").replace(n_coefficients=500, snr_db=20)
    >>> scenario.n_measurements, scenario.n_coefficients, scenario.sparsity
    (250, 500, 50.0)
    """

    setting: Literal["synthetic"]
    name: Annotated[str, Field(min_length=1)]
    description: str
    n_measurements: Annotated[int, Field(ge=2, le=100_000)] = 250
    n_coefficients: Annotated[int, Field(ge=3, le=1_000_000)] = 1000
    sparsity: Annotated[float, Field(gt=0)] = 50.0
    snr_db: Annotated[float, Field(ge=-50, le=150)] = 40.0
    training: SyntheticTraining
    penalties: Penalties

    @model_validator(mode="after")
    def _check(self) -> "SyntheticScenario":
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

    def replace(self, **fields: Any) -> "SyntheticScenario":
        """A copy with some fields changed, validated again.

        Raises:
            ScenarioError: a field is unknown or its value impossible; the message names it.

        >>> from chanest.problems.load import load_any_scenario
        >>> load_any_scenario("synthetic").replace(sparsity=0)
        Traceback (most recent call last):
        ...
        chanest.errors.ScenarioError: scenario synthetic: sparsity: input should be greater than 0, got 0
        """
        return validated(type(self), {**self.model_dump(), **fields}, f"scenario {self.name}")
