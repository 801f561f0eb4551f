"""Files made to mislead: nothing that is there passes for absent, nothing small asks for much, nothing crashes."""

import os
import time
import zipfile

import h5py
import numpy as np
import pytest
import scipy.io
from child import MEBIBYTE, measurable, measured
from conftest import write_arrays, write_format

from chanest.errors import ChanestError, FileError
from chanest.files import open_measurements
from chanest.files.measurements import PilotFile


def linked_softly(file, name):
    file[name] = h5py.SoftLink("/nowhere")


def linked_outside(file, name):
    file[name] = h5py.ExternalLink("other.h5", "/x")


def linked_to_nothing_outside(file, name):
    file[name] = h5py.ExternalLink("missing.h5", "/x")


def linked_outside_by_way_of_another(file, name):
    file["way"] = h5py.ExternalLink("other.h5", "/")
    file[name] = h5py.SoftLink("/way/x")


def a_group(file, name):
    file.create_group(name)


def an_empty_dataspace(file, name):
    file[name] = h5py.Empty("f8")


def never_written(file, name):
    file.create_dataset(name, (20,), "f8", chunks=(5,))


def written_in_part(file, name):
    file.create_dataset(name, (20,), "f8", chunks=(5,))[:5] = 1


def virtual(file, name):
    layout = h5py.VirtualLayout((20,), "f8")
    layout[:] = h5py.VirtualSource("missing.h5", "x", (20,))
    file.create_virtual_dataset(name, layout)


def stored_outside(file, name):
    file.create_dataset(name, (20,), "u1", external=[("/etc/passwd", 0, 20)])


def a_struct(file, name):
    file[name] = np.zeros(20, [("a", "f4"), ("b", "i4"), ("c", "i4")])


def references(file, name):
    file.create_dataset(name, (20,), h5py.ref_dtype)[:] = [file.ref] * 20


DISGUISES = [
    linked_softly,
    linked_outside,
    linked_to_nothing_outside,
    linked_outside_by_way_of_another,
    a_group,
    an_empty_dataspace,
    never_written,
    written_in_part,
    virtual,
    stored_outside,
    a_struct,
    references,
]


def disguised(folder, arrays, disguise, name):
    """A file of pilots in which one field is there, but cannot be read."""
    write_arrays(folder / "other.h5", {"x": np.ones(20)})
    path = write_arrays(folder / "pilots.h5", {k: v for k, v in arrays.items() if k != name})
    with h5py.File(path, "a") as file:
        disguise(file, name)
    return path


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("name", [*PilotFile.known, "received_pilots", "pilot_subcarriers"])
def test_a_field_that_cannot_be_read_is_not_absent(tmp_path, pilot_arrays, disguise, name):
    path = disguised(tmp_path, pilot_arrays(), disguise, name)
    with pytest.raises(FileError, match=rf"pilots\.h5: {name}: "):
        open_measurements(path)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_phi_that_cannot_be_read_is_not_absent(tmp_path, pilot_arrays, disguise):
    """Else the file would pass for one of pilots."""
    path = disguised(tmp_path, pilot_arrays(), disguise, "phi")
    with pytest.raises(ChanestError, match=r"pilots\.h5: "):
        open_measurements(path)


def test_names_that_mean_nothing_may_be_anything(tmp_path, pilot_arrays):
    path = write_arrays(tmp_path / "pilots.h5", pilot_arrays())
    with h5py.File(path, "a") as file:
        for disguise in DISGUISES[:-1]:
            disguise(file, f"more {disguise.__name__}") if disguise is not linked_outside_by_way_of_another else None
        file.id.links.create_hard(b"bad \xff name", file.id, b"received_pilots")
        file.attrs["other"] = h5py.Empty("f4")
        h5py.h5a.create(file.id, b"bad \xff attribute", h5py.h5t.NATIVE_INT8, h5py.h5s.create(h5py.h5s.SCALAR))
    with open_measurements(path) as found:
        assert found.n_observations == 6


@pytest.mark.parametrize("value", ["many", np.nan, np.inf, [15e3, 15e3], b"\xff"])
@pytest.mark.parametrize("as_attribute", [False, True])
def test_a_spacing_that_is_no_number_is_not_absent(tmp_path, pilot_arrays, value, as_attribute):
    path = write_arrays(tmp_path / "pilots.h5", pilot_arrays())
    with h5py.File(path, "a") as file:
        (file.attrs if as_attribute else file)["subcarrier_spacing_hz"] = value
    with pytest.raises(FileError, match=r"pilots\.h5: subcarrier_spacing_hz: expected a"):
        open_measurements(path)


def test_structs_and_cells_of_matlab_are_no_fields(tmp_path, pilot_arrays):
    arrays = pilot_arrays()
    path = write_arrays(tmp_path / "a.mat", {**arrays, "pilot_symbols": {"x": 1.0}, "more": {"y": 2.0}})
    with pytest.raises(FileError, match=r"a\.mat: pilot_symbols: expected an array, found a struct"):
        open_measurements(path)
    with open_measurements(write_arrays(tmp_path / "b.mat", {**arrays, "more": {"y": np.ones(3)}})) as found:
        assert found.n_observations == 6


def test_a_scalar_is_no_observation(tmp_path):
    path = write_arrays(tmp_path / "y.h5", {"phi": np.ones((2, 3)), "observations": 1.0})
    with pytest.raises(ChanestError, match=r"y\.h5: observations: "):
        open_measurements(path)


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pilots.h5")
    with pytest.raises(FileError, match="found a device"):
        open_measurements(tmp_path / "pilots.h5")


