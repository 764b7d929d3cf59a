"""How far, how fast, how long still: a bar on a terminal or in a notebook, and elsewhere a line every so often.

Lines go to the logger `potstill`, as Python's logging has them: the command shows them on standard error where that is no
terminal, and writes them to a file where one is named.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from potstill.machine import processes

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[..., None]

EVERY = 30.0  # seconds from one line of a bar to the next
LOOK = 1.0  # seconds from one look, whether a line is due, to the next
_log = logging.getLogger("potstill")
# The screen can hold one live display; a bar opened inside another becomes a line of it.
_display: Progress | None = None
quiet = False
"""Whether the command was told to show no bars."""
show: Callable[[str, int, str], AbstractContextManager[Advance]] | None = None
"""What shows a bar of this process in place of a terminal or a notebook: see `relay`."""


@contextmanager
def progress(title: str, total: int, unit: str = "texts") -> Iterator[Advance]:
    """Show a bar on standard error while the block runs, and log a line every EVERY seconds; neither without a title.

    Args:
        title: stands before the bar.
        total: what is to be done, in `unit`s.
        unit: of the speed that is shown.

    Yields:
        `advance(n=1, note="")`: n more of `total` are done; `note` is shown at the end of the line (a loss, a file name).
    """
    if not title or not processes.is_main():
        yield lambda n=1, note="": None
        return
    lines = _Lines(title, total, unit)
    bar = show or (_notebook_bar if _in_notebook() and not quiet else _terminal_bar)
    with bar(title, total, unit) as move:

        def advance(n: int = 1, note: str = "") -> None:
            lines(n, note)
            move(n, note)

        with lines.telling():
            yield advance
    lines.end()


@contextmanager
def meanwhile(watch: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run `watch` in a thread of its own while the block runs.

    Args:
        watch: returns soon after the event that it is given is set, which is when the block has ended.
    """
    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(done,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


class _Lines:
    """Logs how far the work is, when EVERY seconds have gone by, whether anything was done in them or not."""

    def __init__(self, title: str, total: int, unit: str) -> None:
        self.title, self.total, self.unit = title, max(1, total), unit
        self.done, self.note = 0, ""
        self.started = self.told = time.monotonic()
        _log.debug("%s: begins, %s %s", title, f"{total:,}", unit)

    def __call__(self, n: int = 1, note: str = "") -> None:
        self.done, self.note = self.done + n, note or self.note
        self.tell()

    def tell(self) -> None:
        """Log a line, if one is due."""
        now = time.monotonic()
        if now - self.told < EVERY or self.done >= self.total:
            return
        self.told, seconds = now, now - self.started
        left = f", {_clock(seconds * (self.total - self.done) / self.done)} left" if self.done else ""
        fast = self.done >= seconds
        rate = (f"{self.done / seconds:,.0f} {self.unit}/s" if fast else f"{_clock(seconds)} so far") + left
        _log.info("%s: %d %%, %s%s", self.title, 100 * self.done // self.total, rate, f"; {self.note}" if self.note else "")

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Within the block, look every LOOK seconds whether a line is due: a single step may take minutes."""

        def look(done: threading.Event) -> None:
            while not done.wait(LOOK):
                self.tell()

        with meanwhile(look):
            yield

    def end(self) -> None:
        """Log that the work is done; of a short one in the file alone."""
        seconds = time.monotonic() - self.started
        level = logging.INFO if seconds >= EVERY else logging.DEBUG
        _log.log(level, "%s: done in %s%s", self.title, _clock(seconds), f"; {self.note}" if self.note else "")


@contextmanager
def _terminal_bar(title: str, total: int, unit: str) -> Iterator[Advance]:
    global _display
    opened = _open() if _display is None else None
    display = opened or _display
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
    """A started display, or None where standard error is no terminal, bars are not wanted, or rich is not installed."""
    if quiet or not sys.stderr.isatty():
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


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which shows what tqdm and not what a terminal's bar writes."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


@contextmanager
def _notebook_bar(title: str, total: int, unit: str) -> Iterator[Advance]:
    try:
        from tqdm.auto import tqdm  # a widget where ipywidgets is installed, else text
    except ModuleNotFoundError:  # of the plain runtime
        yield lambda n=1, note="": None
        return
    with tqdm(desc=title, total=total, unit=f" {unit}", leave=False) as bar:

        def advance(n: int = 1, note: str = "") -> None:
            if note:
                bar.set_postfix_str(note, refresh=False)
            bar.update(n)

        yield advance


def _clock(seconds: float) -> str:
    """Seconds as people write them: 3:20, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
