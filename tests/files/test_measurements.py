"""The file of received pilots: every format and layout means the same, mistakes are named with file and index."""

import re

import h5py
import numpy as np
import pytest
import torch
from conftest import FORMATS, write_arrays, write_format
from hypothesis import given, settings
from hypothesis import strategies as st

import chanest
from chanest import Model, PilotPattern, load_model, load_scenario
from chanest.algorithms import ISTA
from chanest.errors import ChanestError, FileError, ObservationError, PilotError
from chanest.evaluation import estimate_file
from chanest.files import ArrayReader, ArrayWriter, open_measurements, write_measurements

CPU = torch.device("cpu")


def whole(path, rows=10**6):
    """All chunks of a file, joined: observations, noise variance, cir, cfr."""
    with open_measurements(path) as pilots:
        chunks = list(pilots.chunks(rows))
    columns = zip(
        *((c.observations, c.noise_variance, c.truth.get("cir"), c.truth.get("cfr")) for c in chunks), strict=True
    )
    return [None if column[0] is None else torch.cat(column) for column in columns]


def estimates(path, model, output):
    """What estimate_file writes, and its score."""
    with open_measurements(path) as pilots, ArrayWriter(output, force=True) as writer:
        score = estimate_file(pilots, model, CPU, output=writer)
    with ArrayReader(output) as reader:
        return {name: reader.read(name) for name in reader.names()}, score


@pytest.fixture(scope="module")
def model(small_models):
    return load_model(small_models["na-alista"])


# what the file means ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (6,), (2, 3, 4)])
def test_all_formats_give_the_same_estimates_and_score(tmp_path, pilot_arrays, model, batch):
    arrays = pilot_arrays(batch)
    arrays["noise_variance"] = np.full(batch, 0.1)
    truth = arrays["cfr"]
    found = [estimates(write_format(tmp_path, format, arrays), model, tmp_path / "out.h5") for format in FORMATS]
    for fields, score in found:
        assert fields["cfr"].shape == (*batch, 600)
        assert fields["cir"].shape == (*batch, 256)
        assert fields["used_subcarriers"].tolist() == model.scenario.used_subcarriers.tolist()
        assert fields["first_tap_samples"] == 0
        np.testing.assert_allclose(fields["cfr"], found[0][0]["cfr"], atol=1e-5)
        error = np.sum(np.abs(fields["cfr"] - truth) ** 2) / np.sum(np.abs(truth) ** 2)
        assert score.nmse_db["cfr"] == pytest.approx(10 * np.log10(error), abs=1e-3)
        assert score.nmse_db["cir"] == pytest.approx(found[0][1].nmse_db["cir"], abs=1e-3)


@pytest.mark.parametrize("suffix", [".npz", ".mat"])
def test_estimates_are_the_same_in_every_output_format(tmp_path, pilot_arrays, model, suffix):
    source = write_arrays(tmp_path / "pilots.h5", pilot_arrays((2, 3)))
    expected, _ = estimates(source, model, tmp_path / "out.h5")
    found, _ = estimates(source, model, tmp_path / f"out{suffix}")
    for name in ("cir", "cfr"):
        np.testing.assert_array_equal(found[name], expected[name])
    assert found["used_subcarriers"].reshape(-1).tolist() == expected["used_subcarriers"].tolist()
    with ArrayReader(tmp_path / f"out{suffix}") as reader:
        assert reader.text("model") == "small-na-alista"
        assert reader.text("algorithm") == "na-alista"
        assert reader.text("model_scenario") == "lte10"
        assert reader.text("chanest_version")


