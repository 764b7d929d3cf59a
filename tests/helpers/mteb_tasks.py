"""Tasks of the package mteb whose data is made in code; mteb must be installed to import them."""

from __future__ import annotations

from typing import Any

from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskClassification, AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.aggregate_task_metadata import AggregateTaskMetadata
from mteb.abstasks.aggregated_task import AbsTaskAggregate
from mteb.abstasks.task_metadata import TaskMetadata

FIRST = ["the river", "a village", "nine 9s", "and again the river"]
SECOND = ["a river", "villages and villages", "the", "river the again and"]
GOLD = [4.0, 2.5, 0.0, 5.0]


def described(name: str, kind: str, score: str, **more: Any) -> TaskMetadata:
    own: dict[str, Any] = {
        "name": name, "type": kind, "main_score": score, "description": "made here", "reference": None,
        "dataset": {"path": "none/none", "revision": "1"}, "eval_splits": ["test"], "eval_langs": ["eng-Latn"],
        "category": "t2t", "date": None, "domains": None, "task_subtypes": None, "license": None, "annotations_creators": None,
        "dialect": None, "sample_creation": None, "bibtex_citation": None, "modalities": ["text"],
    }  # fmt: skip
    return TaskMetadata(**own | more)


class Pairs(AbsTaskSTS):
    metadata = described("MadeSTS", "STS", "cosine_spearman")

    def load_data(self, *_: Any, **__: Any) -> None:
        self.dataset = DatasetDict(test=Dataset.from_dict({"sentence1": FIRST, "sentence2": SECOND, "score": GOLD}))
        self.data_loaded = True


class TwoLanguages(Pairs):
    metadata = described("MadeTwo", "STS", "cosine_spearman", eval_langs={"one": ["eng-Latn"], "two": ["deu-Latn"]})

    def load_data(self, *_: Any, **__: Any) -> None:
        rows = {"one": GOLD, "two": GOLD[::-1]}
        self.dataset = {
            part: DatasetDict(test=Dataset.from_dict({"sentence1": FIRST, "sentence2": SECOND, "score": gold}))
            for part, gold in rows.items()
        }
        self.data_loaded = True


class Found(AbsTaskRetrieval):
    metadata = described("MadeRetrieval", "Retrieval", "ndcg_at_10")

    def load_data(self, *_: Any, **__: Any) -> None:
        documents = {f"d{number}": text for number, text in enumerate(FIRST)}
        self.dataset = {"default": {"test": {
            "corpus": Dataset.from_list([{"id": key, "text": text, "title": ""} for key, text in documents.items()]),
            "queries": Dataset.from_list([{"id": f"q{number}", "text": text} for number, text in enumerate(FIRST)]),
            "relevant_docs": {f"q{number}": {f"d{number}": 1} for number in range(len(FIRST))},
            "top_ranked": None,
        }}}  # fmt: skip
        self.data_loaded = True


class Kinds(AbsTaskClassification):
    metadata = described("MadeKinds", "Classification", "accuracy", category="t2c")
    samples_per_label = 4

    def load_data(self, *_: Any, **__: Any) -> None:
        rows = [(f"the {thing} {letter}", number) for letter in "abcdef" for number, thing in enumerate(("rivers", "9999"))]
        split = Dataset.from_dict({"text": [text for text, _ in rows], "label": [label for _, label in rows]})
        self.dataset = DatasetDict(train=split, test=split)
        self.data_loaded = True


class Unread(Pairs):
    metadata = described("MadeUnread", "STS", "cosine_spearman")

    def load_data(self, *_: Any, **__: Any) -> None:
        raise ConnectionError("no route to the hub\nand more")


class Mean(AbsTaskAggregate):
    metadata = AggregateTaskMetadata(
        name="MadeMean", description="made here", reference=None, tasks=[Pairs(), TwoLanguages()], main_score="cosine_spearman",
        type="STS", eval_splits=["test"], bibtex_citation=None, date=None,
    )  # fmt: skip


MADE = {kind.metadata.name: kind for kind in (Pairs, TwoLanguages, Found, Kinds, Unread, Mean)}
