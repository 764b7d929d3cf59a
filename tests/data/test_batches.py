"""A corpus tokenized once, and the plan of a whole run."""

from __future__ import annotations

import gzip
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from potstill.data import batches as module
from potstill.data.batches import rows_of_steps, some_rows, training_plan
from potstill.errors import PotstillError
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


def planned_by_loops(lengths: np.ndarray, batch_size: int, batch_tokens: int | None, epochs: float, seed: int) -> list[list[int]]:
    """Every batch of a run as the docstring has it, in plain loops and all at once. Runs of before are resumed by these batches."""
    plan: list[list[int]] = []
    for epoch in range(-int(-epochs // 1)):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(lengths)).tolist()
        if batch_tokens is None and len(order) > batch_size:
            order = order[: len(order) // batch_size * batch_size]
        rows: list[int] = []
        for number, start in enumerate(range(0, len(order), 50 * batch_size)):
            window = order[start : start + 50 * batch_size]
            sign = -1 if number % 2 else 1
            rows += [row for _, row in sorted(zip(sign * lengths[window], window), key=lambda pair: pair[0])]
        batches: list[list[int]] = [[]]
        for row in rows:
            batch = [*batches[-1], row]
            fits = batch_tokens is None or len(batch) * max(lengths[own] for own in batch) <= batch_tokens
            if len(batch) <= batch_size and (fits or len(batch) == 1):
                batches[-1] = batch
            else:
                batches.append([row])
        if len(batches) > 1 and len(batches[-1]) == 1 < batch_size and 2 * max(lengths[rows[-2:]]) <= (batch_tokens or 1e9):
            batches[-2:] = [batches[-2][:-1], rows[-2:]] if len(batches[-2]) > 2 else [[*batches[-2], rows[-1]]]
        kept = rng.permutation(len(batches))
        plan += [batches[number] for number in kept[: -int(-len(kept) * min(1.0, epochs - epoch) // 1)]]
    return plan


@pytest.mark.parametrize("place", [None, "plans"])  # in memory, and in files
@pytest.mark.parametrize(
    ("count", "batch_size", "batch_tokens", "epochs"),
    [
        (700, 4, 100_000, 2.3),  # several windows; of the last epoch a part
        (700, 4, 90, 1),  # limited by tokens
        (701, 10, None, 2),  # all full
        (65, 64, 10_000, 1),  # one row left over
        (5, 2, 10_000, 2),  # likewise, beside a batch of two
        (5, 8, None, 2),  # fewer rows than a batch
    ],
)
def test_the_plan_is_that_of_plain_loops(
    count: int, batch_size: int, batch_tokens: int | None, epochs: float, place: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is sorted at once, is held in memory, or was planned before."""
    lengths = np.random.default_rng(1).integers(2, 40, count)
    sizes: dict[str, Any] = {"batch_size": batch_size, "batch_tokens": batch_tokens, "seed": 3, "place": place and tmp_path / place}
    expected = planned_by_loops(lengths, batch_size, batch_tokens, epochs, 3)
    for _ in range(2):
        plan = training_plan(lengths, **sizes, epochs=epochs)
        assert [batch.tolist() for batch in plan] == expected and plan.sizes.tolist() == [len(batch) for batch in expected]
        assert all(batch.dtype == np.int64 for batch in plan)
        monkeypatch.setattr(module, "FITS", count)
        monkeypatch.setattr(module, "TOGETHER", 250)
    for part, own in ((plan[1:6], expected[1:6]), (plan[1:][:2], expected[1:][:2]), (plan[-1:], expected[-1:]), (plan[99:], expected[99:])):
        assert [batch.tolist() for batch in part] == own
    assert [rows.tolist() for rows in plan.of(lengths)[:3]] == [lengths[batch].tolist() for batch in expected[:3]]
    assert rows_of_steps(plan, 4).tolist() == [sum(map(len, expected[start : start + 4])) for start in range(0, len(expected), 4)]
    more = training_plan(lengths, **sizes, batches=len(expected) + 2)
    whole = planned_by_loops(lengths, batch_size, batch_tokens, 9, 3)
    assert [batch.tolist() for batch in more] == whole[: len(expected) + 2]


def test_a_planned_epoch_is_not_planned_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[str, Any] = {"batch_size": 8, "batch_tokens": 100, "seed": 3, "place": tmp_path}
    plan = training_plan([5] * 100, **sizes, epochs=2)
    monkeypatch.setattr(module, "_cut", None)
    assert [rows.tolist() for rows in training_plan([5] * 100, **sizes, epochs=2)] == [rows.tolist() for rows in plan]
    with pytest.raises(TypeError):
        training_plan([5] * 100, **sizes | {"seed": 4}, epochs=1)
    file = next(tmp_path.glob("*/1/rows.npy"))
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(PotstillError, match="is not what was written .*; delete it"):
        training_plan([5] * 100, **sizes, epochs=2)


def test_rows_are_drawn_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    def draws(count: int, wanted: int) -> list[list[int]]:
        return [some_rows(count, wanted, np.random.default_rng(seed)).tolist() for seed in range(40)]

    # Of few rows as ever: a run that goes on draws what it would have drawn.
    assert draws(50, 7) == [np.random.default_rng(seed).permutation(50)[:7].tolist() for seed in range(40)]
    monkeypatch.setattr(module, "FITS", 49)
    many = draws(50, 7)
    assert all(len(set(rows)) == 7 and rows != sorted(rows) for rows in many) and {row for rows in many for row in rows} == set(range(50))
    assert sorted(draws(50, 90)[0]) == list(range(50))


def test_no_texts() -> None:
    assert len(training_plan([], batch_size=8, batch_tokens=100, epochs=3, seed=0)) == 0


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
