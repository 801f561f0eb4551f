"""Pilot patterns of Sionna from ours, and ours from any of Sionna's resource grids."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sionna.phy.ofdm import PilotPattern as SionnaPilotPattern
from sionna.phy.ofdm import ResourceGrid

from ...errors import PilotError
from ...problems import Grid, PilotPattern


@dataclass(frozen=True)
class StreamPilots:
    """The pilots of one stream on one OFDM symbol of a resource grid.

    Attributes:
        tx, stream, ofdm_symbol: which.
        pattern: where they lie, with the grid's effective subcarriers as the band.
        places: (n_pilots,) int64, which of the stream's ``pilots`` they are, in the order of the pattern.
    """

    tx: int
    stream: int
    ofdm_symbol: int
    pattern: PilotPattern
    places: np.ndarray


@dataclass(frozen=True)
class Elements:
    """The resource elements on which one stream sends a pilot that is not zero, in Sionna's order.

    Attributes:
        tx, stream: whose.
        symbols, subcarriers: (n,) int64: OFDM symbol, and subcarrier counted from DC.
        places: (n,) int64: index into the stream's ``pilots``.
    """

    tx: int
    stream: int
    symbols: np.ndarray
    subcarriers: np.ndarray
    places: np.ndarray


def grid_band(resource_grid: ResourceGrid) -> tuple[int, ...]:
    """The effective subcarriers of a grid, ascending, counted from DC.

    >>> grid_band(ResourceGrid(1, 8, 15e3, num_guard_carriers=(1, 2), dc_null=True))
    (-3, -2, -1, 1)
    """
    return tuple((resource_grid.effective_subcarrier_ind - resource_grid.dc_ind).tolist())


def pilot_elements(resource_grid: ResourceGrid) -> Iterator[Elements]:
    """Where every stream sends its pilots, transmitter by transmitter.

    Raises:
        PilotError: a stream sends none.

    >>> grid = ResourceGrid(2, 8, 15e3, pilot_pattern="kronecker", pilot_ofdm_symbol_indices=[1])
    >>> [elements.subcarriers.tolist() for elements in pilot_elements(grid)]
    [[-4, -3, -2, -1, 0, 1, 2, 3]]
    """
    band = np.array(grid_band(resource_grid))
    mask = resource_grid.pilot_pattern.mask.cpu().numpy()
    pilots = resource_grid.pilot_pattern.pilots.detach().cpu().numpy()
    for tx, stream in np.ndindex(mask.shape[:2]):
        symbols, positions = np.nonzero(mask[tx, stream])
        sent = np.flatnonzero(pilots[tx, stream])
        if not sent.size:
            raise PilotError(f"transmitter {tx}, stream {stream}: sends no pilots; give the resource grid a pattern")
        yield Elements(tx, stream, symbols[sent], band[positions[sent]], sent)


def pilot_patterns(resource_grid: ResourceGrid, n_fft: int | None = None) -> list[StreamPilots]:
    """The pilots of every stream on every OFDM symbol where it sends any, as patterns of this package.

    Zeros in a stream's pilots, where the others send, are no pilots of its own. Sionna's grids run from the lowest
    frequency to the highest and so do the patterns; the DFT bins of a pattern need not ascend.

    Args:
        resource_grid: any.
        n_fft: DFT length of the patterns; the grid's when not given.

    Raises:
        PilotError: a stream sends no pilots, or one only on some symbol.

    >>> grid = ResourceGrid(14, 64, 15e3, num_tx=2, num_guard_carriers=(6, 5), dc_null=True,
    ...                     pilot_pattern="kronecker", pilot_ofdm_symbol_indices=[2, 11])
    >>> [(p.tx, p.ofdm_symbol, len(p.pattern), int(p.pattern.bins[0])) for p in pilot_patterns(grid)]
    [(0, 2, 26, 38), (0, 11, 26, 38), (1, 2, 26, 39), (1, 11, 26, 39)]
    """
    n_fft, band = n_fft or resource_grid.fft_size, grid_band(resource_grid)
    found = []
    for elements in pilot_elements(resource_grid):
        for symbol in np.unique(elements.symbols).tolist():
            here = elements.symbols == symbol
            pattern = checked_pattern(elements, elements.subcarriers[here], f"OFDM symbol {symbol}", n_fft, band)
            found.append(StreamPilots(elements.tx, elements.stream, symbol, pattern, elements.places[here]))
    return found


def checked_pattern(
    elements: Elements, subcarriers: np.ndarray, where: str, n_fft: int, band: tuple[int, ...]
) -> PilotPattern:
    """The pattern of some ascending subcarriers; PilotError, naming stream and symbol, when there is one only."""
    if subcarriers.size < 2:
        raise PilotError(
            f"transmitter {elements.tx}, stream {elements.stream}: {where} has {subcarriers.size} pilot, "
            'expected at least 2; for a static channel, time="static" pools the symbols'
        )
    return PilotPattern(tuple(subcarriers.tolist()), Grid(n_fft, band))


def random_pilot_pattern(
    n_pilots: int, resource_grid: ResourceGrid, ofdm_symbols: Sequence[int] = (0,), seed: int = 0
) -> SionnaPilotPattern:
    """Random distinct subcarriers on some OFDM symbols, one set per stream, data on the others.

    Every symbol has a draw of its own; that of the first is ``PilotPattern.random`` with the same seed on the grid's
    effective subcarriers, dealt out among the streams. Pilots are QPSK of modulus 1, not normalised: where one stream
    sends a pilot the others send zero.

    Args:
        n_pilots: of every stream on every one of the symbols.
        resource_grid: gives streams and subcarriers; its present pilots do not matter.
        ofdm_symbols: which symbols carry pilots.
        seed: positions and values; the same in every run.

    Raises:
        PilotError: a symbol that is not there or stands there twice, more pilots than subcarriers, fewer than 2.

    >>> grid = ResourceGrid(12, 1024, 15e3, cyclic_prefix_length=256, num_guard_carriers=(212, 211), dc_null=True)
    >>> grid.pilot_pattern = random_pilot_pattern(75, grid, ofdm_symbols=[2], seed=0)
    >>> grid.num_pilot_symbols, grid.num_data_symbols, pilot_patterns(grid)[0].pattern.subcarriers[:3]
    (75, 7125, (-300, -296, -295))
    """
    symbols = sorted(ofdm_symbols)
    n_symbols, band = resource_grid.num_ofdm_symbols, grid_band(resource_grid)
    distinct = symbols and len(set(symbols)) == len(symbols) and 0 <= symbols[0] <= symbols[-1] < n_symbols
    PilotError.unless(distinct, f"distinct ones in 0...{n_symbols - 1}", list(ofdm_symbols), "ofdm_symbols")
    streams = resource_grid.num_tx, resource_grid.num_streams_per_tx
    n_streams = streams[0] * streams[1]
    most = f"2...{len(band) // n_streams} for each of {n_streams} streams on {len(band)} subcarriers"
    PilotError.unless(2 <= n_pilots <= len(band) // n_streams, most, n_pilots, "n_pilots")
    mask = np.zeros((*streams, n_symbols, len(band)), dtype=bool)
    pilots = np.zeros((n_streams, len(symbols), n_pilots * n_streams), dtype=np.complex128)
    generator = np.random.default_rng([seed, n_pilots, n_streams])
    for i, symbol in enumerate(symbols):
        drawn = PilotPattern.random(n_pilots * n_streams, seed + i, Grid(resource_grid.fft_size, band))
        mask[..., symbol, np.searchsorted(band, drawn.subcarriers)] = True
        owner = generator.permutation(np.arange(n_pilots * n_streams) % n_streams)
        values = np.exp(0.25j * np.pi * (2 * generator.integers(4, size=owner.size) + 1))
        pilots[owner, i, np.arange(owner.size)] = values
    return SionnaPilotPattern(
        mask, pilots.reshape(*streams, -1), precision=resource_grid.precision, device=resource_grid.device
    )
