"""An LDPC-coded OFDM link of Sionna's own blocks: slots sent over the channels of a scenario, and received."""

from ..sionna import SparseChannelEstimator, SparseCIR, random_pilot_pattern  # first: says what to install

# isort: split

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from sionna.phy import config
from sionna.phy.channel import ApplyOFDMChannel, cir_to_ofdm_channel, subcarrier_frequencies
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.mapping import BinarySource, Demapper, Mapper
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import (
    LMMSEChannelEstimator,
    LMMSEEqualizer,
    LSChannelEstimator,
    RemoveNulledSubcarriers,
    ResourceGrid,
    ResourceGridMapper,
)
from sionna.phy.utils import ebnodb2no
from torch import Tensor

from ...errors import ChanestError
from ...models import pick_named
from ...problems import Scenario, jakes

MODULATIONS = {"qpsk": 2, "16qam": 4, "64qam": 6}
PERFECT, ORACLE, SIONNA_LS, TOLD = "perfect", "oracle-ls", "ls-linear", "lmmse-told"
RATES, MOST_SYMBOLS, MOST_ANTENNAS = (0.25, 0.9), 140, 64
_MOST_BITS = 8448  # information bits of an LDPC block of 5G NR
_ROUNDS = (4, 4, 4, 8)  # iterations of the decoder: 20, as Sionna's own default

