"""Near sentences: is a paraphrase nearer than a sentence that differs in one thing?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from potstill.data.edits import EDITS
from potstill.data.files.senteval import read_sts_benchmark, read_sts_folder
from potstill.errors import PotstillError, did_you_mean
from potstill.registry import DEV
from potstill.tasks.base import ROUNDING, Encode, Task, evenly, unit_rows
from potstill.tasks.sts import BENCHMARK, YEARS

ALL = "all"
SOURCES = ("12", "13", "14", "15")
PARAPHRASE = 4.5  # of 5: "completely equivalent"
TRANSLATED = "SMT"  # in the name of a subset: one side is a machine's translation, which is often no sentence


class Triple(NamedTuple):
    """Three sentences: two that people found to say the same, and the first one edited so that it says something else."""

    sentence: str
    paraphrase: str
    edited: str


class Near(Task):
    """Share of triples of a sentence, its paraphrase and its edit, in which the first two are the nearest pair.

    The edit shares nearly all words with the sentence and the paraphrase does not, so a model that
    looks at words alone fails. Vectors drawn at random reach 33. Pairs as near as each other count
    against the model, so that one vector for every text reaches 0. No teacher is asked: teacher and
    student are scored alike.

    The pairs are those of SemEval STS 2012 to 2015 that people gave PARAPHRASE or more. Those with a
    sentence of the STS benchmark's dev set, by which checkpoints are chosen, are left out. Each
    sentence is edited once a kind, always alike (data.edits).

    Args:
        name: of the task.
        triples: kind of edit → its triples.

    Raises:
        PotstillError: a kind has no triple.
    """

    primary = "accuracy"

    def __init__(self, name: str, triples: Mapping[str, Sequence[Triple]]) -> None:
        super().__init__(name)
        self.triples = triples
        for kind, some in triples.items():
            if not some:
                raise PotstillError(name, f"no paraphrase among the STS sets allows an edit of the kind {kind}", "fetch them whole")

    @classmethod
    def variants(cls) -> dict[str, str]:
        """Each kind of edit, and all of them."""
        kinds = {kind: f"paraphrases of STS 2012 to 2015 against sentences edited in one thing: {kind}" for kind in EDITS}
        return {ALL: "paraphrases against edited sentences: the mean over the kinds of edit"} | kinds

    @classmethod
    def open(cls, variant: str, folder: Path) -> Near:
        """Edit the paraphrases of FOLDER/senteval/STS/STS<year>-en-test, but for those of STSBenchmark/sts-dev.csv.

        Raises:
            PotstillError: there is no such variant, or a file is missing or malformed.
        """
        name = f"near/{variant}"
        if variant not in cls.variants():
            raise PotstillError("tasks", f"unknown task {name!r}", did_you_mean(name, [f"near/{known}" for known in cls.variants()]))
        pairs = _paraphrases(folder)
        return cls(name, {kind: _triples(pairs, kind) for kind in (EDITS if variant == ALL else [variant])})

    def few(self, rows: int) -> Near:
        """`rows` triples of each kind."""
        return Near(self.name, {kind: [some[row] for row in evenly(len(some), rows)] for kind, some in self.triples.items()})

    def texts(self) -> list[str]:
        """The triples of each kind, one after another."""
        return [text for triples in self.triples.values() for triple in triples for text in triple]

    def evaluate(self, encode: Encode) -> dict[str, Any]:
        """Share ×100 of the triples whose paraphrases are their nearest pair: of each kind, and the mean over the kinds.

        A PotstillError comes through where a vector is not finite.

        Args:
            encode: n texts → (n, d) vectors in the same order.
        """
        unit = unit_rows(encode(self.texts()), self.name)
        vectors = unit.reshape(-1, 3, unit.shape[-1])  # (triples, 3, d)
        cosines = np.einsum("tad,tbd->tab", vectors, vectors)  # (triples, 3, 3)
        right = cosines[:, 0, 1] > np.maximum(cosines[:, 0, 2], cosines[:, 1, 2]) + ROUNDING
        parts = np.split(right, np.cumsum([len(triples) for triples in self.triples.values()])[:-1])
        subsets = {
            kind: {self.primary: float(100 * part.mean()), "triples": len(part)} for kind, part in zip(self.triples, parts, strict=True)
        }
        mean = float(np.mean([subset[self.primary] for subset in subsets.values()]))
        return {self.primary: mean, "triples": len(right), "subsets": subsets}


def _paraphrases(folder: Path) -> list[tuple[str, str]]:
    """Pairs of different words that people found equivalent, both ways round, each once; none shares a sentence with STS-B dev."""
    dev = read_sts_benchmark(folder / BENCHMARK[f"stsb{DEV}"])
    chosen_by = {_words(text) for text in (*dev.first, *dev.second)}
    found: dict[tuple[str, str], None] = {}
    for year in SOURCES:
        for pairs in read_sts_folder(folder / YEARS[year]):
            for first, second, score in zip(pairs.first, pairs.second, pairs.scores, strict=True):
                keys = {_words(first), _words(second)}
                if score >= PARAPHRASE and len(keys) == 2 and TRANSLATED not in pairs.name and not keys & chosen_by:
                    found |= {(first, second): None, (second, first): None}
    return list(found)


def _triples(pairs: Sequence[tuple[str, str]], kind: str) -> list[Triple]:
    """The pairs whose first sentence allows an edit; each sentence once, with the first of its paraphrases."""
    triples: dict[str, Triple] = {}
    for sentence, paraphrase in pairs:
        edited = EDITS[kind](sentence)
        if edited is not None and _words(edited) not in (_words(sentence), _words(paraphrase)):
            triples.setdefault(_words(sentence), Triple(sentence, paraphrase, edited))
    return list(triples.values())


def _words(text: str) -> str:
    """What two sentences share that differ in case, spaces and punctuation alone."""
    return " ".join(re.findall(r"\w+", text.casefold()))
