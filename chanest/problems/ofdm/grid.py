"""OFDM grids: the DFT length and the subcarriers in use."""

import re
from dataclasses import dataclass, field

import numpy as np

from ...errors import PilotError

_LTE10 = (*range(-300, 0), *range(1, 301))
_LTE = {1.4: (6, 128), 3: (15, 256), 5: (25, 512), 10: (50, 1024), 15: (75, 1536), 20: (100, 2048)}  # RB, n_fft
_WIFI = {20: ((1, 28), 64), 40: ((2, 58), 128), 80: ((2, 122), 256)}  # of each half: first, last; n_fft
_RUNS = 4  # of subcarriers in a row, that are written out
_FULLEST = 0.85  # of a DFT that NR's carriers fill
NAMES = "lte1.4, lte3, lte5, lte10, lte15, lte20, nr-PRBS-KHZ (nr-106-30), wifi20, wifi20-legacy, wifi40, wifi80"


@dataclass(frozen=True)
class Grid:
    """An OFDM grid; without arguments that of LTE at 10 MHz: 600 of 1024 subcarriers, DC empty.

    Args:
        n_fft: DFT length.
        used_subcarriers: (n_used,) whole numbers, ascending, counted from the carrier's centre, within n_fft of each
            other; with DC (0) or without, with holes or without.
        subcarrier_spacing_hz: where it is known; two grids may be equal without it.

    Raises:
        PilotError: fewer than two subcarriers, not ascending, or wider than n_fft.

    >>> Grid().n_used, Grid(64, range(-26, 27)).n_used
    (600, 53)
    >>> Grid()
    Grid(n_fft=1024, used_subcarriers=(*range(-300, 0), *range(1, 301)))
    """

    n_fft: int = 1024
    used_subcarriers: tuple[int, ...] = _LTE10
    subcarrier_spacing_hz: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        used = np.asarray(self.used_subcarriers)
        if used.ndim != 1 or used.size < 2 or used.dtype.kind not in "iu":
            raise PilotError("expected a vector of at least two whole numbers", field="used_subcarriers")
        if np.any(np.diff(used) <= 0) or used[-1] - used[0] >= self.n_fft:
            raise PilotError(
                f"expected ascending subcarriers within n_fft = {self.n_fft} of each other", field="used_subcarriers"
            )
        object.__setattr__(self, "used_subcarriers", tuple(used.tolist()))
        object.__setattr__(self, "_hash", hash((self.n_fft, self.used_subcarriers)))

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        used = np.asarray(self.used_subcarriers)
        runs = np.split(used, np.flatnonzero(np.diff(used) > 1) + 1)
        said = ", ".join(f"*range({run[0]}, {run[-1] + 1})" for run in runs[:_RUNS]) + ", ..." * (len(runs) > _RUNS)
        spacing = "" if self.subcarrier_spacing_hz is None else f", subcarrier_spacing_hz={self.subcarrier_spacing_hz}"
        return f"Grid(n_fft={self.n_fft}, used_subcarriers=({said}){spacing})"

    @classmethod
    def around_dc(cls, n_used: int, n_fft: int = 1024) -> "Grid":
        """The band -n_used/2...-1, 1...n_used/2 of LTE, DC empty.

        Args:
            n_used: subcarriers, an even number.
            n_fft: DFT length.

        >>> Grid.around_dc(4, 8).used_subcarriers
        (-2, -1, 1, 2)
        """
        half = n_used // 2
        return cls(n_fft, (*range(-half, 0), *range(1, half + 1)))

    @classmethod
    def lte(cls, mhz: float = 10) -> "Grid":
        """A downlink carrier of LTE, DC empty (3GPP TS 36.104, table 5.6-1; TS 36.211, 6.12).

        Args:
            mhz: 1.4, 3, 5, 10, 15 or 20.

        >>> Grid.lte(20).n_fft, Grid.lte(20).n_used, Grid.lte(10) == Grid()
        (2048, 1200, True)
        """
        PilotError.unless(mhz in _LTE, "1.4, 3, 5, 10, 15 or 20 MHz", f"{mhz:g}", "grid")
        n_blocks, n_fft = _LTE[mhz]
        band = cls.around_dc(12 * n_blocks, n_fft)
        return cls(n_fft, band.used_subcarriers, 15e3)

    @classmethod
    def nr(cls, n_prb: int, scs_khz: float = 30, n_fft: int | None = None) -> "Grid":
        """A carrier of NR, DC in use: 12 ``n_prb`` subcarriers from -6 ``n_prb`` on (3GPP TS 38.211, 4.4.4 and 5.3.1).

        Args:
            n_prb: resource blocks, 1...275; TS 38.101-1, table 5.3.2-1, has those of every bandwidth.
            scs_khz: subcarrier spacing, 15, 30, 60, 120 ...
            n_fft: the smallest power of two that they fill to 85 % when not given; only k/n_fft counts.

        >>> grid = Grid.nr(273, 30)
        >>> grid.n_fft, grid.used_subcarriers[0], grid.used_subcarriers[-1]
        (4096, -1638, 1637)
        """
        PilotError.unless(1 <= n_prb <= 275, "1...275 resource blocks", n_prb, "grid")
        spacings = (15, 30, 60, 120, 240, 480, 960)
        PilotError.unless(scs_khz in spacings, "15, 30, 60, 120 ... kHz", f"{scs_khz:g}", "grid")
        least = 12 * n_prb / _FULLEST
        return cls(n_fft or 2 ** int(np.ceil(np.log2(least))), tuple(range(-6 * n_prb, 6 * n_prb)), scs_khz * 1e3)

    @classmethod
    def wifi(cls, mhz: int = 20, legacy: bool = False) -> "Grid":
        """Subcarriers of Wi-Fi, HT and VHT (IEEE 802.11-2020, 19.3.7 and 21.3.7), 312.5 kHz apart, DC empty.

        Args:
            mhz: 20 (56 of 64 subcarriers), 40 (114 of 128) or 80 (242 of 256).
            legacy: the 52 of 802.11a and g (17.3.5.10), 20 MHz only.

        >>> Grid.wifi(40).n_used, Grid.wifi(20, legacy=True).n_used
        (114, 52)
        """
        PilotError.unless(mhz in _WIFI and not (legacy and mhz != 20), "20, 40 or 80 MHz, legacy 20", mhz, "grid")
        (first, last), n_fft = _WIFI[mhz]
        last = 26 if legacy else last
        return cls(n_fft, (*range(-last, -first + 1), *range(first, last + 1)), 312.5e3)

    @classmethod
    def named(cls, name: str) -> "Grid":
        """A grid by its name: ``lte20``, ``nr-106-30``, ``wifi20``, ``wifi20-legacy``.

        >>> Grid.named("nr-106-30") == Grid.nr(106, 30)
        True
        """
        found = re.fullmatch(r"(lte)([\d.]+)|(nr)-(\d+)-(\d+)|(wifi)(\d+)(-legacy)?", name.lower())
        PilotError.unless(found is not None, f"one of {NAMES}", name, "grid")
        assert found is not None
        lte, mhz, nr, n_prb, khz, _, wifi_mhz, legacy = found.groups()
        if lte:
            return cls.lte(float(mhz))
        return cls.nr(int(n_prb), int(khz)) if nr else cls.wifi(int(wifi_mhz), legacy is not None)

    @property
    def n_used(self) -> int:
        """Number of used subcarriers."""
        return len(self.used_subcarriers)

    def __str__(self) -> str:
        """The band in words, such as ``-300...-1, 1...300``."""
        used = np.asarray(self.used_subcarriers)
        runs = np.split(used, np.flatnonzero(np.diff(used) > 1) + 1)
        if len(runs) > 4:
            return f"of {self.n_used} subcarriers in {used[0]}...{used[-1]}"
        return ", ".join(f"{run[0]}...{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