ChannelEstimator = Callable[["Slots"], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Slots:
    """A batch of slots, sent and received.

    Attributes:
        bits: (batch, n_blocks, k) information bits.
        received: [batch, 1, n_antennas, n_symbols, n_fft] what reaches the receiver.
        cfr: [batch, 1, n_antennas, 1, 1, 1 or n_symbols, n_used] the channel, one for a slot where nothing moves.
        delays_s, gains: (batch, paths) the channel of the first antenna and symbol as paths.
        noise_variance: per resource element.
    """

    bits: Tensor
    received: Tensor
    cfr: Tensor
    delays_s: Tensor
    gains: Tensor
    noise_variance: Tensor


class Link:
    """One transmit antenna, a channel per slot, static or of a user in motion, pilots of modulus 1 on some symbols.

    The slot has the scenario's DFT length, used subcarriers and cyclic prefix. Pilots stand on its third symbol, or on
    its third and others, evenly over the slot (the first symbols of shorter slots); data fill what is left. The data of
    a slot are cut into as few equal LDPC blocks as 8448 information bits each allow; resource elements that do not
    fill a symbol of every block, fewer than there are blocks, carry padding.

    Args:
        scenario: channels, grid and number of pilots on each pilot symbol.
        modulation: a key of :data:`MODULATIONS`.
        rate: of the code.
        n_symbols: OFDM symbols of a slot.
        n_pilot_symbols: 1 to 4.
        seed: of pilots, channels, bits and noise.
        device: "cpu" or "cuda:N".
        n_antennas: of the receiver, which see the same delays.
        doppler_hz: maximal Doppler shift of a user in motion.

    Raises:
        ChanestError: an argument out of range, or a slot that leaves fewer than 12 information bits.
        ExtraError: Sionna is not installed.

    >>> from chanest import load_scenario
    >>> link = Link(load_scenario("lte10"))
    >>> link.grid.num_data_symbols, link.n_blocks, link.k, link.n
    (7125, 1, 7125, 14250)
    """

    def __init__(
        self,
        scenario: Scenario,
        modulation: str = "qpsk",
        rate: float = 0.5,
        n_symbols: int = 12,
        n_pilot_symbols: int = 1,
        seed: int = 0,
        device: str = "cpu",
        n_antennas: int = 1,
        doppler_hz: float = 0.0,
    ) -> None:
        ChanestError.unless(1 <= n_antennas <= MOST_ANTENNAS, f"1...{MOST_ANTENNAS}", n_antennas, "n_antennas")
        ChanestError.unless(0 <= doppler_hz < 1e5, "0...100,000 Hz", f"{doppler_hz:g}", "doppler_hz")
        ChanestError.unless(modulation in MODULATIONS, f"one of {', '.join(MODULATIONS)}", modulation, "modulation")
        ChanestError.unless(RATES[0] <= rate <= RATES[1], f"{RATES[0]:g}...{RATES[1]:g}", f"{rate:g}", "rate")
        ChanestError.unless(1 <= n_symbols <= MOST_SYMBOLS, f"1...{MOST_SYMBOLS}", n_symbols, "n_symbols")
        most = min(4, n_symbols)
        ChanestError.unless(1 <= n_pilot_symbols <= most, f"1...{most}", n_pilot_symbols, "n_pilot_symbols")
        cp, n_fft = scenario.cp_samples, scenario.n_fft
        ChanestError.unless(cp <= n_fft, f"at most n_fft = {n_fft}", cp, "cp_samples")
        self.scenario, self.modulation, self.seed, self.device = scenario, modulation, seed, device
        self.n_antennas, self.doppler_hz = n_antennas, doppler_hz
        self.grid = self._resource_grid(n_symbols, n_pilot_symbols)
        bits_per_symbol, n_data = MODULATIONS[modulation], self.grid.num_data_symbols
        self.n_blocks = 1
        while int(n_data // self.n_blocks * bits_per_symbol * rate) > _MOST_BITS:
            self.n_blocks += 1
        self.symbols_per_block = n_data // self.n_blocks
        self.n = self.symbols_per_block * bits_per_symbol
        self.k = int(self.n * rate)
        if self.k < 12:
            raise ChanestError(
                f"a slot of {n_symbols} carries {self.k} information bits, expected at least 12; lengthen it",
                field="n_symbols",
            )
        self._frequencies = subcarrier_frequencies(scenario.n_fft, scenario.subcarrier_spacing_hz, device=device)
        self._source = BinarySource(device=device)
        self._encoder = LDPC5GEncoder(self.k, self.n, num_bits_per_symbol=bits_per_symbol, device=device)
        self._mapper = Mapper("qam", bits_per_symbol, device=device)
        self._fill = ResourceGridMapper(self.grid, device=device)
        self._channel = ApplyOFDMChannel(device=device)
        self._used = RemoveNulledSubcarriers(self.grid, device=device)
        self._equalizer = LMMSEEqualizer(self.grid, StreamManagement(np.ones((1, 1)), 1), device=device)
        self._demapper = Demapper("app", "qam", bits_per_symbol, device=device)
        self._decoder = LDPC5GDecoder(self._encoder, return_state=True, device=device)

    def _resource_grid(self, n_symbols: int, n_pilot_symbols: int) -> ResourceGrid:
        scenario = self.scenario
        guard = (scenario.n_fft - scenario.n_used) // 2
        grid = ResourceGrid(
            n_symbols,
            scenario.n_fft,
            scenario.subcarrier_spacing_hz,
            cyclic_prefix_length=scenario.cp_samples,
            num_guard_carriers=(guard, scenario.n_fft - scenario.n_used - guard - 1),
            dc_null=True,
            device=self.device,
        )
        first = min(2, n_symbols // n_pilot_symbols - 1)
        symbols = [first + i * n_symbols // n_pilot_symbols for i in range(n_pilot_symbols)]
        grid.pilot_pattern = random_pilot_pattern(scenario.n_pilots, grid, symbols, self.seed)
        return grid

    def transmit(self, ebno_db: float, batch_size: int, index: int) -> Slots:
        """The ``index``-th batch of slots: the same bits, channels and noise, up to its level, at every Eb/N0."""
        state = np.random.SeedSequence([self.seed % 2**32, self.seed >> 32, index]).generate_state(2, np.uint64) >> 1
        config.torch_rng(self.device).manual_seed(int(state[0]))
        bits = self._source([batch_size, self.n_blocks, self.k])
        symbols = self._mapper(self._encoder(bits)).flatten(1)
        padding = symbols[:, : self.grid.num_data_symbols - symbols.shape[1]]
        sent = self._fill(torch.cat([symbols, padding], 1).unflatten(0, (-1, 1, 1)))
        channel = SparseCIR(
            self.scenario,
            num_rx_ant=self.n_antennas,
            seed=int(state[1]),
            max_doppler_hz=self.doppler_hz,
            device=self.device,
        )
        steps = self.grid.num_ofdm_symbols if self.moving else 1
        a, tau = channel(batch_size, steps, 1 / self.grid.ofdm_symbol_duration)
        cfr = cir_to_ofdm_channel(self._frequencies, a, tau)
        no = ebnodb2no(
            ebno_db, MODULATIONS[self.modulation], self.k / self.n, resource_grid=self.grid, device=self.device
        )
        received = self._channel(sent, cfr.expand(*cfr.shape[:-2], sent.shape[-2], -1), no)
        return Slots(
            bits,
            received,
            self._used(cfr.flatten(2, 4)).unflatten(2, (self.n_antennas, 1, 1)),
            tau[:, 0, 0],
            a[:, 0, 0, 0, 0, :, 0],
            no,
        )

    @property
    def moving(self) -> bool:
        """Whether the channel changes within a slot."""
        return self.doppler_hz > 0

    def decode(self, slots: Slots, h_hat: Tensor, error_variance: Tensor) -> Tensor:
        """Information bits, (batch, n_blocks, k), from channel estimates as Sionna's estimators give them.

        A block gets 20 iterations of the decoder at most; it ends before where its bits are right, as a receiver
        with a checksum would.
        """
        equalised, effective_noise = self._equalizer(slots.received, h_hat, error_variance, slots.noise_variance)
        llr = self._demapper(equalised, effective_noise).flatten(1)[:, : self.n_blocks * self.n].reshape(-1, self.n)
        sent = slots.bits.flatten(0, 1)
        found, messages = torch.empty_like(sent), None
        wrong = torch.arange(len(sent), device=sent.device)
        for n_iterations in _ROUNDS:
            found[wrong], messages = self._decoder(llr[wrong], num_iter=n_iterations, msg_v2c=messages)
            still = (found[wrong] != sent[wrong]).any(-1)
            wrong, messages = wrong[still], messages[still]
            if not len(wrong):
                break
        return found.reshape(slots.bits.shape)

    def estimator(self, name: str) -> tuple[ChannelEstimator, str]:
        """A channel estimator by name, and its model's name, empty where there is none.

        ``perfect`` is told the channel, ``oracle-ls`` its delays, ``lmmse-told`` its mean delay profile and its Doppler
        (Sionna's LMMSEChannelEstimator); ``ls-linear`` is Sionna's LSChannelEstimator with linear interpolation, of a
        channel at rest averaged over the pilot symbols. The others are those of this package; of a channel at rest they
        pool the pilots of all symbols, of one that moves they take ``time="auto"``.

        Raises:
            ChanestError: ``oracle-ls`` of several antennas or of a user in motion.
            ModelError: no model for the scenario is shipped.
            AlgorithmError: no such estimator.
        """
        if name == PERFECT:
            return lambda slots: (self._over_symbols(slots.cfr), torch.zeros((), device=self.device)), ""
        if name == ORACLE:
            if self.moving or self.n_antennas > 1:
                raise ChanestError(f"{ORACLE} knows one antenna at rest; leave it out", field="algorithms")
            return self._true_delays, ""
        if name == SIONNA_LS:
            how = "lin" if self.moving else "lin_time_avg"
            block, model = LSChannelEstimator(self.grid, how, device=self.device), ""
        elif name == TOLD:
            time, frequency = self._covariances()
            block, model = LMMSEChannelEstimator(self.grid, time, frequency, order="f-t", device=self.device), ""
        else:
            picked = pick_named(name, self.scenario, len(torch.unique(self._pilot_places[1])))
            pooled = not self.moving and not picked.algorithm.circle
            block = SparseChannelEstimator(
                self.grid,
                picked,
                time="static" if pooled else "auto",
                doppler_hz=None if self.moving else 0.0,
                device=self.device,
            )
            model = picked.name
        return lambda slots: block(slots.received, slots.noise_variance), model

    def _over_symbols(self, cfr: Tensor) -> Tensor:
        return cfr.expand(*cfr.shape[:-2], self.grid.num_ofdm_symbols, -1)

    def _covariances(self) -> tuple[Tensor, Tensor]:
        """Of the channel over the symbols, and over the used subcarriers, as the scenario has them on average."""
        times = np.arange(self.grid.num_ofdm_symbols) * float(self.grid.ofdm_symbol_duration)
        delays, powers = self.scenario.delay_profile()
        used = np.asarray(self.scenario.used_subcarriers)
        response = np.exp(-2j * np.pi * np.outer(used, np.asarray(delays)) / self.scenario.n_fft)
        frequency = (response * np.asarray(powers)) @ response.conj().T
        time = jakes([self.doppler_hz], times, times)[0]
        return (
            time.to(self.device, torch.complex64),
            torch.from_numpy(frequency).to(self.device, torch.complex64),
        )

    @cached_property
    def _pilot_places(self) -> tuple[Tensor, ...]:
        """Symbol and place among the used subcarriers of every pilot, in Sionna's order."""
        return self.grid.pilot_pattern.mask[0, 0].nonzero(as_tuple=True)

    def _true_delays(self, slots: Slots) -> tuple[Tensor, Tensor]:
        """Least squares for the gains of a receiver that is told the delays, and its error variance."""
        symbols, places = self._pilot_places
        at_pilots = self._used(slots.received)[:, 0, 0, symbols, places] / self.grid.pilot_pattern.pilots[0, 0]
        used = torch.from_numpy(self.scenario.used_subcarriers).to(self.device)
        turns = used.double()[:, None] * slots.delays_s.double()[:, None] * self.scenario.subcarrier_spacing_hz
        response = torch.polar(torch.ones_like(turns), -2 * torch.pi * turns) * (slots.gains != 0)[:, None]
        weights = response @ torch.linalg.pinv(response[:, places])
        cfr = (weights @ at_pilots.to(weights.dtype)[..., None]).mT.to(at_pilots.dtype)
        error = slots.noise_variance * weights.abs().square().sum(-1).float()
        shape = len(cfr), 1, 1, 1, 1, 1, -1
        return self._over_symbols(cfr.reshape(shape)), self._over_symbols(error.reshape(shape))
