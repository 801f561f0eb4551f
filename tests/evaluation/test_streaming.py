"""Files larger than memory: what a process holds does not grow with its file, and an output is whole or not there."""

import signal
import time

import h5py
import numpy as np
import pytest
from child import COMMAND_LINE, MEBIBYTE, measurable, measured, started

pytestmark = pytest.mark.skipif(not measurable, reason="reads the memory of a process in /proc")


def write_pilots(path, n):
    """A file of n observations of 100 pilots and the true CFR, 10.4 kB each."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["pilot_subcarriers"] = np.arange(-299, 300, 6)
        file["noise_variance"] = 0.1
        received = file.create_dataset("received_pilots", (n, 100), np.complex64)
        truth = file.create_dataset("cfr", (n, 600), np.complex128)
        for first in range(0, n, 1000):
            parts = rng.standard_normal((min(1000, n - first), 600, 2))
            truth[first : first + 1000] = parts.view(np.complex128)[..., 0]
            received[first : first + 1000] = truth[first : first + 1000, :100]
    return path


def peak(source, output):
    """Bytes of the most memory that estimating a file took."""
    return measured(COMMAND_LINE, "estimate", "--input", source, "--output", output, "--algorithm", "linear", "--json")[
        1
    ]


def test_memory_does_not_grow_with_the_file(tmp_path):
    small, large = (peak(write_pilots(tmp_path / f"{n}.h5", n), tmp_path / f"out{n}.h5") for n in (1000, 15_000))
    read, written = (tmp_path / "15000.h5").stat().st_size, (tmp_path / "out15000.h5").stat().st_size
    assert read > 140 * MEBIBYTE
    assert written > 100 * MEBIBYTE
    assert large - small < 32 * MEBIBYTE
    with h5py.File(tmp_path / "out15000.h5") as many, h5py.File(tmp_path / "out1000.h5") as few:
        assert many["cfr"].shape == (15_000, 600)
        np.testing.assert_allclose(many["cfr"][:1000], few["cfr"][()], rtol=1e-5, atol=1e-6)
        assert many["cfr"][-1].any()


def test_an_interrupted_estimation_leaves_no_output(tmp_path):
    source, output = write_pilots(tmp_path / "pilots.h5", 15_000), tmp_path / "channels.h5"
    process = started(COMMAND_LINE, "estimate", "--input", source, "--output", output, "--algorithm", "omp")
    partial = tmp_path / ".channels.h5.partial"
    while not (partial.exists() and partial.stat().st_size > MEBIBYTE):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["pilots.h5"]
