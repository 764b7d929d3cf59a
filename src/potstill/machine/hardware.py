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


def bf16_is_faster() -> bool:
    """Whether this processor multiplies matrices faster in bf16 than in fp32.

    With AMX it does, and so do AMD's with avx512_bf16 (BERT-base: 3.5 times). Intel's with avx512_bf16
    alone run it more slowly than fp32: a step of training takes 1.4 to 1.5 times as long. Without
    either flag bf16 is emulated, and slower still.
    """
    flags = cpu_flags()
    return "amx_bf16" in flags or ("avx512_bf16" in flags and ("vendor_id", "AuthenticAMD") in cpuinfo())


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
