"""A corpus tokenized once, and every batch of a run laid out before the run starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise

import numpy as np
from tokenizers import Encoding, Tokenizer

from potstill.data.labelled import Text
from potstill.errors import PotstillError
from potstill.progress import progress

PIECE = 4096  # texts a call: enough for all threads, few enough for a smooth bar and little memory
WINDOW = 50  # batches that are sorted by length together: more saves little padding and mixes less


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of n texts, end to end in flat arrays.

    A list of lists would take ten times the memory; this can be memory-mapped and hashed as it is.

    Args:
        ids: (tokens,) int32, special tokens included.
        offsets: (n + 1,) int64; text i is `ids[offsets[i]:offsets[i + 1]]`.
        types: (tokens,) int8, 1 in the second text of a pair; None where no text is a pair.
        words: (tokens,) int32, of texts given as words: the word's number at its first piece, -1
            elsewhere; None for other texts.
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
        """`input_ids`, `attention_mask` and of pairs `token_type_ids`, (rows, longest of them) int64, padded at the end."""
        rows = np.asarray(rows, dtype=np.int64)
        mask = self.mask(rows)
        batch = {"input_ids": self.spread(self.ids, rows, mask, pad_id), "attention_mask": mask.astype(np.int64)}
        if self.types is not None:
            batch["token_type_ids"] = self.spread(self.types, rows, mask, 0)
        return batch

    def mask(self, rows: np.ndarray) -> np.ndarray:
        """(rows, longest of them) bool, True at tokens."""
        lengths = self.lengths[rows]
        return np.arange(lengths.max(initial=0)) < lengths[:, None]

    def spread(self, flat: np.ndarray, rows: np.ndarray, mask: np.ndarray, filler: int) -> np.ndarray:
        """The rows of a flat array as (rows, longest) int64, with `filler` at padding."""
        spread = np.full(mask.shape, filler, dtype=np.int64)
        columns = np.arange(mask.shape[1])
        spread[mask] = flat[(self.offsets[rows][:, None] + columns)[mask]]
        return spread


def tokenize(tokenizer: Tokenizer, texts: Sequence[Text], max_length: int, title: str = "") -> TokenizedTexts:
    """Tokenize all texts, each cut to `max_length` tokens with its special tokens kept; of a pair the longer side is cut.

    The tokenizer's truncation and padding stay as the caller set them: where they differ, a copy is used.

    Args:
        texts: all of one kind.
        title: what the progress bar says.

    Raises:
        PotstillError: `max_length` leaves no room beside the special tokens.
    """
    pairs, words = bool(len(texts)) and isinstance(texts[0], tuple), bool(len(texts)) and isinstance(texts[0], list)
    special = tokenizer.num_special_tokens_to_add(pairs)
    if max_length <= special + pairs:
        raise PotstillError(
            "max_length",
            f"{max_length} leaves no room for a text beside {special} special tokens",
            f"choose at least {special + pairs + 1}",
        )
    tokenizer = cutting_to(tokenizer, max_length)
    found: dict[str, list[np.ndarray]] = {"ids": [], "types": [], "words": []}
    lengths = np.zeros(len(texts), dtype=np.int64)
    with progress(title or "tokenizing", len(texts)) as advance:
        for start in range(0, len(texts), PIECE):
            piece = list(texts[start : start + PIECE])
            # fast: without character offsets, which nobody reads here
            encodings = tokenizer.encode_batch(piece, is_pretokenized=True) if words else tokenizer.encode_batch_fast(piece)
            lengths[start : start + len(encodings)] = [len(encoding) for encoding in encodings]
            found["ids"].append(np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), dtype=np.int32))
            if pairs:
                found["types"].append(np.fromiter(chain.from_iterable(encoding.type_ids for encoding in encodings), dtype=np.int8))
            if words:
                found["words"].append(np.fromiter(chain.from_iterable(map(_first_pieces, encodings)), dtype=np.int32))
            advance(len(encodings))
    flat = {name: np.concatenate(pieces) if pieces else None for name, pieces in found.items()}
    ids = flat.pop("ids")
    return TokenizedTexts(
        np.zeros(0, dtype=np.int32) if ids is None else ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), **flat
    )


def cutting_to(tokenizer: Tokenizer, max_length: int) -> Tokenizer:
    """The tokenizer, or a copy of it, that truncates to `max_length` and does not pad."""
    if tokenizer.padding is not None or (tokenizer.truncation or {}).get("max_length") != max_length:
        # The copy takes milliseconds, as long as encoding one sentence: not for a tokenizer that is right already.
        tokenizer = Tokenizer.from_str(tokenizer.to_str())
        tokenizer.enable_truncation(max_length)
        tokenizer.no_padding()
    return tokenizer


def _first_pieces(encoding: Encoding) -> list[int]:
    """For every token the number of the word that begins there, or -1."""
    numbers = [-1 if word is None else word for word in encoding.word_ids]
    return [word if word != before else -1 for before, word in zip([-1, *numbers], numbers)]


def training_plan(
    lengths: np.ndarray | Sequence[int], *, batch_size: int, batch_tokens: int | None, epochs: float, seed: int
) -> list[np.ndarray]:
    """Every batch of a run, in order, as arrays of row numbers.

    The whole plan is made first so that a resumed run takes it up by skipping what is done, and so
    that the number of steps is known. Epoch e depends on (seed, e) alone: a longer run starts with
    the shorter one's batches. An epoch is shuffled, sorted by length within windows of WINDOW
    batches, cut, and its batches are shuffled; so a batch pads little, yet rows meet others each time.

    Args:
        lengths: (n,) tokens of each text.
        batch_size: rows a batch holds at most.
        batch_tokens: rows × longest row of a batch, at most. A longer text is a batch alone. None:
            every batch holds `batch_size` rows, and the rows left over at an epoch's end wait for the
            next: of a contrastive loss the batch is what a text is told apart from.
        epochs: may be a fraction; of the last epoch then that part of its batches.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    plan: list[np.ndarray] = []
    if not len(lengths):
        return plan
    for epoch in range(math.ceil(epochs)):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(lengths))
        if batch_tokens is None:
            order = order[: max(len(order) // batch_size * batch_size, min(len(order), batch_size))]
        batches = _cut(_by_length(lengths, order, WINDOW * batch_size), lengths, batch_size, batch_tokens or 1 << 62)
        part = min(1.0, epochs - epoch)
        kept = rng.permutation(len(batches))[: math.ceil(len(batches) * part)]
        plan += [batches[number] for number in kept]
    return plan


def _by_length(lengths: np.ndarray, order: np.ndarray, window: int) -> np.ndarray:
    """`order` sorted by length inside each window, upwards and downwards in turn.

    In turn, because a batch that reaches over the edge of a window then finds similar lengths on both sides.
    """
    number = np.arange(len(order)) // window
    key = np.where(number % 2, -lengths[order], lengths[order])
    return order[np.lexsort((key, number))]


def _cut(order: np.ndarray, lengths: np.ndarray, batch_size: int, batch_tokens: int) -> list[np.ndarray]:
    """`order` in pieces of at most `batch_size` rows and `batch_tokens` padded tokens."""
    sorted_lengths = lengths[order]
    counts = np.arange(1, batch_size + 1)
    starts = [0]
    while starts[-1] < len(order):
        ahead = sorted_lengths[starts[-1] : starts[-1] + batch_size]
        padded = np.maximum.accumulate(ahead) * counts[: len(ahead)]
        starts.append(starts[-1] + max(1, int(np.searchsorted(padded, batch_tokens, side="right"))))
    # One row alone at the end has no matrix of similarities: let the batch before it give it one, or take it in.
    if len(starts) > 2 and starts[-1] - starts[-2] == 1 < batch_size and 2 * sorted_lengths[-2:].max() <= batch_tokens:
        if starts[-2] - starts[-3] > 2:
            starts[-2] -= 1
        else:
            del starts[-2]
    return [order[start:end] for start, end in pairwise(starts)]
