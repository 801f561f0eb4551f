"""Pilot patterns: the distinct, ascending subcarriers that carry known symbols."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import PilotError
from .scenario import Scenario

_PUBLISHED_SEED = 322  # RandomState of the published OFDM runs (facts, not code, of the paper's repository)


@dataclass(frozen=True)
class PilotPattern:
    """Distinct ascending pilot subcarriers of one OFDM symbol.

    Subcarriers are counted from DC. The band is -n_used/2...-1 and 1...n_used/2, or any other that is given, with
    DC or without. DFT bin = subcarrier mod n_fft.

    Args:
        subcarriers: (n_pilots,) integers.
        n_fft: DFT length.
        n_used: number of used subcarriers; that of the band where one is given.
        band: (n_used,) the used subcarriers, ascending, within n_fft of each other; what a model estimates.

    Raises:
        PilotError: fewer than 2 or more than n_used pilots, outside the band, on DC, duplicated or unsorted; a band
            that is not ascending or wider than n_fft.

    >>> PilotPattern((-300, -2, 1, 300)).bins.tolist()
    [724, 1022, 1, 300]
    >>> PilotPattern((-3, 0, 2), n_fft=8, band=(-4, -3, -2, -1, 0, 1, 2)).n_used
    7
    """

    subcarriers: tuple[int, ...]
    n_fft: int = 1024
    n_used: int = 600
    band: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.band is not None:
            self._check_band(np.asarray(self.band))
        given = np.asarray(self.subcarriers)
        if given.ndim != 1:
            raise PilotError(f"expected a vector, got shape {given.shape}", field="pilot subcarriers")
        if given.size and not np.all(np.isfinite(given.astype(float)) & (given == np.round(given))):
            raise PilotError("expected whole numbers", field="pilot subcarriers")
        if not 2 <= given.size <= self.n_used:
            raise PilotError(f"expected 2...{self.n_used} of them, got {given.size}", field="pilot subcarriers")
        for bad, what in self._misplaced(given):
            if bad.any():
                first = int(np.argmax(bad))
                raise PilotError(f"{given[first]:.15g} is {what}", field="pilot subcarriers", index=(first,))
        pilots = given.astype(np.int64)
        unique, counts = np.unique(pilots, return_counts=True)
        if unique.size != pilots.size:
            raise PilotError(f"{unique[np.argmax(counts)]} stands there more than once", field="pilot subcarriers")
        if np.any(np.diff(pilots) < 0):
            raise PilotError("expected ascending order; sort them with the received pilots", field="pilot subcarriers")
        object.__setattr__(self, "subcarriers", tuple(pilots.tolist()))

    def _misplaced(self, given: np.ndarray) -> tuple[tuple[np.ndarray, str], ...]:
        if self.band is not None:
            outside = ~np.isin(given, np.asarray(self.band))
            return ((outside, f"outside the band, {self.n_used} subcarriers in {self.band[0]}...{self.band[-1]}"),)
        half = self.n_used // 2
        return (
            (np.abs(given.astype(float)) > half, f"outside the band -{half}...-1, 1...{half}"),
            (given == 0, "on DC, which carries nothing"),
        )

    def _check_band(self, band: np.ndarray) -> None:
        if band.ndim != 1 or band.size < 2 or band.dtype.kind not in "iu":
            raise PilotError("expected a vector of at least two whole numbers", field="band")
        if np.any(np.diff(band) <= 0) or band[-1] - band[0] >= self.n_fft:
            raise PilotError(f"expected ascending subcarriers within n_fft = {self.n_fft} of each other", field="band")
        object.__setattr__(self, "band", tuple(band.tolist()))
        object.__setattr__(self, "n_used", band.size)

    def __len__(self) -> int:
        return len(self.subcarriers)

    @property
    def used_subcarriers(self) -> np.ndarray:
        """``(n_used,) int64``: the band."""
        if self.band is not None:
            return np.asarray(self.band, dtype=np.int64)
        half = self.n_used // 2
        return np.r_[-half:0, 1 : half + 1]

    @property
    def bins(self) -> np.ndarray:
        """``(n_pilots,) int64``: the DFT bins, subcarrier mod n_fft, in the order of the subcarriers."""
        return np.asarray(self.subcarriers, dtype=np.int64) % self.n_fft

    @classmethod
    def random(
        cls, n_pilots: int, seed: int, n_fft: int = 1024, n_used: int = 600, band: tuple[int, ...] | None = None
    ) -> "PilotPattern":
        """``n_pilots`` distinct subcarriers drawn uniformly from the used ones.

        >>> len(PilotPattern.random(75, seed=0)), PilotPattern.random(75, 0) == PilotPattern.random(75, 0)
        (75, True)
        """
        n_used = n_used if band is None else len(band)
        if not 2 <= n_pilots <= n_used:
            raise PilotError(f"expected 2...{n_used}, got {n_pilots}", field="pilots")
        positions = np.random.default_rng([seed, n_pilots]).choice(n_used, n_pilots, replace=False)
        return cls._at(positions, n_fft, n_used, band)

    @classmethod
    def comb(cls, spacing: int, offset: int = 0, n_fft: int = 1024, n_used: int = 600) -> "PilotPattern":
        """Every ``spacing``-th used subcarrier, beginning with the ``offset``-th: what LTE and NR transmit.

        >>> PilotPattern.comb(150).subcarriers
        (-300, -150, 1, 151)
        """
        if spacing < 1 or not 0 <= offset < spacing:
            raise PilotError(f"expected spacing >= 1 and 0 <= offset < spacing, got {spacing}, {offset}", field="comb")
        return cls._at(np.arange(offset, n_used, spacing), n_fft, n_used)

    @classmethod
    def published(cls, n_pilots: int, n_fft: int = 1024, n_used: int = 600) -> "PilotPattern":
        """The pattern of the published OFDM runs: ``n_pilots`` draws with replacement, made distinct.

        >>> [len(PilotPattern.published(m)) for m in (100, 75, 50)]
        [93, 73, 49]
        """
        if not 2 <= n_pilots <= n_used:
            raise PilotError(f"expected 2...{n_used}, got {n_pilots}", field="pilots")
        draws = np.random.RandomState(_PUBLISHED_SEED).choice(n_used, n_pilots)
        subcarriers = np.unique(draws) - n_used // 2
        return cls(tuple(subcarriers[subcarriers != 0]), n_fft, n_used)

    @classmethod
    def _at(
        cls, positions: Sequence[int] | np.ndarray, n_fft: int, n_used: int, band: tuple[int, ...] | None = None
    ) -> "PilotPattern":
        half = n_used // 2
        used = np.r_[-half:0, 1 : half + 1] if band is None else np.asarray(band)
        return cls(tuple(used[np.sort(np.asarray(positions))]), n_fft, n_used, band)


def draw_pattern(scenario: Scenario, seed: int) -> PilotPattern:
    """The pilot pattern of a run: drawn from the seed, or the published one where the scenario says so.

    >>> from chanest import load_scenario
    >>> len(draw_pattern(load_scenario("lte10").replace(n_pilots=50), seed=1))
    50
    """
    if scenario.pilot_draw == "published":
        return PilotPattern.published(scenario.n_pilots, scenario.n_fft, scenario.n_used)
    return PilotPattern.random(scenario.n_pilots, seed, scenario.n_fft, scenario.n_used)
