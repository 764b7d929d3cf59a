"""Retrieval: given a query, how high does its document rank among all documents?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from potstill.data.files.jsonl import read_jsonl_rows
from potstill.data.files.lines import shown_path
from potstill.data.files.texts import read_groups
from potstill.errors import PotstillError, did_you_mean, shown
from potstill.machine.files import kind_of_place
from potstill.tasks.base import ROUNDING, Encode, Task, evenly, unit_rows

CUT = 10
QUERIES, DOCUMENTS = 512, 16_384  # scored together: 33 MB of cosines, however many documents there are

CAPTIONS = "captions"
CAPTIONS_FILE = Path("corpora") / "captions.tsv.gz"
CAPTION_COLUMNS = (3, 4)  # the captions that ask, and those that are found; embed/mpnet-to-3-layers is trained on others, 0 and 1
CAPTIONS_ASKED = 10  # one row in so many


class Row(NamedTuple):
    """A row of the file: a query, its document, and whether the query is asked. A distractor's query is "" and not asked."""

    query: str
    document: str
    asked: bool


class Retrieval(Task):
    """Rows of query and document, in FOLDER/retrieval/<variant>.jsonl: nDCG, MRR and recall of the ten best ranked documents.

    Each row is {"query", "document"} and may have "held_out". Then only the queries of the rows where
    it is true are asked, among the documents of all rows. A row with a document alone is a distractor:
    it answers no query. Equal documents are one document. Equal queries are one query with several
    right documents. Ties count against the model: a wrong document with the same cosine as the right
    one is ranked before it. So a model that gives every text the same vector scores about 0.

    The measures are those of trec_eval with binary relevance, as BEIR has them (Thakur et al. 2021,
    section 3.3). For a query with R right documents at the ranks r, the sums over those with r ≤ k:

        recall@k = Σ 1 / R
        mrr@10   = 1 / min r
        ndcg@10  = Σ 1/log₂(r + 1) / Σ_{i=1}^{min(R, 10)} 1/log₂(i + 1)
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
        self._rows = rows

    @classmethod
    def variants(cls) -> dict[str, str]:
        """Any file of the folder, by its name, and what is made of the captions among the corpora."""
        captions = "corpora/captions.tsv.gz: one image in ten, its fourth caption finds its fifth among those of all images"
        return {CAPTIONS: captions, "<name>": "rows of retrieval/<name>.jsonl: find each query's document among all"}

    @classmethod
    def open(cls, variant: str, folder: Path) -> Retrieval:
        """Read FOLDER/retrieval/<variant>.jsonl, or where there is no such file of captions, FOLDER/corpora/captions.tsv.gz.

        Raises:
            PotstillError: `variant` is not a file's name, or the file is missing or malformed.
        """
        name = f"retrieval/{variant}"
        if not re.fullmatch(r"\w[\w.-]*", variant):
            raise PotstillError("tasks", f"{name!r} does not name a file", "write retrieval/<name> for the file retrieval/<name>.jsonl")
        path = folder / "retrieval" / f"{variant}.jsonl"
        if kind_of_place(path) != "a file":
            if variant == CAPTIONS:
                return cls(name, _captions(folder / CAPTIONS_FILE))
            there = [f"retrieval/{other}" for other in (CAPTIONS, *(file.stem for file in path.parent.glob("*.jsonl")))]
            raise PotstillError(name, f"no such file: {shown_path(path)}", did_you_mean(name, there))
        return cls(name, _read(path))

    def few(self, rows: int) -> Retrieval:
        """`rows` of the rows that ask, among the documents of these alone."""
        asked = [row for row in self._rows if row.asked]
        return Retrieval(self.name, [asked[row] for row in evenly(len(asked), rows)])

    def texts(self) -> list[str]:
        """The distinct queries, then the distinct documents."""
        return self.queries + self.documents

    def evaluate(self, encode: Encode, encode_documents: Encode | None = None) -> dict[str, Any]:
        """The measures ×100 in the mean over the distinct queries, and the numbers of queries and documents.

        A PotstillError comes through where a vector is not finite.

        Args:
            encode: n texts → (n, d) vectors in the same order.
            encode_documents: the same, of documents alone; default: `encode` encodes them too.
        """
        apart = encode_documents and np.concatenate([encode(self.queries), encode_documents(self.documents)])
        unit = unit_rows(encode(self.texts()) if apart is None else apart, self.name).astype(np.float32)  # (queries + documents, d)
        ranks = self._ranks(unit[: len(self.queries)], unit[len(self.queries) :])  # (a,)
        query, first = np.unique(self.answers[:, 0], return_index=True)  # every query has an answer
        right = np.bincount(self.answers[:, 0])  # (q,) right documents of each query
        gains = np.where(ranks <= CUT, 1 / np.log2(ranks + 1), 0)
        ideal = np.cumsum(1 / np.log2(np.arange(2, CUT + 2)))[np.minimum(right, CUT) - 1]  # (q,)
        best = np.minimum.reduceat(ranks, first)  # (q,)

        def recall(cut: int) -> float:
            return float(100 * np.mean(np.add.reduceat(ranks <= cut, first, dtype=np.int64) / right))

        return {
            self.primary: float(100 * np.mean(np.where(best <= CUT, 1 / best, 0))),
            "recall@1": recall(1),
            f"recall@{CUT}": recall(CUT),
            f"ndcg@{CUT}": float(100 * np.mean(np.add.reduceat(gains, first) / ideal)),
            "queries": len(query),
            "documents": len(self.documents),
        }

    def _ranks(self, queries: NDArray[np.float32], documents: NDArray[np.float32]) -> NDArray[np.int64]:
        """(a,) rank from 1 of each answer among all documents; where it is greater than CUT, some number greater than CUT."""
        ranks = np.empty(len(self.answers), dtype=np.int64)
        for start in range(0, len(queries), QUERIES):
            first, last = np.searchsorted(self.answers[:, 0], [start, start + QUERIES])
            query, document = self.answers[first:last, 0] - start, self.answers[first:last, 1]
            own = np.empty(last - first, dtype=np.float32)  # cosines of the answers
            wrong = np.full((min(QUERIES, len(queries) - start), CUT), -np.inf, dtype=np.float32)  # the highest ones of the others
            for begin in range(0, len(documents), DOCUMENTS):
                cosines = queries[start : start + QUERIES] @ documents[begin : begin + DOCUMENTS].T  # (b, c)
                here = (document >= begin) & (document < begin + DOCUMENTS)
                own[here] = cosines[query[here], document[here] - begin]
                cosines[query[here], document[here] - begin] = -np.inf
                wrong = np.partition(np.concatenate([wrong, cosines], axis=1), -CUT, axis=1)[:, -CUT:]  # (b, CUT)
            before = np.count_nonzero(wrong[query] >= own[:, None] - ROUNDING, axis=1)  # wrong ones, at most CUT
            ranks[first:last] = 1 + before + _places(query, own)
        return ranks


def _places(query: NDArray[np.int64], cosines: NDArray[np.float32]) -> NDArray[np.int64]:
    """(a,) place from 0 of each answer among those of its own query, the highest cosine first; `query` is sorted."""
    order = np.lexsort((-cosines, query))
    places = np.empty(len(query), dtype=np.int64)
    places[order] = np.arange(len(query)) - np.searchsorted(query, query)
    return places


def _read(path: Path) -> list[Row]:
    """The rows of a file.

    Raises:
        PotstillError: the file is missing or malformed, or asks nothing.
    """
    rows: list[dict[str, Any]] = []
    for number, row in read_jsonl_rows(path, ["document"]):
        place = f"{path}:{number}"
        for key in ("query", "document"):
            if key in row and (not isinstance(row[key], str) or not row[key].strip()):
                raise PotstillError(
                    place, f"{key!r} is {shown(row[key])}", "every row needs a document, and a query unless it answers none"
                )
        if "held_out" in row and not isinstance(row["held_out"], bool):
            raise PotstillError(place, f"'held_out' is {shown(row['held_out'])}", "write true or false")
        if "query" not in row and len(row) > 1:  # a misspelt query would else make its document a distractor
            problem = f"has no field 'query' beside {shown(sorted(row.keys() - {'document'})[0])}"
            raise PotstillError(place, problem, "add the query; a distractor has its document alone")
        rows.append(row)
    split = any("held_out" in row for row in rows)
    parsed = [
        Row(row.get("query", ""), row["document"], "query" in row and (row.get("held_out", False) if split else True)) for row in rows
    ]
    if not any(row.asked for row in parsed):
        problem = "no row has held_out true, so no query is asked" if split else "no row has a query, so nothing is asked"
        raise PotstillError(path, problem, "add a query, or mark some rows held_out, or leave that key out to ask all")
    return parsed


def _captions(path: Path) -> list[Row]:
    """A row for each image; every tenth is asked, so that the slowest teacher needs minutes and not an hour.

    A PotstillError comes through where the file is missing or has fewer captions an image.
    """
    rows = read_groups(path, CAPTION_COLUMNS)
    return [Row(query, document, number % CAPTIONS_ASKED == 0) for number, (query, document) in enumerate(rows)]
