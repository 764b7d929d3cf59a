"""Every way in which a line from outside can be wrong, and the forms that are right."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import pickle
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
    assert lines_of(tmp_path / "a.txt.gz", gzip.compress("é\nb\n".encode(), mtime=0)) == [(1, "é"), (2, "b")]


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"good\nbad \xff byte\n", 2, "byte 0xff is not UTF-8, at character 5"),  # a byte that is never UTF-8
        (b"good\n\n\xc3", 3, "byte 0xc3 is not UTF-8"),  # a character cut off
        (b"\xed\xa0\x80\n", 1, "not UTF-8"),  # half a surrogate pair, encoded
        ("good\n".encode("utf-16"), 1, "is text in UTF-16; save it as UTF-8 text"),  # another encoding
        ("good\n".encode("utf-16-be"), 1, "NUL byte at character 1"),  # the same without a byte order mark
        ("good\n".encode("utf-32"), 1, "is text in UTF-32"),  # its beginning is that of UTF-16
        ("good\ncafé\n".encode("latin-1"), 2, "byte 0xe9 is not UTF-8, at character 4"),  # the most common of all
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
    ("content", "line"),
    [
        (gzip.compress(b"".join(b"line %d\n" % number for number in range(50_000)), mtime=0)[:-12], r"4\d{4}"),  # cut off at the end
        (b"no gzip at all\n", "1"),
        (gzip.compress(b"line\n" * 1000, mtime=0)[:20] + b"\x55" * 40, "1"),  # rotten inside
    ],
)
def test_broken_gzip(tmp_path: Path, content: bytes, line: str) -> None:
    with pytest.raises(PotstillError, match=rf"a\.gz:{line}: broken gzip"):
        lines_of(tmp_path / "a.gz", content)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n", "a.txt:1: is a pointer of Git LFS"),
        ("a.csv", b"PK\x03\x04\x14\x00", "a.csv:1: is a zip archive; unpack it"),  # a spreadsheet that was given another name
        ("a.jsonl", b"PAR1\x15\x04", "a.jsonl:1: is parquet"),
        ("a.txt", b"ARROW1\0\0", "a.txt:1: is an Arrow table; name the folder of the data set"),
        ("a.csv", bz2.compress(b"a"), "a.csv:1: is compressed with bzip2; unpack it, or compress it with gzip"),
        ("a.csv", lzma.compress(b"a"), "a.csv:1: is compressed with xz"),
        ("a.csv", b"\x28\xb5\x2f\xfd\x04", "a.csv:1: is compressed with Zstandard"),
        ("a.csv", gzip.compress(b"a", mtime=0), "a.csv:1: is compressed with gzip, and its name does not end in .gz"),
        ("a.txt", pickle.dumps(["a"]), "a.txt:1: is a pickle, which may run code"),
        ("a.csv.gz", gzip.compress("a".encode("utf-16"), mtime=0), "a.csv.gz:1: is text in UTF-16"),  # inside of a right gzip
        ("a.arrow", b"x", "a.arrow: is an Arrow table"),  # by its name alone
        ("a.feather", b"x", "a.feather: is an Arrow table"),
        ("a.zip", b"x", "a.zip: is a zip archive"),
        ("a.csv.bz2", b"x", "a.csv.bz2: is compressed with bzip2"),
        ("a.txt.XZ", b"x", "a.txt.XZ: is compressed with xz"),
        ("a.jsonl.zst", b"x", "a.jsonl.zst: is compressed with Zstandard"),
        ("a.xlsx", b"x", "a.xlsx: is a spreadsheet; save the sheet as .csv"),
        ("a.pkl", b"x", "a.pkl: is a pickle"),
    ],
)
def test_files_that_are_no_lines_are_named_for_what_they_are(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    with pytest.raises(PotstillError) as caught:
        lines_of(tmp_path / name, content)
    assert str(caught.value).startswith(f"{tmp_path}/{said}")


def test_texts_that_begin_nearly_like_a_file_of_another_kind(tmp_path: Path) -> None:
    for text in ("PK is a pair of letters", "BZ Berlin", "PAR 1", "version https://example.org"):
        assert lines_of(tmp_path / "a.txt", text.encode()) == [(1, text)]


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no devices here")
def test_what_may_never_end_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="/dev/zero: is a device, not a file"):
        list(read_lines("/dev/zero"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PotstillError, match="pipe: is a pipe, not a file"):
        list(read_lines(tmp_path / "pipe"))


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + "/a.txt", "a\0b"])
def test_no_path_could_be_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(PotstillError, match="does not exist") as caught:
        list(read_lines(tmp_path / name))
    assert len(str(caught.value)) < 500


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="does not exist"):
        list(read_lines(tmp_path / "nothing.txt"))
    with pytest.raises(PotstillError, match="is a folder, not a file"):
        list(read_lines(tmp_path))
