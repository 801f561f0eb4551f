"""Files of estimates, written rows as they come."""

from collections.abc import Mapping
from importlib.metadata import version

import numpy as np
from torch import Tensor

from .arrays import ArrayWriter, Slices


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

    def rows(self, at: Slices, values: Mapping[str, Tensor | None]) -> None:
        """Write rows of some fields, (rows, n) each; None is left out."""
        lengths = tuple(s.stop - s.start for s in at)
        for name, tensor in values.items():
            if tensor is not None:
                width = tensor.shape[-1]
                self.file.write_rows(
                    name, (*self.batch_shape, width), at, tensor.reshape(*lengths, width).cpu().numpy()
                )
