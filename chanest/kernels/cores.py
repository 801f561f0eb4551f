"""How many cores this process may use, and how many of them other programs leave idle."""

import os
import threading
import time
from functools import cache
from pathlib import Path

WINDOW_S = 0.05  # what is measured holds so long; the kernel counts in hundredths of a second
STALE_S = 2.0  # a longer look back tells what was, not what is
_GROUPS = Path("/sys/fs/cgroup")
_STAT = Path("/proc/stat")


def allowed_cores() -> int:
    """Cores that the affinity and the CPU quota of the container leave to this process, at least 1.

    >>> 1 <= allowed_cores() <= os.cpu_count()
    True
    """
    return max(1, min(len(_affinity()), _quota()))


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


@cache
def _quota(groups: Path = _GROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Whole cores' worth of time that cgroups, version 2 or 1, give the process; as many as there are without a limit.

    Args:
        groups: where they are mounted.
        own: the list of those that the process is in.
    """
    most = os.cpu_count() or 1
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return most
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = groups / "cpu" if controllers else groups
        inner = root / name.lstrip("/")
        for folder in (inner, *inner.parents):  # a parent's limit is a limit, and a container may see only its own
            most = min(most, _limit(folder))
            if folder == root:
                break
    return max(1, most)


def _limit(folder: Path) -> int:
    """Of one group."""
    most = os.cpu_count() or 1
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{what}_us").read_text().strip() for what in ("quota", "period"))
        return most if quota in ("max", "-1") else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return most


class _Watch:
    """Remembers when it last looked, and what it saw."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = -STALE_S
        self._total = self._own = 0.0
        self._idle = 0

    def idle(self, most: int) -> int:
        now = time.monotonic()
        if self._idle and now - self._at < WINDOW_S:
            return min(self._idle, most)
        with self._lock:
            seen = _busy(_affinity())
            if seen is None:
                return most
            n_cores, total, running = seen
            own = time.process_time()
            since = now - self._at
            others = (total - self._total - own + self._own) / since if since < STALE_S else running
            self._at, self._total, self._own = now, total, own
            self._idle = max(1, int(n_cores - others + 0.35))  # a third of a core is no competitor
        return min(self._idle, most)


def _busy(cores: set[int], stat: Path = _STAT) -> tuple[int, float, float] | None:
    """How many of some cores there are, the seconds they were busy, and how many other threads want them now.

    What runs at low priority gives way, and counts as idle. None where the system does not tell.
    """
    try:
        text = stat.read_text()
    except OSError:
        return None
    n, n_all, ticks, running = 0, 0, 0, 1
    for line in text.splitlines():
        name, *values = line.split()
        if name == "procs_running":
            running = int(values[0])
        elif name.startswith("cpu") and name[3:].isdigit():
            n_all += 1
            if int(name[3:]) not in cores:
                continue
            user, _nice, system, _idle, _wait, irq, softirq, steal = map(int, values[:8])
            ticks += user + system + irq + softirq + steal
            n += 1
    return (n, ticks / os.sysconf("SC_CLK_TCK"), (running - 1) * n / n_all) if n else None


_watch = _Watch()


def idle_cores(most: int) -> int:
    """Of so many cores those that other programs leave idle, at least 1; all where the system does not tell.

    From the times that Linux counts for every core, less the process's own, over a twentieth of a second or more; what
    runs now where nobody asked for seconds.

    >>> 1 <= idle_cores(2) <= 2
    True
    """
    return _watch.idle(most)
