"""Files of measurements: received pilots, or y with its matrix Phi; read in chunks and checked, and written."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import ChanestError, FileError, ObservationError, PilotError
from ..lazy import torch
from ..problems import (
    Batch,
    Grid,
    PilotPattern,
    Problem,
    Sensing,
    SlotPattern,
    cfr_of,
    check_measurements,
    not_none,
    pattern_of,
    slot_pattern_of,
)
from .arrays import ArrayReader, ArrayWriter, Slices, row_slices

if TYPE_CHECKING:
    from torch import Tensor

    from ..operators import DenseOperator
MOST_PILOTS = 1 << 20  # subcarriers, pilots or symbols
_MOST_ENTRIES = 1 << 27  # of a matrix, and of what is read at once


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file.

    Attributes:
        at: where they lie in the batch.
        observations: (rows, *snapshots, M): complex, in ascending order of the subcarriers; or real.
        noise_variance: (rows, *snapshots) of the observations, or (rows, *snapshots, M) with 1 where all are alike, or
            None.
        truth: what is known of it, by the name of the quantity: ``cir`` (rows, *snapshots, taps), ``cfr`` (rows,
            *snapshots, [n_layers,] [n_symbols,] n_used) or ``x``.
        valid: (rows, *snapshots, M) bool, which pilots to trust; None where all are.
    """

    at: Slices
    observations: Tensor
    noise_variance: Tensor | None
    truth: dict[str, Tensor]
    valid: Tensor | None = None

    def __len__(self) -> int:
        return self.observations.shape[:-1].numel()

    @property
    def first(self) -> Chunk:
        """Its first row alone, with all snapshots."""
        parts = (self.observations, self.noise_variance, self.valid)
        observations, noise, valid = (None if part is None else part[:1] for part in parts)
        assert observations is not None
        return Chunk(self.at, observations, noise, {name: v[:1] for name, v in self.truth.items()}, valid)


