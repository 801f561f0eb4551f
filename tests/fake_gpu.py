"""Everything on a device that is not the CPU, where there is none: shapes, dtypes and devices, without numbers.

A CPU build of torch makes tensors on "cuda" without numbers, but cannot index or differentiate them: it lacks the
device's guard. So the device is torch's free one with a guard in Python, which nothing in chanest can take for the CPU.

Run as a program, in a process of its own (tensors without numbers must not get into caches), with "quick" for what
differs most or "rest" for the others. One JSON line a case, with the places that read a value from the device, where
the GPU's queue would run empty, or what went wrong.
"""

import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from test_contract import CASES, SIZES
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from chanest import DenseOperator, PilotPattern, load_model, load_scenario
from chanest.algorithms import ALGORITHMS, INTERPOLATORS, Algorithm, CircleNASBL, Interpolator
from chanest.training.distributed import Processes
from chanest.training.trainer import TrainingSettings, _Trainer

if __name__ == "__main__":  # a process that reads this file for its doctests knows no such device
    _setup_privateuseone_for_python_backend("gpu")
GPU, PACKAGE = "gpu:0", str(Path(sys.modules["chanest"].__file__ or "").parent)
TRUE = ("advance", "check_noise", "__init__")  # functions that go on where what they ask is true
SOME = 7  # entries that are not zero, wherever somebody asks
SERVED = ("alista-lte10-m75", "na-alista-wide", "na-alista-synthetic-40db", "na-sbl-lte10-m75", "na-sbl-wide")
PATTERN = PilotPattern.random(SIZES["n_measurements"], seed=0)


class HostReads(TorchDispatchMode):
    """Answers what reads a value, and remembers which function of chanest asked a GPU."""

    def __init__(self, mode: FakeTensorMode) -> None:
        super().__init__()
        self.places: set[str] = set()
        self._mode = mode

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map(self._without_numbers, (args, kwargs or {}))
        if func is torch.ops.aten._local_scalar_dense.default:
            place = self._place()
            if args[0].device.type == "gpu":
                self.places.add(place)
            if args[0].dtype == torch.bool:
                return getattr(args[0], "answer", place.rpartition(".")[2] in TRUE)
            return 0.5 if args[0].dtype.is_floating_point else 1
        if func is torch.ops.aten.nonzero.default:
            if args[0].device.type == "gpu":
                self.places.add(self._place())
            return torch.zeros(SOME, args[0].ndim, dtype=torch.int64, device=args[0].device)
        made = func(*args, **kwargs)
        if func.overloadpacket is torch.ops.aten.all:
            made.answer = True
        came = args[0].device.type if args and isinstance(args[0], Tensor) else ""
        if came == "gpu" and isinstance(made, Tensor) and made.device.type == "cpu":
            self.places.add(self._place())
        return made

    def _without_numbers(self, value: Any) -> Any:
        """Constants that were made before."""
        real = isinstance(value, Tensor) and not isinstance(value, FakeTensor)
        return self._mode.from_tensor(value) if real else value

    @staticmethod
    def _place() -> str:
        """The innermost function of chanest on the stack, as module.function."""
        frame = sys._getframe(1)
        while frame is not None and not frame.f_code.co_filename.startswith(PACKAGE):
            frame = frame.f_back  # type: ignore[assignment]
        return "elsewhere" if frame is None else f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}"


