"""Pilots on several OFDM symbols of a slot, and when these and the symbols of interest are."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...errors import PilotError
from .grid import Grid
from .pilots import PilotPattern, pattern_of


@dataclass(frozen=True)
class SlotPattern:
    """Pilots of several OFDM symbols, of each symbol at distinct ascending subcarriers, one symbol after the other.

    Args:
        patterns: of every symbol that carries pilots, on one grid.
        times_s: (P,) when these symbols are, ascending.
        output_times_s: (S,) when the channel is wanted; on the symbols with pilots when not given.

    Raises:
        PilotError: no patterns, patterns of several grids, times that do not ascend, or not one for each pattern.

    >>> pattern = SlotPattern((PilotPattern.comb(8), PilotPattern.comb(8, 4)), (0.0, 5e-4))
    >>> len(pattern), pattern.symbol.shape, pattern.output_times_s
    (150, (150,), (0.0, 0.0005))
    """

    patterns: tuple[PilotPattern, ...]
    times_s: tuple[float, ...]
    output_times_s: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        times, name = np.asarray(self.times_s, dtype=float), "symbol_times_s"
        if not self.patterns or any(p.grid != self.patterns[0].grid for p in self.patterns):
            raise PilotError("expected pilots on one grid, of at least one symbol", field="patterns")
        if times.shape != (len(self.patterns),):
            raise PilotError(f"expected {len(self.patterns)} of them, got shape {times.shape}", field=name)
        if not np.isfinite(times).all() or np.any(np.diff(times) <= 0):
            raise PilotError("expected finite times that ascend", field=name)
        wanted = np.asarray(self.output_times_s, dtype=float)
        if wanted.ndim != 1 or not np.isfinite(wanted).all():
            raise PilotError("expected a vector of finite times", field="output_times_s")
        object.__setattr__(self, "times_s", tuple(times.tolist()))
        object.__setattr__(self, "output_times_s", tuple(wanted.tolist()) or self.times_s)

    def __len__(self) -> int:
        return sum(map(len, self.patterns))

    @property
    def grid(self) -> Grid:
        """DFT length and used subcarriers."""
        return self.patterns[0].grid

    @property
    def n_fft(self) -> int:
        """DFT length."""
        return self.grid.n_fft

    @property
    def n_measurements(self) -> int:
        """Pilots of all symbols."""
        return len(self)

    @property
    def n_used(self) -> int:
        """Number of used subcarriers."""
        return self.grid.n_used

    @property
    def subcarriers(self) -> tuple[int, ...]:
        """(n_pilots,) of all symbols, one after the other."""
        return tuple(k for pattern in self.patterns for k in pattern.subcarriers)

    @property
    def used_subcarriers(self) -> np.ndarray:
        """``(n_used,) int64``: the grid's."""
        return self.patterns[0].used_subcarriers

    @cached_property
    def symbol(self) -> np.ndarray:
        """``(n_pilots,) int64``: which of the symbols with pilots each stands on."""
        return np.repeat(np.arange(len(self.patterns)), [len(p) for p in self.patterns])

    @cached_property
    def merged(self) -> PilotPattern:
        """All subcarriers that carry pilots on some symbol."""
        return PilotPattern(tuple(sorted({k for p in self.patterns for k in p.subcarriers})), self.grid)


def slot_pattern_of(
    pilot_subcarriers: Sequence[int] | np.ndarray,
    pilot_symbol_index: Sequence[int] | np.ndarray,
    symbol_times_s: Sequence[float] | np.ndarray,
    n_fft: int | None = None,
    used_subcarriers: Sequence[int] | np.ndarray | None = None,
    output_times_s: Sequence[float] | np.ndarray | None = None,
) -> tuple[SlotPattern, np.ndarray | None]:
    """Pilots of several symbols in any order, and that order; None where they stand in order already.

    Args:
        pilot_subcarriers: (n_pilots,) whole numbers, counted from the carrier's centre; a symbol's are distinct.
        pilot_symbol_index: (n_pilots,) which symbol each stands on.
        symbol_times_s: (n_symbols,) of all symbols of the slot.
        n_fft, used_subcarriers: as of :func:`pattern_of`, from the subcarriers of all symbols.
        output_times_s: when the channel is wanted; on all symbols when not given.

    Raises:
        PilotError: no pattern, an index without a time, or a DFT length that cannot be guessed.

    >>> pattern, order = slot_pattern_of([-4, 4, -2, 6], [1, 1, 0, 0], [0.0, 1e-3], n_fft=64)
    >>> pattern.patterns[0].subcarriers, pattern.times_s, order.tolist()
    ((-2, 6), (0.0, 0.001), [2, 3, 0, 1])
    """
    pilots, index = np.asarray(pilot_subcarriers), np.asarray(pilot_symbol_index)
    name = "pilot_symbol_index"
    times = _real(symbol_times_s, "symbol_times_s")
    if pilots.ndim != 1:
        raise PilotError(f"expected a vector, got shape {pilots.shape}", field="pilot subcarriers")
    if index.shape != pilots.shape:
        raise PilotError(f"expected one for each of {len(pilots)} pilots, got shape {index.shape}", field=name)
    if times.ndim != 1 or not len(times):
        raise PilotError(f"expected a vector, got shape {times.shape}", field="symbol_times_s")
    if index.dtype.kind == "c" or not np.all(np.isfinite(index.astype(float)) & (index == np.round(index))):
        raise PilotError("expected whole numbers", field=name)
    index = index.astype(np.int64)
    if index.size and not (index.min() >= 0 and index.max() < len(times)):
        raise PilotError(
            f"expected 0...{len(times) - 1}, as there are times, got {index.min()}...{index.max()}", field=name
        )
    unique, first = np.unique(pilots, return_index=True)
    try:
        merged, _ = pattern_of(unique, n_fft, used_subcarriers)
    except PilotError as error:
        raise error.at(index=tuple(int(first[i]) for i in error.index)) from None
    order = np.lexsort((pilots, index))
    made, carrying = [], np.unique(index)
    for symbol in carrying:
        own = np.sort(pilots[index == symbol]).astype(np.int64)
        try:
            made.append(PilotPattern(tuple(own.tolist()), merged.grid))
        except PilotError as error:
            raise PilotError(f"symbol {symbol}: {error}") from None
    wanted = times if output_times_s is None else _real(output_times_s, "output_times_s")
    pattern = SlotPattern(tuple(made), tuple(times[carrying]), tuple(np.atleast_1d(wanted)))
    return pattern, None if np.array_equal(order, np.arange(len(order))) else order


def _real(values: Sequence[float] | np.ndarray, name: str) -> np.ndarray:
    """Real numbers in float64."""
    given = np.asarray(values)
    if given.dtype.kind not in "iuf":
        raise PilotError(f"expected real numbers, got {given.dtype}", field=name)
    return given.astype(np.float64)
