"""Texts, pairs of texts and the words of texts → token ids."""

from __future__ import annotations

import re
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
from potstill.runtime.folder import AGAIN, ATTENTION_MASK, INPUT_IDS, TAGGING, TOKEN_TYPES, TOKENIZER

Text = str | tuple[str, str] | list[str]  # one text, a pair, or the words of a text to be tagged

# Texts a call: enough for all threads, few enough for a smooth bar; an encoding takes kilobytes until its ids are copied out.
CHUNK = 4096
WORD = re.compile(r"\S+")
NOWHERE = -1  # instead of a word's number, at a token with which no word begins


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

    Words are read as the text that they make with single spaces between them, so that a word gets the pieces that it has
    within a text, whichever way the tokenizer treats spaces. The tokenizer's truncation and padding stay as the caller set
    them: where they differ, a copy is used.

    Args:
        tokenizer: of the model; its texts are cut at the side that its truncation names.
        texts: strings and pairs; or lists of words, all of them.
        max_length: tokens, special ones included.
        title: of a progress bar; no bar without it.

    Raises:
        PotstillError: `max_length` leaves no room beside the special tokens; some texts are lists of words and others are
            not; a text is none, or holds half a surrogate pair; the tokenizer fails on one; a piece spans several words, or the
            first words of a text are cut off.
    """
    pairs, words = (any(isinstance(text, kind) for text in texts) for kind in (tuple, list))
    if words and not all(isinstance(text, list) for text in texts):
        raise PotstillError("texts", "some are lists of words and others are not", "give each as the list of its words, or none")
    require_room("max_length", tokenizer, max_length, pairs)
    tokenizer = cutting_to(tokenizer, max_length)
    found: dict[str, list[np.ndarray]] = {"ids": [], "types": [], "words": []}
    lengths = np.zeros(len(texts) + 1, dtype=np.int64)  # behind a 0, so that their sums are the offsets
    with progress(title, len(texts)) as advance:
        for start in range(0, len(texts), CHUNK):
            encodings = encoded(tokenizer, texts, start, offsets=words)
            lengths[start + 1 : start + 1 + len(encodings)] = [len(encoding) for encoding in encodings]
            try:
                found["ids"].append(np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), dtype=np.int32))
                if pairs:
                    found["types"].append(np.fromiter(chain.from_iterable(encoding.type_ids for encoding in encodings), dtype=np.int8))
            except OverflowError as error:
                problem = f"the tokenizer gives a piece or a type a number that no model has ({error})"
                raise PotstillError(TOKENIZER, problem, "save the tokenizer again") from error
            if words:
                _require_first_words(tokenizer, encodings, max_length)
                found["words"].append(_first_pieces(encodings, texts[start : start + CHUNK]))
            advance(len(encodings))
    flat = {name: np.concatenate(pieces) if pieces else None for name, pieces in found.items()}
    ids = flat.pop("ids")
    return TokenizedTexts(np.zeros(0, dtype=np.int32) if ids is None else ids, np.cumsum(lengths), **flat)


def require_room(place: str, tokenizer: Tokenizer, max_length: int, pairs: bool = False) -> None:
    """Check that a length leaves room for a text beside the special tokens, of a pair for both texts.

    Args:
        place: of the length, for the error.
        tokenizer: of the model.
        max_length: tokens, special ones included.
        pairs: whether texts are pairs.

    Raises:
        PotstillError: it leaves none.
    """
    special = tokenizer.num_special_tokens_to_add(pairs)
    if max_length <= special + pairs:
        problem = f"{max_length} leaves no room for a text beside {special} special tokens"
        raise PotstillError(place, problem, f"choose at least {special + pairs + 1}")


def encoded(tokenizer: Tokenizer, texts: Sequence[Text], start: int, *, offsets: bool) -> list[Encoding]:
    """The encodings of the CHUNK texts from number `start` on; words are joined by spaces.

    Args:
        tokenizer: as `cutting_to` gives it.
        texts: strings and pairs; or lists of words, all of them.
        start: number of the first one.
        offsets: whether each token's place in the text is needed, which takes longer.

    Raises:
        PotstillError: a text is none, or holds half a surrogate pair; the tokenizer fails on one.
        TypeError: the library finds something else wrong, which is a bug.
    """
    try:
        chunk = [" ".join(text) if isinstance(text, list) else text for text in texts[start : start + CHUNK]]
        return tokenizer.encode_batch(chunk) if offsets else tokenizer.encode_batch_fast(chunk)
    except TypeError:  # which tells neither the text nor what is wrong with it
        for number, text in enumerate(texts[start : start + CHUNK], start=start + 1):
            for part in [text] if isinstance(text, str) else text if isinstance(text, (list, tuple)) else [None]:
                if not isinstance(part, str):
                    raise PotstillError(f"text {number}", f"is {shown(text)}, no text", "give a text, a pair or a list of words") from None
                _require_characters(part, f"text {number}")
        raise
    except BaseException as error:
        _require_of_library(error)  # as where a word has no piece, and the vocabulary no piece for unknown ones
        problem = f"fails on a text ({shown(str(error), 160)})"
        raise PotstillError(TOKENIZER, f"the tokenizer {problem}", "save the tokenizer again, with all its pieces") from error


def cutting_to(tokenizer: Tokenizer, max_length: int) -> Tokenizer:
    """The tokenizer where it truncates to `max_length` and does not pad; else a copy that does so, at the same side."""
    if tokenizer.padding is not None or (tokenizer.truncation or {}).get("max_length") != max_length:
        # The copy takes milliseconds, as long as encoding one sentence: not for a tokenizer that is right already.
        tokenizer = Tokenizer.from_str(tokenizer.to_str())
        cut_to(tokenizer, max_length)
    return tokenizer


def cut_to(tokenizer: Tokenizer, max_length: int, side: str | None = None) -> None:
    """Let a tokenizer truncate to `max_length` tokens and not pad, in place.

    Args:
        tokenizer: of a model.
        max_length: tokens, special ones included.
        side: where texts are cut, "left" or "right"; default: where the tokenizer cuts already, else right.
    """
    tokenizer.enable_truncation(max_length, direction=side or (tokenizer.truncation or {}).get("direction", "right"))
    tokenizer.no_padding()


def places_of_words(tokenizer: Tokenizer, text: str) -> list[tuple[int, int]]:
    """The words of a text to be tagged: signs apart where that changes no piece, else what stands between spaces.

    The tokenizer's own splitting counts where the words, with single spaces between them, are the same pieces as the text.
    That is so for a BERT. Byte-level BPE and SentencePiece read a space before a sign as something else.

    Args:
        tokenizer: of the model.
        text: one text.

    Returns:
        For each word in order the place of its first character and that behind its last one; none of a blank text.

    Raises:
        PotstillError: the text holds half a surrogate pair.
    """
    plain = [word.span() for word in WORD.finditer(text)]
    if tokenizer.pre_tokenizer is None:
        return plain
    _require_characters(text, "text")
    parts = [place for _, place in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    words = [word.span() for start, end in parts for word in WORD.finditer(text, start, end)]
    if words == plain:
        return plain
    own, joined = tokenizer.encode_batch_fast([text, " ".join(text[start:end] for start, end in words)])
    return words if own.ids == joined.ids else plain


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
    """Load a tokenizer that does not pad and truncates to `max_length` tokens, at the side that its file names.

    Raises:
        PotstillError: there is no such file, or it is broken.
    """
    if not file.is_file():
        raise PotstillError(file, "no such file", AGAIN)
    try:
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.encode("a")  # its parts may name pieces that it does not have
    except BaseException as error:
        _require_of_library(error)
        raise PotstillError(file, f"is not a tokenizer ({shown(str(error), 160)})", AGAIN) from error
    cut_to(tokenizer, max_length)
    return tokenizer


def require_words(texts: Sequence[Text]) -> None:
    """Check that texts to be tagged are lists of words.

    Raises:
        PotstillError: one is not.
    """
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, list):
            raise PotstillError(f"text {number}", f"is {shown(text)}, and a tagger reads lists of words", "give the list of its words")


def suited(texts: Sequence[Text], kind: str) -> list[Text]:
    """The texts in the form that a head of this kind reads: for tagging, plain texts are split at spaces."""
    return [text.split() if kind == TAGGING and isinstance(text, str) else text for text in texts]


def _first_pieces(encodings: Sequence[Encoding], texts: Sequence[Text]) -> np.ndarray:
    """For each token of some texts the number of the word that begins there, or -1: (tokens,) int32.

    Raises:
        PotstillError: a piece spans several words.
    """
    lengths = np.array([len(encoding) for encoding in encodings])
    special = np.fromiter(chain.from_iterable(encoding.special_tokens_mask for encoding in encodings), dtype=bool)
    places = np.fromiter(chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings)), dtype=np.int64)
    # All texts end to end, a space behind every word.
    ends = np.cumsum(np.fromiter((len(word) + 1 for words in texts for word in words), dtype=np.int64)) - 1
    before = np.cumsum([0, *map(len, texts)])  # words before each text
    text = np.repeat(np.arange(len(encodings)), lengths)
    starts = np.concatenate([[0], ends + 1])[before[:-1]][text]
    first, last = (places + np.repeat(starts, 2)).reshape(-1, 2).T
    # A space belongs to the word behind it: SentencePiece and byte-level BPE make one piece of both, or of the space alone.
    number = np.searchsorted(ends, first, side="right")
    wide = np.flatnonzero((np.searchsorted(ends, last - 1, side="left") > number) & ~special)
    if len(wide):
        words = " ".join(texts[text[wide[0]]])
        raise PotstillError("tokenizer", f"makes one piece of several words in {shown(words)}", "use one that splits texts at spaces")
    number = np.minimum(number, before[text + 1] - 1)  # white space at the end of a text is of its last word
    number[special | (number < before[text])] = NOWHERE
    begins = np.diff(number, prepend=NOWHERE) != 0  # words are numbered on from text to text
    return np.where(begins & (number != NOWHERE), number - before[text], NOWHERE).astype(np.int32)


def _require_first_words(tokenizer: Tokenizer, encodings: Sequence[Encoding], max_length: int) -> None:
    """Check that no text of words is cut at its start.

    Raises:
        PotstillError: one is, so that its first words would have no tags.
    """
    if (tokenizer.truncation or {}).get("direction") != "left":
        return
    if any(len(encoding) == max_length and encoding.overflowing for encoding in encodings):
        raise PotstillError(
            "truncation_side",
            f"the tokenizer cuts texts of more than {max_length} tokens at their start, whose words are then not tagged",
            "write truncation_side right in tokenizer_config.json, or give shorter texts",
        )


def _require_of_library(error: BaseException) -> None:
    """Raise an error again that is none of the tokenizers library: Ctrl-C, or too little memory.

    The library raises bare Exception, and what its Rust code did not foresee (a panic) is no Exception at all.
    """
    if isinstance(error, MemoryError) or not (isinstance(error, Exception) or type(error).__name__ == "PanicException"):
        raise error


def _require_characters(text: str, place: str) -> None:
    """Check that a text is made of characters.

    Raises:
        PotstillError: it holds half a surrogate pair, which UTF-8 does not have.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise PotstillError(place, f"holds {half} at character {error.start + 1}, half a character", "write it in UTF-8") from None
