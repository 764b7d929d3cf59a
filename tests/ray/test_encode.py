"""`potstill encode --ray`: files of every form, in order, into parquet shards; and `Encode` for a data set of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from potstill.data.files.inputs import source_of, stream_rows
from potstill.errors import PotstillError
from potstill.ray import Encode
from potstill.ray.encode import ROWS
from potstill.runtime.encoder import Encoder

parquet = pytest.importorskip("pyarrow.parquet")
LINES = [f"the river {n}" for n in range(ROWS + 3)]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Plain text of two shards, JSON lines with ids at a URL, parquet."""
    import pyarrow

    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("".join(f"{line}\n" for line in LINES))
    Path("b.jsonl").write_text('{"text": "the village", "id": 7}\n{"text": "x"}\n')
    parquet.write_table(pyarrow.table({"text": ["y", "the"], "id": ["p", "q"], "other": [1, 2]}), "c.parquet")
    return ["a.txt", (tmp_path / "b.jsonl").as_uri(), "c.parquet"]


def test_ids_and_texts_of_every_form(files):
    rows = [list(stream_rows(source_of(file))) for file in files]
    assert rows[0][:2] == [("a.txt:1", "the river 0"), ("a.txt:2", "the river 1")] and len(rows[0]) == len(LINES)
    assert rows[1:] == [[("7", "the village"), (f"{files[1]}:2", "x")], [("p", "y"), ("q", "the")]]


WRONG = [
    ("d.jsonl", b'{"text": "x", "id": 1.5}\n', "d.jsonl:1: 'id' is 1.5"),
    ("d.jsonl", b'{"text": "x", "id": true}\n', "d.jsonl:1: 'id' is True"),
    ("d.parquet", b"PAR1 and no more", "cannot be read as parquet, behind row 0"),
]


@pytest.mark.parametrize(("name", "content", "line"), WRONG)
def test_what_is_wrong_with_a_row_is_told_at_its_file_and_line(tmp_path, monkeypatch, name, content, line):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    with pytest.raises(PotstillError, match=line):
        list(stream_rows(source_of(name)))


@pytest.mark.parametrize("file", ["file:///nowhere/at/all.txt", "nosuch://bucket/texts.txt"])
def test_a_url_that_cannot_be_opened_is_one_line(file):
    with pytest.raises(PotstillError) as caught:
        list(stream_rows(source_of(file)))
    assert str(caught.value).startswith(f"{file}: cannot be ") and "\n" not in str(caught.value)


def test_encode_adds_vectors_to_a_batch(tiny_export_dir):
    encode = Encode(str(tiny_export_dir), column="body", into="found", dimensions=8)
    batch = encode({"body": np.array(["the river", "x"], dtype=object), "n": np.array([1, 2])})
    whole = Encoder(tiny_export_dir).encode(["the river", "x"])[:, :8]
    assert np.allclose(batch["found"], whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-5) and list(batch["n"]) == [1, 2]
    with pytest.raises(PotstillError, match="the batch has no column 'body', but text"):
        encode({"text": np.array(["x"])})


def test_files_become_parquet_in_their_order_and_what_was_stopped_goes_on(files, tiny_export_dir, cluster, call, tmp_path, monkeypatch):
    monkeypatch.setenv("POTSTILL_MODELS", str(tiny_export_dir.parent))
    good = Path("c.parquet").read_bytes()
    Path("c.parquet").write_bytes(good[:-4])
    command = ("encode", tiny_export_dir.name, *files, "--out", "vectors", "--ray", cluster.address)
    status, _, said = call(*command)
    (error,) = (line for line in said.splitlines() if line.startswith("error"))
    assert status == 2 and "c.parquet (node " in error and "cannot be read as parquet" in error and not Path("vectors").exists()
    Path("c.parquet").write_bytes(good)
    before = {path.name: path.stat().st_mtime_ns for path in Path(".vectors.encoding").glob("*.parquet")}
    status, told, said = call(*command, "--resume")
    assert status == 0, said
    assert f"{len(LINES) + 4:,} × 32 float32" in told
    shards = sorted(Path("vectors").glob("*.parquet"))
    assert [shard.name for shard in shards] == [
        f"{number}.parquet" for number in ("00000-000000", "00000-000001", "00001-000000", "00002-000000")
    ]
    assert before.items() <= {shard.name: shard.stat().st_mtime_ns for shard in shards}.items()
    rows = [row for shard in shards for row in parquet.read_table(shard).to_pylist()]
    assert [row["text"] for row in rows] == [*LINES, "the village", "x", "y", "the"]
    assert [row["id"] for row in rows[-5:]] == [f"{tmp_path}/a.txt:{len(LINES)}", "7", f"{files[1]}:2", "p", "q"]
    vectors = np.array([row["vector"] for row in rows[-9:]], dtype=np.float32)
    assert np.allclose(vectors, Encoder(tiny_export_dir).encode([row["text"] for row in rows[-9:]]), atol=1e-5)
    manifest = json.loads(Path("vectors/manifest.json").read_text())
    assert manifest["rows"] == len(rows) and [shard["rows"] for shard in manifest["shards"]] == [ROWS, 3, 2, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.jsonl", "c.parquet", "vectors"]
    # The same work by one worker gives the same vectors; without texts there are none.
    first = [parquet.read_table(shard)["vector"] for shard in shards]
    assert call(*command, "--no-text", "--workers", 1)[0] == 0 and parquet.read_schema(shards[0]).names == ["id", "vector"]
    assert [parquet.read_table(shard)["vector"] for shard in shards] == first


REFUSED = [
    (["a.txt", "c.parquet"], [], "error: FILE: 2 files are for --ray"),
    (["a.txt"], ["--no-text"], "error: --no-text: works only with --ray"),
    (["a.txt"], ["--ray", "auto", "--threads", "1"], "error: --threads: is not for --ray"),
    (["-"], ["--ray", "auto"], "error: -: is standard input, which other machines cannot read"),
]


@pytest.mark.parametrize(("named", "options", "line"), REFUSED)
def test_options_that_do_not_go_together_are_refused(files, tiny_export_dir, call, named, options, line):
    status, _, said = call("encode", tiny_export_dir, *named, "--out", "vectors", *options)
    assert status == 2 and line in said
