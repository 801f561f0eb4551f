"""From algorithms and operators to the arrays of the compiled loops, where an estimate needs no gradient."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from .. import kernels
from ..operators import LinearOperator, PartialDFT, Weights, kept

Array = np.ndarray[Any, np.dtype[Any]]
LANES, WIDE = 16, 32  # of kernels.rows, which needs numba: vectors and weights are filled with zeros to multiples
T = TypeVar("T")
_of_module: WeakKeyDictionary[nn.Module, tuple[tuple[tuple[int, int], ...], Any]] = WeakKeyDictionary()


def suits(y: Tensor, phi: LinearOperator, *others: nn.Module | Tensor) -> bool:
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


def suits_training(y: Tensor, phi: LinearOperator, module: nn.Module) -> bool:
    """Whether compiled loops can take this where a gradient is asked for, all parameters in float32."""
    return _suits(y, phi) and _gradient_asked(y, module) and all(p.dtype == torch.float32 for p in module.parameters())


def _suits(y: Tensor, phi: LinearOperator) -> bool:
    return (
        kernels.available()
        and type(y) is Tensor
        and y.dtype == phi.dtype == torch.complex64
        and y.device.type == "cpu"
        and not phi.batch_shape
        and y.numel() > 0
        and not torch.compiler.is_compiling()
        and not torch._C._functorch.is_functorch_wrapped_tensor(y)
    )


def _gradient_asked(*things: nn.Module | Tensor) -> bool:
    return torch.is_grad_enabled() and any(map(_requires_grad, things))


def _requires_grad(thing: nn.Module | Tensor) -> bool:
    return thing.requires_grad if isinstance(thing, Tensor) else any(p.requires_grad for p in thing.parameters())


@dataclass(frozen=True)
class Tables:
    """An operator as arrays: see :mod:`chanest.kernels.alista`.

    Attributes:
        arrays: for each of W^H Phi, Phi and W^H, tables (2, ...) of real and imaginary parts, and where each of its
            columns (of W^H: for every pilot the conjugate row of W) begins in them; what follows a column there may be
            read, to the next multiple of lanes.
        reciprocal_norm: 1/L.
    """

    arrays: tuple[Array, ...]
    reciprocal_norm: float
    n_coefficients: int


def tables(phi: LinearOperator, w: Weights) -> Tables:
    """Those of Phi and W, kept with W.

    >>> from chanest import PartialDFT, PilotPattern
    >>> phi = PilotPattern.random(75, seed=0).operator(n_taps=256)
    >>> [table.shape for table in tables(phi, phi).arrays[::2]]
    [(2, 527), (2, 20480), (2, 19200)]
    """
    return kept(w, "tables", lambda: _tables(phi, w))


def _tables(phi: LinearOperator, w: Weights) -> Tables:
    n, m = phi.n_coefficients, phi.n_measurements
    if w is phi and isinstance(phi, PartialDFT):  # Toeplitz
        sequence = phi.gram(torch.eye(1, n, dtype=phi.dtype))[0]
        gram = torch.cat([sequence[1:].conj().flip(-1), sequence])
        first = np.arange(n - 1, -1, -1)
    else:
        gram = w.gram(torch.eye(n, dtype=phi.dtype)).flatten()
        first = np.arange(n) * n
    arrays = [_parts(nn.functional.pad(gram, (0, LANES))), first]
    for columns in (phi.dense().mT, w.adjoint(torch.eye(m, dtype=phi.dtype))):
        filled = nn.functional.pad(columns, (0, -columns.shape[-1] % LANES))
        arrays += [_parts(filled.flatten()), np.arange(len(filled)) * filled.shape[-1]]
    return Tables(tuple(arrays), 1 / float(w.squared_norm()), n)


def prepared(module: nn.Module, make: Callable[[], T]) -> T:
    """What ``make`` makes of a module's tensors, made anew after they have changed."""
    state = (*module.parameters(), *module.buffers())
    if any(t.is_inference() for t in state):  # these do not count their changes
        return make()
    stamp = tuple((t.data_ptr(), t._version) for t in state)
    kept = _of_module.get(module)
    if kept is None or kept[0] != stamp:
        kept = _of_module[module] = (stamp, make())
    made: T = kept[1]
    return made


@dataclass(frozen=True)
class Lags:
    """Pairs of pilots as entries of a spectrum: see :mod:`chanest.kernels.posterior`.

    Attributes:
        lag: (M, M) int32, k_i - k_j mod n_fft, folded into 0...n_fft // 2.
        sign: (M, M) float32, -1 where the folded entry is the conjugate.
    """

    lag: Array
    sign: Array


def lags(phi: PartialDFT) -> Lags:
    """Those of an operator's pilots, kept with it.

    >>> from chanest import PilotPattern
    >>> lags(PilotPattern((-300, 5, 120)).operator(n_taps=64)).lag.tolist()
    [[0, 305, 420], [305, 0, 115], [420, 115, 0]]
    """
    return kept(phi, "lags", lambda: _lags(phi))


def _lags(phi: PartialDFT) -> Lags:
    bins = phi.bins.numpy()
    difference = (bins[:, None] - bins) % phi.n_fft
    folded = np.minimum(difference, phi.n_fft - difference)
    sign = np.where(2 * difference <= phi.n_fft, 1.0, -1.0)
    return Lags(folded.astype(np.int32), sign.astype(np.float32))


def rows(y: Tensor, *others: Tensor) -> tuple[Array, ...]:
    """Contiguous arrays of (*batch, ...) tensors, the batch in one dimension, which y (*batch, M) has."""
    n = y.numel() // y.shape[-1]
    made = (t.detach().resolve_conj().resolve_neg().reshape(n, *t.shape[y.ndim - 1 :]) for t in (y, *others))
    return tuple(np.ascontiguousarray(t.numpy()) for t in made)


def recover(y: Tensor, n_coefficients: int, run: Callable[[Array, Array, int, int], None]) -> Tensor:
    """x (*batch, N), filled by ``run`` with rows of y and of x, and which of them to do."""
    (observations,) = rows(y)
    x = np.empty((len(observations), n_coefficients), np.complex64)
    kernels.over_rows(lambda start, end: run(observations, x, start, end), len(x), torch.get_num_threads())
    return torch.from_numpy(x).reshape(*y.shape[:-1], -1)


def singles(values: Iterable[float] | Tensor) -> Array:
    """Contiguous float32.

    >>> singles(torch.ones(2, 3, dtype=torch.float64).mT).flags.c_contiguous
    True
    """
    made = values.detach().numpy() if isinstance(values, Tensor) else list(values)
    return np.ascontiguousarray(made, dtype=np.float32)


def _parts(v: Tensor) -> Array:
    """Real and imaginary part, stacked first."""
    return singles(torch.stack([v.real, v.imag]))
