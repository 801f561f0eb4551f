"""Files of named arrays: every format reads back, damaged ones are refused, writing is all or nothing."""

import errno

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from conftest import FORMATS, write_arrays, write_format
from hypothesis import given
from hypothesis import strategies as st

from chanest.errors import FileError
from chanest.files import ArrayReader, ArrayWriter, check_output
from chanest.files import arrays as arrayfile
from chanest.files.arrays import row_slices

RNG = np.random.default_rng(0)
BATCH = RNG.standard_normal((2, 3, 4)) + 1j * RNG.standard_normal((2, 3, 4))
SUFFIXES = (".h5", ".npz", ".mat")


@given(st.lists(st.integers(0, 6), max_size=4).map(tuple), st.integers(1, 40))
def test_row_slices_cover_every_entry_once_in_order(shape, limit):
    numbers = np.arange(int(np.prod(shape))).reshape(shape)
    pieces = [numbers[at].reshape(-1) for at in row_slices(shape, limit)]
    assert all(piece.size <= limit for piece in pieces)
    np.testing.assert_array_equal(np.concatenate([np.empty(0), *pieces]), numbers.reshape(-1))


@pytest.mark.parametrize("format", FORMATS)
def test_arrays_read_back_in_our_axis_order_whole_and_in_slices(tmp_path, format):
    path = write_format(tmp_path, format, {"batch": BATCH, "real": BATCH.real})
    with ArrayReader(path) as reader:
        assert reader.names() == ["batch", "real"]
        assert reader.shape("batch") == (2, 3, 4)
        np.testing.assert_array_equal(reader.read("batch"), BATCH)
        np.testing.assert_array_equal(reader.read("real"), BATCH.real)
        at = (slice(1, 2), slice(0, 2))
        np.testing.assert_array_equal(reader.read("batch", at), BATCH[at])


@pytest.mark.parametrize("kind", ["<f2", ">f4", "<f8", "<i2"])
@pytest.mark.parametrize("names", [("r", "i"), ("Real", "Imag"), ("imag", "real")])
def test_compounds_of_two_parts_are_complex_without_warnings(tmp_path, kind, names):
    parts = np.zeros(3, [(name, kind) for name in names])
    for name, value in zip(names, (1, 2), strict=True):
        parts[name] = value
    with ArrayReader(write_arrays(tmp_path / "x.h5", {"x": parts})) as reader:
        values = reader.read("x")
    assert values.dtype.kind == "c"
    assert set(values) == {2 + 1j if names[0] == "imag" else 1 + 2j}


def test_infinite_parts_stay_what_they_are(tmp_path):
    path = write_format(tmp_path, "v7.3", {"x": np.array([complex(1, np.inf)])})
    with ArrayReader(path) as reader:
        assert reader.read("x").reshape(()).item() == complex(1, np.inf)


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_foreign_byte_orders_become_native(tmp_path, suffix):
    with ArrayReader(write_arrays(tmp_path / f"x{suffix}", {"x": np.arange(3, dtype=">c16")})) as reader:
        assert reader.read("x").dtype == np.dtype("c16")


def test_matlabs_empty_arrays_count_as_absent(tmp_path):
    plain = write_arrays(tmp_path / "v5.mat", {"x": np.ones(2), "cir": np.zeros((0, 0))})
    modern = write_format(tmp_path, "v7.3", {"x": np.ones(2)})
    with h5py.File(modern, "a") as file:
        file["cir"] = np.zeros(2, np.uint64)
        file["cir"].attrs["MATLAB_empty"] = np.uint8(1)
        file["nothing"] = h5py.Empty("f8")
    for path in (plain, modern):
        with ArrayReader(path) as reader:
            assert reader.names() == ["x"]


def test_matlabs_sparse_arrays_are_read_dense(tmp_path):
    with ArrayReader(write_arrays(tmp_path / "x.mat", {"x": scipy.sparse.eye(3, format="csc")})) as reader:
        np.testing.assert_array_equal(reader.read("x"), np.eye(3))


@pytest.mark.parametrize("format", FORMATS)
def test_text_is_read_from_arrays_and_attributes(tmp_path, format):
    path = write_format(tmp_path, format, {"x": np.ones(2), "scenario": "lte10"})
    with ArrayReader(path) as reader:
        assert reader.text("scenario") == "lte10"
        assert reader.text("absent") is None
        with pytest.raises(FileError, match="x: expected text, found"):
            reader.text("x")
    if format == ".h5":
        with h5py.File(path, "a") as file:
            file.attrs["fixed"], file.attrs["strange"] = np.bytes_("wide"), [1, 2]
        with ArrayReader(path) as reader:
            assert reader.text("fixed") == "wide"
            with pytest.raises(FileError, match=r"strange: expected text, found \[1, 2\]"):
                reader.text("strange")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.99])
def test_truncated_files_are_refused(tmp_path, format, kept):
    path = write_format(tmp_path, format, {"a": BATCH, "b": RNG.standard_normal(2000)})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(FileError, match=path.name):
        ArrayReader(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"", "an empty file"),
        (b"subcarrier,real,imag\n" * 40, "something else|not a readable"),
    ],
)
def test_missing_empty_and_text_files_are_refused(tmp_path, suffix, content, said):
    path = tmp_path / f"pilots{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError, match=rf"pilots{suffix}: .*({said})"):
        ArrayReader(path)