def _apply(module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """``nn.Module._apply``, which cannot put tensors without numbers in the place of others."""
    for one in module.modules():
        for name, parameter in one._parameters.items():
            if parameter is not None:
                one._parameters[name] = nn.Parameter(change(parameter.detach()), parameter.requires_grad)
        for name, buffer in one._buffers.items():
            one._buffers[name] = None if buffer is None else change(buffer)
    return module


nn.Module._apply = _apply  # type: ignore[method-assign, assignment]


PREPARED: dict[str, tuple[Any, Any]] = {}


def on_gpu(*tensors: Any) -> None:
    """Raise where something is not on the GPU."""
    for tensor in tensors:
        if tensor is not None and tensor.device.type != "gpu":
            raise AssertionError(f"expected a result on the GPU, got one on {tensor.device}")


def _moved(value: Any) -> Any:
    return value.to(GPU) if isinstance(value, Tensor) else value


def prepared(name: str) -> tuple[Any, Any]:
    """Operators to the pilots and to a band after an interpolator has been asked once, on the CPU."""
    phi, band = (pattern.operator(SIZES["n_coefficients"]) for pattern in (PATTERN, PilotPattern.comb(20)))
    CASES[name]("complex").float()(torch.ones(1, len(PATTERN)) + 0j, phi, band, torch.ones(1), True)
    return phi, band


def estimating(name: str, made: Any) -> None:
    n = SIZES["n_coefficients"]
    if name == "vamp":
        y, phi = torch.randn(3, SIZES["n_measurements"], device=GPU), DenseOperator(torch.randn(20, n, device=GPU))
        return on_gpu(made.to(GPU)(y, phi, noise_variance=torch.ones(3, device=GPU)).x)
    y = torch.randn(3, len(PATTERN), dtype=torch.complex64, device=GPU)
    noise = torch.ones(3, device=GPU)
    phi, band = PATTERN.operator(n, device=GPU), PilotPattern.comb(20).operator(n, device=GPU)
    if isinstance(made, Interpolator):  # with what it has prepared on the host, once a pattern
        for ours, theirs in zip((phi, band), PREPARED[name], strict=True):
            ours.__dict__["_cached"] = tree_map(_moved, vars(theirs).get("_cached", {}))
        return on_gpu(*made(y, phi, band, noise, True))
    made = made.to(GPU)
    assert isinstance(made, Algorithm)
    for told in (noise, None):
        found = made(y, phi, noise_variance=told)
        on_gpu(found.x)
        if made.gives_error_variance:
            on_gpu(made.error_variance(found, y, phi, band, told))
    if made.joint:
        on_gpu(made(torch.stack([y, y], 1), phi, noise_variance=noise, snapshots=True).x)


def training(name: str) -> None:
    scenario = load_scenario("lte10").replace(n_pilots=len(PATTERN), n_taps=SIZES["n_coefficients"])
    algorithm = CircleNASBL(n_iterations=4) if name == "na-sbl circle" else CASES[name]("complex").float()
    if algorithm.circle:
        scenario = load_scenario("wide")
    if name.startswith(("lista", "gated")):
        scenario = scenario.replace(training={"fixed_pattern": True})
    settings = TrainingSettings(2, 16, snr_groups=2, calibration_batches=0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = _Trainer(algorithm.to(GPU), scenario, settings, Path(folder) / "c", GPU, Processes())
        trainer.initialise()
        trainer.advance()
    on_gpu(*algorithm.parameters())


def serving(name: str) -> None:
    model = load_model(name)
    if "synthetic" in name:
        phi, y = torch.randn(250, 1000, device=GPU), torch.randn(2, 250, device=GPU)
        return on_gpu(model.recover(y, phi).x)
    pattern = PilotPattern.random(75, seed=0)
    received = torch.randn(4, 75, dtype=torch.complex64, device=GPU)
    for told in (torch.ones(4, device=GPU), None):
        asked: dict[str, Any] = {"error_variance": model.algorithm.gives_error_variance}
        if model.algorithm.circle:  # what is found beside the channel depends on values; a window told, the arcs do not
            asked |= {"window_samples": (-8.0, 264.0), "snapshot_axes": 1}
            found = model.solve(received, pattern, None if told is None else told[0], **asked)
            on_gpu(*found.values.values(), found.error_variance)
        else:
            answer = model.estimate(received, pattern, told, **asked)
            on_gpu(answer.cfr, answer.cir, answer.error_variance, answer.used_subcarriers)


def cases(part: str) -> dict[str, Callable[[], None]]:
    """All there are, by name."""
    PREPARED.update({name: prepared(name) for name in INTERPOLATORS})
    made: dict[str, Callable[[], None]] = {}
    for name, case in CASES.items():
        made[f"estimate {name}"] = partial(estimating, name, case("real" if name == "vamp" else "complex").float())
    learned = [name for name in CASES if name in ALGORITHMS and ALGORITHMS[name].learned]
    made |= {f"train {name}": partial(training, name) for name in (*learned, "na-sbl circle")}
    made |= {f"serve {name}": partial(serving, name) for name in SERVED}
    quick = {name for name in made if name.startswith("estimate") and (" " not in name.removeprefix("estimate "))}
    quick |= {"train alista", "train na-alista", "train na-sbl", "serve na-alista-wide", "serve na-sbl-lte10-m75"}
    return {name: run for name, run in made.items() if (name in quick) == (part == "quick")}


def main() -> None:
    """Run all, one line each."""
    for name, run in cases(sys.argv[1]).items():
        mode = FakeTensorMode(allow_non_fake_inputs=True)
        reads = HostReads(mode)
        try:
            with mode, reads:
                run()
            said: dict[str, Any] = {"reads": sorted(reads.places)}
        except Exception as error:
            frames = [
                frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(PACKAGE)
            ]
            places = [f"{Path(frame.filename).stem}.{frame.name}:{frame.lineno}" for frame in frames]
            said = {"error": f"{type(error).__name__}: {str(error)[:300]}", "at": places}
        print(json.dumps({"case": name, **said}), flush=True)


if __name__ == "__main__":
    main()
