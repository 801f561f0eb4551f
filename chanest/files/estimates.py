"""Files of estimates, written rows as they come."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from .arrays import ArrayWriter, Slices

if TYPE_CHECKING:
    from torch import Tensor

# fields that the snapshots of a group share, and of users in motion
FINDINGS = ("noise_variance", "snr_db", "timing_samples", "detected")
MOTION = ("doppler_hz", "cfo_hz")


class EstimateWriter:
    """Writes a file of estimates: what does not depend on the sample at once, rows as they come.

    Args:
        file: an open one.
        batch_shape: leading shape of the estimates.
        names: what the file says of the estimator: ``model``, ``algorithm``, ``model_scenario``.
        header: arrays that do not depend on the sample.
    """

    def __init__(
        self,
        file: ArrayWriter,
        batch_shape: tuple[int, ...],
        names: Mapping[str, str],
        header: Mapping[str, np.ndarray],
    ) -> None:
        self.file, self.batch_shape = file, batch_shape
        file.header({**names, "chanest_version": version("chanest")}, header)

    def header(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write arrays that do not depend on the sample, once they are known."""
        self.file.header({}, arrays)

    def rows(self, at: Slices, values: Mapping[str, Tensor | None], snapshot_axes: int = 0) -> None:
        """Write rows of some fields, (rows, *snapshots, ...) each; None is left out."""
        lengths = tuple(s.stop - s.start for s in at)
        for name, tensor in values.items():
            if tensor is not None:
                own = tensor.shape[1 + snapshot_axes :]
                shaped = tensor.reshape(*lengths, *own).cpu().resolve_conj().numpy()
                self.file.write_rows(name, (*self.batch_shape, *own), at, shaped)

    def group_rows(self, at: Slices, group_shape: tuple[int, ...], values: Mapping[str, Tensor | None]) -> None:
        """Write rows of what the snapshots of a group have in common, (rows,) each."""
        own = at[: len(group_shape)]
        lengths = tuple(s.stop - s.start for s in own)
        for name, tensor in values.items():
            if tensor is not None:
                self.file.write_rows(name, group_shape, own, tensor.reshape(lengths).cpu().numpy())

    def paths(self, at: Slices, shape: tuple[int, ...], values: Mapping[str, Tensor]) -> None:
        """Write rows of paths, (rows, paths) each where ``shape`` is that of the groups or of the batch: as many as are
        there, filled up with 0, delays with NaN.
        """
        own = at[: len(shape)]
        lengths = tuple(s.stop - s.start for s in own)
        for name, tensor in values.items():
            shaped = tensor.reshape(*lengths, tensor.shape[-1]).cpu().resolve_conj().numpy()
            padding = np.nan if "delays" in name else 0
            self.file.write_rows(name, (*shape, tensor.shape[-1]), own, shaped, padding)