def test_folders_and_unknown_suffixes_are_refused(tmp_path):
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "pilots.csv").write_text("1,2")
    with pytest.raises(FileError, match="found a folder"):
        ArrayReader(tmp_path / "folder.h5")
    with pytest.raises(FileError, match=r"ending in .h5, .npz, .mat, found pilots.csv"):
        ArrayReader(tmp_path / "pilots.csv")


def test_pickles_in_npz_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.array([{}], dtype=object))
    with pytest.raises(FileError, match=r"x\.npz"):
        ArrayReader(tmp_path / "x.npz")


def test_a_damaged_chunk_is_named(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=RNG.standard_normal(1000), chunks=(1000,), compression="gzip")
        at = file["x"].id.get_chunk_info(0).byte_offset
    damaged = bytearray(path.read_bytes())
    damaged[at : at + 50] = bytes(50)
    path.write_bytes(damaged)
    with ArrayReader(path) as reader, pytest.raises(FileError, match=r"x\.h5: x: damaged"):
        reader.read("x")


@pytest.mark.parametrize("suffix", [".npz", ".mat"])
def test_files_too_large_to_load_whole_are_refused(tmp_path, monkeypatch, suffix):
    path = write_arrays(tmp_path / f"big{suffix}", {"x": np.zeros((100, 100), complex)})
    monkeypatch.setattr(arrayfile, "WHOLE_FILE_LIMIT", 100_000)
    with pytest.raises(FileError, match=rf"big{suffix}: 0.000149 GiB, .* at most .*; store it as .h5"):
        ArrayReader(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_written_one_by_one_read_back(tmp_path, suffix):
    with ArrayWriter(tmp_path / f"x{suffix}") as writer:
        writer.header({"model": "a model"}, {"numbers": np.arange(5)})
        for at in row_slices((2, 3), 2):
            writer.write_rows("batch", (2, 3, 4), at, BATCH[at])
        assert not (tmp_path / f"x{suffix}").exists()
    assert [path.name for path in tmp_path.iterdir()] == [f"x{suffix}"]
    with ArrayReader(tmp_path / f"x{suffix}") as reader:
        np.testing.assert_array_equal(reader.read("batch"), BATCH)
        assert reader.text("model") == "a model"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt(), FileError("x"), OSError(errno.ENOSPC, "No space left")])
def test_a_failure_while_writing_leaves_what_was_there(tmp_path, suffix, old, failure):
    path = tmp_path / f"x{suffix}"
    if old:
        path.write_bytes(old)

    def fail():
        with ArrayWriter(path, force=True) as writer:
            writer.header({}, {"x": np.arange(3)})
            raise failure

    with pytest.raises(FileError if isinstance(failure, OSError) else type(failure)):
        fail()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({path.name: old} if old else {})


def test_a_full_disk_at_the_end_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    said = r"x\.npz: cannot be written \(No space left on device\)"
    with pytest.raises(FileError, match=said), ArrayWriter(tmp_path / "x.npz") as writer:
        writer.header({}, {"x": np.arange(3)})
    assert not list(tmp_path.iterdir())


def test_a_name_too_long_for_the_temporary_file_is_a_file_error(tmp_path):
    with pytest.raises(FileError, match="cannot be written"), ArrayWriter(tmp_path / f"{'a' * 249}.h5"):
        pass


@pytest.mark.parametrize("suffix", [".npz", ".mat"])
def test_outputs_too_large_to_write_whole_are_refused(tmp_path, suffix):
    said = rf"cfr takes 4.47 GiB, too much for {suffix}.*\.h5"
    with pytest.raises(FileError, match=said), ArrayWriter(tmp_path / f"x{suffix}") as writer:
        writer.write_rows("cfr", (10**6, 600), (slice(0, 1),), np.zeros((1, 600), np.complex64))
    assert not list(tmp_path.iterdir())


def test_outputs_in_the_way_or_out_of_place_are_refused(tmp_path):
    (tmp_path / "there.h5").write_text("precious")
    (tmp_path / "folder.h5").mkdir()
    for name, force, said in (
        ("there.h5", False, "exists already; give --force"),
        ("folder.h5", False, "found a folder"),
        ("folder.h5", True, "found a folder"),
        ("nowhere/x.h5", False, "no folder"),
        ("there.h5/x.h5", True, "no folder"),
        ("x.csv", False, r"ending in .h5, .npz, .mat, found x.csv"),
    ):
        with pytest.raises(FileError, match=said):
            check_output(tmp_path / name, force)
    check_output(tmp_path / "there.h5", force=True)
    assert (tmp_path / "there.h5").read_text() == "precious"


def test_matlab_v5_files_that_we_write_open_in_scipy(tmp_path):
    with ArrayWriter(tmp_path / "x.mat") as writer:
        writer.header({"model": "m"}, {"used_subcarriers": np.arange(5)})
    loaded = scipy.io.loadmat(tmp_path / "x.mat", squeeze_me=True)
    assert loaded["used_subcarriers"].tolist() == [0, 1, 2, 3, 4]
    assert loaded["model"] == "m"
