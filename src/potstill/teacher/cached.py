"""The teacher's answers on disk: computed once, kept for further epochs and further students."""

from __future__ import annotations

import json
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.machine.cache import FORMAT
from potstill.machine.files import require_space, sha256_of, write_aside, write_text
from potstill.machine.precision import autocast
from potstill.machine.progress import Advance, progress
from potstill.models.encoder import EncoderModel
from potstill.models.output import EncoderOutput, Field
from potstill.runtime.tokens import TokenizedTexts
from potstill.teacher.answers import Teacher, prepare_teacher
from potstill.teacher.budget import axis, cache_bytes

MANIFEST = "manifest.json"
SHARD_TOKENS = 1 << 17  # some 4,000 sentences: 400 MB of BERT-base's hidden states of one layer, which are all in memory at once
CHECKED = 1 << 31  # bytes of a field up to which all checksums are looked at before the first shard is read: seconds
MAPPED = 200  # shards of a field that are open at once
PROBE, PROBE_SECONDS = 1 / 50, 1.0  # part of the texts that the time is told from, and how long that may take
Digests = dict[Field, dict[str, str]]
"""Of each field the SHA-256 of its files, by their names."""


@dataclass(frozen=True)
class Shard:
    """Texts whose answers lie in one file a field.

    Attributes:
        start, end: number of the first text, and of the one behind the last.
        paths: field → file.
    """

    start: int
    end: int
    paths: dict[Field, Path]

    @property
    def is_whole(self) -> bool:
        """Whether all of its files are there; each was written aside and renamed."""
        return all(path.is_file() for path in self.paths.values())


@dataclass(frozen=True)
class Pass:
    """A teacher's pass over texts: fields that a cache lacks, shard by shard.

    Attributes:
        place: the cache's folder.
        tokens: the texts in the teacher's pieces.
        fields: to be computed.
        live: fields that the same model is to give afterwards; its attention is made ready for them too.
        precision: what to autocast to.
        half: keep float16 instead of float32.
    """

    place: Path
    tokens: TokenizedTexts
    fields: Sequence[Field]
    live: Sequence[Field]
    precision: torch.dtype
    half: bool

    def shards(self) -> Iterator[Shard]:
        """All of them, in the order of the texts."""
        for number, (start, end) in enumerate(pairwise(_cut(self.tokens.offsets))):
            yield Shard(int(start), int(end), {field: self.place / str(field) / f"{number:05d}.npy" for field in self.fields})

    def part(self, start: int, end: int) -> TokenizedTexts:
        """Some texts of it, in arrays of their own offsets."""
        first, last = self.tokens.offsets[start], self.tokens.offsets[end]
        flats = (("types", self.tokens.types), ("words", self.tokens.words))
        extra = {name: None if flat is None else flat[first:last] for name, flat in flats}
        return TokenizedTexts(self.tokens.ids[first:last], self.tokens.offsets[start : end + 1] - first, **extra)


class CachedTeacher(Teacher):
    """Reads fields, memory-mapped, from folders that `build_cache` finished.

    Args:
        place: the cache's folder; also an attribute, and `tokens` too.
        tokens: the texts in the teacher's pieces: their lengths say where each text's part lies.
        reads: fields to give.
        tags: whether the logits have an axis of tokens.

    Raises:
        PotstillError: a file is missing, or its checksum is wrong; of a field of more than CHECKED bytes each shard's
            is looked at when it is first read.
    """

    def __init__(self, place: Path, tokens: TokenizedTexts, reads: Iterable[Field], tags: bool = False) -> None:
        self.place, self.tokens, self.tags, self.reads = place, tokens, tags, frozenset(reads)
        # Where each shard begins: the same cut for every field, since the texts decide it.
        self._starts = _cut(tokens.offsets)
        self._shards = {field: _Shards(place / str(field)) for field in self.reads}
        for field, shards in self._shards.items():
            if len(shards) != len(self._starts) - 1:
                raise PotstillError(place / str(field), "is of other texts", "delete the folder; the next run makes it anew")

    def __call__(self, rows: np.ndarray, device: torch.device, inputs: Mapping[str, Tensor] | None = None) -> EncoderOutput:
        """The fields in fp32, padded with zeros to the longest text of the rows; `inputs` are not read."""
        mask = self.tokens.mask(rows)
        values = {field: torch.from_numpy(self.values(field, rows)).to(device) for field in self.reads}
        return EncoderOutput(torch.from_numpy(mask.astype(np.int64)).to(device), values)

    def values(self, field: Field, rows: np.ndarray) -> np.ndarray:
        """One field of some rows.

        Args:
            field: one of `reads`.
            rows: (b,) numbers of texts.

        Returns:
            float32 (b, d), (b, l, d) or (b, heads, l, l), in the order of the rows, padded with zeros to the longest.
        """
        shards, lengths = self._shards[field], self.tokens.lengths[rows]
        longest = int(lengths.max(initial=0))
        shard_of = np.searchsorted(self._starts, rows, side="right") - 1
        if axis(field, self.tags) == "text":
            found = np.empty((len(rows), shards[0].shape[-1]), dtype=np.float32)
            for shard in np.unique(shard_of):
                here = shard_of == shard
                found[here] = shards[shard][rows[here] - self._starts[shard]]
            return found
        square = axis(field, self.tags) == "pair"
        width = shards[0].shape[-1]  # heads of a matrix, dimensions of a vector
        found = np.zeros((len(rows), width, longest, longest) if square else (len(rows), longest, width), dtype=np.float32)
        starts = self._squares_before(rows, shard_of) if square else self.tokens.offsets[rows] - self.tokens.offsets[self._starts[shard_of]]
        for number, (shard, start, length) in enumerate(zip(shard_of, starts.tolist(), lengths.tolist())):
            if square:
                piece = shards[shard][start : start + length * length]
                found[number, :, :length, :length] = piece.reshape(length, length, width).transpose(2, 0, 1)
            else:
                found[number, :length] = shards[shard][start : start + length]
        return found

    def _squares_before(self, rows: np.ndarray, shard_of: np.ndarray) -> np.ndarray:
        """(b,) the sum of the squared lengths before each row in its shard. None is kept: such an array would grow with the texts."""
        starts = np.empty(len(rows), dtype=np.int64)
        for shard in np.unique(shard_of):
            here, first = shard_of == shard, self._starts[shard]
            before = np.cumsum(np.square(self.tokens.lengths[first : rows[here].max()]))
            starts[here] = np.concatenate([[0], before])[rows[here] - first]
        return starts


