"""What every problem offers, whatever its setting: validated fields, seeded draws, an operator, oracles."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import ObservationError, ScenarioError
from ..lazy import torch
from .random import BLOCK, seeded

if TYPE_CHECKING:
    from torch import Tensor

    from ..operators import LinearOperator

Range = tuple[float, float]
Values = dict[str, "Tensor"]
Sensing = Any  # a PilotPattern, or a DenseOperator: what makes observations of a channel or vector


def _described(schema: dict[str, Any], cls: type[BaseModel]) -> None:
    """The docstrings of fields as their descriptions; pydantic itself reads the sources whenever it is imported."""
    for one in reversed(cls.__mro__[: cls.__mro__.index(Frozen)]):
        source = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        for field_, said in pairwise(getattr(source, "body", ())):
            match field_, said:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    schema["properties"][name]["description"] = inspect.cleandoc(text)


class Frozen(BaseModel):
    """Validated fields that cannot change."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, json_schema_extra=_described)


class Penalties(Frozen):
    """The l1 penalties of ISTA and FISTA, relative to observations of unit norm (tools/tune_classical.py).

    ``ista_error`` and ``fista_error`` calibrate their error variances; empty where none was fitted.
    """

    ista: Annotated[float, Field(gt=0)]
    """l1 penalty of ISTA, of observations of unit norm"""
    fista: Annotated[float, Field(gt=0)]
    """the same of FISTA"""
    ista_error: tuple[float, ...] = ()
    """7 numbers that calibrate the error variance of ISTA; empty for none"""
    fista_error: tuple[float, ...] = ()
    """the same of FISTA"""

    @model_validator(mode="after")
    def _check(self) -> Penalties:
        for name in ("ista_error", "fista_error"):
            if len(getattr(self, name)) not in (0, 7):
                raise ValueError(name, f"expected 7 numbers, got {len(getattr(self, name))}")
        return self


class Training(Frozen, ABC):
    """The SNRs, and more, that a model trained for a problem must serve."""

    snr_db: Range = (0.0, 30.0)
    """dB, from the lowest to the highest that training draws"""

    @model_validator(mode="after")
    def _check_snr(self) -> Self:
        ascending("snr_db", self.snr_db)
        return self

    @property
    @abstractmethod
    def fixed(self) -> bool:
        """Whether every step of training sees the same pilot pattern or matrix."""


@dataclass(frozen=True)
class Batch:
    """Simulated channels or vectors, and what a receiver sees of them.

    Attributes:
        observations: (batch, M): H + noise at the pilots, complex64; or Phi x + z, float32.
        noise_variance: (batch,) float32: the mean noise variance of an observation.
        truth: by the name of the quantity, ``cir`` (batch, n_taps) where the paths lie on the sample grid, ``cfr``
            (batch, n_used), or ``x`` (batch, n_coefficients).
        paths: of OFDM channels ``delays`` (batch, paths) float64 in samples, ``gains`` complex64, and their prior
            ``variances`` float32; zero for absent paths.
    """

    observations: Tensor
    noise_variance: Tensor
    truth: Values
    paths: Values = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.observations)

    def to(self, device: torch.device | str) -> Batch:
        """The same data on another device."""
        return self._map(lambda tensor: tensor.to(device))

    def __getitem__(self, samples: slice) -> Batch:
        return self._map(lambda tensor: tensor[samples])

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        truth, paths = ({name: change(v) for name, v in values.items()} for values in (self.truth, self.paths))
        return Batch(change(self.observations), change(self.noise_variance), truth, paths)


@dataclass(frozen=True)
class ForwardModel:
    """How coefficients become observations, y = Phi x + z, and what follows from the coefficients.

    Attributes:
        phi: M rows, N columns of unit norm.
        scale: from the RMS of the observations (*batch, 1) to what x is multiplied by for the units of the
            coefficients, (*batch, 1) or (*batch, N).
        quantities: from coefficients (*batch, N) to all quantities by name.
        band: the rows on which the response is estimated, over the same coefficients; None where there are none.
    """

    phi: LinearOperator
    scale: Callable[[Tensor], Tensor]
    quantities: Callable[[Tensor], Values]
    band: LinearOperator | None = None


