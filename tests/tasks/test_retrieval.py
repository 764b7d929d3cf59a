from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.recipe.file import read_recipe
from potstill.tasks import retrieval
from potstill.tasks.base import load_task


def write_rows(folder: Path, rows: Sequence[dict[str, Any]], name: str = "tiny") -> Path:
    (folder / "retrieval").mkdir()
    (folder / "retrieval" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def from_table(table: Mapping[str, Any]) -> Any:
    return lambda texts: np.array([table[text] for text in texts], dtype=np.float32)


def scores_by_loops(rows: Sequence[dict[str, Any]], table: Mapping[str, np.ndarray]) -> dict[str, float]:
    documents = list(dict.fromkeys(row["document"] for row in rows))
    asked = list(dict.fromkeys(row["query"] for row in rows if "query" in row and row.get("held_out", True)))
    scores = dict.fromkeys(["mrr@10", "recall@1", "recall@10", "ndcg@10"], 0.0)
    for query in asked:
        right = {row["document"] for row in rows if row.get("query") == query}
        cosine = {}
        for document in documents:
            a, b = table[query], table[document]
            cosine[document] = float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))
        ranking = sorted(documents, key=lambda document: -cosine[document])
        hits = [place for place, document in enumerate(ranking[:10]) if document in right]
        scores["mrr@10"] += 1 / (hits[0] + 1) if hits else 0
        scores["recall@1"] += len([place for place in hits if place < 1]) / len(right)
        scores["recall@10"] += len(hits) / len(right)
        scores["ndcg@10"] += sum(1 / math.log2(place + 2) for place in hits) / sum(
            1 / math.log2(place + 2) for place in range(min(10, len(right)))
        )
    return {name: 100 * total / len(asked) for name, total in scores.items()}


def test_hand_made(tmp_path: Path) -> None:
    rows = [{"query": "q1", "document": "d1"}, {"query": "q2", "document": "d2"}]
    table = {"q1": [1, 0], "d1": [2, 0.1], "q2": [1, 0.5], "d2": [0, 3]}  # q2 is nearer to d1: ranks 1 and 2
    score = load_task("retrieval/tiny", write_rows(tmp_path, rows)).evaluate(from_table(table))
    discounted = pytest.approx(50 * (1 + 1 / math.log2(3)))
    assert score == {"mrr@10": 75.0, "recall@1": 50.0, "recall@10": 100.0, "ndcg@10": discounted, "queries": 2, "documents": 2}


@pytest.mark.parametrize(
    ("queries", "documents"),
    [
        (1, 3),  # a query and a few documents at a time
        (7, 40),  # the last blocks are not full
        (512, 16_384),  # all at once
    ],
)
def test_against_loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queries: int, documents: int) -> None:
    monkeypatch.setattr(retrieval, "QUERIES", queries)
    monkeypatch.setattr(retrieval, "DOCUMENTS", documents)
    rng = np.random.default_rng(1)
    # some queries and some documents come twice, and one query has twelve right documents, more than are looked at
    rows: list[dict[str, Any]] = [{"query": f"q{n % 35}", "document": f"d{n % 45}", "held_out": n % 3 == 0} for n in range(50)]
    rows += [{"query": "q0", "document": f"d{n}", "held_out": True} for n in range(12)]
    rows += [{"document": f"distractor {n}"} for n in range(30)]
    table = {text: rng.normal(size=4) for row in rows for text in row.values() if isinstance(text, str)}
    for row in rows[:50]:
        table[row["query"]] = table[row["query"]] + table[row["document"]]
    score = load_task("retrieval/tiny", write_rows(tmp_path, rows)).evaluate(from_table(table))
    expected = scores_by_loops(rows, table)
    assert 0 < expected["recall@1"] < expected["mrr@10"] < 100 and expected["recall@1"] < expected["recall@10"] < 100
    assert {name: score[name] for name in expected} == pytest.approx(expected)
    assert score["documents"] == 75


