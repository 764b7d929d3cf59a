"""Which rows are near each other, and batches of groups of them."""

from __future__ import annotations

import gzip
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from potstill.data import neighbours
from potstill.data.batches import training_plan
from potstill.data.neighbours import LIKE, Neighbours, grouped, near_rows
from potstill.runtime.tokens import tokenize


@pytest.fixture(scope="module")
def topics() -> tuple[np.ndarray, np.ndarray]:
    """(600, 8) vectors of 60 topics of ten rows each, and the rows' lengths, all of them alike."""
    rng = np.random.default_rng(0)
    topic = rng.permutation(np.repeat(np.arange(60), 10))
    vectors = rng.normal(size=(60, 8))[topic] + 0.01 * rng.normal(size=(600, 8))
    return vectors.astype(np.float32), rng.integers(20, 25, 600)


@pytest.mark.parametrize(
    ("rows", "most"),
    [
        (512, 16_384),  # all at once
        (7, 16_384),  # in blocks
        (50, 90),  # each compared with fewer than are of like length
    ],
)
def test_near_rows_against_loops(monkeypatch: pytest.MonkeyPatch, rows: int, most: int) -> None:
    monkeypatch.setattr(neighbours, "ROWS", rows)
    monkeypatch.setattr(neighbours, "RANGE", most)
    rng = np.random.default_rng(3)
    vectors, lengths = rng.normal(size=(120, 5)) * rng.uniform(0.5, 2, size=(120, 1)), rng.integers(5, 40, 120)
    near = near_rows(lambda some: vectors[some], lengths, 6)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    whole = 0
    for row in range(120):
        like = [other for other in range(120) if other != row and 1 / LIKE <= lengths[other] / lengths[row] <= LIKE]
        nearest = sorted(like, key=lambda other: -float(unit[row] @ unit[other]))[:6]
        found = [other for other in near[row].tolist() if other != row]
        assert set(found) <= set(like) and near[row, len(found) :].tolist() == [row] * (6 - len(found))
        exact = np.allclose(unit[found] @ unit[row], unit[nearest] @ unit[row], atol=2e-3) if len(found) == len(nearest) else False
        assert exact or most < 240  # else some rows of like length were not compared
        whole += exact
    assert whole > 60


def test_few_rows_have_few_neighbours() -> None:
    assert near_rows(lambda rows: np.ones((len(rows), 2)), np.array([5, 5, 90]), 3).tolist() == [[1, 0, 0], [0, 1, 1], [2, 2, 2]]
    assert near_rows(lambda rows: np.ones((len(rows), 2)), np.array([], dtype=np.int64), 3).shape == (0, 3)


def test_a_group_is_a_row_and_its_nearest_that_are_free() -> None:
    near = np.array([[1, 2], [0, 2], [3, 1], [2, 0], [0, 1]], dtype=np.int32)
    groups = grouped(np.array([2, 0, 4, 1]), Neighbours(near, 2, 1.0))  # row 3 is not among them
    assert [group.tolist() for group in groups] == [[2, 1], [0], [4]]


@pytest.mark.parametrize(
    ("share", "batch_tokens"),
    [
        (1.0, 100_000),  # all rows in groups
        (0.5, 100_000),  # half of them
        (1.0, 900),  # batches that the tokens limit
        (1.0, None),  # of a contrastive loss, all full
        (0.5, None),
    ],
)
def test_batches_of_neighbours(topics: tuple[np.ndarray, np.ndarray], share: float, batch_tokens: int | None) -> None:
    vectors, lengths = topics
    near = near_rows(lambda rows: vectors[rows], lengths, 20)
    sizes: dict[str, Any] = {"batch_size": 32, "batch_tokens": batch_tokens, "seed": 5}
    plan = training_plan(lengths, **sizes, epochs=1, neighbours=Neighbours(near, 8, share))
    rows = np.concatenate(plan).tolist()
    assert len(set(rows)) == len(rows) == (600 if batch_tokens else 600 // 32 * 32)
    assert all(len(batch) == 32 if batch_tokens is None else len(batch) * lengths[batch].max() <= batch_tokens for batch in plan)

    def together(batches: list[np.ndarray]) -> float:
        """Share of rows with one of their nearest three in their batch."""
        return float(np.mean([len(set(near[row, :3]) & set(batch)) > 0 for batch in batches for row in batch]))

    random = training_plan(lengths, **sizes, epochs=1)
    assert together(random) < 0.2
    assert (together(plan) > 0.7) if share == 1 else (0.3 < together(plan) < 0.6)
    two = training_plan(lengths, **sizes, epochs=2, neighbours=Neighbours(near, 8, share))
    assert [batch.tolist() for batch in two[: len(plan)]] == [batch.tolist() for batch in plan]  # a function of seed and epoch
    assert sorted(map(sorted, two[len(plan) :])) != sorted(map(sorted, plan))  # rows meet others in the next epoch


def test_little_padding_on_real_sentences_whatever_is_near(data_dir: Path, minilm_dir: Path) -> None:
    with gzip.open(data_dir / "corpora" / "sentences.txt.gz", "rt", encoding="utf-8") as stream:
        texts = tokenize(Tokenizer.from_file(str(minilm_dir / "tokenizer.json")), list(islice(stream, 5_000)), max_length=128)
    rng = np.random.default_rng(0)
    near = near_rows(lambda rows: rng.normal(size=(len(rows), 8)), texts.lengths, 28)
    plan = training_plan(texts.lengths, batch_size=64, batch_tokens=16_384, epochs=1, seed=0, neighbours=Neighbours(near, 8, 1.0))
    padded = sum(len(batch) * int(texts.lengths[batch].max()) for batch in plan)
    assert 1 - len(texts.ids) / padded < 0.20
