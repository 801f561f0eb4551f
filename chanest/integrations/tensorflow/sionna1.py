"""A channel estimator for Sionna 1.2, the TensorFlow version; chanest.integrations.sionna is for Sionna 2 (PyTorch)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from ...algorithms.error_calibration import error_in_common
from ...errors import AlgorithmError, ExtraError, ObservationError, PilotError
from ...models import Model, load_model
from . import namespace as xp
from .estimator import SparseEstimator
from .parts import in_chunks

try:
    import sionna
except ImportError:
    raise ExtraError(
        "Sionna: not installed; with TensorFlow, pip install 'sionna-no-rt>=1.2,<2' in an environment of its own"
    ) from None
if not (1, 2) <= tuple(map(int, sionna.__version__.split(".")[:2])) < (2,):
    raise ExtraError(
        f"Sionna: expected 1.2, which runs on TensorFlow, found {sionna.__version__}; "
        "for Sionna 2 take chanest.integrations.sionna.SparseChannelEstimator"
    )

from sionna.phy.ofdm import BaseChannelEstimator, ResourceGrid

_CHUNK = 2**23  # entries of the largest matrices of one call of the algorithm


@dataclass(frozen=True)
class _Snapshot:
    """Pilots of one stream that are estimated together: which of its pilots, (n,), and the pilots to subcarriers."""

    stream: int
    turn: int
    places: np.ndarray
    pool: np.ndarray  # (n, n_subcarriers) zeros and ones


class SparseChannelEstimator(BaseChannelEstimator):
    """Estimates the channel on a resource grid by ALISTA, NA-ALISTA or NA-SBL.

    Takes the place of LSChannelEstimator: the same call, the same shapes. Delays are measured in parts of the OFDM
    symbol: a grid of another DFT length than the model's is one of the model's with fewer subcarriers in use.

    For each stream its pilots that are not zero count, on each OFDM symbol by themselves. They may differ in modulus;
    the model is then told the mean of the noise variances. Between pilot symbols h_hat is interpolated
    linearly, before the first and after the last it is held; err_var is the variance of that, errors of different
    symbols counting as independent. With ``time="static"`` the channel is taken as
    constant over the slot: pilots of all symbols are pooled, those on one subcarrier combined by maximum ratio.

    Args:
        resource_grid: any with pilots; guards, a DC null or none, several transmitters and streams.
        model: a shipped model by name, an HDF5 file, or a loaded model.
        time: "linear" or "static".
        precision: "single" or "double", as of every block of Sionna.

    Raises:
        ModelError: no such model, or subcarriers further from DC than half the model's DFT length.
        PilotError: a stream without pilots, or with one only where two are needed.

    Input:
        y: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, fft_size], complex.
        no: [batch_size, num_rx, num_rx_ant] or its first n >= 0 axes, noise variance per resource element.

    Output:
        h_hat: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
            num_effective_subcarriers], complex.
        err_var: the same shape, real; carries no gradient.

    >>> grid = ResourceGrid(4, 64, 15e3, pilot_pattern="kronecker", pilot_ofdm_symbol_indices=[1])
    >>> h_hat, err_var = SparseChannelEstimator(grid, "na-alista-wide")(tf.ones([5, 1, 2, 4, 64], tf.complex64), 0.1)
    >>> h_hat.shape
    TensorShape([5, 1, 2, 1, 1, 4, 64])
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        model: str | Path | Model = "na-sbl-wide",
        *,
        time: Literal["linear", "static"] = "linear",
        precision: str | None = None,
    ) -> None:
        super().__init__(resource_grid, interpolation_type=None, precision=precision)
        AlgorithmError.unless(time in ("linear", "static"), '"linear" or "static"', repr(time), "time")
        band = np.asarray(resource_grid.effective_subcarrier_ind) - resource_grid.dc_ind
        loaded = model if isinstance(model, Model) else load_model(model)
        self._estimator = SparseEstimator(loaded, band, loaded.ofdm.window_samples)
        self._groups: dict[tuple[int, ...], list[_Snapshot]] = {}
        self._time_weights: list[np.ndarray] = []  # of every stream: (num_ofdm_symbols, snapshots)
        mask = np.asarray(self._pilot_pattern.mask)
        self._streams = mask.shape[:2]
        pilots = np.asarray(self._pilot_pattern.pilots)
        for stream in np.ndindex(self._streams):
            self._arrange(stream, mask[stream], pilots[stream], band, time == "static")

    def _arrange(
        self, stream: tuple[int, ...], mask: np.ndarray, pilots: np.ndarray, band: np.ndarray, static: bool
    ) -> None:
        """Cut a stream's pilots into snapshots; those on the same subcarriers go through the model together."""
        number = len(self._time_weights)
        symbols, positions = np.nonzero(mask)
        sent = np.flatnonzero(pilots)
        of_symbol, subcarriers = symbols[sent], band[positions[sent]]
        turns = np.unique(of_symbol)
        if static or not turns.size:
            parts, weights = [sent], np.ones((len(mask), 1))
        else:
            parts = [sent[of_symbol == turn] for turn in turns]
            weights = np.stack([np.interp(np.arange(len(mask)), turns, row) for row in np.eye(len(turns))], -1)
        self._time_weights.append(weights)
        for turn, places in enumerate(parts):
            found, inverse = np.unique(subcarriers[np.isin(sent, places)], return_inverse=True)
            if found.size < 2:
                raise PilotError(
                    f"transmitter {stream[0]}, stream {stream[1]}: found {found.size} pilots, expected at least 2 on "
                    'every OFDM symbol that has any; for a static channel, time="static" pools the symbols'
                )
            snapshot = _Snapshot(number, turn, places, np.eye(found.size)[inverse])
            self._groups.setdefault(tuple(found.tolist()), []).append(snapshot)

    @tf.autograph.experimental.do_not_convert
    def call(self, y: tf.Tensor, no: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Estimate the channel; see the class."""
        used = self._remove_nulled_scs(y)
        flat = tf.reshape(used, tf.concat([tf.shape(used)[:-2], [used.shape[-2] * used.shape[-1]]], 0))
        return self._over_grid(tf.gather(flat, self._pilot_ind, axis=-1), no)

    def estimate_at_pilot_locations(self, y_pilots: tf.Tensor, no: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """h_hat and err_var at the pilots alone: [batch_size, num_rx, num_rx_ant, num_tx, num_streams, n_pilots]."""
        at_pilots = []
        for part in self._over_grid(y_pilots, no):
            flat = tf.reshape(part, tf.concat([tf.shape(part)[:-2], [part.shape[-2] * part.shape[-1]]], 0))
            by_stream = tf.transpose(flat, [3, 4, 5, 0, 1, 2])
            at_pilots.append(
                tf.transpose(tf.gather(by_stream, self._pilot_ind, axis=2, batch_dims=2), [3, 4, 5, 0, 1, 2])
            )
        return at_pilots[0], at_pilots[1]

    def _over_grid(self, y_pilots: tf.Tensor, no: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """From [batch_size, num_rx, num_rx_ant, num_tx, num_streams, n_pilots] what :meth:`call` returns."""
        n_streams = len(self._time_weights)
        batch = tf.shape(y_pilots)[:3]
        received = tf.reshape(y_pilots, tf.concat([batch, [n_streams, y_pilots.shape[-1]]], 0))
        pilots = tf.cast(tf.reshape(self._pilot_pattern.pilots, [n_streams, -1]), self.cdtype)
        noise = self._per_antenna(no, batch)
        estimates: list[dict[int, tuple[tf.Tensor, tf.Tensor]]] = [{} for _ in range(n_streams)]
        for subcarriers, snapshots in self._groups.items():
            observed = [self._observe(received, pilots, noise, snapshot) for snapshot in snapshots]
            h, variance = (tf.stack(parts) for parts in zip(*observed, strict=True))
            found = self._estimate(h, variance, subcarriers)
            for snapshot, cfr, error in zip(snapshots, *map(tf.unstack, found), strict=True):
                estimates[snapshot.stream][snapshot.turn] = cfr, error
        over_time = [self._over_time(*pair) for pair in zip(estimates, self._time_weights, strict=True)]
        h_hat, err_var = (tf.stack(parts, 3) for parts in zip(*over_time, strict=True))
        shape = tf.concat([batch, self._streams, tf.shape(h_hat)[-2:]], 0)
        return tf.reshape(h_hat, shape), tf.stop_gradient(tf.reshape(err_var, shape))

    def _per_antenna(self, no: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        """Noise variances of any leading shape as [batch_size, num_rx, num_rx_ant]."""
        no = tf.cast(no, self.rdtype)
        if no.shape.rank > 3:
            raise ObservationError(f"expected a number or [batch_size, num_rx, num_rx_ant], got {no.shape}", field="no")
        blank = tf.ones([3 - no.shape.rank], tf.int32)
        return tf.broadcast_to(tf.reshape(no, tf.concat([tf.shape(no), blank], 0)), batch)

    def _observe(
        self, received: tf.Tensor, pilots: tf.Tensor, noise: tf.Tensor, snapshot: _Snapshot
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """H + noise at the pilots of a snapshot, [..., n_subcarriers], and the mean noise variance, [...]."""
        sent = tf.gather(pilots[snapshot.stream], snapshot.places)
        matched = tf.gather(received[..., snapshot.stream, :], snapshot.places, axis=-1) * tf.math.conj(sent)
        energy = tf.tensordot(tf.square(tf.abs(sent)), tf.constant(snapshot.pool, self.rdtype), 1)
        h = tf.tensordot(matched, tf.constant(snapshot.pool, self.cdtype), 1) / tf.cast(energy, self.cdtype)
        return h, noise * tf.reduce_mean(1 / energy)

    def _estimate(self, h: tf.Tensor, noise: tf.Tensor, subcarriers: tuple[int, ...]) -> tuple[tf.Tensor, tf.Tensor]:
        """CFR and its error variance on the band from (*batch, n_pilots) observations."""
        where = tf.constant(subcarriers, tf.int64)
        n_taps = self._estimator.taps(where).count
        size = max(1, _CHUNK // (len(subcarriers) * max(len(subcarriers), n_taps)))

        def of_chunk(h: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return self._estimator(h, where, noise, error_variance=True)[1:3]

        rows = tf.reshape(h, [-1, h.shape[-1]]), tf.reshape(noise, [-1])
        found = in_chunks(of_chunk, size, rows, (self.cdtype, self.rdtype))
        n_used = len(self._estimator.used_subcarriers)
        shape = tf.concat([[h.shape[0]], tf.shape(h)[1:-1], [n_used]], 0)
        cfr, error = (tf.reshape(part, shape) for part in found)
        known = h.shape[:-1].concatenate(n_used)
        return tf.ensure_shape(cfr, known), tf.ensure_shape(error, known)

    def _over_time(
        self, estimates: dict[int, tuple[tf.Tensor, tf.Tensor]], weights: np.ndarray
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """[..., num_ofdm_symbols, n_used] from a stream's snapshots, whose errors are partly the same."""
        in_turn = [estimates[turn] for turn in range(len(estimates))]
        h, error = (tf.stack(parts, -2) for parts in zip(*in_turn, strict=True))
        common = error_in_common(error, tf.reduce_mean(xp.abs2(h), -1, keepdims=True), xp)
        share = weights.astype(error.dtype.as_numpy_dtype)
        rest = tf.linalg.matmul(np.square(share), error - common)
        spread = rest + tf.square(tf.linalg.matmul(share, tf.sqrt(common)))
        return tf.linalg.matmul(weights.astype(h.dtype.as_numpy_dtype), h), spread
