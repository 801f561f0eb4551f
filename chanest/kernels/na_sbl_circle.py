"""NA-SBL's update on the circle of delays: noise level, pilots, taps that are alive, one group after the other."""

import math

import numpy as np

from .compiling import Array, Scalar, compiled
from .constants import EXPLAINED_MARGIN, REFERENCE_PILOTS
from .elementwise import sigmoid
from .na_sbl import factor, silu
from .simd import WIDE, add_real_rows

N_OWN, N_SHARED, N_PILOT = 4, 14, 10
BLOCK = 128  # taps whose perceptrons run together
_LOW = np.float32(1e-6)
_Rule = tuple[Array, Array, Array, Array, Array, Array]


@compiled
def _log(x: Scalar, least: Scalar) -> Scalar:
    return np.float32(math.log(max(x, least)))


@compiled
def _logit(x: Scalar, margin: Scalar) -> Scalar:
    one = np.float32(1.0)
    x = min(max(x, margin), one - margin)
    return np.float32(math.log(x / (one - x)))


@compiled
def _part(inputs: Array, used: int, weight: Array, bias: Array, outputs: Array, activated: bool) -> None:
    for unit in range(outputs.shape[0]):
        total = outputs[unit]
        total[:used] = bias[unit]
        for column in range(0, used, WIDE):
            add_real_rows(inputs, weight[unit], weight.shape[1], column, total)
        if activated:
            for c in range(used):
                total[c] = silu(total[c])


@compiled
def _perceive(inputs: Array, used: int, rule: _Rule, shift: Array, first: Array, second: Array, out: Array) -> None:
    """A perceptron on the first ``used`` columns, a multiple of WIDE; ``shift`` is its first bias."""
    weight_in, _, weight, bias, weight_out, bias_out = rule
    _part(inputs, used, weight_in, shift, first, True)
    _part(first, used, weight, bias, second, True)
    _part(second, used, weight_out, bias_out, out, False)


@compiled
def _feel(q2: Scalar, d: Scalar, g: Scalar, kappa: Scalar, own: Array, i: int) -> None:
    """A tap's own features."""
    third, sixth = np.float32(1 / 3), np.float32(1 / 6)
    clipped = max(d, np.float32(1e-12))
    own[0, i] = np.float32(math.log(max(q2, np.float32(1e-20)) / clipped)) * third
    own[1, i] = _logit(g * clipped, np.float32(1e-5)) * sixth
    own[2, i] = _log(g * kappa, _LOW) * sixth
    own[3, i] = _log(clipped / kappa, _LOW) * sixth


@compiled
def _turned(own: Array, first: int, n_columns: int, origin: int, n: int, offset: int, inputs: Array, row: int) -> None:
    """inputs[row + f, c] = own[f] of the tap ``offset`` after the tap first + c, round the circle of n from origin."""
    for f in range(N_OWN):
        source, target = own[f], inputs[row + f]
        place = (first - origin + offset + n) % n
        before = min(n_columns, n - place)
        for c in range(before):
            target[c] = source[origin + place + c]
        for c in range(before, n_columns):
            target[c] = source[origin + c - before]


@compiled
def _gather(
    q2: Array,
    d: Array,
    g: Array,
    kappa: Scalar,
    alive: Array,
    neighbours: Array,
    n: int,
    own: Array,
    known: Array,
    group: int,
    inputs: Array,
) -> None:
    """Features of taps that are alive and of their neighbours, each once: ``known`` says for which group."""
    origin = 0
    for c in range(len(alive)):
        i = alive[c]
        while i >= origin + n:
            origin += n
        for side in range(len(neighbours)):
            other = i + neighbours[side]
            if other < origin:
                other += n
            elif other >= origin + n:
                other -= n
            if known[other] != group:
                known[other] = group
                _feel(q2[other], d[other], g[other], kappa, own, other)
            for f in range(N_OWN):
                inputs[side * N_OWN + f, c] = own[f, other]


