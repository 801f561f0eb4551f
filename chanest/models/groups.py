"""Groups of snapshots: received pilots of any shape to (groups, R, M), and what was found back to that shape."""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..errors import ObservationError
from ..problems import check_noise
from .scaling import noise_of_pilots, noise_of_y, normalise_group

MOST_SNAPSHOTS = 64  # of a group, that training has seen


@dataclass(frozen=True)
class Groups:
    """Observations of channels whose delays the snapshots of a group share.

    Attributes:
        y: (groups, R, M), entries of mean square 1/M over the pilots that are valid.
        rms: (groups, 1) of the observations.
        noise: (groups,) of an entry of y, or (groups, M); None where it is not known.
        ratio: (groups, M), of the pilots' noise over a level that is not known; None where all are alike.
        symbols: (L, M) of superposed layers; None where one was divided out.
        batch: shape of the groups.
        snapshots: shape of a group.
    """

    y: Tensor
    rms: Tensor
    noise: Tensor | None
    ratio: Tensor | None
    symbols: Tensor | None
    batch: torch.Size
    snapshots: torch.Size

    def of_groups(self, values: Tensor) -> Tensor:
        """(groups, ...) as (*batch, ...)."""
        return values.reshape((*self.batch, *values.shape[1:]))

    def rows(self, some: slice) -> "Groups":
        """Some of the groups, in one dimension."""
        noise, ratio = (None if v is None else v[some] for v in (self.noise, self.ratio))
        batch = torch.Size([len(self.y[some])])
        return Groups(self.y[some], self.rms[some], noise, ratio, self.symbols, batch, self.snapshots)

    def latest(self, n_snapshots: int) -> "Groups":
        """The last snapshots of every group, in one dimension."""
        return replace(self, y=self.y[:, -n_snapshots:], snapshots=torch.Size([n_snapshots]))

    def of_snapshots(self, values: Tensor) -> Tensor:
        """(groups, R, ...) as (*batch, *snapshots, ...)."""
        return values.reshape((*self.batch, *self.snapshots, *values.shape[2:]))


INVALID = 1e6  # noise of a pilot that is not to be trusted, over the level


def grouped(
    received: Tensor,
    noise_variance: Tensor | float | None,
    pilot_symbols: Tensor | complex | None,
    pilot_valid: Tensor | None,
    snapshot_axes: int,
) -> Groups:
    """Received pilots as groups of snapshots, pilot symbols divided out where there is one layer.

    Args:
        received: (*batch, *snapshots, M).
        noise_variance: a number, (*batch, *snapshots), or (*batch, *snapshots, M) with 1 where all are alike.
        pilot_symbols: a number, (M,), or (L, M), none of them 0.
        pilot_valid: (*batch, *snapshots, M) or (M,) bool.
        snapshot_axes: how many axes before the pilots hold snapshots; where noise or validity differs along them, every
            snapshot becomes a group of its own.

    Raises:
        ObservationError: shapes that do not fit, or pilot symbols that are 0 or not finite.
    """
    if not 0 <= snapshot_axes < received.ndim:
        raise ObservationError(f"expected 0...{received.ndim - 1}, got {snapshot_axes}", field="snapshot_axes")
    whole, m = received.shape[:-1], received.shape[-1]
    levels, of_pilots = _levels(noise_variance, whole, m)
    symbols, divided = _symbols(pilot_symbols, received)
    valid = _valid(pilot_valid, received)
    if not of_pilots and (divided is None or divided.ndim == 0) and valid is None:
        noise, ratio = levels, None
        if noise is not None and divided is not None:
            noise = noise / divided.abs().double().square()
    else:
        relative = torch.ones(m, dtype=torch.float64, device=received.device)
        if divided is not None:
            relative = relative / divided.abs().double().square()
        if valid is not None:
            relative = torch.where(valid, relative, INVALID * relative.max())
        if levels is None:
            noise, ratio = None, relative.expand(*whole, m)
        else:
            wide = (levels if of_pilots else levels.unsqueeze(-1)) * relative
            noise, ratio = wide.expand(*whole, m), None
    observations = received if divided is None else received / divided
    if valid is not None:
        observations = torch.where(valid, observations, 0.0)
    split = len(whole) - snapshot_axes
    batch, snapshots = whole[:split], whole[split:]
    alike = (_alike(noise, split, len(whole)), _alike(ratio, split, len(whole)))
    if not all(one for one, _ in alike):
        batch, snapshots, split = whole, torch.Size(), len(whole)
        alike = ((True, noise), (True, ratio))
    y = observations.reshape(prod(batch), prod(snapshots), m)
    noise, ratio = (None if v is None else _rows(v, batch, m) for _, v in alike)
    return _scaled(y, noise, ratio, symbols, batch, snapshots)


