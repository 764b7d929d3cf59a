"""A corpus tokenized once, and the plan of a whole run."""

from __future__ import annotations

import gzip
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from potstill.data.batches import training_plan
from potstill.runtime.tokens import tokenize


def rows_of(plan: list[np.ndarray]) -> list[int]:
    return np.concatenate(plan).tolist()


@pytest.mark.parametrize(
    ("count", "batch_size", "batch_tokens"),
    [
        (1000, 32, 10_000),  # the number of rows is the limit
        (1000, 32, 300),  # the tokens are
        (65, 64, 10_000),  # one row left over
        (7, 3, 20),  # few rows, and a text may be longer than the limit
        (1, 8, 4),  # one row
    ],
)
def test_every_row_once_an_epoch_within_both_limits(count: int, batch_size: int, batch_tokens: int) -> None:
    lengths = np.random.default_rng(1).integers(2, 40, count)
    plan = training_plan(lengths, batch_size=batch_size, batch_tokens=batch_tokens, epochs=1, seed=5)
    assert sorted(rows_of(plan)) == list(range(count))
    for batch in plan:
        assert len(batch) <= batch_size
        assert len(batch) * lengths[batch].max() <= batch_tokens or len(batch) == 1


def test_order_is_a_function_of_seed_and_epoch() -> None:
    lengths = np.random.default_rng(1).integers(2, 40, 500)

    def planned(epochs: float, seed: int) -> list[list[int]]:
        return [batch.tolist() for batch in training_plan(lengths, batch_size=16, batch_tokens=400, epochs=epochs, seed=seed)]

    two = planned(2, seed=3)
    assert two == planned(2, seed=3)
    assert two != planned(2, seed=4)
    one = planned(1, seed=3)
    assert two[: len(one)] == one  # a longer run starts as the shorter one
    assert sorted(map(sorted, two[len(one) :])) != sorted(map(sorted, one))  # rows meet others in the next epoch
    half = planned(1.5, seed=3)
    assert half == two[: len(half)]
    assert sum(map(len, half)) / 500 == pytest.approx(1.5, abs=0.05)


def test_batches_of_an_epoch_are_not_in_order_of_length() -> None:
    lengths = np.random.default_rng(1).integers(2, 100, 4000)
    plan = training_plan(lengths, batch_size=20, batch_tokens=10_000, epochs=1, seed=0)
    means = np.array([lengths[batch].mean() for batch in plan])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


def test_a_row_left_over_gets_company() -> None:
    sizes = [len(batch) for batch in training_plan([5] * 65, batch_size=64, batch_tokens=1000, epochs=1, seed=0)]
    assert sorted(sizes) == [2, 63]
    sizes = [len(batch) for batch in training_plan([5] * 5, batch_size=2, batch_tokens=1000, epochs=1, seed=0)]
    assert sorted(sizes) == [2, 3]  # taking one from a batch of two would leave another alone
    assert [len(batch) for batch in training_plan([5] * 3, batch_size=1, batch_tokens=1000, epochs=1, seed=0)] == [1, 1, 1]


def test_a_text_beyond_the_budget_is_a_batch_alone() -> None:
    lengths = [5] * 20 + [500]
    plan = training_plan(lengths, batch_size=8, batch_tokens=100, epochs=1, seed=0)
    assert [batch.tolist() for batch in plan if 20 in batch] == [[20]]
    assert sorted(rows_of(plan)) == list(range(21))


def test_no_texts() -> None:
    assert training_plan([], batch_size=8, batch_tokens=100, epochs=3, seed=0) == []


def test_a_long_run_is_planned_in_seconds() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, 300_000)
    start = time.process_time()
    plan = training_plan(lengths, batch_size=64, batch_tokens=2048, epochs=10, seed=0)
    assert time.process_time() - start < 10  # half a second
    assert sum(map(len, plan)) == 3_000_000


def test_little_padding_on_real_sentences(data_dir: Path, minilm_dir: Path) -> None:
    with gzip.open(data_dir / "corpora" / "sentences.txt.gz", "rt", encoding="utf-8") as stream:
        texts = tokenize(Tokenizer.from_file(str(minilm_dir / "tokenizer.json")), list(islice(stream, 15_000)), max_length=128)
    for batch_size, batch_tokens in ((64, 16_384), (64, 1024), (256, 16_384)):
        plan = training_plan(texts.lengths, batch_size=batch_size, batch_tokens=batch_tokens, epochs=1, seed=0)
        padded = sum(len(batch) * int(texts.lengths[batch].max()) for batch in plan)
        assert 1 - len(texts.ids) / padded < 0.10
