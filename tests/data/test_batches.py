"""A corpus tokenized once, and the plan of a whole run."""

from __future__ import annotations

import gzip
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from potstill.data.batches import TokenizedTexts, tokenize, training_plan
from potstill.errors import PotstillError


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """[CLS] words [SEP]; the id of word `w<n>` is n + 4."""
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, **{f"w{n}": n + 4 for n in range(50)}}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return made


def rows_of(plan: list[np.ndarray]) -> list[int]:
    return np.concatenate(plan).tolist()


def test_tokenize_is_flat_truncated_and_keeps_special_tokens(tokenizer: Tokenizer) -> None:
    texts = tokenize(tokenizer, ["w0 w1", "", "w2 w3 w4 w5 w6", "nowhere"], max_length=5)
    assert texts.ids.dtype == np.int32
    assert texts.ids.tolist() == [2, 4, 5, 3, 2, 3, 2, 6, 7, 8, 3, 2, 1, 3]
    assert texts.offsets.tolist() == [0, 4, 6, 11, 14]
    assert texts.lengths.tolist() == [4, 2, 5, 3]
    assert len(texts) == 4


def test_tokenize_leaves_the_tokenizer_as_it_was(tokenizer: Tokenizer) -> None:
    tokenizer.enable_padding(length=8)
    tokenizer.enable_truncation(6)
    before = tokenizer.to_str()
    try:
        assert tokenize(tokenizer, ["w0 w1 w2 w3 w4 w5 w6"], max_length=4).lengths.tolist() == [4]
        assert tokenizer.to_str() == before
    finally:
        tokenizer.no_padding()
        tokenizer.no_truncation()


def test_tokenize_many_pieces_in_order_and_nothing(tokenizer: Tokenizer) -> None:
    texts = tokenize(tokenizer, [f"w{n % 50}" for n in range(10_000)], max_length=8)
    assert texts.ids[1::3].tolist() == [n % 50 + 4 for n in range(10_000)]
    assert len(tokenize(tokenizer, [], max_length=8)) == 0


def test_tokenize_refuses_a_length_that_holds_no_word(tokenizer: Tokenizer) -> None:
    with pytest.raises(PotstillError, match=r"2 leaves no room .* choose at least 3"):
        tokenize(tokenizer, ["w0"], max_length=2)


def test_pad_against_loops() -> None:
    texts = TokenizedTexts(np.arange(10, 20, dtype=np.int32), np.array([0, 2, 2, 7, 10]))
    batch = texts.pad([3, 0, 1], pad_id=9)
    assert batch["input_ids"].tolist() == [[17, 18, 19], [10, 11, 9], [9, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0]]
    assert {array.dtype for array in batch.values()} == {np.dtype(np.int64)}


@pytest.mark.parametrize(
    ("count", "batch_size", "batch_tokens"), [(1000, 32, 10_000), (1000, 32, 300), (65, 64, 10_000), (7, 3, 20), (1, 8, 4)]
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
