"""Writing so that nothing half-written stays behind, reading a model folder's JSON, and room on the disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from potstill.errors import DiskFull, PotstillError, shown

_SURROGATE = re.compile("[\ud800-\udfff]")
# What write_aside calls its files and folders, of this version and of the ones before; `.old` is what was there before.
_HALF = re.compile(r"\.(?P<target>.+)\.((?P<machine>[0-9a-f]{8})-(?P<process>[0-9]+)-)?[0-9a-f]{8}\.part(?P<old>\.old)?", re.DOTALL)
_MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"
_LONGEST = 150  # bytes of the target's name in that of the path aside, which no file system wants longer than 255
DAY = 24 * 3600.0  # seconds after which a half is nobody's, whoever has its process's number by now
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What a full disk looks like from numpy, torch, safetensors and SQLite, none of which gives the system's number.
_FULL_WORDS = re.compile(
    r"[0-9]+ requested and [0-9]+ written|PytorchStreamWriter failed|file write failed|unexpected pos [0-9]+ vs [0-9]+"
    r"|No space left on device|Disk quota exceeded|File too large|\(os error (?:28|122|27)\)|database or disk is full"
)


@contextmanager
def write_aside(target: str | Path) -> Iterator[Path]:
    """Yield a free path beside `target`; rename it to `target` when the block ends without an exception.

    The caller creates a file or a folder at the path. A folder that `target` already names is replaced. A link stays,
    and what it leads to is replaced. When the block raises (Ctrl-C too), what was written is removed and `target`
    stays as it was. What a killed process left of the same target is cleared away first. Every file gets the mode that the
    system gives new ones, whatever library wrote it.

    Raises:
        DiskFull: the disk is full.
        PotstillError: the place cannot be written, or is a device or a pipe, which a rename would take away.
        OSError: the system failed in another way.
    """
    require_nameable(target)
    target = Path(os.path.realpath(target))
    # uuid: two threads that write the same target must not share the path aside.
    name = os.fsencode(target.name)[:_LONGEST].decode(errors="ignore")
    aside = target.with_name(f".{name}.{_MACHINE}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        with writing(target):
            if target.exists() and not (target.is_file() or target.is_dir()):
                raise PotstillError(target, "is no ordinary file", "name a file")
            target.parent.mkdir(parents=True, exist_ok=True)
            for half in halves(target.parent):
                if _target_of(half) == name and is_dead(half):
                    clear_half(half)
            yield aside
            _open_up(aside)
            if target.is_dir() and not aside.is_dir():
                raise PotstillError(target, f"cannot be written ({os.strerror(errno.EISDIR)})", "choose another place")
            if target.is_dir() and aside.is_dir():
                old = target.with_name(aside.name + ".old")
                os.replace(target, old)
                os.replace(aside, target)
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.replace(aside, target)
    finally:
        remove(aside)


def _open_up(path: Path) -> None:
    """Give a file, or a folder with all in it, the modes of new ones: safetensors writes for its owner alone, a copy is like its source."""
    mask = os.umask(0o077)  # the only way to ask; what another thread makes in between is open to too few, not to too many
    os.umask(mask)
    for part in (path, *path.rglob("*")):
        if not part.is_symlink() and (part.is_file() or part.is_dir()):
            mode = stat.S_IMODE(part.stat().st_mode)
            wanted = (mode & ~0o777) | ((0o777 if part.is_dir() else 0o666) & ~mask)
            if mode != wanted:
                with suppress(OSError):  # one more name of somebody else's file, or a file system without modes
                    part.chmod(wanted)


@contextmanager
def writing(place: str | Path) -> Iterator[None]:
    """Turn what the system says of a full disk, or of a place that cannot be written, into one line.

    Args:
        place: what the block writes.

    Raises:
        DiskFull: the disk is full.
        PotstillError: the place cannot be written.
    """
    place = Path(place)
    try:
        yield
    except PotstillError:
        raise
    except Exception as error:
        if is_full(error):
            raise DiskFull(place, "no space is left on the disk", "free some, or choose another folder") from error
        denied = (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)
        if isinstance(error, OSError) and (error.errno in denied or not place.parent.is_dir() or _not_made(error, place)):
            raise PotstillError(place, f"cannot be written ({error.strerror})", "choose another place") from error
        raise


def _not_made(error: OSError, place: Path) -> bool:
    """Whether a folder that is there, such as /proc, takes nothing new: the place itself, or its half, is what is not found."""
    if error.errno != errno.ENOENT or not isinstance(error.filename, (str, bytes)):
        return False
    path = Path(os.fsdecode(error.filename))
    half = _HALF.fullmatch(path.name)
    return path.parent == place.parent and (path.name == place.name or (half is not None and place.name.startswith(half["target"])))


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error, in whatever words a library tells it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # an error may be its own cause
        seen.add(id(error))
        if isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno in FULL):
            return True
        if not isinstance(error, PotstillError) and _FULL_WORDS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def halves(folder: Path) -> list[Path]:
    """What `write_aside` left unfinished in a folder, as far as the names tell; nothing where there is no such folder."""
    try:
        return [path for path in folder.iterdir() if _HALF.fullmatch(path.name)]
    except OSError:
        return []


def _target_of(half: Path) -> str:
    """The name, as long as a half's name has it, of what was being written; also where that was a half itself, as in an export."""
    name = half.name
    while found := _HALF.fullmatch(name):
        name = found["target"]
    return name


