from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from potstill.data.files.tagged import conll_rows, tagged_jsonl_rows
from potstill.errors import PotstillError

CONLL = "-DOCSTART- -X- -X- O\n\nRome NNP B-NP B-LOC\nis VBZ B-VP O\n\n\nAnn\tB-PER\n  \nbye O"


def test_conll_columns(tmp_path: Path) -> None:
    path = tmp_path / "train.conll"
    path.write_text(CONLL)
    assert [row[:3] for row in conll_rows(path)] == [
        (f"{path}:3", ["Rome", "is"], ["B-LOC", "O"]),
        (f"{path}:7", ["Ann"], ["B-PER"]),
        (f"{path}:9", ["bye"], ["O"]),
    ]


def test_only_tabs_and_spaces_are_between_columns(tmp_path: Path) -> None:
    path = tmp_path / "train.conll"
    path.write_text("10\u00a0000  O\n\u2009x NN B-LOC\n Ann \t B-PER \n \t \nbye\tNN\t\tO\n", encoding="utf-8")
    words, tags = zip(*((row.text, row.label) for row in conll_rows(path)))
    assert words == (["10\u00a0000", "\u2009x", "Ann"], ["bye"]) and tags == (["O", "B-LOC", "B-PER"], ["O"])


def test_without_tags(tmp_path: Path) -> None:
    path = tmp_path / "in.conll"
    path.write_text("Rome\nis\n\nAnn B-PER\n")
    assert [(row.text, row.label) for row in conll_rows(path, labelled=False)] == [(["Rome", "is"], None), (["Ann"], None)]
    path = tmp_path / "in.jsonl"
    path.write_text('{"tokens": ["Rome", "is"]}\n')
    assert [(row.text, row.label) for row in tagged_jsonl_rows(path, labelled=False)] == [(["Rome", "is"], None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Rome B-LOC\nis\n", ":2: the word 'is' has no tag"),  # a word alone
        ("Rome B-LOC\nis X\n", ":2: the tag 'X' is not in BIO form"),  # neither O nor B- or I-
        ("Rome B-\n", ":1: the tag 'B-' is not in BIO form"),  # no type
        ("Rome S-LOC\n", ":1: the tag 'S-LOC' is not in BIO form"),  # of another scheme, BIOES
        ("is\tO\nNew York\tB-LOC\n", ":2: the word 'New York' has a space in it"),  # between tabs
        ("is O\n\u00a0 O\n", r":2: the token '\\xa0' is no word"),  # a no-break space alone
        ("is O\n\u00a0\n", r":2: the token '\\xa0' is no word"),  # and without a tag: no blank line
        ("is\u00a0O\n", r":1: the word 'is\\xa0O' has no tag"),  # between a word and its tag
        ("is O\nx\0y O\n", ":2: NUL byte"),  # a NUL
    ],
)
def test_conll_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "train.conll"
    path.write_text(text)
    with pytest.raises(PotstillError, match=message):
        list(conll_rows(path))


def test_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"tokens": ["New", "York"], "tags": ["B-LOC", "I-LOC"]}\n')
    assert [row[:3] for row in tagged_jsonl_rows(path)] == [(f"{path}:1", ["New", "York"], ["B-LOC", "I-LOC"])]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, ":2: 1 tags for 2 tokens"),  # a tag too few
        ({"tokens": ["a"], "tags": ["O", "O"]}, ":2: 2 tags for 1 tokens"),  # a tag too many
        ({"tokens": ["a"], "tags": "O"}, ":2: 'tags' is 'O', not a list"),  # a tag instead of a list
        ({"tokens": ["a"], "tags": [3]}, ":2: the tag 3 is not in BIO form"),  # a number
        ({"tokens": [], "tags": []}, r":2: 'tokens' is \[\]"),  # no words
        ({"tokens": ["a", " "], "tags": ["O", "O"]}, ":2: the token ' ' is no word"),  # a blank word
        ({"tokens": "a b", "tags": ["O", "O"]}, ":2: 'tokens' is 'a b'"),  # a text instead of a list
        ({"tokens": ["a", "\u00a0"], "tags": ["O", "O"]}, r":2: the token '\\xa0' is no word"),  # blank to everybody but a naive test
        ({"tokens": ["a", "b\0"], "tags": ["O", "O"]}, r":2: token 'b\\x00': NUL byte at character 2"),  # a NUL in a word
        ({"tokens": ["a", "b"], "tags": ["O", "B-\0"]}, r":2: tag 'B-\\x00': NUL byte at character 3"),  # in a tag
        ({"tokens": ["\ud800"], "tags": ["O"]}, r":2: token '\\ud800': half a character"),  # half a character in a word
        ({"tokens": ["a"], "tags": ["B-\udc80"]}, r":2: tag 'B-\\udc80': byte 0x80 is not UTF-8"),  # in a tag
        ({"tokens": ["a"], "tag": ["O"]}, ":2: has no field 'tags'; did you mean 'tag'"),  # a field by another name
    ],
)
def test_jsonl_refused(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"tokens": ["a"], "tags": ["O"]}\n' + json.dumps(row))
    with pytest.raises(PotstillError, match=message):
        list(tagged_jsonl_rows(path))
