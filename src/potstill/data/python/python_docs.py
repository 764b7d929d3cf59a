"""A corpus and a retrieval task that every machine can make, out of the documentation in Python's own source files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from potstill.data.python.docstrings import Docstring, collect_docstrings, python_topics
from potstill.data.python.prose import is_prose, plain, sentences
from potstill.errors import PotstillError
from potstill.machine.files import write_aside

CORPUS = Path("corpora") / "python-docs.txt"
PAIRS = Path("retrieval") / "python-docs.jsonl"

HELD_OUT_ONE_IN = 5
MIN_REST = 40  # characters of prose: less says too little to be found by

# Rich in prose and drawn in by potstill's own extras. General ones first: the corpus may be full before the end.
PACKAGES = (
    *("click", "rich", "pydantic", "jinja2", "packaging", "setuptools", "pip", "fsspec", "joblib", "pygments", "anyio"),
    *("numpy", "datasets", "huggingface_hub", "networkx", "pandas", "sklearn", "scipy", "torch", "transformers", "sympy"),
)


@dataclass(frozen=True)
class RetrievalPair:
    """A query and its document.

    Attributes:
        query: the first line of a docstring.
        document: the rest of it, on one line.
        source: the docstring.
    """

    query: str
    document: str
    source: Docstring


@dataclass(frozen=True)
class PythonDocs:
    """What `write_python_docs` wrote.

    Attributes:
        corpus: the file of sentences.
        pairs: the file of queries and documents.
        sentences: how many the corpus has.
        documents: how many pairs there are.
        held_out: how many of them are held out.
    """

    corpus: Path
    pairs: Path
    sentences: int
    documents: int
    held_out: int


def retrieval_pairs(docstrings: Iterable[Docstring]) -> list[RetrievalPair]:
    """The pairs of the docstrings whose first line and rest are both prose.

    Of several docstrings with the same first line, or the same rest, the first one is kept: a query
    with two right answers cannot be scored.
    """
    pairs: list[RetrievalPair] = []
    seen: set[str] = set()
    for docstring in docstrings:
        first, _, rest = docstring.text.strip().partition("\n")
        query, document = plain(first), plain(rest)
        keys = {f"query {query.casefold()}", f"document {document.casefold()}"}
        if is_prose(query) and sum(map(len, sentences([rest]))) >= MIN_REST and not keys & seen:
            seen |= keys
            pairs.append(RetrievalPair(query, document, docstring))
    return pairs


def write_python_docs(folder: str | Path, seed: int = 0, *, max_sentences: int = 60_000, packages: Iterable[str] = PACKAGES) -> PythonDocs:
    """Write `corpora/python-docs.txt` (a sentence a line) and `retrieval/python-docs.jsonl` under `folder`.

    The corpus has the sentences of the standard library's docstrings, of the language reference, and
    then of `packages`, until there are `max_sentences`. The task has the standard library alone, so
    that it depends on the Python version and on nothing else that is installed. Its rows are
    `{"query", "document", "name", "held_out"}`. One pair in HELD_OUT_ONE_IN is held out, by a hash of
    its name and `seed`. No sentence of a held-out docstring is in the corpus, wherever else it occurs.

    Args:
        folder: to write under.
        seed: of the held-out pairs.
        max_sentences: of the corpus.
        packages: import names, in the order in which they are read.

    Raises:
        PotstillError: this Python came without its source files, or the disk is full.
    """
    folder = Path(folder)
    docstrings = list(collect_docstrings())
    pairs = retrieval_pairs(docstrings)
    held_out = [pair for pair in pairs if _is_held_out(pair.source.name, seed)]
    if not held_out:
        raise PotstillError("the Python standard library", "its source files are not installed", "use a Python that has them")
    secret = {_key(text) for pair in held_out for text in (pair.query, *sentences([pair.source.text]))}
    texts = chain((docstring.text for docstring in docstrings), python_topics(), _package_texts(packages))
    corpus = list(islice((sentence for sentence in sentences(texts) if _key(sentence) not in secret), max_sentences))
    with write_aside(folder / CORPUS) as corpus_file, write_aside(folder / PAIRS) as pairs_file:
        corpus_file.write_text("".join(f"{sentence}\n" for sentence in corpus), encoding="utf-8")
        with pairs_file.open("w", encoding="utf-8") as stream:
            for pair in pairs:
                name = pair.source.name
                row = {"query": pair.query, "document": pair.document, "name": name, "held_out": _is_held_out(name, seed)}
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    return PythonDocs(folder / CORPUS, folder / PAIRS, len(corpus), len(pairs), len(held_out))


def _package_texts(packages: Iterable[str]) -> Iterator[str]:
    # One package at a time: the corpus is often full before the large ones are parsed.
    for package in packages:
        yield from [docstring.text for docstring in collect_docstrings([package])]


def _is_held_out(name: str, seed: int) -> bool:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT_ONE_IN == 0


def _key(sentence: str) -> str:
    """What two sentences share that only differ in case and end mark."""
    return sentence.casefold().rstrip(" .:;!")
