"""A folder that one process at a time works in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from potstill.errors import PotstillError
from potstill.machine.files import remove, require_nameable, writing

LOCK = ".lock"  # there while a process works in the folder


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder for the length of the block, so that no other process works in it. It is made where it is missing.

    The system lets go of it when the process ends, however it ends. A folder that was made here and is empty at the end goes.

    Raises:
        PotstillError: another process holds it, or it is a file or cannot be made.
    """
    require_nameable(folder)
    file = folder / LOCK
    with writing(folder):
        if folder.exists() and not folder.is_dir():
            raise PotstillError(folder, "is a file", "choose another --out")
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(file)
    try:
        yield
    finally:
        remove(file)  # while it is still held: another process would take a file that is gone for free
        if descriptor is not None:
            os.close(descriptor)
        with suppress(OSError):  # not empty, or another process is faster
            for place in missing:
                place.rmdir()


def _locked(file: Path) -> int | None:
    """The descriptor of a file that this process has locked; None where the system has no such locks.

    Raises:
        PotstillError: another process has.
    """
    try:
        import fcntl
    except ImportError:
        return None
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = os.read(descriptor, 20).decode("ascii", "replace") or "another one"
            os.close(descriptor)
            raise PotstillError(
                file.parent, f"process {process} works on it", "wait for that one, end it, or choose another --out"
            ) from None
        except OSError:  # a file system without locks
            os.close(descriptor)
            return None
        try:
            same = os.path.samestat(os.fstat(descriptor), file.stat())
        except FileNotFoundError:  # the one that held it is through, and has taken the file away
            same = False
        if same:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
            return descriptor
        os.close(descriptor)
