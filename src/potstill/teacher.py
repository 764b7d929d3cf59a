"""A recipe's teacher: loaded, and what answers for it: a cache, the model in every step, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from potstill import recipe as recipes
from potstill.errors import PotstillError
from potstill.preflight import Facts

if TYPE_CHECKING:
    import numpy as np
    import torch

    from potstill.data.alignment import Segments
    from potstill.data.batches import TokenizedTexts
    from potstill.models.encoder import EncoderModel
    from potstill.models.output import Field
    from potstill.training.teacher import Teacher


def load_teacher(recipe: recipes.Recipe, facts: Facts, embed: bool = False) -> EncoderModel | None:
    """The teacher, or None where the recipe has none.

    Args:
        embed: without its head.
    """
    from potstill.models.loading import load_encoder

    if recipe.teacher is None or facts.teacher_folder is None:
        return None
    kind = {recipes.EMBED: "embed", recipes.MLM: "mlm"}.get(recipe.task)
    return load_encoder(
        facts.teacher_folder, pooling=recipe.teacher.pooling, max_length=recipe.teacher.max_length, kind="embed" if embed else kind
    )


def training_length(recipe: recipes.Recipe, student: EncoderModel) -> int:
    """Tokens that the student's training texts are cut to."""
    return min(student.max_length, recipe.training.max_length or student.max_length)


def make_teacher(
    recipe: recipes.Recipe,
    facts: Facts,
    model: EncoderModel,
    student: EncoderModel,
    tokens: TokenizedTexts,
    stages: Sequence[frozenset[Field]],
    device: torch.device,
    precision: torch.dtype,
) -> tuple[Teacher, Segments | None]:
    """What answers for the training texts: a cache, made where there is none, the model in every step, or each for its own fields.

    Args:
        model: the teacher; it is cut to what is read of it.
        tokens: the texts in the student's pieces.
        stages: what each stage reads.

    Returns:
        The teacher, and where it cuts texts otherwise and a term compares token by token the
        student's segments; the teacher then shows its tokens by them.

    Raises:
        PotstillError: other tokens than the student's where a term compares what has no mean over tokens.
    """
    from potstill.training.aligned import AlignedTeacher
    from potstill.training.cache import build_cache, cache_place
    from potstill.training.cache_budget import cache_bytes, kept_fields
    from potstill.training.processes import main_first
    from potstill.training.teacher import LiveTeacher, MergedTeacher, prepare_teacher

    settings = recipe.teacher
    assert settings is not None and facts.teacher_folder is not None
    reads = frozenset(field for stage in stages for field in stage)
    length = min(model.max_length, recipe.training.max_length or model.max_length)  # what the student cannot see is not taught
    own, segments = _own_tokens(facts, model, length, student, training_length(recipe, student), tokens, reads)
    sizes = {field: cache_bytes(own.lengths, field, model, own.words is not None, settings.cache_half) for field in reads}
    # A language model's texts are masked anew in every step: of them nothing can be kept.
    budget = settings.cache_gb * 1e9 if settings.cache and recipe.task != recipes.MLM else 0
    kept = kept_fields(sizes, budget, stages, len(model.layers))
    live = reads - kept
    model.to(device)
    parts: list[Teacher] = []
    if kept:
        place = cache_place(facts.teacher_folder, facts.material.texts, _cache_settings(settings, precision, recipe.training.max_length))
        with main_first():
            parts.append(build_cache(place, model, own, kept, precision=precision, half=settings.cache_half, live=live))
    if live:
        parts.append(LiveTeacher(prepare_teacher(model, live), own, live, precision))
    teacher = parts[0] if len(parts) == 1 else MergedTeacher(parts)
    if segments is None:
        return teacher, None
    return AlignedTeacher(teacher, segments[1]), segments[0]


def held_out_vectors(recipe: recipes.Recipe, facts: Facts) -> np.ndarray:
    """The teacher's vectors of the held-out texts, float32 (n, d), out of the cache unless the recipe wants none."""
    import numpy as np

    from potstill.data.batches import tokenize
    from potstill.models.output import EMBEDDING
    from potstill.training.cache import build_cache, cache_place
    from potstill.training.precision import choose_device, choose_precision

    model = load_teacher(recipe, facts, embed=True)
    assert model is not None and recipe.teacher is not None and facts.teacher_folder is not None
    texts = facts.material.held_out
    if not recipe.teacher.cache:
        return model.encode(texts)
    device = choose_device(recipe.training.device)
    precision = choose_precision(recipe.training.precision, device)
    place = cache_place(facts.teacher_folder, texts, _cache_settings(recipe.teacher, precision))
    tokens = tokenize(model.tokenizer, texts, model.max_length)
    cached = build_cache(place, model.to(device), tokens, [EMBEDDING], precision=precision, half=recipe.teacher.cache_half)
    return cached.values(EMBEDDING, np.arange(len(texts)))


def _own_tokens(
    facts: Facts,
    model: EncoderModel,
    length: int,
    student: EncoderModel,
    student_length: int,
    tokens: TokenizedTexts,
    reads: frozenset[Field],
) -> tuple[TokenizedTexts, tuple[Segments, Segments] | None]:
    """The texts in the teacher's pieces: the student's own where both cut alike. Else what the two share, where a term asks for it.

    Raises:
        PotstillError: they differ where a term compares what cannot be aligned.
    """
    import numpy as np

    from potstill.data.alignment import align
    from potstill.data.batches import tokenize
    from potstill.models.output import LOGITS
    from potstill.training.cache_budget import SQUARES, TOKENS

    if length == student_length and model.tokenizer.to_str() == student.tokenizer.to_str():
        return tokens, None
    texts = facts.material.texts
    own = tokenize(model.tokenizer, texts, length, "tokenize")
    different = int(np.sum(own.lengths != tokens.lengths))
    if different and (any(field.name in SQUARES for field in reads) or (LOGITS in reads and own.words is not None)):
        raise PotstillError(
            "terms", f"teacher and student cut {different} texts into other tokens, and a term compares pairs of tokens, or their tags",
            "give both one vocabulary and max_length, or compare hidden states, cls, mean or pooled vectors",
        )  # fmt: skip
    if not any(field.name in TOKENS for field in reads) or np.array_equal(own.ids, tokens.ids):
        return own, None
    return own, align(texts, (student.tokenizer, student_length, tokens), (model.tokenizer, length, own))


def _cache_settings(teacher: recipes.Teacher, precision: torch.dtype, cut: int | None = None) -> dict[str, Any]:
    """What else than the teacher's files and the texts decides what is in a cache."""
    import torch

    # fp16 is named only where it is so: the caches of fp32 and of bf16 keep the names they had before there was fp16.
    half = {"bf16": precision == torch.bfloat16} | ({"fp16": True} if precision == torch.float16 else {})
    return {
        "pooling": teacher.pooling,
        "max_length": min(teacher.max_length, cut or teacher.max_length),
        "half": teacher.cache_half,
        **half,
    }
