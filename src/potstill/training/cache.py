"""The teacher's answers on disk: computed once, kept for further epochs and further students."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from potstill.data.batches import TokenizedTexts
from potstill.data.labelled import Text
from potstill.errors import PotstillError
from potstill.files import cache_folder, require_space, sha256_of, write_aside, write_text
from potstill.models.encoder import EncoderModel
from potstill.models.output import LOGITS, EncoderOutput, Field
from potstill.progress import progress
from potstill.training.precision import autocast
from potstill.training.teacher import prepare_teacher

MANIFEST = "manifest.json"
SHARD_TOKENS = 1 << 17  # some 4,000 sentences: 400 MB of BERT-base's hidden states of one layer, which are all in memory at once
FORMAT = 3
TOKENS = frozenset({"hidden_states", "queries", "keys", "values"})  # a vector a token
SQUARES = frozenset({"attention_scores"})  # a matrix a text


class CachedTeacher:
    """Reads fields, memory-mapped, from folders that `build_cache` finished.

    Args:
        place: the cache's folder.
        tokens: the texts in the teacher's pieces: their lengths say where each text's part lies.
        reads: fields to give.
        tags: whether the logits have an axis of tokens.

    Raises:
        PotstillError: a file is missing or its checksum is wrong.
    """

    def __init__(self, place: Path, tokens: TokenizedTexts, reads: Iterable[Field], tags: bool = False) -> None:
        self.tokens, self.tags = tokens, tags
        self._shards = {field: _open(place / str(field)) for field in reads}
        # Where each shard begins: the same cut for every field, since the texts decide it.
        self._starts = _cut(tokens.lengths)
        for field, shards in self._shards.items():
            if len(shards) != len(self._starts) - 1:
                raise PotstillError(place / str(field), "is of other texts", "delete the folder; the next run makes it anew")
        self._sizes = {field: _sizes(tokens.lengths, field, tags) for field in reads}
        self._offsets = {field: _offsets(self._sizes[field], self._starts) for field in reads}

    def __call__(self, rows: np.ndarray, device: torch.device, inputs: Mapping[str, Tensor] | None = None) -> EncoderOutput:
        mask = self.tokens.mask(rows)
        values = {field: torch.from_numpy(self.values(field, rows)).to(device) for field in self._shards}
        return EncoderOutput(torch.from_numpy(mask.astype(np.int64)).to(device), values)

    def values(self, field: Field, rows: np.ndarray) -> np.ndarray:
        """float32 in the order of `rows`, padded with zeros: (rows, d), (rows, l, d), or (rows, heads, l, l)."""
        shards, longest = self._shards[field], int(self.tokens.lengths[rows].max(initial=0))
        shard_of = np.searchsorted(self._starts, rows, side="right") - 1
        if _axis(field, self.tags) == "text":
            found = np.empty((len(rows), shards[0].shape[-1]), dtype=np.float32)
            for shard in np.unique(shard_of):
                here = shard_of == shard
                found[here] = shards[shard][rows[here] - self._starts[shard]]
            return found
        square = _axis(field, self.tags) == "square"
        width = shards[0].shape[-1]  # heads of a matrix, dimensions of a vector
        found = np.zeros((len(rows), width, longest, longest) if square else (len(rows), longest, width), dtype=np.float32)
        for number, (row, shard) in enumerate(zip(rows, shard_of)):
            length, start = int(self.tokens.lengths[row]), int(self._offsets[field][row])
            piece = shards[shard][start : start + int(self._sizes[field][row])]
            if square:
                found[number, :, :length, :length] = piece.reshape(length, length, width).transpose(2, 0, 1)
            else:
                found[number, :length] = piece
        return found


def build_cache(
    place: Path, model: EncoderModel, tokens: TokenizedTexts, reads: Iterable[Field], *, bf16: bool = False, half: bool = False
) -> CachedTeacher:
    """Compute the fields that `place` lacks and open it.

    A field is a folder; each of its shards (SHARD_TOKENS) is written aside and renamed; its manifest
    with the checksums comes last, so that its existence means that the rest is whole. A broken run
    goes on at the first shard that is missing. Nothing is padded on disk.

    Args:
        model: on its device. Its layers above the highest that is read are dropped.
        tokens: the texts in its pieces.
        half: keep float16 instead of float32.
    """
    reads = sorted(reads)
    tags = tokens.words is not None
    missing = [field for field in reads if not (place / str(field) / MANIFEST).is_file()]
    if missing:
        require_space(place, sum(cache_bytes(tokens.lengths, field, model, tags, half) for field in missing), "the teacher's cache")
        prepare_teacher(model, missing)
        _compute(place, model, tokens, missing, bf16, half)
    return CachedTeacher(place, tokens, reads, tags)


def cache_place(teacher: Path, texts: Iterable[Text], settings: dict[str, Any]) -> Path:
    """The folder of a cache: its name is a digest of the teacher's files, the texts and the settings."""
    content = hashlib.sha256()
    for text in texts:
        parts = [text] if isinstance(text, str) else list(text)
        content.update(type(text).__name__.encode())  # the same words as a pair and as words to tag are other tokens
        for part in parts:
            raw = part.encode("utf-8", "surrogatepass")
            content.update(len(raw).to_bytes(8, "little") + raw)
        content.update(len(parts).to_bytes(8, "little"))
    key = {"format": FORMAT, "teacher": fingerprint(teacher), "texts": content.hexdigest(), "settings": settings}
    return cache_folder() / "teacher" / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]


