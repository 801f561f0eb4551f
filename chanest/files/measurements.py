"""Files of measurements: received pilots, or y with its matrix Phi; read in chunks and checked, and written."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import ChanestError, FileError, ObservationError, PilotError
from ..operators import DenseOperator
from ..problems import Batch, Grid, PilotPattern, Problem
from ..problems.base import Sensing
from ..problems.gaussian import check_measurements
from ..problems.ofdm.frontend import checked_symbols
from ..problems.ofdm.operator_cache import cfr_of
from .arrays import ArrayReader, ArrayWriter, Slices, row_slices


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file.

    Attributes:
        at: where they lie in the batch.
        observations: (rows, M): complex, pilot symbols divided out, in ascending order of the subcarriers; or real.
        noise_variance: (rows,) of the observations, or None.
        truth: what is known of it, by the name of the quantity: ``cir`` (rows, taps), ``cfr`` (rows, n_used) or ``x``.
    """

    at: Slices
    observations: Tensor
    noise_variance: Tensor | None
    truth: dict[str, Tensor]


class MeasurementFile(ABC):
    """Measurements in a file (fields: ``docs/file-formats.md``), checked when opened and chunk by chunk.

    Attributes:
        observed: name of the field of observations.
        sensing: what made them: a pilot pattern, or a matrix.
        batch_shape: their leading shape; empty for a single one.
        n_observations: their number.
        scenario_name: of the scenario that simulated the file, or None.
        first_tap_samples: delay of the first tap of the true ``cir``.

    Raises:
        FileError: the file cannot be read, or lacks a field.
        PilotError: impossible pilot subcarriers.
        ObservationError: shapes or types that do not fit, NaN or Inf, a matrix that cannot be used.
    """

    observed: ClassVar[str]
    _needed: ClassVar[tuple[str, str]]
    _kind: ClassVar[tuple[str, str]]  # of the observations' numbers, as NumPy and as words have it

    sensing: Sensing
    first_tap_samples: int = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = ArrayReader(path)
        try:
            with self._naming_the_file():
                self._read_header()
        except ChanestError:
            self._reader.__exit__()
            raise

    def __enter__(self) -> "MeasurementFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.__exit__()

    @property
    @abstractmethod
    def truth_names(self) -> tuple[str, ...]:
        """The true quantities in the file."""

    @abstractmethod
    def words(self) -> str:
        """What is in the file, in a few lines."""

    @abstractmethod
    def scenario_for(self, given: Problem) -> Problem:
        """A scenario with the sizes, and what else the file says, of its observations.

        Raises:
            ChanestError: a scenario of the other setting.
        """

    default_scenario: ClassVar[str]

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """The observations in chunks of at most ``rows``, in the precision of the file."""
        for at in row_slices(self.batch_shape, rows):
            with self._naming_the_file():
                chunk = self._chunk(at)
            yield chunk

    @abstractmethod
    def _chunk(self, at: Slices) -> Chunk: ...

    @abstractmethod
    def _read_sensing(self) -> tuple[Sensing, int]:
        """What made the observations, and how many there are of a sample."""

    def _read_header(self) -> None:
        reader = self._reader
        for name in self._needed:
            if name not in reader:
                raise FileError(f"missing; the file has {', '.join(reader.names()) or 'nothing'}", field=name)
        self._check_kind(self.observed, *self._kind)
        self.sensing, width = self._read_sensing()
        shape = reader.shape(self.observed)
        column = len(shape) == 2 and shape[1] == 1
        row = reader.matlab and len(shape) == 2 and shape[0] == 1
        self._single = len(shape) == 1 or column or row
        if not (math.prod(shape) == width if self._single else shape[-1:] == (width,)):
            raise ObservationError(
                f"expected shape (*batch, {width}) for {self._width_words}, got {shape}", field=self.observed
            )
        self.batch_shape: tuple[int, ...] = () if self._single else shape[:-1]
        self.n_observations = math.prod(self.batch_shape)
        if self.n_observations == 0:
            raise ObservationError(f"expected at least one observation, got shape {shape}", field=self.observed)
        self._check_noise()
        self._read_more()
        self.scenario_name = reader.text("scenario")

    @property
    @abstractmethod
    def _width_words(self) -> str: ...

    @abstractmethod
    def _read_more(self) -> None:
        """Read the rest of the header."""

    # fields -----------------------------------------------------------------------------------------------

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        try:
            yield
        except ChanestError as error:
            raise error.at(path=self.path) from None

    def _check_noise(self) -> None:
        name = "noise_variance"
        if name not in self._reader:
            return
        self._check_kind(name, "iuf", "real numbers")
        shape, batch = self._reader.shape(name), self.batch_shape
        if math.prod(shape) != 1 and shape not in (batch, (1, *batch), (*batch, 1)):
            raise ObservationError(f"expected a number or shape {batch}, got {shape}", field=name)

    def _check_truth(self, name: str, least: int, most: int) -> None:
        if name not in self._reader:
            return
        self._check_kind(name, "iufc" if self._kind[0] == "c" else "iuf", "numbers")
        shape = self._reader.shape(name)
        if self._single:
            last = math.prod(shape) if max(shape, default=0) == math.prod(shape) else 0
        else:
            last = shape[-1] if shape and shape[:-1] == self.batch_shape else 0
        if not least <= last <= most:
            width = str(most) if least == most else f"{least}...{most}"
            wanted = ", ".join(map(str, (*self.batch_shape, width)))
            raise ObservationError(f"expected shape ({wanted}), got {shape}", field=name)

    def _check_kind(self, name: str, kinds: str, wanted: str) -> None:
        shape = self._reader.shape(name)
        kind = self._reader.read(name, tuple(slice(0, 1) for _ in shape)).dtype
        if kind.kind not in kinds:
            raise ObservationError(f"expected {wanted}, got {kind}", field=name)

    def _vector(self, name: str) -> np.ndarray:
        """A whole vector, or a number, as a vector of finite numbers."""
        shape = self._reader.shape(name)
        if math.prod(shape) != max(shape, default=1):
            raise ObservationError(f"expected a vector, got shape {shape}", field=name)
        self._check_kind(name, "iufc", "numbers")
        values = self._reader.read(name).reshape(-1)
        if not np.isfinite(values).all():
            raise ObservationError("NaN or Inf", field=name, index=(int(np.argmin(np.isfinite(values))),))
        return values

    def _whole_number(self, name: str, default: int) -> int:
        if name not in self._reader:
            return default
        values = self._vector(name)
        if values.size != 1 or values.dtype.kind == "c" or values[0] != np.round(values[0]):
            raise ObservationError(f"expected one whole number, got {values[:3].tolist()}", field=name)
        return int(values[0])

    # rows -------------------------------------------------------------------------------------------------

    def _rows(self, name: str, at: Slices) -> np.ndarray:
        """Some rows of finite numbers."""
        values = self._reader.read(name) if self._single else self._reader.read(name, at)
        values = values.reshape(1, -1) if self._single else values.reshape(-1, values.shape[-1])
        self._refuse(name, ~np.isfinite(values), at)
        return values

    def _noise_rows(self, at: Slices, rows: int) -> Tensor | None:
        name = "noise_variance"
        if name not in self._reader:
            return None
        shape, whole = self._reader.shape(name), slice(0, 1)
        single = math.prod(shape) == 1
        where = () if single else at
        if not single and shape != self.batch_shape:
            where = (whole, *at) if shape[0] == 1 else (*at, whole)
        values = self._reader.read(name, where).reshape(-1, 1)
        bad = ~(np.isfinite(values) & (values >= 0))
        if bad.any():
            found = f"expected a finite number from 0 on, found {values[bad][0]:g}"
            self._refuse(name, bad, () if single else at, found)
        return torch.from_numpy(np.broadcast_to(values[:, 0], (rows,)).astype(np.float64))

    def _refuse(self, name: str, bad: np.ndarray, at: Slices, what: str = "NaN or Inf") -> None:
        """Raise ObservationError with the index in the file of the first bad entry of some rows."""
        if not bad.any():
            return
        row, column = (int(i) for i in np.argwhere(bad)[0])
        lengths = tuple(s.stop - s.start for s in at)
        inner = np.unravel_index(row, lengths) if lengths else ()
        index = [s.start + int(i) for s, i in zip(at, inner, strict=True)]
        if bad.shape[1] > 1:
            index.append(column)
        raise ObservationError(what, field=name, index=tuple(index))

    @property
    def _origin(self) -> str:
        return f"simulated by chanest from {self.scenario_name}" if self.scenario_name else "of unknown origin"


