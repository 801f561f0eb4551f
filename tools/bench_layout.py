"""Four users, sixteen antennas, 14 x 624 resource elements, Kronecker pilots on two symbols, in 3GPP's UMi and UMa.

usage: python tools/bench_layout.py [--cells umi,uma] [--snr 0,10,20] [--kmh 3] [--carrier 3.5e9] [--slots 32]
           [--batch 4] [--bits 2] [--rate 0.5] [--learn 400] [--estimators ours,ls,lmmse-tf,lmmse-tfs]

The layout of Sionna's benchmarks, uplink. One row per cell, SNR and estimator: NMSE of the CFR in dB, that of the
median user, what the error variance expects over the error, BER and BLER behind LMMSE equalisation and LDPC,
milliseconds a slot. LS is Sionna's, with straight lines between pilots. LMMSE is told the covariances in time and
frequency, and in space, measured on other drops of the same cell, and is exact: the Kronecker product of all of them,
not one after the other as in Sionna's, which takes a minute a slot here.
"""

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sionna.phy import config
from sionna.phy.channel import OFDMChannel, gen_single_sector_topology
from sionna.phy.channel.tr38901 import Antenna, PanelArray, UMa, UMi
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.mapping import BinarySource, Demapper, Mapper
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, LSChannelEstimator, ResourceGrid, ResourceGridMapper
from torch import Tensor

from chanest.integrations.sionna import SparseChannelEstimator

USERS, ANTENNAS = 4, 16
Covariances = dict[str, Tensor]


def resource_grid() -> ResourceGrid:
    """14 symbols of 624 subcarriers, users' pilots on every fourth of two of them."""
    return ResourceGrid(
        14,
        624,
        30e3,
        cyclic_prefix_length=44,
        num_tx=USERS,
        pilot_pattern="kronecker",
        pilot_ofdm_symbol_indices=[2, 11],
    )


def cell_of(name: str, carrier_hz: float) -> Any:
    array = {"polarization": "dual", "polarization_type": "cross", "antenna_pattern": "38.901"}
    base = PanelArray(num_rows_per_panel=2, num_cols_per_panel=4, carrier_frequency=carrier_hz, **array)
    user = Antenna("single", "V", "omni", carrier_frequency=carrier_hz)
    kind = {"umi": UMi, "uma": UMa}[name]
    return kind(carrier_hz, "low", user, base, "uplink", enable_pathloss=False, enable_shadow_fading=False)


def slots(cell: Any, name: str, grid: ResourceGrid, batch: int, kmh: float) -> OFDMChannel:
    """A channel of users dropped anew."""
    speed = kmh / 3.6
    cell.set_topology(*gen_single_sector_topology(batch, USERS, name, min_ut_velocity=speed, max_ut_velocity=speed))
    return OFDMChannel(cell, grid, normalize_channel=True, return_channel=True)


def measured_covariances(name: str, args: argparse.Namespace, grid: ResourceGrid) -> Covariances:
    """Of the responses in time, frequency and space, over users dropped at random."""
    cell, n = cell_of(name, args.carrier), 0
    sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.complex128))
    config.seed = 1000
    silent = torch.zeros(args.batch, USERS, 1, int(grid.num_data_symbols), dtype=torch.complex64)
    sent = ResourceGridMapper(grid)(silent)
    while n < args.learn:
        h = slots(cell, name, grid, args.batch, args.kmh)(sent, 0.0)[1]
        h = h[:, 0, :, :, 0].movedim(2, 1).flatten(0, 1).to(torch.complex128)  # (users, antennas, symbols, subcarriers)
        for axis, letters in (("time", "baxs,bays->xy"), ("frequency", "batx,baty->xy"), ("space", "bxts,byts->xy")):
            thin = h[..., ::12] if axis != "frequency" else h[:, :, ::5]
            sums[axis] = sums[axis] + torch.einsum(letters, thin, thin.conj())
        n += len(h)
    return {axis: values * len(values) / values.diagonal().real.sum() for axis, values in sums.items()}


class ToldLMMSE:
    """Linear MMSE by covariances in time, frequency and, where given, space; called like Sionna's estimators."""

    def __init__(self, grid: ResourceGrid, time: Tensor, frequency: Tensor, space: Tensor | None = None) -> None:
        self.pilots = []  # of every user: symbols, subcarriers and what was sent
        mask = torch.as_tensor(grid.pilot_pattern.mask).bool()[:, 0]
        for own, sent in zip(mask, torch.as_tensor(grid.pilot_pattern.pilots)[:, 0], strict=True):
            at, used = own.nonzero(), sent.abs() > 0
            self.pilots.append((at[used, 0], at[used, 1], sent[used]))
        self.time, self.frequency = time, frequency
        space = torch.eye(ANTENNAS, dtype=time.dtype) if space is None else space
        self.powers, self.directions = torch.linalg.eigh(space)

    def __call__(self, y: Tensor, no: Tensor) -> tuple[Tensor, Tensor]:
        y = (self.directions.mH @ y[:, 0].flatten(2).to(self.directions.dtype)).unflatten(-1, y.shape[-2:])
        found, left, full = [], [], torch.ones(14, 624, dtype=torch.float64)
        for t, k, sent in self.pilots:
            c = self.time[t][:, t] * self.frequency[k][:, k]
            power, basis = torch.linalg.eigh(c)
            seen = (y[:, :, t, k] / sent) @ basis.conj()  # (batch, directions, pilots)
            noise = float(no) / float(sent.abs().square().mean())
            gain = self.powers[:, None] / (self.powers[:, None] * power + noise)
            across = self.time[:, t].unsqueeze(1) * self.frequency[:, k]  # (14, 624, pilots)
            across = (across.flatten(0, 1) @ basis).view(14, 624, -1)
            found.append(torch.einsum("xyp,bdp->bdxy", across, gain * seen))
            explained = across.abs().square().flatten(0, 1) @ gain.mT  # (14 * 624, directions)
            own = self.powers * (full.flatten().unsqueeze(-1) - explained)
            left.append((own @ self.directions.abs().square().mT).mT.unflatten(-1, (14, 624)))
        h = torch.stack([torch.einsum("ad,bdxy->baxy", self.directions, one) for one in found], 2)
        error = torch.stack(left, 1).clamp_min(1e-9)
        return h[:, None, :, :, None].to(torch.complex64), error[None, None, :, :, None].float()


