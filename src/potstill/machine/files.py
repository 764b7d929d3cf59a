"""Writing so that nothing half-written stays behind, reading a model folder's JSON, and room on the disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from potstill.errors import DiskFull, PotstillError


@contextmanager
def write_aside(target: str | Path) -> Iterator[Path]:
    """Yield a free path beside `target`; rename it to `target` when the block ends without an exception.

    The caller creates a file or a folder at the path. A folder that `target` already names is replaced. A link stays,
    and what it leads to is replaced. When the block raises (Ctrl-C too), what was written is removed and `target`
    stays as it was.

    Raises:
        DiskFull: the disk is full.
        PotstillError: the place cannot be written, or is a device or a pipe, which a rename would take away.
        OSError: the system failed in another way.
    """
    target = Path(os.path.realpath(target))
    # uuid: two processes that write the same target must not share the path aside.
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        if target.exists() and not (target.is_file() or target.is_dir()):
            raise PotstillError(target, "is no ordinary file", "name a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        if target.is_dir() and not aside.is_dir():
            raise PotstillError(target, f"cannot be written ({os.strerror(errno.EISDIR)})", "choose another place")
        if target.is_dir() and aside.is_dir():
            old = target.with_name(aside.name + ".old")
            os.replace(target, old)
            os.replace(aside, target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(aside, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(target, "no space is left on the disk", "free some, or choose another folder") from error
        denied = (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)
        if error.errno in denied or not target.parent.is_dir():
            raise PotstillError(target, f"cannot be written ({error.strerror})", "choose another place") from error
        raise
    finally:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        elif aside.exists():
            aside.unlink()


def write_text(target: str | Path, text: str) -> None:
    """Write `text` (UTF-8) to `target`, whole or not at all. A PotstillError from `write_aside` comes through."""
    with write_aside(target) as aside:
        aside.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """The content of a model folder's JSON file.

    Raises:
        PotstillError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PotstillError(path, f"cannot be read ({error})", "fetch or save the model again") from error


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file in hexadecimal. The file is read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def require_space(folder: str | Path, needed: int, purpose: str) -> None:
    """Check that the disk under `folder` has `needed` bytes free.

    Args:
        folder: need not exist yet.
        needed: bytes.
        purpose: what takes them, as the subject of the error's sentence.

    Raises:
        DiskFull: it has fewer.
    """
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise DiskFull(
            folder, f"{purpose} needs {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free", "free some, or choose another folder"
        )
