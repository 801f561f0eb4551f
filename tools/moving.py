"""Users in motion: SparseChannelEstimator beside Sionna's LS, and its LMMSE told the covariances in time and frequency.

usage: python tools/moving.py [--channels A:250,C:300] [--kmh 3,30,60,150] [--carrier 2.1e9] [--antennas 1,4] [--snr 20]
           [--symbols 2,10] [--pilots 75 | --comb 2 --prb 52] [--slots 32] [--cfo 0] [--find-cfo] [--no-told]

One line per channel, speed, antennas and SNR: NMSE of the CFR over all symbols, in brackets what the error variance
expects over that, on all symbols and on those with pilots; the RMS error of the Doppler and of the frequency offset;
milliseconds a slot. TDL channels of Sionna, slots of 14 symbols, one user, LTE-10MHz or NR's grid.
"""

import argparse
import math
import time
from typing import Any

import numpy as np
import torch
from sionna.phy import config
from sionna.phy.channel import OFDMChannel
from sionna.phy.channel.tr38901 import TDL
from sionna.phy.ofdm import (
    LMMSEChannelEstimator,
    LSChannelEstimator,
    PilotPattern,
    RemoveNulledSubcarriers,
    ResourceGrid,
    ResourceGridMapper,
    tdl_freq_cov_mat,
    tdl_time_cov_mat,
)
from torch import Tensor

from chanest.integrations.sionna import SparseChannelEstimator, random_pilot_pattern
from chanest.integrations.sionna.slots import slots_of
from chanest.models import load_model, rescaled


def slot(args: argparse.Namespace, symbols: list[int]) -> ResourceGrid:
    if args.comb is None:
        grid = ResourceGrid(14, 1024, 15e3, cyclic_prefix_length=72, num_guard_carriers=(212, 211), dc_null=True)
        grid.pilot_pattern = random_pilot_pattern(args.pilots, grid, symbols, seed=3)
        return grid
    n = 12 * args.prb
    length = 2 ** math.ceil(math.log2(n * 1.2))
    guards = (length - n) // 2
    grid = ResourceGrid(14, length, 15e3, cyclic_prefix_length=length * 72 // 1024, num_guard_carriers=(guards, guards))
    mask = np.zeros((1, 1, 14, n), bool)
    mask[..., symbols, :: args.comb] = True
    grid.pilot_pattern = PilotPattern(mask, np.ones((1, 1, int(mask.sum())), np.complex64))
    return grid


def db(ratio: Any) -> float:
    return 10 * math.log10(max(float(ratio), 1e-30))


def found_motion(args: argparse.Namespace, grid: ResourceGrid, y: Tensor, no: float) -> tuple[Tensor, Tensor]:
    """Doppler and frequency offset of every group, in Hz."""
    model = rescaled(load_model("na-sbl-wide"), max(1024, grid.fft_size))
    (one,) = slots_of(grid, model.ofdm.n_fft)
    received = y.flatten(-2)[..., one.elements] / grid.pilot_pattern.pilots[0, 0, one.places[0]]
    cfo = None if args.find_cfo else 0.0
    found = model.estimate(
        received, one.pattern, no, snapshot_axes=1, window_samples=model.ofdm.window_samples, cfo_hz=cfo
    )
    return found.doppler_hz, found.cfo_hz


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", default="A:250,C:300", help="TDL model and delay spread in ns")
    parser.add_argument("--kmh", default="3,30,60,150")
    parser.add_argument("--carrier", type=float, default=2.1e9)
    parser.add_argument("--antennas", default="1,4")
    parser.add_argument("--snr", default="20")
    parser.add_argument("--symbols", default="2,10")
    parser.add_argument("--pilots", type=int, default=75)
    parser.add_argument("--comb", type=int)
    parser.add_argument("--prb", type=int, default=52)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--cfo", type=float, default=0.0, help="a frequency offset, in Hz")
    parser.add_argument("--find-cfo", action="store_true")
    parser.add_argument("--no-told", action="store_true", help="leave out Sionna's LMMSE, which takes a second a slot")
    args = parser.parse_args()
    torch.set_num_threads(1)
    symbols = [int(s) for s in args.symbols.split(",")]
    grid = slot(args, symbols)
    turn = torch.exp(2j * torch.pi * args.cfo * grid.ofdm_symbol_duration * torch.arange(14)).unsqueeze(-1)
    for channel in args.channels.split(","):
        kind, spread = channel.split(":")[0], float(channel.split(":")[1]) * 1e-9
        for antennas in map(int, args.antennas.split(",")):
            for kmh in map(float, args.kmh.split(",")):
                for snr in map(float, args.snr.split(",")):
                    speed, no = kmh / 3.6, 10 ** (-snr / 10)
                    config.seed = 1
                    tdl = TDL(kind, spread, args.carrier, min_speed=speed, max_speed=speed, num_rx_ant=antennas)
                    link = OFDMChannel(tdl, grid, return_channel=True)
                    seeded = torch.Generator().manual_seed(1)
                    sent = (args.slots, 1, 1, int(grid.num_data_symbols))
                    y, h = link(
                        ResourceGridMapper(grid)(torch.randn(sent, dtype=torch.complex64, generator=seeded)), no
                    )
                    y, h = y * turn, RemoveNulledSubcarriers(grid)(h) * turn
                    estimators: dict[str, Any] = {"LS": LSChannelEstimator(grid, "lin")}
                    if not args.no_told:
                        frequency = tdl_freq_cov_mat(kind, grid.subcarrier_spacing, grid.fft_size, spread)
                        used = grid.effective_subcarrier_ind
                        moving = (speed, args.carrier, grid.ofdm_symbol_duration, 14)
                        told = tdl_time_cov_mat(kind, *moving), frequency[used][:, used]
                        estimators["LMMSE told"] = LMMSEChannelEstimator(grid, *told, order="f-t")
                    cfo = None if args.find_cfo else 0.0
                    estimators["ours"] = SparseChannelEstimator(grid, cfo_hz=cfo)
                    said = []
                    for name, estimator in estimators.items():
                        if name == "ours":
                            estimator(y, no)
                        started = time.perf_counter()
                        h_hat, err_var = estimator(y, no)
                        elapsed = (time.perf_counter() - started) / args.slots * 1e3
                        error = (h_hat - h).abs().square()
                        expected = err_var.expand_as(error)
                        ratios = [
                            db(expected[..., s, :].mean() / error[..., s, :].mean()) for s in (range(14), symbols)
                        ]
                        said.append(
                            f"{name} {db(error.sum() / h.abs().square().sum()):.2f} dB "
                            f"({ratios[0]:+.1f}, {ratios[1]:+.1f}) {elapsed:.0f} ms"
                        )
                    doppler, offset = found_motion(args, grid, y, no)
                    true = speed * args.carrier / 299792458
                    rms = [float((v - t).square().mean().sqrt()) for v, t in ((doppler, true), (offset, args.cfo))]
                    print(
                        f"TDL-{kind} {kmh:g} km/h, {antennas} antennas, {snr:g} dB: {'; '.join(said)}; "
                        f"Doppler {true:.0f} Hz, off by {rms[0]:.0f}; offset by {rms[1]:.0f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