def _levels(noise: Any, whole: torch.Size, m: int) -> tuple[Tensor | None, bool]:
    """Noise variances in float64, and whether they are of every pilot."""
    if noise is None:
        return None, False
    variance = torch.as_tensor(noise, dtype=torch.float64)
    if variance.ndim != len(whole) + 1 or (variance.ndim == 1 and variance.shape != (m,) and variance.shape != (1,)):
        check_noise(variance, whole)
        return variance.expand(whole), False
    shape = torch.Size([*whole, m])
    fits = all(have in (1, want) for have, want in zip(variance.shape, shape, strict=True))
    if not fits:
        raise ObservationError(
            f"expected a number, shape {tuple(whole)} or {tuple(shape)}, 1 where all are alike, "
            f"got {tuple(variance.shape)}",
            field="noise_variance",
        )
    check_noise(variance, variance.shape)
    return variance, True


def _symbols(given: Any, received: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Symbols of layers, or of one layer, which are divided out."""
    if given is None:
        return None, None
    symbols = torch.as_tensor(given).to(received.device, received.dtype)
    m = received.shape[-1]
    if symbols.ndim > 2 or (symbols.ndim and symbols.shape[-1] != m) or not symbols.numel():
        raise ObservationError(
            f"expected a number, shape ({m},) or (n_layers, {m}), got {tuple(symbols.shape)}", field="pilot_symbols"
        )
    modulus = symbols.abs()
    if not bool(torch.isfinite(modulus).all()) or not float(modulus.min()) > 0:
        raise ObservationError("expected finite numbers other than zero", field="pilot_symbols")
    if symbols.ndim == 2 and len(symbols) > 1:
        return symbols, None
    return None, symbols.squeeze(0) if symbols.ndim == 2 else symbols


def _valid(given: Tensor | None, received: Tensor) -> Tensor | None:
    if given is None:
        return None
    valid = torch.as_tensor(given).to(received.device)
    if valid.dtype != torch.bool:
        raise ObservationError(f"expected bool, got {valid.dtype}", field="pilot_valid")
    if valid.shape not in (received.shape, received.shape[-1:]):
        raise ObservationError(
            f"expected shape {tuple(received.shape)} or {tuple(received.shape[-1:])}, got {tuple(valid.shape)}",
            field="pilot_valid",
        )
    if not bool(valid.any(-1).all()):
        raise ObservationError("expected at least one valid pilot in every observation", field="pilot_valid")
    return None if bool(valid.all()) else valid


def _alike(values: Tensor | None, start: int, end: int) -> tuple[bool, Tensor | None]:
    """Whether values are alike along the axes start...end - 1, and the values without these."""
    if values is None or start == end:
        return True, values
    flat = values.flatten(start, end - 1)
    first = flat.select(start, 0)
    return bool((flat == first.unsqueeze(start)).all()), first


def _rows(values: Tensor, batch: torch.Size, m: int) -> Tensor:
    """(groups,) or (groups, M)."""
    return values.reshape(prod(batch), m) if values.ndim > len(batch) else values.reshape(prod(batch))


def _scaled(
    observations: Tensor,
    noise: Tensor | None,
    ratio: Tensor | None,
    symbols: Tensor | None,
    batch: torch.Size,
    snapshots: torch.Size,
) -> Groups:
    y, rms = normalise_group(observations)
    weights = ratio if ratio is not None else noise if noise is not None and noise.ndim == 2 else None
    m = y.shape[-1]
    if weights is not None:  # what is not heard does not count
        heard = (weights < 1e3 * weights.amin(-1, keepdim=True)).sum(-1, keepdim=True).to(rms)
        power = torch.where(weights < 1e3 * weights.amin(-1, keepdim=True), y.abs().square().mean(-2), 0.0)
        again = (power.sum(-1, keepdim=True) * m / heard).sqrt()
        again = torch.where(again > 0, again, 1.0)
        y, rms = y / again.unsqueeze(-1), rms * again
    if noise is not None:
        noise = noise_of_y(noise, rms, m) if noise.ndim == 1 else noise_of_pilots(noise, rms, m)
    if ratio is not None:
        ratio = (ratio / ratio.amin(-1, keepdim=True)).to(rms.dtype)
    return Groups(y, rms, noise, ratio, symbols, batch, snapshots)