def estimators_of(args: argparse.Namespace, grid: ResourceGrid, told: Covariances) -> dict[str, Any]:
    made: dict[str, Callable[[], Any]] = {
        "ours": lambda: SparseChannelEstimator(grid),
        "ls": lambda: LSChannelEstimator(grid, interpolation_type="lin"),
        "lmmse-tf": lambda: ToldLMMSE(grid, told["time"], told["frequency"]),
        "lmmse-tfs": lambda: ToldLMMSE(grid, told["time"], told["frequency"], told["space"]),
    }
    return {name: made[name]() for name in args.estimators.split(",")}


def decibels(ratio: Any) -> float:
    return 10 * math.log10(max(float(ratio), 1e-30))


class Link:
    """Bits to resource grids, and back behind an estimate."""

    def __init__(self, grid: ResourceGrid, bits_per_symbol: int, rate: float) -> None:
        n = int(grid.num_data_symbols) * bits_per_symbol
        self.source, self.k = BinarySource(), round(n * rate)
        self.encode = LDPC5GEncoder(self.k, n)
        self.map, self.place = Mapper("qam", bits_per_symbol), ResourceGridMapper(grid)
        self.equalise = LMMSEEqualizer(grid, StreamManagement(np.ones((1, USERS), int), 1))
        self.demap, self.decode = Demapper("app", "qam", bits_per_symbol), LDPC5GDecoder(self.encode, hard_out=True)

    def sent(self, batch: int) -> tuple[Tensor, Tensor]:
        bits = self.source([batch, USERS, 1, self.k])
        return bits, self.place(self.map(self.encode(bits)))

    def received(self, y: Tensor, h_hat: Tensor, err_var: Tensor, no: float) -> Tensor:
        x_hat, no_eff = self.equalise(y, h_hat, err_var, torch.tensor(no))
        return self.decode(self.demap(x_hat, no_eff))


def batches(name: str, args: argparse.Namespace, grid: ResourceGrid, link: Link, no: float) -> Iterator[Any]:
    """Bits, received grid and CFR, the same for every call."""
    config.seed = 1
    cell = cell_of(name, args.carrier)
    for _ in range(args.slots // args.batch):
        bits, x = link.sent(args.batch)
        y, h = slots(cell, name, grid, args.batch, args.kmh)(x, no)
        yield bits, y, h


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default="umi,uma")
    parser.add_argument("--snr", default="0,10,20")
    parser.add_argument("--kmh", type=float, default=3.0)
    parser.add_argument("--carrier", type=float, default=3.5e9)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--bits", type=int, default=2, help="per symbol: 2 is QPSK, 4 is 16-QAM")
    parser.add_argument("--rate", type=float, default=0.5)
    parser.add_argument("--learn", type=int, default=400, help="users from whose channels the covariances come")
    parser.add_argument("--estimators", default="ours,ls,lmmse-tf,lmmse-tfs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    grid = resource_grid()
    link = Link(grid, args.bits, args.rate)
    columns = ("cell", "SNR", "estimator", "NMSE", "median user", "expected", "BER", "BLER", "ms")
    table = Table(*columns, title=f"{USERS} users, {ANTENNAS} antennas, {args.kmh:g} km/h, {args.slots} slots")
    for name in args.cells.split(","):
        told = measured_covariances(name, args, grid) if "lmmse" in args.estimators else {}
        known: dict[str, Any] = {"channel known": None}
        for snr in map(float, args.snr.split(",")):
            no = 10 ** (-snr / 10)
            for label, estimator in (estimators_of(args, grid, told) | known).items():
                errors, expected, power, wrong, lost, elapsed = [], [], [], [], [], 0.0
                for bits, y, h in batches(name, args, grid, link, no):
                    h_hat, err_var = h, torch.zeros(())
                    if estimator is not None:
                        start = time.perf_counter()
                        h_hat, err_var = estimator(y, torch.tensor(no))
                        elapsed += time.perf_counter() - start
                    of_users = (1, 2, 4, 5, 6)
                    errors.append((h_hat - h).abs().square().mean(of_users))
                    power.append(h.abs().square().mean(of_users))
                    expected.append(err_var.expand(h.shape).mean(of_users))
                    differs = link.received(y, h_hat, err_var, no) != bits
                    wrong.append(differs.double().mean())
                    lost.append(differs.any(-1).double().mean())
                error, of_all = torch.cat(errors), torch.cat(power)
                nmse = "" if estimator is None else f"{decibels(error.mean() / of_all.mean()):.1f}"
                median = "" if estimator is None else f"{decibels((error / of_all).median()):.1f}"
                ratio = "" if estimator is None else f"{decibels(torch.cat(expected).mean() / error.mean()):+.1f}"
                rates = f"{float(torch.stack(wrong).mean()):.2g}", f"{float(torch.stack(lost).mean()):.2g}"
                ms = "" if estimator is None else f"{elapsed / args.slots * 1e3:.0f}"
                table.add_row(name, f"{snr:g}", label, nmse, median, ratio, *rates, ms)
                Console(stderr=True).print(f"{name} {snr:g} dB {label}: {nmse} {median} {ratio} {rates} {ms}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
