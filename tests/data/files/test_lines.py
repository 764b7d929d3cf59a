"""Every way in which a line from outside can be wrong, and the forms that are right."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from potstill.data.files.lines import MAX_LINE, read_lines
from potstill.errors import PotstillError


def lines_of(path: Path, content: bytes) -> list[tuple[int, str]]:
    path.write_bytes(content)
    return list(read_lines(path))


@pytest.mark.parametrize(
    "content",
    [
        b"one\ntwo\n",  # LF
        b"one\ntwo",  # no last line end
        b"one\r\ntwo\r\n",  # CR LF
        b"one\rtwo\r",  # CR
        b"\xef\xbb\xbfone\ntwo\n",  # byte order mark
    ],
)
def test_line_ends_and_byte_order_mark(tmp_path: Path, content: bytes) -> None:
    assert lines_of(tmp_path / "a.txt", content) == [(1, "one"), (2, "two")]


def test_blank_lines_and_odd_separators_keep_the_numbers(tmp_path: Path) -> None:
    assert lines_of(tmp_path / "a.txt", "a\u2028b\n\n\x0bc\x85\n".encode()) == [(1, "a\u2028b"), (2, ""), (3, "\x0bc\x85")]


def test_gzip(tmp_path: Path) -> None:
    assert lines_of(tmp_path / "a.txt.gz", gzip.compress("é\nb\n".encode())) == [(1, "é"), (2, "b")]


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"good\nbad \xff byte\n", 2, "byte 0xff is not UTF-8, at character 5"),  # a byte that is never UTF-8
        (b"good\n\n\xc3", 3, "byte 0xc3 is not UTF-8"),  # a character cut off
        (b"\xed\xa0\x80\n", 1, "not UTF-8"),  # half a surrogate pair, encoded
        ("good\n".encode("utf-16"), 1, "byte 0xff is not UTF-8"),  # another encoding
        (b"good\ngood\nnul\0here\n", 3, "NUL byte at character 4"),  # a NUL
    ],
)
def test_bad_characters_are_named_by_line(tmp_path: Path, content: bytes, line: int, problem: str) -> None:
    with pytest.raises(PotstillError) as caught:
        lines_of(tmp_path / "a.txt", content)
    assert f"a.txt:{line}: " in str(caught.value)
    assert problem in str(caught.value)


def test_a_monstrous_line_is_refused_with_its_size(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match=r"a\.txt:2: a line of 10\.0 MB; split it"):
        lines_of(tmp_path / "a.txt", b"short\n" + b"x" * 10_000_000 + b"\nshort\n")


def test_the_longest_line_allowed(tmp_path: Path) -> None:
    for end in (b"", b"\n", b"\nnext"):
        assert len(lines_of(tmp_path / "a.txt", b"x" * MAX_LINE + end)[0][1]) == MAX_LINE
    with pytest.raises(PotstillError, match=r"a\.txt:1: a line of 1\.0 MB"):
        lines_of(tmp_path / "a.txt", b"x" * (MAX_LINE + 1))


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_empty(tmp_path: Path, name: str) -> None:
    with pytest.raises(PotstillError, match="is empty"):
        lines_of(tmp_path / name, gzip.compress(b"", mtime=0) if name.endswith("gz") else b"")


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"line\n" * 1000, mtime=0)[:-12],  # cut off
        b"no gzip at all\n",
        gzip.compress(b"line\n" * 1000, mtime=0)[:20] + b"\x55" * 40,  # rotten inside
    ],
)
def test_broken_gzip(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(PotstillError, match=r"a\.gz: broken gzip"):
        lines_of(tmp_path / "a.gz", content)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="does not exist"):
        list(read_lines(tmp_path / "nothing.txt"))
    with pytest.raises(PotstillError, match="is a folder, not a file"):
        list(read_lines(tmp_path))
