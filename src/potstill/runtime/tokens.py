"""Texts, pairs of texts and the words of texts → token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from potstill.errors import PotstillError, shown
from potstill.runtime.folder import AGAIN, ATTENTION_MASK, INPUT_IDS, TAGGING, TOKEN_TYPES

Text = str | tuple[str, str] | list[str]  # one text, a pair, or the words of a text to be tagged

# Texts tokenized in one call. An encoding takes kilobytes until its ids are copied out.
PIECE = 1024


@dataclass(frozen=True)
class Tokens:
    """Token ids of n texts, end to end.

    Attributes:
        ids: (tokens,) int32, special tokens included.
        types: (tokens,) int8, 1 in the second text of a pair.
        offsets: (n + 1,) int64; text i is ids[offsets[i]:offsets[i + 1]].
        words: (tokens,) int32 the word's number where one begins, -1 elsewhere; empty where texts
            were not given as words.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int8]
    offsets: NDArray[np.int64]
    words: NDArray[np.int32]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def pad(self, rows: NDArray[np.int64], pad_id: int) -> dict[str, NDArray[np.int64]]:
        """What a graph reads of these texts, each (rows, longest row) int64."""
        starts, lengths = self.offsets[rows][:, None], self.lengths[rows][:, None]  # (b, 1)
        # At least one column: a tokenizer without special tokens makes nothing of an empty text.
        columns = np.arange(max(int(lengths.max()), 1))
        mask = columns < lengths  # (b, l)
        places = (starts + columns)[mask]
        input_ids, types = np.full(mask.shape, pad_id, dtype=np.int64), np.zeros(mask.shape, dtype=np.int64)
        input_ids[mask], types[mask] = self.ids[places], self.types[places]
        return {INPUT_IDS: input_ids, ATTENTION_MASK: mask.astype(np.int64), TOKEN_TYPES: types}


def by_word(words: NDArray[np.int32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """What stands at the first piece of each word of a text: (l or more, c) → (words, c).

    Words that were cut off are missing at the end; a word that the tokenizer makes nothing of (a
    lone control character) has zeros.

    Args:
        words: (l,) the word's number where one begins, -1 elsewhere.
    """
    found = np.zeros((int(words.max(initial=-1)) + 1, values.shape[-1]), dtype=np.float32)
    starts = np.flatnonzero(words >= 0)
    found[words[starts]] = values[starts]
    return found


def tokenize(tokenizer: Tokenizer, texts: Sequence[Text], *, words: bool = False) -> Tokens:
    """Tokenize with the truncation that the tokenizer has.

    Args:
        words: whether each text is a list of its words.
    """
    ids: list[NDArray[np.int32]] = []
    types: list[NDArray[np.int8]] = []
    numbers: list[NDArray[np.int32]] = []
    lengths = np.zeros(len(texts) + 1, dtype=np.int64)
    for start in range(0, len(texts), PIECE):
        piece = list(texts[start : start + PIECE])
        # The fast call is blind to words.
        found = tokenizer.encode_batch(piece, is_pretokenized=True) if words else tokenizer.encode_batch_fast(piece)
        lengths[start + 1 : start + 1 + len(found)] = [len(encoding) for encoding in found]
        ids.append(np.fromiter(chain.from_iterable(encoding.ids for encoding in found), dtype=np.int32))
        if all(isinstance(text, str) for text in piece):
            types.append(np.zeros(len(ids[-1]), dtype=np.int8))
        else:
            types.append(np.fromiter(chain.from_iterable(encoding.type_ids for encoding in found), dtype=np.int8))
        if words:
            numbers.append(np.fromiter(chain.from_iterable(map(_first_pieces, found)), dtype=np.int32))
    return Tokens(
        ids=np.concatenate([np.zeros(0, dtype=np.int32), *ids]),
        types=np.concatenate([np.zeros(0, dtype=np.int8), *types]),
        offsets=np.cumsum(lengths),
        words=np.concatenate([np.zeros(0, dtype=np.int32), *numbers]),
    )


def load_tokenizer(file: Path, max_length: int) -> Tokenizer:
    """A tokenizer file, without padding, cutting to `max_length`.

    Raises:
        PotstillError: there is none, or it is broken.
    """
    if not file.is_file():
        raise PotstillError(file, "no such file", AGAIN)
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise PotstillError(file, f"is not a tokenizer ({shown(str(error), 160)})", AGAIN) from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer


def suited(texts: Sequence[Text], kind: str) -> list[Text]:
    """Prose in the form that a model of this kind takes: for tagging, plain texts are split at spaces."""
    return [text.split() if kind == TAGGING and isinstance(text, str) else text for text in texts]


def _first_pieces(encoding: Encoding) -> list[int]:
    """For every token the number of the word that begins there, or -1."""
    numbers = [-1 if word is None else word for word in encoding.word_ids]
    return [word if word != before else -1 for before, word in zip([-1, *numbers], numbers)]
