"""A link of Sionna 1.2 in which LS is swapped for our estimator, and what its contract asks of us.

test_sionna1.py runs this in an environment with Sionna 1.2, TensorFlow and chanest; prints JSON on the last line.
"""

import json
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from sionna.phy import config
from sionna.phy.channel import OFDMChannel
from sionna.phy.channel.tr38901 import TDL
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.mapping import BinarySource, Demapper, Mapper
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import (
    LMMSEEqualizer,
    LSChannelEstimator,
    PilotPattern,
    RemoveNulledSubcarriers,
    ResourceGrid,
    ResourceGridMapper,
)
from sionna.phy.utils import ebnodb2no

from chanest.errors import ChanestError
from chanest.integrations.tensorflow.sionna1 import SparseChannelEstimator

SYMBOLS, PILOT_SYMBOL, BATCH, N_BATCHES, EBNO_DB = 2, 0, 25, 4, 8.0


def slot() -> ResourceGrid:
    """600 subcarriers of 1024 on two OFDM symbols, 75 random pilots on the first, data on all else."""
    grid = ResourceGrid(SYMBOLS, 1024, 15e3, cyclic_prefix_length=256, num_guard_carriers=(212, 211), dc_null=True)
    rng = np.random.default_rng(0)
    mask = np.zeros((1, 1, SYMBOLS, 600), bool)
    mask[0, 0, PILOT_SYMBOL, rng.choice(600, 75, replace=False)] = True
    grid.pilot_pattern = PilotPattern(mask, np.exp(0.5j * np.pi * rng.integers(4, size=(1, 1, 75))))
    return grid


class Link:
    """QPSK, LDPC of rate 1/2, TDL-C of 300 ns at rest, one antenna: Sionna's tutorial, with any channel estimator."""

    def __init__(self) -> None:
        self.grid = slot()
        n = int(self.grid.num_data_symbols) * 2
        self.k = n // 2
        self.source, self.mapper, self.mapped = BinarySource(), Mapper("qam", 2), ResourceGridMapper(self.grid)
        self.encoder = LDPC5GEncoder(self.k, n)
        tdl = TDL("C", 300e-9, 3.5e9, min_speed=0.0, max_speed=0.0)
        self.channel = OFDMChannel(tdl, self.grid, normalize_channel=True, return_channel=True)
        self.equalizer = LMMSEEqualizer(self.grid, StreamManagement(np.ones([1, 1]), 1))
        self.demapper, self.decoder = Demapper("app", "qam", 2), LDPC5GDecoder(self.encoder, hard_out=True)
        self.remove_nulled = RemoveNulledSubcarriers(self.grid)

    def sent(self) -> tuple[tf.Tensor, ...]:
        no = ebnodb2no(EBNO_DB, 2, 0.5, self.grid)
        bits = self.source([BATCH, 1, 1, self.k])
        y, h = self.channel(self.mapped(self.mapper(self.encoder(bits))), no)
        return bits, y, self.remove_nulled(h), no

    def received(self, y: tf.Tensor, h_hat: tf.Tensor, err_var: tf.Tensor, no: tf.Tensor) -> tf.Tensor:
        x_hat, no_eff = self.equalizer(y, h_hat, err_var, no)
        return self.decoder(self.demapper(x_hat, no_eff))


def simulate() -> dict[str, dict[str, float]]:
    """NMSE in dB and block error rate of three estimators on the same received grids."""
    config.seed = 1
    link = Link()
    estimators = {
        "ls": LSChannelEstimator(link.grid, interpolation_type="lin"),
        "na-sbl": SparseChannelEstimator(link.grid, "na-sbl-wide-window"),
        "na-alista": SparseChannelEstimator(link.grid, "na-alista-wide"),
    }

    @tf.function
    def step() -> dict[str, tuple[tf.Tensor, ...]]:
        bits, y, h, no = link.sent()
        results = {}
        for name, estimator in estimators.items():
            h_hat, err_var = estimator(y, no)
            wrong = tf.reduce_any(link.received(y, h_hat, err_var, no) != bits, -1)
            error = tf.reduce_mean(tf.square(tf.abs(h_hat - h)))
            results[name] = (error, tf.reduce_mean(err_var), tf.reduce_mean(tf.cast(wrong, tf.float32)))
        return results

    runs = [tf.nest.map_structure(float, step()) for _ in range(N_BATCHES)]
    means = {name: np.mean([run[name] for run in runs], 0) for name in estimators}
    return {
        name: {"nmse_db": 10 * np.log10(m[0]), "expected_db": 10 * np.log10(m[1]), "bler": m[2]}
        for name, m in means.items()
    }


def relative(a: tf.Tensor, b: tf.Tensor) -> float:
    return float(np.linalg.norm(np.asarray(a) - np.asarray(b)) / np.linalg.norm(np.asarray(b)))


