"""The teacher's answers for rows of the training texts: computed now, or read from disk. The same call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from potstill.data.batches import TokenizedTexts
from potstill.errors import PotstillError
from potstill.files import cache_folder, require_space, sha256_of, write_aside, write_text
from potstill.models.encoder import EMBEDDING, EncoderModel
from potstill.models.output import EncoderOutput
from potstill.progress import progress
from potstill.training.precision import autocast

MANIFEST = "manifest.json"
SHARD_ROWS = 8192
FORMAT = 1


class Teacher(Protocol):
    """Something that answers for rows (numbers of texts) with an EncoderOutput on `device`."""

    def __call__(self, rows: np.ndarray, device: torch.device) -> EncoderOutput: ...


class LiveTeacher:
    """Runs the model on every call. Frozen, in eval mode, without gradients.

    Args:
        model: the teacher, already on its device.
        texts: the training texts in the teacher's own pieces, row by row those that the student reads.
        reads: fields to compute.
        bf16: whether to autocast.
    """

    def __init__(self, model: EncoderModel, texts: TokenizedTexts, reads: Iterable[str] = EMBEDDING, bf16: bool = False) -> None:
        self.model, self.texts, self.reads, self.bf16 = model.eval().requires_grad_(False), texts, frozenset(reads), bf16

    @torch.no_grad()
    def __call__(self, rows: np.ndarray, device: torch.device) -> EncoderOutput:
        batch = self.texts.pad(rows, self.model.pad_id)
        with autocast(device, self.bf16):
            return self.model(**{key: torch.from_numpy(value).to(device) for key, value in batch.items()}, reads=self.reads)


class CachedTeacher:
    """Reads pooled vectors, memory-mapped, from a folder that `build_cache` finished.

    Raises:
        PotstillError: a file is missing or its checksum is wrong.
    """

    def __init__(self, folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, digest in manifest["sha256"].items():
            if not (folder / name).is_file() or sha256_of(folder / name) != digest:
                raise PotstillError(folder / name, "does not match its checksum", "delete the folder; the next run makes it anew")
        self.rows, self.dimension = int(manifest["rows"]), int(manifest["dimension"])
        self._shards = [np.load(folder / name, mmap_mode="r") for name in sorted(manifest["sha256"])]

    def __call__(self, rows: np.ndarray, device: torch.device) -> EncoderOutput:
        return EncoderOutput(embedding=torch.from_numpy(self.vectors(rows)).to(device))

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """float32 (len(rows), d) in the order of `rows`."""
        found = np.empty((len(rows), self.dimension), dtype=np.float32)
        shard_of = rows // SHARD_ROWS
        for shard in np.unique(shard_of):
            here = shard_of == shard
            found[here] = self._shards[shard][rows[here] - shard * SHARD_ROWS]
        return found


def fingerprint(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that decides a model's vectors: weights, configuration, tokenizer."""
    files = sorted(
        [
            *folder.glob("*.safetensors"),
            *folder.glob("*.json"),
            *folder.glob("vocab.txt"),
            *folder.glob("*_*/config.json"),
            *folder.glob("*_Dense/*.safetensors"),
        ]
    )
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def cache_place(teacher: Path, texts: Sequence[str], settings: dict[str, Any]) -> Path:
    """The folder of a cache: its name is a digest of the teacher's files, the texts and the settings."""
    content = hashlib.sha256()
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        content.update(len(raw).to_bytes(8, "little") + raw)
    key = {"format": FORMAT, "teacher": fingerprint(teacher), "texts": content.hexdigest(), "settings": settings}
    return cache_folder() / "teacher" / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]


def cache_bytes(rows: int, dimension: int) -> int:
    """Bytes that the vectors of `rows` texts take on disk."""
    return rows * dimension * 4


def build_cache(folder: Path, model: EncoderModel, texts: Sequence[str], bf16: bool) -> CachedTeacher:
    """Compute what `folder` lacks and open it.

    One shard (8192 texts) a file, each written aside and renamed; the manifest with the checksums
    comes last, so that its existence means that the rest is whole. A broken run goes on at the
    first shard that is missing.
    """
    if (folder / MANIFEST).is_file():
        return CachedTeacher(folder)
    require_space(folder, cache_bytes(len(texts), model.dimension), "the cache of the teacher's vectors")
    digests = {}
    with progress("teacher", len(texts)) as advance:
        for start in range(0, len(texts), SHARD_ROWS):
            piece = texts[start : start + SHARD_ROWS]
            path = folder / f"embedding-{start // SHARD_ROWS:05d}.npy"
            if not path.is_file():
                with autocast(model.device, bf16):
                    vectors = model.encode(piece, title=f"shard {start // SHARD_ROWS + 1}")
                with write_aside(path) as aside, aside.open("wb") as stream:
                    np.save(stream, vectors)
            advance(len(piece))
            digests[path.name] = sha256_of(path)
    manifest = {"format": FORMAT, "rows": len(texts), "dimension": model.dimension, "sha256": digests}
    write_text(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    return CachedTeacher(folder)
