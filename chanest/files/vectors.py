"""The file of the synthetic setting: phi, observations, and the true x where it is known."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import ChanestError, FileError, ObservationError
from ..operators import DenseOperator
from ..problems.gaussian import SyntheticScenario
from ..problems.ofdm.frontend import check_measurements, check_noise
from ..problems.vectors import Vectors
from .arrays import ArrayReader, ArrayWriter, Slices, row_slices


@dataclass(frozen=True)
class VectorChunk:
    """Some rows of a file.

    Attributes:
        at: where they lie in the batch.
        observations: (rows, n_measurements).
        noise_variance: (rows,), or None.
        x: the truth, (rows, n_coefficients), or None.
    """

    at: Slices
    observations: Tensor
    noise_variance: Tensor | None
    x: Tensor | None


class VectorFile:
    """Measurements of sparse vectors in a file (fields: ``docs/file-formats.md``), checked when opened.

    Attributes:
        phi: (n_measurements, n_coefficients).
        batch_shape: leading shape of ``observations``; empty for a single one.
        n_observations: their number.
        scenario_name: of the scenario that simulated the file, or None.
        snr_db, sparsity: of the simulation, or None.

    Raises:
        FileError: the file cannot be read, or lacks a field.
        ObservationError: shapes that do not fit, complex numbers, NaN or Inf, a zero column, M >= N.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = ArrayReader(path)
        try:
            with self._naming_the_file():
                self._read_header()
        except ChanestError:
            self._reader.__exit__()
            raise

    def __enter__(self) -> "VectorFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.__exit__()

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether a file holds a matrix ``phi``, as no file of received pilots does."""
        with ArrayReader(path) as reader:
            return "phi" in reader

    @property
    def has_x(self) -> bool:
        """Whether the true x is in the file."""
        return "x" in self._reader

    def chunks(self, rows: int) -> Iterator[VectorChunk]:
        """The observations in chunks of at most ``rows``, with the precision of phi."""
        for at in row_slices(self.batch_shape, rows):
            with self._naming_the_file():
                observations = self._rows("observations", at)
                truth = self._rows("x", at) if self.has_x else None
                noise = self._noise(at, len(observations))
                check_noise(noise, observations.shape[:-1])
            yield VectorChunk(at, observations, noise, truth)

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        try:
            yield
        except ChanestError as error:
            raise error.at(path=self.path) from None

    def _read_header(self) -> None:
        reader = self._reader
        for name in ("phi", "observations"):
            if name not in reader:
                raise FileError(f"missing; the file has {', '.join(reader.names())}", field=name)
        for name in ("phi", "observations", "x", "noise_variance"):
            if name in reader:
                kind = reader.read(name, tuple(slice(0, 1) for _ in reader.shape(name))).dtype
                if kind.kind not in "iuf":
                    raise ObservationError(f"expected real numbers, got {kind}", field=name)
        matrix = torch.from_numpy(self._float(reader.read("phi")))
        shape = reader.shape("observations")
        column, row = len(shape) == 2 and shape[1] == 1, reader.matlab and len(shape) == 2 and shape[0] == 1
        self._single = len(shape) == 1 or column or row
        self.batch_shape: tuple[int, ...] = () if self._single else shape[:-1]
        self.n_observations = prod(self.batch_shape)
        width = prod(shape) if self._single else shape[-1]
        check_measurements(torch.zeros(width, dtype=matrix.dtype), matrix, None)
        if not self.n_observations:
            raise ObservationError(f"expected at least one, got shape {shape}", field="observations")
        self.phi = DenseOperator(matrix)
        self._check_shape("x", (*self.batch_shape, matrix.shape[1]))
        if "noise_variance" in reader and prod(reader.shape("noise_variance")) != 1:
            self._check_shape("noise_variance", self.batch_shape, "a number or ")
        self.scenario_name = reader.text("scenario")
        self.snr_db, self.sparsity = (reader.number(name) for name in ("snr_db", "sparsity"))

    def _check_shape(self, name: str, expected: tuple[int, ...], other: str = "") -> None:
        """MATLAB's vectors have an axis of length 1 more, and so may a single observation's."""
        shape = self._reader.shape(name) if name in self._reader else expected
        longer = len(expected) == 1 and shape in ((1, *expected), (*expected, 1))
        if shape != expected and not longer:
            raise ObservationError(f"expected {other}shape {expected}, got {shape}", field=name)

    def _rows(self, name: str, at: Slices) -> Tensor:
        values = self._reader.read(name) if self._single else self._reader.read(name, at)
        width = self.phi.n_measurements if name == "observations" else self.phi.n_coefficients
        values = self._float(values).reshape(-1, width)
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            inner = np.unravel_index(bad[0, 0], tuple(s.stop - s.start for s in at)) if at else ()
            index = [s.start + int(i) for s, i in zip(at, inner, strict=True)]
            raise ObservationError("NaN or Inf", field=name, index=(*index, int(bad[0, 1])))
        return torch.from_numpy(values).to(self.phi.dtype)

    def _noise(self, at: Slices, rows: int) -> Tensor | None:
        name = "noise_variance"
        if name not in self._reader:
            return None
        shape, whole = self._reader.shape(name), slice(0, 1)
        where = () if prod(shape) == 1 else at
        if where and shape != self.batch_shape:
            where = (whole, *at) if shape[0] == 1 else (*at, whole)
        values = self._reader.read(name, where).reshape(-1)
        return torch.from_numpy(np.broadcast_to(values, (rows,)).astype(np.float64))

    @staticmethod
    def _float(values: np.ndarray) -> np.ndarray:
        return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)


def write_vectors(
    path: Path,
    scenario: SyntheticScenario,
    phi: DenseOperator,
    blocks: Iterator[Vectors],
    n_samples: int,
    seed: int,
    force: bool = False,
) -> None:
    """Write simulated measurements with phi and the truth beside them: a file that VectorFile reads.

    Raises:
        FileError: the file exists (without ``force``) or cannot be written.
    """
    with ArrayWriter(path, force) as file:
        file.attribute("scenario", scenario.name)
        file.attribute("snr_db", scenario.snr_db)
        file.attribute("sparsity", scenario.sparsity)
        file.attribute("seed", seed)
        file.attribute("chanest_version", version("chanest"))
        file.write("phi", phi.matrix.numpy())
        first = 0
        for block in blocks:
            at = (slice(first, first + len(block)),)
            first += len(block)
            rows = {"observations": block.observations, "x": block.x, "noise_variance": block.noise_variance}
            for name, values in rows.items():
                file.write_rows(name, (n_samples, *values.shape[1:]), at, values.contiguous().numpy())
