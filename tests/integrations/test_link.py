"""The LDPC-coded link: its grid, noise, decoder and bounds, and ``chanest link``."""

import csv
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("sionna")

from conftest import assert_refused, contents
from sionna.phy.fec.ldpc import LDPC5GDecoder

from chanest import PilotPattern, load_scenario, nmse_db
from chanest.errors import ChanestError
from chanest.integrations.link import simulation
from chanest.integrations.link.simulation import COLUMNS, ebno_at, simulate_point, usual_estimators
from chanest.integrations.link.transmission import Link
from chanest.models import shipped_models
from chanest.problems import jakes
from chanest.problems.ofdm.draw import frequency_response

LTE10 = load_scenario("lte10")
QUICK = ["--symbols", 1, "--slots", 32, "--block-errors", 0, "--algorithms", "perfect,na-sbl,linear"]


def pilot_symbols(link: Link) -> list[int]:
    return sorted(set(link.grid.pilot_pattern.mask[0, 0].nonzero()[:, 0].tolist()))


# the slot ---------------------------------------------------------------------------------------------------


def test_the_slot_is_that_of_the_scenario():
    link = Link(LTE10)
    used = link.grid.effective_subcarrier_ind - link.grid.dc_ind
    assert used.tolist() == LTE10.used_subcarriers.tolist()
    assert (link.grid.fft_size, link.grid.cyclic_prefix_length) == (1024, 256)
    places = link.grid.pilot_pattern.mask[0, 0, 2].nonzero()[:, 0].numpy()
    assert tuple(used[places]) == PilotPattern.random(75, seed=0).subcarriers
    assert torch.allclose(link.grid.pilot_pattern.pilots.abs(), torch.ones(()))


@pytest.mark.parametrize(
    ("n_symbols", "n_pilot_symbols", "where"),
    [(12, 1, [2]), (12, 2, [2, 8]), (14, 2, [2, 9]), (1, 1, [0]), (2, 1, [1]), (2, 2, [0, 1]), (4, 2, [1, 3])],
)
def test_where_the_pilots_stand(n_symbols, n_pilot_symbols, where):
    link = Link(LTE10, n_symbols=n_symbols, n_pilot_symbols=n_pilot_symbols)
    assert pilot_symbols(link) == where
    assert link.grid.num_pilot_symbols == 75 * len(where)


@pytest.mark.parametrize("modulation", ["qpsk", "16qam", "64qam"])
@pytest.mark.parametrize("n_pilots", [50, 75, 100])
def test_blocks_fill_the_slot(modulation, n_pilots):
    link = Link(LTE10.replace(n_pilots=n_pilots), modulation)
    bits = {"qpsk": 2, "16qam": 4, "64qam": 6}[modulation]
    assert link.k <= 8448
    assert link.n_blocks == math.ceil((7200 - n_pilots) * bits / 2 / 8448)
    assert 0 <= link.grid.num_data_symbols - link.n_blocks * link.symbols_per_block < link.n_blocks
    assert (link.n, link.k) == (link.symbols_per_block * bits, link.symbols_per_block * bits // 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"modulation": "bpsk"}, "modulation: expected one of qpsk, 16qam, 64qam, got bpsk"),
        ({"rate": math.nan}, "rate: expected 0.25...0.9, got nan"),
        ({"n_symbols": 0}, "n_symbols: expected 1...140, got 0"),
        ({"n_pilot_symbols": 5}, "n_pilot_symbols: expected 1...4, got 5"),
        ({"n_antennas": 0}, "n_antennas: expected 1...64, got 0"),
        ({"doppler_hz": -1.0}, "doppler_hz: expected 0...100,000 Hz, got -1"),
        ({"n_pilot_symbols": 2, "n_symbols": 1}, "n_pilot_symbols: expected 1...1, got 2"),
        ({"scenario": LTE10.replace(n_pilots=600), "n_symbols": 1}, "n_symbols: a slot of 1 carries 0 information"),
        ({"scenario": LTE10.replace(cp_samples=1025)}, "cp_samples: expected at most n_fft = 1024, got 1025"),
    ],
)
def test_a_link_that_cannot_be(arguments, said):
    with pytest.raises(ChanestError, match=f"^{said}"):
        Link(**{"scenario": LTE10, **arguments})


