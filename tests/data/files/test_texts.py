"""Texts out of every format, and one line of error for each thing that can be wrong in one."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from potstill.data.files.texts import read_texts
from potstill.errors import PotstillError


def made(path: Path, content: str) -> Path:
    data = content.encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def test_blank_and_repeated_texts_are_dropped_in_order(tmp_path: Path) -> None:
    assert read_texts(made(tmp_path / "a.txt", "b\n\n  a \n\t\nb\na\nc")) == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("a.txt.gz", "one\ntwo\n", ["one", "two"]),  # gzipped
        ("a.unknown", "one\ntwo\n", ["one", "two"]),  # an unknown ending is plain text
        ("a.jsonl", '{"text": "one"}\n\n{"text": null}\n{"text": "two", "n": 1}\n', ["one", "two"]),  # blank lines and null are left out
        ("a.json.gz", '{"text": "one"}\n{"text": "two"}\n', ["one", "two"]),  # JSON lines by another name, gzipped
        ("a.csv", f"{'a' * 300_000}\n", ["a" * 300_000]),  # a field longer than Python's csv reads by itself
        ("a.csv", 'one,"two, 2"\n"three\nlines",""\n', ["one", "two, 2", "three\nlines"]),  # quoted fields, one over two lines
        ("a.tsv", 'one\t"two\n\nthree\tfour\n', ["one", '"two', "three", "four"]),  # no quoting
        ("a.tsv.gz", "one\ttwo\n", ["one", "two"]),  # a gzipped table
    ],
)
def test_format_is_read_off_the_name(tmp_path: Path, name: str, content: str, texts: list[str]) -> None:
    assert read_texts(made(tmp_path / name, content)) == texts


def test_columns_of_a_table(tmp_path: Path) -> None:
    file = made(tmp_path / "a.tsv", "id\tfirst\tsecond\n1\ta\tb\n2\tc\td\n")
    assert read_texts(file, columns=["second", "first"]) == ["b", "a", "d", "c"]
    assert read_texts(file, columns=[2]) == ["second", "b", "d"]  # numbers alone make no header
    assert read_texts(file, columns=[0, "second"]) == ["1", "b", "2", "d"]
    assert read_texts(file, format="text")[0] == "id\tfirst\tsecond"


def test_fields_of_json_lines(tmp_path: Path) -> None:
    file = made(tmp_path / "a.jsonl", '{"a": "x", "b": "y"}\n{"a": "z", "b": "x"}\n')
    assert read_texts(file, columns=["a", "b"]) == ["x", "y", "z"]


def test_limit_draws_from_the_whole_file_in_its_order(tmp_path: Path) -> None:
    file = made(tmp_path / "a.txt", "\n".join(map(str, range(1000))))
    drawn = [int(text) for text in read_texts(file, limit=50, seed=1)]
    assert drawn == sorted(set(drawn))
    assert len(drawn) == 50
    assert drawn[0] < 200
    assert drawn[-1] > 800
    assert read_texts(file, limit=50, seed=1) == list(map(str, drawn))
    assert read_texts(file, limit=50, seed=2) != list(map(str, drawn))
    assert len(read_texts(file, limit=5000)) == 1000


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.txt", " \n\t\n", {}, r"a\.txt: holds no text"),  # blank lines alone
        ("a.txt", "x\n", {"columns": [1]}, r"a\.txt: columns \[1\] of a plain text file"),  # columns of plain text
        ("a.txt", "x\n", {"format": "jsnl"}, r"unknown format 'jsnl'; did you mean 'jsonl'"),  # a misspelt format
        ("a.tsv", "a\tb\nc\n", {}, r"a\.tsv:2: 1 columns where the first row has 2"),  # a row too narrow
        ("a.csv", "a,b\nc,d,e\n", {}, r"a\.csv:2: 3 columns where the first row has 2; quote fields"),  # a row too wide
        # A quote that nothing closes.
        ("a.csv", 'a,b\n"c,d\ne,f\n', {}, r"a\.csv:2: not readable as a table .* a quote that nothing closes"),
        # A misspelt column.
        (
            "a.csv",
            "text;label\na;b\n",
            {"columns": ["text"]},
            r"a\.csv:1: the header has no column 'text'; the columns seem to be parted by",
        ),
        ("a.csv", "text;label\na, b;c\n", {}, r"a\.csv:2: 2 columns where the first row has 1; the columns seem to be parted by"),
        ("a.csv", "text,label\na,b\n", {"columns": ["texts"]}, r"a\.csv:1: the header has no column 'texts'; did you mean 'text'"),
        # A column behind the last.
        ("a.csv", "a,b\n", {"columns": [2]}, r"a\.csv:1: column 2 of a row with 2; columns are numbered 0 to 1"),
        ("a.csv", "a,b\n", {"columns": [-1]}, r"column -1 of a row with 2"),  # a column before the first
        ("a.csv", "a,b\n", {"columns": [True]}, r"a\.csv:1: column True of a row with 2"),  # a truth value, which is a 1 to Python
        ("a.jsonl", '{"text": "a"}\n', {"columns": [True]}, r"column True of JSON lines"),  # likewise
        ("a.csv", "text\n", {"columns": ["text"]}, r"holds no text"),  # a header alone
        ("a.jsonl", '{"text": "a"}\n{"text": "b"\n', {}, r"a\.jsonl:2: is not JSON"),  # a bracket that nothing closes
        ("a.jsonl", "[" * 100_000, {}, r"a\.jsonl:1: is not JSON"),  # deeper than Python can read
        ("a.jsonl", '["a"]\n', {}, r"a\.jsonl:1: holds \['a'\], not an object"),  # a list instead of an object
        ("a.jsonl", '{"txt": "a"}\n', {}, r"a\.jsonl:1: has no field 'text'; did you mean 'txt'"),  # a misspelt field
        ("a.jsonl", '{"text": 3}\n', {}, r"a\.jsonl:1: field 'text' is 3, not a text"),  # a number instead of a text
        ("a.jsonl", '{"text": "a\\u0000b"}\n', {}, r"a\.jsonl:1: field 'text': NUL byte at character 2"),  # an escaped NUL
        ("a.jsonl", '{"text": "a\\ud800b"}\n', {}, r"a\.jsonl:1: field 'text': half a character"),  # half an escaped character
        ("a.jsonl", '{"text": "a"}\n', {"columns": [0]}, r"column 0 of JSON lines; name the fields"),  # a number where names are needed
        ("a.parquet", "no parquet", {}, r"a\.parquet: cannot be read as a data set on disk"),  # another content than the name says
    ],
)
def test_bad_input(tmp_path: Path, name: str, content: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PotstillError, match=message) as caught:
        read_texts(made(tmp_path / name, content), **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_missing_sources(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match=r"a\.txt: does not exist"):
        read_texts(tmp_path / "a.txt")
    with pytest.raises(PotstillError, match=r"a\.parquet: does not exist"):
        read_texts(tmp_path / "a.parquet")
    with pytest.raises(PotstillError, match="is a folder, not a file"):
        read_texts(tmp_path, format="text")
    with pytest.raises(PotstillError, match="cannot be read as a data set on disk"):
        read_texts(tmp_path)
