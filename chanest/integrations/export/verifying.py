"""Every export is compared with the model it came from, through the reader of its format, before it is kept."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ... import kernels
from ...errors import ChanestError, ExportError, FileError
from ...models import Model
from ...problems.base import Sensing

OUTPUTS = ("cfr", "cir", "error_variance")
SAMPLES = 32
_PATHS = 8

Outputs = tuple[Tensor, ...]
"""cfr (batch, n_used), cir (batch, n_taps), error variance (batch, n_used); or one tensor of vectors."""


@dataclass(frozen=True)
class Inputs:
    """Random observations for a comparison.

    Attributes:
        received_pilots: (SAMPLES, M) complex64, or float32 in the synthetic setting; powers, noise and channels
            differ from sample to sample.
        noise_variance: (SAMPLES,) float32.
        pattern: where the pilots lie, or the matrix.
    """

    received_pilots: Tensor
    noise_variance: Tensor
    pattern: Sensing

    @classmethod
    def random(cls, model: Model, pattern: Sensing, seed: int = 0) -> "Inputs":
        """A few coefficients each, 0...30 dB, over twelve decades of power.

        >>> from chanest import PilotPattern, load_model
        >>> Inputs.random(load_model("alista-lte10-m75"), PilotPattern.random(75, seed=0)).received_pilots.shape
        torch.Size([32, 75])
        """
        generator = torch.Generator().manual_seed(seed)
        dtype = model.scenario.dtype
        phi = model.scenario.forward_model(pattern, dtype, "cpu").phi
        m, n = phi.n_measurements, phi.n_coefficients

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(SAMPLES, 1, generator=generator)

        gains = torch.randn(SAMPLES, n, dtype=dtype, generator=generator)
        clean = phi.forward(gains * (torch.rand(SAMPLES, n, generator=generator) < _PATHS / n)) * m**0.5
        deviation = 10 ** uniform(-1.5, 0) * _PATHS**0.5
        noise = torch.randn(SAMPLES, m, dtype=dtype, generator=generator) * deviation
        units = 10 ** uniform(-6, 6)
        return cls((clean + noise) * units, (deviation * units).square().squeeze(-1), pattern)

    def part(self, n: int) -> "Inputs":
        """The first n."""
        return Inputs(self.received_pilots[:n], self.noise_variance[:n], self.pattern)

    def estimate(self, model: Model) -> Outputs:
        """What a model makes of them."""
        with _one_thread(), kernels.plain():  # what is exported is torch's program, whose rounding NA-SBL may enlarge
            found = model.solve(self.received_pilots, self.pattern, self.noise_variance, error_variance=True)
        values = (found.values.get("cfr"), found.values.get("cir", found.values.get("x")), found.error_variance)
        return tuple(t for t in values if t is not None)


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch's matrix products round by the number of its threads, which follows what else the machine does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def verified(
    path: Path,
    write: Callable[[Path], None],
    run: Callable[[Path], Outputs],
    expected: Outputs,
    tolerances: Sequence[float],
) -> dict[str, float]:
    """Write beside the path, run what was written, compare, and only then move it there.

    Args:
        path: where to; what lies there is replaced.
        write: makes a file or folder.
        run: reads it as a user of the format would, and gives what ``expected`` is compared with.
        expected: (batch, ...) tensors, what it should give.
        tolerances: the largest error of each that passes.

    Returns:
        :func:`relative_error` of each by its name.

    Raises:
        ExportError: larger than its tolerance; nothing is left behind, and what was there stays.
        FileError: cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path, x = Path(folder, "x.pt"), (torch.ones(1, 2),)
    ...     verified(path, lambda p: torch.save(x, p), lambda p: torch.load(p), x, (0.0,))
    {'x': 0.0}
    """
    partial = path.with_name(f".partial-{path.name}")
    try:
        _remove(partial)
        write(partial)
        with _one_thread():
            found = run(partial)
        names = OUTPUTS if len(expected) > 1 else ("x",)
        errors = {name: relative_error(f, e) for name, f, e in zip(names, found, expected, strict=False)}
        for (name, error), tolerance in zip(errors.items(), tolerances, strict=False):
            if not error <= tolerance:
                raise ExportError(
                    f"not written: what was exported differs from the model on random input, {name} by "
                    f"{error:.1e} of its size, expected at most {tolerance:.0e}; please report this",
                    path=path,
                )
        if path.is_dir():
            _remove(path)
        partial.replace(path)
    except ChanestError as failure:
        raise (failure.at(path=path) if failure.path == partial else failure) from None
    except OSError as failure:
        raise FileError(f"cannot be written ({failure.strerror or failure})", path=path) from None
    finally:
        _remove(partial)
    return errors


def relative_error(found: Tensor, expected: Tensor) -> float:
    """The largest over samples of ||found - expected|| / ||expected||; infinite where shapes differ.

    >>> relative_error(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    0.5
    """
    if found.shape != expected.shape or not bool(found.isfinite().all()):
        return float("inf")
    found, expected = (t.to(torch.complex128).flatten(1) for t in (found, expected))
    norm = torch.linalg.vector_norm
    size = norm(expected, dim=-1).clamp_min(torch.finfo(torch.float64).tiny)  # of silence, 0 is exact
    return float((norm(found - expected, dim=-1) / size).max())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
