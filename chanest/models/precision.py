"""An algorithm in the precision and on the device of what it is given."""

from copy import deepcopy
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..algorithms import Algorithm
from ..kernels.adapters import tensors_of

_Stamp = tuple[tuple[int, int], ...]
_copies: WeakKeyDictionary[Algorithm, dict[tuple[torch.device, torch.dtype], tuple[_Stamp, Algorithm]]] = (
    WeakKeyDictionary()
)


def converted(algorithm: Any, y: Tensor) -> Any:
    """The algorithm on y's device and in its precision: itself, or a copy, never changed in place.

    Copies are cached until a parameter changes. Where a gradient is asked for, the parameters of a copy made for this
    call alone depend on the algorithm's own.
    """
    dtype, device = y.dtype.to_real(), y.device
    first = next(tensors_of(algorithm), None)
    if first is None or (first.dtype == dtype and first.device == device):
        return algorithm
    tensors = list(tensors_of(algorithm))
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _differentiable_copy(algorithm, device, dtype)
    copies = _copies.setdefault(algorithm, {})
    stamp = tuple((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors)
    cached = copies.get((device, dtype))
    if cached is None or cached[0] != stamp:
        with torch.inference_mode(False), torch.no_grad():
            copy = deepcopy(algorithm).requires_grad_(False).to(device, dtype)
        cached = copies[device, dtype] = (stamp, copy)
    return cached[1]


def _differentiable_copy(algorithm: Algorithm, device: torch.device, dtype: torch.dtype) -> Algorithm:
    """A copy whose tensors are functions of the algorithm's parameters, so that gradients reach these."""
    copy = deepcopy(algorithm)
    for (_, source), (_, target) in zip(algorithm.named_modules(), copy.named_modules(), strict=True):
        for name, parameter in source.named_parameters(recurse=False):
            delattr(target, name)
            setattr(target, name, parameter.to(device, dtype))
        for name, buffer in source.named_buffers(recurse=False):
            target.register_buffer(name, buffer.to(device, dtype))
    return copy
