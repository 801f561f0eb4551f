"""How near could any estimator come? The exact posterior mean of the sparse channel by Gibbs sampling, in the link.

    python tools/link_limit.py [--ebno 8.5,9] [--slots 1024] [--sweeps 2000] [--seed 0] [--estimators limit,oracle-ls]

The sampler is told the prior that the channels are drawn from: exactly S taps at places drawn uniformly, gains
CN(0, v_n). Its mean has the least NMSE that the pilots allow; its variance is the error variance. Of every channel
there are two chains, from the taps of a matching pursuit and from random ones, at noise raised by 10 dB that falls to
its level within the first fifth of the sweeps, which do not count. The NMSE of the first chains, of the second ones
and of the mean of both is printed: where they agree, the chains have mixed.
"""

import argparse
from typing import Any

import numba
import numpy as np
import torch
from sionna.phy.ofdm import RemoveNulledSubcarriers

from chanest import PilotPattern, load_scenario
from chanest.evaluation import ErrorSums
from chanest.integrations.link.simulation import ebno_at, simulate_point
from chanest.integrations.link.transmission import Link, Slots
from chanest.problems import ofdm
from chanest.problems.ofdm.channels import TapChannel
from chanest.problems.ofdm.operator_cache import whole_band

Array = np.ndarray[Any, np.dtype[Any]]


