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
    assert [tuple(row) for row in conll_rows(path)] == [
        (f"{path}:3", ["Rome", "is"], ["B-LOC", "O"]),
        (f"{path}:7", ["Ann"], ["B-PER"]),
        (f"{path}:9", ["bye"], ["O"]),
    ]


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
    assert [tuple(row) for row in tagged_jsonl_rows(path)] == [(f"{path}:1", ["New", "York"], ["B-LOC", "I-LOC"])]


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
        ({"tokens": ["a"], "tag": ["O"]}, ":2: has no field 'tags'; did you mean 'tag'"),  # a field by another name
    ],
)
def test_jsonl_refused(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"tokens": ["a"], "tags": ["O"]}\n' + json.dumps(row))
    with pytest.raises(PotstillError, match=message):
        list(tagged_jsonl_rows(path))
