"""Texts out of every format, and one line of error for each thing that can be wrong in one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from potstill.data.jsonl import read_jsonl_rows
from potstill.data.readers import read_texts
from potstill.errors import PotstillError


def made(path: Path, content: str) -> Path:
    data = content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def test_blank_and_repeated_texts_are_dropped_in_order(tmp_path: Path) -> None:
    assert read_texts(made(tmp_path / "a.txt", "b\n\n  a \n\t\nb\na\nc")) == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("a.txt.gz", "one\ntwo\n", ["one", "two"]),
        ("a.unknown", "one\ntwo\n", ["one", "two"]),
        ("a.jsonl", '{"text": "one"}\n\n{"text": null}\n{"text": "two", "n": 1}\n', ["one", "two"]),
        ("a.json.gz", '{"text": "one"}\n{"text": "two"}\n', ["one", "two"]),
        ("a.csv", f"{'a' * 300_000}\n", ["a" * 300_000]),
        ("a.csv", 'one,"two, 2"\n"three\nlines",""\n', ["one", "two, 2", "three\nlines"]),
        ("a.tsv", 'one\t"two\n\nthree\tfour\n', ["one", '"two', "three", "four"]),
        ("a.tsv.gz", "one\ttwo\n", ["one", "two"]),
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
        ("a.txt", " \n\t\n", {}, r"a\.txt: holds no text"),
        ("a.txt", "x\n", {"columns": [1]}, r"a\.txt: columns \[1\] of a plain text file"),
        ("a.txt", "x\n", {"format": "jsnl"}, r"unknown format 'jsnl'; did you mean 'jsonl'"),
        ("a.tsv", "a\tb\nc\n", {}, r"a\.tsv:2: 1 columns where the first row has 2"),
        ("a.csv", "a,b\nc,d,e\n", {}, r"a\.csv:2: 3 columns where the first row has 2; quote fields"),
        ("a.csv", 'a,b\n"c,d\ne,f\n', {}, r"a\.csv:2: not readable as a table .* a quote that nothing closes"),
        ("a.csv", "text,label\na,b\n", {"columns": ["texts"]}, r"a\.csv:1: the header has no column 'texts'; did you mean 'text'"),
        ("a.csv", "a,b\n", {"columns": [2]}, r"a\.csv:1: column 2 of a row with 2; columns are numbered 0 to 1"),
        ("a.csv", "a,b\n", {"columns": [-1]}, r"column -1 of a row with 2"),
        ("a.csv", "text\n", {"columns": ["text"]}, r"holds no text"),
        ("a.jsonl", '{"text": "a"}\n{"text": "b"\n', {}, r"a\.jsonl:2: is not JSON"),
        ("a.jsonl", "[" * 100_000, {}, r"a\.jsonl:1: is not JSON"),
        ("a.jsonl", '["a"]\n', {}, r"a\.jsonl:1: holds \['a'\], not an object"),
        ("a.jsonl", '{"txt": "a"}\n', {}, r"a\.jsonl:1: has no field 'text'; did you mean 'txt'"),
        ("a.jsonl", '{"text": 3}\n', {}, r"a\.jsonl:1: field 'text' is 3, not a text"),
        ("a.jsonl", '{"text": "a\\u0000b"}\n', {}, r"a\.jsonl:1: field 'text': NUL byte at character 2"),
        ("a.jsonl", '{"text": "a\\ud800b"}\n', {}, r"a\.jsonl:1: field 'text': half a character"),
        ("a.jsonl", '{"text": "a"}\n', {"columns": [0]}, r"column 0 of JSON lines; name the fields"),
        ("a.parquet", "no parquet", {}, r"a\.parquet: cannot be read as a data set on disk"),
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


def test_jsonl_rows_keep_other_keys_and_line_numbers(tmp_path: Path) -> None:
    rows = [{"query": "q", "document": "d", "held_out": True}, {"query": "r", "document": "e"}]
    file = made(tmp_path / "a.jsonl", "\n\n".join(map(json.dumps, rows)))
    assert list(read_jsonl_rows(file, ["query", "document"])) == [(1, rows[0]), (3, rows[1])]
    with pytest.raises(PotstillError, match=r"a\.jsonl:3: has no field 'held_out'"):
        list(read_jsonl_rows(file, ["held_out"]))


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return library


def test_data_sets_on_disk(tmp_path: Path, datasets: Any) -> None:
    rows = datasets.Dataset.from_dict({"text": ["a", None, "b"], "title": ["t", "u", "v"], "n": [1, 2, 3]})
    rows.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": rows, "test": rows.select([2])}).save_to_disk(tmp_path / "splits")
    (tmp_path / "parquet").mkdir()
    rows.to_parquet(tmp_path / "parquet" / "train-0.parquet")
    assert read_texts(tmp_path / "saved") == ["a", "b"]
    assert read_texts(tmp_path / "saved", columns=["title", "text"]) == ["t", "a", "u", "v", "b"]
    assert read_texts(tmp_path / "splits", split="test") == ["b"]
    assert read_texts(tmp_path / "parquet") == ["a", "b"]
    assert read_texts(tmp_path / "parquet" / "train-0.parquet") == ["a", "b"]
    with pytest.raises(PotstillError, match="has no split 'dev'"):
        read_texts(tmp_path / "splits", split="dev")
    with pytest.raises(PotstillError, match="has no column 'titel'; did you mean 'title'"):
        read_texts(tmp_path / "saved", columns=["titel"])
    with pytest.raises(PotstillError, match="column 'n' holds int64, not strings"):
        read_texts(tmp_path / "saved", columns=["n"])


def test_a_data_set_without_a_text_column_gives_all_its_strings(tmp_path: Path, datasets: Any) -> None:
    datasets.Dataset.from_dict({"question": ["a"], "n": [1], "answer": ["b"]}).save_to_disk(tmp_path / "saved")
    assert read_texts(tmp_path / "saved") == ["a", "b"]
    datasets.Dataset.from_dict({"n": [1]}).save_to_disk(tmp_path / "numbers")
    with pytest.raises(PotstillError, match="no column holds strings"):
        read_texts(tmp_path / "numbers")


def test_a_hub_name_without_a_network_is_one_line(datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the discard port: refused at once
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        PotstillError, match="owner/name: cannot be read as a data set of the hub .* check the name and the network"
    ) as caught:
        read_texts("owner/name", format="dataset")
    assert "\n" not in str(caught.value)
