"""Pilot patterns: the distinct, ascending subcarriers that carry known symbols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ...errors import PilotError
from ...lazy import torch
from .grid import Grid

if TYPE_CHECKING:
    from ...operators import PartialDFT

_PUBLISHED_SEED = 322  # RandomState of the published OFDM runs (facts, not code, of the paper's repository)
_LTE10 = Grid()


@lru_cache(maxsize=64)
def _array(grid: Grid) -> np.ndarray:
    return np.asarray(grid.used_subcarriers, dtype=np.int64)


@dataclass(frozen=True)
class PilotPattern:
    """Distinct ascending pilot subcarriers of one OFDM symbol, counted from the carrier's centre.

    DFT bin = subcarrier mod n_fft.

    Args:
        subcarriers: (n_pilots,) integers.
        grid: DFT length and used subcarriers, which are where a channel is estimated.

    Raises:
        PilotError: fewer than 2 or more than n_used pilots, outside the band, on an empty DC, duplicated or unsorted.

    >>> PilotPattern((-300, -2, 1, 300)).bins.tolist()
    [724, 1022, 1, 300]
    >>> PilotPattern((-3, 0, 2), Grid(8, range(-4, 3))).n_used
    7
    """

    subcarriers: tuple[int, ...]
    grid: Grid = _LTE10

    def __post_init__(self) -> None:
        given, name = np.asarray(self.subcarriers), "pilot subcarriers"
        if given.ndim != 1:
            raise PilotError(f"expected a vector, got shape {given.shape}", field=name)
        if given.size and not np.all(np.isfinite(given.astype(float)) & (given == np.round(given))):
            raise PilotError("expected whole numbers", field=name)
        if not 2 <= given.size <= self.n_used:
            raise PilotError(f"expected 2...{self.n_used} of them, got {given.size}", field=name)
        outside = ~np.isin(given, self.used_subcarriers)
        if outside.any():
            first = int(np.argmax(outside))
            why = "on DC, which carries nothing" if given[first] == 0 else f"outside the band {self.grid}"
            raise PilotError(f"{given[first]:.15g} is {why}", field=name, index=(first,))
        pilots = given.astype(np.int64)
        unique, counts = np.unique(pilots, return_counts=True)
        if unique.size != pilots.size:
            raise PilotError(f"{unique[np.argmax(counts)]} stands there more than once", field=name)
        if np.any(np.diff(pilots) < 0):
            raise PilotError("expected ascending order; sort them with the received pilots", field=name)
        object.__setattr__(self, "subcarriers", tuple(pilots.tolist()))
        object.__setattr__(self, "_hash", hash((self.subcarriers, self.grid)))

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self.subcarriers)

    @property
    def n_measurements(self) -> int:
        """Number of pilots: rows of Phi."""
        return len(self.subcarriers)

    @property
    def n_fft(self) -> int:
        """DFT length."""
        return self.grid.n_fft

    @property
    def n_used(self) -> int:
        """Number of used subcarriers."""
        return self.grid.n_used

    @property
    def used_subcarriers(self) -> np.ndarray:
        """``(n_used,) int64``: the grid's."""
        return _array(self.grid).copy()

    @property
    def bins(self) -> np.ndarray:
        """``(n_pilots,) int64``: the DFT bins, subcarrier mod n_fft, in the order of the subcarriers."""
        return np.asarray(self.subcarriers, dtype=np.int64) % self.n_fft

    def operator(
        self,
        n_taps: int,
        first_tap_samples: float = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        spacing_samples: float = 1.0,
        window_told: bool = False,
        coarse_ratio: int = 4,
    ) -> PartialDFT:
        """Phi from the taps of a delay window to these pilots.

        Args:
            n_taps, first_tap_samples, dtype, device, spacing_samples, window_told, coarse_ratio: as of
                :class:`PartialDFT`; complex64 where no dtype is given.

        Raises:
            OperatorError: more taps than n_fft.

        >>> PilotPattern.random(75, seed=0).operator(256).forward(torch.zeros(3, 256) + 0j).shape
        torch.Size([3, 75])
        """
        from ...operators import PartialDFT

        taps, dtype = (n_taps, first_tap_samples, self.n_fft), dtype or torch.complex64
        return PartialDFT(
            torch.tensor(self.subcarriers), *taps, dtype, device, spacing_samples, window_told, coarse_ratio
        )

    @classmethod
    def random(cls, n_pilots: int, seed: int, grid: Grid = _LTE10) -> PilotPattern:
        """``n_pilots`` distinct subcarriers drawn uniformly from the used ones.

        Args:
            n_pilots: at least 2.
            seed: of the draw; the same pilots for the same seed and number.
            grid: DFT length and used subcarriers.

        >>> len(PilotPattern.random(75, seed=0)), PilotPattern.random(75, 0) == PilotPattern.random(75, 0)
        (75, True)
        """
        _check_count(n_pilots, grid)
        return cls._at(np.random.default_rng([seed, n_pilots]).choice(grid.n_used, n_pilots, replace=False), grid)

    @classmethod
    def comb(cls, spacing: int, offset: int = 0, grid: Grid = _LTE10) -> PilotPattern:
        """Every ``spacing``-th used subcarrier, beginning with the ``offset``-th: what LTE and NR transmit.

        Args:
            spacing: in used subcarriers.
            offset: 0...spacing - 1.
            grid: DFT length and used subcarriers.

        >>> PilotPattern.comb(150).subcarriers
        (-300, -150, 1, 151)
        """
        if spacing < 1 or not 0 <= offset < spacing:
            raise PilotError(f"expected spacing >= 1 and 0 <= offset < spacing, got {spacing}, {offset}", field="comb")
        return cls._at(np.arange(offset, grid.n_used, spacing), grid)

    @classmethod
    def lte_crs(
        cls, grid: Grid = _LTE10, shift: int = 0, port: int = 0, symbol: int = 0, slot: int = 0
    ) -> PilotPattern:
        """Cell-specific reference signals of LTE: every sixth subcarrier (3GPP TS 36.211, 6.10.1.2).

        Args:
            grid: an LTE carrier.
            shift: the cell's identity modulo 6.
            port: 0...3.
            symbol: of the slot: 0 or 4, of ports 2 and 3 always 1.
            slot: its number; ports 2 and 3 alternate.

        >>> PilotPattern.lte_crs().subcarriers[:3], PilotPattern.lte_crs(shift=1, port=1).subcarriers[0]
        ((-300, -294, -288), -296)
        """
        PilotError.unless(0 <= port <= 3, "port 0...3", port, "pilots")
        first = symbol == 0
        v = (0 if first else 3, 3 if first else 0, 3 * (slot % 2), 3 + 3 * (slot % 2))[port]
        return cls.comb(6, (v + shift) % 6, grid)

    @classmethod
    def nr_dmrs(cls, grid: Grid, kind: int = 1, port: int = 0) -> PilotPattern:
        """Demodulation reference signals of NR on all resource blocks of a grid (3GPP TS 38.211, 7.4.1.1.2).

        Ports of one CDM group lie on the same subcarriers: superposed layers.

        Args:
            grid: an NR carrier.
            kind: type 1 (a comb of 2, two groups), or 2 (two of six, three groups).
            port: 0...3 or 0...5: the antenna port less 1000.

        >>> grid = Grid.nr(52)
        >>> PilotPattern.nr_dmrs(grid).subcarriers[:3], PilotPattern.nr_dmrs(grid, 2, 2).subcarriers[:3]
        ((-312, -310, -308), (-310, -309, -304))
        """
        PilotError.unless(kind in (1, 2), "type 1 or 2", kind, "pilots")
        PilotError.unless(0 <= port < 2 + 2 * kind, f"port 0...{1 + 2 * kind}", port, "pilots")
        if kind == 1:
            return cls.comb(2, port // 2, grid)
        at = np.arange(grid.n_used)
        return cls._at(at[(at % 6) // 2 == port // 2], grid)

    @classmethod
    def wifi_ltf(cls, grid: Grid) -> PilotPattern:
        """The long training field of Wi-Fi: every used subcarrier.

        >>> len(PilotPattern.wifi_ltf(Grid.wifi(20, legacy=True)))
        52
        """
        return cls.comb(1, 0, grid)

    @classmethod
    def published(cls, n_pilots: int, grid: Grid = _LTE10) -> PilotPattern:
        """The pattern of the published OFDM runs: ``n_pilots`` draws with replacement, made distinct.

        Args:
            n_pilots: draws; a few fewer subcarriers come of them.
            grid: DFT length and used subcarriers.

        >>> [len(PilotPattern.published(m)) for m in (100, 75, 50)]
        [93, 73, 49]
        """
        _check_count(n_pilots, grid)
        draws = np.random.RandomState(_PUBLISHED_SEED).choice(grid.n_used, n_pilots)
        subcarriers = np.unique(draws) - grid.n_used // 2
        return cls(tuple(subcarriers[subcarriers != 0]), grid)

    @classmethod
    def _at(cls, positions: Sequence[int] | np.ndarray, grid: Grid) -> PilotPattern:
        return cls(tuple(np.asarray(grid.used_subcarriers)[np.sort(positions)]), grid)


def pattern_of(
    pilot_subcarriers: Sequence[int] | np.ndarray,
    n_fft: int | None = None,
    used_subcarriers: Sequence[int] | np.ndarray | None = None,
) -> tuple[PilotPattern, np.ndarray | None]:
    """A pattern of pilots given in any order, and that order; None where they ascend already.

    Args:
        pilot_subcarriers: (n_pilots,) whole numbers, counted from the carrier's centre.
        n_fft: DFT length; 1024 when not given and the pilots span at least 300 of the subcarriers of LTE at 10 MHz.
        used_subcarriers: of the grid; when not given those of LTE at 10 MHz where the pilots fit in, else all from the
            lowest to the highest pilot.

    Raises:
        PilotError: no pattern, or a DFT length that cannot be guessed.

    >>> pattern, order = pattern_of([26, -26, 1], n_fft=64)
    >>> pattern.subcarriers, pattern.n_used, order.tolist()
    ((-26, 1, 26), 53, [1, 2, 0])
    """
    pilots = np.asarray(pilot_subcarriers)
    name = "pilot subcarriers"
    if pilots.ndim != 1:
        raise PilotError(f"expected a vector, got shape {pilots.shape}", field=name)
    if pilots.size < 2:
        raise PilotError(f"expected at least 2 of them, got {pilots.size}", field=name)
    if not np.all(np.isfinite(pilots.astype(float)) & (pilots == np.round(pilots))):
        raise PilotError("expected whole numbers", field=name)
    order = np.argsort(pilots, kind="stable")
    pilots = pilots[order].astype(np.int64)
    if np.any(pilots[1:] == pilots[:-1]):
        again = int(np.argmax(pilots[1:] == pilots[:-1])) + 1
        raise PilotError(f"{pilots[again]} stands there more than once", field=name, index=(again,))
    in_lte10 = bool(np.isin(pilots, _LTE10.used_subcarriers).all())
    if n_fft is None:
        if not in_lte10 or pilots[-1] - pilots[0] < 300:
            raise PilotError(
                f"expected the DFT length beside pilots in {pilots[0]}...{pilots[-1]}; give it, such as 64 for Wi-Fi's "
                "20 MHz",
                field="n_fft",
            )
        n_fft = _LTE10.n_fft
    if used_subcarriers is not None:
        used = np.sort(np.asarray(used_subcarriers))
    elif in_lte10 and n_fft == _LTE10.n_fft:
        used = np.asarray(_LTE10.used_subcarriers)
    else:
        if pilots[-1] - pilots[0] >= n_fft:
            raise PilotError(
                f"expected them within n_fft = {n_fft} of each other, got {pilots[0]}...{pilots[-1]}", field=name
            )
        used = np.arange(pilots[0], pilots[-1] + 1)
    pattern = PilotPattern(tuple(pilots.tolist()), Grid(int(n_fft), tuple(used.tolist())))
    return pattern, None if np.all(np.diff(order) > 0) else order


def _check_count(n_pilots: int, grid: Grid) -> None:
    if not 2 <= n_pilots <= grid.n_used:
        raise PilotError(f"expected 2...{grid.n_used}, got {n_pilots}", field="pilots")