def build_cache(
    place: Path,
    model: EncoderModel,
    tokens: TokenizedTexts,
    reads: Iterable[Field],
    *,
    precision: torch.dtype = torch.float32,
    half: bool = False,
    live: Iterable[Field] = (),
    elsewhere: Callable[[Pass], Digests] | None = None,
) -> CachedTeacher:
    """Compute the fields that a cache lacks and open it; what it takes is said on standard error before.

    A field is a folder. Each of its shards (SHARD_TOKENS) is written aside and renamed. Its manifest with the checksums
    comes last, so that its existence means that the rest is whole. A broken run goes on at the first shard that is
    missing. Nothing is padded on disk.

    A PotstillError from below comes through: the disk has too little room (DiskFull), the place cannot be written, or a
    file there was changed.

    Args:
        place: the cache's folder (machine.cache.cache_place).
        model: on its device. Its layers above the highest that is read, from disk or live, are dropped.
        tokens: the texts in its pieces.
        reads: fields to keep.
        precision: what to autocast to; the folder's name must tell one from the other.
        half: keep float16 instead of float32.
        live: fields that the model itself is to give afterwards.
        elsewhere: computes the shards that are missing in place of this process, and gives the digests of all.
    """
    reads = sorted(reads)
    tags = tokens.words is not None
    missing = [field for field in reads if not (place / str(field) / MANIFEST).is_file()]
    if missing:
        size = sum(cache_bytes(tokens.lengths, field, model, tags, half) for field in missing)
        require_space(place, size, "the teacher's cache")
        prepare_teacher(model, [*missing, *live])
        work = Pass(place, tokens, missing, sorted(live), precision, half)
        about = "" if elsewhere is not None else f" {_spoken(_estimate(work, model))},"
        sys.stderr.write(f"teacher cache: {size / 1e6:,.1f} MB of {len(tokens):,} texts,{about} in {place}\n")
        digests = _compute(work, model) if elsewhere is None else elsewhere(work)
        for field in missing:
            named = dict(sorted(digests[field].items(), key=_in_order))
            write_text(place / str(field) / MANIFEST, json.dumps({"format": FORMAT, "sha256": named}, indent=2) + "\n")
    return CachedTeacher(place, tokens, reads, tags)


def _in_order(file: tuple[str, str]) -> tuple[int, str]:
    """Behind 99999.npy comes 100000.npy."""
    return len(file[0]), file[0]


def _compute(work: Pass, model: EncoderModel) -> Digests:
    digests: Digests = {field: {} for field in work.fields}
    with progress("teacher", len(work.tokens)) as advance:
        for shard in work.shards():
            if shard.is_whole:
                advance(shard.end - shard.start)
            else:
                compute_shard(model, work.part(shard.start, shard.end), shard.paths, work.precision, work.half, advance)
            for field, path in shard.paths.items():
                digests[field][path.name] = sha256_of(path)
    return digests


