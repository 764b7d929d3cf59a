"""Progress of a process that nobody sees, shown by the one that waits for it: told through a file that both see."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from potstill.errors import PotstillError
from potstill.machine.files import write_text
from potstill.machine.progress import Advance, meanwhile, progress

EVERY = 1.0  # seconds from one writing to the next, and from one look to the next
KIND = ("title", "total", "unit")  # by which a bar is known again


def teller(file: Path) -> Callable[[str, int, str], AbstractContextManager[Advance]]:
    """What shows the bars of this process to whoever reads the file; for `progress.show`.

    Args:
        file: holds the open bars, the outermost first, as JSON. It is written once in EVERY seconds at most.
    """
    bars: list[dict[str, Any]] = []
    last = 0.0

    def tell(now: bool = False) -> None:
        nonlocal last
        if now or time.monotonic() - last >= EVERY:
            last = time.monotonic()
            with suppress(PotstillError):  # a full disk is told by the work itself
                write_text(file, json.dumps(bars))

    @contextmanager
    def bar(title: str, total: int, unit: str) -> Iterator[Advance]:
        own: dict[str, Any] = {"title": title, "total": total, "unit": unit, "done": 0, "note": ""}
        bars.append(own)

        def advance(n: int = 1, note: str = "") -> None:
            own["done"] += n
            own["note"] = note or own["note"]
            tell()

        try:
            tell(now=True)
            yield advance
        finally:
            bars.remove(own)
            tell(now=True)

    return bar


@contextmanager
def relayed(file: Path) -> Iterator[None]:
    """Within the block, show the bars that a `teller` writes to a file. The file is gone at the end.

    Args:
        file: it need not be there yet.
    """
    file.unlink(missing_ok=True)
    try:
        with meanwhile(partial(_watch, file)):
            yield
    finally:
        file.unlink(missing_ok=True)


def _watch(file: Path, done: Event) -> None:
    shown: list[_Bar] = []
    while not done.wait(EVERY):
        with suppress(OSError, ValueError):  # not there yet
            _follow(shown, json.loads(file.read_text(encoding="utf-8")))
    _follow(shown, [])


def _follow(shown: list[_Bar], told: list[dict[str, Any]]) -> None:
    """Close the bars that are no more, the innermost first, open the new ones, and move them to where they are told to be."""
    same = 0
    while same < min(len(shown), len(told)) and shown[same].is_still(told[same]):
        same += 1
    while len(shown) > same:
        shown.pop().close()
    for number, state in enumerate(told):
        if number == len(shown):
            shown.append(_Bar(state))
        shown[number].move(state)


class _Bar:
    def __init__(self, state: dict[str, Any]) -> None:
        self.kind, self.done = [state[key] for key in KIND], 0
        self.context = progress(*self.kind)
        self.advance = self.context.__enter__()

    def is_still(self, state: dict[str, Any]) -> bool:
        """Whether it is the same bar: one that began again, after a worker was lost, is another."""
        return self.kind == [state[key] for key in KIND] and state["done"] >= self.done

    def move(self, state: dict[str, Any]) -> None:
        if state["done"] > self.done:
            self.advance(state["done"] - self.done, state["note"])
            self.done = state["done"]

    def close(self) -> None:
        self.context.__exit__(None, None, None)
