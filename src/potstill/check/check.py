"""Everything that can be known to be wrong with a run before any work: `potstill check`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, Any

from potstill.check.cache import CacheEstimate, estimate_cache
from potstill.check.cuts import check_cuts
from potstill.check.dual import check_dual
from potstill.check.effort import effort_rows
from potstill.check.models import Models, check_use, choose_machine, load_models
from potstill.check.outline import Outline, outline_rows
from potstill.check.plan import RunPlan, StagePlan
from potstill.check.shapes import Sides, both_sizes, read_sides
from potstill.check.student import check_align, check_kind, check_reach, check_start
from potstill.check.teacher import label_rows, warn_of_chance
from potstill.check.terms import Known, check_dimensions, check_poolings, check_terms
from potstill.check.vocabulary import check_coverage
from potstill.corpus.read import Corpus, read_corpus
from potstill.errors import PotstillError, collect, install, refuse
from potstill.machine.cache import cache_folder
from potstill.machine.files import require_space
from potstill.recipe.recipe import AGREEMENT, EMBED, LAST, MLM, Recipe
from potstill.recipe.smoke import SCORED
from potstill.registry import DEV
from potstill.runtime.architecture import heads_of, layers_of, width_of
from potstill.student.cuts import kept_layers
from potstill.student.pieces import own_pieces
from potstill.tasks.base import Task, evenly, load_tasks, named_at
from potstill.tasks.labelled import recipe_set, task_openers

if TYPE_CHECKING:
    from potstill.models.output import Field
    from potstill.objective.sizes import TermSpec

Attempt = Callable[..., Any]


def check_recipe(recipe: Recipe, place: str = "recipe") -> RunPlan:
    """Check a recipe against the parts, the files and the disk; read the texts and the tasks.

    Args:
        place: where the recipe stands, for the errors.

    Raises:
        PotstillErrors: everything wrong, at once.
    """
    return _checked(recipe, place)[0]


def outline_recipe(recipe: Recipe, place: str = "recipe") -> list[tuple[str, str]]:
    """Check a recipe as `check_recipe` does, and tell in rows (title, text) what it would do.

    Raises:
        PotstillErrors: everything wrong, at once.
    """
    plan, outline = _checked(recipe, place)
    rows = outline_rows(recipe, plan, outline)
    rows[1:1] = label_rows(plan.corpus, plan.teacher_folder)
    rows += effort_rows(recipe, plan, outline.cache, outline.sides.source)
    if plan.teacher is not None:
        warn_of_chance(plan.corpus, plan.teacher.model)
    return rows


@dataclass
class _Read:
    """What was found out of a recipe so far; None and empty where it could not be."""

    sides: Sides
    tasks: list[Task] = field(default_factory=list)
    corpus: Corpus | None = None
    pieces: list[str] | None = None
    layers: list[int] = field(default_factory=list)
    importance: list[float] | None = None

    @property
    def vocabulary(self) -> int:
        """Pieces of the student, 0 where unknown."""
        return len(self.pieces) if self.pieces else int(self.sides.source.get("vocab_size") or 0)


def _checked(recipe: Recipe, place: str) -> tuple[RunPlan, Outline]:
    from potstill.models.output import EMBEDDING

    with collect() as attempt:
        _check_goal(recipe, attempt, place)
        read = _read(recipe, attempt, place)
        stages = _check_stages(recipe, read, attempt, place)
        reads = [_teacher_reads(terms or []) for stage, terms in zip(recipe.stages, stages) if stage.share != 0]
        asked = {field.name for fields in reads for field in fields}
        models = load_models(recipe, read.sides, read.corpus, asked, attempt) if read.corpus else Models()
        attempt(check_use, recipe, models, stages, place)
        device, precision = attempt(choose_machine, recipe.training, models) or (None, None)
        if recipe.training.neighbours is not None:
            reads.append(frozenset({EMBEDDING}))
        cache = _estimate(recipe, read, reads)
        attempt(_require_cache, cache.bytes if cache else 0)
    assert read.corpus is not None and read.sides.source_folder is not None and device is not None and precision is not None
    plan = RunPlan(
        corpus=read.corpus,
        tasks={task.name: task for task in read.tasks},
        teacher_folder=read.sides.teacher_folder,
        student_folder=read.sides.source_folder,
        layers=read.layers,
        device=device,
        precision=precision,
        stages=[StagePlan(stage, terms or []) for stage, terms in zip(recipe.stages, stages)],
        pieces=read.pieces,
        teacher=models.loaded,
    )
    return plan, Outline(read.sides, cache, any(reads), read.vocabulary, read.importance)


def _check_goal(recipe: Recipe, attempt: Attempt, place: str) -> None:
    """Attempt what the recipe alone shows: what chooses checkpoints, exports and vocabularies beside its task."""
    if recipe.select == AGREEMENT and (recipe.teacher is None or recipe.task != EMBED):
        attempt(refuse, f"{place}: training.select", "agreement needs a teacher and the task embed", "use a dev task, or last")
    for name in recipe.training.report_to:
        found = ("tensorboard", "tensorboardX") if name == "tensorboard" else (name,)
        if not any(map(find_spec, found)):
            attempt(refuse, f"{place}: training.report_to", f"{name} is not installed", install(name))
    if recipe.training.neighbours is not None and (recipe.teacher is None or recipe.task != EMBED):
        problem = "neighbours are found by the teacher's vectors, and need a teacher and the task embed"
        attempt(refuse, f"{place}: training.batches", problem, "use random")
    if recipe.task == MLM and recipe.export.onnx:
        problem, remedy = "a language model's head is not exported", "set export.onnx=false, and distil a task from it"
        attempt(refuse, f"{place}: export.onnx", problem, remedy)
    own = recipe.student.vocabulary is not None and not any(stage.dual for stage in recipe.stages)
    if recipe.task == MLM and recipe.teacher is not None and own:
        problem = "teacher and student guess the same masked words, and so need the same pieces"
        attempt(refuse, f"{place}: student.vocabulary", problem, "drop it, or the teacher")


def _read(recipe: Recipe, attempt: Attempt, place: str) -> _Read:
    """Read tasks, texts and both sides' configurations, and attempt what these show of the student."""
    read = _Read(sides=read_sides(recipe, attempt))
    scored = {"evaluate": list(recipe.evaluate)}
    if recipe.select not in (AGREEMENT, LAST, *recipe.evaluate):
        scored["training.select"] = [recipe.select]
    opens = partial(recipe_set, recipe)
    own = attempt(named_at, f"{place}: task", opens) if recipe.labelled else None
    if recipe.labelled and own is None:  # the same mistake again
        scored = {key: [name for name in names if name.removesuffix(DEV) != recipe.task] for key, names in scored.items()}
    opened = task_openers(recipe, chain.from_iterable(scored.values()), own)
    for key, names in scored.items():
        read.tasks += attempt(load_tasks, names, recipe.data.dir, opened, f"{place}: {key}") or []
    if own or not recipe.labelled:
        read.corpus = attempt(read_corpus, recipe, own)
    if own and read.corpus:  # else a file is malformed, and told
        attempt(own.tell_repeats)
    if recipe.smoke:
        read.tasks = [task.few(SCORED) for task in read.tasks if task is not None]
        read.corpus = _few_held_out(read.corpus)
    corpus = read.corpus
    for task in read.tasks:
        attempt(_require_fit, task, recipe, corpus, place)
    sides = read.sides
    if corpus and sides.source_folder:
        read.pieces = attempt(own_pieces, recipe, corpus, sides.source_folder)
        attempt(check_coverage, corpus, sides.source_folder, read.pieces, f"{place}: student")
    if corpus and sides.teacher_folder and (sides.teacher_folder != sides.source_folder or read.pieces is not None):
        attempt(check_coverage, corpus, sides.teacher_folder, None, f"{place}: teacher")
    kept = attempt(kept_layers, recipe.student, corpus, sides.source_folder, layers_of(sides.source), place)
    read.layers, read.importance = kept or ([], None)
    attempt(check_cuts, recipe.student, sides.source, read.vocabulary, place)
    attempt(check_kind, recipe, corpus, sides.source, sides.source_pooled, place)
    attempt(check_start, recipe, sides, place)
    return read