def test_double_precision_is_kept(tmp_path, pilot_arrays, model):
    arrays = pilot_arrays()
    arrays["received_pilots"] = arrays["received_pilots"].astype(complex)
    found, _ = estimates(write_arrays(tmp_path / "pilots.h5", arrays), model, tmp_path / "out.h5")
    assert found["cfr"].dtype == np.complex128


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(20)))
def test_the_order_of_the_pilots_does_not_matter(tmp_path_factory, pilot_arrays, order):
    folder = tmp_path_factory.mktemp("order")
    arrays = pilot_arrays()
    arrays["pilot_symbols"] = np.exp(1j * np.arange(20))
    shuffled = dict(arrays)
    for name in ("pilot_subcarriers", "received_pilots", "pilot_symbols"):
        shuffled[name] = arrays[name][..., order]
    expected = whole(write_arrays(folder / "a.npz", arrays))[0]
    assert torch.equal(whole(write_arrays(folder / "b.npz", shuffled))[0], expected)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("symbols", [2j, np.array([2j]), 2 * np.exp(1j * np.arange(20)), -2.0 * np.ones(20)])
def test_pilot_symbols_are_divided_out_of_pilots_and_noise(tmp_path, pilot_arrays, format, symbols):
    arrays = pilot_arrays()
    sent = {**arrays, "received_pilots": arrays["received_pilots"] * symbols, "pilot_symbols": symbols}
    sent["noise_variance"] = np.arange(6) + 1.0
    observations, noise, *_ = whole(write_format(tmp_path, format, sent))
    np.testing.assert_allclose(observations, arrays["received_pilots"], atol=1e-6)
    np.testing.assert_allclose(noise, (np.arange(6) + 1) / 4, rtol=1e-6)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("batch", [(), (6,), (2, 3)])
@pytest.mark.parametrize("single", [True, False])
def test_noise_variance_is_a_number_or_one_per_observation(tmp_path, pilot_arrays, format, batch, single):
    variance = np.array(0.25) if single else np.arange(np.prod(batch)).reshape(batch)
    arrays = {**pilot_arrays(batch), "noise_variance": variance}
    noise = whole(write_format(tmp_path, format, arrays), rows=4)[1]
    assert noise.dtype == torch.float64
    np.testing.assert_array_equal(noise, np.broadcast_to(variance, batch).reshape(-1))


@pytest.mark.parametrize("name", ["received_pilots", "cir", "cfr"])
def test_a_single_observation_may_be_a_row_or_a_column(tmp_path, pilot_arrays, name):
    arrays = pilot_arrays(())
    expected = whole(write_arrays(tmp_path / "a.mat", arrays))
    column = {**arrays, name: arrays[name][:, None]}
    for format in (".mat", "v7.3"):
        found = whole(write_format(tmp_path, format, column))
        for a, b in zip(found, expected, strict=True):
            assert a is b is None or torch.equal(a.to(torch.complex64), b.to(torch.complex64))


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_a_batch_of_one_stays_a_batch(tmp_path, pilot_arrays, model, suffix):
    source = write_arrays(tmp_path / f"pilots{suffix}", pilot_arrays((1,)))
    assert estimates(source, model, tmp_path / "out.h5")[0]["cfr"].shape == (1, 600)


@pytest.mark.parametrize(
    ("truth", "cir_known", "cfr_known"), [((), False, False), (("cir",), True, True), (("cfr",), False, True)]
)
def test_nmse_needs_only_part_of_the_truth(tmp_path, pilot_arrays, model, truth, cir_known, cfr_known):
    both = estimates(write_arrays(tmp_path / "both.npz", pilot_arrays()), model, tmp_path / "out.h5")[1]
    path = write_arrays(tmp_path / "part.npz", pilot_arrays(truth=truth))
    score = estimates(path, model, tmp_path / "out.h5")[1]
    assert set(score.nmse_db) == {name for name, known in (("cir", cir_known), ("cfr", cfr_known)) if known}
    assert score.nmse_db == {name: pytest.approx(both.nmse_db[name], abs=1e-3) for name in score.nmse_db}


def test_a_true_cir_may_begin_before_zero_delay(tmp_path, pilot_arrays, model):
    arrays = pilot_arrays(truth=("cir",))
    expected = estimates(write_arrays(tmp_path / "a.npz", arrays), model, tmp_path / "out.h5")[1]
    padded = {**arrays, "cir": np.pad(arrays["cir"], ((0, 0), (8, 0))), "first_tap_samples": -8}
    score = estimates(write_arrays(tmp_path / "b.npz", padded), model, tmp_path / "out.h5")[1]
    assert score.nmse_db["cir"] == pytest.approx(expected.nmse_db["cir"], abs=1e-3)
    assert score.nmse_db["cfr"] == pytest.approx(expected.nmse_db["cfr"], abs=1e-3)


