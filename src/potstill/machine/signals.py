"""Ctrl-C and SIGTERM, held back where they would do harm."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LATER = 0.05  # seconds after which a signal that came within an import is sent again
_IMPORT = "<frozen importlib."  # where Python's own part of an import has its code
_waits = False  # whether a signal is to be sent again: of several within one import one comes


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, as Python does at Ctrl-C, but not within an import: then the signal comes again, until the import has ended.

    A native module that is being imported calls Python, and many abort or crash where an exception comes out of that.

    Raises:
        KeyboardInterrupt: no import is under way in the main thread.
    """
    global _waits
    while frame is not None and not frame.f_code.co_filename.startswith(_IMPORT):
        frame = frame.f_back
    if frame is None:
        raise KeyboardInterrupt
    if not _waits:
        _waits = True
        later = threading.Timer(LATER, _send, (number,))
        later.daemon = True
        later.start()


def _send(number: int) -> None:
    global _waits
    _waits = False
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)  # what the main thread waits in ends
    else:
        signal.raise_signal(number)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the block has ended: native code that calls Python aborts where an exception comes out."""
    if threading.current_thread() is not threading.main_thread():  # signals are not this thread's
        yield
        return
    held: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append(number)

    before = {number: signal.signal(number, hold) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: set by something else than Python
        if held:
            signal.raise_signal(held[0])
