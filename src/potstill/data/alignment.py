"""Alignment of two tokenizations of the same texts by the characters of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from tokenizers import Encoding, Tokenizer

from potstill.machine.progress import progress
from potstill.runtime.tokens import CHUNK, Text, TokenizedTexts, cutting_to, encoded

# A token's place in one number: the text, its part (a side of a pair; 0: special), its last character.
TEXT, PART = 40, 20
NOWHERE = -1


@dataclass(frozen=True)
class Segments:
    """The segment that each token of n texts is part of.

    A segment is the shortest span of characters at whose end both tokenizers end a token: one token
    on each side, or two against one, or two against three.

    Attributes:
        texts: as one of the tokenizers cut them.
        numbers: (tokens,) int64, numbers of segments from 0 in each text; NOWHERE (-1) for a token
            that has no segment because the other side was cut off before it.
    """

    texts: TokenizedTexts
    numbers: np.ndarray

    def pad(self, rows: np.ndarray) -> np.ndarray:
        """The numbers of some texts, (rows, longest of them) int64, -1 at padding."""
        return self.texts.spread(self.numbers, rows, self.texts.mask(rows), NOWHERE)


def align(
    texts: Sequence[Text], first: tuple[Tokenizer, int, TokenizedTexts], second: tuple[Tokenizer, int, TokenizedTexts]
) -> tuple[Segments, Segments]:
    """The segments of `texts` for two tokenizers.

    The first special token of a text is aligned with the other side's first one. The other special
    tokens are aligned where both tokenizers add the same number of them. Tokens behind the point
    where the other side was cut off have no segment.

    Args:
        texts: the n texts, all of one form.
        first: a tokenizer, the length that it truncates to, and the texts as it cut them.
        second: the other tokenizer likewise.

    Returns:
        The segments of the first side and of the second. Each text has the same number of segments on
        both.
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
    """The place of each token as one number (see TEXT and PART), (tokens,) int64.

    Instead of its last character, a special token has its number among the special tokens of its text.
    """
    cutter = cutting_to(tokenizer, max_length)
    found = []
    with progress("align", len(texts)) as advance:
        for start in range(0, len(texts), CHUNK):
            encodings = encoded(cutter, texts, start, offsets=True)
            lengths = [len(encoding) for encoding in encodings]
            ends = np.fromiter((end for encoding in encodings for _, end in encoding.offsets), dtype=np.int64)
            parts = np.fromiter(chain.from_iterable(map(_parts, encodings)), dtype=np.int64)
            number = np.repeat(np.arange(start, start + len(encodings)), lengths)
            special = parts == 0
            # How many special tokens stand before it in its text.
            before = np.cumsum(special) - special
            first = np.repeat(before[np.cumsum([0, *lengths[:-1]])], lengths)
            found.append((number << TEXT) + (parts << PART) + np.where(special, before - first, ends))
            advance(len(encodings))
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def _parts(encoding: Encoding) -> list[int]:
    return [0 if special else 1 + (number or 0) for number, special in zip(encoding.sequence_ids, encoding.special_tokens_mask)]


def _segments(tokens: TokenizedTexts, places: np.ndarray, common: np.ndarray) -> Segments:
    """Each token's segment: the first end that both sides share at or behind the token's own, in the same part of the same text."""
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