def fingerprint(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that decides a model's answers: weights, configuration, tokenizer."""
    patterns = ("*.safetensors", "*.json", "vocab.txt", "*_*/config.json", "*_Dense/*.safetensors")
    return {
        path.relative_to(folder).as_posix(): sha256_of(path) for path in sorted({p for pattern in patterns for p in folder.glob(pattern)})
    }


def cache_bytes(lengths: np.ndarray, field: Field, model: Any, tags: bool = False, half: bool = False) -> int:
    """Bytes that a field of texts of these lengths takes on disk.

    Args:
        model: anything with `dimension`, `width`, `heads` and `labels`.
    """
    width = model.width
    if field.name in SQUARES:
        width = model.heads
    elif field.name == "embedding":
        width = model.dimension
    elif field == LOGITS:
        width = max(1, len(model.labels))
    return int(_sizes(lengths, field, tags).sum()) * width * (2 if half else 4)


def _compute(place: Path, model: EncoderModel, tokens: TokenizedTexts, fields: Sequence[Field], bf16: bool, half: bool) -> None:
    starts = _cut(tokens.lengths)
    digests: dict[Field, dict[str, str]] = {field: {} for field in fields}
    with progress("teacher", len(tokens)) as advance:
        for shard, (start, end) in enumerate(pairwise(starts)):
            paths = {field: place / str(field) / f"{shard:05d}.npy" for field in fields}
            if not all(path.is_file() for path in paths.values()):
                part = _part(tokens, start, end)
                pieces: dict[Field, list[Any]] = {field: [None] * len(part) for field in fields}
                with autocast(model.device, bf16):
                    for rows, output in model.run(part, fields):
                        for field in fields:
                            _collect(
                                pieces[field], rows, output[field].float().cpu().numpy(), part.lengths, _axis(field, part.words is not None)
                            )
                for field, path in paths.items():
                    kind = np.float16 if half else np.float32
                    own = pieces.pop(field)
                    stack = np.stack if _axis(field, part.words is not None) == "text" else np.concatenate
                    with write_aside(path) as aside, aside.open("wb") as stream:
                        np.save(stream, stack(own).astype(kind, copy=False))
            advance(int(end - start))
            for field, path in paths.items():
                digests[field][path.name] = sha256_of(path)
    for field in fields:
        write_text(place / str(field) / MANIFEST, json.dumps({"format": FORMAT, "sha256": digests[field]}, indent=2) + "\n")


def _collect(pieces: list[Any], rows: np.ndarray, values: np.ndarray, lengths: np.ndarray, axis: str) -> None:
    """Put each row's part of a padded batch, without the padding, where it belongs."""
    for row, value in zip(rows, values):
        length = int(lengths[row])
        if axis == "square":
            # (heads, l, l) → (l·l, heads): the free axis first, as in every other file.
            value = value[:, :length, :length].transpose(1, 2, 0).reshape(length * length, -1)
        pieces[row] = value[:length].copy() if axis == "token" else value.copy()


def _axis(field: Field, tags: bool) -> str:
    """What there is a line of numbers for: a text, a token, or a pair of tokens."""
    if field.name in SQUARES:
        return "square"
    return "token" if field.name in TOKENS or (field == LOGITS and tags) else "text"


def _sizes(lengths: np.ndarray, field: Field, tags: bool) -> np.ndarray:
    """(n,) lines of numbers of each text."""
    return {"text": np.ones_like(lengths), "token": lengths, "square": lengths * lengths}[_axis(field, tags)]


def _offsets(sizes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(n,) where each text's lines begin in its shard."""
    total = np.concatenate([[0], np.cumsum(sizes)])
    return total[:-1] - np.repeat(total[starts[:-1]], np.diff(starts))


def _cut(lengths: np.ndarray) -> np.ndarray:
    """First rows of the shards, and the number of rows behind them."""
    numbers = np.concatenate([[0], np.cumsum(lengths)[:-1]]) // SHARD_TOKENS if len(lengths) else np.zeros(0, dtype=np.int64)
    return np.concatenate([np.flatnonzero(np.diff(numbers, prepend=-1)), [len(lengths)]]).astype(np.int64)


def _part(tokens: TokenizedTexts, start: int, end: int) -> TokenizedTexts:
    first, last = tokens.offsets[start], tokens.offsets[end]
    extra = {name: None if flat is None else flat[first:last] for name, flat in (("types", tokens.types), ("words", tokens.words))}
    return TokenizedTexts(tokens.ids[first:last], tokens.offsets[start : end + 1] - first, **extra)


def _open(folder: Path) -> list[np.ndarray]:
    try:
        digests = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PotstillError(folder / MANIFEST, "is not a cache's manifest", "delete the folder; the next run makes it anew") from error
    for name, digest in digests.items():
        if not (folder / name).is_file() or sha256_of(folder / name) != digest:
            raise PotstillError(folder / name, "does not match its checksum", "delete the folder; the next run makes it anew")
    return [np.load(folder / name, mmap_mode="r") for name in sorted(digests)]