class PilotFile(MeasurementFile):
    """Received pilots; ``sensing`` is their pattern, ascending.

    The band is that of ``used_subcarriers``, where the file has them, else LTE's -300...-1, 1...300.
    """

    observed = "received_pilots"
    default_scenario = "wide"
    _needed = ("pilot_subcarriers", "received_pilots")
    _kind = ("c", "complex numbers")

    @property
    def truth_names(self) -> tuple[str, ...]:
        return tuple(name for name in ("cir", "cfr") if name in self._reader)

    def scenario_for(self, given: Problem) -> Problem:
        if not given.dtype.is_complex:
            raise ChanestError(
                f"{self.path} holds received pilots, scenario {given.name} is for sparse vectors", field="--scenario"
            )
        return given

    def words(self) -> str:
        pattern = self.sensing
        truth = " and ".join(name.upper() for name in self.truth_names)
        return (
            f"received pilots, {self._origin}\n"
            f"  {self.n_observations} observations of {len(pattern)} pilots, "
            f"subcarriers {pattern.subcarriers[0]} to {pattern.subcarriers[-1]}, DFT length {pattern.n_fft}\n"
            f"  true channel: {truth or 'unknown'}"
        )

    @property
    def _width_words(self) -> str:
        return f"{len(self.sensing)} pilot subcarriers"

    def _read_sensing(self) -> tuple[PilotPattern, int]:
        grid = self._grid()
        subcarriers = self._vector("pilot_subcarriers")
        if subcarriers.dtype.kind == "c":
            raise ObservationError("expected whole numbers, got complex ones", field="pilot_subcarriers")
        self._order = np.argsort(subcarriers, kind="stable")
        ascending = np.clip(subcarriers[self._order], -(2**31), 2**31)
        try:
            pattern = PilotPattern(tuple(ascending.tolist()), grid)
        except PilotError as error:  # the index that it names is that of the sorted pilots
            raise error.at(index=tuple(int(self._order[i]) for i in error.index)) from None
        return pattern, len(pattern)

    def _grid(self) -> Grid:
        n_used = 600
        if "used_subcarriers" in self._reader:
            used = self._vector("used_subcarriers")
            half = used.size // 2
            if not used.size or not np.array_equal(used, np.r_[-half:0, 1 : half + 1]):
                raise ObservationError(f"expected -{half}...-1, 1...{half}, found others", field="used_subcarriers")
            n_used = int(used.size)
        n_fft = self._whole_number("n_fft", 1024)
        if not n_used < n_fft < 2**24:
            raise ObservationError(f"expected more than {n_used}, the used subcarriers, got {n_fft}", field="n_fft")
        return Grid.around_dc(n_used, n_fft)

    def _read_more(self) -> None:
        self._symbols = self._read_symbols()
        self.first_tap_samples = self._whole_number("first_tap_samples", 0)
        n_fft = self.sensing.n_fft
        if abs(self.first_tap_samples) >= n_fft:
            raise ObservationError(
                f"expected {1 - n_fft}...{n_fft - 1}, got {self.first_tap_samples}", field="first_tap_samples"
            )
        self._check_truth("cir", 1, n_fft)
        self._check_truth("cfr", self.sensing.n_used, self.sensing.n_used)

    def _read_symbols(self) -> Tensor | None:
        if "pilot_symbols" not in self._reader:
            return None
        symbols, n_pilots = self._vector("pilot_symbols").astype(np.complex128), len(self.sensing)
        if symbols.size not in (1, n_pilots):
            raise ObservationError(f"expected 1 or {n_pilots} of them, got {symbols.size}", field="pilot_symbols")
        ordered = torch.from_numpy(symbols[self._order] if symbols.size > 1 else symbols[0:1].reshape(()))
        return checked_symbols(ordered, torch.empty(n_pilots, dtype=torch.complex128))

    def _chunk(self, at: Slices) -> Chunk:
        received = self._rows("received_pilots", at)
        precision = np.complex64 if received.dtype.itemsize <= 8 else np.complex128
        observations = torch.from_numpy(received[:, self._order].astype(precision))
        noise = self._noise_rows(at, len(received))
        if self._symbols is not None:
            observations = (observations.to(torch.complex128) / self._symbols).to(observations.dtype)
            bad = ~np.isfinite(observations.numpy())[:, np.argsort(self._order)]
            self._refuse("received_pilots / pilot_symbols", bad, at)
            noise = None if noise is None else noise / self._symbols.abs().square().mean()
        truth = {name: torch.from_numpy(self._rows(name, at).astype(np.complex128)) for name in self.truth_names}
        if "cir" in truth and "cfr" not in truth:
            truth["cfr"] = cfr_of(truth["cir"], self.sensing.grid, self.first_tap_samples)
        return Chunk(at, observations, noise, truth)


