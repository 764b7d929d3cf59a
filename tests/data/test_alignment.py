"""Segments of two tokenizers, against the definition spelled out text by text."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from potstill.data.alignment import align
from potstill.runtime.tokens import tokenize


def tokenizer(*pieces: str, bare_pairs: bool = True) -> Tokenizer:
    vocabulary = {piece: number for number, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *pieces])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    between = "[SEP]" if bare_pairs else "[SEP] [SEP]"
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=f"[CLS] $A {between} $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


LARGE = tokenizer("the", "villag", "##er", "##s", "sang", ",")
SMALL = tokenizer("the", "v", "##i", "##l", "##a", "##g", "##e", "##rs", "##r", "s", "##ang", ",")
TEXTS = ["The villagers sang, the sang", "sang", "", "ü the"]


def spelled_out(first: Tokenizer, second: Tokenizer, text: object) -> list[list[int]]:
    """Segment numbers of both sides, special tokens first, by loops."""
    both = [side.encode(*text) if isinstance(text, tuple) else side.encode(text) for side in (first, second)]
    ends = []
    for encoding in both:
        special, own = 0, []
        for (_, end), sequence, added in zip(encoding.offsets, encoding.sequence_ids, encoding.special_tokens_mask):
            own.append((-1, special) if added else (sequence, end))
            special += added
        ends.append(own)
    common = sorted(set(ends[0]) & set(ends[1]))
    numbers = []
    for own in ends:
        row = []
        for part, end in own:
            later = [place for place in common if place[0] == part and (place[1] >= end if part >= 0 else place[1] == end)]
            row.append(common.index(later[0]) if later else -1)
        numbers.append(row)
    return numbers


def both(first: Tokenizer, second: Tokenizer, texts: list, lengths: tuple[int, int] = (64, 64)):
    sides = [(side, length, tokenize(side, texts, length)) for side, length in zip((first, second), lengths)]
    return align(texts, *sides)


@pytest.mark.parametrize("texts", [TEXTS, [("The villagers", "sang the"), ("", "villagers")]], ids=["single", "pairs"])
def test_segments_are_those_spelled_out(texts: list) -> None:
    ours, theirs = both(LARGE, SMALL, texts)
    rows = np.arange(len(texts))
    for row, text in enumerate(texts):
        wanted = spelled_out(LARGE, SMALL, text)
        for side, numbers in zip((ours, theirs), wanted):
            assert side.pad(rows)[row][: len(numbers)].tolist() == numbers
        assert max(wanted[0]) == max(wanted[1])


def test_villagers_in_two_against_many_pieces() -> None:
    ours, theirs = both(LARGE, SMALL, ["villagers"])
    # villag ##er ##s against v ##i ##l ##a ##g ##e ##rs: they meet at the word's "villag" and at its end
    assert ours.numbers.tolist() == [0, 2, 3, 3, 1]
    assert theirs.numbers.tolist() == [0, *6 * [2], 3, 3, 1]


def test_what_one_side_was_cut_off_from_is_nowhere() -> None:
    ours, theirs = both(LARGE, SMALL, ["sang the villagers"], (4, 64))  # [CLS] sang the [SEP]
    assert ours.numbers.tolist() == [0, 2, 3, 1]
    assert theirs.numbers.tolist()[:5] == [0, 2, 2, 3, -1] and set(theirs.numbers.tolist()[4:-1]) == {-1}
    assert theirs.numbers.tolist()[-1] == 1


def test_other_special_tokens_leave_the_first_alone() -> None:
    doubled = tokenizer("the", "sang", bare_pairs=False)
    ours, theirs = both(LARGE, doubled, [("the", "sang")])
    assert ours.numbers.tolist() == [0, 1, -1, 2, -1]
    assert theirs.numbers.tolist() == [0, 1, -1, -1, 2, -1]


def test_words_given_as_words() -> None:
    ours, theirs = both(LARGE, SMALL, [["villagers", "sang"]])
    assert ours.numbers.tolist() == [0, 2, 3, 3, 4, 1]
    assert theirs.numbers.tolist() == [0, *6 * [2], 3, 3, 4, 4, 1]


def test_words_are_aligned_as_the_text_that_they_make() -> None:
    """Byte-level BPE puts the space in front of a word into its first piece."""
    alphabet = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġs", "an"]
    made = Tokenizer(models.BPE({piece: number for number, piece in enumerate(alphabet)}, [("Ġ", "s"), ("a", "n")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), add_prefix_space=False)
    words = [["villagers", "sang"], ["the"], []]
    for found, wanted in zip(both(LARGE, made, words), both(LARGE, made, [" ".join(row) for row in words])):
        assert found.numbers.tolist() == wanted.numbers.tolist()
    # [CLS] villag ##er ##s sang [SEP] against <s> v i l l a g e r s Ġs an g </s>
    ours, theirs = both(LARGE, made, words[:1])
    assert ours.numbers.tolist() == [0, 2, 3, 4, 5, 1]
    assert theirs.numbers.tolist() == [0, *6 * [2], 3, 3, 4, 5, 5, 5, 1]
