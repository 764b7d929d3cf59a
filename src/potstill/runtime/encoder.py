"""Texts to vectors, or to a head's logits, with an exported model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from potstill.errors import PotstillError, shown
from potstill.progress import progress
from potstill.runtime.batching import length_batches
from potstill.runtime.decode import answers
from potstill.runtime.folder import EMBED, TAGGING, TOKENIZER, exported_folder, model_file, read_card
from potstill.runtime.session import open_session, output_name, require_graph, usable_cores
from potstill.runtime.tokens import Text, Tokens, by_word, load_tokenizer, tokenize

Vectors = NDArray[np.float32]
Logits = NDArray[np.float32] | list[NDArray[np.float32]]

# Small batches are the fast ones here: what passes from one operator to the next stays in the processor's cache.
TOKENS_PER_THREAD = 512


class Encoder:
    """An exported model, run by onnxruntime on the CPU; torch is never imported.

    Args:
        path: an exported folder, or a run folder (then its onnx/).
        precision: "int8", "fp32", or "auto": int8 where there is one.
        threads: threads of one call into the model; default all cores that the process may use.

    Attributes:
        kind: "embed" (it encodes), or "classification", "multilabel", "regression", "tagging" (it
            predicts).
        labels: names in the order of the logits; none for "embed" and "regression".

    Raises:
        PotstillError: the folder, its description, its tokenizer or its model is missing or broken.
    """

    def __init__(self, path: str | Path, *, precision: Literal["auto", "fp32", "int8"] = "auto", threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise PotstillError("threads", f"must be at least 1, got {shown(threads)}", "leave it out to use all cores")
        folder = exported_folder(path)
        card = read_card(folder)
        self.kind, self.labels = card.task, card.labels
        self.max_length, self.dimension, self._pad_id = card.max_length, card.dimension, card.pad_id
        self.file = model_file(folder, precision)
        self._tokenizer = load_tokenizer(folder / TOKENIZER, card.max_length)
        self.threads = threads or usable_cores()
        self._session = open_session(self.file, self.threads)
        require_graph(self._session, self.file, card)
        self._inputs = {entry.name for entry in self._session.get_inputs()}
        self._output, self._width = output_name(card), card.outputs

    def encode(self, texts: Sequence[str], batch_tokens: int | None = None, title: str = "") -> Vectors:
        """Vectors of `texts`, in their order: float32 (n, dimension).

        Args:
            texts: any number of them; longer ones are cut to `max_length` tokens.
            batch_tokens: padded tokens that go through the model together, at most; default 512 a thread.
            title: of a progress bar; none without it.

        Raises:
            PotstillError: the model has a head and gives no vectors.
        """
        if self.kind != EMBED:
            raise PotstillError(self.file, f"is a {self.kind} model and gives no vectors", "call predict, or export an encoder")
        return cast("Vectors", self.run(texts, batch_tokens, title))

    def predict(self, texts: Sequence[Text], batch_tokens: int | None = None, title: str = "") -> Logits:
        """What the head gives for `texts`, in their order.

        Args:
            texts: each a text, a pair (first, second), or for tagging the list of its words.
            batch_tokens, title: as `encode` has them.

        Returns:
            float32 (n, classes), (n, 1) of a regression; for tagging a list of float32 (words, tags),
            in which words beyond `max_length` tokens are missing at the end.

        Raises:
            PotstillError: the model has no head.
        """
        if self.kind == EMBED:
            raise PotstillError(self.file, "gives vectors and has no head to predict with", "call encode, or export a model with a head")
        return self.run(texts, batch_tokens, title)

    def classify(self, texts: Sequence[Text]) -> list[dict[str, Any]]:
        """What `predict` says of each text, in words: see `potstill.runtime.decode.answers`."""
        return answers(self.kind, self.labels, self.predict(texts), texts)

    def run(self, texts: Sequence[Text], batch_tokens: int | None = None, title: str = "") -> Logits:
        """What the graph gives, vectors or logits: for callers that treat every kind of model alike."""
        if isinstance(texts, str):
            raise TypeError("a list of texts is needed, and one text was given: encode([text])")
        tagging = self.kind == TAGGING
        if tagging and not all(isinstance(text, list) for text in texts):
            raise TypeError("a tagging model reads lists of words: predict([text.split()])")
        rows_found: list[NDArray[np.float32]] = [np.zeros((0, self._width), dtype=np.float32)] * (len(texts) if tagging else 0)
        found = np.zeros((0 if tagging else len(texts), self._width), dtype=np.float32)
        with progress(title, len(texts)) as advance:
            tokens = tokenize(self._tokenizer, texts, words=tagging)
            for rows, output in self._batches(tokens, batch_tokens):
                if tagging:
                    for row, values in zip(rows, output, strict=True):
                        rows_found[row] = by_word(tokens.words[tokens.offsets[row] : tokens.offsets[row + 1]], values)
                else:
                    found[rows] = output
                advance(len(rows))
        return rows_found if tagging else found

    def feeds(self, texts: Sequence[Text]) -> dict[str, NDArray[np.int64]]:
        """What the graph is fed for `texts` as one padded batch in their order: each (b, l) int64."""
        return self._feeds(tokenize(self._tokenizer, texts, words=self.kind == TAGGING), np.arange(len(texts)))

    def similarity(self, a: Sequence[str] | Vectors, b: Sequence[str] | Vectors) -> Vectors:
        """Cosine of each of `a` with each of `b`, texts or vectors: float32 (n, m)."""
        return self._unit(a) @ self._unit(b).T

    def _unit(self, side: Sequence[str] | Vectors) -> Vectors:
        if isinstance(side, np.ndarray) and side.dtype.kind == "f":
            vectors = np.atleast_2d(side).astype(np.float32)
        else:
            vectors = self.encode(cast("Sequence[str]", side))
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def _batches(self, tokens: Tokens, batch_tokens: int | None) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Row numbers of a batch, and what the graph gives for them: (b, width), or (b, l, width) for tagging."""
        for rows in length_batches(tokens.lengths, batch_tokens or TOKENS_PER_THREAD * self.threads):
            (output,) = self._session.run([self._output], self._feeds(tokens, rows))
            yield rows, output

    def _feeds(self, tokens: Tokens, rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        return {name: values for name, values in tokens.pad(rows, self._pad_id).items() if name in self._inputs}
