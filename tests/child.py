"""A process of its own, and the most memory that it held: the peak of this one is that of every test before."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEBIBYTE = 2**20
COMMAND_LINE = "from chanest.cli import main\nmain()"
_SAY = """
import atexit, sys
def most():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
atexit.register(lambda: print(most(), file=sys.stderr))
"""
measurable = Path("/proc/self/status").exists()


def started(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that runs some code, in which ``most()`` gives its peak of memory in bytes; it says so in the end."""
    command = [sys.executable, "-c", _SAY + code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def measured(code: str, *arguments: object, timeout: float = 250) -> tuple[str, int]:
    """What a process that runs some code prints, and its peak of memory in bytes."""
    process = started(code, *arguments)
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err
    return out, int(err.split()[-1])