def test_all_zero_observations_give_a_zero_channel(tmp_path, pilot_arrays, model):
    arrays = {name: 0 * v if name != "pilot_subcarriers" else v for name, v in pilot_arrays().items()}
    found, score = estimates(write_arrays(tmp_path / "zero.npz", arrays), model, tmp_path / "out.h5")
    assert not found["cir"].any()
    assert not found["cfr"].any()
    assert score.nmse_db == {}


def test_a_streamed_file_gives_what_loading_whole_gives(tmp_path, pilot_arrays):
    model = Model(ISTA(n_iterations=1), load_scenario("lte10"))
    arrays = pilot_arrays((500,), truth=())
    arrays["received_pilots"] = np.tile(arrays["received_pilots"], (40, 1)) * np.linspace(1, 2, 20_000)[:, None]
    arrays["received_pilots"] = arrays["received_pilots"].astype(np.complex64)
    found, _ = estimates(write_arrays(tmp_path / "many.h5", arrays), model, tmp_path / "out.h5")
    with torch.inference_mode():
        pattern = PilotPattern(tuple(arrays["pilot_subcarriers"]))
        at_once = model.estimate(torch.from_numpy(arrays["received_pilots"]), pattern)
    np.testing.assert_allclose(found["cir"], at_once.cir, atol=1e-5)


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".mat"])
def test_a_simulation_reads_back_as_it_was_drawn(tmp_path, suffix):
    scenario = load_scenario("lte10").replace(n_pilots=30)
    pattern = PilotPattern.random(30, seed=0)
    path = tmp_path / f"simulated{suffix}"
    write_measurements(path, scenario, pattern, scenario.simulate(pattern, 600, 0), 600, 0)
    drawn = list(scenario.simulate(pattern, 600, 0))
    observations, noise, cir, cfr = whole(path)
    torch.testing.assert_close(observations, torch.cat([d.observations for d in drawn]))
    torch.testing.assert_close(noise.float(), torch.cat([d.noise_variance for d in drawn]))
    torch.testing.assert_close(cir.to(torch.complex64), torch.cat([d.truth["cir"] for d in drawn]))
    torch.testing.assert_close(cfr.to(torch.complex64), torch.cat([d.truth["cfr"] for d in drawn]))
    with open_measurements(path) as pilots:
        assert (pilots.scenario_name, pilots.sensing) == ("lte10", pattern)


def test_a_simulation_on_another_band_reads_back(tmp_path):
    lte10 = load_scenario("lte10")
    narrow = lte10.replace(name="narrow", n_fft=512, n_used=300, n_pilots=20)
    pattern = PilotPattern.random(20, 0, narrow.grid)
    write_measurements(tmp_path / "x.h5", narrow, pattern, narrow.simulate(pattern, 3, 0), 3, 0)
    with open_measurements(tmp_path / "x.h5") as pilots:
        assert pilots.sensing == pattern
        assert next(pilots.chunks(3)).truth["cfr"].shape == (3, 300)


