"""The file of received pilots: what it must hold, read in chunks and checked; and how one is written."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arrayfile import ArrayReader, ArrayWriter, Slices, row_slices
from .errors import ChanestError, FileError, ObservationError
from .frontend import check_pilots, checked_symbols
from .pilots import PilotPattern
from .scenario import Scenario
from .signals import Simulation


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
            self._read_header()
        except ChanestError as error:
            self._reader.__exit__()
            raise error if str(error).startswith(str(path)) else type(error)(f"{path}: {error}") from None

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
            received = self._rows("received_pilots", at)[:, self._order]
            self._refuse_non_finite(received, at)
            noise = self._noise_rows(at, len(received))
            observations = torch.from_numpy(np.ascontiguousarray(received))
            symbols = self._symbols
            if symbols is not None:
                divisor = checked_symbols(torch.from_numpy(symbols), observations)
                observations = observations / divisor
                noise = None if noise is None else noise / divisor.abs().square().mean()
            check_pilots(observations, self.pattern, noise)
            truth = [self._truth(name, at) for name in ("cir", "cfr")]
            yield Chunk(at, observations, noise, *truth)

    def _read_header(self) -> None:
        reader = self._reader
        for name in ("pilot_subcarriers", "received_pilots"):
            if name not in reader:
                found = ", ".join(reader.names()) or "nothing"
                raise FileError(f"{self.path}: {name}: missing; the file has {found}")
        n_fft = self._number("n_fft", 1024)
        self.first_tap_samples = self._number("first_tap_samples", 0)
        subcarriers = self._numeric("pilot_subcarriers").reshape(-1)
        if subcarriers.dtype.kind == "c":
            raise ObservationError("pilot_subcarriers: expected whole numbers, got complex ones")
        self._order = np.argsort(subcarriers, kind="stable")
        self.pattern = PilotPattern(tuple(subcarriers[self._order].tolist()), n_fft)
        shape = reader.shape("received_pilots")
        n_pilots = len(self.pattern)
        self._single = int(np.prod(shape)) == n_pilots and len(shape) <= 2
        if not self._single and (not shape or shape[-1] != n_pilots):
            raise ObservationError(
                f"received_pilots: expected shape (*batch, {n_pilots}) for {n_pilots} pilot subcarriers, got {shape}"
            )
        self.batch_shape: tuple[int, ...] = () if self._single else shape[:-1]
        self.n_observations = int(np.prod(self.batch_shape))
        if self.n_observations == 0:
            raise ObservationError(f"received_pilots: expected at least one observation, got shape {shape}")
        kind = reader.read("received_pilots", tuple(slice(0, 1) for _ in shape)).dtype
        if kind.kind != "c":
            raise ObservationError(f"received_pilots: expected complex numbers, got {kind}")
        self._symbols = None
        if "pilot_symbols" in reader:
            symbols = self._numeric("pilot_symbols").reshape(-1).astype(np.complex128)
            if symbols.size not in (1, n_pilots):
                raise ObservationError(f"pilot_symbols: expected 1 or {n_pilots} of them, got {symbols.size}")
            self._symbols = symbols[self._order] if symbols.size > 1 else symbols[0]
            self._symbols = np.asarray(self._symbols)
        name = reader.attributes.get("scenario")
        if name is None and "scenario" in reader:
            name = str(reader.read("scenario").reshape(-1)[0])
        self.scenario_name: str | None = name
        for field, width in (("cir", None), ("cfr", self.pattern.n_used)):
            self._check_truth(field, width)

    def _check_truth(self, name: str, width: int | None) -> None:
        if name not in self._reader:
            return
        shape = self._reader.shape(name)
        fits = shape[-1:] == (width,) if width else bool(shape)
        if self._single:
            fits = width is None or int(np.prod(shape)) == width
        elif shape[:-1] != self.batch_shape:
            fits = False
        if not fits:
            wanted = ", ".join(map(str, (*self.batch_shape, width or "taps")))
            raise ObservationError(f"{name}: expected shape ({wanted}), got {shape}")

    def _numeric(self, name: str) -> np.ndarray:
        values = self._reader.read(name)
        if values.dtype.kind not in "iufc":
            raise ObservationError(f"{name}: expected numbers, got {values.dtype}")
        if not np.isfinite(values).all():
            raise ObservationError(f"{name}[{int(np.argmax(~np.isfinite(values.reshape(-1))))}]: NaN or Inf")
        return values

    def _number(self, name: str, default: int) -> int:
        if name not in self._reader:
            return default
        values = self._numeric(name).reshape(-1)
        if values.size != 1 or values.real[0] != round(float(values.real[0])):
            raise ObservationError(f"{name}: expected one whole number, got {values.tolist()[:3]}")
        return int(values.real[0])

    def _rows(self, name: str, at: Slices) -> np.ndarray:
        if self._single:
            return self._reader.read(name).reshape(1, -1)
        values = self._reader.read(name, at)
        return values.reshape(-1, values.shape[-1])

    def _truth(self, name: str, at: Slices) -> Tensor | None:
        if name not in self._reader:
            return None
        values = self._rows(name, at)
        self._refuse_non_finite(values, at, name)
        return torch.from_numpy(np.ascontiguousarray(values).astype(np.complex128))

    def _noise_rows(self, at: Slices, rows: int) -> Tensor | None:
        if "noise_variance" not in self._reader:
            return None
        shape = self._reader.shape("noise_variance")
        size = int(np.prod(shape))
        if size == 1:
            values = self._numeric("noise_variance").reshape(1).repeat(rows)
        elif shape == self.batch_shape:
            values = self._reader.read("noise_variance", at).reshape(-1)
        elif size == self.n_observations:
            values = self._reader.read("noise_variance").reshape(self.batch_shape)[at].reshape(-1)
        else:
            raise ObservationError(f"noise_variance: expected a number or shape {self.batch_shape}, got {shape}")
        return torch.from_numpy(values.real.astype(np.float64))

    def _refuse_non_finite(self, values: np.ndarray, at: Slices, name: str = "received_pilots") -> None:
        bad = ~np.isfinite(values)
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            if name == "received_pilots":
                column = int(self._order[column])
            lengths = tuple(s.stop - s.start for s in at)
            inner = np.unravel_index(row, lengths) if lengths else ()
            index = [s.start + int(i) for s, i in zip(at, inner, strict=True)]
            raise ObservationError(f"{self.path}: {name}[{', '.join(map(str, [*index, column]))}]: NaN or Inf")


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
