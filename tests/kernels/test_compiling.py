"""The cache of compiled loops: torn or on a full disk, it is done without."""

import os
import subprocess
import sys

import pytest

CODE = """
import numpy as np
from chanest.kernels.compiling import compiled

def twice(x):
    return 2 * x

print(compiled(twice)(21))
"""


def run(cache, before=""):
    code = cache.parent / "code.py"
    code.write_text(CODE)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\nimport runpy; runpy.run_path({str(code)!r})"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_torn_cache_is_written_anew(tmp_path, kept):
    cache = tmp_path / "cache"
    run(cache)
    files = [path for path in cache.rglob("*.nb?")]
    assert {path.suffix for path in files} == {".nbi", ".nbc"}
    whole = {path: path.read_bytes() for path in files}
    for suffix in (".nbi", ".nbc"):
        for path in files:
            path.write_bytes(whole[path][: int(kept * len(whole[path]))] if path.suffix == suffix else whole[path])
        run(cache)
        assert all(path.stat().st_size > 0 for path in cache.rglob("*.nbi"))


@pytest.mark.skipif(not hasattr(os, "setsid"), reason="limits are POSIX's")
def test_a_full_disk_is_no_reason_to_fail(tmp_path):
    run(tmp_path / "cache", "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))")