@pytest.mark.parametrize("n_used", [300, 640])
def test_a_file_is_estimated_on_the_band_that_it_declares(tmp_path, pilot_arrays, model, n_used):
    """The same pilots on another band: the same channel, where both bands have it."""
    arrays = pilot_arrays()
    inside = np.flatnonzero(np.abs(arrays["pilot_subcarriers"]) <= n_used // 2)
    for name in ("pilot_subcarriers", "received_pilots"):
        arrays[name] = arrays[name][..., inside]
    expected, _ = estimates(write_arrays(tmp_path / "lte.h5", {**arrays, "n_fft": 1024}), model, tmp_path / "out.h5")
    used = np.r_[-n_used // 2 : 0, 1 : n_used // 2 + 1]
    truth = np.fft.fft(arrays["cir"], 1024)[:, used]
    declared = {**arrays, "used_subcarriers": used, "cfr": truth, "n_fft": 1024}
    found, score = estimates(write_arrays(tmp_path / "own.h5", declared), model, tmp_path / "own-out.h5")
    assert found["used_subcarriers"].tolist() == used.tolist()
    assert found["cfr"].shape == (6, n_used)
    here, there = np.isin(used, expected["used_subcarriers"]), np.isin(expected["used_subcarriers"], used)
    np.testing.assert_allclose(found["cfr"][:, here], expected["cfr"][:, there], atol=1e-5)
    error = np.sum(np.abs(found["cfr"] - truth) ** 2) / np.sum(np.abs(truth) ** 2)
    assert score.nmse_db["cfr"] == pytest.approx(10 * np.log10(error), abs=1e-3)


@pytest.mark.parametrize("format", FORMATS)
def test_the_scenario_of_a_file_is_read_in_every_format(tmp_path, pilot_arrays, format):
    with open_measurements(write_format(tmp_path, format, {**pilot_arrays(), "scenario": "lte10"})) as pilots:
        assert pilots.scenario_name == "lte10"


# mistakes ---------------------------------------------------------------------------------------------------


def changed(**fields):
    return lambda arrays: {**arrays, **fields}


def without(name):
    return lambda arrays: {other: values for other, values in arrays.items() if other != name}


def subcarriers(*values):
    """A file of other pilots: as many received ones as subcarriers."""
    return changed(pilot_subcarriers=np.array(values), received_pilots=np.ones((6, len(values)), complex))


def within(used, *values):
    """The same in a band."""
    return lambda arrays: {
        **without("cfr")(without("cir")(subcarriers(*values)(arrays))),
        "used_subcarriers": used,
        "n_fft": 1024,
    }


def poked_valid(row):
    valid = np.ones((6, 20), bool)
    valid[row] = False
    return changed(pilot_valid=valid)


def poked(name, index, value):
    def change(arrays):
        copy = arrays[name].copy()
        copy[index] = value
        return {**arrays, name: copy}

    return change


BAD = {
    "no pilots": (without("received_pilots"), FileError, "received_pilots: missing; the file has cfr, cir, pilot_sub"),
    "no subcarriers": (without("pilot_subcarriers"), FileError, "pilot_subcarriers: missing"),
    "one pilot": (subcarriers(5), PilotError, "expected at least 2 of them, got 1"),
    "no pilot": (subcarriers(), PilotError, "expected at least 2 of them, got 0"),
    "601 pilots": (
        subcarriers(*range(-300, 302)),
        PilotError,
        "n_fft: expected the DFT length beside pilots in -300...301",
    ),
    "outside": (
        subcarriers(7, 301, -4),
        PilotError,
        "n_fft: expected the DFT length beside pilots in -4...301; give it",
    ),
    "far outside": (
        subcarriers(7.0, 1e300),
        PilotError,
        "n_fft: expected the DFT length beside pilots in 7...2147483648",
    ),
    "wrapping": (subcarriers(np.uint64(7), np.uint64(2**63)), PilotError, "pilots in 7...2147483648"),
    "on DC": (within(np.r_[-300:0, 1:301], 7, -4, 0), PilotError, "[2]: 0 is on DC"),
    "duplicated": (subcarriers(7, -4, 7), PilotError, "7 stands there more than once"),
    "between": (subcarriers(7, -4.5), PilotError, "expected whole numbers"),
    "complex subcarriers": (subcarriers(7, 4j), ObservationError, "pilot_subcarriers: expected whole numbers"),
    "named subcarriers": (changed(pilot_subcarriers=np.array([b"a"] * 20)), ObservationError, "expected numbers"),
    "NaN subcarrier": (subcarriers(7, np.nan), ObservationError, "pilot_subcarriers[1]: NaN or Inf"),
    "patterns": (changed(pilot_subcarriers=np.ones((6, 20))), ObservationError, "expected a vector, got shape (6, 20)"),
    "shape": (
        changed(received_pilots=np.ones((6, 19), complex)),
        ObservationError,
        "received_pilots: expected shape (*batch, 20) for 20 pilot subcarriers, got (6, 19)",
    ),
    "transposed": (changed(received_pilots=np.ones((20, 6), complex)), ObservationError, "got (20, 6)"),
    "nothing": (changed(received_pilots=np.ones((0, 20), complex)), ObservationError, "got shape (0, 20)"),
    "number": (changed(received_pilots=np.ones((), complex)), ObservationError, "expected shape (*batch, 20)"),
    "real": (changed(received_pilots=np.ones((6, 20))), ObservationError, "expected complex numbers, got float64"),
    "whole": (changed(received_pilots=np.ones((6, 20), int)), ObservationError, "expected complex numbers, got int64"),
    "text": (changed(received_pilots=np.full((6, 20), b"1+2j")), ObservationError, "expected complex numbers, got <U4"),
    "NaN": (poked("received_pilots", (4, 13), np.nan), ObservationError, "received_pilots[4, 13]: NaN or Inf"),
    "Inf": (poked("received_pilots", (0, 2), complex(0, np.inf)), ObservationError, "received_pilots[0, 2]: NaN"),
    "NaN cir": (poked("cir", (5, 255), np.nan), ObservationError, "cir[5, 255]: NaN or Inf"),
    "NaN cfr": (poked("cfr", (2, 0), np.inf), ObservationError, "cfr[2, 0]: NaN or Inf"),
    "cir batch": (changed(cir=np.ones((5, 256))), ObservationError, "cir: expected shape (6, 1...1024), got (5, 256)"),
    "long cir": (changed(cir=np.ones((6, 1025))), ObservationError, "cir: expected shape (6, 1...1024)"),
    "short cfr": (changed(cfr=np.ones((6, 599))), ObservationError, "cfr: expected shape (6, 600), got (6, 599)"),
    "text cfr": (changed(cfr=np.full((6, 600), b"x")), ObservationError, "cfr: expected numbers, got <U1"),
    "two symbols": (
        changed(pilot_symbols=np.ones(2)),
        ObservationError,
        "pilot_symbols: expected 1 or 20 of them, got 2",
    ),
    "zero symbol": (changed(pilot_symbols=np.r_[0, np.ones(19)]), ObservationError, "numbers other than zero"),
    "layers": (
        changed(pilot_symbols=np.ones((2, 19))),
        ObservationError,
        "expected (n_layers, 20) of them",
    ),
    "validity": (changed(pilot_valid=np.ones((6, 19), bool)), ObservationError, "expected shape (6, 20) or (20,)"),
    "invalid": (poked_valid(3), ObservationError, "pilot_valid[3]: expected at least one valid pilot"),
    "snapshots": (changed(snapshot_axes=2), ObservationError, "snapshot_axes: expected 0...1, got 2"),
    "spacing": (changed(subcarrier_spacing_hz=-15e3), ObservationError, "expected a positive number of Hz, got -15000"),
    "noise of pilots": (
        changed(noise_variance=-np.ones((6, 20))),
        ObservationError,
        "noise_variance[0, 0]: expected a finite number from 0 on, found -1",
    ),
    "NaN symbol": (
        changed(pilot_symbols=np.r_[np.ones(19), np.nan]),
        ObservationError,
        "pilot_symbols[19]: NaN or Inf",
    ),
    "huge quotient": (changed(pilot_symbols=1e-300), ObservationError, "received_pilots / pilot_symbols[0, 0]: NaN"),
    "noise shape": (
        changed(noise_variance=np.ones(5)),
        ObservationError,
        "expected a number, shape (6,) or (6, 20)",
    ),
    "noise kind": (
        changed(noise_variance=1j),
        ObservationError,
        "noise_variance: expected real numbers, got complex128",
    ),
    "negative noise": (
        changed(noise_variance=np.r_[1, 1, -1, 1, 1, 1]),
        ObservationError,
        "noise_variance[2]: expected a finite number from 0 on, found -1",
    ),
    "NaN noise": (
        changed(noise_variance=np.nan),
        ObservationError,
        "noise_variance: expected a finite number from 0 on, found nan",
    ),
    "short FFT": (changed(n_fft=100), PilotError, "expected them within n_fft = 100 of each other"),
    "half an FFT": (changed(n_fft=1024.5), ObservationError, "n_fft: expected one whole number, got [1024.5]"),
    "many FFTs": (changed(n_fft=[512, 1024]), ObservationError, "n_fft: expected one whole number, got [512, 1024]"),
    "far tap": (
        changed(first_tap_samples=5000),
        ObservationError,
        "first_tap_samples: expected -1023...1023, got 5000",
    ),
    "odd band": (
        changed(used_subcarriers=np.arange(600)),
        PilotError,
        "is outside the band 0...599",
    ),
}


@pytest.mark.parametrize(("change", "error", "said"), BAD.values(), ids=BAD)
def test_mistakes_name_the_file_the_field_and_what_is_wrong(tmp_path, pilot_arrays, change, error, said):
    arrays = change(pilot_arrays())
    for path in (tmp_path / "pilots.npz", tmp_path / "pilots.h5"):
        with pytest.raises(error, match=re.escape(said)) as raised:
            whole(write_arrays(path, arrays))
        assert str(raised.value).startswith(f"{path}: ")


@pytest.mark.parametrize("format", FORMATS)
def test_the_first_bad_index_is_that_of_the_whole_batch(tmp_path, pilot_arrays, format):
    arrays = poked("received_pilots", (1, 2, 3, 7), np.inf)(pilot_arrays((2, 3, 4)))
    path = write_format(tmp_path, format, arrays)
    for rows in (1, 4, 10**6):
        with pytest.raises(ObservationError, match=re.escape("received_pilots[1, 2, 3, 7]: NaN or Inf")):
            whole(path, rows)


def test_the_bad_index_is_that_of_the_file_even_when_pilots_are_unsorted(tmp_path, pilot_arrays):
    arrays = poked("received_pilots", (3, 0), np.nan)(pilot_arrays())
    for name in ("pilot_subcarriers", "received_pilots"):
        arrays[name] = arrays[name][..., ::-1]
    with pytest.raises(ObservationError, match=re.escape("received_pilots[3, 19]")):
        whole(write_arrays(tmp_path / "x.npz", arrays))


def test_a_bad_value_in_a_later_chunk_writes_nothing(tmp_path, pilot_arrays, model):
    arrays = pilot_arrays((1200,), truth=())
    arrays["received_pilots"][1100, 4] = np.nan
    source = write_arrays(tmp_path / "x.h5", arrays)
    with pytest.raises(ObservationError, match=re.escape("received_pilots[1100, 4]: NaN or Inf")):
        estimates(source, model, tmp_path / "out.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5"]


def test_only_the_ratio_of_subcarriers_and_dft_length_counts(tmp_path, pilot_arrays, model):
    """Every second subcarrier of twice the DFT length is the same channel, on taps twice as dense."""
    arrays = without("cir")(pilot_arrays())
    wide = {**arrays, "pilot_subcarriers": 2 * arrays["pilot_subcarriers"], "n_fft": 2048}
    wide["used_subcarriers"] = 2 * np.r_[-300:0, 1:301]
    _, plain = estimates(write_arrays(tmp_path / "x.npz", arrays), model, tmp_path / "out.h5")
    found, score = estimates(write_arrays(tmp_path / "y.npz", wide), model, tmp_path / "wide.h5")
    assert found["cir"].shape == (6, 512)
    assert abs(score.nmse_db["cfr"] - plain.nmse_db["cfr"]) < 3


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("of_pilots", [True, False])
def test_the_whole_contract_gives_what_python_gives(tmp_path, format, of_pilots):
    """Unsorted pilots over DC, two layers, antennas, noise and validity per pilot, a small DFT."""
    rng = np.random.default_rng(0)
    pilots, used = rng.permutation(np.arange(-28, 29))[:40], np.arange(-30, 31)
    symbols = np.exp(1j * rng.uniform(0, 6, (2, 40))) * np.array([[1.0], [2.0]])
    received = rng.normal(size=(3, 2, 40, 2)).view(complex)[..., 0].astype(np.complex64)
    noise = rng.uniform(0.1, 0.2, (3, 1, 40)) if of_pilots else rng.uniform(0.1, 0.2, (3, 2))
    valid = rng.random((3, 2, 40)) < 0.9
    told = {"noise_variance": noise, "pilot_symbols": symbols, "pilot_valid": valid}
    fields = {"pilot_subcarriers": pilots, "received_pilots": received, "n_fft": 64, "used_subcarriers": used}
    truth = rng.normal(size=(3, 2, 2, 61, 2)).view(complex)[..., 0]
    path = write_format(tmp_path, format, {**fields, **told, "snapshot_axes": 1, "cfr": truth})
    found, score = estimates(path, load_model("na-sbl-wide"), tmp_path / "out.h5")
    expected = chanest.estimate(received, pilots, n_fft=64, used_subcarriers=used, snapshot_axes=1, **told)
    np.testing.assert_allclose(found["cfr"], expected.cfr, rtol=1e-4, atol=1e-5)
    assert found["cfr"].shape == (3, 2, 2, 61)
    for name in ("noise_variance", "snr_db", "timing_samples", "detected"):
        assert found[name].shape == (3, 2)
        np.testing.assert_allclose(found[name], getattr(expected, name), rtol=1e-4)
    assert found["first_tap_samples"] == expected.first_tap_samples
    assert found["tap_spacing_samples"] == expected.tap_spacing_samples
    error = np.sum(np.abs(expected.cfr - truth) ** 2) / np.sum(np.abs(truth) ** 2)
    assert score.nmse_db["cfr"] == pytest.approx(10 * np.log10(error), abs=1e-3)


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".mat"])
def test_rows_may_grow(tmp_path, suffix):
    with ArrayWriter(tmp_path / f"x{suffix}") as file:
        for row, width in enumerate((2, 1, 3)):
            file.write_rows("x", (3, width), (slice(row, row + 1),), np.full((1, width), row + 1.0), np.nan)
    with ArrayReader(tmp_path / f"x{suffix}") as file:
        np.testing.assert_array_equal(file.read("x"), [[1, 1, np.nan], [2, np.nan, np.nan], [3, 3, 3]])


