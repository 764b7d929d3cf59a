"""The format of a file by its name: the same in every reader."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from potstill.data.files.formats import format_of
from potstill.data.files.inputs import read_file
from potstill.data.files.labelled_files import read_inputs, read_labelled
from potstill.data.files.texts import read_texts

COMMA, TAB = 'text,label\n"one, two",yes\nthree,no\n', 'text\tlabel\n"one\tyes\nthree\tno\n'
OBJECTS = '{"text": "one", "label": "yes"}\n{"text": "three", "label": "no"}\n'


def made(path: Path, content: str) -> Path:
    data = content.encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix.lower() == ".gz" else data)
    return path


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("a.csv", COMMA, ["one, two", "three"]),  # quoted
        ("a.CSV", COMMA, ["one, two", "three"]),  # in capitals
        ("a.csv.gz", COMMA, ["one, two", "three"]),  # gzipped
        ("a.Csv.GZ", COMMA, ["one, two", "three"]),  # both
        ("a.tsv", TAB, ['"one', "three"]),  # not quoted
        ("a.TSV.gz", TAB, ['"one', "three"]),  # in capitals and gzipped
        ("a.jsonl", OBJECTS, ["one", "three"]),  # one object a line
        ("a.JSONL.GZ", OBJECTS, ["one", "three"]),  # all in capitals
        ("a.ndjson", OBJECTS, ["one", "three"]),  # JSON lines by other names
        ("a.json.gz", OBJECTS, ["one", "three"]),  # and gzipped
        ("a.b.ndjson.gz", OBJECTS, ["one", "three"]),  # a dot in the name
    ],
)
def test_every_reader_takes_the_same_names(tmp_path: Path, name: str, content: str, texts: list[str]) -> None:
    file = made(tmp_path / name, content)
    assert read_texts(file, columns=["text"]) == texts
    assert read_file(file, "classification") == texts
    assert read_inputs(file, "regression") == texts
    examples, names = read_labelled(file, "classification")
    assert (examples.texts, examples.labels.tolist(), names) == (texts, [1, 0], ["no", "yes"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.conll", "Rome B-x\nis O\n"),  # columns
        ("a.TXT", "Rome B-x\nis O\n"),  # columns by another name, in capitals
        ("a.conll.gz", "Rome B-x\nis O\n"),  # gzipped
        ("a.ndjson.gz", '{"tokens": ["Rome", "is"], "tags": ["B-x", "O"]}\n'),  # JSON lines
    ],
)
def test_every_reader_of_words_takes_the_same_names(tmp_path: Path, name: str, content: str) -> None:
    file = made(tmp_path / name, content)
    assert read_file(file, "tagging") == read_inputs(file, "tagging") == read_labelled(file, "tagging")[0].texts == [["Rome", "is"]]


@pytest.mark.parametrize(
    "name",
    [
        "a.txt",
        "a.TXT.GZ",  # in capitals and gzipped
        "a",  # no ending
        "a.gz",  # none but gzip's
        "a.md",  # one that tells nothing
        "a.conll",  # columns are for words: where texts are asked for, a line is a text
    ],
)
def test_plain_text_is_what_no_other_ending_tells(tmp_path: Path, name: str) -> None:
    file = made(tmp_path / name, "one\n\nthree\n")
    assert read_texts(file) == ["one", "three"]
    assert read_file(file, "classification") == ["one", "", "three"]


def test_what_a_name_does_not_tell() -> None:
    assert format_of("a") is format_of("a.gz") is format_of("csv") is format_of(".csv") is format_of("a.csv.zip") is None
    assert format_of("a.PARQUET") == "dataset"
