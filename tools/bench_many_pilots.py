"""NA-SBL and NA-ALISTA on carriers of many pilots: time over that of one complex64 product of 1,638 x 1,638.

usage: python tools/bench_many_pilots.py [--groups 32] [--laps 5] [--cases 273,106,lte20,random,holes]
           [--direct 0,20,40] [--figure docs/many_pilots.svg]

One line per carrier: preparing a pattern in seconds, then for one antenna, for four, with error variance, for any delay
(no window told), and for NA-ALISTA, milliseconds a group and over the product. ``--direct`` compares the NMSE at some
SNRs with that of matrices of the pilots in double precision, which take seconds a group. ``--figure`` draws time and
NMSE against the number of pilots, combs over 273 PRB, with and without the domain of the taps, beside other estimators;
where a comb tells less apart than the prefix, paths lie within 0.8 of that.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from chanest import Grid, Model, PilotPattern, load_model
from chanest.evaluation.plots import style
from chanest.models import pick_model
from chanest.operators import LinearOperator, PartialDFT, tap_domain
from chanest.problems import ofdm
from chanest.problems.ofdm.draw import frequency_response

PRODUCT = 1638
PEERS = ("na-alista", "omp", "lmmse-exponential", "linear")
OLD_FORM = "NA-SBL, by matrices of the pilots"
PREFIX = 72 / 1024  # of an NR symbol
BEFORE = 8 / 1024


def carriers() -> dict[str, PilotPattern]:
    nr273, lte20 = Grid.nr(273), Grid.lte(20)
    used = np.r_[-1638:-610, 410:1638]
    holes = PilotPattern(tuple(used[::2].tolist()), Grid(nr273.n_fft, tuple(used.tolist())))
    return {
        "273": PilotPattern.comb(2, 0, nr273),
        "106": PilotPattern.comb(2, 0, Grid.nr(106)),
        "lte20": PilotPattern.comb(6, 0, lte20),
        "random": PilotPattern.random(800, seed=0, grid=nr273),
        "holes": holes,
    }


def drawn(
    pattern: PilotPattern, n: int, r: int, snr_db: float, seed: int = 0, longest: float = PREFIX
) -> tuple[Tensor, Tensor]:
    """Received pilots (n, R, M) and CFR of six paths within 0.8 of the prefix, or of what is told (of a symbol)."""
    generator = torch.Generator().manual_seed(seed)
    delays = torch.rand(n, 6, dtype=torch.float64, generator=generator) * 0.8 * longest * pattern.n_fft
    variances = torch.softmax(torch.randn(n, 1, 6, generator=generator), -1)
    gains = torch.randn(n, r, 6, dtype=torch.complex64, generator=generator) * variances.sqrt()
    cfr = frequency_response(delays.repeat_interleave(r, 0), gains.flatten(0, 1), pattern.grid).view(n, r, -1)
    at = np.searchsorted(pattern.used_subcarriers, pattern.subcarriers)
    noise = torch.randn(n, r, len(pattern), dtype=torch.complex64, generator=generator)
    return cfr[..., at] + noise * 10 ** (-snr_db / 20), cfr


def seconds(run: Callable[[], Any], laps: int) -> float:
    times = []
    for _ in range(laps):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def nmse_db(found: Tensor, cfr: Tensor) -> float:
    return float(10 * ((found - cfr).abs().square().sum() / cfr.abs().square().sum()).log10())


def in_double(self: PartialDFT, y: Tensor, g: Tensor, noise: Tensor, reach: int | None = None) -> Any:
    exact = y.to(torch.complex128), g.double(), noise.double()
    found = LinearOperator.joint_moments(self.to(torch.complex128), *exact)
    return type(found)(*(v.to(g.dtype) for v in vars(found).values()))


def solved_in_double(self: PartialDFT, y: Tensor, g: Tensor, noise: Tensor) -> Tensor:
    exact = y.to(torch.complex128), g.double(), noise.double()
    return LinearOperator.joint_solution(self.to(torch.complex128), *exact).to(y.dtype)


def estimating(
    model: Model,
    pattern: PilotPattern,
    y: Tensor,
    noise: float,
    told: bool = True,
    longest: float = PREFIX,
    **more: Any,
) -> Any:
    before = BEFORE / PREFIX * longest * pattern.n_fft
    window = (-before, longest * pattern.n_fft + before / 2) if told else None
    return lambda: model.solve(y, pattern, noise, snapshot_axes=1, window_samples=window, **more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=32)
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--snr", type=float, default=20.0)
    parser.add_argument("--cases", default="273,106,lte20,random,holes")
    parser.add_argument("--direct", default="", help="SNRs, with commas between")
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, alista, n = load_model("na-sbl-wide"), load_model("na-alista-wide"), args.groups
    matrix = torch.randn(PRODUCT, PRODUCT, dtype=torch.complex64)
    with torch.inference_mode():
        if args.figure:
            draw(model, args)
            return
        for name in args.cases.split(","):
            pattern, noise = carriers()[name], 10 ** (-args.snr / 10)
            one, four = (drawn(pattern, n, r, args.snr)[0] for r in (1, 4))
            start = time.perf_counter()
            estimating(model, pattern, one[:1], noise)()
            first = time.perf_counter() - start
            runs = {
                "one antenna": estimating(model, pattern, one, noise),
                "four": estimating(model, pattern, four, noise),
                "error variance": estimating(model, pattern, one, noise, error_variance=True),
                "any delay": estimating(model, pattern, one, noise, told=False),
                "NA-ALISTA": lambda y=one[:, 0], p=pattern, s=noise: alista.solve(y, p, s),
            }
            print(f"{name}: {len(pattern)} pilots, first estimate {first:.2f} s", flush=True)
            for what, run in runs.items():
                run()
                product = seconds(lambda: matrix @ matrix, args.laps)
                each = seconds(run, args.laps) / n
                print(f"  {what:15s} {each * 1e3:7.2f} ms, {each / product:.4f} of the product", flush=True)
            if args.direct:
                compare(model, pattern, n, [float(snr) for snr in args.direct.split(",")])


def compare(model: Model, pattern: PilotPattern, n: int, snrs: list[float]) -> None:
    for snr in snrs:
        y, cfr = drawn(pattern, n, 1, snr, seed=1)
        run = estimating(model, pattern, y, 10 ** (-snr / 10))
        found = nmse_db(run().values["cfr"], cfr)
        with (
            patch.object(PartialDFT, "joint_moments", in_double),
            patch.object(PartialDFT, "joint_solution", solved_in_double),
        ):
            direct = nmse_db(run().values["cfr"], cfr)
        print(f"  {snr:4.0f} dB: NMSE {found:.3f} dB, by matrices of the pilots {direct:.3f} dB", flush=True)


def draw(model: Model, args: argparse.Namespace) -> None:
    """Time against pilots, and beside it the NMSE."""
    import matplotlib.pyplot as plt

    grid, points = Grid.nr(273), {}  # type: ignore[var-annotated]
    peers = {name: pick_model(name, ofdm("wide")) for name in PEERS}
    for m in (32, 64, 96, 128, 160, 200, 256, 400, 636, 1000, 1638):
        pattern, noise = PilotPattern.comb(3276 // m, 0, grid), 10 ** (-args.snr / 10)
        longest = min(PREFIX, 1 / (3276 // m))
        y, cfr = drawn(pattern, args.groups, 1, args.snr, longest=longest)
        runs = {"NA-SBL": estimating(model, pattern, y, noise, longest=longest)}
        runs |= {
            name: lambda one=one, y=y[:, 0], pattern=pattern, noise=noise: one.solve(y, pattern, noise)
            for name, one in peers.items()
        }
        for name, run in runs.items():
            nmse = nmse_db(run().values["cfr"].view_as(cfr), cfr)
            points.setdefault(name, []).append((len(pattern), seconds(run, 3) / args.groups * 1e3, nmse))
        if m <= 700:
            with patch.object(tap_domain, "FEWEST", 10**6):
                runs["NA-SBL"]()
                each = seconds(runs["NA-SBL"], 1) / args.groups * 1e3
            points.setdefault(OLD_FORM, []).append((len(pattern), each, None))
        said = (f"{name} {made[-1][1]:.3g} ms" for name, made in points.items() if made[-1][0] == len(pattern))
        print(len(pattern), *said, sep=", ", flush=True)
    with plt.rc_context(style()):
        figure, axes = plt.subplots(1, 2, figsize=(8, 3.6))
        for name, made in points.items():
            counts, times, errors = zip(*made, strict=True)
            (line,) = axes[0].loglog(counts, times, marker=".", label=name)
            if errors[0] is not None:
                axes[1].semilogx(counts, errors, marker=".", color=line.get_color(), ls=line.get_linestyle())
        axes[0].set(xlabel="pilots", ylabel="milliseconds an estimate, one core")
        axes[1].set(xlabel="pilots", ylabel=f"CFR NMSE (dB), {args.snr:g} dB", ylim=(None, 3))
        figure.legend(loc="outside lower center", ncols=4)
        figure.suptitle("Combs over 273 PRB", fontsize=10)
        figure.savefig(args.figure)


if __name__ == "__main__":
    main()