def _few_held_out(corpus: Corpus | None) -> Corpus | None:
    """The data of a trial: of a labelled task the rows to choose by are held out, and they may be thousands."""
    if corpus is None or corpus.gold is None:
        return corpus
    rows = evenly(len(corpus.held_out), SCORED)
    return replace(corpus, held_out=[corpus.held_out[row] for row in rows], gold=[corpus.gold[row] for row in rows])


def _check_stages(recipe: Recipe, read: _Read, attempt: Attempt, place: str) -> list[list[TermSpec] | None]:
    """Attempt each stage's terms; None for one with something wrong in them."""
    from potstill.objective.terms import check_losses

    sides, corpus = read.sides, read.corpus
    deep, depth = layers_of(sides.teacher), read.layers[0] if recipe.student.built else len(read.layers)
    if recipe.task == EMBED:
        attempt(check_poolings, recipe, (sides.teacher_pooled[0], sides.student_pooled[0]), (deep, depth), place)
    attempt(check_dual, recipe, depth, deep, place)
    known = Known(depth, deep, *both_sizes(recipe, sides, corpus), rows=_rows(recipe, corpus), kind=corpus.kind if corpus else "")
    found: list[list[TermSpec] | None] = []
    for stage in recipe.stages:
        if read.layers and (recipe.teacher is None or sides.teacher):
            terms = attempt(check_terms, recipe, stage, known, place)
            pooling, dense = sides.student_pooled
            known_pooling = "" if dense or recipe.student.align else pooling
            attempt(check_reach, recipe, stage, terms or (), depth, corpus.kind if corpus else "", known_pooling, place)
        else:
            terms = attempt(check_losses, stage, place)
        found.append(terms)
    attempt(check_dimensions, recipe, known.student.embedding, found, f"{place}: student.dimensions")
    attempt(check_align, recipe, found, place)
    if all(terms == [] for terms in found):  # None where something else is wrong with them
        attempt(refuse, f"{place}: stages", "every term has weight 0: there is nothing to learn", "give one a weight")
    return found


