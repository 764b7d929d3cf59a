"""Progress bars on a terminal: how far, how fast, how long still. Nothing is shown where standard error is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from potstill.machine import processes

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[..., None]

# The screen can hold one live display; a bar opened inside another becomes a line of it.
_display: Progress | None = None


@contextmanager
def progress(title: str, total: int, unit: str = "texts") -> Iterator[Advance]:
    """Show a bar on standard error while the block runs; no bar without a title.

    Args:
        title: stands before the bar.
        total: what is to be done, in `unit`s.
        unit: of the speed that is shown.

    Yields:
        `advance(n=1, note="")`: n more of `total` are done; `note` is shown at the end of the line (a loss, a file name).
    """
    global _display
    opened = _open() if title and _display is None else None
    display = opened or (_display if title else None)
    if display is None:
        yield lambda n=1, note="": None
        return
    _display = display
    task = display.add_task(title, total=total, rate="", note="")

    def advance(n: int = 1, note: str = "") -> None:
        state = next(state for state in display.tasks if state.id == task)
        done, seconds = state.completed + n, state.elapsed or 0.0
        rate = f"{done / seconds:,.0f} {unit}/s" if seconds else ""
        display.update(task, advance=n, rate=rate, note=note or state.fields["note"])

    try:
        yield advance
    finally:
        display.remove_task(task)
        if opened is not None:
            _display = None
            opened.stop()


def _open() -> Progress | None:
    """A started display, or None where standard error is no terminal, the main process has it, or rich is not installed."""
    if not sys.stderr.isatty() or not processes.is_main():
        return None
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
    except ModuleNotFoundError:  # encoding needs no rich
        return None

    display = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    )
    display.start()
    return display