def compute_shard(
    model: EncoderModel,
    part: TokenizedTexts,
    paths: Mapping[Field, Path],
    precision: torch.dtype,
    half: bool,
    advance: Advance = lambda n=1: None,
) -> None:
    """Compute a shard's fields and write its files, each aside and then renamed. What they hold hangs on the shard's texts alone.

    A PotstillError from `write_aside` comes through.

    Args:
        model: on its device, prepared by `prepare_teacher`.
        part: the shard's texts in the model's pieces.
        paths: field → file.
        precision: what to autocast to.
        half: keep float16 instead of float32.
        advance: is called with the number of texts of each batch that is done.
    """
    tags = part.words is not None
    pieces: dict[Field, list[Any]] = {field: [None] * len(part) for field in paths}
    for rows, answers in _answers(model, part, list(paths), precision):
        for field, values in answers.items():
            _collect(pieces[field], rows, values, part.lengths, axis(field, tags))
        advance(len(rows))
    for field, path in paths.items():
        kind = np.float16 if half else np.float32
        own = pieces.pop(field)
        stack = np.stack if axis(field, tags) == "text" else np.concatenate
        with write_aside(path) as aside, aside.open("wb") as stream:
            np.save(stream, stack(own).astype(kind, copy=False))


def _estimate(work: Pass, model: EncoderModel) -> float:
    """Seconds that the missing shards take, from a few texts at the beginning."""
    tokens = work.tokens
    left = sum(int(tokens.offsets[shard.end] - tokens.offsets[shard.start]) for shard in work.shards() if not shard.is_whole)
    for _ in _answers(model, work.part(0, min(1, len(tokens))), work.fields, work.precision):
        pass  # the first call of all is a slow one
    part = work.part(0, min(len(tokens), 1 + int(PROBE * len(tokens))))
    done, started = 0, time.perf_counter()
    for rows, _ in _answers(model, part, work.fields, work.precision):
        done += int(part.lengths[rows].sum())
        if time.perf_counter() - started > PROBE_SECONDS:
            break
    return left * (time.perf_counter() - started) / max(1, done)


def _spoken(seconds: float) -> str:
    if seconds < 60:
        return "under a minute"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _answers(
    model: EncoderModel, part: TokenizedTexts, fields: Sequence[Field], precision: torch.dtype
) -> Iterator[tuple[np.ndarray, dict[Field, np.ndarray]]]:
    """Row numbers of a batch, and each field of it in float32, padded."""
    with autocast(model.device, precision):
        for rows, output in model.run(part, fields):
            yield rows, {field: output[field].float().cpu().numpy() for field in fields}


def _collect(pieces: list[Any], rows: np.ndarray, values: np.ndarray, lengths: np.ndarray, axis: str) -> None:
    """Put each row's part of a padded batch, without the padding, where it belongs."""
    for row, value in zip(rows, values):
        length = int(lengths[row])
        if axis == "pair":
            # (heads, l, l) → (l·l, heads): the free axis first, as in every other file.
            value = value[:, :length, :length].transpose(1, 2, 0).reshape(length * length, -1)
        pieces[row] = value[:length].copy() if axis == "token" else value.copy()


def _cut(offsets: np.ndarray) -> np.ndarray:
    """First rows of the shards, and the number of rows behind them. The first row of a shard is the first to begin behind its tokens.

    Args:
        offsets: (n + 1,) where each text begins.
    """
    begins = offsets[:-1]
    tokens = np.arange(begins[-1] // SHARD_TOKENS + 1) * SHARD_TOKENS if len(begins) else np.zeros(0, dtype=np.int64)
    return np.concatenate([np.unique(np.searchsorted(begins, tokens)), [len(begins)]]).astype(np.int64)


class _Shards(Sequence[np.ndarray]):
    """The shards of a field, mapped into memory: MAPPED of them at a time, since the system opens no more than some thousand files.

    The checksums of all take as long as reading them: where they are many, each one is looked at when it is first read.

    Raises:
        PotstillError: there is no manifest, or a file of it is not there or was changed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            digests = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"]
            self.files = sorted(digests.items(), key=_in_order)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise PotstillError(folder / MANIFEST, "is not a cache's manifest", "delete the folder; the next run makes it anew") from error
        self.checked: set[int] = set()
        self.opened: OrderedDict[int, np.ndarray] = OrderedDict()
        size = 0
        for name, _ in self.files:
            if not (folder / name).is_file():
                self._refuse(name)
            size += (folder / name).stat().st_size
        for number in range(len(self.files) if size <= CHECKED else 0):
            self._check(number)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: Any) -> Any:
        self._check(number)
        if number not in self.opened:
            self.opened[number] = np.load(self.folder / self.files[number][0], mmap_mode="r")
            if len(self.opened) > MAPPED:
                self.opened.popitem(last=False)
        self.opened.move_to_end(number)
        return self.opened[number]

    def _check(self, number: int) -> None:
        name, digest = self.files[number]
        if number not in self.checked and sha256_of(self.folder / name) != digest:
            self._refuse(name)
        self.checked.add(number)

    def _refuse(self, name: str) -> NoReturn:
        problem = "does not match its checksum"
        raise PotstillError(self.folder / name, problem, "delete the folder; the next run makes it anew, and train --resume goes on")
