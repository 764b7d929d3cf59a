"""The same texts cut by two tokenizers: which tokens of the one are which of the other, by their characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from tokenizers import Encoding, Tokenizer

from potstill.data.batches import PIECE, TokenizedTexts, cutting_to
from potstill.data.labelled import Text
from potstill.progress import progress

# A token's place in one number: the text, its part (a side of a pair, or a word of a text given as words; 0: special), its last character.
TEXT, PART = 40, 20
NOWHERE = -1


@dataclass(frozen=True)
class Segments:
    """For every token of n texts the number of the segment that it is part of.

    A segment is the shortest stretch of characters at whose end both tokenizers end a token: one
    token on either side, or two against one, or two against three.

    Args:
        texts: as one of the tokenizers cut them.
        numbers: (tokens,) int64, from 0 in each text; -1 where the other side has nothing that it belongs to.
    """

    texts: TokenizedTexts
    numbers: np.ndarray

    def pad(self, rows: np.ndarray) -> np.ndarray:
        """(rows, longest of them) int64, -1 at padding."""
        return self.texts.spread(self.numbers, rows, self.texts.mask(rows), NOWHERE)


def align(
    texts: Sequence[Text], first: tuple[Tokenizer, int, TokenizedTexts], second: tuple[Tokenizer, int, TokenizedTexts]
) -> tuple[Segments, Segments]:
    """The segments of `texts` on two sides; each text has as many on both.

    Of the special tokens the first is aligned, and the others where both sides add as many. What one
    side was cut off from has no segment on the other.

    Args:
        first, second: a tokenizer, the length that it cuts to, and what it made of the texts.
    """
    sides = [_places(tokenizer, texts, length) for tokenizer, length, _ in (first, second)]
    added = [tokenizer.num_special_tokens_to_add(bool(len(texts)) and isinstance(texts[0], tuple)) for tokenizer, _, _ in (first, second)]
    if added[0] != added[1]:
        for places in sides:
            special = (places >> PART) % (1 << TEXT - PART) == 0
            places[special & (places % (1 << PART) > 0)] = NOWHERE
    common = np.intersect1d(sides[0], sides[1])
    common = common[common != NOWHERE]
    return _segments(first[2], sides[0], common), _segments(second[2], sides[1], common)


def _places(tokenizer: Tokenizer, texts: Sequence[Text], max_length: int) -> np.ndarray:
    """(tokens,) int64, rising in each text but for special tokens, which are counted from 0 in it."""
    cutter = cutting_to(tokenizer, max_length)
    words = bool(len(texts)) and isinstance(texts[0], list)
    found = []
    with progress("align", len(texts)) as advance:
        for start in range(0, len(texts), PIECE):
            encodings = cutter.encode_batch(list(texts[start : start + PIECE]), is_pretokenized=words)
            lengths = [len(encoding) for encoding in encodings]
            ends = np.fromiter((end for encoding in encodings for _, end in encoding.offsets), dtype=np.int64)
            parts = np.fromiter(chain.from_iterable(_parts(encoding, words) for encoding in encodings), dtype=np.int64)
            number = np.repeat(np.arange(start, start + len(encodings)), lengths)
            special = parts == 0
            # How many special tokens stand before it in its text.
            before = np.cumsum(special) - special
            first = np.repeat(before[np.cumsum([0, *lengths[:-1]])], lengths)
            found.append((number << TEXT) + (parts << PART) + np.where(special, before - first, ends))
            advance(len(encodings))
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def _parts(encoding: Encoding, words: bool) -> list[int]:
    numbers = encoding.word_ids if words else encoding.sequence_ids
    return [0 if special else 1 + (number or 0) for number, special in zip(numbers, encoding.special_tokens_mask)]


def _segments(tokens: TokenizedTexts, places: np.ndarray, common: np.ndarray) -> Segments:
    """Each token's segment: the first common end at or behind its own, in the same part of the same text."""
    found = np.searchsorted(common, places)
    inside = found < len(common)
    inside[inside] = common[found[inside]] >> PART == places[inside] >> PART
    # A special token is its own segment, or none.
    special = (places >> PART) % (1 << TEXT - PART) == 0
    inside[special & inside] = common[found[special & inside]] == places[special & inside]
    inside &= places != NOWHERE
    text = np.repeat(np.arange(len(tokens)), tokens.lengths)
    first = np.searchsorted(common, text << TEXT)
    return Segments(tokens, np.where(inside, found - first, NOWHERE))
