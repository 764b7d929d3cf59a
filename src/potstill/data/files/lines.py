"""Lines of a text file from outside, checked one by one as they are read."""

from __future__ import annotations

import gzip
import io
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from potstill.data.files.formats import is_gzipped, remedy_for, what_begins, what_is
from potstill.errors import PotstillError
from potstill.machine.files import kind_of_place

MAX_LINE = 1_000_000  # characters; no text for a sentence encoder comes near it
LONG_PATH = 200  # letters of a path that an error repeats
HEAD = 32  # bytes at a file's beginning that tell what it is

# What errors="surrogateescape" makes of bytes that are not UTF-8; valid UTF-8 never decodes to these.
_SURROGATE = re.compile("[\ud800-\udfff]")


class StandardInput(str):
    """Stands for a file's path where the lines come from standard input; it is what errors call that."""

    __slots__ = ()

    def __new__(cls) -> StandardInput:
        """The one text that it is."""
        return super().__new__(cls, "standard input")


class Remote(str):
    """Stands for a file's path where it is a URL that fsspec opens: "s3://bucket/texts.jsonl"; errors call it by that."""

    __slots__ = ()

    def open(self) -> Any:
        """Its bytes, as they lie there.

        Raises:
            PotstillError: fsspec, or what it needs for such a URL, is not installed, or nothing can be read there.
        """
        try:
            import fsspec

            return fsspec.open(str(self), "rb").open()
        except ImportError as error:
            raise PotstillError(shown_path(self), f"cannot be opened ({error})", "install what the error names") from error
        except (OSError, ValueError) as error:
            said = " ".join(str(error).split())[:LONG_PATH]
            raise PotstillError(shown_path(self), f"cannot be read ({said})", "check the address, and who may read it") from error


def require_file(path: str | Path) -> Path:
    """`path` as a Path, once it is known to be a file.

    Raises:
        PotstillError: there is nothing at the path, a folder, or a device or a pipe, which may never end.
    """
    path = Path(path)
    kind = kind_of_place(path)
    if kind == "a folder":
        raise PotstillError(path, "is a folder, not a file", "name a file in it")
    if kind is None:
        near = next((parent for parent in path.parents if kind_of_place(parent) == "a folder"), Path())
        raise PotstillError(shown_path(path), "does not exist", f"check the path (the folder {near} does exist)")
    if kind != "a file":
        raise PotstillError(path, f"is {kind}, not a file", "write what it gives into a file, and name that")
    return path


def shown_path(path: str | Path) -> str:
    """A path as an error may name it: one of many letters is cut."""
    text = str(path)
    return text if len(text) <= LONG_PATH else f"{text[:LONG_PATH]}… ({len(text)} letters)"


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a UTF-8 file, decompressed where its name ends in `.gz`.

    A byte order mark is dropped. A line ends in LF, CR LF or CR. Blank lines are yielded, because
    some formats give them a meaning. Only one line is in memory at a time, and of a line that is
    too long only its start.

    Raises:
        PotstillError: there is no such file, it is a folder or a device, it is empty, its name or its first bytes tell that
            it is no text, or it cannot be read; with the line's number: its gzip is broken, invalid UTF-8, a NUL byte, more
            than MAX_LINE characters.
    """
    if not isinstance(path, StandardInput):
        path = path if isinstance(path, Remote) else require_file(path)
        if what := what_is(path):
            raise PotstillError(path, f"is {what}", remedy_for(what))
    number = 0
    with _opened(path, lambda: number + 1) as stream:
        # The limit is what keeps a 10 MB line from being read whole; + 1 leaves room for its end.
        while line := stream.readline(MAX_LINE + 1):
            number += 1
            ended = line.endswith("\n")
            if len(line) > MAX_LINE and not ended:
                size = _size(line) + sum(_size(piece) for piece in _rest_of_line(stream))
                raise PotstillError(
                    f"{path}:{number}", f"a line of {size / 1e6:.1f} MB", f"split it: a line may hold {MAX_LINE:,} characters"
                )
            text = line[:-1] if ended else line
            require_clean(text, f"{path}:{number}")
            yield number, text
    if not number:
        raise PotstillError(path, "is empty", "name a file with at least one line")


def require_clean(text: str, place: str) -> None:
    """Check that `text` holds no NUL and no code point that is not a character.

    Args:
        text: decoded with errors="surrogateescape", or out of JSON.
        place: the file and line, for the error.

    Raises:
        PotstillError: it holds one; the error names the first one's position.
    """
    if not text.isascii() and (bad := _SURROGATE.search(text)):
        code = ord(bad.group())
        what = f"byte 0x{code - 0xDC00:02x} is not UTF-8" if 0xDC80 <= code <= 0xDCFF else f"half a character (\\u{code:04x})"
        raise PotstillError(place, f"{what}, at character {bad.start() + 1}", "save the file as UTF-8")
    if "\0" in text:
        raise PotstillError(place, f"NUL byte at character {text.index(chr(0)) + 1}", "remove it, or save the file as UTF-8 text")


@contextmanager
def _opened(path: Path | StandardInput | Remote, line: Callable[[], int]) -> Iterator[io.TextIOWrapper]:
    """The file as a stream of text; `line` gives the number of the line that is being read.

    Raises:
        PotstillError: as `read_lines`, of the whole file.
    """
    try:
        # Escaped, not strict: a strict decoder fails somewhere in its 8 KB, without a line number.
        with (
            _bytes_of(path) as binary,
            io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape") as stream,
        ):
            if what := what_begins(binary.peek(HEAD)[:HEAD]):
                raise PotstillError(f"{path}:1", f"is {what}", remedy_for(what))
            yield stream
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise PotstillError(f"{path}:{line()}", f"broken gzip ({error})", "fetch or compress the file again") from error
    except OSError as error:
        raise PotstillError(path, f"cannot be read ({error.strerror or error})", "check its permissions") from error


def _bytes_of(path: Path | StandardInput | Remote) -> Any:
    """The file's bytes, unpacked, as a stream that can be looked ahead in."""
    if isinstance(path, StandardInput):
        return sys.stdin.buffer
    if isinstance(path, Remote):
        return gzip.open(path.open()) if is_gzipped(path) else io.BufferedReader(path.open())
    return gzip.open(path) if is_gzipped(path) else path.open("rb")


def _rest_of_line(stream: io.TextIOWrapper) -> Iterator[str]:
    while piece := stream.readline(MAX_LINE):
        yield piece
        if piece.endswith("\n"):
            return


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))
