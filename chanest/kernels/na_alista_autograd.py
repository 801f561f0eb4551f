"""All iterations of NA-ALISTA as one step of autograd: compiled loops, and large products for the weights."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .adapters import LANES, WIDE, Array, rows, run, singles

_CACHED = ("x", "c", "norms", "gains", "read", "gates", "h", "cell", "u")


def unrolled(y: Tensor, z: Tensor, loop: tuple[Any, ...], network: tuple[Tensor, ...]) -> Tensor:
    """NA-ALISTA's x (B, N), differentiable in y, z and the network.

    Args:
        y, z: (B, M) and (B, N) = W^H y, complex64.
        loop: the tables, exempt entries, scales and network as :func:`chanest.kernels.na_alista.iterate` takes them.
        network: weight_ih, weight_hh, bias_ih and bias_hh of the LSTM, weight and bias of the hidden layer and of the
            head, initial h and cell: what ``loop`` was made of.

    >>> from chanest import PartialDFT, PilotPattern
    >>> from chanest.algorithms import NAALISTA
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=256)
    >>> NAALISTA()(torch.ones(2, 75, dtype=torch.complex64) / 75**0.5, phi).x.grad_fn.name()
    'ViewBackward0'
    """
    return _Unrolled.apply(loop, y, z, *network)


class _Workspace:
    """Tensors for one pass forward and backward; on its end they wait for the next of the same sizes.

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
            "grad_gates": (k, n, 4 * hidden),
            "grad_u": (k, n, hidden),
            "grad_head": (k, n, 2),
            "grad_initial": (2, n, hidden),
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


class _Unrolled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loop: tuple[Any, ...], y: Tensor, z: Tensor, *network: Tensor) -> Tensor:
        from .na_alista import iterate

        _, exempt, *_, initial = loop
        (n, n_taps), n_hidden = z.shape, initial.shape[-1]
        workspace = _Workspace(len(exempt), n, n_taps, n_hidden)
        x = torch.empty_like(z, memory_format=torch.contiguous_format)
        run(iterate, len(y), *rows(y, z), *loop, workspace.arrays(*_CACHED), True, x.numpy())
        ctx.loop, ctx.workspace = loop, workspace
        _, weight, _, _, hidden_weight, *_ = network
        ctx.save_for_backward(y, weight, hidden_weight)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_x: Tensor) -> tuple[Tensor | None, ...]:
        from .na_alista_backward import backward

        workspace = ctx.workspace
        y, weight, hidden_weight = ctx.saved_tensors
        tables, _, scales, reads, features, (transposed, _, _), _, head, _ = ctx.loop
        n_taps, n_hidden, asked = grad_x.shape[-1], weight.shape[-1], len(y) if any(ctx.needs_input_grad[1:3]) else 0
        grad_y, grad_z = _halves(torch.zeros_like(y[:asked])), _halves(torch.zeros_like(grad_x[:asked]))
        matrices = (_gates(weight), transposed, _filled(hidden_weight))
        given = (*rows(y), tables, scales, reads, features, matrices, head, workspace.arrays(*_CACHED))
        found = workspace.arrays("grad_gates", "grad_u", "grad_head", "grad_initial")
        run(backward, len(y), *given, _halves(grad_x).numpy(), (*found, grad_y.numpy(), grad_z.numpy()))

        def every(t: Tensor, width: int) -> Tensor:
            """All iterations and rows in one dimension."""
            return t.flatten(end_dim=1)[:, :width]

        grad_gates = workspace["grad_gates"].flatten(end_dim=1).unflatten(-1, (4, -1))[..., :n_hidden].flatten(-2)
        grad_u, grad_head = every(workspace["grad_u"], n_hidden), every(workspace["grad_head"], 2)
        grad_bias = grad_gates.sum(0)
        grad_network = (
            grad_gates.mT @ every(workspace["read"], len(transposed)),
            grad_gates.mT @ every(workspace["h"][:-1], n_hidden),
            grad_bias,
            grad_bias,
            grad_u.mT @ every(workspace["cell"][1:], n_hidden),
            grad_u.sum(0),
            grad_head.mT @ every(workspace["u"], n_hidden).relu(),
            grad_head.sum(0),
            *workspace["grad_initial"].sum(1)[:, :n_hidden],
        )
        grad_input = (_whole(grad_y, y.shape[-1]), _whole(grad_z, n_taps)) if asked else (None, None)
        return None, *grad_input, *grad_network


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
