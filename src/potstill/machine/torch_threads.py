"""torch's own work on several cores at once, a thread for each piece of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import torch

from potstill.machine.parallel import in_parallel

Item = TypeVar("Item")
Result = TypeVar("Result")


def on_all_cores(work: Callable[[Item], Result], items: Sequence[Item]) -> Generator[Result]:
    """What `work` makes of each item, in their order: on the processor, as many at once as torch has threads, which they share.

    Autocast holds in these threads as it does in the caller's; whether gradients are recorded is a thread's own matter.

    Args:
        work: calls torch on the processor, and changes nothing that is shared.
        items: what it is called with.
    """
    cores = torch.get_num_threads()
    threads = min(cores, len(items))
    if threads <= 1:
        yield from map(work, items)
        return
    enabled, kind = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def begin() -> None:
        torch.set_num_threads(cores // threads)
        if enabled:
            # Never left: the weights that were cast are kept until then, and the caller's own autocast clears them.
            torch.autocast("cpu", dtype=kind).__enter__()

    try:
        yield from in_parallel(work, items, threads, begin)
    finally:
        torch.set_num_threads(cores)  # else a new thread would begin with what the last one has set