def is_dead(half: Path) -> bool:
    """Whether nobody writes a half any more: its process is gone, or it is older than a day."""
    found = _HALF.fullmatch(half.name)
    try:
        if found is None or half.stat().st_mtime < time.time() - DAY:
            return found is not None
        if os.name != "posix" or found["machine"] != _MACHINE:  # only this machine's processes can be asked
            return False
        os.kill(int(found["process"]), 0)
    except (ProcessLookupError, FileNotFoundError, OverflowError):
        return True
    except OSError:  # the process is somebody else's
        return False
    return False


def clear_half(half: Path) -> None:
    """Take away what a killed process left; what it had moved out of the way and not replaced yet is put back."""
    found = _HALF.fullmatch(half.name)
    target = half.with_name(found["target"]) if found is not None else half
    if found is not None and found["old"] and len(os.fsencode(target.name)) < _LONGEST and not target.exists():
        os.replace(half, target)
    remove(half)


def remove(path: Path) -> None:
    """Take away a file or a folder with everything in it, as far as the system lets it; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, which takes no room; where the file system has no hard links, or is another one, copy it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def require_nameable(path: str | Path) -> None:
    """Check that a path is one that a file system can have and a text can name.

    Raises:
        PotstillError: a part of it is longer than 255 bytes, or it holds a NUL or bytes that are no UTF-8.
    """
    text = str(path)
    if any(len(os.fsencode(part)) > 255 for part in Path(text).parts if not _SURROGATE.search(part)):
        raise PotstillError(text[:100], "has a name of more than 255 bytes, which no file can have", "shorten it")
    if "\0" in text or _SURROGATE.search(text):
        raise PotstillError(text[:100], "has a name that is no text in UTF-8", "rename it")


def kind_of_place(path: str | Path) -> str | None:
    """What lies at a path: "a file", "a folder", "a pipe", "a device", "a socket"; None: nothing, or no path could be so."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return None
    if not str(path):  # to Path the present folder, and to nobody else
        return None
    kinds = {stat.S_IFREG: "a file", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


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
    except (OSError, ValueError, RecursionError) as error:  # the last one of brackets ten thousand deep
        raise PotstillError(path, f"cannot be read ({shown(str(error), 160)})", "fetch or save the model again") from error


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
    require_nameable(folder)
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        wanted, left = _apart(needed, free)
        raise DiskFull(folder, f"{purpose} needs {wanted} MB and {left} MB are free", "free some, or choose another folder")


def _apart(larger: int, smaller: int) -> tuple[str, str]:
    """Two different numbers of bytes in MB, with as many digits as it takes to tell them apart."""
    for digits in range(6):
        texts = f"{larger / 1e6:,.{digits}f}", f"{smaller / 1e6:,.{digits}f}"
        if texts[0] != texts[1]:
            break
    else:
        texts = f"{larger / 1e6:,.6f}", f"{smaller / 1e6:,.6f}"
    return texts
