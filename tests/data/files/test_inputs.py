from __future__ import annotations

import gzip
import json

import pytest

from potstill.data.files.inputs import read_file
from potstill.errors import PotstillError


def test_lines_keep_their_numbers(tmp_path):
    (tmp_path / "texts.txt").write_text("one\n\n two \n")
    assert read_file(tmp_path / "texts.txt", "classification") == ["one", "", " two "]
    (tmp_path / "texts.gz").write_bytes(gzip.compress(b"one\ntwo\n", mtime=0))
    assert read_file(tmp_path / "texts.gz", "regression") == ["one", "two"]


def test_tables_and_json_lines(tmp_path):
    (tmp_path / "pairs.csv").write_text('text,text_pair,more\n"a, b",c,1\nd,e,2\n')
    assert read_file(tmp_path / "pairs.csv", "classification") == [("a, b", "c"), ("d", "e")]
    (tmp_path / "texts.tsv").write_text("label\ttext\nx\ta\n")
    assert read_file(tmp_path / "texts.tsv", "multilabel") == ["a"]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in "ab"))
    assert read_file(tmp_path / "texts.jsonl", "classification") == ["a", "b"]


def test_words(tmp_path):
    (tmp_path / "words.jsonl").write_text(json.dumps({"tokens": ["a", "b"]}) + "\n")
    (tmp_path / "words.txt").write_text("a NN O\nb NN O\n\nc\n")
    assert read_file(tmp_path / "words.jsonl", "tagging") == [["a", "b"]]
    assert read_file(tmp_path / "words.txt", "tagging") == [["a", "b"], ["c"]]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("Rome\nis\n\nold\n", [["Rome", "is"], ["old"]]),  # a word a line
        ("-DOCSTART- -X-\n\nRome NNP B-LOC\n", [["Rome"]]),  # columns of CoNLL-2003
        ("Rome is old\n\nold\n", ["Rome is old", "", "old"]),  # texts; line k is answer k
        ("Rome is old\n", ["Rome is old"]),  # one text
        ("Rome is O\nold\nso old\n", ["Rome is O", "old", "so old"]),  # texts, one of which ends as a tag does
    ],
)
def test_lines_to_be_tagged_are_words_or_texts(tmp_path, content, found):
    (tmp_path / "lines.txt").write_text(content)
    assert read_file(tmp_path / "lines.txt", "tagging") == found


@pytest.mark.parametrize("name", ["texts.ndjson", "texts.CSV.gz"])
def test_the_command_takes_every_name_that_training_takes(call, tmp_path, tiny_head_exports, name):
    content = '{"text": "the river"}\n{"text": "9"}\n' if "json" in name else "text\nthe river\n9\n"
    (tmp_path / name).write_bytes(gzip.compress(content.encode(), mtime=0) if name.endswith("gz") else content.encode())
    out = tmp_path / "out.jsonl"
    status, _, err = call("predict", tiny_head_exports["regression"], tmp_path / name, "--out", out, "--threads", 1)
    assert (status, err) == (0, "")
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert [answer.keys() for answer in answers] == [{"text", "score"}] * 2 and answers[1]["text"] == "9"


@pytest.mark.parametrize(
    ("name", "content", "kind", "said"),
    [
        ("t.csv", "txt,label\na,b\n", "classification", "t.csv:1: the header has no column 'text'; did you mean 'txt'"),  # another column
        ("t.jsonl", '{"txt": "a"}\n', "classification", "t.jsonl:1: has no field 'text'"),  # another field
        ("t.jsonl", '{"text": "a"}\n', "tagging", "t.jsonl:1: has no field 'tokens'"),  # a text where words are needed
        ("t.csv", "text\na\n", "tagging", "ends in '.csv'; for tagging name"),  # a format without words
        ("t.parquet", "x", "classification", "ends in '.parquet'; for classification name"),  # a format that is not read
        ("t.txt", "", "classification", "is empty"),  # an empty file
        ("t.txt", "Rome NNP\nold JJ\n", "tagging", "lines such as 'Rome NNP' may be columns or texts; name it .conll"),  # either
    ],
)
def test_what_is_wrong_is_told(tmp_path, name, content, kind, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(PotstillError) as caught:
        read_file(tmp_path / name, kind)
    assert said in str(caught.value)
