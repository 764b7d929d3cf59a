"""Any file as a labelled data set: its columns, its splits, and one line for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.data.files.own_files import own_files
from potstill.data.splits import LabelledData
from potstill.errors import PotstillError, PotstillWarning
from potstill.recipe.recipe import Data

Opened = Callable[..., LabelledData]
ROWS = [{"body": f"text {n}", "stars": "low" if n % 4 else "high", "user": f"u{n // 5}", "title": f"title {n}"} for n in range(100)]


def table(rows: list[dict[str, Any]], comma: str = ",") -> str:
    return "".join(comma.join(map(str, row)) + "\n" for row in ([*rows[0]], *(row.values() for row in rows)))


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def own(tmp_path: Path) -> Opened:
    """Writes files by name → opens them as data of the kind with these keys of `data`."""

    def opened(kind: str, files: dict[str, str], **keys: Any) -> LabelledData:
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        data = {"dir": str(tmp_path), "file": next(iter(files), None), **keys}
        return own_files(kind, "own", Data.model_validate(data))

    return opened


def splits(data: LabelledData) -> dict[str, list[Any]]:
    return {name: list(read().texts) for name, read in data.splits.items()}


COLUMNS = {"text": "body", "label": "stars"}


def test_a_table_is_parted_by_tenths_of_each_class_alike_in_every_run(own: Opened) -> None:
    data = own("classification", {"a.csv": table(ROWS)}, **COLUMNS)
    found = splits(data)
    assert {name: len(texts) for name, texts in found.items()} == {"train": 80, "dev": 10, "test": 10}
    assert sorted(text for texts in found.values() for text in texts) == sorted(row["body"] for row in ROWS), "each row once"
    assert [int(np.sum(data.splits[part]().labels == 0)) for part in ("dev", "test")] == [2, 2], "a quarter is high: 2.5 of 10"
    assert data.labels == ["high", "low"] and found == splits(own("classification", {"a.csv": table(ROWS)}, **COLUMNS))
    assert len(data.reported()) == 10 and len(data.train_and_dev()[0]) == 80


@pytest.mark.parametrize(
    ("files", "keys"),
    [
        ({"a.tsv": table(ROWS, "\t")}, {}),
        ({"a.jsonl": lines(ROWS)}, {}),
        ({"a.csv": table(ROWS[:50]), "b.jsonl": lines(ROWS[50:])}, {"file": ["a.csv", "b.jsonl"]}),  # several are one table
    ],
)
def test_the_format_makes_no_difference(own: Opened, files: dict[str, str], keys: dict[str, Any]) -> None:
    assert splits(own("classification", files, **COLUMNS, **keys)) == splits(own("classification", {"x.csv": table(ROWS)}, **COLUMNS))


def test_parquet_and_saved_data_sets_have_their_labels_by_name(own: Opened, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    names = ["high", "low"]
    features = datasets.Features({"body": datasets.Value("string"), "stars": datasets.ClassLabel(names=names)})
    rows = [{"body": row["body"], "stars": names.index(row["stars"])} for row in ROWS]
    saved = datasets.Dataset.from_list(rows, features=features)
    saved.to_parquet(str(tmp_path / "a.parquet"))
    saved.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": saved.select(range(80)), "validation": saved.select(range(80, 100))}).save_to_disk(str(tmp_path / "two"))
    expected = splits(own("classification", {"x.csv": table(ROWS)}, **COLUMNS))
    for file in ("a.parquet", "one"):
        found = own("classification", {}, file=file, **COLUMNS)
        assert splits(found) == expected and found.labels == names
    found = own("classification", {}, file="two", **COLUMNS)
    assert {name: len(texts) for name, texts in splits(found).items()} == {"train": 80, "dev": 20}
    for file, keys, said in [
        ("one", {"text": "bdy"}, "has no column 'bdy'; did you mean 'body'?"),
        ("two", {"split": {"dev": 0.1}}, "data.split.dev: is 0.1, and data.file names the rows of dev; drop one of the two"),
    ]:
        with pytest.raises(PotstillError, match=said.replace("?", r"\?")):
            own("classification", {}, file=file, **COLUMNS | keys)


def test_pairs_scores_labels_of_any_number_and_tags(own: Opened) -> None:
    pairs = splits(own("classification", {"a.csv": table(ROWS)}, **COLUMNS, text_pair="title"))
    assert all(isinstance(text, tuple) for text in pairs["train"])
    scores = own("regression", {"s.csv": table([{"text": f"t {n}", "label": n / 3} for n in range(30)])})
    assert [len(texts) for texts in splits(scores).values()] == [24, 3, 3] and scores.labels == []
    several = own("multilabel", {"m.csv": table([{"text": f"t {n}", "label": ("a|b", "a", "")[n % 3]} for n in range(30)])})
    assert several.labels == ["a", "b"]
    tags = own("tagging", {"t.conll": "".join(f"Rome B-LOC\nis{n} O\n\n" for n in range(30))})
    assert tags.labels == ["O", "B-LOC"] and splits(tags)["train"][0][0] == "Rome"
    words = [{"words": ["Rome", f"is{n}"], "ner": ["B-LOC", "O"]} for n in range(30)]
    assert splits(own("tagging", {"t.jsonl": lines(words)}, text="words", label="ner")) == splits(tags)


def test_texts_alike_are_in_one_part_and_so_are_groups(own: Opened) -> None:
    twice = [{"text": text, "label": n % 2} for n in range(60) for text in (f"Say: {n}!", f"say   {n}")]
    found = splits(own("classification", {"a.csv": table(twice)}))
    assert all(sum(f"{n}" in text.split() or f"{n}!" in text.split() for text in texts) != 1 for texts in found.values() for n in range(60))
    data = own("classification", {"b.csv": table(ROWS)}, **COLUMNS, split={"group": "user", "dev": 0.2, "test": 0.2})
    users = {row["body"]: row["user"] for row in ROWS}
    parts = [{users[text] for text in texts} for texts in splits(data).values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 20 and [len(texts) for texts in splits(data).values()] == [60, 20, 20]
    assert all(0.15 <= np.mean(np.asarray(read().labels) == 0) <= 0.35 for read in data.splits.values()), "a quarter is high"


def test_files_of_splits_are_taken_as_they_are_and_what_is_left_is_drawn(own: Opened) -> None:
    files = {"train.csv": table(ROWS[:80]), "test.csv": table(ROWS[80:])}
    named = {"train": "train.csv", "test": "test.csv"}
    assert [*splits(own("classification", files, **COLUMNS, file=named))] == ["train", "test"], "the rows to choose by are held out as ever"
    found = splits(own("classification", files, **COLUMNS, file=named, split={"dev": 0.25}))
    assert {name: len(texts) for name, texts in found.items()} == {"train": 60, "dev": 20, "test": 20}
    assert found["test"] == [row["body"] for row in ROWS[80:]]


def test_repeats_across_splits_are_counted_and_told(own: Opened) -> None:
    files = {
        "a.csv": table([{"text": f"text {n}", "label": n % 2} for n in range(20)]),
        "b.csv": table([{"text": text, "label": n % 2} for n, text in enumerate(["TEXT 3.", "new one", " text  7 ", "text 99"])]),
    }
    data = own("classification", files, file={"train": "a.csv", "test": "b.csv"})
    with pytest.warns(PotstillWarning, match=r"2 of 4 rows of test repeat a text of an earlier split, but for capitals, punctuation"):
        data.tell_repeats()


FEW = [
    *ROWS[:40],
    {"body": "rare 1", "stars": "rare", "user": "x", "title": "y"},
    {"body": "rare 2", "stars": "rare", "user": "x", "title": "y"},
]
WRONG: list[tuple[str, dict[str, str], dict[str, Any], str]] = [
    # a column that is not there; the nearest name
    (
        "classification",
        {"a.csv": table(ROWS)},
        {"text": "bdy", "label": "stars"},
        "a.csv:1: the header has no column 'bdy'; did you mean 'body'?",
    ),
    (
        "classification",
        {"a.jsonl": lines(ROWS)},
        {"text": "body", "label": "star"},
        "a.jsonl:1: has no field 'star'; did you mean 'stars'?",
    ),
    (
        "classification",
        {"a.csv": table(ROWS)},
        {**COLUMNS, "text_pair": "titel"},
        "a.csv:1: the header has no column 'titel'; did you mean 'title'?",
    ),
    (
        "classification",
        {"a.csv": table(ROWS)},
        {**COLUMNS, "split": {"group": "usr"}},
        "a.csv:1: the header has no column 'usr'; did you mean 'user'?",
    ),
    # a label, a text and a group that are empty
    ("classification", {"a.csv": "text,label\nx,a\ny,\n"}, {}, "a.csv:3: the label is missing; every row needs one"),
    ("classification", {"a.csv": "body,label\nx,a\n ,b\n"}, {"text": "body"}, "a.csv:3: 'body' is ' '; write a text that is not blank"),
    (
        "classification",
        {"a.csv": "text,label,who\nx,a,\n"},
        {"split": {"group": "who"}},
        "a.csv:2: 'who' is '', and rows are kept together by it",
    ),
    # a class that cannot be in every part; all of one group; too few rows
    (
        "classification",
        {"a.csv": table(FEW)},
        COLUMNS,
        "too few rows of different texts to have some in each of train, test, dev: 'rare' (2 rows)",
    ),
    (
        "classification",
        {"a.csv": table(FEW)},
        {**COLUMNS, "split": {"group": "user"}},
        "different groups to have some in each of train, test, dev: 'rare' (2 rows)",
    ),
    (
        "regression",
        {"a.csv": "text,label\nx,1\ny,2\n"},
        {},
        "2 rows of too few different texts for train, test, dev; add rows, or give each part a file",
    ),
    # a group in two files
    (
        "classification",
        {"a.csv": table(ROWS[:42]), "b.csv": table(ROWS[42:])},
        {**COLUMNS, "file": {"train": "a.csv", "test": "b.csv"}, "split": {"group": "user"}},
        "b.csv:2: user 'u8' has rows in train and in test; put all rows of a group into one file, or drop data.split.group",
    ),
    # what has no meaning
    (
        "regression",
        {"a.csv": "text,label\nx,1\ny,2\n"},
        {"split": {"stratify": True}},
        "data.split.stratify: is true, and regression has not one class a row",
    ),
    (
        "regression",
        {"a.csv": "text,label\nx,1\ny,2\n"},
        {"split": {"dev": 0, "test": 0}},
        "data.split: leaves no rows to report on; give dev or test a share",
    ),
    ("tagging", {"a.conll": "Rome B-LOC\n"}, {"text": "words"}, "a.conll: has columns without names"),
    (
        "tagging",
        {"a.jsonl": lines([{"tokens": ["x"], "tags": ["O"]}])},
        {"text_pair": "other"},
        "data.text_pair: 'other' for tagged words, which are no pairs",
    ),
    ("classification", {"a.txt": "x\n"}, {}, "a.txt: ends in '.txt'; for classification name a file that ends in one of"),
    ("classification", {}, {"file": "gone.csv"}, "gone.csv: does not exist; check the path"),
    (
        "classification",
        {"b.csv": table(ROWS)},
        {**COLUMNS, "file": {"test": "b.csv"}, "split": {"dev": 0.5}},
        "data.split: is drawn of the rows to train on",
    ),
    (
        "regression",
        {"a.csv": "text,label\nx,1\ny,2\n"},
        {"labels": ["a", "b"]},
        "data.labels: a, b for a regression, which has no labels; drop it",
    ),
]


@pytest.mark.parametrize(("kind", "files", "keys", "said"), WRONG)
def test_what_is_wrong_is_one_line(own: Opened, kind: str, files: dict[str, str], keys: dict[str, Any], said: str) -> None:
    with pytest.raises(PotstillError) as caught:
        own(kind, files, **keys)
    assert said in str(caught.value) and len(str(caught.value).splitlines()) == 1
