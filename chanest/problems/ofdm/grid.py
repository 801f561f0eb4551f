"""OFDM grids: the DFT length and the subcarriers in use."""

from dataclasses import dataclass

import numpy as np

from ...errors import PilotError

_LTE10 = (*range(-300, 0), *range(1, 301))


@dataclass(frozen=True)
class Grid:
    """An OFDM grid; without arguments that of LTE at 10 MHz: 600 of 1024 subcarriers, DC empty.

    Args:
        n_fft: DFT length.
        used_subcarriers: (n_used,) whole numbers, ascending, counted from the carrier's centre, within n_fft of each
            other; with DC (0) or without, with holes or without.

    Raises:
        PilotError: fewer than two subcarriers, not ascending, or wider than n_fft.

    >>> Grid().n_used, Grid(64, range(-26, 27)).n_used
    (600, 53)
    """

    n_fft: int = 1024
    used_subcarriers: tuple[int, ...] = _LTE10

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

    @classmethod
    def around_dc(cls, n_used: int, n_fft: int = 1024) -> "Grid":
        """The band -n_used/2...-1, 1...n_used/2 of LTE, DC empty.

        >>> Grid.around_dc(4, 8).used_subcarriers
        (-2, -1, 1, 2)
        """
        half = n_used // 2
        return cls(n_fft, (*range(-half, 0), *range(1, half + 1)))

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