@numba.njit(nogil=True)
def sample(
    q: Array, gram: Array, v: Array, s: float, places: Array, sweeps: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Mean of x, and the mean of x x^H on the taps, for y = Phi x + CN(0, s): q = Phi^H y, gram = Phi^H Phi.

    One step takes a tap away, and draws its new place among all that are free, and its gain there, given the others.
    """
    n_taps, n_active, m = len(v), len(places), gram[0, 0].real
    z, x, taken = q.copy(), np.zeros(n_active, np.complex128), np.zeros(n_taps, np.bool_)
    taken[places] = True
    mean, second = np.zeros(n_taps, np.complex128), np.zeros((n_taps, n_taps), np.complex128)
    weight, burn = np.empty(n_taps), max(1, sweeps // 5)
    for sweep in range(sweeps):
        level = s * 10.0 ** max(0.0, 1 - sweep / burn)
        for a in range(n_active):
            z += gram[:, places[a]] * x[a]
            taken[places[a]] = False
            largest = -np.inf
            for n in range(n_taps):
                precision = m / level + 1 / v[n]
                weight[n] = abs(z[n]) ** 2 / level**2 / precision - np.log(v[n] * precision)
                if taken[n]:
                    weight[n] = -np.inf
                largest = max(largest, weight[n])
            total = 0.0
            for n in range(n_taps):
                weight[n] = np.exp(weight[n] - largest)
                total += weight[n]
            left = rng.random() * total
            place = 0
            while left > weight[place] and place < n_taps - 1:
                left -= weight[place]
                place += 1
            precision = m / level + 1 / v[place]
            noise = complex(rng.standard_normal(), rng.standard_normal()) / np.sqrt(2 * precision)
            places[a], x[a], taken[place] = place, z[place] / level / precision + noise, True
            z -= gram[:, place] * x[a]
        if sweep >= burn:
            for a in range(n_active):
                mean[places[a]] += x[a] / (sweeps - burn)
                for b in range(n_active):
                    second[places[a], places[b]] += x[a] * np.conj(x[b]) / (sweeps - burn)
    return mean, second


def pursued(q: Array, gram: Array, n_active: int) -> Array:
    """Places of the taps that a matching pursuit takes, each once."""
    z, places = q.copy(), np.empty(n_active, np.int64)
    for a in range(n_active):
        left = np.abs(z)
        left[places[:a]] = -1
        places[a] = left.argmax()
        z -= gram[:, places[a]] * z[places[a]] / gram[0, 0].real
    return places


class LimitedLink(Link):
    """A link with the estimator "limit"."""

    sweeps = 2000

    def estimator(self, name: str) -> Any:
        """As there; "limit" is the posterior mean."""
        if name != "limit":
            return super().estimator(name)
        scenario, channel = self.scenario, self.scenario.channel
        assert isinstance(channel, TapChannel)
        symbols, places = self.grid.pilot_pattern.mask[0, 0].nonzero(as_tuple=True)
        used = RemoveNulledSubcarriers(self.grid)
        pattern = PilotPattern(tuple(int(k) for k in scenario.used_subcarriers[places.numpy()]), scenario.grid)
        dtype = torch.complex128
        phi = pattern.operator(scenario.n_taps, dtype=dtype).dense() * len(pattern) ** 0.5
        band = scenario.operator(whole_band(scenario.grid), dtype, "cpu").dense() * scenario.n_used**0.5
        gram, v = (phi.mH @ phi).numpy(), channel.tap_variances(scenario.n_taps).numpy()
        rng = np.random.default_rng(self.seed)
        self.agreement = ErrorSums(), ErrorSums(), ErrorSums()  # one set of chains, the other, their mean

        def over_symbols(values: torch.Tensor) -> torch.Tensor:
            return values.expand(*values.shape[:-2], self.grid.num_ofdm_symbols, -1)

        def estimate(slots: Slots) -> tuple[torch.Tensor, torch.Tensor]:
            sent = self.grid.pilot_pattern.pilots[0, 0]
            y = (used(slots.received)[:, 0, 0, symbols, places] / sent).to(dtype)
            s, truth = float(slots.noise_variance), slots.cfr[:, 0, 0, 0, 0, 0]
            chains, n_active = [], channel.sparsity
            for pursuing in (True, False):
                means, variances = [], []
                for q in (y @ phi.conj()).numpy():
                    anywhere = rng.choice(len(v), n_active, replace=False)
                    start = pursued(q, gram, n_active) if pursuing else anywhere
                    mean, second = sample(q, gram, v, s, start, self.sweeps, rng)
                    spread = band @ torch.from_numpy(second - np.outer(mean, mean.conj()))
                    means.append(band @ torch.from_numpy(mean))
                    variances.append((spread * band.conj()).sum(-1).real)
                chains.append((torch.stack(means), torch.stack(variances)))
            (first, _), (second_mean, _) = chains
            both = (first + second_mean) / 2
            for sums, found in zip(self.agreement, (first, second_mean, both), strict=True):
                sums.add(found.to(truth.dtype), truth)
            variance = (chains[0][1] + chains[1][1]) / 2 + (first - both).abs().square()
            shape = len(both), 1, 1, 1, 1, 1, -1
            h, error = both.to(truth.dtype).reshape(shape), variance.float().reshape(shape)
            return over_symbols(h), over_symbols(error)

        return estimate, ""


def main() -> None:
    """Print BLER and NMSE at every Eb/N0, and the Eb/N0 at BLER 0.1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ebno", default="8.5,9")
    parser.add_argument("--slots", type=int, default=1024)
    parser.add_argument("--sweeps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--estimators", default="limit")
    options = parser.parse_args()
    link = LimitedLink(ofdm(load_scenario("lte10")), seed=options.seed)
    link.sweeps = options.sweeps
    for name in options.estimators.split(","):
        rows = []
        for ebno in map(float, options.ebno.split(",")):
            rows += simulate_point(link, [name], ebno, n_slots=options.slots, target_errors=0)
            row = rows[-1]
            nmse = "" if row["cfr_nmse_db"] is None else f"CFR NMSE {row['cfr_nmse_db']:.2f} dB"
            chains = [f"{sums.nmse_db:.2f}" for sums in link.agreement] if name == "limit" else []
            print(f"{name}, {ebno:g} dB: BLER {row['bler']:.4f} of {row['blocks']}, {nmse}", *chains, flush=True)
        at = ebno_at({key: str(value) for key, value in row.items()} for row in rows)
        found = "not between these" if at is None or not np.isfinite(at) else f"at {at:.3f} dB"
        print(f"{name}: BLER 0.1 {found}")


if __name__ == "__main__":
    main()
