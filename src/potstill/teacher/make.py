"""A recipe's teacher: loaded once, and what answers for it: a cache, the model in every step, or both."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.corpus.read import Corpus
from potstill.errors import PotstillError, shown
from potstill.recipe.recipe import EMBED, MLM, Recipe
from potstill.recipe.recipe import Teacher as TeacherPart
from potstill.runtime.folder import STUDENT

if TYPE_CHECKING:
    import numpy as np
    import torch

    from potstill.data.alignment import Segments
    from potstill.models.encoder import EncoderModel
    from potstill.models.output import Field
    from potstill.runtime.tokens import TokenizedTexts
    from potstill.teacher.answers import Teacher
    from potstill.teacher.cached import Digests, Pass


class LoadedTeacher:
    """A recipe's teacher, loaded when it is first asked for, and once in a run.

    Args:
        settings: what the recipe says of it.
        folder: of the teacher's model.
        numbered: names of its labels where it has only numbers (Corpus.numbered).
        others: folders of the models whose answers are averaged with its own.
        task: of the recipe.

    Attributes:
        others: these models, each loaded as the first one is.
    """

    def __init__(
        self, settings: TeacherPart, folder: Path, numbered: Sequence[str] = (), others: Sequence[Path] = (), task: str = EMBED
    ) -> None:
        self.numbered = numbered
        self.settings = settings
        self.folder = folder
        self.others = [LoadedTeacher(settings, other, numbered, task=task) for other in others]
        self.task = task

    @property
    def name(self) -> str:
        """What tables and descriptions call it: never a whole path, which is the user's own business."""
        if self.settings.name or not self.others:
            return self.settings.name or short_name(self.settings.model)
        return f"{short_name(self.settings.model)} and {len(self.others)} more"

    @property
    def all(self) -> list[LoadedTeacher]:
        """It and the others."""
        return [self, *self.others]

    @cached_property
    def model(self) -> EncoderModel:
        """The whole model, on the CPU. Nobody cuts it, moves it or trains it: `copy` is for that.

        A PotstillError from `load_encoder` comes through.
        """
        from potstill.models.heads import name_labels
        from potstill.models.loading import load_encoder
        from potstill.tasks.labelled import named

        head = {EMBED: EMBED, MLM: MLM}.get(self.task)  # of a labelled task: the one that it has
        model = load_encoder(self.folder, pooling=self.settings.pooling, max_length=self.settings.max_length, head=head)
        labels = named(model.labels, self.numbered)
        if labels != model.labels:
            name_labels(model.network.config, model.head, labels)
            model.labels = labels
        return model

    def copy(self) -> EncoderModel:
        """A copy over the same weights, which may lose layers or be told another attention."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return copy.deepcopy(self.model, {id(tensor): tensor for tensor in tensors})


def short_name(model: str) -> str:
    """What a model is called where only its name is told: the last part of a path or of a hub name, a run's for its student."""
    return Path(model.removesuffix(f"/{STUDENT}")).name


def training_length(recipe: Recipe, model: EncoderModel) -> int:
    """Tokens that the training texts are cut to for a student or its teacher: the recipe's, or as many as the model reads."""
    return min(model.max_length, recipe.training.max_length or model.max_length)


@dataclass(frozen=True)
class Lesson:
    """What a teacher is to answer for, and how.

    Attributes:
        recipe: how much may be kept, and how.
        corpus: the training texts.
        student: whose pieces and length the teacher's are compared with.
        tokens: the texts in the student's pieces.
        stages: what each stage reads.
        device: that the teacher runs on.
        precision: what to autocast to there.
        elsewhere: computes what a teacher's cache lacks in place of this process, as `build_cache` has it.
    """

    recipe: Recipe
    corpus: Corpus
    student: EncoderModel
    tokens: TokenizedTexts
    stages: Sequence[frozenset[Field]]
    device: torch.device
    precision: torch.dtype
    elsewhere: Callable[[LoadedTeacher, Pass], Digests] | None = None

    @property
    def reads(self) -> frozenset[Field]:
        """What any stage reads."""
        return frozenset(field for stage in self.stages for field in stage)