class VectorFile(MeasurementFile):
    """Measurements of sparse vectors; ``sensing`` is their matrix."""

    observed = "observations"
    default_scenario = "synthetic"
    _needed = ("phi", "observations")
    _kind = ("iuf", "real numbers")

    @property
    def truth_names(self) -> tuple[str, ...]:
        return ("x",) if "x" in self._reader else ()

    def scenario_for(self, given: Problem) -> Problem:
        if given.dtype.is_complex:
            raise ChanestError(
                f"{self.path} holds measurements of a matrix phi, scenario {given.name} is OFDM", field="--scenario"
            )
        told = {name: self._reader.number(name) for name in ("snr_db", "sparsity")}
        sizes = {"n_measurements": self.sensing.n_measurements, "n_coefficients": self.sensing.n_coefficients}
        known: dict[str, Any] = {name: value for name, value in told.items() if value is not None}
        sparsity = known.get("sparsity", given.hyperparameters()["sparsity"])
        return given.replace(**{**known, **sizes, "sparsity": min(sparsity, sizes["n_coefficients"])})

    def words(self) -> str:
        return (
            f"measurements of sparse vectors, {self._origin}\n"
            f"  {self.n_observations} observations, {self.sensing.n_measurements} measurements of "
            f"{self.sensing.n_coefficients} coefficients each\n"
            f"  true x: {'there' if self.truth_names else 'unknown'}"
        )

    @property
    def _width_words(self) -> str:
        return f"{self.sensing.n_measurements} rows of phi"

    def _read_sensing(self) -> tuple[DenseOperator, int]:
        self._check_kind("phi", "iuf", "real numbers")
        matrix = torch.from_numpy(_float(self._reader.read("phi")))
        check_measurements(torch.zeros(matrix.shape[0] if matrix.ndim else 0, dtype=matrix.dtype), matrix, None)
        return DenseOperator(matrix), len(matrix)

    def _read_more(self) -> None:
        self._check_truth("x", self.sensing.n_coefficients, self.sensing.n_coefficients)

    def _chunk(self, at: Slices) -> Chunk:
        def rows(name: str) -> Tensor:
            return torch.from_numpy(_float(self._rows(name, at))).to(self.sensing.dtype)

        observations = rows("observations")
        noise = self._noise_rows(at, len(observations))
        return Chunk(at, observations, noise, {name: rows(name) for name in self.truth_names})


def _float(values: np.ndarray) -> np.ndarray:
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)


def open_measurements(path: Path) -> MeasurementFile:
    """A file of measurements, by what is in it: a matrix ``phi``, or received pilots.

    Raises:
        FileError, PilotError, ObservationError: as :class:`MeasurementFile`.
    """
    with ArrayReader(path) as reader:
        has_matrix = "phi" in reader
    return VectorFile(path) if has_matrix else PilotFile(path)


def write_measurements(
    path: Path,
    problem: Problem,
    sensing: Sensing,
    blocks: Iterable[Batch],
    n_samples: int,
    seed: int,
    force: bool = False,
) -> None:
    """Write simulated measurements with the truth beside them: a file that :func:`open_measurements` reads.

    Raises:
        FileError: the file exists (without ``force``) or cannot be written.
    """
    attributes, header = problem.file_header(sensing, seed)
    with ArrayWriter(path, force) as file:
        file.header({**attributes, "chanest_version": version("chanest")}, header)
        first = 0
        for block in blocks:
            at = (slice(first, first + len(block)),)
            first += len(block)
            for name, values in problem.file_rows(block, header).items():
                file.write_rows(name, (n_samples, *values.shape[1:]), at, values)
