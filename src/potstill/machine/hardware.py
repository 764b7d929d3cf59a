"""Processor and cores of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from potstill.errors import PotstillError

PER_CORE = 16  # threads that may be asked for on each usable core: far more than help, far fewer than a system holds


def cpu_flags() -> frozenset[str]:
    """Instruction-set flags of the processor as Linux names them; none on other systems."""
    for key, value in cpuinfo():
        if key == "flags":
            return frozenset(value.split())
    return frozenset()


def cpuinfo() -> list[tuple[str, str]]:
    """The (key, value) lines of /proc/cpuinfo, of all processors one after the other; none where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    pairs = (line.partition(":") for line in lines)
    return [(key.strip(), value.strip()) for key, _, value in pairs]


def usable_cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has; at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_threads(threads: int | None) -> None:
    """Check that no more threads are asked for than the machine can bear.

    Args:
        threads: how many; None for a library's own choice.

    Raises:
        PotstillError: there are fewer than 1, or more than PER_CORE for each usable core.
    """
    most = PER_CORE * usable_cores()
    if threads is not None and not 1 <= threads <= most:
        raise PotstillError(
            "threads", f"{threads} is not from 1 to {most}, which are {PER_CORE} for each usable core", "leave it out to use every core"
        )