def make_teacher(loaded: LoadedTeacher, lesson: Lesson) -> tuple[Teacher, Segments | None]:
    """What answers for the training texts: a cache, made where there is none, the model in every step, or each for its own fields.

    Of several teachers each has a cache of its own; what they answer is averaged.

    A PotstillError from below comes through: the teacher cuts texts into other tokens than the student where a term
    compares what has no mean over tokens; the disk is full; a field from inside attention that the teacher does not show.

    Args:
        loaded: the teacher; a copy of it is taken.
        lesson: what it is to answer for.

    Returns:
        The teacher, and where it cuts texts otherwise and a term compares token by token the
        student's segments; the teacher then shows its tokens by them.
    """
    from potstill.teacher.answers import AveragedTeacher

    made = [_one_teacher(each, lesson, len(loaded.all)) for each in loaded.all]
    if len(made) == 1:
        return made[0]
    return AveragedTeacher([teacher for teacher, _ in made], unit=all(each.model.normalize for each in loaded.all)), None


def _one_teacher(loaded: LoadedTeacher, lesson: Lesson, several: int) -> tuple[Teacher, Segments | None]:
    """As `make_teacher`, of one of `several` teachers, which share what may be kept on disk."""
    from potstill.machine.cache import cache_place
    from potstill.machine.distributed import main_first
    from potstill.models.output import LOGITS
    from potstill.tasks.labelled import label_order
    from potstill.teacher.aligned import AlignedTeacher
    from potstill.teacher.answers import LiveTeacher, MergedTeacher, OrderedTeacher, prepare_teacher
    from potstill.teacher.budget import cache_bytes, kept_fields
    from potstill.teacher.cached import build_cache

    recipe, corpus, precision, reads = lesson.recipe, lesson.corpus, lesson.precision, lesson.reads
    settings, model = loaded.settings, loaded.copy()
    own, segments = _own_tokens(lesson, model)
    sizes = {field: cache_bytes(own.lengths, field, model, own.words is not None, settings.cache_half) for field in reads}
    # A language model's texts are masked anew in every step: of them nothing can be kept.
    budget = settings.cache_gb * 1e9 / several if settings.cache and recipe.task != MLM else 0
    kept = kept_fields(sizes, budget, lesson.stages, model.depth)
    live = reads - kept
    model.to(lesson.device)
    parts: list[Teacher] = []
    if kept:
        decides = _cache_settings(settings, precision, recipe.training.max_length) | _read_anew(model, own)
        place = cache_place(loaded.folder, corpus.texts, decides)
        elsewhere = None if lesson.elsewhere is None else partial(lesson.elsewhere, loaded)
        half = settings.cache_half
        with main_first():
            parts.append(build_cache(place, model, own, kept, precision=precision, half=half, live=live, elsewhere=elsewhere))
    if live:
        parts.append(LiveTeacher(prepare_teacher(model, live), own, live, precision))
    teacher = parts[0] if len(parts) == 1 else MergedTeacher(parts)
    order = label_order(corpus.names, loaded.model.labels, "teacher.model", corpus.numbered) if LOGITS in reads else []
    if order != list(range(len(order))):  # what is kept on disk stays in the teacher's own order
        teacher = OrderedTeacher(teacher, order)
    if segments is None:
        return teacher, None
    return AlignedTeacher(teacher, segments[1]), segments[0]


