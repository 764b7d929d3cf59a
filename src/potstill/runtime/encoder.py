"""Texts to vectors with an exported model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from potstill.errors import PotstillError, shown
from potstill.progress import progress
from potstill.runtime.batching import length_batches
from potstill.runtime.folder import AGAIN, ATTENTION_MASK, INPUT_IDS, OUTPUT, TOKEN_TYPES, TOKENIZER, exported_folder, model_file, read_card

Vectors = NDArray[np.float32]

# Small batches are the fast ones here: what passes from one operator to the next stays in the processor's cache.
TOKENS_PER_THREAD = 512
# Texts tokenized in one call. An encoding takes kilobytes until its ids are copied out.
PIECE = 1024
# onnxruntime's fused skip + normalisation runs several times slower on the CPU than the two operators that it replaces.
SLOW_FUSIONS = ["SkipLayerNormFusion"]


class Encoder:
    """An exported text encoder, run by onnxruntime on the CPU; torch is never imported.

    Args:
        path: an exported folder, or a run folder (then its onnx/).
        precision: "int8", "fp32", or "auto": int8 where there is one.
        threads: threads of one call into the model; default all cores that the process may use.

    Raises:
        PotstillError: the folder, its description, its tokenizer or its model is missing or broken.
    """

    def __init__(self, path: str | Path, *, precision: Literal["auto", "fp32", "int8"] = "auto", threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise PotstillError("threads", f"must be at least 1, got {shown(threads)}", "leave it out to use all cores")
        folder = exported_folder(path)
        card = read_card(folder)
        self.max_length, self.dimension, self._pad_id = card.max_length, card.dimension, card.pad_id
        self.file = model_file(folder, precision)
        self._tokenizer = _tokenizer(folder / TOKENIZER, card.max_length)
        self.threads = threads or _usable_cores()
        self._session = open_session(self.file, self.threads)
        _check_graph(self._session, self.file, card.dimension)
        self._inputs = {entry.name for entry in self._session.get_inputs()}

    def encode(self, texts: Sequence[str], batch_tokens: int | None = None, title: str = "") -> Vectors:
        """Vectors of `texts`, in their order: float32 (n, dimension).

        Args:
            texts: any number of them; longer ones are cut to `max_length` tokens.
            batch_tokens: padded tokens that go through the model together, at most; default 512 a thread.
            title: of a progress bar; none without it.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a list of texts, and one text was given: encode([text])")
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        with progress(title, len(texts)) as advance:
            ids, offsets = self._tokenize(texts)
            for rows in length_batches(np.diff(offsets), batch_tokens or TOKENS_PER_THREAD * self.threads):
                (vectors[rows],) = self._session.run([OUTPUT], self._pad(ids, offsets, rows))
                advance(len(rows))
        return vectors

    def feeds(self, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """What the graph is fed for `texts` as one padded batch in their order: each (b, l) int64."""
        ids, offsets = self._tokenize(texts)
        return self._pad(ids, offsets, np.arange(len(texts)))

    def similarity(self, a: Sequence[str] | Vectors, b: Sequence[str] | Vectors) -> Vectors:
        """Cosine of each of `a` with each of `b`, texts or vectors: float32 (n, m)."""
        return self._unit(a) @ self._unit(b).T

    def _unit(self, side: Sequence[str] | Vectors) -> Vectors:
        if isinstance(side, np.ndarray) and side.dtype.kind == "f":
            vectors = np.atleast_2d(side).astype(np.float32)
        else:
            vectors = self.encode(cast("Sequence[str]", side))
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def _tokenize(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """All ids end to end, and the n + 1 places where texts start and end."""
        pieces: list[NDArray[np.int32]] = []
        lengths = np.zeros(len(texts) + 1, dtype=np.int64)
        for start in range(0, len(texts), PIECE):
            encodings = self._tokenizer.encode_batch_fast(list(texts[start : start + PIECE]))
            lengths[start + 1 : start + 1 + len(encodings)] = [len(encoding) for encoding in encodings]
            pieces.append(np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), dtype=np.int32))
        return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int32), np.cumsum(lengths)

    def _pad(self, ids: NDArray[np.int32], offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """The inputs that the graph has, each (rows, longest row) int64."""
        starts, lengths = offsets[rows][:, None], (offsets[rows + 1] - offsets[rows])[:, None]  # (b, 1)
        # At least one column: a tokenizer without special tokens makes nothing of an empty text.
        columns = np.arange(max(int(lengths.max()), 1))
        mask = columns < lengths  # (b, l)
        input_ids = np.full(mask.shape, self._pad_id, dtype=np.int64)
        input_ids[mask] = ids[(starts + columns)[mask]]
        feeds = {INPUT_IDS: input_ids, ATTENTION_MASK: mask.astype(np.int64)}
        if TOKEN_TYPES in self._inputs:
            feeds[TOKEN_TYPES] = np.zeros_like(input_ids)
        return feeds


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tokenizer(file: Path, max_length: int) -> Tokenizer:
    if not file.is_file():
        raise PotstillError(file, "no such file", AGAIN)
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise PotstillError(file, f"is not a tokenizer ({shown(str(error), 160)})", AGAIN) from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer


def open_session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    """An ONNX file on the CPU, with pinned threads.

    Raises:
        PotstillError: onnxruntime does not take the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # A pattern is kept for each shape, and here nearly every batch has a new one: 50 MB for no gain.
    options.enable_mem_pattern = False
    # Threads that wait by spinning take the core from whoever else works: a third slower on a busy machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOW_FUSIONS)
    except Exception as error:  # onnxruntime has a class for each of a dozen reasons, with no parent of their own
        raise PotstillError(file, f"cannot be loaded by onnxruntime ({shown(str(error), 160)})", AGAIN) from error


def _check_graph(session: onnxruntime.InferenceSession, file: Path, dimension: int) -> None:
    outputs = {entry.name: entry.shape for entry in session.get_outputs()}
    unknown = {entry.name for entry in session.get_inputs()} - {INPUT_IDS, ATTENTION_MASK, TOKEN_TYPES}
    if OUTPUT not in outputs or unknown:
        raise PotstillError(file, f"is not a text encoder with the output {OUTPUT} (it has {', '.join(outputs)})", AGAIN)
    width = outputs[OUTPUT][-1]
    if isinstance(width, int) and width != dimension:
        raise PotstillError(file, f"gives vectors of {width} numbers and the folder's description says {dimension}", AGAIN)
