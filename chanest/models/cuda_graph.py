"""Estimates of a fixed pattern and batch as one CUDA graph: replayed as a whole, not dispatched kernel by kernel."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..algorithms import Algorithm
from ..errors import AlgorithmError, DeviceError, ObservationError
from ..problems import PilotPattern, check_pilots
from .grids import serving
from .guard import kept, kept_share
from .model import Estimate, Model, at_pilots, normalise

_aten = torch.ops.aten
_LOOKS = {_aten._local_scalar_dense, _aten.nonzero, _aten.masked_select, _aten.equal, _aten.lift_fresh}


class CapturedEstimator:
    """``Model.estimate`` for batches of one size on one pilot pattern, captured once, then replayed.

    For small batches on a GPU, where starting kernels takes longer than running them. The same numbers come out. Serves
    ISTA, FISTA and what unrolls them; algorithms that look at values on the way (a factorisation that may fail, a
    stop) cannot be captured. The noise variance is nothing that these estimates use. They carry no gradient. All calls
    share one memory: one at a time, on one stream.

    Args:
        model: its parameters are copied: what becomes of it later changes nothing here.
        pattern: where the pilots lie.
        batch: estimates at a time.
        dtype: complex64 or complex128.
        device: a CUDA device.

    Raises:
        DeviceError: no such device.
        AlgorithmError: an algorithm that cannot be captured.
        ObservationError: another type, no batch, a pattern of another DFT length.
        ModelError: a model of the synthetic setting.

    >>> from chanest import PilotPattern, load_model
    >>> pattern = PilotPattern.random(75, seed=0)
    >>> if torch.cuda.is_available():
    ...     captured = CapturedEstimator(load_model("na-alista-lte10-m75"), pattern, batch=14)
    ...     cfr = captured(torch.ones(14, 75, dtype=torch.complex64, device="cuda")).cfr
    """

    def __init__(
        self,
        model: Model,
        pattern: PilotPattern,
        batch: int = 1,
        dtype: torch.dtype = torch.complex64,
        device: torch.device | str = "cuda",
    ) -> None:
        device = _cuda(device)
        if dtype not in (torch.complex64, torch.complex128) or batch < 1:
            raise ObservationError(f"expected at least 1, complex64 or complex128, got {batch}, {dtype}", field="batch")
        if not isinstance(model.algorithm, Algorithm):
            raise AlgorithmError(f"{model.name}: an interpolator has nothing to gain from a CUDA graph")
        model = serving(model, pattern)
        algorithm = deepcopy(model.algorithm).requires_grad_(False).to(device, dtype.to_real())
        phi, band = model.operator(pattern, dtype, device), model.band(dtype, device, pattern.grid)
        self.pattern, self._kept = pattern, (algorithm, phi, band)  # the graph reads their memory
        with torch.inference_mode(False):
            self._pilots = torch.ones(batch, len(pattern), dtype=dtype, device=device)
            self._cir = torch.empty(batch, phi.n_coefficients, dtype=dtype, device=device)
            self._cfr = torch.empty(batch, band.n_measurements, dtype=dtype, device=device)
        self._used = torch.from_numpy(pattern.used_subcarriers).to(device)
        self._first_tap_samples = model.ofdm.first_tap_samples

        @torch.no_grad()
        def run() -> None:
            y, scale = normalise(self._pilots)
            x = algorithm(y, phi).x
            response = band.forward(x)
            share = kept_share(at_pilots(response, phi, band), response, y)
            self._cir.copy_(kept(x, share) * scale)
            self._cfr.copy_(kept(response, share) * (scale * band.n_measurements**0.5))

        run()
        with _Watch(algorithm.name):
            run()
        self._replay = _captured(run, device)

    @torch.no_grad()
    def __call__(self, received_pilots: Tensor) -> Estimate:
        """Estimate the channels of one batch.

        Args:
            received_pilots: (batch, n_pilots), of the type and on the device that were captured.

        Raises:
            ObservationError: another shape, type or device, NaN or Inf.
        """
        check_pilots(received_pilots, self.pattern, None)
        given, expected = (f"{tuple(t.shape)}, {t.dtype} on {t.device}" for t in (received_pilots, self._pilots))
        if given != expected:
            raise ObservationError(f"this graph was captured for {expected}, got {given}", field="received_pilots")
        self._pilots.copy_(received_pilots)
        self._replay()
        return Estimate(self._cir.clone(), self._cfr.clone(), self._used, self._first_tap_samples)


class _Watch(TorchDispatchMode):
    """Raises AlgorithmError where the host would look at values, or send some, as far as a dispatcher sees it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        masked = func.overloadpacket is _aten.index and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if func.overloadpacket in _LOOKS or masked:
            raise AlgorithmError(f"{self.name}: looks at values on its way, which a graph cannot; use Model.estimate")
        return func(*args, **(kwargs or {}))


def _cuda(device: torch.device | str) -> torch.device:
    try:
        device = torch.device(device)
    except RuntimeError:
        raise DeviceError(f"expected cuda or cuda:N, got {device}", field="device") from None
    if device.type != "cuda" or (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"expected a CUDA device that is there, got {device}; use Model.estimate", field="device")
    return device


def _captured(run: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """What runs the kernels of ``run`` again."""
    with torch.cuda.device(device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # outside of the graph: plans of FFTs, workspaces
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side):  # the default one is of the device that captured first
            run()
    return graph.replay