@pytest.mark.parametrize("rows", [1, 2, 5, 100])
def test_snapshots_of_a_channel_stay_in_one_chunk(tmp_path, rows):
    """And what they have in common comes once for each."""
    rng = np.random.default_rng(0)
    pilots, received = np.arange(-300, 300, 12), rng.normal(size=(5, 3, 50, 2)).view(complex)[..., 0]
    fields = {"pilot_subcarriers": pilots, "received_pilots": received, "n_fft": 1024, "snapshot_axes": 1}
    with open_measurements(write_arrays(tmp_path / "x.h5", fields)) as file:
        chunks = list(file.chunks(rows))
    assert {chunk.observations.shape[1:] for chunk in chunks} == {(3, 50)}
    np.testing.assert_array_equal(torch.cat([chunk.observations for chunk in chunks]), received)
    found, _ = estimates(tmp_path / "x.h5", load_model("na-sbl-wide"), tmp_path / "out.h5")
    assert found["timing_samples"].shape == (5,)
    assert found["cfr"].shape[:2] == (5, 3)


def test_estimates_are_no_pilots(tmp_path, pilot_arrays, model):
    estimates(write_arrays(tmp_path / "x.npz", pilot_arrays()), model, tmp_path / "out.h5")
    with pytest.raises(FileError, match=r"out\.h5: pilot_subcarriers: missing; the file has cfr, cir"):
        open_measurements(tmp_path / "out.h5")


def test_a_refused_file_is_closed_again(tmp_path, pilot_arrays):
    path = write_arrays(tmp_path / "x.h5", without("received_pilots")(pilot_arrays()))
    with pytest.raises(ChanestError):
        open_measurements(path)
    with h5py.File(path, "a"):
        pass
