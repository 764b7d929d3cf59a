"""`potstill predict`: a file of texts in, one answer a line out, from torch and from ONNX alike."""

from __future__ import annotations

import gzip
import json
import shutil

import pytest


def predicted(call, model, file, out):
    status, _, err = call("predict", model, file, "--out", out, "--threads", 1)
    assert (status, err) == (0, "")
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_pairs(call, tmp_path, tiny_head_dirs, tiny_head_exports):
    file = tmp_path / "pairs.csv"
    file.write_text("text,text_pair\nthe river,a village\n9,and again\nx,y\n")
    torch = predicted(call, tiny_head_dirs["classification"], file, tmp_path / "torch.jsonl")
    onnx = predicted(call, tiny_head_exports["classification"], file, tmp_path / "onnx.jsonl")
    assert len(torch) == 3 and {answer["label"] for answer in torch} <= {"no", "yes", "maybe"}
    assert [answer["label"] for answer in torch] == [answer["label"] for answer in onnx]
    assert [answer["score"] for answer in torch] == pytest.approx([answer["score"] for answer in onnx], abs=1e-4)


def test_every_kind(call, tmp_path, tiny_head_dirs, tiny_head_exports):
    (tmp_path / "texts.txt").write_text("the river\n\nvillage\n")
    (tmp_path / "words.conll").write_text("the\nriver\n\nx\n")
    (number, empty, _) = predicted(call, tiny_head_exports["regression"], tmp_path / "texts.txt", tmp_path / "out.jsonl")
    assert isinstance(number["score"], float) and empty.keys() == {"score"}
    several = predicted(call, tiny_head_dirs["multilabel"], tmp_path / "texts.txt", tmp_path / "out.jsonl")
    assert all(set(answer["labels"]) <= {"red", "green", "blue"} for answer in several)
    tags = predicted(call, tiny_head_exports["tagging"], tmp_path / "words.conll", tmp_path / "out.jsonl")
    assert [len(answer["tags"]) for answer in tags] == [2, 1]


@pytest.mark.parametrize("name", ["x.ndjson", "x.csv.gz"])
def test_a_table_by_its_other_endings(call, tmp_path, tiny_head_exports, name):
    content = b'{"text": "the river"}\n{"text": "village"}\n' if name == "x.ndjson" else gzip.compress(b"text\nthe river\nvillage\n")
    (tmp_path / name).write_bytes(content)
    (tmp_path / "x.txt").write_text("the river\nvillage\n")
    found, plain = (
        predicted(call, tiny_head_exports["classification"], tmp_path / file, tmp_path / "out.jsonl") for file in (name, "x.txt")
    )
    assert found == plain and len(found) == 2


def test_a_run_folder(call, tmp_path, tiny_head_dirs, tiny_head_exports):
    shutil.copytree(tiny_head_dirs["classification"], tmp_path / "run" / "student")
    (tmp_path / "texts.txt").write_text("the river\n")
    torch = predicted(call, tmp_path / "run", tmp_path / "texts.txt", tmp_path / "out.jsonl")
    shutil.copytree(tiny_head_exports["classification"], tmp_path / "run" / "onnx")
    assert predicted(call, tmp_path / "run", tmp_path / "texts.txt", tmp_path / "out.jsonl")[0]["label"] == torch[0]["label"]


@pytest.mark.parametrize(
    ("model", "file", "content", "words"),
    [
        (None, "t.txt", "a\n", "has no head: it gives vectors, no labels"),
        ("classification", "t.csv", "txt,label\na,b\n", "the header has no column 'text'"),
        ("classification", "t.jsonl", '{"text": "a", "text_pair": "b"}\n{"text": "c"}\n', "holds single texts and pairs"),
        ("classification", "t.csv", "text,text_pair\na,b\n,\n", "t.csv:3: 'text' is ''"),
        ("classification", "t.jsonl", '{"tokens": ["a"]}\n', "has no field 'text'"),
        ("tagging", "t.csv", "text\na\n", "for tagging name a file that ends in"),
        ("classification", "missing.txt", None, "missing.txt: does not exist"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(call, tmp_path, tiny_export_dir, tiny_head_exports, model, file, content, words):
    if content is not None:
        (tmp_path / file).write_text(content)
    before = sorted(tmp_path.rglob("*"))
    folder = tiny_head_exports[model] if model else tiny_export_dir
    status, _, err = call("predict", folder, tmp_path / file, "--out", tmp_path / "out.jsonl")
    assert status == 2 and words in err and len(err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before
