from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from potstill.data.labelled import Examples
from potstill.data.splits import LabelledData, hold_out, hold_out_sentences
from potstill.errors import PotstillError, PotstillWarning


def numbered(count: int, start: int = 0) -> Examples:
    return Examples([f"text {start + number}" for number in range(count)], np.arange(start, start + count))


def with_splits(**sizes: int) -> LabelledData:
    starts = {"train": 0, "dev": 10_000, "test": 20_000}
    return LabelledData("x", "classification", [], {split: partial(numbered, size, starts[split]) for split, size in sizes.items()})


@pytest.mark.parametrize(
    ("rows", "drawn"),
    [
        (2, 1),  # the fewest that can be split
        (9, 1),  # at least one is drawn
        (95, 9),  # a tenth, rounded down
        (10_000, 1000),  # a tenth is just a thousand
        (12_345, 1000),  # more than a thousand are never drawn
    ],
)
def test_a_tenth_and_at_most_a_thousand(rows: int, drawn: int) -> None:
    train, dev = hold_out(numbered(rows), "x")
    assert (len(train), len(dev)) == (rows - drawn, drawn)
    assert sorted([*train.labels, *dev.labels]) == list(range(rows))
    assert [f"text {label}" for label in dev.labels] == dev.texts
    assert np.all(np.diff(dev.labels) > 0) and np.all(np.diff(train.labels) > 0)


def test_the_draw_is_the_same_every_time() -> None:
    assert hold_out(numbered(500), "x")[1].texts == hold_out(numbered(500), "x")[1].texts


def test_no_text_on_both_sides() -> None:
    texts = [f"text {number % 30}" for number in range(100)]
    train, dev = hold_out(Examples(texts, np.arange(100)), "x")
    assert len(dev) == 10 and not set(train.texts) & set(dev.texts)
    words = [["a", str(number % 30)] for number in range(100)]
    train, dev = hold_out(Examples(words, [np.array([0, 0])] * 100), "x")
    assert not {tuple(text) for text in train.texts} & {tuple(text) for text in dev.texts}


def test_nothing_left_to_train_on() -> None:
    with pytest.raises(PotstillError, match="x: the train split holds one text only"):
        hold_out(Examples(["a", "a"], np.arange(2)), "x")


def test_whole_sentences_are_drawn_and_their_phrases_are_on_neither_side() -> None:
    sentences = [
        f"the {noun} was {adjective}" for noun in ("film", "plot", "cast", "end") for adjective in ("good", "bad", "odd", "dull", "long")
    ]
    phrases = [f"was {adjective}" for adjective in ("good", "bad", "odd", "dull", "long")]
    texts = [*phrases, "The film was", *sentences, "good was", "the end"]
    train, dev = hold_out_sentences(Examples(texts, np.arange(len(texts))), "x")
    assert len(dev) == 2 and set(dev.texts) <= {*sentences, "good was"}  # 21 stand in no longer one
    assert [texts[label] for label in [*train.labels, *dev.labels]] == [*train.texts, *dev.texts]
    taken = [text for text in texts if any(f" {text.lower()} " in f" {drawn} " for drawn in dev.texts)]
    assert set(taken) > set(dev.texts) and train.texts == [text for text in texts if text not in taken]
    assert hold_out_sentences(train, "x")[1].texts == hold_out_sentences(train, "x")[1].texts


def test_phrases_of_one_sentence_leave_nothing_to_train_on() -> None:
    with pytest.raises(PotstillError, match="x: the train split holds the phrases of one sentence only"):
        hold_out_sentences(Examples(["a fine film", "fine film", "film"], np.arange(3)), "x")


@pytest.mark.parametrize(
    ("sizes", "reported", "trained", "chosen"),
    [
        ({"train": 50, "dev": 7, "test": 9}, 9, 50, 7),  # test is reported, dev chooses
        ({"train": 50, "dev": 7}, 7, 45, 5),  # dev is reported, so a tenth of train chooses
        ({"train": 50, "test": 9}, 9, 45, 5),  # no dev: a tenth of train chooses
    ],
)
def test_the_rule(sizes: dict[str, int], reported: int, trained: int, chosen: int) -> None:
    data = with_splits(**sizes)
    train, dev = data.train_and_dev()
    assert (len(data.reported()), len(train), len(dev)) == (reported, trained, chosen)
    assert data.choosing().texts == dev.texts
    assert not set(dev.texts) & {*train.texts, *data.reported().texts}


def test_what_is_not_there() -> None:
    with pytest.raises(PotstillError, match=r"x: has no dev split \(there: train\)"):
        with_splits(train=5).reported()
    with pytest.raises(PotstillError, match="x: has no train split"):
        with_splits(dev=5, test=5).train_and_dev()
    assert len(with_splits(dev=4, test=5).choosing()) == 4


def labelled(names: list[str], **labels: list[int]) -> LabelledData:
    def read(split: str) -> Examples:
        return Examples([f"{split} {number}" for number in range(len(labels[split]))], np.array(labels[split]))

    return LabelledData("x", "classification", names, {split: partial(read, split) for split in labels})


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        # rows to choose by
        ({"train": [0, 1], "dev": [1, 1, 1], "test": [0, 1]}, "x: all 3 rows to choose by are labelled 'yes'; add rows of the other"),
        # drawn ones
        ({"train": [0] * 9 + [1, 1], "test": [0, 1]}, "x: all 1 rows to choose by are labelled"),
        # fewer rows than labels
        (
            {"train": [0, 1], "dev": [0, 1], "test": [0, 1]},
            "x: 2 rows to train on for 3 labels, and none is labelled 'so so'; add such rows",
        ),
    ],
)
def test_a_fold_without_some_label_is_told_once(labels: dict[str, list[int]], said: str) -> None:
    names = ["no", "yes", "so so"] if "none" in said else ["no", "yes"]
    data = labelled(names, **labels)
    with pytest.warns(PotstillWarning) as caught:
        for _ in range(2):
            data.train_and_dev()
            data.choosing()
    assert len(caught) == 1 and str(caught[0].message).startswith(said)


def test_scored_rows_of_one_label_are_told() -> None:
    with pytest.warns(PotstillWarning, match="x: all 2 rows that are scored are labelled 'no'; .* one answer to everything is right"):
        labelled(["no", "yes"], train=[0, 1], test=[0, 0]).reported()


def test_one_label_left_to_train_on_is_refused() -> None:
    data = labelled(["no", "yes"], train=[1, 1, 1], dev=[0, 1], test=[0, 1])
    with pytest.raises(PotstillError, match="x: all 3 rows that are left to train on are labelled 'yes'; add rows of the other labels"):
        data.train_and_dev()
    assert len(data.choosing()) == 2, "who only scores need not train"