def error_between(h: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Error variance on symbol 2, between pilots on 1 and 4: errors of the noise add as powers, common ones as such."""
    power = np.mean(np.abs(h) ** 2, -1, keepdims=True)
    common = error / np.maximum(np.log1p(power / error), 1)
    own = error - common
    at_once = 2 / 3 * np.sqrt(common[..., 1, :]) + 1 / 3 * np.sqrt(common[..., 4, :])
    return 4 / 9 * own[..., 1, :] + 1 / 9 * own[..., 4, :] + at_once**2


def several_streams() -> dict[str, float]:
    """2 transmitters with 2 streams, pilots on two of six symbols, no DC null, guards that are not even."""
    grid = ResourceGrid(
        6, 128, 15e3, num_tx=2, num_streams_per_tx=2, num_guard_carriers=(5, 3),
        pilot_pattern="kronecker", pilot_ofdm_symbol_indices=[1, 4],
    )  # fmt: skip
    n_used = grid.num_effective_subcarriers
    subcarriers = np.arange(grid.fft_size) - grid.dc_ind
    rng = np.random.default_rng(2)
    delays, shape = rng.uniform(0, 0.04, size=(3, 2, 2, 3)), (3, 2, 2, 3)
    gains = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(6)
    h = (gains[..., None] * np.exp(-2j * np.pi * delays[..., None] * subcarriers)).sum(-2)  # [batch, tx, stream, fft]
    pilots, mask = np.asarray(grid.pilot_pattern.pilots), np.asarray(grid.pilot_pattern.mask)
    x = np.zeros((2, 2, 6, n_used), complex)
    for stream in np.ndindex(2, 2):
        x[stream][mask[stream] == 1] = pilots[stream]
    noise = rng.normal(size=(2, 3, 6, grid.fft_size)) * np.sqrt(0.001 / 2)

    def received(change: list[complex]) -> tf.Tensor:
        """What arrives when the channel changes from symbol to symbol."""
        y = noise[0] + 1j * noise[1]
        used = grid.effective_subcarrier_ind
        y[..., used] += np.einsum("bijk,ijsk,s->bsk", h[..., used], x, change)
        return tf.constant(y[:, None, None], tf.complex64)

    y = received([1, 1, 1j, 1j, -1, -1])
    truth = h[:, None, None, :, :, grid.effective_subcarrier_ind]
    estimator = SparseChannelEstimator(grid, "na-sbl-wide-window")
    h_hat, err_var = estimator(y, 0.001)
    assert h_hat.shape == err_var.shape == (3, 1, 1, 2, 2, 6, n_used)
    linear = LSChannelEstimator(grid, interpolation_type="lin")(y, 0.001)[0]
    at_pilots = estimator.estimate_at_pilot_locations(
        tf.gather(tf.reshape(y[..., 5:125], [3, 1, 1, -1]), estimator._pilot_ind, axis=-1), 0.001
    )
    by_hand = [h_hat.numpy()[..., stream[0], stream[1], :, :][..., mask[stream] == 1] for stream in np.ndindex(2, 2)]
    static = SparseChannelEstimator(grid, "na-sbl-wide-window", time="static")
    still, _ = static(received([1] * 6), 0.001)
    graph = tf.function(SparseChannelEstimator(grid, "na-alista-wide"))
    open_batch = graph.get_concrete_function(
        tf.TensorSpec([None, 1, 1, 6, 128], tf.complex64), tf.TensorSpec([None], tf.float32)
    )
    alista = SparseChannelEstimator(grid, "na-alista-wide")(y, 0.001)[0]
    compiled = tf.function(SparseChannelEstimator(grid, "na-alista-wide"), jit_compile=True)
    double = SparseChannelEstimator(grid, "na-alista-wide", precision="double")
    return {
        "ours": relative(h_hat[..., 1, :], truth),
        "linear": relative(linear[..., 1, :], truth),
        "static": relative(still[..., 3, :], truth),
        "before the first": relative(h_hat[..., 0, :], h_hat[..., 1, :]),
        "between": relative(h_hat[..., 2, :], 2 / 3 * h_hat[..., 1, :] + 1 / 3 * h_hat[..., 4, :]),
        "error between": relative(err_var[..., 2, :], error_between(h_hat.numpy(), err_var.numpy())),
        "after the last": relative(h_hat[..., 5, :], h_hat[..., 4, :]),
        "noise per batch entry": relative(estimator(y, tf.fill([3], 0.001))[1], err_var),
        "noise per antenna": relative(estimator(y, tf.fill([3, 1, 1], 0.001))[1], err_var),
        "at the pilots": relative(tf.reshape(at_pilots[0], [-1]), np.stack(by_hand, 3).ravel()),
        "unknown batch": relative(open_batch(y[:2], tf.fill([2], 0.001))[0], alista[:2]),
        "compiled": relative(compiled(y, 0.001)[0], alista),
        "double": relative(double(y, 0.001)[0], alista),
    }


def refused() -> dict[str, str]:
    """What the estimator says of grids that it cannot serve."""
    empty = ResourceGrid(1, 64, 15e3)
    wide = ResourceGrid(1, 2048, 15e3, pilot_pattern="kronecker", pilot_ofdm_symbol_indices=[0])
    said = {}
    for name, grid in (("no pilots", empty), ("too wide", wide)):
        try:
            SparseChannelEstimator(grid)
        except ChanestError as error:
            said[name] = f"{type(error).__name__}: {error}"
    return said


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    print(json.dumps({"link": simulate(), "streams": several_streams(), "refused": refused()}))
