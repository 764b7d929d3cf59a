"""Retrieval: given a query, how high does its document rank among all documents?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from potstill.data.files.jsonl import read_jsonl_rows
from potstill.data.files.lines import shown_path
from potstill.errors import PotstillError, did_you_mean, shown
from potstill.machine.files import kind_of_place
from potstill.tasks.base import Encode, Task, unit_rows

CUT = 10
BLOCK = 512  # queries scored together: with 10,000 documents 20 MB of cosines


class Row(NamedTuple):
    """A row of the file: a query, its document, and whether the query is asked."""

    query: str
    document: str
    asked: bool


class Retrieval(Task):
    """MRR@10 and recall@1 over rows of query and document, in FOLDER/retrieval/<variant>.jsonl.

    Each row is {"query", "document"} and may have "held_out". Then only the queries of the rows where
    it is true are asked, among the documents of all rows. Equal documents are one document. Equal
    queries are one query with several right documents, of which the best ranked one counts. Ties
    count against the model: a wrong document with the same cosine as the right one is ranked before
    it. So a model that gives every text the same vector scores about 0.
    """

    primary = f"mrr@{CUT}"

    def __init__(self, name: str, rows: list[Row]) -> None:
        super().__init__(name)
        document_number = {text: number for number, text in enumerate(dict.fromkeys(row.document for row in rows))}
        asked = {text: number for number, text in enumerate(dict.fromkeys(row.query for row in rows if row.asked))}
        self.documents, self.queries = list(document_number), list(asked)
        answers = sorted({(asked[row.query], document_number[row.document]) for row in rows if row.query in asked})
        # (a, 2) pairs of query number and right document's number, by query
        self.answers = np.array(answers, dtype=np.int64)

    @classmethod
    def variants(cls) -> dict[str, str]:
        """Any file of the folder, by its name."""
        return {"<name>": "rows of retrieval/<name>.jsonl: find each query's document among all"}

    @classmethod
    def open(cls, variant: str, folder: Path) -> Retrieval:
        """Read FOLDER/retrieval/<variant>.jsonl.

        Raises:
            PotstillError: `variant` is not a file's name, or the file is missing or malformed.
        """
        name = f"retrieval/{variant}"
        if not re.fullmatch(r"\w[\w.-]*", variant):
            raise PotstillError("tasks", f"{name!r} does not name a file", "write retrieval/<name> for the file retrieval/<name>.jsonl")
        path = folder / "retrieval" / f"{variant}.jsonl"
        if kind_of_place(path) != "a file":
            there = [f"retrieval/{other.stem}" for other in path.parent.glob("*.jsonl")]
            raise PotstillError(name, f"no such file: {shown_path(path)}", did_you_mean(name, there))
        return cls(name, _read(path))

    def texts(self) -> list[str]:
        """The distinct queries, then the distinct documents."""
        return self.queries + self.documents

    def evaluate(self, encode: Encode, encode_documents: Encode | None = None) -> dict[str, Any]:
        """MRR@10 and recall@1 ×100 over the distinct queries, and the numbers of queries and documents.

        A PotstillError comes through where a vector is not finite.

        Args:
            encode: n texts → (n, d) vectors in the same order.
            encode_documents: the same, of documents alone; default: `encode` encodes them too.
        """
        apart = encode_documents and np.concatenate([encode(self.queries), encode_documents(self.documents)])
        unit = unit_rows(encode(self.texts()) if apart is None else apart, self.name).astype(np.float32)  # (queries + documents, d)
        ranks = self._ranks(unit[: len(self.queries)], unit[len(self.queries) :])
        return {
            self.primary: float(100 * np.mean(np.where(ranks <= CUT, 1 / ranks, 0))),
            "recall@1": float(100 * np.mean(ranks == 1)),
            "queries": len(self.queries),
            "documents": len(self.documents),
        }

    def _ranks(self, queries: NDArray[np.float32], documents: NDArray[np.float32]) -> NDArray[np.int64]:
        """(q,) rank from 1 of each query's best right document: 1 + the number of wrong documents with at least its cosine."""
        ranks = np.empty(len(queries), dtype=np.int64)
        for start in range(0, len(queries), BLOCK):
            cosines = queries[start : start + BLOCK] @ documents.T  # (b, documents)
            first, last = np.searchsorted(self.answers[:, 0], [start, start + BLOCK])
            right = np.zeros(cosines.shape, dtype=bool)
            right[self.answers[first:last, 0] - start, self.answers[first:last, 1]] = True
            best = np.where(right, cosines, -np.inf).max(axis=1, keepdims=True)  # (b, 1)
            ranks[start : start + BLOCK] = 1 + np.count_nonzero((cosines >= best) & ~right, axis=1)
        return ranks


def _read(path: Path) -> list[Row]:
    rows: list[dict[str, Any]] = []
    for number, row in read_jsonl_rows(path, ["query", "document"]):
        place = f"{path}:{number}"
        for key in ("query", "document"):
            if not isinstance(row[key], str) or not row[key].strip():
                raise PotstillError(place, f"{key!r} is {shown(row[key])}", "every row needs a query and a document, both texts")
        if not isinstance(row.get("held_out", True), bool):
            raise PotstillError(place, f"'held_out' is {shown(row['held_out'])}", "write true or false")
        rows.append(row)
    split = any("held_out" in row for row in rows)
    parsed = [Row(row["query"], row["document"], row.get("held_out", False) if split else True) for row in rows]
    if not any(row.asked for row in parsed):
        raise PotstillError(path, "no row has held_out true, so no query is asked", "mark some, or leave the key out to ask all")
    return parsed
