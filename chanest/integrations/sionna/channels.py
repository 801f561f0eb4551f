"""Channels of our scenarios as a channel model of Sionna."""

import numpy as np
import torch
from sionna.phy.channel import ChannelModel
from torch import Tensor

from ...errors import ScenarioError
from ...problems import Scenario, moving_gains, ofdm, seeded

_MOST_STEPS = 512  # of a user in motion


class SparseCIR(ChannelModel):
    """The channels of a scenario, at rest over a slot or in motion, for Sionna's OFDMChannel and TimeChannel.

    Every pair of a receiver and a transmitter has a channel of its own, E|H|^2 = 1. The antennas of a pair share
    the delays; their gains are independent (of a recorded channel, the phases of its paths; the first antenna has the
    channel as recorded). Delays in seconds are those of the scenario in samples over its
    sample_rate_hz: ``scenario.replace(subcarrier_spacing_hz=30e3)`` for another numerology.

    Of a user in motion the paths keep delays and mean powers, and their gains are Gaussian, with the correlation
    J0(2 pi f dt) between time steps (:func:`chanest.problems.jakes`).

    Draws come from a generator of its own, neither torch's nor Sionna's: one seed gives the same channels in the same
    order of calls in every run; they are the test channels of this package, which no shipped model was trained on.

    For the time domain, ``TimeChannel(..., l_min=0, l_max=...)``: the default l_min of -6 would take six samples of
    the cyclic prefix, and taps on the sample grid have nothing there.

    Args:
        scenario: name, or loaded.
        num_rx, num_rx_ant, num_tx, num_tx_ant: sizes.
        seed: of the draws.
        max_doppler_hz: maximal Doppler shift f of a user in motion.
        precision, device: as of every block of Sionna.

    Raises:
        ScenarioError: no such scenario; no Doppler shift; more than 512 time steps of a user in motion.

    >>> a, tau = SparseCIR("lte10", num_rx_ant=2)(batch_size=5, num_time_steps=14)
    >>> a.shape, tau.shape
    (torch.Size([5, 1, 2, 1, 1, 8, 14]), torch.Size([5, 1, 1, 8]))
    """

    def __init__(
        self,
        scenario: str | Scenario = "lte10",
        num_rx: int = 1,
        num_rx_ant: int = 1,
        num_tx: int = 1,
        num_tx_ant: int = 1,
        seed: int = 0,
        max_doppler_hz: float = 0.0,
        precision: str | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(precision=precision, device=device)
        known = np.isfinite(max_doppler_hz) and max_doppler_hz >= 0
        ScenarioError.unless(known, "a finite number of Hz from 0 on", max_doppler_hz, "max_doppler_hz")
        self.scenario = ofdm(scenario)
        self._sizes = num_rx, num_rx_ant, num_tx, num_tx_ant
        self._generator, self.max_doppler_hz = seeded(seed, "test"), max_doppler_hz

    def __call__(
        self, batch_size: int, num_time_steps: int, sampling_frequency: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw channels.

        Args:
            batch_size: how many.
            num_time_steps: how often each gain is repeated, or seen.
            sampling_frequency: of the time steps, in Hz, where the user moves.

        Returns:
            a [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_paths, num_time_steps] complex, and tau
            [batch_size, num_rx, num_tx, num_paths] in seconds.
        """
        num_rx, num_rx_ant, num_tx, num_tx_ant = self._sizes
        delays, gains, variances = self.scenario.draw_paths(batch_size * num_rx * num_tx, self._generator)
        pairs = num_rx_ant * num_tx_ant
        if self.max_doppler_hz > 0:
            a = self._moving(variances, pairs, num_time_steps, sampling_frequency)
            a = a.unflatten(1, (num_rx_ant, num_tx_ant)).unflatten(0, (batch_size, num_rx, num_tx))
            tau = (delays / self.scenario.sample_rate_hz).reshape(batch_size, num_rx, num_tx, -1)
            return a.permute(0, 1, 3, 2, 4, 6, 5).to(self.device, self.cdtype), tau.to(self.device, self.dtype)
        if pairs > 1:
            others = self.scenario.channel.draw_antennas(gains, variances, pairs - 1, self._generator)
            gains = torch.cat([gains.unsqueeze(1), others], 1)
        a = gains.reshape(batch_size, num_rx, num_tx, num_rx_ant, num_tx_ant, -1).permute(0, 1, 3, 2, 4, 5)
        tau = (delays / self.scenario.sample_rate_hz).reshape(batch_size, num_rx, num_tx, -1)
        a = a.to(self.device, self.cdtype).unsqueeze(-1).expand(*a.shape, num_time_steps)
        return a, tau.to(self.device, self.dtype)

    def _moving(self, variances: Tensor, pairs: int, n_steps: int, sampling_frequency: float | None) -> Tensor:
        """Gains that change, (pairs of a receiver and a transmitter, pairs of antennas, steps, paths)."""
        if n_steps > _MOST_STEPS or not sampling_frequency:
            raise ScenarioError(
                f"expected at most {_MOST_STEPS} time steps and a sampling frequency, got {n_steps}, "
                f"{sampling_frequency}; for OFDM symbols take OFDMChannel",
                field="max_doppler_hz",
            )
        times = np.arange(n_steps) / float(sampling_frequency)
        doppler = torch.full((len(variances),), self.max_doppler_hz, dtype=torch.float64)
        return moving_gains(variances, times, doppler, pairs, self._generator)
