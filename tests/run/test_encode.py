"""Texts as vectors, block by block: every form holds the same vectors, and what was stopped goes on where it stopped."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.run import encode as module
from potstill.run.encode import encode_file
from potstill.runtime.encoder import Encoder

TEXTS = ["the river", "", 'a "village", and', "9", "the river and the village", "x", "y"]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with seven texts, of which three make a block."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "BLOCK", 3)
    Path("texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    return tmp_path


def read(out: str) -> tuple[list[str] | None, np.ndarray]:
    """The texts, where they are told, and the vectors of whatever was written."""
    if Path(out).is_dir():
        return None, np.concatenate([np.load(path) for path in sorted(Path(out).glob("*.npy"))])
    if out.endswith(".npy"):
        return None, np.load(out)
    if out.endswith(".parquet"):
        rows = pytest.importorskip("pyarrow.parquet").read_table(out).to_pylist()
    elif out.endswith(".jsonl"):
        rows = [json.loads(line) for line in Path(out).read_text().splitlines()]
    else:
        with Path(out).open(newline="") as stream:
            return zip_csv(stream)
    return [row["text"] for row in rows], np.array([row["vector"] for row in rows], dtype=np.float32)


def zip_csv(stream: Any) -> tuple[list[str], np.ndarray]:
    (_, *names), *rows = csv.reader(stream)
    assert names == [f"v{number}" for number in range(len(names))]
    return [row[0] for row in rows], np.array([row[1:] for row in rows], dtype=np.float32)


@pytest.mark.parametrize("out", ["v.npy", "v.parquet", "v.jsonl", "v.csv", "shards"])
def test_every_form_holds_the_vectors_in_order(work: Path, tiny_export_dir: Path, out: str) -> None:
    expected = Encoder(tiny_export_dir).encode(TEXTS)
    done = encode_file(str(tiny_export_dir), "texts.txt", out)
    texts, vectors = read(out)
    assert texts in (None, TEXTS) and (done.rows, done.width, done.shards) == (7, 32, 3)
    assert vectors.dtype == np.float32 and np.allclose(vectors, expected, atol=1e-5)
    assert sorted(path.name for path in work.iterdir()) == sorted([out, "texts.txt"])
    if out == "shards":
        manifest = json.loads(Path(out, "manifest.json").read_text())
        assert manifest["rows"] == 7 and [block["rows"] for block in manifest["blocks"]] == [3, 3, 1]


def test_a_run_reads_the_column_that_its_recipe_names_or_the_usual_one(work: Path, tiny_export_dir: Path) -> None:
    shutil.copytree(tiny_export_dir, "run/onnx")
    Path("run/results.json").write_text("{}")
    recipe = {"name": "run", "task": "embed", "student": {"model": "m"}, "teacher": {"model": "m"}}
    recipe |= {"data": {"texts": [{"path": "a.csv", "columns": ["body"]}]}, "stages": [{"name": "a", "terms": [{"loss": "embedding_mse"}]}]}
    Path("run/recipe.yaml").write_text(json.dumps(recipe))
    Path("own.csv").write_text("text,body\n1,the river\n2,x\n")
    Path("usual.jsonl").write_text('{"text": "the river"}\n{"text": "x"}\n')
    expected = Encoder(tiny_export_dir).encode(["the river", "x"])
    for file in ("own.csv", "usual.jsonl"):
        encode_file("run", file, "v.npy")
        assert np.allclose(np.load("v.npy"), expected, atol=1e-5), file
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table({"id": [1, 2], "body": ["the river", "x"]}), "own.parquet")
    encode_file("run", "own.parquet", "v.npy")
    assert np.allclose(np.load("v.npy"), expected, atol=1e-5)
    Path("other.csv").write_text("review\na\n")
    with pytest.raises(
        PotstillError, match=r"other.csv: has no column 'body', which the run's recipe names, and no 'text'; rename the column"
    ):
        encode_file("run", "other.csv", "v.npy")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", 'text,other\n"the river, and",1\nx,2\n'),
        ("t.tsv", "other\ttext\n1\tthe river, and\n2\tx\n"),
        ("t.jsonl", '{"text": "the river, and"}\n\n{"text": "x", "id": 3}\n'),
    ],
)
def test_the_column_text_of_a_table_is_encoded(work: Path, tiny_export_dir: Path, name: str, content: str) -> None:
    Path(name).write_text(content)
    encode_file(str(tiny_export_dir), name, "v.jsonl")
    assert read("v.jsonl")[0] == ["the river, and", "x"]


def stopped(monkeypatch: pytest.MonkeyPatch, model: str, out: str, after: int) -> None:
    """Encode `after` blocks, then be interrupted."""
    real, calls = module._vectors, []

    def vectors(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_vectors", vectors)
        with pytest.raises(KeyboardInterrupt):
            encode_file(model, "texts.txt", out)


@pytest.mark.parametrize("out", ["v.npy", "v.csv", "shards"])
def test_what_was_stopped_goes_on_behind_the_last_whole_block(
    work: Path, tiny_export_dir: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    model = str(tiny_export_dir)
    stopped(monkeypatch, model, out, 2)
    assert not Path(out).exists()
    encoded: list[list[str]] = []
    real = module._vectors
    monkeypatch.setattr(module, "_vectors", lambda *told: encoded.append(told[-2]) or real(*told))
    encode_file(model, "texts.txt", out, resume=True)
    assert encoded == [TEXTS[6:]]
    assert np.allclose(read(out)[1], Encoder(model).encode(TEXTS), atol=1e-5)
    assert sorted(path.name for path in work.iterdir()) == sorted([out, "texts.txt"])


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        (lambda: Path("texts.txt").write_text("another\n" + "".join(f"{text}\n" for text in TEXTS[1:])), {}, "texts 1 to 3 are others"),
        (lambda: Path("texts.txt").write_text("".join(f"{text}\n" for text in TEXTS[:3])), {}, "6 texts were encoded, and the file has 3"),
        (lambda: None, {"dimensions": 8}, "are of dimensions 32, and 8 is asked"),
        (lambda: None, {"precision": "int8"}, "are of precision 'float32', and 'int8' is asked"),
    ],
    ids=["other texts", "fewer texts", "other dimensions", "other precision"],
)
def test_what_was_begun_otherwise_is_not_gone_on_with(
    work: Path, tiny_export_dir: Path, monkeypatch: pytest.MonkeyPatch, change: Any, more: dict[str, Any], said: str
) -> None:
    stopped(monkeypatch, str(tiny_export_dir), "v.npy", 2)
    change()
    with pytest.raises(PotstillError, match=said):
        encode_file(str(tiny_export_dir), "texts.txt", "v.npy", resume=True, **more)
    encode_file(str(tiny_export_dir), "texts.txt", "v.npy", **more)  # without --resume it is begun anew
    assert len(np.load("v.npy")) == len(Path("texts.txt").read_text().splitlines())


def test_another_model_is_not_gone_on_with(
    work: Path, tiny_export_dir: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(monkeypatch, str(tiny_export_dir), "v.npy", 1)
    with pytest.raises(PotstillError, match="another model's"):
        encode_file(str(tiny_encoder_dir), "texts.txt", "v.npy", resume=True)


@pytest.mark.parametrize(
    ("prepare", "out", "more", "said"),
    [
        (lambda: Path("mine").mkdir() or Path("mine", "x").touch(), "mine", {}, "holds something else than shards"),
        (lambda: Path("v.npy").mkdir(), "v.npy", {}, "is a folder"),
        (lambda: Path("taken").touch(), "taken", {}, "is a file, and shards need a folder"),
        (lambda: None, "v.bin", {}, "ends in '.bin'; end it in .npy"),
        (lambda: None, "v.npy", {"output_format": "npx"}, "did you mean 'npy'"),
        (lambda: None, "v.npy", {"input_format": "cvs"}, "did you mean 'csv'"),
        (lambda: None, "v.npy", {"input_format": "conll"}, "holds words in columns"),
        (lambda: None, "-", {"output_format": "npy", "stream": io.StringIO()}, "npy cannot be written to standard output"),
        (lambda: None, "-", {"resume": True, "stream": io.StringIO()}, "cannot be gone on with"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_told_and_nothing_is_replaced(
    work: Path, tiny_export_dir: Path, prepare: Any, out: str, more: dict[str, Any], said: str
) -> None:
    prepare()
    before = sorted(work.rglob("*"))
    with pytest.raises(PotstillError, match=said):
        encode_file(str(tiny_export_dir), "texts.txt", out, **more)
    assert sorted(work.rglob("*")) == before


def test_a_text_of_a_later_block_is_named_by_its_number(work: Path, tiny_export_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Encoder.run
    monkeypatch.setattr(
        Encoder, "run", lambda self, texts, *rest, **more: real(self, texts, *rest, **more) * (np.nan if "x" in texts else 1)
    )
    with pytest.raises(PotstillError, match=r"vectors of 3 of 3 texts hold NaN or infinity, first of text 4"):
        encode_file(str(tiny_export_dir), "texts.txt", "v.npy")


def test_pipes(work: Path, call: Any, tiny_export_dir: Path, tiny_head_exports: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def piped(content: str, *arguments: object) -> str:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content.encode()))))
        status, out, err = call(*arguments)
        assert status == 0 and "error" not in err and err
        return out

    expected = Encoder(tiny_export_dir).encode(["the river", "São"])
    out = piped("the river\nSão\n", "encode", tiny_export_dir, "-", "--out", "-")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["text"] for row in rows] == ["the river", "São"]
    assert np.allclose([row["vector"] for row in rows], expected, atol=1e-5)
    out = piped("text\nthe river\nSão\n", "encode", tiny_export_dir, "-", "--input-format", "csv", "--out", "-", "--output-format", "csv")
    texts, vectors = zip_csv(io.StringIO(out))
    assert texts == ["the river", "São"] and np.allclose(vectors, expected, atol=1e-5)
    out = piped('{"text": "the river"}\n', "predict", tiny_head_exports["classification"], "-", "--input-format", "jsonl", "--out", "-")
    assert json.loads(out)["text"] == "the river"
