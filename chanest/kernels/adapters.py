"""From tensors and modules to the arrays of the compiled loops, and whether these can take them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from .. import kernels

Array = np.ndarray[Any, np.dtype[Any]]
LANES, WIDE = 16, 32  # of kernels.simd, which imports numba: vectors and weights are filled with zeros to multiples
T = TypeVar("T")
_cached: WeakKeyDictionary[nn.Module, tuple[tuple[tuple[int, int], ...], Any]] = WeakKeyDictionary()


class Operator(Protocol):
    """The type of an operator, and how many there are."""

    dtype: torch.dtype
    batch_shape: torch.Size


def suits(y: Tensor, phi: Operator, *others: nn.Module | Tensor) -> bool:
    """Whether compiled loops can take this: float32 on the CPU, one operator for all, no gradient, no tracing.

    Args:
        y: (*batch, M).
        phi: the operator.
        others: parameters and tensors from which a gradient might be asked for.

    >>> from chanest import PartialDFT, PilotPattern
    >>> from chanest.algorithms import NAALISTA
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=256)
    >>> suits(torch.ones(2, 75, dtype=torch.complex128), phi, NAALISTA())
    False
    """
    return _suits(y, phi) and not _gradient_asked(y, *others)


def suits_training(y: Tensor, phi: Operator, module: nn.Module) -> bool:
    """Whether compiled loops can take this where a gradient is asked for, all parameters in float32."""
    return _suits(y, phi) and _gradient_asked(y, module) and all(p.dtype == torch.float32 for p in module.parameters())


def _suits(y: Tensor, phi: Operator) -> bool:
    return are_single(y) and phi.dtype == torch.complex64 and not phi.batch_shape


def are_single(*tensors: Tensor) -> bool:
    """Whether these are numbers in complex64 on the CPU, not traced, and compiled loops are to be used.

    >>> are_single(torch.ones(2, dtype=torch.complex64)), are_single(torch.ones(2))
    (True, False)
    """
    return kernels.available() and all(t.dtype == torch.complex64 and are_plain(t) and t.numel() > 0 for t in tensors)


def are_plain(*tensors: Any) -> bool:
    """Whether these are tensors on the CPU that are not traced, which NumPy may read.

    >>> are_plain(torch.ones(2)), are_plain([1.0])
    (True, False)
    """
    return not torch.compiler.is_compiling() and all(
        type(t) is Tensor and t.device.type == "cpu" and not torch._C._functorch.is_functorch_wrapped_tensor(t)
        for t in tensors
    )


def _gradient_asked(*things: nn.Module | Tensor) -> bool:
    tensors = (t for thing in things for t in ([thing] if isinstance(thing, Tensor) else tensors_of(thing)))
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


def tensors_of(module: nn.Module) -> Iterator[Tensor]:
    """Its parameters and buffers, in a tenth of the time that ``parameters()`` and ``buffers()`` take.

    >>> [tuple(t.shape) for t in tensors_of(nn.Linear(2, 3))]
    [(3, 2), (3,)]
    """
    for tensor in (*module._parameters.values(), *module._buffers.values()):
        if tensor is not None:
            yield tensor
    for child in module._modules.values():
        if child is not None:
            yield from tensors_of(child)


def prepared(module: nn.Module, make: Callable[[], T]) -> T:
    """The result of ``make``, which depends on nothing but a module's tensors: made anew after they have changed."""
    state = tuple(tensors_of(module))
    if any(t.is_inference() for t in state):  # these do not count their changes
        return make()
    stamp = tuple((t.data_ptr(), t._version) for t in state)
    cached = _cached.get(module)
    if cached is None or cached[0] != stamp:
        cached = _cached[module] = (stamp, make())
    return cached[1]


def rows(y: Tensor, *others: Tensor) -> tuple[Array, ...]:
    """Contiguous arrays of (*batch, ...) tensors, the batch in one dimension, which y (*batch, M) has."""
    n = y.numel() // y.shape[-1]
    made = (t.detach().resolve_conj().resolve_neg().reshape(n, *t.shape[y.ndim - 1 :]) for t in (y, *others))
    return tuple(np.ascontiguousarray(t.numpy()) for t in made)


def run(loop: Callable[..., None], n_rows: int, *given: Any) -> None:
    """loop(*given, start, end) for parts of 0...n_rows, on as many threads as there may be."""
    kernels.over_rows(lambda start, end: loop(*given, start, end), n_rows, kernels.n_threads())


def recover(y: Tensor, n_coefficients: int, loop: Callable[..., None], *given: Any) -> Tensor:
    """x (*batch, N), filled by ``loop`` from rows of y, what else it is given, the rows of x, and which to do."""
    (observations,) = rows(y)
    x = np.empty((len(observations), n_coefficients), np.complex64)
    run(loop, len(x), observations, *given, x)
    return torch.from_numpy(x).reshape(*y.shape[:-1], -1)


def singles(values: Iterable[float] | Tensor) -> Array:
    """Contiguous float32.

    >>> singles(torch.ones(2, 3, dtype=torch.float64).mT).flags.c_contiguous
    True
    """
    made = values.detach().numpy() if isinstance(values, Tensor) else list(values)
    return np.ascontiguousarray(made, dtype=np.float32)
