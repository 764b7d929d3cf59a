"""A recipe's student as it is before training: cut, built small or of another kind, over a vocabulary of its own if it shall."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.corpus.read import Corpus
from potstill.recipe.recipe import EMBED, Recipe
from potstill.recipe.student import BiLSTMStudent, StaticStudent, TransformerStudent
from potstill.student.cuts import make_cuts

if TYPE_CHECKING:
    import numpy as np
    import torch

    from potstill.models.encoder import EncoderModel


def make_student(
    recipe: Recipe,
    corpus: Corpus,
    folder: Path,
    *,
    layers: Sequence[int],
    pieces: Sequence[str] | None,
    device: torch.device,
    precision: torch.dtype,
    loaded: EncoderModel | None = None,
    space: int = 0,
) -> EncoderModel:
    """The student as it is before training: the same for the same recipe and seed.

    A PotstillError from below comes through: the source cannot be loaded, or no such student can be made of it.

    Args:
        recipe: its student, seed and teacher count.
        corpus: what it will be trained on; cuts, counts and labels come out of it.
        folder: of the encoder that it is made of.
        layers: of that encoder (from 1) to keep; of a student built small the layer count alone.
        pieces: of a vocabulary of its own; None keeps the source's.
        device: that the source runs on, where something has to be computed of it.
        precision: what to autocast to there.
        loaded: the teacher, where it lies in `folder` and is loaded; it serves as the source where it is the same model.
        space: width of the teacher's vectors, which a student that is aligned with it needs.
    """
    from potstill.student.aligned import align
    from potstill.student.vocabulary import with_pieces, with_tokenizer

    wanted, seed = recipe.student, recipe.training.seed
    source = load_source(recipe, corpus, folder, loaded)
    if pieces is not None:
        source = copy.deepcopy(source) if source is loaded else source  # its table is changed in place
        tokenizer = json.loads(source.hf_tokenizer.backend_tokenizer.to_str())
        source = with_tokenizer(source, with_pieces(tokenizer, pieces))
    if isinstance(wanted, BiLSTMStudent):
        student = _bilstm(wanted, source, corpus, seed)
    elif isinstance(wanted, StaticStudent):
        keep = recipe.teacher is None or recipe.teacher.cache
        student = _static(wanted, source, corpus, _piece_vectors(source, folder, keep, device, precision))
    else:
        taught = recipe.teacher.pooling if recipe.teacher and wanted.model is None else None
        student = _transformer(wanted, source, corpus, layers, wanted.pooling or taught, seed)
    if wanted.align is not None:
        assert space, "the caller knows the teacher"
        align(student, space, seed)
    return student


def load_source(recipe: Recipe, corpus: Corpus, folder: Path, loaded: EncoderModel | None) -> EncoderModel:
    """The encoder that the student is made of.

    A PotstillError from `load_encoder` comes through.

    Args:
        recipe: its student.
        corpus: the labels of the student's head.
        folder: of the encoder.
        loaded: the teacher, where it lies in `folder` and is loaded. It is returned where it is the same model.
    """
    from potstill.models.loading import load_encoder

    wanted = recipe.student
    pooling = recipe.teacher.pooling if isinstance(wanted, StaticStudent) and recipe.teacher and wanted.model is None else None
    head = corpus.kind if isinstance(wanted, TransformerStudent) else EMBED
    lm_head = recipe.masks and recipe.task == EMBED
    as_it_is = recipe.teacher is None or recipe.teacher.pooling is None or wanted.model is None  # not pooled as the teacher alone is
    if loaded is not None and as_it_is and not lm_head and (loaded.head, loaded.labels) == (head, corpus.names):
        return loaded
    return load_encoder(folder, pooling=pooling, head=head, labels=corpus.names, seed=recipe.training.seed, lm_head=lm_head)


def _bilstm(wanted: BiLSTMStudent, source: EncoderModel, corpus: Corpus, seed: int) -> EncoderModel:
    from potstill.student.bilstm import build_bilstm

    return build_bilstm(
        source,
        kind=corpus.kind,
        labels=corpus.names,
        pairs=isinstance(corpus.texts[0], tuple),
        pooling=wanted.pooling or "max",
        seed=seed,
        **wanted.model_dump(include={"layers", "width", "embedding", "table", "dense", "activation", "normalize", "max_length"}),
    )


def _static(wanted: StaticStudent, source: EncoderModel, corpus: Corpus, vectors: np.ndarray) -> EncoderModel:
    """A static student out of the source's `vectors` of each piece alone, (pieces, d)."""
    import numpy as np
    from tokenizers import Tokenizer

    from potstill.machine.progress import progress
    from potstill.runtime.tokens import CHUNK, tokenize
    from potstill.student.static import bare, build_static

    own = Tokenizer.from_str(bare(source.hf_tokenizer, wanted.max_length).backend_tokenizer.to_str())
    counts = np.zeros(len(vectors), dtype=np.int64)
    with progress("count pieces", len(corpus.texts)) as advance:
        for start in range(0, len(corpus.texts), CHUNK):
            part = tokenize(own, corpus.texts[start : start + CHUNK], wanted.max_length)
            counts += np.bincount(part.ids, minlength=len(counts))
            advance(len(part))
    sizes = wanted.model_dump(include={"width", "sif_coefficient", "normalize", "max_length"})
    return build_static(source, vectors, counts, **sizes)


def _piece_vectors(source: EncoderModel, folder: Path, keep: bool, device: torch.device, precision: torch.dtype) -> np.ndarray:
    """The source's vector of each of its pieces alone, float32 (pieces, d); out of the cache where they are to be kept."""
    import numpy as np

    from potstill.machine.cache import cache_place
    from potstill.machine.distributed import main_first
    from potstill.machine.precision import autocast
    from potstill.models.output import EMBEDDING
    from potstill.student.static import pieces_alone
    from potstill.teacher.cached import build_cache

    alone = pieces_alone(source.to(device))
    if not keep:
        found = np.zeros((len(alone), source.dimension), dtype=np.float32)
        with autocast(device, precision):
            for rows, output in source.run(alone, [EMBEDDING]):
                found[rows] = output.embedding.float().cpu().numpy()
        return found
    numbers = source.tokenizer.get_vocab()
    settings = {"pieces": "alone", "pooling": source.pooling, "precision": str(precision)}
    pieces = sorted(numbers, key=numbers.__getitem__)
    place = cache_place(folder, pieces, settings)
    with main_first():
        return build_cache(place, source, alone, [EMBEDDING], precision=precision).values(EMBEDDING, np.arange(len(alone)))


def _transformer(
    wanted: TransformerStudent, source: EncoderModel, corpus: Corpus, layers: Sequence[int], pooling: str | None, seed: int
) -> EncoderModel:
    """Layers of the source, or its architecture built small."""
    from potstill.student.transformer import build_student, cut_student

    if wanted.width is not None:
        return build_student(
            source,
            layers=layers[0],
            width=wanted.width,
            heads=wanted.heads,  # type: ignore[arg-type]  # the recipe's check saw that all four are there
            ffn=wanted.ffn,  # type: ignore[arg-type]
            pooling=pooling or source.pooling,
            normalize=wanted.normalize,
            max_length=wanted.max_length,
            seed=seed,
        )
    student = cut_student(source, layers, pooling=pooling, normalize=wanted.normalize, max_length=wanted.max_length)
    make_cuts(wanted, student, corpus)
    return student
