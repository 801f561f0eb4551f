"""# A Sionna receiver

One line of a receiver changes. First an uplink of Sionna's blocks with random pilots, then NR's `PUSCHReceiver` as it
is. Needs `pip install '.[sionna]'`, Sionna 2 without its ray tracer.
"""

# %%
import numpy as np
import torch
from sionna.phy import config
from sionna.phy.channel import ApplyOFDMChannel, GenerateOFDMChannel, OFDMChannel
from sionna.phy.channel.tr38901 import TDL
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.mapping import BinarySource, Demapper, Mapper
from sionna.phy.mimo import StreamManagement
from sionna.phy.nr import PUSCHConfig, PUSCHLSChannelEstimator, PUSCHReceiver, PUSCHTransmitter
from sionna.phy.ofdm import (
    LMMSEEqualizer,
    LSChannelEstimator,
    RemoveNulledSubcarriers,
    ResourceGrid,
    ResourceGridMapper,
)

from chanest import nmse_db
from chanest.integrations.sionna import SparseChannelEstimator, random_pilot_pattern

# %% [markdown]
# ## An uplink
#
# LTE's 10 MHz: 1,024 bins of which 600 are used. 75 random pilots on the first of three symbols, data on all else,
# QPSK, LDPC of rate ½, 3GPP's TDL-C with 300 ns.

# %%
grid = ResourceGrid(3, 1024, 15e3, cyclic_prefix_length=256, num_guard_carriers=(212, 211), dc_null=True)
grid.pilot_pattern = random_pilot_pattern(75, grid, ofdm_symbols=[0], seed=3)
n = 2 * grid.num_data_symbols
encoder = LDPC5GEncoder(n // 2, n)
decoder = LDPC5GDecoder(encoder, hard_out=True)
mapper, demapper = Mapper("qam", 2), Demapper("app", "qam", 2)
channel = OFDMChannel(TDL("C", 300e-9, 3.5e9, min_speed=0.0), grid, normalize_channel=True, return_channel=True)
equalizer = LMMSEEqualizer(grid, StreamManagement(np.array([[1]]), 1))
used = RemoveNulledSubcarriers(grid)  # the channel comes back with the guards
print(grid.num_data_symbols, "data symbols,", n // 2, "information bits")

# %% [markdown]
# The estimators have the same call and the same shapes. `err_var` is what chanest expects of its error; the equaliser
# and the demapper make reliabilities of it.

# %%
estimators = {
    "LS, linear": LSChannelEstimator(grid, interpolation_type="lin"),
    "na-alista": SparseChannelEstimator(grid, "na-alista-wide"),
    "na-sbl": SparseChannelEstimator(grid, "na-sbl-wide"),
}
snr_db = 6
no = 10 ** (-snr_db / 10)
for name, estimator in estimators.items():
    config.seed = 42  # the same bits, channels and noise for all
    bits = BinarySource()([100, 1, 1, n // 2])
    y, h = channel(ResourceGridMapper(grid)(mapper(encoder(bits))), no)
    h_hat, err_var = estimator(y, no)
    decoded = decoder(demapper(*equalizer(y, h_hat, err_var, no)))
    lost = float((decoded != bits).any(-1).float().mean())
    print(f"{snr_db} dB  {name:<10}  NMSE {nmse_db(h_hat, used(h)):6.1f} dB  BLER {lost:.2f}")

# %% [markdown]
# ## NR's PUSCH
#
# Two users whose DMRS share a CDM group, 24 resource blocks at 30 kHz, four antennas.
# `SparseChannelEstimator(resource_grid)` tells the users apart as layers and goes into `PUSCHReceiver` in the place
# of `PUSCHLSChannelEstimator`.

# %%
users = []
for port in (0, 1):
    user = PUSCHConfig()
    user.carrier.n_size_grid, user.carrier.subcarrier_spacing = 24, 30
    user.num_antenna_ports = user.num_layers = 1
    user.dmrs.dmrs_port_set = [port]
    user.dmrs.additional_position, user.dmrs.num_cdm_groups_without_data = 1, 2
    user.tb.mcs_index = 19
    users.append(user)
transmitter = PUSCHTransmitter(users)
nr, dmrs = transmitter.resource_grid, users[0].dmrs
tdl = TDL("A", 100e-9, 3.5e9, min_speed=1.0, max_speed=3.0, num_rx_ant=4)

config.seed = 1
x, bits = transmitter(8)
one_user = GenerateOFDMChannel(tdl, nr, normalize_channel=True)
h = torch.cat([one_user(8), one_user(8)], 3)
no = torch.tensor(10 ** (-6 / 10))
y = ApplyOFDMChannel()(x, h, no)

dmrs_of = dmrs.length, dmrs.additional_position, dmrs.num_cdm_groups_without_data
pusch = {
    "PUSCHLSChannelEstimator": PUSCHLSChannelEstimator(nr, *dmrs_of, interpolation_type="lin"),
    "SparseChannelEstimator": SparseChannelEstimator(nr),
}
streams = StreamManagement(np.ones([1, 2]), 1)
for name, estimator in pusch.items():
    receiver = PUSCHReceiver(transmitter, channel_estimator=estimator, stream_management=streams)
    lost = float((receiver(y, no) != bits).any(-1).float().mean())
    print(f"{name:<24} NMSE {nmse_db(estimator(y, no)[0], h):6.1f} dB, transport blocks lost {lost:.2f}")

# %% [markdown]
# Whole curves, with intervals: `chanest link --pilots 75 --ebno 0:12:1 --output link.csv`. What the estimator takes,
# and what to look out for: [In a link](../link.md).
