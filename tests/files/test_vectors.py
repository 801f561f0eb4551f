"""Files of measurements of sparse vectors: every format and shape means the same."""

import math

import numpy as np
import pytest
import torch
from conftest import FORMATS, write_format
from small_gaussian import PHI, arrays

from chanest.files import open_measurements


@pytest.mark.parametrize("with_x", [True, False], ids=["x", "no x"])
@pytest.mark.parametrize("noise", [True, False], ids=["noise", "no noise"])
@pytest.mark.parametrize("batch", [(), (6,), (1,), (2, 3), (2, 3, 2)], ids=str)
@pytest.mark.parametrize("format", FORMATS)
def test_files_in_any_format_and_shape(tmp_path, format, batch, noise, with_x):
    fields = arrays(batch, with_x, noise)
    n = math.prod(batch)
    with open_measurements(write_format(tmp_path, format, fields)) as file:
        assert (file.n_observations, file.truth_names) == (n, ("x",) if with_x else ())
        assert file.batch_shape == (() if batch == (1,) and format in (".mat", "v7.3") else batch)
        assert torch.equal(file.sensing.matrix.float(), PHI.matrix)
        chunks = list(file.chunks(4))
        found = torch.cat([chunk.observations for chunk in chunks])
        assert torch.equal(found.float(), torch.from_numpy(fields["observations"].reshape(n, 40)))
        for chunk in chunks:
            assert ("x" in chunk.truth, chunk.noise_variance is None) == (with_x, not noise)
        if with_x:
            truth = torch.cat([chunk.truth["x"] for chunk in chunks])
            assert torch.equal(truth.float(), torch.from_numpy(fields["x"].reshape(n, 80)))
        if noise:
            told = torch.cat([chunk.noise_variance for chunk in chunks])
            np.testing.assert_array_equal(told.numpy(), fields["noise_variance"].astype(float).reshape(n))


def test_one_noise_variance_serves_all_and_whole_numbers_are_numbers(tmp_path):
    fields = {**arrays(noise=False), "noise_variance": np.float64(0.25)}
    fields["observations"] = np.arange(240).reshape(6, 40)
    with open_measurements(write_format(tmp_path, ".npz", fields)) as file:
        (chunk,) = file.chunks(10)
    assert chunk.noise_variance.tolist() == [0.25] * 6
    assert chunk.observations.dtype == torch.float32  # the precision of phi
    assert chunk.observations[0, :3].tolist() == [0, 1, 2]
