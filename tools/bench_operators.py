"""PartialDFT against dense complex64 matrices: ratios of median times taken in one run, and peak memory.

    python tools/bench_operators.py [--threads 2] [--device cpu] [--json]

The gradient Phi^H (Phi x - y) three ways: by the Toeplitz gram with Phi^H y computed once, by a direct
forward-adjoint pair, and by two dense matrix products; and the forward product by pruned FFTs against a padded
one. Laps alternate between the ways, so that a change in the machine's speed hits all alike.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from bench_laps import alternating
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from chanest import Grid, PilotPattern

SIZES = {  # M, N, N_FFT, batch, used subcarriers
    "LTE 10 MHz": (75, 256, 1024, 512, 600),
    "wide window": (75, 272, 1024, 512, 600),
    "large": (600, 2048, 8192, 64, 4800),
}


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """The most memory that tensors of one call held at the same time, beyond what was there before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    with quiet_stderr(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    held = peak = 0
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop what the profiler's C++ side writes to stderr."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def measure(name: str, device: torch.device, laps: int) -> dict[str, Any]:
    """Median milliseconds, ratios to dense, and peak memory of every way, for one size."""
    m, n, n_fft, batch, used = SIZES[name]
    phi = PilotPattern.random(m, 0, Grid.around_dc(used, n_fft)).operator(n, device=device)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, n, dtype=torch.complex64, generator=generator).to(device)
    y = phi.forward(torch.randn(batch, n, dtype=torch.complex64, generator=generator).to(device))
    matrix = phi.dense().contiguous()
    transposed, conjugate = matrix.mT.contiguous(), matrix.conj().resolve_conj().contiguous()
    z = phi.adjoint(y)
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "gram": lambda: phi.gram(x) - z,
        "forward-adjoint": lambda: phi.adjoint(phi.forward(x) - y),
        "dense": lambda: (x @ transposed - y) @ conjugate,
    }
    expected = ways["dense"]()
    for way in ways.values():
        assert float((way() - expected).norm() / expected.norm()) < 1e-4
    forward: dict[str, Callable[[], torch.Tensor]] = {
        "pruned": lambda: phi.forward(x),
        "padded": lambda: torch.fft.fft(x, n_fft)[..., phi.bins] * m**-0.5,
    }
    assert float((forward["padded"]() - forward["pruned"]()).norm() / forward["pruned"]().norm()) < 1e-4
    seconds, _ = alternating({**ways, **forward}, device, laps, most_seconds=60)
    milliseconds = {way: 1e3 * seconds[way] for way in ways}
    return {
        "M": m,
        "N": n,
        "N_FFT": n_fft,
        "batch": batch,
        "milliseconds": milliseconds,
        "times_faster_than_dense": {way: milliseconds["dense"] / ms for way, ms in milliseconds.items()},
        "peak_mebibytes": {way: peak_bytes(run, device) / 2**20 for way, run in ways.items()},
        "forward_pruned_over_padded": seconds["pruned"] / seconds["padded"],
        "operator_mebibytes": {"dense": 2 * matrix.numel() * 8 / 2**20},
    }


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--laps", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with torch.inference_mode():
        results: dict[str, Any] = {name: measure(name, torch.device(options.device), options.laps) for name in SIZES}
    if options.json:
        print(json.dumps(results))
        return
    table = Table("size", "way", "ms", "times faster than dense", "peak MiB of the call")
    for name, result in results.items():
        label = f"{name}: M={result['M']}, N={result['N']}, N_FFT={result['N_FFT']}, batch {result['batch']}"
        for way, ms in result["milliseconds"].items():
            ratio = result["times_faster_than_dense"][way]
            table.add_row(label, way, f"{ms:.2f}", f"{ratio:.2f}", f"{result['peak_mebibytes'][way]:.1f}")
            label = ""
        table.add_section()
    Console(width=120).print(table)
    for name, result in results.items():
        print(
            f"{name}: forward by pruned FFTs takes {result['forward_pruned_over_padded']:.2f} of the padded one's time"
        )
    print(
        "the dense matrices themselves, Phi and its conjugate, take "
        + ", ".join(f"{r['operator_mebibytes']['dense']:.1f} MiB ({n})" for n, r in results.items())
    )


if __name__ == "__main__":
    main()