@compiled
def update(
    q2: Array,
    d: Array,
    g: Array,
    s: Array,
    fit: Array,
    surprise: Array,
    information: Array,
    relative: Array,
    outlier: Array,
    looks: Array,
    share: Array,
    deficit: Array,
    facts: Array,
    limits: Array,
    neighbours: Array,
    n_layers: int,
    tap_rule: _Rule,
    tap_shared: Array,
    noise_rule: _Rule,
    pilot_rule: _Rule,
    new_g: Array,
    new_s: Array,
    new_outlier: Array,
    start: int,
    end: int,
) -> None:
    """g, s and outliers after one iteration for the groups start...end - 1.

    Args:
        q2, d, g: (B, N); s, fit: (B,); surprise, information, relative, outlier: (B, M).
        looks, share, deficit: (B,), independent ones that a snapshot amounts to, the part of the pilots that one has,
            log rank deficit.
        facts: R, whether s was told, cells per tap, whether the window was told.
        limits: smallest and largest g, smallest g/s of a tap that stays alive or -1 where all do, smallest and largest
            s, largest noise of a pilot over s, noise from which a pilot is not heard.
        neighbours: (K,) offsets of the taps that a rule reads.
        tap_rule, noise_rule, pilot_rule: weights (H, inputs), biases, and so on; of taps without the shared features,
            whose weights are ``tap_shared`` (H, 14).
    """
    n_groups_taps, n_pilots = g.shape[1], surprise.shape[1]
    n = n_groups_taps // n_layers
    n_hidden, n_small, n_neighbours = tap_rule[0].shape[0], pilot_rule[0].shape[0], len(neighbours)
    one, third, sixth = np.float32(1.0), np.float32(1 / 3), np.float32(1 / 6)
    n_snapshots, told, per_cell, window_told = facts
    smallest, largest, kept, least_s, most_s, most_outlier, silent = limits
    fine = kept >= 0
    log_r = np.float32(math.log(n_snapshots))
    usual = one + np.float32(6.0) / np.float32(math.sqrt(n_snapshots))  # t that an outlier exceeds
    width = BLOCK + WIDE  # not a multiple of a page, lest rows share a place in the cache
    factors = np.empty(n_groups_taps, np.float32)
    own = np.zeros((N_OWN, n_groups_taps), np.float32)
    known = np.full(n_groups_taps, -1, np.int64)  # the group whose features a row of own holds
    inputs = np.zeros((n_neighbours * N_OWN + 1, width), np.float32)
    step = window_told * np.float32(2.0) / np.float32(max(n - 1, 1))
    first, second = np.empty((n_hidden, width), np.float32), np.empty((n_hidden, width), np.float32)
    out = np.empty((1, width), np.float32)
    alive = np.empty(n_groups_taps, np.int64)
    pilot_width = (n_pilots + WIDE - 1) // WIDE * WIDE
    pilot_inputs = np.zeros((N_PILOT, pilot_width), np.float32)
    pilot_first = np.empty((n_small, pilot_width), np.float32)
    pilot_second, pilot_out = np.empty((n_small, pilot_width), np.float32), np.empty((1, pilot_width), np.float32)
    noise_inputs = np.zeros((N_SHARED, WIDE), np.float32)
    noise_first, noise_second = np.empty((n_small, WIDE), np.float32), np.empty((n_small, WIDE), np.float32)
    noise_out, shared = np.empty((1, WIDE), np.float32), np.empty(N_SHARED, np.float32)
    shift = np.empty(n_hidden, np.float32)
    for b in range(start, end):
        kappa, heard, em_level, log_outlier = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
        for m in range(n_pilots):
            noise = s[b] * relative[b, m] * outlier[b, m]
            kappa += one / noise
            log_outlier += np.float32(math.log(outlier[b, m]))
            if relative[b, m] < silent:
                heard += one
                em = max(noise * (one + noise * (surprise[b, m] - information[b, m])), np.float32(1e-12))
                em_level += em / (relative[b, m] * outlier[b, m])
        kappa /= np.float32(n_pilots) * looks[b]
        heard = max(heard, one)
        em_level /= heard
        one_look = heard * share[b]
        total, squares, resolved, count = np.float32(0.0), np.float32(0.0), np.float32(0.0), 0
        for i in range(n_groups_taps):
            if g[b, i] > 0:
                total += g[b, i]
                squares += g[b, i] * g[b, i]
                resolved += g[b, i] * d[b, i]
                alive[count] = i
                count += 1
        shared[0] = _log(fit[b] * np.float32(n_pilots) / heard, np.float32(1e-12)) * third
        shared[1] = np.float32(math.log(em_level / s[b])) * third
        shared[2] = np.float32(math.log(one_look / np.float32(REFERENCE_PILOTS)))
        shared[3] = told
        shared[4] = _logit(resolved / one_look, np.float32(EXPLAINED_MARGIN)) * sixth
        shared[5] = deficit[b]
        shared[6] = (log_r + np.float32(math.log(looks[b]))) * third
        shared[7] = _log(kappa * total, _LOW) * sixth
        shared[8] = np.float32(math.log(per_cell)) + np.float32(1.75)
        shared[9] = np.float32(math.log(one_look / (np.float32(n_groups_taps) * per_cell))) * np.float32(0.5)
        effective = total * total / max(squares, np.float32(1e-20)) * per_cell
        shared[10] = _log(effective, np.float32(1e-3)) * np.float32(0.25)
        shared[11] = np.float32(n_layers - 1)
        shared[12] = log_outlier / np.float32(n_pilots)
        shared[13] = window_told
        # the noise level
        for f in range(N_SHARED):
            noise_inputs[f, 0] = shared[f]
        _perceive(noise_inputs, WIDE, noise_rule, noise_rule[1], noise_first, noise_second, noise_out)
        base = s[b] if told > 0 else em_level
        level = min(max(base * factor(noise_out[0, 0]), least_s), most_s)
        new_s[b] = level
        # single pilots
        for m in range(n_pilots):
            noise = s[b] * relative[b, m] * outlier[b, m]
            t = max(surprise[b, m] / information[b, m], _LOW)
            pilot_inputs[0, m] = np.float32(math.log(t)) * third
            pilot_inputs[1, m] = min(t / usual, np.float32(50.0))
            pilot_inputs[2, m] = np.float32(math.log(min(max(noise * information[b, m], _LOW), one))) * third
            pilot_inputs[3, m] = np.float32(math.log(outlier[b, m])) * third
            pilot_inputs[4, m], pilot_inputs[5, m], pilot_inputs[6, m] = shared[0], shared[2], shared[3]
            pilot_inputs[7, m], pilot_inputs[8, m], pilot_inputs[9, m] = shared[4], log_r * third, shared[7]
        _perceive(pilot_inputs, pilot_width, pilot_rule, pilot_rule[1], pilot_first, pilot_second, pilot_out)
        for m in range(n_pilots):
            noise = s[b] * relative[b, m] * outlier[b, m]
            t = max(surprise[b, m] / information[b, m], _LOW)
            opened = np.float32(4.0) * (np.float32(math.log(t / usual)) + pilot_out[0, m])
            alone = ((t - one) / information[b, m] + noise) / (relative[b, m] * level)
            new_outlier[b, m] = one + sigmoid(opened) * min(max(alone - one, np.float32(0.0)), most_outlier)
        # the taps
        for unit in range(n_hidden):
            sum_shared = tap_rule[1][unit]
            for f in range(N_SHARED):
                sum_shared += tap_shared[unit, f] * shared[f]
            shift[unit] = sum_shared
        if not fine:
            for i in range(n_groups_taps):
                _feel(q2[b, i], d[b, i], g[b, i], kappa, own, i)
        origin = 0
        done = 0
        while done < count:
            while alive[done] >= origin + n:
                origin += n
            several = min(BLOCK, count - done)
            if fine:
                _gather(q2[b], d[b], g[b], kappa, alive[done : done + several], neighbours, n, own, known, b, inputs)
            else:
                several = min(several, origin + n - alive[done])
                for side in range(n_neighbours):
                    _turned(own, alive[done], several, origin, n, neighbours[side], inputs, side * N_OWN)
            for c in range(several):
                at = alive[done + c] - origin
                while at >= n:
                    at -= n
                inputs[n_neighbours * N_OWN, c] = step * np.float32(at) - window_told
            used = (several + WIDE - 1) // WIDE * WIDE
            _perceive(inputs, used, tap_rule, shift, first, second, out)
            for c in range(several):
                factors[done + c] = factor(out[0, c])
            done += several
        if fine:
            new_g[b, :] = 0
        for c in range(count):
            i = alive[c]
            clipped = max(d[b, i], np.float32(1e-12))
            em = g[b, i] * g[b, i] * q2[b, i] + g[b, i] * max(one - g[b, i] * clipped, np.float32(0.0))
            value = em * factors[c]
            if fine:
                value = min(value, largest)
                new_g[b, i] = value if value * kappa > kept else np.float32(0.0)
            else:
                new_g[b, i] = min(max(value, smallest), largest)
