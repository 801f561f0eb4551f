"""The file of received pilots: what it must hold, read in chunks and checked; and how one is written."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ChanestError, FileError, ObservationError, PilotError
from ..problems.ofdm.draw import Simulation
from ..problems.ofdm.frontend import checked_symbols
from ..problems.ofdm.grid import Grid
from ..problems.ofdm.pilots import PilotPattern
from ..problems.ofdm.scenario import Scenario
from .arrays import ArrayReader, ArrayWriter, Slices, row_slices


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file.

    Attributes:
        at: where they lie in the batch.
        observations: (rows, n_pilots) complex, pilot symbols divided out, ascending subcarriers.
        noise_variance: (rows,) of the observations, or None.
        cir, cfr: the truth, (rows, taps) and (rows, n_used), or None.
    """

    at: Slices
    observations: Tensor
    noise_variance: Tensor | None
    cir: Tensor | None
    cfr: Tensor | None


class PilotFile:
    """Received pilots in a file (fields: ``docs/file-formats.md``), checked when opened and chunk by chunk.

    The band is that of ``used_subcarriers``, where the file has them, else LTE's -300...-1, 1...300.

    Attributes:
        pattern: the pilots, ascending.
        batch_shape: leading shape of ``received_pilots``; empty for a single observation.
        n_observations: their number.
        scenario_name: of the scenario that simulated the file, or None.
        first_tap_samples: delay of the first tap of the true ``cir``.

    Raises:
        FileError: the file cannot be read, or lacks a field.
        PilotError: impossible pilot subcarriers.
        ObservationError: shapes that do not fit, real instead of complex data, NaN or Inf.
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

    def __enter__(self) -> "PilotFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.__exit__()

    @property
    def has_cir(self) -> bool:
        """Whether the true CIR is in the file."""
        return "cir" in self._reader

    @property
    def has_cfr(self) -> bool:
        """Whether the true CFR is in the file."""
        return "cfr" in self._reader

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """The observations in chunks of at most ``rows``, complex64 or complex128 as in the file."""
        for at in row_slices(self.batch_shape, rows):
            with self._naming_the_file():
                chunk = self._chunk(at)
            yield chunk

    def _chunk(self, at: Slices) -> Chunk:
        received = self._rows("received_pilots", at)
        self._refuse("received_pilots", ~np.isfinite(received), at)
        precision = np.complex64 if received.dtype.itemsize <= 8 else np.complex128
        observations = torch.from_numpy(received[:, self._order].astype(precision))
        noise = self._noise_rows(at, len(received))
        if self._symbols is not None:
            observations = (observations.to(torch.complex128) / self._symbols).to(observations.dtype)
            bad = ~np.isfinite(observations.numpy())[:, np.argsort(self._order)]
            self._refuse("received_pilots / pilot_symbols", bad, at)
            noise = None if noise is None else noise / self._symbols.abs().square().mean()
        return Chunk(at, observations, noise, self._truth("cir", at), self._truth("cfr", at))

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        try:
            yield
        except ChanestError as error:
            raise error.at(path=self.path) from None

    # the header -------------------------------------------------------------------------------------------

    def _read_header(self) -> None:
        reader = self._reader
        for name in ("pilot_subcarriers", "received_pilots"):
            if name not in reader:
                found = ", ".join(reader.names()) or "nothing"
                raise FileError(f"missing; the file has {found}", field=name)
        self.pattern = self._read_pattern()
        n_pilots = len(self.pattern)
        shape = reader.shape("received_pilots")
        self._check_kind("received_pilots", "c", "complex numbers")
        column = len(shape) == 2 and shape[1] == 1
        row = reader.matlab and len(shape) == 2 and shape[0] == 1
        self._single = len(shape) == 1 or column or row
        if not (math.prod(shape) == n_pilots if self._single else shape[-1:] == (n_pilots,)):
            raise ObservationError(
                f"expected shape (*batch, {n_pilots}) for {n_pilots} pilot subcarriers, got {shape}",
                field="received_pilots",
            )
        self.batch_shape: tuple[int, ...] = () if self._single else shape[:-1]
        self.n_observations = math.prod(self.batch_shape)
        if self.n_observations == 0:
            raise ObservationError(f"expected at least one observation, got shape {shape}", field="received_pilots")
        self._symbols = self._read_symbols()
        self._check_noise()
        self.first_tap_samples = self._whole_number("first_tap_samples", 0)
        n_fft = self.pattern.n_fft
        if abs(self.first_tap_samples) >= n_fft:
            raise ObservationError(
                f"expected {1 - n_fft}...{n_fft - 1}, got {self.first_tap_samples}", field="first_tap_samples"
            )
        self._check_truth("cir", n_fft)
        self._check_truth("cfr", self.pattern.n_used, exactly=True)
        self.scenario_name = reader.text("scenario")

    def _read_pattern(self) -> PilotPattern:
        n_used = self._band()
        n_fft = self._whole_number("n_fft", 1024)
        if not n_used < n_fft < 2**24:
            raise ObservationError(f"expected more than {n_used}, the used subcarriers, got {n_fft}", field="n_fft")
        subcarriers = self._vector("pilot_subcarriers")
        if subcarriers.dtype.kind == "c":
            raise ObservationError("expected whole numbers, got complex ones", field="pilot_subcarriers")
        self._order = np.argsort(subcarriers, kind="stable")
        ascending = np.clip(subcarriers[self._order], -(2**31), 2**31)
        try:
            return PilotPattern(tuple(ascending.tolist()), Grid.around_dc(n_used, n_fft))
        except PilotError as error:  # the index that it names is that of the sorted pilots
            raise error.at(index=tuple(int(self._order[i]) for i in error.index)) from None

    def _band(self) -> int:
        if "used_subcarriers" not in self._reader:
            return 600
        used = self._vector("used_subcarriers")
        half = used.size // 2
        if not used.size or not np.array_equal(used, np.r_[-half:0, 1 : half + 1]):
            raise ObservationError(f"expected -{half}...-1, 1...{half}, found others", field="used_subcarriers")
        return int(used.size)

    def _read_symbols(self) -> Tensor | None:
        if "pilot_symbols" not in self._reader:
            return None
        symbols = self._vector("pilot_symbols").astype(np.complex128)
        if symbols.size not in (1, len(self.pattern)):
            raise ObservationError(
                f"expected 1 or {len(self.pattern)} of them, got {symbols.size}", field="pilot_symbols"
            )
        ordered = torch.from_numpy(symbols[self._order] if symbols.size > 1 else symbols[0:1].reshape(()))
        return checked_symbols(ordered, torch.empty(len(self.pattern), dtype=torch.complex128))

    def _check_noise(self) -> None:
        name = "noise_variance"
        if name not in self._reader:
            return
        self._check_kind(name, "iuf", "real numbers")
        shape, batch = self._reader.shape(name), self.batch_shape
        if math.prod(shape) != 1 and shape not in (batch, (1, *batch), (*batch, 1)):
            raise ObservationError(f"expected a number or shape {batch}, got {shape}", field=name)

    def _check_truth(self, name: str, width: int, exactly: bool = False) -> None:
        if name not in self._reader:
            return
        self._check_kind(name, "iufc", "numbers")
        shape = self._reader.shape(name)
        if self._single:
            last = math.prod(shape) if max(shape, default=0) == math.prod(shape) else 0
        else:
            last = shape[-1] if shape and shape[:-1] == self.batch_shape else 0
        if not (last == width if exactly else 1 <= last <= width):
            wanted = ", ".join(map(str, (*self.batch_shape, width if exactly else f"1...{width}")))
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

    # the rows ---------------------------------------------------------------------------------------------

    def _rows(self, name: str, at: Slices) -> np.ndarray:
        if self._single:
            return self._reader.read(name).reshape(1, -1)
        values = self._reader.read(name, at)
        return values.reshape(-1, values.shape[-1])

    def _truth(self, name: str, at: Slices) -> Tensor | None:
        if name not in self._reader:
            return None
        values = self._rows(name, at)
        self._refuse(name, ~np.isfinite(values), at)
        return torch.from_numpy(values.astype(np.complex128))

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
        values = values.repeat(rows, 0) if single else values
        return torch.from_numpy(values[:, 0].astype(np.float64))

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


def write_simulation(
    path: Path,
    scenario: Scenario,
    pattern: PilotPattern,
    blocks: Iterator[Simulation],
    n_samples: int,
    seed: int,
    force: bool = False,
) -> None:
    """Write simulated pilots, QPSK-modulated, with the truth beside them: a file that PilotFile reads.

    Raises:
        FileError: the file exists (without ``force``) or cannot be written.
    """
    bits = np.random.default_rng([seed, len(pattern)]).integers(0, 4, len(pattern))
    symbols = np.exp(0.25j * np.pi * (2 * bits + 1)).astype(np.complex64)
    attributes: dict[str, Any] = {
        "scenario": scenario.name,
        "snr_db": scenario.snr_db,
        "snr_convention": scenario.snr_convention,
        "seed": seed,
        "chanest_version": version("chanest"),
    }
    with ArrayWriter(path, force) as file:
        for name, value in attributes.items():
            file.attribute(name, value)
        file.write("pilot_subcarriers", np.asarray(pattern.subcarriers, dtype=np.int64))
        file.write("pilot_symbols", symbols)
        file.write("used_subcarriers", scenario.used_subcarriers)
        file.write("n_fft", np.asarray(scenario.n_fft))
        file.write("first_tap_samples", np.asarray(scenario.first_tap_samples))
        first = 0
        for block in blocks:
            at = (slice(first, first + len(block)),)
            first += len(block)
            rows = {"received_pilots": block.observations.numpy() * symbols, "cfr": block.cfr.numpy()}
            if block.cir is not None:
                rows["cir"] = block.cir.numpy()
            rows["noise_variance"] = block.noise_variance.numpy()
            for name, values in rows.items():
                file.write_rows(name, (n_samples, *values.shape[1:]), at, values)
