"""A channel estimator of Sionna that estimates sparse channels by a model of ours."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sionna.phy.ofdm import BaseChannelEstimator, ResourceGrid
from torch import Tensor

from ...algorithms.error_calibration import error_in_common
from ...errors import AlgorithmError, ModelError, ObservationError
from ...models import Model, load_model, pick_model, rescaled, unambiguous
from ...problems import PilotPattern, Scenario, ofdm
from .patterns import checked_pattern, grid_band, pilot_elements
from .slots import Slot, estimate_slot, slots_of

DEFAULT_MODEL = "na-sbl-wide"
_CHUNK = 2**24  # entries of the largest matrices of one call of the algorithm


@dataclass(frozen=True)
class _Snapshot:
    """Pilots of one stream that are estimated together: (n,) indices into the grid, its pilots, its subcarriers."""

    stream: int
    turn: int
    elements: Tensor
    places: Tensor
    positions: Tensor


class SparseChannelEstimator(BaseChannelEstimator):
    """Estimates the channel on a resource grid by any model or algorithm of this package.

    Takes the place of LSChannelEstimator or LMMSEChannelEstimator: the same call, the same shapes. Whatever the grid,
    delays are measured in parts of the OFDM symbol: shipped models look for paths at delays up to a quarter of it, or
    up to 1/d of it where all pilots of a symbol stand on a comb of spacing d, which tells no more apart.

    NA-SBL for any receiver looks at a whole slot at once (``time="auto"``): the pilots of all symbols, of a channel
    whose taps change from symbol to symbol by a Doppler that is found, or told; the antennas of a receiver, which share
    their delays; and as layers, streams that send their pilots on the same resource elements, such as ports of one CDM
    group. err_var is of each symbol, the motion in it.

    Other models and algorithms take each OFDM symbol by itself, "linear": between pilot symbols estimates are
    interpolated linearly, before the first and after the last they are held; err_var is the variance of that, errors of
    different symbols counting as partly the same. Pilots of differing moduli are divided out; the algorithm is told the
    mean of the noise variances over the pilots. With ``time="static"`` the channel is taken as constant over the slot:
    pilots of all symbols are pooled, those on one subcarrier combined by maximum ratio, and the one estimate serves all
    symbols. Antennas, batch entries and streams on the same subcarriers go through one call of the algorithm.

    Gradients reach y and the pilots through h_hat (with OMP: for the atoms it chose); err_var carries none.

    Args:
        resource_grid: any with pilots.
        model: a shipped model by name, a file, or a loaded model; "na-sbl-wide" when neither this nor an algorithm
            is given.
        algorithm: instead of a model, the name of an algorithm, learned or classical, or of an interpolator: what
            fits ``scenario`` and the number of pilots best.
        scenario: for ``algorithm``: name, or loaded; its delays count in samples, n_fft per symbol.
        n_iterations: another K than the model's.
        time: "auto", "linear" or "static".
        doppler_hz: with "auto", the maximal Doppler shift; found where it is not given.
        cfo_hz: with "auto", a residual carrier frequency offset; None to find it.
        antennas_alike: with "auto", whether the antennas of a receiver see the same delays.
        precision, device: as of every block of Sionna.

    Raises:
        ChanestError: no such model; pilots that cannot be used, such as one only on a symbol; an algorithm that gives
            no error variance; another K where it is bound.

    Input:
        y: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, fft_size], complex.
        no: [batch_size, num_rx, num_rx_ant] or its first n >= 0 axes, noise variance per resource element.

    Output:
        h_hat: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
            num_effective_subcarriers], complex.
        err_var: the same shape, real: expected |error|^2.

    >>> from chanest.integrations.sionna import random_pilot_pattern
    >>> grid = ResourceGrid(12, 1024, 15e3, num_guard_carriers=(212, 211), dc_null=True)
    >>> grid.pilot_pattern = random_pilot_pattern(75, grid, ofdm_symbols=[2])
    >>> estimator = SparseChannelEstimator(grid, "na-alista-lte10-m75")
    >>> h_hat, err_var = estimator(torch.ones(5, 1, 2, 12, 1024) + 0j, 0.1)
    >>> h_hat.shape, err_var.dtype
    (torch.Size([5, 1, 2, 1, 1, 12, 600]), torch.float32)
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        model: str | Path | Model | None = None,
        *,
        algorithm: str | None = None,
        scenario: str | Scenario = "wide",
        n_iterations: int | None = None,
        time: Literal["auto", "linear", "static"] = "auto",
        doppler_hz: float | None = None,
        cfo_hz: float | None = 0.0,
        antennas_alike: bool = True,
        precision: str | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(resource_grid, precision=precision, device=device)
        known = ("auto", "linear", "static")
        AlgorithmError.unless(time in known, '"auto", "linear" or "static"', repr(time), "time")
        self._grid_shape = resource_grid.num_ofdm_symbols, resource_grid.fft_size
        picked = _picked(resource_grid, model, algorithm, scenario, n_iterations)
        self.model = rescaled(picked, _dft_length(picked.ofdm.n_fft, resource_grid))
        self.n_iterations = n_iterations
        self._groups: dict[PilotPattern, list[_Snapshot]] = {}
        self._time_weights: list[Tensor] = []  # of every stream: (num_ofdm_symbols, snapshots)
        self._slots: list[Slot] = []
        self._motion: dict[str, Any] = {"doppler_hz": doppler_hz, "cfo_hz": cfo_hz, "antennas_alike": antennas_alike}
        if time == "auto" and self.model.algorithm.circle:
            self._slots = slots_of(resource_grid, self.model.ofdm.n_fft)
        else:
            taken = f'time="{time}"' if time != "auto" else f"model {self.model.name}"
            AlgorithmError.unless(not doppler_hz, f"none with {taken}, which knows no motion", doppler_hz, "doppler_hz")
            _check_apart(resource_grid, taken)
            self._arrange(resource_grid, time)

    def _arrange(self, resource_grid: ResourceGrid, time: str) -> None:
        """Cut every stream's pilots into snapshots, and group those on the same subcarriers."""
        n_symbols, fft_size = self._grid_shape
        band, n_fft = grid_band(resource_grid), self.model.ofdm.n_fft
        for stream, elements in enumerate(pilot_elements(resource_grid)):
            symbols = np.unique(elements.symbols)
            parts = [(f"OFDM symbol {s}", elements.symbols == s) for s in symbols.tolist()]
            weights = np.stack([np.interp(np.arange(n_symbols), symbols, row) for row in np.eye(len(symbols))], -1)
            if time == "static":
                parts = [("the slot", np.ones_like(elements.symbols, dtype=bool))]
                weights = np.ones((n_symbols, 1))
            self._time_weights.append(torch.from_numpy(weights).to(self.device, self.dtype))
            for turn, (where, here) in enumerate(parts):
                subcarriers, positions = np.unique(elements.subcarriers[here], return_inverse=True)
                pattern = checked_pattern(elements, subcarriers, where, n_fft, band)
                self._warn_beyond_training(pattern)
                in_grid = elements.symbols[here] * fft_size + elements.subcarriers[here] + resource_grid.dc_ind
                indices = (torch.from_numpy(i).to(self.device) for i in (in_grid, elements.places[here], positions))
                self._groups.setdefault(pattern, []).append(_Snapshot(stream, turn, *indices))

    def _warn_beyond_training(self, pattern: PilotPattern) -> None:
        algorithm = self.model.algorithm
        if not algorithm.learned or algorithm.circle or pattern in self._groups:
            return
        if beyond := self.model.ofdm.beyond_training(pattern):
            message = f"model {self.model.name}: {'; '.join(beyond)}; na-sbl-wide serves any grid"
            warnings.warn(message, UserWarning, stacklevel=4)

    @torch.compiler.disable  # checks of values, and complex numbers
    def call(self, y: Tensor, no: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate the channel; see the class."""
        if not y.is_complex() or y.ndim != 5 or tuple(y.shape[-2:]) != self._grid_shape:
            raise ObservationError(
                "expected complex numbers of shape (batch_size, num_rx, num_rx_ant, num_ofdm_symbols, fft_size), "
                f"the last two {self._grid_shape}, got {str(y.dtype).removeprefix('torch.')} of {tuple(y.shape)}",
                field="y",
            )
        noise = _per_antenna(torch.as_tensor(no, dtype=self.dtype, device=y.device), y.shape[:3])
        received = y.flatten(-2)
        pilots = self._pilot_pattern.pilots.to(y.device, y.dtype).flatten(0, 1)
        streams = self._pilot_pattern.num_tx, self._pilot_pattern.num_streams_per_tx
        if self._slots:
            h_hat, err_var = self._of_slots(received, pilots, noise)
            return h_hat.unflatten(3, streams), err_var.unflatten(3, streams)
        estimates: list[dict[int, tuple[Tensor, Tensor]]] = [{} for _ in self._time_weights]
        for pattern, snapshots in self._groups.items():
            observed = [_observe(received, pilots, noise, snapshot, len(pattern)) for snapshot in snapshots]
            h, variance = (torch.stack(parts) for parts in zip(*observed, strict=True))
            found = self._estimate(h, variance, pattern)
            for snapshot, cfr, error in zip(snapshots, *found, strict=True):
                estimates[snapshot.stream][snapshot.turn] = cfr, error
        of_streams = zip(*map(_over_time, estimates, self._time_weights), strict=True)
        h_hat, err_var = (torch.stack(parts, 3).unflatten(3, streams) for parts in of_streams)
        return h_hat, err_var

    def _of_slots(self, received: Tensor, pilots: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Estimates and error variances of all streams, [batch_size, num_rx, num_rx_ant, streams, symbols, n_used]."""
        found = [estimate_slot(self.model, slot, received, pilots, noise, **self._motion) for slot in self._slots]
        order = torch.tensor([stream for slot in self._slots for stream in slot.streams]).argsort()
        h_hat, err_var = (torch.cat(parts, 3)[:, :, :, order] for parts in zip(*found, strict=True))
        return h_hat, err_var.detach().to(h_hat.real.dtype)

    def _estimate(self, observations: Tensor, noise: Tensor, pattern: PilotPattern) -> tuple[Tensor, Tensor]:
        """CFR and its error variance on the band from (*batch, n_pilots) observations."""
        model = unambiguous(self.model, pattern)
        size = max(1, _CHUNK // (len(pattern) * max(len(pattern), model.ofdm.n_taps)))
        chunks = zip(observations.flatten(0, -2).split(size), noise.flatten().split(size), strict=True)
        estimates = (
            model.estimate(
                h,
                pattern,
                variance,
                window_samples=model.ofdm.window_samples,
                n_iterations=self.n_iterations,
                error_variance=True,
            )
            for h, variance in chunks
        )
        parts = zip(*((found.cfr, found.error_variance) for found in estimates), strict=True)
        cfr, error = (torch.cat(part).unflatten(0, noise.shape) for part in parts)
        return cfr, error.detach().to(cfr.real.dtype)


def _dft_length(n_fft: int, resource_grid: ResourceGrid) -> int:
    """The model's own, or the grid's, or twice that: the first that leaves a third of the bins beside the band.

    Without them a path between the taps leaks over all of them (docs/choices.md).
    """
    band = grid_band(resource_grid)
    wanted = 1.5 * (band[-1] - band[0] + 1)
    return next(n for n in (n_fft, resource_grid.fft_size, 2 * resource_grid.fft_size) if n >= wanted)


def _picked(
    resource_grid: ResourceGrid,
    model: str | Path | Model | None,
    algorithm: str | None,
    scenario: str | Scenario,
    n_iterations: int | None,
) -> Model:
    if algorithm is not None:
        if model is not None:
            raise AlgorithmError("expected a model or an algorithm, got both", field="algorithm")
        loaded = ofdm(scenario).replace(subcarrier_spacing_hz=resource_grid.subcarrier_spacing)
        n_pilots = min(np.unique(e.symbols, return_counts=True)[1].min() for e in pilot_elements(resource_grid))
        picked = pick_model(algorithm, loaded, n_pilots, n_iterations)
    else:
        picked = model if isinstance(model, Model) else load_model(DEFAULT_MODEL if model is None else model)
    picked.algorithm.checked_iterations(n_iterations)
    if not picked.algorithm.gives_error_variance:
        raise ModelError(f"model {picked.name}: gives no error variance; take one that was calibrated")
    return picked


def _check_apart(resource_grid: ResourceGrid, taken: str) -> None:
    """Raise AlgorithmError where streams share resource elements, which only NA-SBL in motion tells apart."""
    seen: dict[tuple[int, int], int] = {}
    for stream, elements in enumerate(pilot_elements(resource_grid)):
        for place in zip(elements.symbols.tolist(), elements.subcarriers.tolist(), strict=True):
            other = seen.setdefault(place, stream)
            if other != stream:
                raise AlgorithmError(
                    f"expected streams on resource elements of their own with {taken}, got {other} and {stream} on the "
                    f'same of symbol {place[0]}; take na-sbl-wide and time="auto"',
                    field="resource_grid",
                )


def _per_antenna(no: Tensor, batch: torch.Size) -> Tensor:
    """Noise variances of any leading shape as [batch_size, num_rx, num_rx_ant]."""
    try:
        return no.reshape(*no.shape, *(1,) * (3 - no.ndim)).expand(batch)
    except RuntimeError:
        raise ObservationError(
            f"expected a number or the first axes of {tuple(batch)}, got {tuple(no.shape)}", field="no"
        ) from None


def _observe(
    received: Tensor, pilots: Tensor, noise: Tensor, snapshot: _Snapshot, n_pilots: int
) -> tuple[Tensor, Tensor]:
    """H + noise at the pilots of a snapshot, [..., n_pilots], and the mean noise variance, [...]."""
    sent = pilots[snapshot.stream, snapshot.places]
    power = sent.abs().square().new_zeros(n_pilots).index_add(0, snapshot.positions, sent.abs().square())
    matched = received[..., snapshot.elements] * sent.conj()
    combined = matched.new_zeros(*matched.shape[:-1], n_pilots).index_add(-1, snapshot.positions, matched)
    return combined / power, noise * (1 / power.detach()).mean()


def _over_time(estimates: dict[int, tuple[Tensor, Tensor]], weights: Tensor) -> tuple[Tensor, Tensor]:
    """[..., num_ofdm_symbols, n_used] from a stream's snapshots, whose errors are partly the same."""
    in_turn = (estimates[turn] for turn in range(len(estimates)))
    h, error = (torch.stack(parts, -2) for parts in zip(*in_turn, strict=True))
    power = h.detach().abs().square().mean(-1, keepdim=True)
    common = error_in_common(error, power)
    return weights.to(h.dtype) @ h, weights.square() @ (error - common) + (weights @ common.sqrt()).square()
