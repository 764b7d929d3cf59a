"""Calls into native code on several cores at once, from threads: such code lets Python go on meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int, begin: Callable[[], None] | None = None
) -> Iterator[Result]:
    """What `work` makes of each item, in the order of the items. Of one thread none is started.

    At most two results a thread are ahead of whoever takes them, which bounds the memory. Where `work` raises, its exception comes in
    the place of the result, and what has not begun is left. Whoever stops early waits for what has begun.

    Args:
        work: is called in `threads` threads at once.
        items: what it is called with.
        threads: how many.
        begin: is called first in each thread that is started.
    """
    if threads == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, initializer=begin)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
