"""Laps that alternate between contenders, and the machine's ceilings as contenders among them."""

import statistics
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import torch
from bench_counts import BYTE, Unit

Key = TypeVar("Key")
_SHORTEST = 5e-3  # seconds of a lap: what is faster runs several times in it
_SMALLEST_COPY = 64  # estimates: below, a copy measures its dispatch


def alternating(
    runs: Mapping[Key, Callable[[], object]],
    device: torch.device,
    laps: int,
    most_seconds: float,
    keep: Collection[Key] = (),
) -> tuple[dict[Key, float], dict[Key, Any]]:
    """Median seconds of each run, and what the first lap of those to ``keep`` returned.

    Laps alternate between the runs, the first is not counted. What has used up ``most_seconds`` runs no more; where
    the first lap took longer than that, it is what counts.
    """
    returned: dict[Key, Any] = {}
    times: dict[Key, list[float]] = {key: [] for key in runs}
    repeats, spent = {}, {}
    for key, run in runs.items():
        started = time.perf_counter()
        first = run()  # compiles, fills caches
        _wait(device)
        spent[key] = time.perf_counter() - started
        if key in keep:
            returned[key] = first
        del first
        if spent[key] > most_seconds:
            times[key].append(spent[key])
        else:
            repeats[key] = max(1, round(_SHORTEST / max(lap(run, 1, device), 1e-7)))
    for _ in range(laps):
        for key, run in runs.items():
            if times[key] and spent[key] > most_seconds:
                continue
            times[key].append(lap(run, repeats[key], device))
            spent[key] += times[key][-1] * (repeats[key] + 1)
    return {key: statistics.median(of) for key, of in times.items()}, returned


def lap(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Seconds of one call, on average over some in a row.

    After one that is not counted: threads of the run before, which OpenMP lets spin for milliseconds, are asleep then.
    """
    run()
    _wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        run()
    _wait(device)
    return (time.perf_counter() - started) / repeats


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ceiling_runs(unit: Unit, batch: int, device: torch.device) -> tuple[list[Callable[[], object]], float]:
    """Ways to do a unit for a whole batch, and how many of it they do: an FFT into new memory and in place."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int, dtype: torch.dtype = torch.complex64) -> torch.Tensor:
        return torch.randn(*shape, dtype=dtype, generator=generator).to(device)

    match unit.kind, unit.size:
        case "fft", (n,):
            x, kept = normal(batch, n), normal(batch, n)

            # unitary in place, or it would grow from call to call
            return [lambda: torch.fft.fft(x), lambda: torch.fft.fft(kept, norm="ortho", out=kept)], batch
        case ("product" | "complex product") as kind, (rows, inner, columns):
            dtype = torch.float32 if kind == "product" else torch.complex64
            a, b = normal(batch * rows, inner, dtype=dtype), normal(inner, columns, dtype=dtype)
            out = normal(batch * rows, columns, dtype=dtype)
            return [lambda: torch.mm(a, b, out=out)], batch
        case "large product", (n,):
            a, b, out = (normal(n, n, dtype=torch.float32) for _ in range(3))
            return [lambda: torch.mm(a, b, out=out)], 1
        case "cholesky", (n,):
            c = _positive(normal(min(batch, 512), n, 2 * n), batch)
            return [lambda: torch.linalg.cholesky_ex(c)], batch
        case "inverse", (n,):
            factor = torch.linalg.cholesky_ex(_positive(normal(min(batch, 512), n, 2 * n), batch))[0]
            return [lambda: torch.cholesky_inverse(factor)], batch
        case _:
            source = normal(max(batch, _SMALLEST_COPY), 256)
            target = torch.empty_like(source)
            return [lambda: target.copy_(source)], 2.0 * source.numel() * source.element_size()


def _positive(a: torch.Tensor, batch: int) -> torch.Tensor:
    """As many Hermitian positive definite matrices; few different ones, repeated, cost less to make."""
    c = a @ a.mH / a.shape[-1]
    return c.repeat(-(-batch // len(c)), 1, 1)[:batch].contiguous()


def ceilings(
    units: set[Unit], batch: int, device: torch.device
) -> tuple[dict[tuple[Unit, int], Callable[[], object]], dict[Unit, float]]:
    """Runs to be timed, by unit and way, and how many units each does."""
    runs: dict[tuple[Unit, int], Callable[[], object]] = {}
    amounts: dict[Unit, float] = {}
    for unit in sorted(units | {BYTE}, key=str):
        ways, amounts[unit] = ceiling_runs(unit, batch, device)
        runs |= {(unit, way): run for way, run in enumerate(ways)}
    return runs, amounts


def seconds_per_unit(medians: Mapping[tuple[Unit, int], float], amounts: Mapping[Unit, float]) -> dict[Unit, float]:
    """Of the fastest way of each."""
    found: dict[Unit, float] = {}
    for (unit, _), seconds in medians.items():
        found[unit] = min(found.get(unit, float("inf")), seconds / amounts[unit])
    return found
