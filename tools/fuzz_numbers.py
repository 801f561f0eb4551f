"""Random estimates by every estimator: each as if it were alone, and a·H for a·Y, whatever the units and the noise.

    python tools/fuzz_numbers.py [--estimates 200000] [--seed 0] [--workers 1] [--only ROUND] [--estimators ista,na-sbl]

Each round draws an estimator, 2 to 600 pilots (anywhere, on a comb, in a block) and a batch of 8 to 256 channels (fewer
where the pilots are many), silence and pure noise. Of the noise variance the estimator is told nothing, 0, next to
nothing, the truth or far too much, or another of these for each entry. It estimates them in one batch in which
amplitudes from 1e-30 to 1e30 are mixed, in batches of equal amplitude, and some of them alone. Everything must be
finite, and the same to 1e-3 of the largest, error variances too. Exits with 1 where something is not.

Both are promised of the numbers, not of their last bits: an estimator that picks paths (OMP), counts them or stops may
go another way where two are equal to the last bits of float32. A difference is therefore looked at again in double
precision, and counted as *undecided* where it is gone there; and as *misled* where it is there for those entries alone
that were told a noise variance of 0, or a millionth of a millionth of what it is, which nobody can estimate by.
"""

import argparse
import math
import multiprocessing
import sys
import time
from collections import Counter, deque
from functools import lru_cache, partial
from itertools import count, islice

import numpy as np
import torch
from torch import Tensor

from chanest import Model, PilotPattern, load_model
from chanest.algorithms import Algorithm, algorithm
from chanest.errors import ModelError
from chanest.models import ESTIMATORS, Solution, pick_model, serving
from chanest.problems import Grid, Scenario, ofdm, seeded

LEAST, MOST, MOST_NUMBERS, ALONE = 8, 256, 40_000, 3
TIED = ("lista", "lista-cpss", "gated-lista")  # to one matrix: only where the pilots are theirs
CLOSE = 1e-3
NOISE = ("untold", "zero", "tiny", "right", "huge", "each its own")


@lru_cache
def scenarios() -> tuple[Scenario, Scenario]:
    """For LTE's band."""
    return ofdm("lte10"), ofdm("wide")


@lru_cache(maxsize=64)
def model_of(name: str, n_pilots: int, pattern: PilotPattern | None = None) -> Model:
    """A shipped model, or an untrained one where none is shipped: for one pattern where it is tied to it."""
    if name in ("na-sbl-wide", "na-sbl-wide-window", "na-alista-wide", "alista-wide"):
        return load_model(name)
    try:
        return pick_model(name, scenarios()[0], n_pilots)
    except ModelError:
        scenario = scenarios()[0]
        if pattern is None:
            made = algorithm(name)
            return Model(made, scenario, f"untrained {name}")  # type: ignore[arg-type]
        scenario = ofdm(serving(pick_model("ista", scenario, n_pilots), pattern).scenario)
        phi = scenario.forward_model(pattern, torch.complex64, "cpu").phi
        sizes = {"n_measurements": phi.n_measurements, "n_coefficients": phi.n_coefficients, "field": "complex"}
        tied = algorithm(name, n_iterations=8, **sizes)
        assert isinstance(tied, Algorithm)
        tied.fit_normalisation(torch.zeros(1, n_pilots, dtype=torch.complex64), phi)
        return Model(tied, scenario, f"untrained {name}")


def drawn_pattern(rng: np.random.Generator) -> PilotPattern:
    """2 to 600 pilots."""
    count = int(np.exp(rng.uniform(np.log(2), np.log(600))))
    kind = rng.integers(4)
    if kind == 0 and 600 // count > 1:
        return PilotPattern.comb(count)
    used = np.asarray(Grid().used_subcarriers)
    if kind == 1:
        first = int(rng.integers(600 - count + 1))
        return PilotPattern(tuple(used[first : first + count].tolist()), Grid())
    return PilotPattern(tuple(np.sort(rng.choice(used, count, replace=False)).tolist()), Grid())


Drawn = tuple[str, PilotPattern, Tensor, Tensor | None, Tensor, Tensor, str]


