"""Token ids of texts that no memory holds: in files that are mapped into it, kept in the cache."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike
from tokenizers import Tokenizer, __version__

from potstill.data.stored import StoredTexts
from potstill.errors import PotstillError
from potstill.machine.cache import named_place
from potstill.machine.files import write_aside
from potstill.machine.progress import progress
from potstill.runtime.folder import prompted
from potstill.runtime.tokens import CHUNK, TokenizedTexts, cutting_to, tokenize

IDS, OFFSETS, LENGTHS = "ids.bin", "offsets.bin", "lengths.bin"


@dataclass(frozen=True)
class StoredTokens(TokenizedTexts):
    """Token ids of n texts whose arrays are mapped into memory.

    Attributes:
        place: the folder of their files.
    """

    place: Path = Path()

    @cached_property
    def lengths(self) -> np.ndarray:
        """(n,) int64, tokens of each text."""
        return _mapped(self.place / LENGTHS, np.int64, len(self))


def stored_tokens(texts: StoredTexts, tokenizer: Tokenizer, max_length: int, prompt: str = "", title: str = "") -> StoredTokens:
    """Tokenize texts, or open what was made before of the same texts by the same tokenizer.

    A PotstillError comes through as from runtime.tokens.tokenize; the disk may be full.

    Args:
        texts: n texts.
        tokenizer: as in runtime.tokens.tokenize, like the next one.
        max_length: tokens, special ones included.
        prompt: is put before each text.
        title: of a progress bar; no bar without it.
    """
    tokenizer = cutting_to(tokenizer, max_length)
    cutting = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
    place = named_place("tokens", {"format": 1, "texts": texts.digest, "tokenizer": cutting, "version": __version__, "prompt": prompt})
    if not place.is_dir():
        with write_aside(place) as aside:
            aside.mkdir()
            _write(aside, texts, tokenizer, max_length, prompt, title)
    offsets = _mapped(place / OFFSETS, np.int64, len(texts) + 1)
    return StoredTokens(_mapped(place / IDS, np.int32, int(offsets[-1])), offsets, place=place)


def _write(folder: Path, texts: StoredTexts, tokenizer: Tokenizer, max_length: int, prompt: str, title: str) -> None:
    end = 0
    with (
        progress(title, len(texts)) as advance,
        (folder / IDS).open("wb") as ids,
        (folder / OFFSETS).open("wb") as offsets,
        (folder / LENGTHS).open("wb") as lengths,
    ):
        offsets.write(np.zeros(1, dtype=np.int64).tobytes())
        for start in range(0, len(texts), CHUNK):
            part = tokenize(tokenizer, prompted(prompt, texts[start : start + CHUNK]), max_length)
            ids.write(part.ids.tobytes())
            offsets.write((end + part.offsets[1:]).tobytes())
            lengths.write(part.lengths.tobytes())
            end += len(part.ids)
            advance(len(part))


def _mapped(file: Path, kind: DTypeLike, count: int) -> np.ndarray:
    """An array of a file, (count,), read only.

    Raises:
        PotstillError: the file is not there, or holds more or fewer numbers.
    """
    kind = np.dtype(kind)
    if not file.is_file() or file.stat().st_size != count * kind.itemsize:
        raise PotstillError(file, f"is not {count:,} numbers, which were written", "delete its folder; the next run makes it anew")
    return np.asarray(np.memmap(file, kind, "r")) if count else np.zeros(0, dtype=kind)
