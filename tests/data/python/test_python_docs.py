"""A corpus and a search task out of docstrings, and nothing of the held-out ones in the corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from potstill.data.python.docstrings import Docstring, collect_docstrings
from potstill.data.python.prose import plain, sentences
from potstill.data.python.python_docs import PythonDocs, retrieval_pairs, write_python_docs
from potstill.errors import PotstillError


def test_pairs_are_prose_and_have_one_answer() -> None:
    rest = "The rest says at length what the first line means to say."
    texts = {
        "good": f"Do the first thing.\n\n{rest}\n    >>> code()",
        "same_first": "Do the first thing.\n\nAnother long explanation of it, longer than forty characters.",
        "same_rest": f"Do the second thing.\n\n{rest}\n    >>> code()",
        "short_first": f"Do it.\n\n{rest}",
        "short_rest": "Do the third thing.\n\nThis is short.",
        "code_rest": "Do the fourth thing.\n\n>>> " + "x = y; " * 20,
        "one_line": "Do the fifth thing and nothing else at all.",
    }
    pairs = retrieval_pairs(Docstring(name, text) for name, text in texts.items())
    assert [(pair.source.name, pair.query, pair.document) for pair in pairs] == [("good", "Do the first thing.", f"{rest} >>> code()")]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> PythonDocs:
    return write_python_docs(tmp_path_factory.mktemp("docs"), seed=13, packages=["rich"])


def test_what_is_written(written: PythonDocs) -> None:
    corpus, rows = read(written)
    assert written.corpus.parts[-2:] == ("corpora", "python-docs.txt")
    assert written.pairs.parts[-2:] == ("retrieval", "python-docs.jsonl")
    held_out = sum(row["held_out"] for row in rows)
    assert (written.sentences, written.documents, written.held_out) == (len(corpus), len(rows), held_out)
    # Python 3.11 has 8,560 docstrings: 20,800 sentences with the topics, 3,370 pairs
    assert len(set(corpus)) == len(corpus) > 12_000
    assert len(rows) > 2_500
    assert 0.17 < held_out / len(rows) < 0.23
    for key in ("query", "document"):
        assert len({row[key] for row in rows}) == len(rows)


def test_nothing_held_out_is_in_the_corpus(written: PythonDocs) -> None:
    corpus, rows = read(written)
    known = set(corpus)
    held_out = {(row["name"], row["query"]) for row in rows if row["held_out"]}
    checked = 0
    for docstring in collect_docstrings():
        if (docstring.name, plain(docstring.text.split("\n")[0])) in held_out:
            checked += 1
            assert not known & set(sentences([docstring.text])), docstring.name
    assert checked >= len(held_out)
    assert not known & {query for _, query in held_out}


def test_the_seed_draws_the_split_and_the_corpus_is_capped(tmp_path: Path, written: PythonDocs) -> None:
    other = write_python_docs(tmp_path, seed=2, max_sentences=500, packages=[])
    assert other.sentences == len(read(other)[0]) == 500
    rows, other_rows = read(written)[1], read(other)[1]
    assert [row["name"] for row in rows] == [row["name"] for row in other_rows]
    both = sum(row["held_out"] and other_row["held_out"] for row, other_row in zip(rows, other_rows, strict=True))
    assert 0 < both < 0.4 * written.held_out


def read(docs: PythonDocs) -> tuple[list[str], list[dict[str, Any]]]:
    rows = [json.loads(line) for line in docs.pairs.read_text(encoding="utf-8").splitlines()]
    return docs.corpus.read_text(encoding="utf-8").splitlines(), rows


def test_a_python_without_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path / "lib")})
    with pytest.raises(PotstillError, match="its source files are not installed"):
        write_python_docs(tmp_path / "docs")
    assert not (tmp_path / "docs").exists()