def teacher_vectors(loaded: LoadedTeacher, texts: Sequence[Any], device: torch.device, precision: torch.dtype) -> np.ndarray:
    """The teacher's vectors of texts, out of the cache unless the recipe wants none; of several teachers their mean.

    A PotstillError from `build_cache` comes through.

    Args:
        loaded: the teacher; a copy of it is taken.
        texts: n texts.
        device: that the cache is computed on; without a cache it is the CPU.
        precision: what to autocast to there; without a cache it is fp32.

    Returns:
        float32 (n, d).
    """
    import numpy as np

    found = [_vectors_of_one(each, texts, device, precision) for each in loaded.all]
    return found[0] if len(found) == 1 else np.mean(found, axis=0)  # agreement compares directions: no length is needed


def _vectors_of_one(loaded: LoadedTeacher, texts: Sequence[Any], device: torch.device, precision: torch.dtype) -> np.ndarray:
    import numpy as np

    from potstill.machine.cache import cache_place
    from potstill.models.output import EMBEDDING
    from potstill.teacher.cached import build_cache

    settings, model = loaded.settings, loaded.copy()
    if not settings.cache:
        return model.encode(texts)
    tokens = model.tokenize(texts)
    place = cache_place(loaded.folder, texts, _cache_settings(settings, precision) | _read_anew(model, tokens))
    cached = build_cache(place, model.to(device), tokens, [EMBEDDING], precision=precision, half=settings.cache_half)
    return cached.values(EMBEDDING, np.arange(len(texts)))


def _own_tokens(lesson: Lesson, model: EncoderModel) -> tuple[TokenizedTexts, tuple[Segments, Segments] | None]:
    """The texts in the teacher's pieces: the student's own where both cut alike. Else what the two share, where a term asks for it.

    Raises:
        PotstillError: they differ where a term compares what cannot be aligned.
    """
    import numpy as np

    from potstill.data.alignment import align
    from potstill.models.output import LOGITS, PAIRS, TOKENS
    from potstill.runtime.folder import prompted

    corpus, student, tokens, reads = lesson.corpus, lesson.student, lesson.tokens, lesson.reads
    student_length = training_length(lesson.recipe, student)
    length = training_length(lesson.recipe, model)  # what the student cannot see is not taught
    if length == student_length and model.prompt == student.prompt and model.tokenizer.to_str() == student.tokenizer.to_str():
        return tokens, None
    own = model.tokenize(corpus.texts, length, "tokenize")
    alike = any(field.name in PAIRS for field in reads) or (LOGITS in reads and own.words is not None)
    if alike and (different := int(np.sum(own.lengths != tokens.lengths))):
        raise PotstillError(
            "terms", f"teacher and student cut {different} texts into other tokens, and a term compares pairs of tokens, or their tags",
            "give both one vocabulary and max_length, or compare hidden states, cls, mean or pooled vectors",
        )  # fmt: skip
    if not any(field.name in TOKENS for field in reads) or np.array_equal(own.ids, tokens.ids):
        return own, None
    if model.prompt != student.prompt:
        problem = f"the teacher's texts begin with {shown(model.prompt)} and the student's with {shown(student.prompt)}"
        raise PotstillError("terms", f"{problem}, and a term compares token by token", "compare embedding, or give both the same prompt")
    return own, align(prompted(model.prompt, corpus.texts), (student.tokenizer, student_length, tokens), (model.tokenizer, length, own))


def _cache_settings(teacher: TeacherPart, precision: torch.dtype, cut: int | None = None) -> dict[str, Any]:
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


def _read_anew(model: EncoderModel, tokens: TokenizedTexts) -> dict[str, Any]:
    """A mark for a cache whose vectors earlier releases made otherwise, which must not be taken for these; else nothing.

    They read no prompts, no steps but a pooling, linear layers and a normalisation, cut texts on the right alone, cut words without the
    space before them, and gave token types whatever the tokenizer said.
    """
    layout = model.layout
    plain = layout.plain and not model.prompt and model.hf_tokenizer.truncation_side == "right"
    typed = tokens.types is not None and not model.reads_types and (getattr(model.network.config, "type_vocab_size", 0) or 0) > 1
    return {} if plain and not typed and tokens.words is None else {"reading": 2}
