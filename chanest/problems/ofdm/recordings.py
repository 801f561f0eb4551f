"""Files of recorded channels: path gains and exact delays, measured or ray-traced."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import FileError
from ...lazy import torch
from ...parsers import read_tree
from ..shipped import shipped

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "chanest-channels"


@dataclass(frozen=True)
class Recording:
    """Channels of a file.

    Attributes:
        delays_s: (channels, paths) float64, seconds; the earliest path of a channel at 0.
        gains: (channels, paths) complex64, zero where a channel has fewer paths.
    """

    delays_s: Tensor
    gains: Tensor


def load_recording(name: str) -> Recording:
    """A shipped file of channels by name, or one by path.

    Raises:
        FileError: missing, not such a file, or impossible values; the message names the field.

    >>> recording = load_recording("munich.h5")
    >>> recording.gains.shape == recording.delays_s.shape
    True
    """
    path = shipped("scenarios") / name
    if not path.is_file():
        path = Path(name).resolve()
    if not path.is_file():
        raise FileError("no such file of recorded channels", path=name)
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: Path, modified_ns: int) -> Recording:

    try:
        file = read_tree(path, trusted=path.parent == shipped("scenarios").resolve())
    except FileError as error:
        raise FileError(f"expected recorded channels in HDF5 ({error.what})", path=path) from None
    found = file.attributes.get("format")
    if found != FORMAT:
        raise FileError(f"expected {FORMAT}, found {found}", path=path, field="format")
    read: list[np.ndarray] = []
    for field in ("delays_s", "gains"):
        values = file.datasets[field].values if field in file.datasets else None
        if values is None:
            raise FileError("expected recorded channels, missing or no numbers", path=path, field=field)
        read.append(values)
    delays, gains = read
    if delays.dtype.kind not in "fiu":
        raise FileError(f"expected real numbers, found {delays.dtype}", path=path, field="delays_s")
    if gains.dtype.kind != "c":
        raise FileError(f"expected complex numbers, found {gains.dtype}", path=path, field="gains")
    if delays.ndim != 2 or delays.shape != gains.shape or not delays.size:
        raise FileError(
            f"expected the shape of delays_s, (channels, paths), found {gains.shape}", path=path, field="gains"
        )
    if not (np.isfinite(delays).all() and (delays >= 0).all()):
        raise FileError("expected finite numbers, not negative", path=path, field="delays_s")
    with np.errstate(over="ignore"):
        gains = gains.astype(np.complex64)
    if not np.isfinite(gains).all() or not np.abs(gains).any(-1).all():
        raise FileError("expected finite numbers, some of them not zero in every channel", path=path, field="gains")
    return Recording(torch.from_numpy(delays.astype(np.float64)), torch.from_numpy(gains))