# what is sent -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lte10", "tdl-c300", "munich"])
def test_noise_counts_prefix_and_pilots_and_channels_are_the_scenarios(name):
    scenario = load_scenario(name)
    link = Link(scenario, n_symbols=4)
    slots, louder = link.transmit(7.0, 8, 0), link.transmit(4.0, 8, 0)
    energy_per_bit = 4 * 600 * 1.25 / (2 * link.k / link.n * link.grid.num_data_symbols)
    assert float(slots.noise_variance) == pytest.approx(energy_per_bit / 10**0.7, rel=1e-5)
    exact = frequency_response(slots.delays_s.double() * scenario.sample_rate_hz, slots.gains, scenario.grid)
    assert nmse_db(slots.cfr[:, 0, 0, 0, 0, 0], exact) < -70
    assert torch.equal(slots.bits, louder.bits)
    assert torch.equal(slots.cfr, louder.cfr)
    sent = torch.lerp(louder.received, slots.received, 1 / (1 - 10**-0.15))  # the same noise, 3 dB apart
    noise = slots.received - sent
    assert float(noise.abs().square().mean() / slots.noise_variance) == pytest.approx(1, abs=0.02)
    outside = np.setdiff1d(np.arange(-512, 512), scenario.used_subcarriers) + 512
    assert float(sent[..., outside].abs().max()) < 1e-4
    assert not torch.equal(slots.bits, link.transmit(7.0, 8, 1).bits)


@pytest.mark.slow
def test_a_user_in_motion_and_antennas():
    """The channel changes as its Doppler says; what knows its motion is ahead of a line between the pilot symbols."""
    scenario = load_scenario("etu")
    link = Link(scenario, n_pilot_symbols=2, n_antennas=2, doppler_hz=200.0)
    slots = link.transmit(12.0, 48, 0)
    assert slots.cfr.shape == (48, 1, 2, 1, 1, 12, 600)
    assert slots.received.shape == (48, 1, 2, 12, 1024)
    lag = float(link.grid.ofdm_symbol_duration) * 6
    first, later = slots.cfr[..., 0, :], slots.cfr[..., 6, :]
    correlation = float((first.conj() * later).mean().real / first.abs().square().mean())
    assert correlation == pytest.approx(float(jakes([200.0], np.zeros(1), np.array([lag]))), abs=0.1)
    rows = simulate_point(link, ["perfect", "lmmse-told", "na-sbl-wide", "ls-linear"], 12.0, n_slots=16)
    nmse = {row["estimator"]: row["cfr_nmse_db"] for row in rows}
    assert nmse["lmmse-told"] < nmse["na-sbl-wide"] < nmse["ls-linear"] - 4
    assert nmse["na-sbl-wide"] < nmse["lmmse-told"] + 1.5
    with pytest.raises(ChanestError, match="oracle-ls knows one antenna at rest; leave it out"):
        link.estimator("oracle-ls")
    assert usual_estimators(scenario, simple=False) == ("perfect", "lmmse-told", "na-sbl-wide", "ls-linear")


def test_batches_are_those_of_the_seed_and_leave_torchs_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = [Link(LTE10, n_symbols=1, seed=seed).transmit(5, 4, 0).received for seed in (3, 3, 4)]
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])


# what is received -------------------------------------------------------------------------------------------


def test_ending_early_decodes_what_twenty_iterations_decode():
    link = Link(LTE10, n_symbols=1)
    slots = link.transmit(4.5, 32, 0)
    estimate, _ = link.estimator("perfect")
    with torch.no_grad():
        h_hat, error = estimate(slots)
        found = link.decode(slots, h_hat, error)
        equalised, noise = link._equalizer(slots.received, h_hat, error, slots.noise_variance)
        llr = link._demapper(equalised, noise).reshape(-1, link.n)
        whole = LDPC5GDecoder(link._encoder, device="cpu")(llr).reshape(found.shape)
    wrong = (found != slots.bits).any(-1)
    assert 5 < int(wrong.sum()) < 27
    assert torch.equal(found[wrong], whole[wrong])
    assert torch.equal(wrong, (whole != slots.bits).any(-1))


