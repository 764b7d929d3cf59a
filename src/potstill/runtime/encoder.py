"""From texts to sentence embeddings, or to a head's logits, with an exported model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import numpy as np
from numpy.typing import NDArray

from potstill.errors import PotstillError, shown
from potstill.machine.hardware import require_threads, usable_cores
from potstill.machine.parallel import in_parallel
from potstill.machine.progress import progress
from potstill.runtime.batching import MAX_ROWS, length_batches
from potstill.runtime.decode import answers, require_finite
from potstill.runtime.elsewhere import Same, require_same, unit_wanted
from potstill.runtime.folder import (
    AGAIN,
    CONFIG,
    COSINE,
    EMBED,
    INPUT_IDS,
    ONNXRUNTIME,
    TAGGING,
    TOKENIZER,
    exported_folder,
    model_file,
    prompted,
    read_config,
)
from potstill.runtime.session import Graph, open_graph, output_name, require_graph
from potstill.runtime.tokens import Text, TokenizedTexts, by_word, load_tokenizer, require_room, tokenize
from potstill.runtime.vectors import Precision, as_floats, at_unit_length, cut, quantize, require_dimensions, similarities

if TYPE_CHECKING:
    from typing_extensions import Unpack

Vectors = NDArray[np.float32]
Integers = NDArray[np.int8] | NDArray[np.uint8]
Logits = NDArray[np.float32] | list[NDArray[np.float32]]

# Small batches are the fast ones here: what passes from one operator to the next stays in the processor's cache.
TOKENS_PER_THREAD = 512
# Batches a thread from which on each thread computes batches of its own, which is faster in onnxruntime than sharing the operators of one;
# the second copy of the graph that this takes is opened in the time of some batches. OpenVINO is slower so: it prepares each length anew.
MANY = 16


class Encoder:
    """An exported model, run by onnxruntime or OpenVINO on the CPU; torch is never imported.

    Args:
        path: an exported folder, a bundle, or a run folder (then its onnx/).
        precision: "int8", "fp32", or "auto": int8 where there is such a file.
        threads: that work at once, on one batch or, of many texts, on a batch each; default all cores that the process may use.
        dimensions: how many of a vector's first dimensions `encode` gives, scaled to unit length where the model's vectors
            are; default all. For models that were taught so (Matryoshka; `student.dimensions` in a recipe).
        engine: what runs the file: "onnxruntime", or "openvino" (the extra of that name). The gate has tried int8 in
            onnxruntime alone; of one index both sides should be encoded by one engine.

    Attributes:
        head: "embed" for a model without one, which encodes; "classification", "multilabel", "regression" or "tagging"
            for one that predicts.
        labels: names in the order of the logits; none for "embed" and "regression".
        max_length: tokens that a text is cut to, special tokens included.
        dimension: width of a sentence embedding as `encode` gives it, or of what the head reads.
        prompt: what is put before every text; "" for nothing.
        file: the .onnx file.
        tokenizer: that every text goes through.
        threads: as given.
        engine: as given.

    Raises:
        PotstillError: the folder, its potstill.json, its tokenizer or its model is missing or broken; fewer threads than
            one, or more than the machine can bear; more dimensions than there are, or of a model that gives no vectors; an
            engine that is unknown or not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        precision: Literal["auto", "fp32", "int8"] = "auto",
        threads: int | None = None,
        dimensions: int | None = None,
        engine: Literal["onnxruntime", "openvino"] = "onnxruntime",
    ) -> None:
        require_threads(threads)
        folder = exported_folder(path)
        config = read_config(folder)
        self.head, self.labels = config.head, config.labels
        self.max_length, self._pad_id, self._unit = config.max_length, config.pad_id, config.normalize
        if dimensions is not None and config.head != EMBED:
            raise PotstillError(folder, f"dimensions is {dimensions}, and a {config.head} model gives no vectors", "leave it out")
        self.dimension = require_dimensions(folder, dimensions, config.dimension)
        self.prompt, self._similarity = config.prompt, config.similarity
        self.file = model_file(folder, precision)
        self.tokenizer = load_tokenizer(folder / TOKENIZER, config.max_length)
        require_room(f"{folder / CONFIG}: max_length", self.tokenizer, config.max_length)
        self.threads = threads or usable_cores()
        self.engine = engine
        self._graph = open_graph(self.file, self.threads, engine)
        self._graph_of_many: Graph | None = None
        require_graph(self._graph, self.file, config)
        self._output, self._width = output_name(config), config.outputs

    def __repr__(self) -> str:
        what = f"dimension={self.dimension}" if self.head == EMBED else f"head={self.head!r}"
        engine = "" if self.engine == ONNXRUNTIME else f", engine={self.engine!r}"
        return f"{type(self).__name__}({str(self.file)!r}, {what}, max_length={self.max_length}, threads={self.threads}{engine})"

    @overload
    def encode(
        self,
        texts: str | Sequence[str],
        batch_tokens: int | None = ...,
        title: str = ...,
        *,
        precision: Literal["float32"] = ...,
        batch_size: int | None = ...,
        show_progress_bar: bool | None = ...,
        normalize_embeddings: bool = ...,
        **same: Unpack[Same],
    ) -> Vectors: ...

    @overload
    def encode(
        self,
        texts: str | Sequence[str],
        batch_tokens: int | None = ...,
        title: str = ...,
        *,
        precision: Precision,
        batch_size: int | None = ...,
        show_progress_bar: bool | None = ...,
        normalize_embeddings: bool = ...,
        **same: Unpack[Same],
    ) -> Vectors | Integers: ...

    def encode(
        self,
        texts: str | Sequence[str],
        batch_tokens: int | None = None,
        title: str = "",
        *,
        precision: Precision = "float32",
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool = False,
        **same: Any,
    ) -> Vectors | Integers:
        """Sentence embeddings of `texts`, in their order.

        Args:
            texts: any number of them, or one alone; `prompt` is put before each. Longer ones are cut to `max_length` tokens.
            batch_tokens: how many padded tokens may go through the model together; default 512 for each thread that works on a batch.
            title: of a progress bar; no bar without it.
            precision: of a vector's numbers: "float32", "int8", or "binary" and "ubinary", the signs alone; see
                `potstill.runtime.vectors.quantize`.
            batch_size: how many texts at most go through the model together; the bound of `batch_tokens` holds beside it,
                and the vectors depend on neither.
            show_progress_bar: True for a bar without a title of yours, False for none in spite of one.
            normalize_embeddings: whether vectors are scaled to unit length, where the model's own are not.
            **same: arguments of sentence-transformers' encode, with the values that say what is done here anyway: see `Same`.
                `normalize` is another name of `normalize_embeddings`, refused where it is False and vectors have unit length anyway.

        Returns:
            float32 or int8 (n, dimension); of signs int8 or uint8 (n, dimension / 8). Of one text alone its row.

        Raises:
            PotstillError: the model has a head and gives no vectors; a vector holds NaN or infinity; there is no such precision;
                an argument of sentence-transformers asks for what cannot be done here.
        """
        if self.head != EMBED:
            raise PotstillError(self.file, f"is a {self.head} model and gives no vectors", "call predict, or export an encoder")
        require_same(same)
        unit = unit_wanted(same, normalize_embeddings, self._unit)
        if batch_size is not None and batch_size < 1:
            raise PotstillError("batch_size", f"{batch_size} is less than 1", "give how many texts go through the model together")
        shown_title = "" if show_progress_bar is False else title or ("encode" if show_progress_bar else "")
        alone = isinstance(texts, str)
        vectors = cast("Vectors", self._run([texts] if isinstance(texts, str) else texts, batch_tokens, shown_title, batch_size))
        require_finite(vectors, self.file, "vectors")
        vectors = cut(vectors, self.dimension, self._unit)
        found = quantize(at_unit_length(vectors) if unit and not self._unit else vectors, precision)
        return found[0] if alone else found

    def predict(self, texts: Sequence[Text], batch_tokens: int | None = None, title: str = "") -> Logits:
        """The head's logits for `texts`, in their order.

        Args:
            texts: each a text, a pair (first, second), or for tagging the list of its words.
            batch_tokens: see `encode`.
            title: of a progress bar; no bar without it.

        Returns:
            float32 (n, classes), of a regression (n, 1). For tagging a list of float32 (words, tags): words beyond
            `max_length` tokens are missing at the end.

        Raises:
            PotstillError: the model has no head; its logits hold NaN or infinity.
        """
        if self.head == EMBED:
            raise PotstillError(self.file, "gives vectors and has no head to predict with", "call encode, or export a model with a head")
        logits = self.run(texts, batch_tokens, title)
        require_finite(logits, self.file, "logits")
        return logits

    def classify(self, texts: Sequence[Text]) -> list[dict[str, Any]]:
        """The head's answer to each text, a label, tags or a score: see `potstill.runtime.decode.answers`.

        A PotstillError comes through where the model has no head, or its logits hold NaN or infinity.
        """
        return answers(self.head, self.labels, self.predict(texts), texts)

    def run(self, texts: Sequence[Text], batch_tokens: int | None = None, title: str = "") -> Logits:
        """Sentence embeddings or logits, whichever the graph gives: for callers that treat every kind of model alike.

        Args:
            texts: as `encode` or `predict` takes them.
            batch_tokens: see `encode`.
            title: of a progress bar; no bar without it.

        Raises:
            TypeError: `texts` is a single text, or a tagging model is given texts that are no lists of words.
        """
        if isinstance(texts, str):
            raise TypeError("a list of texts is needed, and one text was given: put it into a list")
        return self._run(texts, batch_tokens, title)

    def _run(self, texts: Sequence[Text], batch_tokens: int | None, title: str, batch_size: int | None = None) -> Logits:
        """As `run`, with at most `batch_size` texts in a batch.

        Raises:
            TypeError: a tagging model is given texts that are no lists of words.
        """
        tagging = self.head == TAGGING
        if tagging and not all(isinstance(text, list) for text in texts):
            raise TypeError("a tagging model reads lists of words: predict([text.split()])")
        rows_found: list[NDArray[np.float32]] = [np.zeros((0, self._width), dtype=np.float32)] * (len(texts) if tagging else 0)
        found = np.zeros((0 if tagging else len(texts), self._width), dtype=np.float32)
        with progress(title, len(texts)) as advance:
            tokens = self._tokenize(texts)
            for rows, output in self._batches(tokens, batch_tokens, batch_size):
                if tokens.words is not None:
                    for row, values in zip(rows, output, strict=True):
                        rows_found[row] = by_word(tokens.words[tokens.offsets[row] : tokens.offsets[row + 1]], values)
                else:
                    found[rows] = output
                advance(len(rows))
        return rows_found if tagging else found

    def feeds(self, texts: Sequence[Text]) -> dict[str, NDArray[np.int64]]:
        """The graph's inputs for `texts` as one padded batch, in their order: by name, each (b, l) int64."""
        return self._feeds(self._tokenize(texts), np.arange(len(texts)))

    def similarity(self, a: str | Sequence[str] | Vectors | Integers, b: str | Sequence[str] | Vectors | Integers) -> Vectors:
        """How alike each of `a` is to each of `b`, by the similarity that the model's folder names.

        It is the cosine, unless the folder says "dot" (the scalar product), "euclidean" or "manhattan" (the distance,
        negative, so that more is more alike). Vectors of int8 or signs are always compared by cosine, which does not see
        their scale.

        Args:
            a: n texts, or vectors as `encode` gives them, in any precision; one text or vector alone is n = 1.
            b: m texts or vectors.

        Returns:
            float32 (n, m).
        """
        rounded = any(isinstance(side, np.ndarray) and side.dtype.kind != "f" for side in (a, b))
        return similarities(COSINE if rounded else self._similarity, self._vectors(a), self._vectors(b))

    def _vectors(self, side: str | Sequence[str] | Vectors | Integers) -> Vectors:
        if isinstance(side, np.ndarray) and side.dtype.kind in "fiu":
            vectors: NDArray[Any] = np.atleast_2d(side)
            return vectors.astype(np.float32) if vectors.dtype.kind == "f" else as_floats(vectors, self.dimension)
        return np.atleast_2d(self.encode(cast("str | Sequence[str]", side)))

    def _tokenize(self, texts: Sequence[Text]) -> TokenizedTexts:
        if self.head != TAGGING:  # JSON has no tuples: a pair may come as a list, which would be taken for words
            texts = [tuple(text) if isinstance(text, list) else text for text in texts]  # type: ignore[misc]
            texts = prompted(self.prompt, texts)
        return tokenize(self.tokenizer, texts, self.max_length)

    def _batches(
        self, tokens: TokenizedTexts, batch_tokens: int | None, batch_size: int | None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Row numbers of a batch, and what the graph gives for them: (b, width), or (b, l, width) for tagging.

        Raises:
            PotstillError: the engine does not run the graph on them, or it gives something else.
        """
        batches = length_batches(tokens.lengths, batch_tokens or TOKENS_PER_THREAD, batch_size or MAX_ROWS)
        graph, threads = self._graph, 1
        if self.engine == ONNXRUNTIME and len(batches) >= MANY * self.threads > MANY:
            graph, threads = self._opened_for_many(), self.threads
        elif self.threads > 1:
            batches = length_batches(tokens.lengths, batch_tokens or TOKENS_PER_THREAD * self.threads, batch_size or MAX_ROWS)

        def compute(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            feeds = self._feeds(tokens, rows)
            try:
                output = graph.run(self._output, feeds)
            except Exception as error:  # onnxruntime has a class for each of a dozen reasons, with no parent of their own
                problem = f"{graph.name} does not run the exported graph ({shown(str(error), 160)})"
                raise PotstillError(self.file, problem, AGAIN) from error
            shape = (*(feeds[INPUT_IDS].shape if self.head == TAGGING else rows.shape), self._width)
            if not isinstance(output, np.ndarray) or output.shape != shape or output.dtype.kind != "f":
                problem = f"gives {getattr(output, 'dtype', type(output).__name__)} {np.shape(output)} in place of floats {shape}"
                raise PotstillError(self.file, problem, AGAIN)
            return rows, output

        return in_parallel(compute, batches, threads)

    def _opened_for_many(self) -> Graph:
        """The graph once more, for calls of one thread each."""
        if self._graph_of_many is None:
            self._graph_of_many = open_graph(self.file, 1, self.engine)
        return self._graph_of_many

    def _feeds(self, tokens: TokenizedTexts, rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        found = tokens.pad(rows, self._pad_id)
        # A graph that tells a pair's texts apart reads single texts too: they are all first ones.
        return {name: found[name] if name in found else np.zeros_like(found[INPUT_IDS]) for name in self._graph.inputs}
