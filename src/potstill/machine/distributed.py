"""Several processes, one training: each computes its share of every batch, the main one writes, scores and speaks.

The plan of batches stays what it is. A batch's rows are dealt out, so that a recipe means the same,
and gives the same student but for rounding and the draws of dropout, whatever the number of processes.
Gradients are averaged by DistributedDataParallel. For their mean to be that of the whole batch, a loss
that is a mean over texts is multiplied by the process's share (shard_rows), and one that sets texts
against each other is computed by every process over the texts of all (gather_batch). A mean over tokens
is that of each process's tokens, weighted by its texts.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed.nn.functional import all_gather

from potstill.errors import PotstillError
from potstill.machine.precision import choose_device
from potstill.machine.processes import count, is_main, number

T = TypeVar("T")
SHARE = "share"  # in a batch that is dealt out: what this process's mean over texts counts for in the mean over processes
PATIENCE = timedelta(days=30)  # the others wait while the main one fills a cache; where a process dies, torchrun ends them
BACKENDS = ("gloo", "cpu:gloo,cuda:nccl")  # of a process group: on CPUs, and on GPUs
LOST = ("Connection closed", "Connection reset", "Connection refused", "Broken pipe", "remote process exited")


def start(device: str) -> None:
    """Join the other processes of this training; does nothing where there are none.

    Args:
        device: as `choose_device` takes it.

    Raises:
        PotstillError: WORLD_SIZE is set by something else than a launcher of processes; one from `choose_device` comes
            through: there are fewer GPUs than processes.
    """
    if count() == 1 or distributed.is_initialized():
        return
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise PotstillError(
            "WORLD_SIZE", f"is {count()}, and {missing[0]} is not set", "start the training with torchrun, or unset WORLD_SIZE"
        )
    distributed.init_process_group(BACKENDS[choose_device(device).type != "cpu"], timeout=PATIENCE)
    atexit.register(distributed.destroy_process_group)


def together() -> bool:
    """Whether this process trains with others."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def wait() -> None:
    """Wait until every process has called it."""
    any_of(False)


def any_of(flag: bool) -> bool:
    """Whether a flag is set in any process. Every process has to call it."""
    if not together():
        return flag
    flags = torch.tensor([int(flag)])  # on the CPU: nothing here has to wait for a GPU
    distributed.all_reduce(flags, distributed.ReduceOp.MAX)
    return bool(flags.item())


def mean_of(values: Tensor) -> Tensor:
    """The mean of a tensor over all processes, on the CPU where there are several. Every process has to call it."""
    if not together():
        return values
    values = values.detach().cpu()
    distributed.all_reduce(values)
    return values / distributed.get_world_size()


def tell(find: Callable[[], T]) -> T:
    """What the main process finds, in every process. Every process has to call it.

    Args:
        find: called in the main process alone; its result can be pickled.
    """
    if not together():
        return find()
    found: list[Any] = [find() if is_main() else None]
    distributed.broadcast_object_list(found, src=0, device=torch.device("cpu"))
    return found[0]


@contextmanager
def main_first() -> Iterator[None]:
    """The main process does the block while the others wait, then they do it: it fills a cache that they find."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


@contextmanager
def one_voice() -> Iterator[None]:
    """Of several processes that fail, only the first reports its exception.

    Raises:
        SystemExit: status 2, in place of the exception where another process failed before.
        PotstillError: another process was lost, which only a broken connection tells.
    """
    try:
        yield
    except Exception as error:
        if count() > 1 and not _first_to_fail():
            raise SystemExit(2) from None
        if together() and lost_another(error):
            raise PotstillError(
                f"process {number()}",
                "lost another process of this training",
                "see what ended it (torchrun says its signal), then add --resume",
            ) from error
        raise


def lost_another(error: BaseException) -> bool:
    """Whether an error says that the connection to another process broke, which is all that its end looks like from here."""
    return not isinstance(error, PotstillError) and any(sign in str(error) for sign in LOST)


def _first_to_fail() -> bool:
    """Whether no other process failed before. torchrun's own store outlives every process."""
    try:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = distributed.TCPStore(host, port, is_master=False, timeout=timedelta(seconds=10))
        return bool(store.add(f"potstill/failed/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", 1) == 1)
    except (KeyError, ValueError, RuntimeError):  # no store to ask: rather say it twice than not at all
        return True


def shard_rows(rows: list[int]) -> tuple[list[int], float]:
    """This process's rows of a batch, and what they count for.

    Rows are dealt out in turn, so that all processes get texts of like length. With fewer rows than processes some
    repeat the first row, for a share of 0: all must take every step.

    Args:
        rows: the whole batch's, at least one.

    Returns:
        The rows, and their share: how many they are over the mean number of rows a process.
    """
    own = rows[number() :: count()]
    return (own, len(own) * count() / len(rows)) if own else (rows[:1], 0.0)


def gather_batch(ours: Any, theirs: Any, batch: Mapping[str, Tensor]) -> tuple[Any, Any, Mapping[str, Tensor]]:
    """Gather a batch that was dealt out, so that every process has the loss of the whole batch; its rows are in another order.

    The gradient that reaches a process's own texts is the sum of what all processes' losses send there, which is count()
    times that loss's: the mean over processes is right again.

    Args:
        ours: the student's (b, …), or a tuple of such.
        theirs: the teacher's, likewise, or None.
        batch: with `rows`, SHARE and maybe `labels` and `attention_mask`; with `views` each tensor is view after view, and
            the result is too.

    Returns:
        The three with the texts of all processes. Axes other than the first are padded with zeros to the longest.
    """
    views = int(batch["views"]) if "views" in batch else 1
    repeats = not float(batch[SHARE])

    def gather(value: Any) -> Any:
        if value is None:
            return None
        return tuple(map(gather, value)) if isinstance(value, tuple) else _gathered(value, views, repeats)

    data = {name: gather(batch[name]) for name in ("rows", "labels", "attention_mask") if name in batch}
    return gather(ours), gather(theirs), {**batch, **data}


def _gathered(values: Tensor, views: int, repeats: bool) -> Tensor:
    """(v·n, …) of this process → (v·N, …) of all, view after view, with gradients to each one's own part.

    Args:
        repeats: the rows here are only repeated ones, which do not count.
    """
    values = values.unflatten(0, (views, -1))  # (v, n, …)
    if repeats:
        values = values[:, :0]
    shape = torch.tensor(values.shape[1:])
    shapes = [torch.empty_like(shape) for _ in range(distributed.get_world_size())]
    distributed.all_gather(shapes, shape)
    missing = (torch.stack(shapes).amax(0) - shape).tolist()
    padding = [side for axis in reversed(missing) for side in (0, axis)]
    parts = all_gather(torch.nn.functional.pad(values, padding).contiguous())
    return torch.cat([part[:, : int(size[0])] for part, size in zip(parts, shapes)], dim=1).flatten(0, 1)