def drawn(seed: int, index: int, names: list[str]) -> Drawn:
    """Estimator, pilots, observations of unit power, noise variances told, amplitudes, whether what is told is not far
    too little, and what it is in words."""
    rng = np.random.default_rng((seed, index))
    name = names[index % len(names)]
    pattern = drawn_pattern(rng)
    scenario = scenarios()[int(rng.integers(2))]
    n = max(LEAST, min(int(np.exp(rng.uniform(np.log(LEAST), np.log(MOST)))), MOST_NUMBERS // len(pattern)))
    data = scenario.draw(pattern, n, seeded(seed, "test", 2 * index), float(rng.uniform(-10, 40)))
    y = data.observations.clone()
    y[0] = 0
    y[1] = torch.view_as_complex(torch.randn(len(pattern), 2, generator=seeded(seed, "test", 2 * index + 1)))
    noise = data.noise_variance.double().reshape(-1).expand(n).clone()
    how = NOISE[rng.integers(len(NOISE))]
    factors = {"zero": 0.0, "tiny": 1e-12, "right": 1.0, "huge": 1e6}
    told: Tensor | None = None
    if how == "each its own":
        told = noise * torch.from_numpy(rng.choice(list(factors.values()), n))
    elif how != "untold":
        told = noise * factors[how]
    well_told = torch.ones(n, dtype=torch.bool)
    if told is not None:
        well_told = told > 0.1 * noise
        well_told[1] = False  # noise alone, of another variance
    return name, pattern, y, told, torch.from_numpy(10 ** rng.uniform(-30, 30, n)), well_told, how


def solved(model: Model, y: Tensor, pattern: PilotPattern, told: Tensor | None) -> dict[str, Tensor]:
    """What a model finds, in double precision."""
    found: Solution = model.solve(y, pattern, told, error_variance=True)
    made = {**found.values, "error_variance": found.error_variance}
    return {
        name: v.to(torch.complex128 if v.is_complex() else torch.float64) for name, v in made.items() if v is not None
    }


def apart(a: dict[str, Tensor], b: dict[str, Tensor]) -> dict[str, Tensor]:
    """How far entries of a batch are apart, over their largest value, by name."""
    gaps = {}
    for name in a:
        size = torch.maximum(a[name].abs().amax(-1), b[name].abs().amax(-1))
        gaps[name] = (a[name] - b[name]).abs().amax(-1) / torch.where(size > 0, size, 1.0)
    return gaps


def scaled(found: dict[str, Tensor], by: Tensor) -> dict[str, Tensor]:
    return {n: v / (by.square() if n == "error_variance" else by).unsqueeze(-1) for n, v in found.items()}


def differences(
    model: Model, pattern: PilotPattern, y: Tensor, told: Tensor | None, amplitudes: Tensor, well_told: Tensor
) -> tuple[list[str], list[str], int]:
    """What differs in a round, in words: of entries that were told no untruth, of the others; and how many estimates
    were made."""
    n = len(y)
    there = solved(model, y, pattern, told)
    loud = (y * amplitudes.unsqueeze(-1)).to(y.dtype)
    told_loud = None if told is None else told * amplitudes.square()
    mixed = solved(model, loud, pattern, told_loud)
    picks = torch.randperm(n, generator=seeded(len(pattern), "test"))
    half = picks[: n // 2]
    seen: list[str] = []
    misled: list[str] = []
    part = solved(model, loud[half], pattern, None if told_loud is None else told_loud[half])
    checks = [("of another amplitude", apart(scaled(mixed, amplitudes), there), torch.arange(n))]
    checks.append(("in another batch", apart({k: v[half] for k, v in mixed.items()}, part), half))
    for i in picks[:ALONE].unsqueeze(-1):
        one = solved(model, y[i], pattern, None if told is None else told[i])
        checks.append(("alone", apart({k: v[i] for k, v in there.items()}, one), i))
    for name, values in (*there.items(), *mixed.items(), *part.items()):
        if not bool(values.isfinite().all()):
            seen.append(f"{name} is not finite")
    for what, gaps, entries in checks:
        for name, gap in gaps.items():
            for into, mask in ((seen, well_told[entries]), (misled, ~well_told[entries])):
                if bool(mask.any()) and not float(gap[mask].max()) <= CLOSE:
                    into.append(f"{name} {what}: {float(gap[mask].max()):.1e}")
    return seen, misled, n + n + len(half) + ALONE


def one_round(names: list[str], seed: int, index: int) -> tuple[str, int, str, str]:
    """Estimator, estimates made, what the round counts as (nothing where all is well), and in words."""
    torch.set_num_threads(1)  # one a worker
    with torch.inference_mode():
        name, pattern, y, told, amplitudes, well_told, how = drawn(seed, index, names)
        model = model_of(name, len(pattern), pattern if name in TIED else None)
        seen, misled, made = differences(model, pattern, y, told, amplitudes, well_told)
        if not seen and not misled:
            return name, made, "", ""
        exact = y.to(torch.complex128)
        twice, twice_misled, _ = differences(model, pattern, exact, told, amplitudes, well_told)
    never = [one for one in seen if "finite" in one]
    kind = "wrong" if never or twice else "undecided" if seen else "misled" if twice_misled else "undecided"
    where = f"seed {seed} round {index}: {name}, {len(pattern)} pilots, noise {how}"
    return name, made, kind, f"{kind}: {where}: {'; '.join(never or twice or seen or twice_misled or misled)}"


def main() -> None:
    """Estimate, compare, count, exit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--estimates", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes; what is found is the same")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many")
    parser.add_argument("--only", type=int, help="one round again")
    parser.add_argument("--estimators", help="those alone")
    options = parser.parse_args()
    names = [*ESTIMATORS, "na-sbl-wide", "na-sbl-wide-window", "na-alista-wide", "alista-wide"]
    names = options.estimators.split(",") if options.estimators else names
    run = partial(one_round, names, options.seed)
    counts: Counter[str] = Counter()
    done, rounds, until = 0, 0, time.monotonic() + 60 * options.minutes
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        indices = count() if options.only is None else iter([options.only])
        waiting = deque(pool.apply_async(run, [i]) for i in islice(indices, 2 * options.workers))
        while waiting and done < options.estimates and time.monotonic() < until:
            name, made, kind, words = waiting.popleft().get()
            waiting.extend(pool.apply_async(run, [i]) for i in islice(indices, 1))
            done, rounds = done + made, rounds + 1
            counts[name] += made
            if kind:
                counts[kind] += 1
                print(words, flush=True)
    estimators = len([name for name in names if counts[name]])
    print(
        f"{done} estimates by {estimators} estimators in {rounds} rounds, seed {options.seed}: "
        f"{counts['wrong']} wrong; {counts['undecided']} undecided in float32, {counts['misled']} misled"
    )
    sys.exit(counts["wrong"] > 0)


if __name__ == "__main__":
    main()
