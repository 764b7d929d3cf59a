from __future__ import annotations

import numpy as np
import pytest

from potstill.data.masking import IGNORED, mask_tokens

PAD, CLS, SEP, MASK, VOCABULARY = 0, 1, 2, 3, 1000
SPECIAL = [PAD, CLS, SEP, MASK]


def batch(rows: int = 64, length: int = 128) -> np.ndarray:
    rng = np.random.default_rng(0)
    ids = rng.integers(4, VOCABULARY, (rows, length))
    ids[:, 0], ids[:, -9], ids[:, -8:] = CLS, SEP, PAD
    return ids


def test_shares_of_chosen_masked_random_and_kept_tokens():
    ids = batch(256)
    masked, labels = mask_tokens(ids, SPECIAL, MASK, VOCABULARY, np.random.default_rng([7, 0]))
    chosen = labels != IGNORED
    assert chosen[ids >= 4].mean() == pytest.approx(0.15, abs=0.01)
    assert (masked[chosen] == MASK).mean() == pytest.approx(0.8, abs=0.02)
    assert (masked[chosen] == ids[chosen]).mean() == pytest.approx(0.1, abs=0.02)
    assert labels.dtype == masked.dtype == np.int64


def test_labels_hold_what_was_hidden_and_the_rest_is_untouched():
    ids = batch()
    before = ids.copy()
    masked, labels = mask_tokens(ids, SPECIAL, MASK, VOCABULARY, np.random.default_rng(1))
    chosen = labels != IGNORED
    assert np.array_equal(ids, before)
    assert np.array_equal(labels[chosen], ids[chosen])
    assert np.array_equal(masked[~chosen], ids[~chosen])
    assert not chosen[ids < 4].any()
    assert not np.isin(masked[chosen], [PAD, CLS, SEP]).any() and masked.max() < VOCABULARY


def test_the_same_seed_and_step_mask_the_same_and_other_steps_others():
    ids = batch()
    first, again, other = (mask_tokens(ids, SPECIAL, MASK, VOCABULARY, np.random.default_rng([3, step])) for step in (5, 5, 6))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_a_batch_has_at_least_one_label_where_it_has_a_word():
    ids = np.array([[CLS, 9, SEP, PAD], [CLS, 8, 7, SEP]])
    places = set()
    for step in range(50):
        _, labels = mask_tokens(ids, np.array(SPECIAL), MASK, VOCABULARY, np.random.default_rng([0, step]), probability=0.0)
        assert (labels != IGNORED).sum() == 1
        places.add(int(np.flatnonzero(labels != IGNORED)[0]))
    assert places == {1, 5, 6}


def test_a_batch_of_special_tokens_alone_stays():
    ids = np.array([[CLS, SEP, PAD]])
    masked, labels = mask_tokens(ids, set(SPECIAL), MASK, VOCABULARY, np.random.default_rng(0), probability=1.0)
    assert np.array_equal(masked, ids) and (labels == IGNORED).all()


def test_all_tokens_may_be_chosen():
    ids = batch(2, 16)
    _, labels = mask_tokens(ids, SPECIAL, MASK, VOCABULARY, np.random.default_rng(0), probability=1.0)
    assert np.array_equal(labels != IGNORED, ids >= 4)


def test_a_special_id_beyond_the_vocabulary_is_no_matter():
    ids = np.array([[1200, 5, 6]])
    _, labels = mask_tokens(ids, [1200, 4000], MASK, VOCABULARY, np.random.default_rng(0), probability=1.0)
    assert labels[0, 0] == IGNORED