@pytest.mark.parametrize("n_pilot_symbols", [1, 2])
def test_least_squares_on_the_true_taps_errs_as_it_says(n_pilot_symbols):
    link = Link(LTE10, n_symbols=2, n_pilot_symbols=n_pilot_symbols)
    slots = link.transmit(8, 128, 0)
    cfr, error = link.estimator("oracle-ls")[0](slots)
    squared = (cfr - slots.cfr).abs().square()
    assert float(squared.mean() / error.mean()) == pytest.approx(1, abs=0.07)
    # eight taps of noise over 75 pilots, a little more as their columns are not orthogonal
    assert 1 < float(error.mean() / (slots.noise_variance * 8 / (75 * n_pilot_symbols))) < 1.25
    quiet = link.transmit(95, 4, 0)
    assert nmse_db(link.estimator("oracle-ls")[0](quiet)[0], quiet.cfr.expand(-1, -1, -1, -1, -1, 2, -1)) < -80


@pytest.mark.parametrize("name", ["oracle-ls", "na-sbl", "na-alista", "lmmse-exponential", "ls-linear"])
def test_a_second_pilot_symbol_helps(name):
    found = []
    for n_pilot_symbols in (1, 2):
        link = Link(load_scenario("tdl-c300"), n_symbols=2, n_pilot_symbols=n_pilot_symbols)
        slots = link.transmit(8, 64, 0)
        with torch.no_grad():
            h_hat, error = link.estimator(name)[0](slots)
        assert h_hat.shape == error.shape == (64, 1, 1, 1, 1, 2, 600)
        found.append(nmse_db(h_hat, slots.cfr.expand_as(h_hat)))
    assert found[1] < found[0] - 0.5


def test_error_rates_rank_the_estimators_and_fall_with_ebno():
    names = ["perfect", "oracle-ls", "na-sbl", "linear"]
    link = Link(LTE10, n_symbols=1)
    low, high = (simulate_point(link, names, ebno, n_slots=64, target_errors=0) for ebno in (6, 11))
    for rows in (low, high):
        rates = [row["bler"] for row in rows]
        assert rates == sorted(rates)
        for row in rows:
            assert set(row) <= set(COLUMNS)
            assert row["blocks"] == 64
            assert row["bits"] == 64 * 525
            assert row["bler_low"] <= row["bler"] == row["block_errors"] / 64 <= row["bler_high"]
            assert row["goodput"] == pytest.approx((1 - row["bler"]) * 525)
            assert row["ber"] == row["bit_errors"] / row["bits"] <= row["bler"]
    assert all(b["bler"] < a["bler"] for a, b in zip(low[:3], high[:3], strict=True))
    assert high[3]["bler"] > 0.5


def test_an_estimator_stops_at_enough_errors():
    link = Link(LTE10, n_symbols=1, rate=0.25)
    rows = simulate_point(link, ["linear"], -5, n_slots=384, target_errors=10)
    assert rows[0]["blocks"] == rows[0]["block_errors"] == 192


def test_two_blocks_per_slot_with_padding_arrive():
    link = Link(LTE10, "16qam", rate=0.6)
    assert (link.n_blocks, link.grid.num_data_symbols % 3) == (3, 0)
    link = Link(LTE10, "16qam")
    assert link.n_blocks == 2
    assert link.grid.num_data_symbols % 2 == 1
    row = simulate_point(link, ["perfect"], 60, n_slots=2)[0]
    assert (row["blocks"], row["bit_errors"], row["data_symbols"]) == (4, 0, 7124)


@pytest.mark.parametrize(
    ("blers", "expected"),
    [
        ([0.5, 0.2, 0.05], 2.5),
        ([0.5, 0.1, 0.0], 2.0),
        ([0.5, 0.4, 0.2], None),
        ([0.05, 0.01, 0.0], -math.inf),
        ([0.1, 0.01, 0.0], 1.0),
        ([1.0, 1.0, 0.0], 2 + math.log(10) / math.log(2000)),
    ],
)
def test_where_a_curve_crosses(blers, expected):
    rows = [{"ebno_db": str(x), "bler": str(y), "blocks": "1000"} for x, y in enumerate(blers, 1)]
    found = ebno_at(rows[::-1])
    assert found == expected or found == pytest.approx(expected)


