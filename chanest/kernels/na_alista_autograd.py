"""All iterations of NA-ALISTA as one step of autograd: forth and back in compiled loops, weights by large products."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .. import kernels
from ..operators import LinearOperator, Weights
from .adapters import LANES, WIDE, Array, Tables, rows, singles, tables


def unrolled(algorithm: Any, y: Tensor, phi: LinearOperator, w: Weights, exempt: tuple[int, ...]) -> Tensor:
    """NA-ALISTA's x (*batch, N) for y (*batch, M) complex64, differentiable in y and in the parameters.

    >>> from chanest import PartialDFT, PilotPattern
    >>> from chanest.algorithms import NAALISTA
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=256)
    >>> y = torch.ones(2, 75, dtype=torch.complex64) / 75**0.5
    >>> unrolled(NAALISTA(), y, phi, phi, NAALISTA().exempt(16)).requires_grad
    True
    """
    observed = y.reshape(-1, y.shape[-1])
    lstm, hidden, head = algorithm.lstm, algorithm.hidden, algorithm.head
    layers = (lstm.weight_ih, lstm.weight_hh, lstm.bias_ih, lstm.bias_hh)
    heads = (hidden.weight, hidden.bias, head.weight, head.bias)
    network = (*layers, *heads, algorithm.initial_hidden, algorithm.initial_cell)
    settings = _Settings(algorithm, tables(phi, w), exempt)
    x: Tensor = _Unrolled.apply(settings, observed, w.adjoint(observed), *network)
    return x.reshape(*y.shape[:-1], -1)


class _Settings:
    """What no gradient is asked of."""

    def __init__(self, algorithm: Any, made: Tables, exempt: tuple[int, ...]) -> None:
        self.tables = made
        self.exempt = np.minimum(exempt, made.n_coefficients)
        self.arrays = algorithm.arrays()
        self.scales = algorithm.scales(made.reciprocal_norm)


class _Room:
    """Tensors for one pass forth and back; on its end they wait for the next of the same sizes.

    Fresh memory of that size would cost a page fault for every 4 KiB.
    """

    _waiting: ClassVar[dict[tuple[int, ...], list[dict[str, Tensor]]]] = {}

    def __init__(self, k: int, n: int, n_taps: int, hidden: int) -> None:
        self.key = (k, n, n_taps, hidden)
        try:
            self.tensors = self._waiting[self.key].pop()
        except (KeyError, IndexError):
            self.tensors = self._made(*self.key)

    @staticmethod
    def _made(k: int, n: int, n_taps: int, hidden: int) -> dict[str, Tensor]:
        width = n_taps + -n_taps % LANES
        sizes = {
            "x": (k, n, 2, width),
            "c": (k, n, 2, width),
            "norms": (k, n, 2),
            "gains": (k, n, n_taps),
            "read": (k, n, 2),
            "gates": (k, n, 4 * hidden),
            "h": (k + 1, n, hidden),
            "cell": (k + 1, n, hidden),
            "u": (k, n, hidden),
            "of_gates": (k, n, 4 * hidden),
            "of_u": (k, n, hidden),
            "of_head": (k, n, 2),
            "of_initial": (2, n, hidden),
        }
        with torch.inference_mode(False):
            return {name: torch.empty(size) for name, size in sizes.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def arrays(self, *names: str) -> tuple[Array, ...]:
        return tuple(self.tensors[name].numpy() for name in names)

    def __del__(self) -> None:
        if len(self._waiting) > 1:  # of other sizes: they have had their time
            self._waiting.clear()
        self._waiting.setdefault(self.key, [])[:] = [self.tensors]


_KEPT = ("x", "c", "norms", "gains", "read", "gates", "h", "cell", "u")


class _Unrolled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, settings: _Settings, y: Tensor, z: Tensor, *network: Tensor) -> Tensor:
        from .na_alista_backward import forth

        n_taps, n = settings.tables.n_coefficients, len(y)
        room = _Room(len(settings.exempt), n, n_taps, settings.arrays[-1].shape[-1])
        given = (*rows(y, z), settings.tables.arrays, settings.exempt, settings.scales, *settings.arrays)
        kept = room.arrays(*_KEPT)
        kernels.over_rows(lambda start, end: forth(*given, kept, start, end), n, torch.get_num_threads())
        _, weight, _, _, hidden_weight, *_ = network
        ctx.settings, ctx.room = settings, room
        ctx.save_for_backward(y, weight, hidden_weight)
        return _whole(room["x"][-1], n_taps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_x: Tensor) -> tuple[Tensor | None, ...]:
        from .na_alista_backward import back

        settings, room = ctx.settings, ctx.room
        y, weight, hidden_weight = ctx.saved_tensors
        n_taps, n_hidden, asked = of_x.shape[-1], weight.shape[-1], len(y) if any(ctx.needs_input_grad[1:3]) else 0
        of_y, of_z = _halves(torch.zeros_like(y[:asked])), _halves(torch.zeros_like(of_x[:asked]))
        reads, features, (transposed, _, _), _, head, _ = settings.arrays
        matrices = (_gates(weight), transposed, _filled(hidden_weight))
        given = (*rows(y), settings.tables.arrays, settings.scales, reads, features, matrices, head)
        kept, by_x = room.arrays(*_KEPT), _halves(of_x).numpy()
        found = (*room.arrays("of_gates", "of_u", "of_head", "of_initial"), of_y.numpy(), of_z.numpy())
        kernels.over_rows(
            lambda start, end: back(*given, kept, by_x, found, start, end), len(y), torch.get_num_threads()
        )

        def every(t: Tensor, width: int) -> Tensor:
            """All iterations and rows in one dimension."""
            return t.flatten(end_dim=1)[:, :width]

        by_gates = room["of_gates"].flatten(end_dim=1).unflatten(-1, (4, -1))[..., :n_hidden].flatten(-2)
        by_u, by_head, bias = every(room["of_u"], n_hidden), every(room["of_head"], 2), by_gates.sum(0)
        of_network = (
            by_gates.mT @ every(room["read"], len(transposed)),
            by_gates.mT @ every(room["h"][:-1], n_hidden),
            bias,
            bias,
            by_u.mT @ every(room["cell"][1:], n_hidden),
            by_u.sum(0),
            by_head.mT @ every(room["u"], n_hidden).relu(),
            by_head.sum(0),
            *room["of_initial"].sum(1)[:, :n_hidden],
        )
        of_input = (_whole(of_y, y.shape[-1]), _whole(of_z, n_taps)) if asked else (None, None)
        return None, *of_input, *of_network


def _filled(weight: Tensor) -> Array:
    """The last two dimensions filled up with zeros to multiples of WIDE."""
    return singles(nn.functional.pad(weight, (0, -weight.shape[-1] % WIDE, 0, -weight.shape[-2] % WIDE)))


def _gates(weight: Tensor) -> Array:
    """(4 H, n), every quarter of the rows and the columns filled up."""
    quarters = _filled(weight.unflatten(0, (4, -1)))
    return quarters.reshape(-1, quarters.shape[-1])


def _halves(v: Tensor) -> Tensor:
    """(B, n) complex to (B, 2, width), filled up with zeros."""
    return nn.functional.pad(torch.stack([v.real, v.imag], -2), (0, -v.shape[-1] % LANES))


def _whole(halves: Tensor, n: int) -> Tensor:
    """(B, 2, width) to (B, n) complex."""
    return torch.complex(*halves[..., :n].unbind(-2))
