"""Texts tokenized with two vocabularies at once, word by word: the teacher's input in dual training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from tokenizers import Tokenizer

from potstill.data.masking import mask_tokens
from potstill.errors import PotstillError
from potstill.machine.progress import progress
from potstill.runtime.tokens import CHUNK

Side = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of all texts end to end: (tokens,) pieces, (tokens,) their words' numbers in the text, (texts + 1,) where each text begins."""


class MixedTexts:
    """Each word of a text in the pieces of one of two vocabularies, drawn anew for each batch.

    In the joint numbering, the pieces of the second vocabulary come after all of the first. The
    special tokens around a text are the first's. Positions count the mixed pieces.
    Source: Zhao et al. 2019, version 1, "dual training".

    Args:
        first: a tokenizer; texts are cut at the side that its truncation names.
        second: another one, which splits texts into the same words.
        texts: the n texts.
        shift: what is added to the numbers of the second's pieces: the size of the first vocabulary.
        probability: that a word is in the second's pieces.
        max_length: the most tokens of a text, special tokens included.
        pad_id: the first's.
        title: what the progress bar says.

    Raises:
        PotstillError: the tokenizers split some text into different numbers of words.
    """

    def __init__(
        self,
        first: Tokenizer,
        second: Tokenizer,
        texts: Sequence[str],
        *,
        shift: int,
        probability: float,
        max_length: int,
        pad_id: int,
        title: str = "both vocabularies",
    ) -> None:
        self.shift, self.probability, self.max_length, self.pad_id = shift, probability, max_length, pad_id
        around = first.encode("").ids  # what stands before and after a text
        self.left = (first.truncation or {}).get("direction") == "left"  # where a text is cut
        self.before, self.after = around[: len(around) // 2], around[len(around) // 2 :]
        self.sides: tuple[Side, Side] = (_cut(first, texts, title), _cut(second, texts, title))
        counts = [np.array([words[end - 1] if end > start else -1 for start, end in pairwise(offsets)]) for _, words, offsets in self.sides]
        different = np.flatnonzero(counts[0] != counts[1])
        if len(different):
            text = texts[different[0]]
            raise PotstillError(
                "stages: dual", f"the two vocabularies split {text[:40]!r} into different words", "train the student's from the teacher's"
            )
        self.words = counts[0] + 1

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The mixed pieces of some texts.

        Args:
            rows: (b,) numbers of texts.
            rng: draws the vocabulary of each word.

        Returns:
            Joint numbers of pieces, padded, and 1 at tokens, 0 at padding: both (b, longest) int64.
        """
        words = self.words[rows]
        starts = np.concatenate([[0], np.cumsum(words)])  # of each row's words among all words of the batch
        second = rng.random(starts[-1]) < self.probability
        kept = []
        for number, (ids, numbers, offsets) in enumerate(self.sides):
            lengths = offsets[rows + 1] - offsets[rows]
            row = np.repeat(np.arange(len(rows)), lengths)
            place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + offsets[rows][row]
            word = starts[row] + numbers[place]
            chosen = second[word] == bool(number)
            kept.append((ids[place[chosen]] + self.shift * number, word[chosen], row[chosen]))
        ids, word, row = (np.concatenate(parts) for parts in zip(*kept))
        order = np.argsort(word, kind="stable")  # all pieces of a word are of one side, and in order there
        ids, row = ids[order], row[order]
        room = self.max_length - len(self.before) - len(self.after)
        lengths = np.bincount(row, minlength=len(rows))
        skipped = np.maximum(lengths - room, 0) if self.left else np.zeros_like(lengths)
        column = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths + skipped, lengths)
        kept_columns = (0 <= column) & (column < room)
        ids, row, column = ids[kept_columns], row[kept_columns], column[kept_columns]
        lengths = np.minimum(lengths, room)
        padded = np.full((len(rows), int(lengths.max(initial=0)) + len(self.before) + len(self.after)), self.pad_id, dtype=np.int64)
        padded[:, : len(self.before)] = self.before
        padded[row, column + len(self.before)] = ids
        for number, piece in enumerate(self.after):
            padded[np.arange(len(rows)), len(self.before) + lengths + number] = piece
        mask = np.arange(padded.shape[1]) < (lengths + len(self.before) + len(self.after))[:, None]
        return padded, mask.astype(np.int64)


@dataclass(frozen=True)
class MaskedMix:
    """Mixed texts with some tokens masked; pieces of both vocabularies are masked alike.

    Attributes:
        texts: the mixed texts.
        special: as in `mask_tokens`, in the joint numbering.
        mask_id: likewise.
        vocabulary: likewise its `vocab_size`.
    """

    texts: MixedTexts
    special: Sequence[int]
    mask_id: int
    vocabulary: int

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """`mixed_ids`, `mixed_mask` and `mixed_labels` of some texts, each (b, longest) int64.

        Args:
            rows: (b,) numbers of texts.
            rng: draws vocabularies and masks; as in `mask_tokens`.
        """
        ids, mask = self.texts.batch(rows, rng)
        masked, labels = mask_tokens(ids, self.special, self.mask_id, self.vocabulary, rng)
        return {"mixed_ids": masked, "mixed_mask": mask, "mixed_labels": labels}


def _cut(tokenizer: Tokenizer, texts: Sequence[str], title: str) -> Side:
    cutter = Tokenizer.from_str(tokenizer.to_str())
    cutter.no_truncation()
    cutter.no_padding()
    ids, words, lengths = [], [], []
    with progress(title, len(texts)) as advance:
        for start in range(0, len(texts), CHUNK):
            encodings = cutter.encode_batch(list(texts[start : start + CHUNK]), add_special_tokens=False)
            ids += [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]
            words += [np.array(encoding.word_ids, dtype=np.int64) for encoding in encodings]
            lengths += [len(encoding) for encoding in encodings]
            advance(len(encodings))
    return np.concatenate(ids), np.concatenate(words), np.concatenate([[0], np.cumsum(lengths)])
