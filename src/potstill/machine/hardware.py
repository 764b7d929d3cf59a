"""Processor and cores of this machine."""

from __future__ import annotations

import os
from pathlib import Path


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