def _require_cache(size: int) -> None:
    """Check that there is a cache folder, with `size` bytes free. A PotstillError comes through where there is none, or no room."""
    require_space(cache_folder(), size, "the teacher's cache")


def _require_fit(task: Any, recipe: Recipe, corpus: Corpus | None, place: str) -> None:
    """Check that the student will give what a task asks.

    Raises:
        PotstillError: it asks vectors of a model with a head, logits of one without, or logits of other labels.
    """
    from potstill.tasks.labelled import label_order

    if (task.needs == "logits") != recipe.labelled and not (recipe.task == MLM and task.needs != "logits"):
        given = "logits, no vectors" if recipe.labelled else "no logits"
        raise PotstillError(f"{place}: evaluate", f"{task.name} needs {task.needs}, and the task {recipe.task} gives {given}", "drop it")
    if recipe.labelled and corpus:
        if task.kind != corpus.kind:
            raise PotstillError(f"{place}: evaluate", f"{task.name} is {task.kind}, the task {recipe.task} is {corpus.kind}", "drop it")
        label_order(task.labels, corpus.names, f"{place}: evaluate: {task.name}")


def _rows(recipe: Recipe, corpus: Corpus | None) -> int:
    """Texts of the training set, with as many copies as augmentation may add; 0 where the data is not known."""
    copies = recipe.data.augment.copies if recipe.data.augment is not None else 0
    return len(corpus.texts) * (1 + copies) if corpus else 0


def _teacher_reads(terms: Sequence[TermSpec]) -> frozenset[Field]:
    return frozenset(name for term in terms if term.loss.needs_teacher for name in term.fields(1))


def _estimate(recipe: Recipe, read: _Read, reads: Sequence[frozenset[Field]]) -> CacheEstimate | None:
    """What the teacher's cache will come to; None where there is none to be made."""
    corpus, teacher = read.corpus, read.sides.teacher
    if recipe.teacher is None or not recipe.teacher.cache or recipe.task == MLM or not corpus or not any(reads):
        return None
    copies = _rows(recipe, corpus) // len(corpus.texts)
    return estimate_cache(recipe.teacher, corpus, copies, reads, width_of(teacher), heads_of(teacher), layers_of(teacher))
