"""Batches: views of texts, padded labels, and masks that are drawn anew in every epoch and the same again after a break."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.stages import TEXTS, run_twice, same, spec, train
from potstill.data.masking import IGNORED, mask_tokens
from potstill.models.loading import load_encoder
from potstill.objective.objective import Objective
from potstill.objective.sizes import Sizes
from potstill.runtime.tokens import tokenize
from potstill.training.training_set import TrainingSet


def hide(ids: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return mask_tokens(ids, [0, 1, 2, 3, 4], 4, 76, rng, probability=0.3)


@pytest.fixture
def texts(tiny_encoder_dir):
    return tokenize(load_encoder(tiny_encoder_dir).tokenizer, TEXTS, 64)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("count", [1, 16])
def test_masks_depend_on_the_seed_and_the_batch_s_number(texts, count, beside):
    data, rows = TrainingSet(texts, masking=hide, masked_beside=beside), np.arange(count)
    name = "masked_ids" if beside else "input_ids"

    def labels(seed, number):
        batch = data.batch(rows, 0, seed, number)
        hidden = batch["labels"] != IGNORED
        plain = texts.pad(rows, 0)["input_ids"]
        assert hidden.any() and (batch[name][~hidden] == plain[~hidden]).all() and (batch["labels"][hidden] == plain[hidden]).all()
        return batch["labels"].tolist()

    drawn = [labels(1, number) for number in range(8)]
    assert drawn == [labels(1, number) for number in range(8)]
    assert len({str(each) for each in drawn}) > 4
    assert drawn != [labels(2, number) for number in range(8)]


def test_processes_mask_their_rows_of_a_batch_differently(texts):
    same_length = np.flatnonzero(texts.lengths == texts.lengths[0])[:2]
    hidden = [
        [TrainingSet(texts, masking=hide).batch(same_length[part], 0, 1, number)["labels"] != IGNORED for number in range(8)]
        for part in ([0], [1])
    ]
    assert any((one != other).any() for one, other in zip(*hidden))


def test_a_batch_holds_every_text_twice(texts):
    batch = TrainingSet(texts, groups=np.array([[0, 0], [1, 1], [4, 4]])).batch(np.array([2, 0]), pad_id=0, seed=1)
    assert batch["rows"].tolist() == [4, 0, 4, 0]
    assert int(batch["views"]) == 2
    np.testing.assert_array_equal(batch["input_ids"][:2], batch["input_ids"][2:])


def test_two_views_differ_in_training_alone(texts, tiny_encoder_dir):
    model = load_encoder(tiny_encoder_dir)
    batch = TrainingSet(texts, groups=np.array([[0, 0], [1, 1]])).batch(np.array([0, 1]), 0, 1)
    inputs = {name: torch.from_numpy(batch[name]) for name in ("input_ids", "attention_mask")}
    first, second = model.train()(**inputs).embedding.chunk(2)
    assert not torch.allclose(first, second)
    first, second = model.eval()(**inputs).embedding.chunk(2)
    torch.testing.assert_close(first, second)


def test_tags_are_padded_where_no_loss_reads(tiny_encoder_dir):
    tokens = tokenize(load_encoder(tiny_encoder_dir).tokenizer, [["the", "rivers"], ["a"], ["and", "the", "village"]], 64)
    labels = [np.full(length, number) for number, length in enumerate(tokens.lengths)]
    batch = TrainingSet(tokens, labels).batch(np.array([1, 2]), 0, 5)
    assert batch["labels"].dtype == np.int64 and batch["labels"].shape == batch["input_ids"].shape
    np.testing.assert_array_equal(batch["labels"] == -100, batch["attention_mask"] == 0)
    assert set(batch["labels"][0]) == {1, -100} and set(batch["labels"][1]) == {2} and list(batch["rows"]) == [1, 2]


def training_of(folder, seen):
    """A student of a language model's head, and a data set that notes the masks of every batch."""
    student = load_encoder(folder, head="mlm", seed=1)

    def noted(ids, rng):
        masked, labels = hide(ids, rng)
        seen.append((ids.tolist(), labels.tolist()))
        return masked, labels

    data = TrainingSet(tokenize(student.tokenizer, TEXTS, 64), masking=noted)
    return student, Objective([spec("mlm")], Sizes(0, 32, int(student.network.config.vocab_size))), data, None


@pytest.mark.parametrize("size", [1, 2])
def test_a_text_is_masked_differently_in_every_epoch(tiny_encoder_dir, tmp_path, size):
    """Of one text above all: its batch is the same in every epoch."""
    seen: list[tuple[list, list]] = []
    student, objective, data, teacher = training_of(tiny_encoder_dir, seen)
    epoch = [np.arange(start, start + size) for start in range(0, 8, size)]
    train(student, objective, data, teacher, tmp_path, plan=epoch * 6)
    for start in range(len(epoch)):
        batches = seen[start :: len(epoch)]
        assert len(batches) == 6 and all(ids == batches[0][0] for ids, _ in batches)
        assert len({str(labels) for _, labels in batches}) > 2


def test_a_resumed_run_draws_the_masks_of_an_unbroken_one(tiny_encoder_dir, tmp_path, monkeypatch):
    runs: list[list[tuple[list, list]]] = []

    def make():
        runs.append([])
        return training_of(tiny_encoder_dir, runs[-1])

    weights = run_twice(make, tmp_path, monkeypatch)
    whole, _broken, resumed = runs
    assert len(whole) == 16 and resumed == whole[-len(resumed) :] and 0 < len(resumed) < 16
    assert same(*weights)