# files that crash their libraries -----------------------------------------------------------------------------


def test_no_byte_of_a_matlab_file_crashes(tmp_path, pilot_arrays):
    """Those that crashed scipy, and some that do not."""
    path = write_format(tmp_path, ".mat", pilot_arrays(batch=(2,), n_pilots=4, truth=()))
    whole = path.read_bytes()
    for at in range(128, len(whole), 7):
        for value in (0, 255):
            damaged = bytearray(whole)
            damaged[at] = value
            path.write_bytes(damaged)
            try:
                with open_measurements(path) as found:
                    list(found.chunks(10))
            except ChanestError:
                pass


def crash(do):
    """As a library that a damaged file leads astray."""
    os.kill(os.getpid(), do)


@pytest.mark.parametrize("how", ["SIGSEGV", "SIGABRT", "SIGPROF", "exit"])
def test_a_crash_is_one_line_and_the_next_file_is_read(tmp_path, monkeypatch, pilot_arrays, how):
    from chanest.parsers import reader

    path = write_arrays(tmp_path / "pilots.h5", pilot_arrays())
    with open_measurements(path) as before:
        first = next(before.chunks(10)).observations
        code = "import os, signal; " + (f"os.kill(os.getpid(), signal.{how})" if how != "exit" else "os._exit(3)")
        process = reader._Process()
        script = tmp_path / "child.py"
        script.write_text(f"import sys; sys.stdin.buffer.readline(); {code}")
        with monkeypatch.context() as patch:
            patch.setattr(reader, "_process", process)
            patch.setattr(reader, "__file__", str(tmp_path / "reader.py"))
            said = "takes too long" if how == "SIGPROF" else "ends early" if how == "exit" else f"ends with {how}"
            with pytest.raises(FileError, match=rf"pilots\.h5: damaged or truncated HDF5 \(.*{said}"):
                open_measurements(path)
        reader._process.stop()  # as after a crash: the file is opened again
        assert np.array_equal(next(before.chunks(10)).observations, first)


# small files that ask for much --------------------------------------------------------------------------------


def huge(name, shape, dtype="f8", **more):
    """A file of pilots in which one field is large, in few bytes."""

    def write(path, arrays):
        path = path.with_suffix(".h5")
        write_arrays(path, {k: v for k, v in arrays.items() if k != name})
        with h5py.File(path, "a") as file:
            file.create_dataset(name, shape, dtype, **{"chunks": tuple(min(n, 1000) for n in shape), **more})
        return path

    return write


def header_alone(path, arrays):
    """An array that says it is large, and has no numbers."""
    path = path.with_suffix(".npz")
    np.savez(path, **arrays)
    with zipfile.ZipFile(path, "a") as archive, archive.open("x.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**10,)})
    return path


def compressed_struct(path, arrays):
    path = path.with_suffix(".mat")
    scipy.io.savemat(path, {**arrays, "more": {"deep": np.zeros((30, 100_000))}}, do_compression=True)
    return path


def compressed_chunks(name, shape):
    """Written, and all zero: small on the disk."""

    def write(path, arrays):
        path = path.with_suffix(".h5")
        write_arrays(path, {k: v for k, v in arrays.items() if k != name})
        with h5py.File(path, "a") as file:
            whole = file.create_dataset(name, shape, "f4", chunks=shape, compression="gzip", shuffle=True)
            whole[:] = 0
        return path

    return write


MUCH = {
    "scenario": huge("scenario", (300_000_000,)),
    "scenario of text": huge("scenario", (300_000_000,), "S8"),
    "pilots": huge("pilot_subcarriers", (1_000_000_000,)),
    "phi": huge("phi", (25_000, 30_000)),
    "one chunk": huge("pilot_symbols", (1_000_000_000,), "u1", chunks=(1_000_000_000,)),
    "used": compressed_chunks("used_subcarriers", (4_000_000,)),
    "n_fft": compressed_chunks("n_fft", (4_000_000,)),
    "noise": compressed_chunks("noise_variance", (4_000_000,)),
    "written scenario": compressed_chunks("scenario", (4_000_000,)),
    "spacing": compressed_chunks("subcarrier_spacing_hz", (4_000_000,)),
    "header alone": header_alone,
}


@pytest.mark.parametrize("write", MUCH.values(), ids=MUCH)
def test_a_small_file_that_asks_for_much_is_refused_at_once(tmp_path, pilot_arrays, write):
    path = write(tmp_path / "pilots", pilot_arrays())
    started = time.process_time()
    with pytest.raises(ChanestError, match=r"pilots\.(h5|npz|mat): "), open_measurements(path) as found:
        list(found.chunks(10))
    assert time.process_time() - started < 5


def test_what_matlab_compresses_and_nobody_asks_for_is_not_unpacked(tmp_path, pilot_arrays):
    with open_measurements(compressed_struct(tmp_path / "pilots", pilot_arrays())) as found:
        assert found.n_observations == 6


@pytest.mark.skipif(not measurable, reason="needs /proc")
def test_refusing_takes_little_memory(tmp_path, pilot_arrays):
    paths = [MUCH[name](tmp_path / name, pilot_arrays()) for name in ("pilots", "phi", "noise", "header alone")]
    code = """
from pathlib import Path
from chanest.errors import ChanestError
from chanest.files import open_measurements
from chanest.files.measurements import PilotFile
before = most()
for path in map(Path, sys.argv[1:]):
    try:
        open_measurements(path)
    except ChanestError:
        print(most() - before)
"""
    grown = measured(code, *paths)[0].split()
    assert len(grown) == len(paths)
    assert int(grown[-1]) < 64 * MEBIBYTE
