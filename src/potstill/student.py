"""A recipe's student as it is before training: cut, built small or of another kind, over a vocabulary of its own if it shall."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from potstill import recipe as recipes
from potstill.cuts import make_cuts
from potstill.preflight import Facts

if TYPE_CHECKING:
    import numpy as np

    from potstill.models.encoder import EncoderModel


def make_student(recipe: recipes.Recipe, facts: Facts) -> EncoderModel:
    """The student as it is before training: the same for the same recipe and seed."""
    from potstill.models.loading import load_encoder
    from potstill.models.vocabulary import with_pieces, with_tokenizer

    wanted = recipe.student
    static = isinstance(wanted, recipes.StaticStudent)
    source = load_encoder(
        facts.student_folder,
        pooling=recipe.teacher.pooling if static and recipe.teacher and wanted.model is None else None,
        kind=facts.material.kind if isinstance(wanted, recipes.TransformerStudent) else "embed",
        labels=facts.material.names,
        seed=recipe.training.seed,
        lm_head=recipe.masks and recipe.task == recipes.EMBED,
    )
    if facts.pieces is not None:
        tokenizer = json.loads(source.hf_tokenizer.backend_tokenizer.to_str())
        source = with_tokenizer(source, with_pieces(tokenizer, facts.pieces))
    if isinstance(wanted, recipes.BiLSTMStudent):
        return _bilstm(wanted, source, facts, recipe.training.seed)
    if isinstance(wanted, recipes.StaticStudent):
        return _static(wanted, source, recipe, facts)
    return _transformer(wanted, source, recipe, facts)


def _bilstm(wanted: recipes.BiLSTMStudent, source: EncoderModel, facts: Facts, seed: int) -> EncoderModel:
    from potstill.models.bilstm_student import build_bilstm

    return build_bilstm(
        source,
        kind=facts.material.kind,
        labels=facts.material.names,
        pairs=isinstance(facts.material.texts[0], tuple),
        pooling=wanted.pooling or "max",
        seed=seed,
        **wanted.model_dump(include={"layers", "width", "embedding", "table", "dense", "activation", "normalize", "max_length"}),
    )


def _static(wanted: recipes.StaticStudent, source: EncoderModel, recipe: recipes.Recipe, facts: Facts) -> EncoderModel:
    import numpy as np
    from tokenizers import Tokenizer

    from potstill.data.batches import tokenize
    from potstill.models.static_student import bare, build_static

    vectors = _piece_vectors(source, recipe, facts)
    own = Tokenizer.from_str(bare(source.hf_tokenizer, wanted.max_length).backend_tokenizer.to_str())
    ids = tokenize(own, facts.material.texts, wanted.max_length, "count pieces").ids
    counts = np.bincount(ids, minlength=len(vectors))
    sizes = wanted.model_dump(include={"width", "frequency", "normalize", "max_length"})
    return build_static(source, vectors, counts, **sizes)


def _piece_vectors(source: EncoderModel, recipe: recipes.Recipe, facts: Facts) -> np.ndarray:
    """The source's vector of each of its pieces alone, float32 (pieces, d), out of the cache unless the recipe wants none."""
    import numpy as np

    from potstill.models.output import EMBEDDING
    from potstill.models.static_student import pieces_alone
    from potstill.training.cache import build_cache, cache_place
    from potstill.training.precision import autocast, choose_device, choose_precision
    from potstill.training.processes import main_first

    device = choose_device(recipe.training.device)
    precision = choose_precision(recipe.training.precision, device)
    alone = pieces_alone(source.to(device))
    if recipe.teacher is not None and not recipe.teacher.cache:
        found = np.zeros((len(alone), source.dimension), dtype=np.float32)
        with autocast(device, precision):
            for rows, output in source.run(alone, [EMBEDDING]):
                found[rows] = output.embedding.float().cpu().numpy()
        return found
    numbers = source.tokenizer.get_vocab()
    settings = {"pieces": "alone", "pooling": source.pooling, "precision": str(precision)}
    pieces = sorted(numbers, key=numbers.__getitem__)
    place = cache_place(facts.student_folder, pieces, settings)
    with main_first():
        return build_cache(place, source, alone, [EMBEDDING], precision=precision).values(EMBEDDING, np.arange(len(alone)))


def _transformer(wanted: recipes.TransformerStudent, source: EncoderModel, recipe: recipes.Recipe, facts: Facts) -> EncoderModel:
    from potstill.models.transformer import build_student, cut_student

    taught = recipe.teacher.pooling if recipe.teacher and wanted.model is None else None
    pooling = wanted.pooling or taught
    if wanted.width is not None:
        return build_student(
            source,
            layers=facts.layers[0],
            width=wanted.width,
            heads=wanted.heads,  # type: ignore[arg-type]  # the recipe's check saw that all four are there
            ffn=wanted.ffn,  # type: ignore[arg-type]
            pooling=pooling or source.pooling,
            normalize=wanted.normalize,
            max_length=wanted.max_length,
            seed=recipe.training.seed,
        )
    student = cut_student(source, facts.layers, pooling=pooling, normalize=wanted.normalize, max_length=wanted.max_length)
    make_cuts(wanted, student, facts.material)
    return student