@dataclass(frozen=True)
class Target:
    """What training compares.

    Attributes:
        phi: the operator.
        scale: as of a :class:`ForwardModel`.
        truth: (batch, n), of the quantity that is compared.
        compared: from coefficients to that quantity.
    """

    phi: LinearOperator
    scale: Callable[[Tensor], Tensor]
    truth: Tensor
    compared: Callable[[Tensor], Tensor]


class Problem(Frozen, ABC):
    """A setting as a value: two equal ones and a seed give bit-equal data.

    Attributes:
        quantities: what is estimated, the coefficients first.
        size_fields: the fields that say how large it is.
        peers: the estimators that are set beside each other where none is asked for.
        first_tap_samples: delay of the first coefficient; 0 where coefficients have no delay.
        sensing_word: what makes the observations: ``pilot pattern`` or ``matrix``.
        sample_word: what is estimated: ``channels`` or ``vectors``.
        support_word: what the oracles are told: ``delays`` or ``support``.
        footnote: what a reader of a table of its estimators should know; empty where there is nothing.
    """

    quantities: ClassVar[tuple[str, ...]]
    size_fields: ClassVar[tuple[str, ...]]
    peers: ClassVar[tuple[str, ...]]
    sensing_word: ClassVar[str]
    sample_word: ClassVar[str]
    support_word: ClassVar[str]
    footnote: ClassVar[str] = ""

    if TYPE_CHECKING:
        name: str
        description: str
        snr_db: float
        training: Any
        penalties: Penalties
        first_tap_samples: int

    def replace(self, **fields: Any) -> Self:
        """A copy with some fields changed, validated again.

        Raises:
            ScenarioError: a field is unknown or its value impossible; the message names it.

        >>> from chanest import load_scenario
        >>> load_scenario("lte10").replace(pilots=50)
        Traceback (most recent call last):
        ...
        chanest.errors.ScenarioError: scenario lte10: pilots: unknown field
        """
        return validated(type(self), {**self.model_dump(), **fields}, f"scenario {self.name}")

    # drawing ----------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of simulated observations."""

    @abstractmethod
    def sensing(self, seed: int) -> Sensing:
        """What makes the observations of a run, from its seed: a pilot pattern, or a matrix."""

    @abstractmethod
    def draw(
        self, sensing: Sensing, n_samples: int, generator: torch.Generator | int, snr_db: Tensor | float | None = None
    ) -> Batch:
        """Draw channels or vectors, noise and observations, on the CPU.

        Args:
            sensing: a pilot pattern, or a matrix.
            n_samples: batch.
            generator: a CPU generator, or the seed of test data.
            snr_db: one SNR, or one per sample, (n_samples,); the problem's when not given.
        """

    def simulate(self, sensing: Sensing, n_samples: int, seed: int) -> Iterator[Batch]:
        """``n_samples`` test samples in blocks of at most 512; sample i does not depend on ``n_samples``.

        >>> from chanest import load_scenario
        >>> lte10 = load_scenario("lte10")
        >>> [len(block) for block in lte10.simulate(lte10.sensing(seed=0), 600, seed=0)]
        [512, 88]
        """
        for index, first in enumerate(range(0, n_samples, BLOCK)):
            yield self.draw(sensing, BLOCK, seeded(seed, "test", index))[: min(BLOCK, n_samples - first)]

    def oracles(self, batch: Batch, sensing: Sensing) -> dict[str, Callable[[], Values]]:
        """Bounds on a batch, told the support: ``oracle-ls`` and ``oracle-mmse``, each giving quantities by name."""
        return {
            "oracle-ls": lambda: self._told_the_support(batch, sensing, None),
            "oracle-mmse": lambda: self._told_the_support(batch, sensing, batch.noise_variance),
        }

    @abstractmethod
    def _told_the_support(self, batch: Batch, sensing: Sensing, noise_variance: Tensor | None) -> Values:
        """Quantities by name, by MMSE with the noise variance of every sample, or by least squares without."""

    # estimating -------------------------------------------------------------------------------------------

    @property
    def window_samples(self) -> tuple[float, float] | None:
        """First and last delay of channels; None where coefficients have no delay."""
        return None

    @abstractmethod
    def check(self, observations: Tensor, sensing: Sensing, noise_variance: Tensor | float | None) -> None:
        """Raise ObservationError unless observations and noise variance can be used, and fit what made them."""

    @abstractmethod
    def forward_model(self, sensing: Sensing, dtype: torch.dtype, device: torch.device | str) -> ForwardModel:
        """The forward model of a pilot pattern or matrix, with all that was prepared since it was last asked for."""

    @abstractmethod
    def refuses(self, made_for: Problem) -> str | None:
        """Why a model made for another problem cannot serve this one; None where it can."""

    @abstractmethod
    def distance(self, made_for: Problem, n_measurements: int) -> tuple[float, ...] | None:
        """How far the problem of a trained model is from this one; None where the model does not serve."""

    @abstractmethod
    def hyperparameters(self) -> dict[str, Any]:
        """What is known of its signals, by the names of the hyperparameters of classical algorithms."""

    # training ---------------------------------------------------------------------------------------------

    @abstractmethod
    def training_sensing(self, seed: int, step: int) -> Sensing:
        """The pilot pattern or matrix of one step of training, from 0 on, or of what comes before."""

    def training_receiver(self, seed: int, step: int, joint: bool) -> Sensing | None:
        """The receiver of one step, where the problem trains for any, else None.

        Args:
            seed, step: the draw.
            joint: for estimators of snapshots and layers; else of one vector at a time, on the scenario's own taps,
                every other step.
        """
        return None

    @abstractmethod
    def validation_sensing(self, seed: int, index: int) -> Sensing:
        """A pilot pattern or matrix that training did not see, where they vary."""

    def training_draw(
        self, sensing: Sensing, n_samples: int, generator: torch.Generator, snr_db: Tensor
    ) -> tuple[Batch, Tensor | None]:
        """A batch of training, and its samples' weights in the loss, (n_samples,), or None where all count alike."""
        return self.draw(sensing, n_samples, generator, snr_db), None

    @abstractmethod
    def target(self, sensing: Sensing, batch: Batch) -> Target:
        """What training compares, on the device of the batch."""

    @abstractmethod
    def training_hyperparameters(self) -> dict[str, Any]:
        """Hyperparameters of learned algorithms that the problem knows, for those that have them."""

    @abstractmethod
    def matrix_size(self, seed: int) -> tuple[int, int, str]:
        """M, N and field of the one Phi that an algorithm with learned matrices is bound to.

        Raises:
            ScenarioError: training draws a new one every step.
        """

    @abstractmethod
    def trained_with(self, snr_db: Range | None, fixed: bool | None, resized: bool) -> Self:
        """The problem with another range of SNRs, a fixed sensing or not, and the sizes that it has, for training."""

    # files ------------------------------------------------------------------------------------------------

    @abstractmethod
    def file_header(self, sensing: Sensing, seed: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Attributes and arrays of a file of simulated observations that do not depend on the sample."""

    @abstractmethod
    def file_rows(self, batch: Batch, header: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What such a file holds of a batch, by the name of the field."""

    @abstractmethod
    def estimate_header(self, sensing: Sensing) -> dict[str, np.ndarray]:
        """Arrays of a file of estimates that do not depend on the sample."""

    @abstractmethod
    def constants(self) -> dict[str, Tensor]:
        """Tensors that readers of a model file need beside its parameters."""

    # words ------------------------------------------------------------------------------------------------

    @abstractmethod
    def facts(self, sensing: Sensing) -> dict[str, Any]:
        """Sizes and conventions as JSON and CSV tell them."""

    @property
    @abstractmethod
    def size(self) -> str:
        """How large it is, in words: ``75 pilots``."""

    @property
    @abstractmethod
    def trained_size(self) -> str:
        """What sizes a model trained for it serves, in words: ``24 to 200``."""

    def training_words(self, seed: object) -> str:
        """Sizes, and whether a model saw one pilot pattern or matrix, that of a seed, or a new one every step."""
        word = self.sensing_word
        seen = f"one fixed {word} (seed {seed})" if self.training.fixed else f"a new {word} every step"
        return f"{self.size}, {seen}"

    @property
    def noise_convention(self) -> str:
        """What its SNR is relative to, where there are several conventions; else empty."""
        return ""

    @property
    @abstractmethod
    def trained_for(self) -> str:
        """What a model trained for it was trained for, in words."""

    @abstractmethod
    def __str__(self) -> str:
        """The problem in a few lines."""


_Model = TypeVar("_Model", bound=Frozen)
_KINDS = ("taps", "paths", "profile", "recorded")


def not_none(**values: Any) -> dict[str, Any]:
    """Those of some values that are not None.

    >>> not_none(n_pilots=50, snr_db=None)
    {'n_pilots': 50}
    """
    return {name: value for name, value in values.items() if value is not None}


def ascending(name: str, bounds: tuple[float, float]) -> None:
    """Raise ValueError, with the field and what is wrong, unless low <= high."""
    if bounds[0] > bounds[1]:
        raise ValueError(name, f"expected [low, high] with low <= high, got [{bounds[0]}, {bounds[1]}]")


def validated(cls: type[_Model], fields: dict[str, Any], source: str) -> _Model:
    """Fields as a scenario; ScenarioError, one line naming the first bad field, when they are none."""
    try:
        return cls.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"] if part not in _KINDS)
        match first["type"]:
            case "extra_forbidden":
                what = "unknown field"
            case "missing":
                what = "missing"
            case "value_error":
                inner, what = first["ctx"]["error"].args
                name = f"{name}.{inner}" if name else inner
            case _:
                what = f"{first['msg'][0].lower()}{first['msg'][1:]}, got {first['input']!r}"
        raise ScenarioError(what, field=name or None, path=source) from None


def check_noise(noise_variance: Tensor | float | None, batch: torch.Size) -> None:
    """Raise ObservationError unless noise variances are finite, not negative, and one or one per observation.

    >>> check_noise(-1.0, torch.Size([4]))
    Traceback (most recent call last):
    ...
    chanest.errors.ObservationError: noise_variance: expected finite numbers, not negative
    """
    if noise_variance is None:
        return
    variance = torch.as_tensor(noise_variance, dtype=torch.float64)  # a square, which float32 may not hold
    low, high = variance.detach().aminmax() if variance.numel() else (variance, variance)
    if variance.numel() and not bool((low >= 0) & (high < math.inf)):  # both false of NaN
        raise ObservationError("expected finite numbers, not negative", field="noise_variance")
    if variance.ndim and variance.shape != batch:
        raise ObservationError(
            f"expected a number or shape {tuple(batch)}, got {tuple(variance.shape)}", field="noise_variance"
        )


def words_of_range(bounds: tuple[float, float]) -> str:
    """``24 to 200``, or one number where both ends are the same.

    >>> words_of_range((24, 200)), words_of_range((10.0, 10.0))
    ('24 to 200', '10')
    """
    return f"{bounds[0]:g}" if bounds[0] == bounds[1] else f"{bounds[0]:g} to {bounds[1]:g}"
