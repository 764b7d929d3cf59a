from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.tasks import retrieval
from potstill.tasks.base import load_task


def write_rows(folder: Path, rows: Sequence[dict[str, Any]], name: str = "tiny") -> Path:
    (folder / "retrieval").mkdir()
    (folder / "retrieval" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def from_table(table: Mapping[str, Any]) -> Any:
    return lambda texts: np.array([table[text] for text in texts], dtype=np.float32)


def scores_by_loops(rows: Sequence[dict[str, Any]], table: Mapping[str, np.ndarray]) -> tuple[float, float]:
    documents = list(dict.fromkeys(row["document"] for row in rows))
    asked = list(dict.fromkeys(row["query"] for row in rows if row.get("held_out", True)))
    reciprocals, firsts = [], []
    for query in asked:
        right = {row["document"] for row in rows if row["query"] == query}
        cosine = {}
        for document in documents:
            a, b = table[query], table[document]
            cosine[document] = float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))
        best = max(cosine[document] for document in right)
        rank = 1 + sum(document not in right and cosine[document] >= best for document in documents)
        reciprocals.append(1 / rank if rank <= 10 else 0)
        firsts.append(rank == 1)
    return 100 * sum(reciprocals) / len(asked), 100 * sum(firsts) / len(asked)


def test_hand_made(tmp_path: Path) -> None:
    rows = [{"query": "q1", "document": "d1"}, {"query": "q2", "document": "d2"}]
    table = {"q1": [1, 0], "d1": [2, 0.1], "q2": [1, 0.5], "d2": [0, 3]}  # q2 is nearer to d1: ranks 1 and 2
    score = load_task("retrieval/tiny", write_rows(tmp_path, rows)).evaluate(from_table(table))
    assert score == {"mrr@10": 75.0, "recall@1": 50.0, "queries": 2, "documents": 2}


@pytest.mark.parametrize("block", [1, 7, 512])
def test_against_loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(retrieval, "BLOCK", block)
    rng = np.random.default_rng(1)
    # some queries and some documents come twice
    rows: list[dict[str, Any]] = [{"query": f"q{n % 35}", "document": f"d{n % 45}", "held_out": n % 3 == 0} for n in range(50)]
    table = {text: rng.normal(size=4) for row in rows for text in (row["query"], row["document"])}
    for row in rows:
        table[row["query"]] = table[row["query"]] + table[row["document"]]
    score = load_task("retrieval/tiny", write_rows(tmp_path, rows)).evaluate(from_table(table))
    mrr, recall = scores_by_loops(rows, table)
    assert 0 < recall < mrr < 100
    assert score["mrr@10"] == pytest.approx(mrr)
    assert score["recall@1"] == pytest.approx(recall)


def test_only_held_out_rows_are_asked_among_all_documents(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"query": "q1", "document": "d1", "held_out": True},
        {"query": "q2", "document": "d2", "held_out": False},
        {"query": "q3", "document": "d3"},
    ]
    task = load_task("retrieval/tiny", write_rows(tmp_path, rows))
    assert task.texts() == ["q1", "d1", "d2", "d3"]


def test_ties_count_against_the_model(tmp_path: Path) -> None:
    rows = [{"query": f"q{n}", "document": f"d{n}"} for n in range(30)]
    score = load_task("retrieval/tiny", write_rows(tmp_path, rows)).evaluate(lambda texts: np.ones((len(texts), 3), dtype=np.float32))
    assert score["mrr@10"] == 0.0


def test_equal_documents_are_one(tmp_path: Path) -> None:
    rows = [{"query": f"q{n}", "document": "same"} for n in range(3)]
    score = load_task("retrieval/tiny", write_rows(tmp_path, rows)).evaluate(lambda texts: np.ones((len(texts), 3), dtype=np.float32))
    assert score == {"mrr@10": 100.0, "recall@1": 100.0, "queries": 3, "documents": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "q"}, "document"),  # no document
        ({"query": "q", "document": 3}, r"tiny\.jsonl:1: 'document' is 3"),  # a number
        ({"query": " ", "document": "d"}, r"tiny\.jsonl:1: 'query' is ' '"),  # a blank query
        ({"query": "q", "document": "d", "held_out": "yes"}, "'held_out' is 'yes'.*true or false"),  # a word instead of a truth value
        ({"query": "q", "document": "d", "held_out": False}, "no row has held_out true"),  # nothing to ask
    ],
)
def test_bad_rows(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(PotstillError, match=message):
        load_task("retrieval/tiny", write_rows(tmp_path, [row]))


def test_missing_file_names_what_is_there(tmp_path: Path) -> None:
    write_rows(tmp_path, [{"query": "q", "document": "d"}], name="docstrings")
    with pytest.raises(PotstillError, match=r"docstring\.jsonl; did you mean 'retrieval/docstrings'"):
        load_task("retrieval/docstring", tmp_path)


def test_a_name_may_not_leave_its_folder(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="does not name a file"):
        load_task("retrieval/../secret", tmp_path)


def test_documents_of_an_encoder_of_their_own(tmp_path: Path) -> None:
    task = load_task("retrieval/tiny", write_rows(tmp_path, [{"query": "a", "document": "b"}, {"query": "b", "document": "c"}]))
    queries = {"a": [1.0, 0.0], "b": [0.0, 1.0]}
    documents = {"b": [0.9, 0.1], "c": [0.1, 0.9]}  # the text "b" is a query and a document
    assert task.evaluate(from_table(queries), from_table(documents))["recall@1"] == 100
    assert task.evaluate(from_table(queries), from_table({"b": documents["c"], "c": documents["b"]}))["recall@1"] == 0
