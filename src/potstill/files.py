"""Writing so that nothing half-written stays behind, reading a model folder's JSON, and where the cache lives."""

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

from potstill.errors import NoSpace, PotstillError


@contextmanager
def write_aside(target: str | Path) -> Iterator[Path]:
    """Yield a free path beside `target`; rename it to `target` when the block ends well.

    The caller creates a file or a folder there. A folder that `target` already names is
    replaced; a link stays, and what it leads to is replaced. When the block raises (Ctrl-C too), what was written is removed and `target`
    stays as it was.

    Raises:
        NoSpace: the disk is full.
        PotstillError: the place cannot be written, or is a device or a pipe, which a rename would take away.
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
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        if target.is_dir() and aside.is_dir():
            old = target.with_name(aside.name + ".old")
            os.replace(target, old)
            os.replace(aside, target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(aside, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(target, "no space is left on the disk", "free some, or choose another folder") from error
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
    """Write `text` (UTF-8) to `target`, whole or not at all."""
    with write_aside(target) as aside:
        aside.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """The content of a model folder's file.

    Raises:
        PotstillError: it is missing, or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PotstillError(path, f"cannot be read ({error})", "fetch or save the model again") from error


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, in hex, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def require_space(folder: str | Path, needed: int, purpose: str) -> None:
    """Raise a NoSpace error unless the disk under `folder` has `needed` bytes free."""
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise NoSpace(
            folder, f"{purpose} needs {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free", "free some, or choose another folder"
        )


def cache_folder() -> Path:
    """`POTSTILL_CACHE`, else potstill's folder in the user's cache folder."""
    named = os.environ.get("POTSTILL_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "potstill"