def test_the_usual_estimators_have_models_for_every_scenario():
    for name in ("lte10", "tdl-c300", "munich", "epa"):
        link = Link(load_scenario(name), n_symbols=1)
        for estimator in usual_estimators(link.scenario):
            link.estimator(estimator)


# the command ------------------------------------------------------------------------------------------------


def rows_of(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def test_an_interrupted_simulation_continues_to_the_same_file(tmp_path, monkeypatch, chanest):
    monkeypatch.chdir(tmp_path)
    options = (*QUICK, "--ebno", "8,14", "--pilots", "60,75")
    assert chanest("link", *options, "--output", "whole.csv").code == 0
    done = 0

    def dies_at_the_third(*arguments, **named):
        nonlocal done
        done += 1
        if done == 3:
            raise KeyboardInterrupt
        return simulate(*arguments, **named)

    simulate = simulation.simulate_point
    with monkeypatch.context() as patched:
        patched.setattr(simulation, "simulate_point", dies_at_the_third)
        assert chanest("link", *options, "--output", "cut.csv").code == 130
    assert len(rows_of("cut.csv")) == 2 * 3
    assert_refused(chanest("link", *options, "--output", "cut.csv"), "cut.csv: exists already")
    for other in (("--seed", 1), ("--rate", 0.6), ("--slots", 33), ("--pilot-symbols", 1, "--symbols", 2)):
        refused = chanest("link", *options, "--output", "cut.csv", "--resume", *other)
        assert_refused(refused, "cut.csv: ", ": made with ", "repeat the command that began it")
    ran = chanest("link", *options, "--output", "cut.csv", "--resume")
    assert ran.code == 0
    assert ran.out.count(" pilots, qpsk: BLER") == 2
    assert "> 14" in ran.out
    assert Path("cut.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert Path("cut.png").stat().st_size > 10_000
    by_point = {}
    for row in rows_of("cut.csv"):
        assert tuple(row) == COLUMNS
        by_point.setdefault((row["n_pilots"], row["ebno_db"]), []).append(float(row["bler"]))
    assert len(by_point) == 4
    assert all(rates == sorted(rates) for rates in by_point.values())
    other = chanest("link", *QUICK, "--ebno", "8", "--pilots", "75", "--seed", 1, "--output", "other.csv")
    assert other.code == 0
    assert rows_of("other.csv")[0]["bit_errors"] != rows_of("cut.csv")[6]["bit_errors"]


MISTAKES = [
    ("", "--output"),
    ("--output x.png", "--output: expected a file ending in .csv, got x.png"),
    ("--output there.csv", "there.csv: exists already; give --force"),
    ("--output new.csv", "new.png: exists already; give --force"),
    ("--output there.csv --resume", "there.csv: expected the columns scenario, n_pilots, modulation"),
    ("--output there.csv --force --slots 0", "--slots: expected 1...10000000, got 0"),
    ("--output nowhere/x.csv", "nowhere/x.csv: no folder nowhere"),
    ("--output x.csv --scenario nosuch", "scenario nosuch: expected one of"),
    ("--output x.csv --scenario synthetic", "synthetic"),
    ("--output x.csv --algorithms magic", "--algorithms: expected some of perfect, oracle-ls, ls-linear", "got magic"),
    ("--output x.csv --algorithms lista", "lista: no model for scenario lte10 with 75 pilots is shipped"),
    ("--output x.csv --pilots 7.5", "--pilots: expected whole numbers"),
    ("--output x.csv --pilots 1", "--pilots: ", "got 1"),
    ("--output x.csv --ebno loud", "--ebno: expected numbers like"),
    ("--output x.csv --ebno 0:200:100", "--ebno: expected -50...100 dB, got 200"),
    ("--output x.csv --ebno 0:90:0.01 --pilots 50,75", "--ebno: expected a grid of at most 10000 points"),
    ("--output x.csv --modulation qpsk,8psk", "--modulation: expected one of qpsk, 16qam, 64qam, got 8psk"),
    ("--output x.csv --rate 1", "--rate: expected 0.25...0.9, got 1"),
    ("--output x.csv --symbols 0", "--symbols: expected 1...140, got 0"),
    ("--output x.csv --pilot-symbols 5", "--pilot-symbols: expected 1...4, got 5"),
    ("--output x.csv --antennas 0", "--antennas: expected 1...64, got 0"),
    ("--output x.csv --speed -3", "--speed: expected 0...1000, got -3"),
    ("--output x.csv --symbols 1 --pilots 595", "--symbols: a slot of 1 carries 5 information bits, expected at least"),
    ("--output x.csv --block-errors -1", "--block-errors: expected 0, for all slots, or more, got -1"),
    ("--output x.csv --seed -1", "--seed: expected 0...2^63 - 1, got -1"),
    ("--output x.csv --device tpu", "--device: expected auto, cpu, cuda or cuda:N, got tpu"),
]


@pytest.mark.parametrize(("options", "said"), [(c, s) for c, *s in MISTAKES], ids=[m[0][:60] for m in MISTAKES])
def test_a_mistake_is_one_line_and_changes_nothing(tmp_path, monkeypatch, chanest, options, said):
    monkeypatch.chdir(tmp_path)
    for name in ("there.csv", "there.png", "new.png"):
        Path(name).write_text("precious")
    before = contents(tmp_path)
    assert_refused(chanest("link", *options.split()), *said)
    assert contents(tmp_path) == before


def test_without_sionna_the_extra_is_named(tmp_path, monkeypatch, chanest):
    for name in [name for name in sys.modules if name.startswith(("chanest.integrations.", "sionna"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sionna", None)
    assert_refused(chanest("link", "--output", tmp_path / "x.csv"), "pip install 'chanest[sionna]'")


def test_a_model_by_name_or_file_receives_too(tmp_path):
    shutil.copy(next(path for path in shipped_models() if path.stem == "na-sbl-wide"), tmp_path / "mine.h5")
    names = ["na-sbl-wide", str(tmp_path / "mine.h5"), "na-sbl"]
    by_name, by_file, picked = simulate_point(Link(LTE10, n_symbols=2), names, 6, n_slots=8)
    assert (by_name["model"], by_file["model"], picked["model"]) == ("na-sbl-wide", "mine", "na-sbl-lte10-m75")
    assert by_name["cfr_nmse_db"] == by_file["cfr_nmse_db"] != picked["cfr_nmse_db"]


# what must be reached ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_learned_estimators_are_near_least_squares_on_the_true_taps():
    """The sparse channel, 75 random pilots: with 0.8 and 1 dB more they lose no more of the same slots."""
    asked = {"perfect": 8.3, "oracle-ls": 8.3, "na-sbl": 9.1, "na-alista": 9.3}
    lost = {
        name: simulate_point(Link(LTE10), [name], ebno, n_slots=256, target_errors=0)[0]["bler"]
        for name, ebno in asked.items()
    }
    assert 0.02 < lost["perfect"] < lost["oracle-ls"] < 0.2
    assert max(lost["na-sbl"], lost["na-alista"]) <= lost["oracle-ls"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_na_sbl_is_as_near_to_least_squares_on_the_true_taps_as_the_pilots_allow():
    """Eb/N0 at BLER 0.1, QPSK, rate 1/2, one pilot symbol, 75 random pilots, the sparse channel, on the same slots.

    The exact posterior mean is 0.56 dB behind (tools/link_limit.py, docs/link.md); half a dB was asked for.
    """
    link, needed, ours = Link(LTE10), {}, "na-sbl-lte10-m75-k10"
    for name, ebnos in {"oracle-ls": (8, 8.5), ours: (8.5, 9)}.items():
        rows = [simulate_point(link, [name], ebno, n_slots=1024, target_errors=0)[0] for ebno in ebnos]
        needed[name] = ebno_at({key: str(value) for key, value in row.items()} for row in rows)
    print(needed)
    assert needed[ours] - needed["oracle-ls"] <= 0.56


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "ls-linear", "lmmse-exponential"])
def test_what_knows_nothing_of_sparsity_never_gets_there(name):
    assert min(simulate_point(Link(LTE10), [name], ebno, n_slots=64)[0]["bler"] for ebno in (12, 20, 30)) > 0.5
