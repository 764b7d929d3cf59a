"""Texts, pairs of texts and the words of texts → token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from potstill.errors import PotstillError, shown
from potstill.machine.progress import progress
from potstill.runtime.folder import AGAIN, ATTENTION_MASK, INPUT_IDS, TAGGING, TOKEN_TYPES

Text = str | tuple[str, str] | list[str]  # one text, a pair, or the words of a text to be tagged

# Texts a call: enough for all threads, few enough for a smooth bar; an encoding takes kilobytes until its ids are copied out.
CHUNK = 4096


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of n texts, end to end in flat arrays.

    A list of lists would take ten times the memory. Flat arrays can be memory-mapped and hashed as they are.

    Attributes:
        ids: (tokens,) int32, special tokens included.
        offsets: (n + 1,) int64; text i is `ids[offsets[i]:offsets[i + 1]]`.
        types: (tokens,) int8, 1 in the second text of a pair; None where no text is a pair.
        words: (tokens,) int32, the word's number at its first token, -1 elsewhere; None where texts were not given as
            lists of words.
    """

    ids: np.ndarray
    offsets: np.ndarray
    types: np.ndarray | None = None
    words: np.ndarray | None = None

    @cached_property
    def lengths(self) -> np.ndarray:
        """(n,) int64, tokens of each text."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def pad(self, rows: np.ndarray | Sequence[int], pad_id: int) -> dict[str, np.ndarray]:
        """Some texts as one batch, padded at the end.

        Args:
            rows: numbers of the texts.
            pad_id: token id of padding.

        Returns:
            `input_ids` and `attention_mask`, and where some text is a pair `token_type_ids`: each (rows, longest) int64.
        """
        rows = np.asarray(rows, dtype=np.int64)
        mask = self.mask(rows)
        batch = {INPUT_IDS: self.spread(self.ids, rows, mask, pad_id), ATTENTION_MASK: mask.astype(np.int64)}
        if self.types is not None:
            batch[TOKEN_TYPES] = self.spread(self.types, rows, mask, 0)
        return batch

    def mask(self, rows: np.ndarray) -> np.ndarray:
        """(rows, longest) bool, True at tokens. There is at least one column: a tokenizer may make nothing of a text."""
        lengths = self.lengths[rows]
        return np.arange(lengths.max(initial=1)) < lengths[:, None]

    def spread(self, flat: np.ndarray, rows: np.ndarray, mask: np.ndarray, filler: int) -> np.ndarray:
        """The texts' parts of a flat array as one batch.

        Args:
            flat: (tokens,), as `ids`.
            rows: numbers of the texts.
            mask: theirs, see `mask`.
            filler: stands at padding.

        Returns:
            (rows, longest) int64.
        """
        spread = np.full(mask.shape, filler, dtype=np.int64)
        columns = np.arange(mask.shape[1])
        spread[mask] = flat[(self.offsets[rows][:, None] + columns)[mask]]
        return spread


def tokenize(tokenizer: Tokenizer, texts: Sequence[Text], max_length: int, title: str = "") -> TokenizedTexts:
    """Tokenize all texts, each cut to `max_length` tokens with its special tokens kept. Of a pair the longer side is cut.

    The tokenizer's truncation and padding stay as the caller set them: where they differ, a copy is used.

    Args:
        tokenizer: of the model.
        texts: strings and pairs; or lists of words, all of them.
        max_length: tokens, special ones included.
        title: of a progress bar; no bar without it.

    Raises:
        PotstillError: `max_length` leaves no room beside the special tokens.
    """
    pairs, words = any(isinstance(text, tuple) for text in texts), bool(len(texts)) and isinstance(texts[0], list)
    special = tokenizer.num_special_tokens_to_add(pairs)
    if max_length <= special + pairs:
        raise PotstillError(
            "max_length",
            f"{max_length} leaves no room for a text beside {special} special tokens",
            f"choose at least {special + pairs + 1}",
        )
    tokenizer = cutting_to(tokenizer, max_length)
    found: dict[str, list[np.ndarray]] = {"ids": [], "types": [], "words": []}
    lengths = np.zeros(len(texts) + 1, dtype=np.int64)  # behind a 0, so that their sums are the offsets
    with progress(title, len(texts)) as advance:
        for start in range(0, len(texts), CHUNK):
            piece = list(texts[start : start + CHUNK])
            # The fast call leaves character offsets out, which nobody reads here, and does not know words.
            encodings = tokenizer.encode_batch(piece, is_pretokenized=True) if words else tokenizer.encode_batch_fast(piece)
            lengths[start + 1 : start + 1 + len(encodings)] = [len(encoding) for encoding in encodings]
            found["ids"].append(np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), dtype=np.int32))
            if pairs:
                found["types"].append(np.fromiter(chain.from_iterable(encoding.type_ids for encoding in encodings), dtype=np.int8))
            if words:
                found["words"].append(np.fromiter(chain.from_iterable(map(_first_pieces, encodings)), dtype=np.int32))
            advance(len(encodings))
    flat = {name: np.concatenate(pieces) if pieces else None for name, pieces in found.items()}
    ids = flat.pop("ids")
    return TokenizedTexts(np.zeros(0, dtype=np.int32) if ids is None else ids, np.cumsum(lengths), **flat)


def cutting_to(tokenizer: Tokenizer, max_length: int) -> Tokenizer:
    """The tokenizer where it truncates to `max_length` and does not pad; else a copy that does so."""
    if tokenizer.padding is not None or (tokenizer.truncation or {}).get("max_length") != max_length:
        # The copy takes milliseconds, as long as encoding one sentence: not for a tokenizer that is right already.
        tokenizer = Tokenizer.from_str(tokenizer.to_str())
        tokenizer.enable_truncation(max_length)
        tokenizer.no_padding()
    return tokenizer


def by_word(words: NDArray[np.int32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values at the first token of each word of one text.

    Args:
        words: (l,) the word's number at its first token, -1 elsewhere.
        values: (l or more, c), one row for each token.

    Returns:
        (words, c). Words that were cut off are missing at the end. A word that the tokenizer makes nothing of, such as a
        lone control character, has zeros.
    """
    found = np.zeros((int(words.max(initial=-1)) + 1, values.shape[-1]), dtype=np.float32)
    starts = np.flatnonzero(words >= 0)
    found[words[starts]] = values[starts]
    return found


def load_tokenizer(file: Path, max_length: int) -> Tokenizer:
    """Load a tokenizer that does not pad and truncates to `max_length` tokens.

    Raises:
        PotstillError: there is no such file, or it is broken.
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
    """The texts in the form that a head of this kind reads: for tagging, plain texts are split at spaces."""
    return [text.split() if kind == TAGGING and isinstance(text, str) else text for text in texts]


def _first_pieces(encoding: Encoding) -> list[int]:
    """For each token the number of the word that begins there, or -1."""
    numbers = [-1 if word is None else word for word in encoding.word_ids]
    return [word if word != before else -1 for before, word in zip([-1, *numbers], numbers)]
