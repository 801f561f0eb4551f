"""Files of users in motion: pilots of several OFDM symbols in, the channel on every symbol out."""

import h5py
import numpy as np
import pytest
from conftest import FORMATS, assert_refused, write_arrays, write_format

from chanest import PilotPattern
from chanest.problems import jakes

TIMES = np.arange(14) / 14e3


def arrays(n: int = 4, antennas: int = 2, doppler_hz: float = 60.0) -> dict[str, np.ndarray | int]:
    """A slot of a user in motion as the file contract has it, pilots in no order, the truth beside them."""
    rng = np.random.default_rng(0)
    patterns = PilotPattern.random(60, 1), PilotPattern.random(60, 2)
    used = np.asarray(patterns[0].used_subcarriers)
    delays, powers = np.array([0.0, 4.3, 20.1]), np.array([0.6, 0.3, 0.1])
    factor = np.linalg.cholesky(jakes([doppler_hz], TIMES, TIMES)[0].numpy() + 1e-9 * np.eye(14))
    z = rng.standard_normal((2, n, antennas, 14, 3)) @ np.diag(np.sqrt(powers / 2))
    gains = np.einsum("st,natp->nasp", factor, z[0] + 1j * z[1])
    cfr = gains @ np.exp(-2j * np.pi * np.outer(delays, used) / 1024)
    symbols, at = (2, 11), [np.searchsorted(used, one.subcarriers) for one in patterns]
    seen = np.concatenate([cfr[:, :, s, i] for s, i in zip(symbols, at, strict=True)], -1)
    noise = rng.standard_normal((2, *seen.shape)) * np.sqrt(0.01 / 2)
    order = rng.permutation(120)
    return {
        "pilot_subcarriers": np.concatenate([one.subcarriers for one in patterns])[order],
        "pilot_symbol_index": np.repeat(symbols, 60)[order],
        "symbol_times_s": TIMES,
        "received_pilots": (seen + noise[0] + 1j * noise[1])[..., order].astype(np.complex64),
        "noise_variance": 0.01,
        "snapshot_axes": 1,
        "cfr": cfr,
    }


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_channel_of_every_symbol(tmp_path, chanest, format):
    path = write_format(tmp_path, format, arrays())
    output = tmp_path / "out.h5"
    ran = chanest("estimate", "--input", path, "--output", output, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["algorithms"]["na-sbl"]["cfr_nmse_db"] < -22
    assert 0 <= ran.json["median_doppler_hz"] < 250
    assert abs(ran.json["median_cfo_hz"]) < 60
    with h5py.File(output) as file:
        assert file["cfr"].shape == file["error_variance"].shape == (4, 2, 14, 600)
        assert file["doppler_hz"].shape == file["cfo_hz"].shape == file["detected"].shape == (4,)
        assert file["output_times_s"][()].tolist() == TIMES.tolist()
        assert "cir" not in file
        assert file["detected"][()].all()
        error = np.abs(file["cfr"][()] - arrays()["cfr"]) ** 2
        assert abs(10 * np.log10(file["error_variance"][()].mean() / error.mean())) < 3


def test_output_times_are_where_the_channel_is_wanted(tmp_path, chanest):
    given = arrays(n=2)
    del given["cfr"]
    path = write_arrays(tmp_path / "slots.h5", {**given, "output_times_s": TIMES[[0, 5]]})
    ran = chanest("estimate", "--input", path, "--output", tmp_path / "out.h5", "--plot", tmp_path / "one.png")
    assert ran.code == 0, ran.err
    assert "Doppler" in ran.out
    assert (tmp_path / "one.png").stat().st_size > 10_000
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["cfr"].shape == (2, 2, 2, 600)
    said = chanest("info", path).out
    assert "120 pilots" in said
    assert "on 2 OFDM symbols" in said
    assert "of 2 symbols" in said
    assert "Doppler" in chanest("info", tmp_path / "out.h5").out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"symbol_times_s": None}, "symbol_times_s: missing"),
        ({"pilot_symbol_index": None}, "pilot_symbol_index: missing"),
        ({"pilot_symbol_index": np.full(120, 20)}, "as there are times"),
        ({"pilot_symbol_index": np.zeros(120)}, "stands there more than once"),
        ({"symbol_times_s": -TIMES}, "expected finite times that ascend"),
        ({"cfr": np.zeros((4, 2, 13, 600), complex)}, "expected shape (4, 2, 14, 600), got (4, 2, 13, 600)"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, chanest, changes, said):
    given = {name: value for name, value in {**arrays(), **changes}.items() if value is not None}
    path = write_arrays(tmp_path / "slots.h5", given)
    assert_refused(chanest("estimate", "--input", path), said)


def test_other_algorithms_say_that_they_take_one_symbol(tmp_path, chanest):
    path = write_arrays(tmp_path / "slots.h5", arrays())
    assert_refused(chanest("estimate", "--input", path, "--algorithm", "omp"), "takes one symbol at a time")
    assert_refused(
        chanest("estimate", "--input", path, "--output", tmp_path / "o.h5", "--paths"), "there are no iterates, paths"
    )