def test_distractors_are_ranked_and_never_asked(tmp_path: Path) -> None:
    rows = [{"query": "q", "document": "d"}, {"document": "other"}, {"document": "d"}]  # the third is the first one's own
    task = load_task("retrieval/tiny", write_rows(tmp_path, rows))
    assert task.texts() == ["q", "d", "other"]
    score = task.evaluate(from_table({"q": [1, 0], "d": [1, 1], "other": [1, 0.1]}))
    assert (score["mrr@10"], score["recall@1"], score["queries"], score["documents"]) == (50.0, 0.0, 1, 2)


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
    assert {score[name] for name in ("mrr@10", "recall@1", "recall@10", "ndcg@10")} == {0.0}


def test_equal_documents_are_one(tmp_path: Path) -> None:
    rows = [{"query": f"q{n}", "document": "same"} for n in range(3)]
    score = load_task("retrieval/tiny", write_rows(tmp_path, rows)).evaluate(lambda texts: np.ones((len(texts), 3), dtype=np.float32))
    assert {score[name] for name in ("mrr@10", "recall@1", "recall@10", "ndcg@10")} == {100.0}
    assert (score["queries"], score["documents"]) == (3, 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "q"}, "document"),  # no document
        ({"query": "q", "document": 3}, r"tiny\.jsonl:1: 'document' is 3"),  # a number
        ({"query": " ", "document": "d"}, r"tiny\.jsonl:1: 'query' is ' '"),  # a blank query
        ({"query": "q", "document": "d", "held_out": "yes"}, "'held_out' is 'yes'.*true or false"),  # a word instead of a truth value
        ({"query": "q", "document": "d", "held_out": False}, "no row has held_out true"),  # nothing to ask
        ({"document": "d"}, r"tiny\.jsonl: no row has a query"),  # distractors alone
        ({"qeury": "q", "document": "d"}, r"tiny\.jsonl:1: has no field 'query' beside 'qeury'"),  # a misspelt query is no distractor
        ({"document": "d", "held_out": True}, r"tiny\.jsonl:1: has no field 'query' beside 'held_out'"),  # nothing that could be asked
        ({"query": None, "document": "d"}, r"tiny\.jsonl:1: 'query' is None"),  # an empty cell of a table
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


def write_captions(folder: Path, images: int, captions: int = 5) -> Path:
    (folder / "corpora").mkdir()
    with gzip.open(folder / "corpora" / "captions.tsv.gz", "wt", encoding="utf-8") as stream:
        stream.writelines("\t".join(f"image {image} caption {number}" for number in range(captions)) + "\n" for image in range(images))
    return folder


def test_captions_that_no_recipe_trains_on_ask_for_each_other(tmp_path: Path) -> None:
    task = load_task("retrieval/captions", write_captions(tmp_path, images=21))
    documents = [f"image {image} caption 4" for image in range(21)]
    assert task.texts() == [*(f"image {image} caption 3" for image in (0, 10, 20)), *documents]
    one_hot = np.eye(21, dtype=np.float32)
    score = task.evaluate(lambda texts: np.array([one_hot[int(text.split()[1])] for text in texts]))
    assert (score["mrr@10"], score["queries"], score["documents"]) == (100.0, 3, 21)

    read = {column for source in read_recipe("embed/mpnet-to-3-layers").data.texts for column in getattr(source, "columns", None) or ()}
    assert read and read.isdisjoint(retrieval.CAPTION_COLUMNS)


def test_a_file_of_captions_comes_before_the_corpus(tmp_path: Path) -> None:
    write_rows(write_captions(tmp_path, images=3), [{"query": "q", "document": "d"}], name="captions")
    assert load_task("retrieval/captions", tmp_path).texts() == ["q", "d"]


def test_captions_that_are_missing_or_too_few(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match=r"captions\.tsv\.gz"):
        load_task("retrieval/captions", tmp_path)
    with pytest.raises(PotstillError, match=r"captions\.tsv\.gz:1: column 3 of a row with 2"):
        load_task("retrieval/captions", write_captions(tmp_path, images=3, captions=2))