class MeasurementFile(ABC):
    """Measurements in a file (fields: ``docs/file-formats.md``), checked when opened and chunk by chunk.

    Attributes:
        observed: name of the field of observations.
        sensing: what made them: a pilot pattern, or a matrix.
        batch_shape: their leading shape; empty for a single one.
        n_observations: their number.
        scenario_name: of the scenario that simulated the file, or None.
        first_tap_samples: delay of the first tap of the true ``cir``.
        pilot_symbols: (M,) of several moduli, or (n_layers, M), ascending like the pilots; None where they are of one
            modulus, and divided out.
        snapshot_axes: how many axes of the batch, from the last one on, hold snapshots of one channel.
        split: whether noise or validity differ along these, so that a snapshot is a group of its own.

    Raises:
        FileError: the file cannot be read, or lacks a field.
        PilotError: impossible pilot subcarriers.
        ObservationError: shapes or types that do not fit, NaN or Inf, a matrix that cannot be used.
    """

    observed: ClassVar[str]
    known: ClassVar[tuple[str, ...]]  # what else a file may say
    _needed: ClassVar[tuple[str, str]]
    _kind: ClassVar[tuple[str, str]]  # of the observations' numbers, as NumPy and as words have it
    _measured_at: ClassVar[str]  # what an observation has a number for, in words

    sensing: Sensing
    first_tap_samples: int = 0
    pilot_symbols: Tensor | None = None
    snapshot_axes: int = 0
    split: bool = False

    def __init__(self, path: Path, grid: Grid | None = None) -> None:
        self.path, self._given_grid = path, grid
        self._reader = ArrayReader(path)
        try:
            with self._naming_the_file():
                self._read_header()
        except ChanestError:
            self._reader.__exit__()
            raise

    def __enter__(self) -> MeasurementFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.__exit__()

    @property
    def is_plain(self) -> bool:
        """Whether every estimator takes these observations."""
        return True

    @property
    def sample_rate_hz(self) -> float | None:
        """Samples of the channel per second, where the file tells it."""
        return None

    def told(self, chunk: Chunk) -> dict[str, Any]:
        """What else a chunk and its file tell :meth:`chanest.Model.solve`, by its arguments."""
        return {
            "pilot_symbols": self.pilot_symbols,
            "pilot_valid": chunk.valid,
            "snapshot_axes": self.snapshot_axes,
        }

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
        kept = len(self.batch_shape) - self.snapshot_axes
        snapshots = self.batch_shape[kept:]
        for leading in row_slices(self.batch_shape[:kept], max(1, rows // math.prod(snapshots))):
            at = (*leading, *(slice(0, n) for n in snapshots))
            with self._naming_the_file():
                chunk = self._chunk(at)
            yield chunk

    @property
    def group_shape(self) -> tuple[int, ...]:
        """The leading shape of what snapshots have in common."""
        return self.batch_shape if self.split else self.batch_shape[: len(self.batch_shape) - self.snapshot_axes]

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
        for name in (*self._needed, *self.known):
            if name in reader:
                reader.check_written(name)
        self._check_kind(self.observed, *self._kind)
        self.sensing, width = self._read_sensing()
        shape = reader.shape(self.observed)
        column = len(shape) == 2 and shape[1] == 1
        row = reader.matlab and len(shape) == 2 and shape[0] == 1
        self._single = len(shape) == 1 or column or row
        if not (math.prod(shape) == width if self._single else shape[-1:] == (width,)):
            raise ObservationError(
                f"expected shape (*batch, {width}) for {width} {self._measured_at}, got {shape}", field=self.observed
            )
        self.batch_shape: tuple[int, ...] = () if self._single else shape[:-1]
        self.n_observations = math.prod(self.batch_shape)
        if self.n_observations == 0:
            raise ObservationError(f"expected at least one observation, got shape {shape}", field=self.observed)
        self._read_more()
        self._check_noise()
        self.scenario_name = reader.text("scenario")

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
            raise ObservationError(f"expected {self._noise_words}, got {shape}", field=name)

    @property
    def _noise_words(self) -> str:
        """The shapes of a noise variance."""
        return f"a number or shape {self.batch_shape}"

    def _check_truth(self, name: str, least: int, most: int, layers: tuple[int, ...] = ()) -> None:
        if name not in self._reader:
            return
        self._check_kind(name, "iufc" if self._kind[0] == "c" else "iuf", "numbers")
        shape, leading = self._reader.shape(name), (*self.batch_shape, *layers)
        if self._single and not layers:
            last = math.prod(shape) if max(shape, default=0) == math.prod(shape) else 0
        else:
            last = shape[-1] if shape and shape[:-1] == leading else 0
        if not least <= last <= most:
            width = str(most) if least == most else f"{least}...{most}"
            raise ObservationError(
                f"expected shape ({', '.join(map(str, (*leading, width)))}), got {shape}", field=name
            )

    def _check_kind(self, name: str, kinds: str, wanted: str) -> None:
        kind = self._reader.read(name, tuple(slice(0, 1) for _ in self._reader.shape(name))).dtype
        if kind.kind not in kinds:
            raise ObservationError(f"expected {wanted}, got {kind}", field=name)

    def _vector(self, name: str) -> np.ndarray:
        """A whole vector, or a number, as a vector of finite numbers."""
        shape = self._reader.shape(name)
        if math.prod(shape) > MOST_PILOTS:
            raise ObservationError(f"expected at most {MOST_PILOTS} of them, got shape {shape}", field=name)
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

    Grid and band are what ``n_fft`` and ``used_subcarriers`` say, else as :func:`chanest.problems.pattern_of` has them.
    """

    observed = "received_pilots"
    known = (
        "n_fft",
        "used_subcarriers",
        "subcarrier_spacing_hz",
        "pilot_symbols",
        "noise_variance",
        "pilot_valid",
        "snapshot_axes",
        "pilot_symbol_index",
        "symbol_times_s",
        "output_times_s",
        "cir",
        "cfr",
        "first_tap_samples",
        "scenario",
    )
    default_scenario = "wide"
    _needed = ("pilot_subcarriers", "received_pilots")
    _kind = ("c", "complex numbers")
    _measured_at = "pilot subcarriers"

    subcarrier_spacing_hz: float | None = None
    band_told: bool = True

    @property
    def truth_names(self) -> tuple[str, ...]:
        names = ("cir", "cfr") if self.n_symbols is None else ("cfr",)
        return tuple(name for name in names if name in self._reader)

    @property
    def sample_rate_hz(self) -> float | None:
        return None if self.subcarrier_spacing_hz is None else self.subcarrier_spacing_hz * self.sensing.n_fft

    @property
    def n_layers(self) -> int:
        """Layers superposed on the pilots."""
        symbols = self.pilot_symbols
        return len(symbols) if symbols is not None and symbols.ndim == 2 else 1

    @property
    def is_plain(self) -> bool:
        """Whether every estimator takes these pilots: single snapshots, one layer of one modulus, equal noise."""
        return (
            self.snapshot_axes == 0
            and self._valid_shape is None
            and self._of_pilots is None
            and self.pilot_symbols is None
            and self.n_symbols is None
        )

    def scenario_for(self, given: Problem) -> Problem:
        if not given.dtype.is_complex:
            raise ChanestError(
                f"{self.path} holds received pilots, scenario {given.name} is for sparse vectors", field="--scenario"
            )
        return given

    def words(self) -> str:
        pattern = self.sensing
        truth = " and ".join(name.upper() for name in self.truth_names)
        more = [f"{self.n_layers} layers"] if self.n_layers > 1 else []
        if isinstance(pattern, SlotPattern):
            more.insert(0, f"on {len(pattern.patterns)} OFDM symbols")
        more += (
            [f"{math.prod(self.batch_shape[-self.snapshot_axes :])} snapshots a channel"] if self.snapshot_axes else []
        )
        band = f"channel wanted on {pattern.n_used} subcarriers, {pattern.grid}"
        if self.n_symbols is not None:
            band += f", of {self.n_symbols} symbols"
        if not self.band_told:
            band += " (the file does not say)"
        return (
            f"received pilots, {self._origin}\n"
            f"  {self.n_observations} observations of {len(pattern)} pilots, "
            f"subcarriers {min(pattern.subcarriers)} to {max(pattern.subcarriers)}, DFT length {pattern.n_fft}"
            f"{''.join(', ' + one for one in more)}\n"
            f"  {band}\n"
            f"  true channel: {truth or 'unknown'}"
        )

    # the header -------------------------------------------------------------------------------------------

    def _read_sensing(self) -> tuple[PilotPattern | SlotPattern, int]:
        subcarriers = self._vector("pilot_subcarriers")
        if subcarriers.dtype.kind == "c":
            raise ObservationError("expected whole numbers, got complex ones", field="pilot_subcarriers")
        self._order = np.argsort(subcarriers, kind="stable")
        used = self._used()
        given = self._given_grid
        n_fft = self._whole_number("n_fft", 0) if "n_fft" in self._reader else None
        if given is not None and n_fft not in (None, given.n_fft):
            raise ObservationError(f"the file has {n_fft}, --grid has {given.n_fft}; leave --grid out", field="n_fft")
        n_fft = given.n_fft if given is not None else n_fft
        if n_fft is not None and not 2 <= n_fft < 2**24:
            raise ObservationError(f"expected 2...{2**24 - 1}, got {n_fft}", field="n_fft")
        pilots = np.clip(subcarriers, -(2**31), 2**31)
        if "pilot_symbol_index" in self._reader or "symbol_times_s" in self._reader:
            slot = self._read_slot(pilots, n_fft, used)
            return slot, len(slot)
        try:
            pattern, _ = pattern_of(pilots, n_fft, used)
        except PilotError as error:  # the index that it names is that of the sorted pilots
            raise error.at(index=tuple(int(self._order[i]) for i in error.index)) from None
        return pattern, len(pattern)

    def _read_slot(self, pilots: np.ndarray, n_fft: int | None, used: np.ndarray | None) -> SlotPattern:
        """Pilots of several symbols, and when these are."""
        for name in ("pilot_symbol_index", "symbol_times_s"):
            if name not in self._reader:
                raise ObservationError("missing; pilots of several symbols come with an index and times", field=name)
        index, times = self._vector("pilot_symbol_index"), self._vector("symbol_times_s")
        name = "output_times_s"
        wanted = self._vector(name) if name in self._reader else None
        slot, order = slot_pattern_of(pilots, index, times, n_fft, used, wanted)
        self._order = np.arange(len(slot)) if order is None else order
        return slot

    @property
    def n_symbols(self) -> int | None:
        """Symbols on which the channel is wanted; None of pilots of one symbol."""
        return len(self.sensing.output_times_s) if isinstance(self.sensing, SlotPattern) else None

    @property
    def _inner(self) -> tuple[int, ...]:
        """Axes of a true channel between those of the batch and the last one."""
        layers = (self.n_layers,) if self.n_layers > 1 else ()
        return layers if self.n_symbols is None else (*layers, self.n_symbols)

    def _used(self) -> np.ndarray | None:
        """The band, ascending."""
        name = "used_subcarriers"
        given = self._given_grid
        self.band_told = name in self._reader or given is not None
        self._used_order: np.ndarray | None = None
        if name not in self._reader:
            return None if given is None else np.asarray(given.used_subcarriers)
        used = self._vector(name)
        if used.dtype.kind == "c" or not np.array_equal(used, np.round(used)):
            raise ObservationError("expected whole numbers", field=name)
        order = np.argsort(used, kind="stable")
        self._used_order = None if np.all(np.diff(order) > 0) else order
        return np.clip(used[order], -(2**31), 2**31).astype(np.int64)

    def _read_more(self) -> None:
        n_fft = self.sensing.n_fft
        self._divisor, self.pilot_symbols = self._read_symbols()
        self.snapshot_axes = self._whole_number("snapshot_axes", 0)
        most = len(self.batch_shape)
        if not 0 <= self.snapshot_axes <= most:
            raise ObservationError(f"expected 0...{most}, got {self.snapshot_axes}", field="snapshot_axes")
        self.subcarrier_spacing_hz = self._reader.number("subcarrier_spacing_hz")
        if self.subcarrier_spacing_hz is None and self._given_grid is not None:
            self.subcarrier_spacing_hz = self._given_grid.subcarrier_spacing_hz
        if self.subcarrier_spacing_hz is not None and not self.subcarrier_spacing_hz > 0:
            raise ObservationError(
                f"expected a positive number of Hz, got {self.subcarrier_spacing_hz:g}", field="subcarrier_spacing_hz"
            )
        self._valid_shape = self._read_valid_shape()
        self._of_pilots = self._read_noise_shape()
        kept = most - self.snapshot_axes
        self.split = any(
            max(shape[kept:most], default=1) > 1
            for shape in (self._valid_shape, self._noise_shape)
            if shape is not None
        )
        self.first_tap_samples = self._whole_number("first_tap_samples", 0)
        if abs(self.first_tap_samples) >= n_fft:
            raise ObservationError(
                f"expected {1 - n_fft}...{n_fft - 1}, got {self.first_tap_samples}", field="first_tap_samples"
            )
        if self.n_symbols is None:
            self._check_truth("cir", 1, n_fft, self._inner)
        self._check_truth("cfr", self.sensing.n_used, self.sensing.n_used, self._inner)

    def _read_symbols(self) -> tuple[Tensor | None, Tensor | None]:
        """Pilot symbols of one modulus, and others."""
        name, n_pilots = "pilot_symbols", len(self.sensing)
        if name not in self._reader:
            return None, None
        shape = self._reader.shape(name)
        if len(shape) == 2 and min(shape) > 1:
            self._check_kind(name, "iufc", "numbers")
            symbols = self._reader.read(name).astype(np.complex128)
            if shape[1] != n_pilots:
                raise ObservationError(f"expected (n_layers, {n_pilots}) of them, got {shape}", field=name)
            symbols = symbols[:, self._order]
        else:
            symbols = self._vector(name).astype(np.complex128)
            if symbols.size not in (1, n_pilots):
                raise ObservationError(f"expected 1 or {n_pilots} of them, got {symbols.size}", field=name)
            symbols = symbols[self._order] if symbols.size > 1 else symbols[0:1].reshape(())
        modulus = np.abs(symbols)
        if not np.isfinite(symbols).all() or not modulus.min() > 0:
            raise ObservationError("expected finite numbers other than zero", field=name)
        tensor = torch.from_numpy(symbols)
        divides = symbols.ndim < 2 and modulus.max() <= 1.001 * modulus.min()
        return (tensor, None) if divides else (None, tensor)

    def _read_valid_shape(self) -> tuple[int, ...] | None:
        """Of ``pilot_valid``, as (*batch, M) with 1 where all are alike."""
        name = "pilot_valid"
        if name not in self._reader:
            return None
        shape, batch, m = self._reader.shape(name), self.batch_shape, len(self.sensing)
        self._check_kind(name, "biuf", "true or false")
        if math.prod(shape) == max(shape, default=1) == m:
            return (*(1 for _ in batch), m)
        if shape != (*batch, m):
            raise ObservationError(f"expected shape {(*batch, m)} or ({m},), got {shape}", field=name)
        return shape

    def _read_noise_shape(self) -> tuple[int, ...] | None:
        """Of ``noise_variance`` where it is of every pilot, as (*batch, M) with 1 where all are alike; else None."""
        name, self._noise_shape = "noise_variance", None
        if name not in self._reader:
            return None
        shape, batch, m = self._reader.shape(name), self.batch_shape, len(self.sensing)
        if not batch and math.prod(shape) == max(shape, default=1) == m:
            return (m,)
        wanted = (*batch, m)
        alike = len(shape) == len(wanted) and all(n in (1, most) for n, most in zip(shape, wanted, strict=True))
        if alike and shape[-1] == m > 1:
            self._noise_shape = shape
            return shape
        if shape == batch:
            self._noise_shape = shape
        return None

    def _check_noise(self) -> None:
        if self._of_pilots is None:
            super()._check_noise()
        else:
            self._check_kind("noise_variance", "iuf", "real numbers")

    @property
    def _noise_words(self) -> str:
        batch = self.batch_shape
        return f"a number, shape {batch} or {(*batch, len(self.sensing))}, 1 where all are alike"

    # rows -------------------------------------------------------------------------------------------------

    def _chunk(self, at: Slices) -> Chunk:
        received = self._rows("received_pilots", at)
        leading = self._leading(at)
        precision = np.complex64 if received.dtype.itemsize <= 8 else np.complex128
        observations = torch.from_numpy(received[:, self._order].astype(precision))
        noise = self._noise_of_pilots(at, leading) if self._of_pilots else self._noise_rows(at, len(received))
        if noise is not None and not self._of_pilots:
            noise = noise.reshape(leading)
        if self._divisor is not None:
            observations = (observations.to(torch.complex128) / self._divisor).to(observations.dtype)
            bad = ~np.isfinite(observations.numpy())[:, np.argsort(self._order)]
            self._refuse("received_pilots / pilot_symbols", bad, at)
            noise = None if noise is None else noise / self._divisor.abs().square().mean()
        truth = {}
        for name in self.truth_names:
            values = self._truth_rows(name, at)
            if name == "cfr" and self._used_order is not None:
                values = values[..., self._used_order]
            truth[name] = torch.from_numpy(values.astype(np.complex128))
        if "cir" in truth and "cfr" not in truth:
            truth["cfr"] = cfr_of(truth["cir"], self.sensing.grid, self.first_tap_samples)
        valid = self._valid_rows(at, leading)
        return Chunk(at, observations.reshape(*leading, -1), noise, truth, valid)

    def _leading(self, at: Slices) -> tuple[int, ...]:
        """(rows, *snapshots)."""
        lengths = tuple(s.stop - s.start for s in at)
        kept = len(lengths) - self.snapshot_axes
        return (math.prod(lengths[:kept]), *lengths[kept:])

    def _truth_rows(self, name: str, at: Slices) -> np.ndarray:
        if not self._inner:
            return self._rows(name, at).reshape(*self._leading(at), -1)
        values = self._reader.read(name, at)
        values = values.reshape(*self._leading(at), *self._inner, values.shape[-1])
        flat = values.reshape(-1, math.prod(values.shape[-1 - len(self._inner) :]))
        self._refuse(name, ~np.isfinite(flat), at)
        return values

    def _alike_rows(self, name: str, shape: tuple[int, ...], at: Slices) -> np.ndarray:
        """Rows (n, M) of a field of this shape, (*batch, M) with 1 where all are alike, in ascending order."""
        if len(self._reader.shape(name)) != len(shape) or shape[:-1] == (1,) * (len(shape) - 1):
            values = self._reader.read(name).reshape(shape)
        else:
            where = tuple(s if n > 1 else slice(0, 1) for s, n in zip(at, shape, strict=False))
            values = self._reader.read(name, where)
        lengths = tuple(s.stop - s.start for s in at)
        return np.broadcast_to(values, (*lengths, shape[-1])).reshape(-1, shape[-1])

    def _noise_of_pilots(self, at: Slices, leading: tuple[int, ...]) -> Tensor:
        assert self._of_pilots is not None
        values = self._alike_rows("noise_variance", self._of_pilots, at)
        bad = ~(np.isfinite(values) & (values >= 0))
        if bad.any():
            self._refuse("noise_variance", bad, at, f"expected a finite number from 0 on, found {values[bad][0]:g}")
        return torch.from_numpy(values[:, self._order].astype(np.float64)).reshape(*leading, -1)

    def _valid_rows(self, at: Slices, leading: tuple[int, ...]) -> Tensor | None:
        if self._valid_shape is None:
            return None
        values = self._alike_rows("pilot_valid", self._valid_shape, at)[:, self._order].astype(bool)
        silent: np.ndarray = ~np.any(values, axis=1, keepdims=True)
        self._refuse("pilot_valid", silent, at, "expected at least one valid pilot")
        return torch.from_numpy(values).reshape(*leading, -1)


class VectorFile(MeasurementFile):
    """Measurements of sparse vectors; ``sensing`` is their matrix."""

    observed = "observations"
    known = ("noise_variance", "x", "scenario", "snr_db", "sparsity")
    default_scenario = "synthetic"
    _needed = ("phi", "observations")
    _kind = ("iuf", "real numbers")
    _measured_at = "rows of phi"

    @property
    def truth_names(self) -> tuple[str, ...]:
        return ("x",) if "x" in self._reader else ()

    def scenario_for(self, given: Problem) -> Problem:
        if given.dtype.is_complex:
            raise ChanestError(
                f"{self.path} holds measurements of a matrix phi, scenario {given.name} is OFDM", field="--scenario"
            )
        sizes = {"n_measurements": self.sensing.n_measurements, "n_coefficients": self.sensing.n_coefficients}
        known = not_none(snr_db=self._reader.number("snr_db"), sparsity=self._reader.number("sparsity"))
        sparsity = known.get("sparsity", given.hyperparameters()["sparsity"])
        return given.replace(**{**known, **sizes, "sparsity": min(sparsity, sizes["n_coefficients"])})

    def words(self) -> str:
        return (
            f"measurements of sparse vectors, {self._origin}\n"
            f"  {self.n_observations} observations, {self.sensing.n_measurements} measurements of "
            f"{self.sensing.n_coefficients} coefficients each\n"
            f"  true x: {'there' if self.truth_names else 'unknown'}"
        )

    def _read_sensing(self) -> tuple[DenseOperator, int]:
        from ..operators import DenseOperator

        self._check_kind("phi", "iuf", "real numbers")
        shape = self._reader.shape("phi")
        if math.prod(shape) > _MOST_ENTRIES:
            raise ObservationError(f"expected at most {_MOST_ENTRIES} entries, got shape {shape}", field="phi")
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


def open_measurements(path: Path, grid: Grid | None = None) -> MeasurementFile:
    """A file of measurements, by what is in it: a matrix ``phi``, or received pilots.

    Args:
        path: of the file.
        grid: of the pilots, where the file does not say.

    Raises:
        FileError, PilotError, ObservationError: as :class:`MeasurementFile`.
    """
    with ArrayReader(path) as reader:
        has_matrix = "phi" in reader
    return VectorFile(path) if has_matrix else PilotFile(path, grid)


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
