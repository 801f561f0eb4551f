"""Slots of users in motion: pilots of several symbols in, the channel on any symbol out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..algorithms import CircleNASBL, JointPosterior, MovingPosterior
from ..algorithms.error_calibration import tabled
from ..errors import ObservationError
from ..operators import Motion, PartialDFT, Repeated, Superposed, TimeVarying
from ..operators.time_varying import mean_turn
from ..problems import SlotPattern, delay_grid, jakes, whole_band
from .arcs import Part, arcs_of, of_groups, on_circle, recovered
from .findings import DETECTED, false_alarm_probability, noise_found, snr_db, timing_samples
from .groups import MOST_SNAPSHOTS, Groups
from .guard import kept, kept_share, unsure
from .trust import Found

# candidates for the Doppler over the largest; that times the time between two symbols with pilots, and in Hz
DOPPLERS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.265, 0.33, 0.415, 0.5, 0.6, 0.715, 0.85, 1.0)
FASTEST, FASTEST_HZ = 0.343, 800.0
CFO_SPREAD_HZ, _CFO_REACH_HZ, _CFO_STEP_HZ = 60.0, 240.0, 7.5  # of a residual carrier frequency offset
_MOST_TURNS = 0.45  # of a symbol against the next one with pilots, that can be told from none
THINNED = 4  # error variances are computed on every fourth subcarrier, linear between these
_ENTRIES = 2**22  # of the covariances of a chunk of groups


@dataclass(frozen=True)
class Moves:
    """Candidates for the motion of a user, and what they mean.

    Attributes:
        motion: of the symbols with pilots.
        dopplers_hz, cfos_hz: (D,) and (V,) float64.
        across: (D, S, P) float64, correlation of a tap on the symbols asked for with those that carry pilots.
        turns: (V, S) complex128, of the symbols asked for.
    """

    motion: Motion
    dopplers_hz: Tensor
    cfos_hz: Tensor
    across: Tensor
    turns: Tensor


def moves_of(pattern: SlotPattern, doppler_hz: float | None = None, cfo_hz: float | None = None) -> Moves:
    """Candidates for the motion.

    Dopplers up to what the symbols with pilots tell apart: J0(2 pi f dt) falls to its first zero at f dt = 0.38, and
    comes back beyond it; and up to 800 Hz, 250 km/h at 3.5 GHz, beyond which only who tells them is believed.

    Args:
        pattern: the pilots.
        doppler_hz: the maximal Doppler shift where it is known; None to find it.
        cfo_hz: the residual carrier frequency offset where it is known; None to find it, near 0.

    Raises:
        ObservationError: a Doppler shift or an offset that is none.
    """
    for name, value in (("doppler_hz", doppler_hz), ("cfo_hz", cfo_hz)):
        if value is None:
            continue
        known = isinstance(value, Real) and np.isfinite(value) and (name == "cfo_hz" or value >= 0)
        if not known:
            raise ObservationError(
                f"expected a finite number{' from 0 on' * (name != 'cfo_hz')}, got {value}", field=name
            )
    seen, asked = np.asarray(pattern.times_s), np.asarray(pattern.output_times_s)
    apart = float(np.diff(seen).mean()) if len(seen) > 1 else 0.0
    dopplers = cfos = np.zeros(1)
    if doppler_hz is not None:
        dopplers = np.array([doppler_hz])
    elif apart:
        dopplers = np.asarray(DOPPLERS) * min(FASTEST / apart, FASTEST_HZ)
    log_prior = np.zeros(1)
    if cfo_hz is not None:
        cfos = np.array([cfo_hz])
    elif apart:
        most = min(_CFO_REACH_HZ, _MOST_TURNS / float(np.diff(seen).min()))
        n = max(1, round(most / _CFO_STEP_HZ))
        cfos = np.linspace(-most, most, 2 * n + 1)
        log_prior = -0.5 * np.square(cfos / CFO_SPREAD_HZ)

    def turns(times: np.ndarray) -> Tensor:
        return torch.from_numpy(np.exp(2j * np.pi * cfos[:, None] * (times - seen.mean())))

    motion = Motion(jakes(dopplers, seen, seen), turns(seen), torch.from_numpy(log_prior))
    return Moves(motion, torch.from_numpy(dopplers), torch.from_numpy(cfos), jakes(dopplers, asked, seen), turns(asked))


@dataclass(frozen=True)
class Moved:
    """What was found of groups in motion, in the units of y.

    Attributes:
        cfr: (groups, R, L, S, n_used).
        error_variance: (groups, L, S, n_used) float64; None where it was not asked for.
        posterior: on the delays of ``phi``.
        phi: of all pilots.
        y: (groups, R, M), symbols turned back.
        doppler_hz, cfo_hz: (groups,) float64.
        parts: the groups as they were looked at.
        across: (groups, S, P) correlation of a tap on the symbols asked for with those that carry pilots.
    """

    cfr: Tensor
    error_variance: Tensor | None
    posterior: MovingPosterior
    phi: TimeVarying
    y: Tensor
    doppler_hz: Tensor
    cfo_hz: Tensor
    parts: list[Part]
    across: Tensor


def found_in_motion(
    algorithm: CircleNASBL,
    groups: Groups,
    pattern: SlotPattern,
    moves: Moves,
    window_samples: tuple[float, float] | None,
    arc_window: tuple[float, float],
    error_variance: bool,
    present: int | None = None,
) -> Moved:
    """The channel of groups of snapshots on the symbols asked for.

    Args:
        algorithm: in the precision of the observations.
        groups: the observations.
        pattern: the pilots.
        moves: candidates for the motion.
        window_samples: first and last delay of the channel, where they are known.
        arc_window: of a channel whose first path has delay 0.
        error_variance: give it.
        present: so many snapshots at the end are those whose channel is wanted; all when not given.
    """
    y, n_layers = groups.y, 1 if groups.symbols is None else len(groups.symbols)
    sharing = y.shape[1] if present is None else MOST_SNAPSHOTS
    delays = delay_grid(pattern.merged, window_samples, n_layers, sharing)
    dtype, device = y.dtype, y.device
    same = _same_on_all_symbols(groups, pattern)
    symbol = torch.from_numpy(pattern.symbol).to(device)

    def moving(taps: Any) -> TimeVarying:
        phi: Any = taps.operator(pattern.patterns[0] if same else pattern, dtype, device)
        if groups.symbols is not None:
            phi = Superposed(phi, groups.symbols[:, : phi.n_measurements])
        return Repeated(phi, moves.motion) if same else TimeVarying(phi, symbol, moves.motion)

    phi = moving(delays)
    arcs = arcs_of(delays, pattern.merged, arc_window, sharing) if n_layers == 1 else ()
    parts = recovered(algorithm, groups, phi, tuple(moving(arc) for arc in arcs))
    recovery = on_circle(parts, phi)
    posterior = recovery.posterior
    assert isinstance(posterior, MovingPosterior)
    if present is not None:
        y, recovery = y[:, -present:], recovery.latest(present)
    band = delays.operator(whole_band(pattern.grid), dtype, device)
    scale = band.n_measurements**0.5
    still = phi.turned_back(y, posterior.turn)
    across = torch.einsum("bd,dsp->bsp", posterior.weights.double(), moves.across.to(device))
    onward = mean_turn(moves.turns.to(device), posterior.turn)
    of_symbols = band.forward(recovery.x.unflatten(-1, (n_layers, -1))) * scale  # (groups, R, P, L, n_used)
    mixing = (across * onward.unsqueeze(-1)).to(dtype)
    response = torch.einsum("bsp,brpln->brlsn", mixing, of_symbols)
    fitted = phi.with_weights(posterior.weights).response(recovery.x)
    loud = response[:, :, 0].flatten(-2) / (len(pattern.output_times_s) * pattern.grid.n_used) ** 0.5
    share = kept_share(fitted, loud if n_layers == 1 else None, still)
    cfr = kept(response, share[..., None, None])
    variance = None
    if error_variance:

        def expected(part: Part) -> Tensor:
            return _error_variance(algorithm, part, band, across[part.rows])

        variance = of_groups(parts, expected)
        whole = share.amin(-1)[:, None, None]
        variance = unsure(variance, whole, still.abs().square().mean(-2).sqrt()[:, None, None])
    if n_layers == 1:
        at_rest = delays.operator(pattern.merged, dtype, device)
        seen = Found(recovery.x.flatten(1, 2), still, posterior.noise_variance, at_rest, band, pattern.merged, True)
        doubted, doubt = seen.doubted(cfr[:, :, 0].flatten(1, 2), None if variance is None else variance[:, 0])
        cfr = doubted.reshape(cfr.shape)
        variance = None if doubt is None else doubt.unsqueeze(1)
    dopplers, cfos = (
        posterior.weights.double() @ moves.dopplers_hz.to(device),
        posterior.turn.double() @ moves.cfos_hz.to(device),
    )
    return Moved(cfr, variance, posterior, phi, still, dopplers, cfos, parts, across)


def _same_on_all_symbols(groups: Groups, pattern: SlotPattern) -> bool:
    """Whether all symbols carry the same pilots, sent and heard alike."""
    p = len(pattern.patterns)
    if p == 1 or any(one != pattern.patterns[0] for one in pattern.patterns):
        return False
    of_pilots = (groups.symbols, groups.noise if groups.noise is None or groups.noise.ndim == 2 else None, groups.ratio)
    by_symbol = (v.unflatten(-1, (p, -1)) for v in of_pilots if v is not None)
    return all(bool((v == v[..., :1, :]).all()) for v in by_symbol)


def slots_at_once(groups: Groups, pattern: SlotPattern) -> int:
    """Groups of a chunk whose matrices fit memory."""
    same, n_symbols = _same_on_all_symbols(groups, pattern), len(pattern.output_times_s)
    m = len(pattern.patterns[0] if same else pattern)
    largest = max(m * m, groups.y.shape[1] * n_symbols * pattern.grid.n_used, m * pattern.grid.n_used // THINNED)
    return max(1, _ENTRIES // largest)


def in_units(
    found: Moved, groups: Groups, pattern: SlotPattern, window_told: bool, findings: bool
) -> dict[str, Tensor]:
    """What was found in motion by the names of a :class:`Solution`, in the units of the received pilots.

    Args:
        found: in the units of y.
        groups: of which it was found.
        pattern: the pilots.
        window_told: whether the delays were known.
        findings: noise, SNR, timing and presence too.
    """
    rms, posterior, phi = groups.rms.double(), found.posterior, found.phi
    made = {"cfr": found.cfr * groups.rms[..., None, None, None]}
    made["tap_variances"], made["noise_of_pilots"] = received_units(posterior, groups)
    if found.error_variance is not None:
        made["error_variance"] = found.error_variance * rms.square()[..., None, None]
    if not findings:
        return made
    with torch.no_grad():
        circle = None if window_told else phi.n_coefficients * phi.spacing_samples / phi.n_layers
        turned_back = replace(groups, y=found.y)
        noise = posterior.level.double() * len(pattern)
        if groups.noise is not None:
            noise = noise_found(turned_back, found.y, posterior, phi.phi)
        chance = false_alarm_probability(turned_back, posterior, phi)
        return made | {
            "noise_variance": noise * rms.square().squeeze(-1),
            "snr_db": snr_db(turned_back, posterior, noise),
            "timing_samples": timing_samples(posterior.variances, phi.phi, circle),
            "false_alarm": chance,
            "detected": chance < DETECTED,
            "doppler_hz": found.doppler_hz,
            "cfo_hz": found.cfo_hz,
        }


def received_units(posterior: JointPosterior, groups: Groups) -> tuple[Tensor, Tensor]:
    """Variances of taps (groups, N) and of the noise of pilots (groups, M), float64, of the received pilots."""
    power = groups.rms.double().square()
    return posterior.variances.double() * power, posterior.noise_variance.double() * groups.y.shape[-1] * power


def _error_variance(algorithm: CircleNASBL, part: Part, band: PartialDFT, across: Tensor) -> Tensor:
    """(n, L, S, n_used) float64, corrected; every :data:`THINNED`-th subcarrier, linear in dB between these."""
    k = band.subcarriers
    at = torch.unique(torch.cat([torch.arange(0, len(k), THINNED, device=k.device), k.new_tensor([len(k) - 1])]))
    base, features = read_error(algorithm, part, k[at], across)
    thin = tabled(algorithm.moving_calibration, base, features, part.y.real.dtype).double()
    thin = thin.unflatten(-1, (across.shape[1], -1))
    place = torch.searchsorted(at, torch.arange(len(k), device=k.device), right=True).clamp(1, len(at) - 1)
    before, after = k[at[place - 1]], k[at[place]]
    weight = (k - before) / (after - before)
    return (thin[..., place - 1] * (1 - weight) + thin[..., place] * weight).exp()


def read_error(
    algorithm: CircleNASBL, part: Part, subcarriers: Tensor, across: Tensor
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """What the error variance of some groups starts from, (n, L, S n_subcarriers), sum g - T[t, :] B T[:, t], and what
    makes features of it.

    Args:
        algorithm: whose calibration reads it.
        part: the groups.
        subcarriers: (n_subcarriers,) int64.
        across: (n, S, P) correlation of a tap on the symbols asked for with those that carry pilots.
    """
    posterior = part.recovery.posterior
    assert isinstance(posterior, MovingPosterior)
    phi = part.phi.with_weights(posterior.weights)
    noise = phi.of_symbol(posterior.noise_variance) * phi.unit
    seen_at = phi.layer.seen_at(subcarriers)
    explained = phi.explained(seen_at, posterior.variances, noise).real.double()
    left = torch.einsum("bsp,blkpq,bsq->blsk", across, explained, across)
    total = posterior.variances.double().unflatten(-1, (phi.n_layers, -1)).sum(-1)
    variance = (total[..., None, None] - left).clamp_min(0).flatten(-2)
    still = phi.turned_back(part.y, posterior.turn)
    residual = still - phi.response(part.recovery.x)
    return algorithm.moving_calibration.read(variance, still, residual, posterior, phi, part.noise is not None)
