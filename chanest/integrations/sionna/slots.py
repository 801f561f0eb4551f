"""Streams of a resource grid as slots: pilots of all symbols together, layers, antennas as snapshots."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from ...models import Model
from ...models.arcs import ENOUGH
from ...problems import SlotPattern
from .patterns import Elements, checked_pattern, grid_band, pilot_elements


@dataclass(frozen=True)
class Slot:
    """Streams that send their pilots on the same resource elements.

    Attributes:
        streams: which, counted through.
        pattern: of these elements, symbol by symbol.
        elements: (n_pilots,) int64 indices into the grid, in the order of the pattern.
        places: (n_streams, n_pilots) int64, which of a stream's pilots.
    """

    streams: tuple[int, ...]
    pattern: SlotPattern
    elements: Tensor
    places: Tensor


def slots_of(resource_grid: ResourceGrid, n_fft: int) -> list[Slot]:
    """The streams of a grid; those that send their pilots on the same resource elements are layers of one slot.

    Args:
        resource_grid: any with pilots.
        n_fft: DFT length of the patterns.

    Raises:
        PilotError: a stream sends no pilots, or one only on some symbol.

    >>> grid = ResourceGrid(14, 64, 15e3, num_tx=2, pilot_pattern="kronecker", pilot_ofdm_symbol_indices=[2, 11])
    >>> [(slot.streams, len(slot.pattern)) for slot in slots_of(grid, 64)]
    [((0,), 64), ((1,), 64)]
    """
    together: dict[bytes, list[tuple[int, Elements]]] = {}
    for stream, elements in enumerate(pilot_elements(resource_grid)):
        index = elements.symbols * resource_grid.fft_size + elements.subcarriers
        together.setdefault(np.sort(index).tobytes(), []).append((stream, elements))
    return [_slot(resource_grid, n_fft, members) for members in together.values()]


def _slot(resource_grid: ResourceGrid, n_fft: int, members: Iterable[tuple[int, Elements]]) -> Slot:
    streams, places, patterns = [], [], []
    for stream, elements in members:
        order = np.lexsort((elements.subcarriers, elements.symbols))
        streams.append(stream)
        places.append(elements.places[order])
    band, symbols = grid_band(resource_grid), np.unique(elements.symbols)
    for symbol in symbols.tolist():
        here = np.sort(elements.subcarriers[elements.symbols == symbol])
        patterns.append(checked_pattern(elements, here, f"OFDM symbol {symbol}", n_fft, band))
    duration = resource_grid.ofdm_symbol_duration
    asked = tuple((np.arange(resource_grid.num_ofdm_symbols) * duration).tolist())
    pattern = SlotPattern(tuple(patterns), tuple((symbols * duration).tolist()), asked)
    in_grid = elements.symbols * resource_grid.fft_size + elements.subcarriers + resource_grid.dc_ind
    return Slot(tuple(streams), pattern, torch.from_numpy(in_grid[order]), torch.from_numpy(np.stack(places)))


def estimate_slot(
    model: Model,
    slot: Slot,
    received: Tensor,
    pilots: Tensor,
    noise: Tensor,
    *,
    antennas_alike: bool,
    doppler_hz: float | None,
    cfo_hz: float | None,
) -> tuple[Tensor, Tensor]:
    """CFR and its error variance of the streams of a slot, [batch_size, num_rx, num_rx_ant, streams, symbols, n_used].

    Args:
        model: NA-SBL for any receiver.
        slot: which elements of the grid.
        received: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols * fft_size].
        pilots: [streams, pilots] of all streams.
        noise: [batch_size, num_rx, num_rx_ant].
        antennas_alike: whether the antennas of a receiver see the same delays.
        doppler_hz, cfo_hz: as of :meth:`Model.estimate`.
    """
    sent = torch.stack([pilots[stream, at] for stream, at in zip(slot.streams, slot.places, strict=True)])
    n_symbols, one = len(slot.pattern.output_times_s), slot.pattern.patterns[0]
    how: dict[str, Any] = {
        "pilot_symbols": sent,
        "snapshot_axes": 1 if antennas_alike else 0,
        "window_samples": model.ofdm.window_samples if len(one) <= ENOUGH else None,
        "error_variance": True,
    }
    observed = received[..., slot.elements]
    still = len(slot.pattern.patterns) == 1 and not doppler_hz and not cfo_hz
    if still:
        found = model.solve(observed, one, noise, **how)
    else:
        found = model.solve(observed, slot.pattern, noise, doppler_hz=doppler_hz, cfo_hz=cfo_hz, **how)
    assert found.error_variance is not None
    layered = len(slot.streams) > 1

    def whole(values: Tensor) -> Tensor:
        """With axes of streams and symbols."""
        values = values if layered else values.unsqueeze(3)
        return values.unsqueeze(-2).expand(*values.shape[:-1], n_symbols, -1) if still else values

    return whole(found.values["cfr"]), whole(found.error_variance)
