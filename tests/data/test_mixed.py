"""Mixed segmentation against loops over words."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from potstill.data.mixed import MixedTexts
from potstill.errors import PotstillError

TEXTS = ["the villagers sang", "sang", "", "the the villagers, sang"]


def tokenizer(*pieces: str) -> Tokenizer:
    vocabulary = {piece: number for number, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *pieces])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return made


FIRST, SECOND = tokenizer("the", "villag", "##ers", "sang", ","), tokenizer("the", "vill", "##ag", "##ers", "s", "##ang", ",")
SHIFT = FIRST.get_vocab_size()
ROWS = np.arange(len(TEXTS))


def mixed(probability: float, max_length: int = 32) -> MixedTexts:
    return MixedTexts(FIRST, SECOND, TEXTS, shift=SHIFT, probability=probability, max_length=max_length, pad_id=0)


def unpadded(ids: np.ndarray, mask: np.ndarray) -> list[list[int]]:
    assert (ids[mask == 0] == 0).all()
    return [row[keep == 1].tolist() for row, keep in zip(ids, mask)]


def test_the_ends_are_pure_pieces() -> None:
    none = unpadded(*mixed(0).batch(ROWS, np.random.default_rng(0)))
    assert none == [FIRST.encode(text).ids for text in TEXTS]
    every = unpadded(*mixed(1).batch(ROWS, np.random.default_rng(0)))
    # The student's own input, but for the special tokens, which are the teacher's.
    assert every == [[2, *(number + SHIFT for number in SECOND.encode(text, add_special_tokens=False).ids), 3] for text in TEXTS]


def test_each_word_is_of_one_side() -> None:
    texts, rows = mixed(0.5), np.array([3, 0, 1])
    seen = set()
    for seed in range(40):
        for row, ids in zip(rows, unpadded(*texts.batch(rows, np.random.default_rng(seed)))):
            assert ids[0] == 2 and ids[-1] == 3
            rest = ids[1:-1]
            for word in TEXTS[row].replace(",", " ,").split():
                ways = [
                    FIRST.encode(word, add_special_tokens=False).ids,
                    [SHIFT + number for number in SECOND.encode(word, add_special_tokens=False).ids],
                ]
                (taken,) = [number for number, way in enumerate(ways) if rest[: len(way)] == way]
                seen.add((word, taken))
                rest = rest[len(ways[taken]) :]
            assert not rest
    assert len(seen) == 8  # the, villagers, the comma and sang, each in both ways


def test_long_texts_are_cut_with_their_end_kept() -> None:
    ids, mask = mixed(1, max_length=5).batch(ROWS, np.random.default_rng(0))
    assert ids.shape == (4, 5) and unpadded(ids, mask)[0][0] == 2 and unpadded(ids, mask)[0][-1] == 3
    assert [len(row) for row in unpadded(ids, mask)] == [5, 4, 2, 5]


def test_other_words_are_refused() -> None:
    other = tokenizer("the", "sang")
    other.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    with pytest.raises(PotstillError, match="split 'the the villagers, sang' into different words"):
        MixedTexts(FIRST, other, TEXTS, shift=SHIFT, probability=0.5, max_length=32, pad_id=0)


def test_a_text_is_cut_where_its_tokenizer_cuts_it() -> None:
    left = Tokenizer.from_str(FIRST.to_str())
    left.enable_truncation(5, direction="left")
    texts = MixedTexts(left, SECOND, TEXTS, shift=SHIFT, probability=0, max_length=5, pad_id=0)
    assert unpadded(*texts.batch(ROWS, np.random.default_rng(0))) == [left.encode(text).ids for text in TEXTS]
