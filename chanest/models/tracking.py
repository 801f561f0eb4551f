"""Users from slot to slot: delays and powers of paths, noise, Doppler and timing last longer than gains do.

NA-SBL takes the last slots for snapshots of one channel: what they share, the profile, becomes sharper with each; the
gains are of the present slot alone. A slot that the profile of the past does not explain starts anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ..algorithms.motion import matched
from ..errors import ModelError, ObservationError
from ..operators import PartialDFT, Superposed
from ..operators.cholesky import cholesky
from ..problems import PilotPattern, SlotPattern, check_noise, check_pilots, delay_grid
from .arcs import enough_pilots
from .groups import MOST_SNAPSHOTS, Groups, grouped
from .results import Estimate, Solution, in_kind

BETTER = 8.0  # log likelihood that a slot gains by a profile of its own, beyond what it usually does
USUAL = 3  # slots, of which this is known; before them
MUCH_BETTER = 30.0  # is asked for, or a slot that surprises:
SURPRISING, SPREAD = 1.15, 2.0  # its misfit to the past profile, and that over sqrt(its pilots)
LEAST_NOISE = 1e-9  # of the power, that noise is told to have

Found = dict[str, Tensor]
_OF_PROFILE = {"profile", "noise_of_pilots"}
_POWERS = {"cir": 0.5, "cfr": 0.5, "error_variance": 1.0, "noise_variance": 1.0}  # of the noise, that units scale with


@dataclass(frozen=True)
class State:
    """What is known of users.

    Attributes:
        users: their shape, int64.
        past: (groups, slots, R, M) received pilots, over the noise where that is told.
        last: (groups, R, M), of the last slot, which is not among these where it had a profile of its own.
        count: (groups,) int64 of the last slots that share a profile.
        profile: (groups, N) float64, variances of taps matched to the power of the pilots.
        noise: (groups, M) float64 of the pilots.
        gains: (groups, 3) float64, what slots gained by a profile of their own: number, mean, sum of squares about it.
        doubted: (groups,) bool, whether the last slot had one.
        told: bool, whether the noise is.
    """

    users: Tensor
    past: Tensor
    last: Tensor
    count: Tensor
    profile: Tensor
    noise: Tensor
    gains: Tensor
    doubted: Tensor
    told: Tensor

    @staticmethod
    def empty(now: Tensor, users: torch.Size, told: bool) -> "State":
        """Of no slot yet, of pilots like (groups, R, M)."""
        n, device = len(now), now.device
        none, unknown = torch.zeros(n, dtype=torch.int64, device=device), now.new_zeros(n, 0, dtype=torch.float64)
        gains = now.new_zeros(n, 3, dtype=torch.float64)
        return State(
            torch.tensor(list(users), dtype=torch.int64),
            now.unsqueeze(1)[:, :0],
            now,
            none,
            unknown,
            unknown,
            gains,
            none > 0,
            torch.tensor(told),
        )

    @property
    def shape(self) -> torch.Size:
        return torch.Size(self.users.tolist())


class Tracker:
    """The channel of users from slot to slot, made by :meth:`Model.track`: call it with the pilots of every slot.

    A user's last slots, of up to 64 snapshots, share their profile. A slot that is explained so much better by itself
    than slots of one profile are stands alone; where the next one is, too, these two begin a profile anew.

    Args:
        solve: what finds the channel in the last so many snapshots of groups.
        pattern, pilot_symbols, snapshot_axes, window_samples, memory_slots: as of :meth:`Model.track`.

    Raises:
        ObservationError: memory_slots below 1.
    """

    def __init__(
        self,
        solve: Callable[[Groups, int], Solution],
        pattern: PilotPattern | SlotPattern,
        pilot_symbols: Any,
        snapshot_axes: int,
        window_samples: tuple[float, float] | None,
        memory_slots: int | None,
    ) -> None:
        if memory_slots is not None:
            ObservationError.unless(memory_slots >= 1, "at least 1", memory_slots, "memory_slots")
        self._solve, self.pattern, self.snapshot_axes = solve, pattern, snapshot_axes
        self._symbols, self._window, self._memory = pilot_symbols, window_samples, memory_slots
        self.reset()

    def reset(self) -> None:
        """Forget all users."""
        self._state: State | None = None
        self._shared = torch.zeros(0, dtype=torch.int64)

    @property
    def n_slots(self) -> Tensor:
        """(*users,) int64: from how many slots the profile of the last estimate comes, its own among them."""
        return self._shared if self._state is None else self._shared.reshape(self._state.shape)

    def __call__(self, received_pilots: Any, noise_variance: Any = None) -> Estimate:
        """The channel in the next slot.

        Args:
            received_pilots: (*users, *snapshots, n_pilots), as in the slot before.
            noise_variance: complex variance per received pilot, a number or (*users,); told in all slots or in none. It
                may change from slot to slot; where it is not told, it should not, nor the receiver's gain.

        Returns:
            An :class:`Estimate` of this slot. Noise, timing, Doppler and frequency offset are of all slots that the
            profile comes from; SNR and whether anything was sent of this one.

        Raises:
            ObservationError: as of :meth:`Model.estimate`; or other users, pilots or snapshots than before.
        """
        received = torch.as_tensor(received_pilots)
        check_pilots(received, self.pattern, None)
        now, users, level = self._scaled(received, noise_variance)
        told = level is not None
        before = State.empty(now, users, told) if self._state is None else self._state
        most = max(1, MOST_SNAPSHOTS // now.shape[1]) if self._memory is None else self._memory
        slots = torch.cat([before.past.to(now), now.unsqueeze(1)], 1)[:, -most:]
        count = (before.count.to(now.device) + 1).clamp_max(most)
        found = self._pooled(slots, count, told)
        gains, doubted, past, shared = before.gains, torch.zeros_like(before.doubted), slots, count
        if bool((count > 1).any()):
            alone = self._pooled(slots, torch.ones_like(count), told)
            gain = self._log_likelihood(now, alone) - self._log_likelihood(now, found)
            anew = (count > 1) & _unusual(gain, before.gains, self._surprised(now, before))
            twice, doubted = anew & before.doubted, anew & ~before.doubted
            for name in found.keys() - _OF_PROFILE:
                found[name][anew] = alone[name][anew]
            if bool(twice.any()):
                two = torch.stack([before.last.to(now), now], 1)[twice, -most:]
                slots = slots if slots.shape[1] > 1 else torch.cat([torch.zeros_like(slots), slots], 1)
                slots[twice, -two.shape[1] :] = two
                count = torch.where(twice, two.shape[1], count)
                for name, values in self._pooled(two, count[twice], told).items():
                    found[name][twice] = values
            gains = _with(gains, gain, (count > 1) & ~anew) * ~twice.unsqueeze(-1)
            shared = torch.where(doubted, 1, count)
            kept = torch.cat([torch.zeros_like(slots[:, :1]), before.past.to(now)], 1)[:, -slots.shape[1] :]
            past = torch.where(doubted[:, None, None, None], kept, slots)
            count = torch.where(doubted, before.count, count)
        profile, noise = found.pop("profile"), found.pop("noise_of_pilots")
        if before.profile.shape == profile.shape:
            unknown = doubted.unsqueeze(-1)
            profile, noise = torch.where(unknown, before.profile, profile), torch.where(unknown, before.noise, noise)
        past = past[:, -int(count.max()) :]
        self._state = State(before.users, past, now, count, profile, noise, gains, doubted, before.told)
        self._shared = shared
        return self._estimate(found, received_pilots, received, users, level)

    def state_dict(self) -> Found:
        """What is known of all users: tensors, for ``torch.save`` and :meth:`load_state_dict`."""
        return {} if self._state is None else {f.name: getattr(self._state, f.name) for f in fields(State)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state_dict` of a tracker of the same pilots.

        Raises:
            ModelError: a state of other pilots, or none at all.
        """
        self.reset()
        if not state:
            return
        names, m = [f.name for f in fields(State)], len(self.pattern)
        if set(state) != set(names):
            raise ModelError(f"state of a tracker: expected {', '.join(names)}, got {', '.join(state)}")
        found = State(**{name: torch.as_tensor(state[name]) for name in names})
        n = int(found.users.prod())
        if found.past.ndim != 4 or found.past.shape[0] != n or found.past.shape[-1] != m:
            raise ModelError(
                f"state of a tracker: expected pilots of shape ({n}, slots, snapshots, {m}), got "
                f"{tuple(found.past.shape)}"
            )
        self._state, self._shared = found, found.count

    def _scaled(self, received: Tensor, noise_variance: Any) -> tuple[Tensor, torch.Size, Tensor | None]:
        """Pilots (groups, R, M), over the noise where that is told; shape of the users; that noise, (groups,)."""
        if not 0 <= self.snapshot_axes < received.ndim:
            raise ObservationError(f"expected 0...{received.ndim - 1}, got {self.snapshot_axes}", field="snapshot_axes")
        users = received.shape[: received.ndim - 1 - self.snapshot_axes]
        now = received.reshape(users.numel(), -1, received.shape[-1])
        if (before := self._state) is not None:
            if users != before.shape or now.shape[1] != before.past.shape[2]:
                shape = *before.shape, before.past.shape[2], now.shape[-1]
                raise ObservationError(
                    f"expected {shape}, users, snapshots and pilots as before, got {tuple(received.shape)}; other "
                    "users want a tracker of their own, or reset()",
                    field="received_pilots",
                )
            if bool(before.told) != (noise_variance is not None):
                raise ObservationError("expected in all slots or in none", field="noise_variance")
        if noise_variance is None:
            return now, users, None
        noise = torch.as_tensor(noise_variance, dtype=torch.float64, device=now.device)
        check_noise(noise, users)
        power = now.abs().double().square().mean((-2, -1))
        level = noise.expand(users).reshape(-1).maximum(LEAST_NOISE * power)
        level = torch.where(level > 0, level, 1.0)
        return (now / level.sqrt()[:, None, None]).to(now.dtype), users, level

    def _pooled(self, slots: Tensor, count: Tensor, told: bool) -> Found:
        """What is found of the last one of slots (groups, T, R, M), with as many before it as share its profile."""
        found: Found = {}
        for n in count.unique().tolist():
            at = (count == n).nonzero().squeeze(-1)
            some = self._solved(slots[at, -n:].flatten(1, 2), slots.shape[2], told)
            if not found:
                found = {name: v.new_empty(len(slots), *v.shape[1:]) for name, v in some.items()}
            for name, values in some.items():
                found[name][at] = values
        return found

    def _solved(self, rows: Tensor, present: int, told: bool) -> Found:
        """What is found of the last snapshots of groups (n, R, M), by name, and the profile."""
        groups = grouped(rows, 1.0 if told else None, self._symbols, None, 1)
        solution = self._solve(groups, present)
        self._taps = solution.first_tap_samples, solution.tap_spacing_samples
        found = solution.values | {
            f.name: values for f in fields(solution) if isinstance(values := getattr(solution, f.name), Tensor)
        }
        posterior = solution.posterior
        assert posterior is not None
        received = groups.y.to(torch.complex128) * groups.rms.double().unsqueeze(-1)  # over sqrt(M)
        profile = matched(received, posterior.variances, posterior.noise_variance / len(self.pattern))
        return found | {"profile": profile, "noise_of_pilots": posterior.noise_variance}

    def _surprised(self, now: Tensor, before: State) -> Tensor:
        """(groups,) bool: whether the past profile leaves more of this slot unexplained than noise does."""
        known = {"profile": before.profile, "noise_of_pilots": before.noise}
        misfit, _, n = self._explained(now, known, own_power=False)
        return misfit / n > SURPRISING + SPREAD / n**0.5

    def _log_likelihood(self, now: Tensor, found: Found) -> Tensor:
        """(groups,) of a slot, by the shape of a profile and the power of the slot."""
        misfit, log_determinant, _ = self._explained(now, found, own_power=True)
        return -misfit - log_determinant

    def _explained(self, now: Tensor, found: Found, own_power: bool) -> tuple[Tensor, Tensor, int]:
        """y^H C^-1 y and log |C| of the symbols of a slot, each by itself, and of how many pilots these are."""
        groups = grouped(now, None, self._symbols, None, 1)
        m = groups.y.shape[-1]
        y = groups.y.to(torch.complex128) * groups.rms.double().unsqueeze(-1) * m**0.5
        g, noise = found["profile"].to(y.device), found["noise_of_pilots"].to(y.device)
        if own_power:
            g = matched(y / m**0.5, g, noise / m)
        misfit, log_determinant, n = torch.zeros_like(g[:, 0]), torch.zeros_like(g[:, 0]), 0
        for phi, at in self._looks(y.device, groups.symbols):
            c = len(at) * phi.covariance(g) + torch.diag_embed(noise[:, at] + 1e-9 * g.sum(-1, keepdim=True))
            factor = cholesky(c)
            white = torch.linalg.solve_triangular(factor, y[..., at].mT, upper=False)
            misfit = misfit + white.abs().square().sum((-2, -1))
            log_determinant = log_determinant + 2 * y.shape[1] * factor.diagonal(dim1=-2, dim2=-1).real.log().sum(-1)
            n += len(at) * y.shape[1]
        return misfit, log_determinant, n

    def _looks(self, device: torch.device, symbols: Tensor | None) -> list[tuple[PartialDFT | Superposed, Tensor]]:
        """Phi of some pilots of every symbol, and which these are of all."""
        one = self.pattern
        merged, patterns = (one.merged, one.patterns) if isinstance(one, SlotPattern) else (one, (one,))
        delays = delay_grid(merged, self._window, 1 if symbols is None else len(symbols), MOST_SNAPSHOTS)
        made, before = [], 0
        for pattern in patterns:
            at = enough_pilots(len(pattern), device)
            phi: Any = delays.operator(pattern, torch.complex128, device)
            phi = phi if len(at) == len(pattern) else phi.seen_at(phi.subcarriers[at])
            made.append((phi if symbols is None else Superposed(phi, symbols[:, before + at]), before + at))
            before += len(pattern)
        return made

    def _estimate(
        self, found: Found, given: Any, received: Tensor, users: torch.Size, level: Tensor | None
    ) -> Estimate:
        """Everything in the shape of the batch and the units of the received pilots."""
        shaped: dict[str, Any] = {}
        for name, values in found.items():
            power = _POWERS.get(name, 0.0)
            if level is not None and power:
                units = (level**power).to(values.real.dtype)  # a square, which float32 may not hold
                values = values * units.view(-1, *(1,) * (values.ndim - 1))
            own = received.shape[:-1] if name in ("cir", "cfr", "error_variance") else users
            start = 2 if name in ("cir", "cfr", "error_variance") else 1
            shaped[name] = values.reshape((*own, *values.shape[start:]))
        used = torch.from_numpy(self.pattern.used_subcarriers).to(received.device)
        first, spacing = self._taps
        cir, cfr = shaped.pop("cir", None), shaped.pop("cfr")
        return in_kind(Estimate(cir, cfr, used, first, tap_spacing_samples=spacing, **shaped), given)


def _unusual(gain: Tensor, gains: Tensor, surprised: Tensor) -> Tensor:
    """(groups,) bool: whether a slot gains more by a profile of its own than slots of one profile do."""
    n, mean, squares = gains.unbind(-1)
    usual = (mean + (squares / n.clamp_min(1)).sqrt()).clamp_min(-BETTER)
    at_first = (surprised & (gain > BETTER)) | (gain > MUCH_BETTER)
    return torch.where(n < USUAL, at_first, gain > usual + BETTER)


def _with(gains: Tensor, gain: Tensor, which: Tensor) -> Tensor:
    """Number, mean and sum of squared deviations, (groups, 3), with one more in some of the groups."""
    n, mean, squares = gains.unbind(-1)
    away = gain - mean
    more = torch.stack([n + 1, mean + away / (n + 1), squares + away.square() * n / (n + 1)], -1)
    return torch.where(which.unsqueeze(-1), more, gains)
