"""Everything that can be known to be wrong with a run before any work: `potstill check`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill import recipe as recipes
from potstill.cache_estimate import CacheEstimate, estimate_cache
from potstill.cuts import check_cuts, cut_rows, kept_layers
from potstill.dual import check_dual
from potstill.errors import PotstillError, collect
from potstill.evaluation.evaluate import load_tasks
from potstill.files import cache_folder, require_space
from potstill.material import Material, read_material
from potstill.outline import int8_rows, stage_rows, student_row, texts_row, training_row
from potstill.own_vocabulary import check_coverage, own_pieces, saved_by
from potstill.sides import both_sizes, config_of, heads_of, layers_of, left_out_row, pooled_by, width_of
from potstill.student_limits import check_kind, check_reach

if TYPE_CHECKING:
    from potstill.models.output import Field
    from potstill.training.objective import TermSpec

AGREEMENT, LAST = "agreement", "last"


@dataclass
class Facts:
    """What a checked run will do, for people and for the pipeline.

    Attributes:
        layers: of its source (from 1) that the student keeps; of a student built small their number.
        table: rows to print.
        pieces: of the student's own vocabulary, in the order of their numbers; None where it keeps its source's.
    """

    material: Material
    teacher_folder: Path | None
    student_folder: Path
    layers: list[int]
    table: list[tuple[str, str]] = field(default_factory=list)
    pieces: list[str] | None = None


def preflight(recipe: recipes.Recipe, place: str = "recipe") -> Facts:
    """Check a recipe against the parts, the files and the disk; read the texts.

    Raises:
        PotstillErrors: everything wrong, at once.
    """
    from potstill.models.output import LOGITS, POOLED
    from potstill.models.source import model_folder
    from potstill.training.terms import check_losses

    with collect() as attempt:
        scored = [*recipe.evaluate, *([] if recipe.select in (AGREEMENT, LAST) else [recipe.select])]
        tasks = attempt(load_tasks, scored, recipe.data.dir) or []
        if recipe.select == AGREEMENT and (recipe.teacher is None or recipe.task != recipes.EMBED):
            attempt(_refuse, f"{place}: training.select", "agreement needs a teacher and the task embed", "use a dev task, or last")
        if recipe.task == recipes.MLM and recipe.export.onnx:
            attempt(
                _refuse,
                f"{place}: export.onnx",
                "a language model's head is not exported",
                "set export.onnx=false, and distil a task from it",
            )
        own = recipe.student.vocabulary is not None and not any(stage.dual for stage in recipe.stages)
        if recipe.task == recipes.MLM and recipe.teacher is not None and own:
            attempt(
                _refuse,
                f"{place}: student.vocabulary",
                "teacher and student guess the same masked words, and so need the same pieces",
                "drop it, or the teacher",
            )
        read = attempt(read_material, recipe)
        for task in tasks:
            attempt(_require_fit, task, recipe, read, place)
        teacher_folder = attempt(model_folder, recipe.teacher.model) if recipe.teacher else None
        student_folder = attempt(model_folder, recipe.student.model) if recipe.student.model else teacher_folder
        teacher: dict[str, Any] = attempt(config_of, teacher_folder) or {}
        source: dict[str, Any] = attempt(config_of, student_folder) or {}
        pieces = attempt(own_pieces, recipe, read, student_folder) if read and student_folder else None
        if read and student_folder:
            check_coverage(read, student_folder, pieces, f"{place}: student")
        if read and teacher_folder and (teacher_folder != student_folder or pieces is not None):
            check_coverage(read, teacher_folder, None, f"{place}: teacher")
        layers, importance = attempt(kept_layers, recipe.student, read, student_folder, layers_of(source), place) or ([], None)
        vocabulary = len(pieces) if pieces else int(source.get("vocab_size") or 0)
        attempt(check_cuts, recipe.student, source, vocabulary, place)
        depth = layers[0] if recipe.student.built else len(layers)
        pooled = attempt(pooled_by, recipe, teacher_folder, student_folder) or (("mean", 0),) * 3
        attempt(check_kind, recipe, read, source, pooled[2], place)
        if recipe.task == recipes.EMBED:
            attempt(_check_poolings, recipe, [name for name, _ in pooled[:2]], (layers_of(teacher), depth), place)
        attempt(_require_precision, recipe.training)
        sizes = both_sizes(recipe, source, teacher, read, pooled)
        attempt(check_dual, recipe, depth, layers_of(teacher), place)
        rows: list[tuple[recipes.Stage, list[TermSpec] | None]] = []
        for stage in recipe.stages:
            if layers and (recipe.teacher is None or layers_of(teacher)):
                terms = attempt(_stage, recipe, stage, depth, layers_of(teacher), sizes, _rows(recipe, read), place)
                pooling, dense = pooled[1]
                attempt(check_reach, recipe, stage, terms or (), depth, read.kind if read else "", "" if dense else pooling, place)
            else:
                terms = attempt(check_losses, stage, place)
            rows.append((stage, terms))
        if all(terms == [] for _, terms in rows):  # None where something else is wrong with them
            attempt(_refuse, f"{place}: stages", "every term has weight 0: there is nothing to learn", "give one a weight")
        stages = [_teacher_reads(terms or []) for stage, terms in rows if stage.share != 0]
        reads = {name for stage in stages for name in stage}
        asked = bool({LOGITS, POOLED} & reads) or any(stage.dual for stage in recipe.stages)
        if read and teacher_folder and asked and recipe.task != recipes.EMBED:
            attempt(_require_head, teacher_folder, read)
        cache = _estimate(recipe, read, stages, teacher)
        attempt(require_space, cache_folder(), cache.bytes if cache else 0, "the teacher's cache")
    assert read is not None and student_folder is not None
    facts = Facts(read, teacher_folder, student_folder, layers, pieces=pieces)
    facts.table = [
        ("task", recipe.task + (f": {read.kind}, {', '.join(read.names) or 'one score'}" if recipe.labelled else "")),
        ("texts", texts_row(recipe, len(read.texts), len(read.held_out))),
    ]
    if recipe.teacher:
        facts.table.append(("teacher", f"{recipe.teacher.model}: {layers_of(teacher)} layers, width {width_of(teacher)}"))
        without = "none: the teacher runs in every step" if reads else "none: no term reads the teacher"
        facts.table.append(("teacher cache", cache.line() if cache else without))
    facts.table += [
        ("student", f"{student_row(recipe.student, layers, layers_of(source))}, width {recipe.student.hidden or width_of(source)}"),
        *([("left out", left_out)] if (left_out := left_out_row(recipe, *pooled[1:])) else []),
        *(
            [("vocabulary", saved_by(pieces, int(source.get("vocab_size") or 0), recipe.student.table_width or width_of(source)))]
            if pieces
            else []
        ),
        *cut_rows(recipe.student, source, layers, vocabulary, importance),
        ("training", training_row(recipe)),
        ("best checkpoint by", recipe.select),
        ("evaluate", ", ".join(recipe.evaluate) or "nothing"),
    ]
    for stage, terms in rows:
        facts.table += stage_rows(stage, terms or [])
    facts.table += int8_rows(recipe)
    return facts


def _check_poolings(recipe: recipes.Recipe, names: Sequence[str], depths: tuple[int, int], place: str) -> None:
    """Raise PotstillErrors where teacher or student cannot be pooled by that name; depth 0 where a side is not known."""
    from potstill.models.pooling import CLS_POOLER, check_pooling

    with collect() as attempt:
        for name, depth, side in zip(names, depths, ("teacher", "student")):
            attempt(check_pooling, name, depth or None, f"{place}: {side}.pooling")
        if recipe.masks and names[1] == CLS_POOLER:
            attempt(_refuse, f"{place}: student.pooling", "a network that guesses masked words has no pooler", "take cls")


def _stage(recipe: recipes.Recipe, stage: recipes.Stage, student: int, teacher: int, sizes: Any, rows: int, place: str) -> list[TermSpec]:
    """The terms of a stage, checked against the sizes that are known before any model is loaded; `rows` 0 where the data is not known."""
    from potstill.models.output import INSIDE
    from potstill.training.objective import check_term
    from potstill.training.terms import stage_terms

    terms = stage_terms(stage, student, teacher, place)
    ours, theirs, heads = sizes
    with collect() as attempt:
        for number, term in enumerate(terms):
            where = f"{place}: stages.{stage.name}.terms.{number}"
            if term.loss.needs_teacher and recipe.teacher is None:
                attempt(_refuse, where, f"{term.name} needs a teacher, and the recipe has none", "name one, or drop the term")
            elif ours.width and (theirs is None or theirs.width):
                attempt(check_term, term, ours, theirs or ours, rows, where)
            if term.loss.reads == "attention_scores" and all(heads) and heads[0] != heads[1]:
                attempt(_refuse, where, f"the student has {heads[0]} heads, the teacher {heads[1]}", "give both as many")
            if term.loss.reads == "embedding" and recipe.task != recipes.EMBED:
                attempt(
                    _refuse,
                    where,
                    f"{term.name} reads pooled vectors, and the task {recipe.task} has a head instead",
                    "use cls or mean states",
                )
            if term.loss.reads == "logits" and recipe.task == recipes.EMBED and term.name != "mlm":
                attempt(_refuse, where, f"{term.name} reads logits, and the task embed has none", "name a labelled task, or mlm")
            if term.name == "mlm" and recipe.labelled:
                attempt(_refuse, where, f"mlm predicts masked words, and the task is {recipe.task}", "use hard_label, or set task: mlm")
            of_the_batch = term.loss.reads_pairs or getattr(term.loss, "negatives", None) == "batch"
            if of_the_batch and recipe.training.batch_size < 2:
                attempt(
                    _refuse, f"{place}: training.batch_size", f"{term.name} has nothing to tell apart in a batch of one", "take 2 or more"
                )
            pool, outside = getattr(term.loss, "pool", 0), rows - recipe.training.batch_size
            if pool and outside < pool < rows:  # the loss itself refuses as many as there are texts
                problem = f"{term.name}.count: {pool} negatives are more than the {max(0, outside)} training texts outside a batch"
                attempt(_refuse, where, problem, "take fewer, or a smaller training.batch_size")
            if term.project == "mlp" and term.loss.reads == "embedding" and recipe.student.normalize:
                attempt(_refuse, where, "project: mlp reads vectors before they are normalised", "set student.normalize to false")
            if stage.perturbation and recipe.task == recipes.EMBED and (term.loss.reads_pairs or term.name == "mlm"):
                attempt(_refuse, f"{place}: stages.{stage.name}.perturb", f"does not go with {term.name}", "drop one of them")
            if term.loss.reads in INSIDE:
                attempt(_require_shown, recipe, where)
            if term.loss.reads == "attention_scores" and recipe.student.vocabulary is not None:
                attempt(
                    _refuse,
                    where,
                    f"{term.name} compares pairs of tokens, and the student has a vocabulary of its own",
                    "use hidden_states",
                )
    return terms


def _require_fit(task: Any, recipe: recipes.Recipe, read: Material | None, place: str) -> None:
    """Raise a PotstillError where a task asks what the student will not give: vectors, logits, or logits of these labels."""
    from potstill.tasks.labelled import label_order

    if (task.needs == "logits") != recipe.labelled and not (recipe.task == recipes.MLM and task.needs == "embedding"):
        given = "logits, no vectors" if recipe.labelled else "no logits"
        raise PotstillError(f"{place}: evaluate", f"{task.name} needs {task.needs}, and the task {recipe.task} gives {given}", "drop it")
    if recipe.labelled and read:
        if task.kind != read.kind:
            raise PotstillError(f"{place}: evaluate", f"{task.name} is {task.kind}, the task {recipe.task} is {read.kind}", "drop it")
        label_order(task.labels, read.names, f"{place}: evaluate: {task.name}")


def _rows(recipe: recipes.Recipe, read: Material | None) -> int:
    """Texts of the training set, with as many copies as augmentation may add; 0 where the data is not known."""
    copies = recipe.data.augment.copies if recipe.data.augment is not None else 0
    return len(read.texts) * (1 + copies) if read else 0


def _require_head(folder: Path, read: Material) -> None:
    """Raise a PotstillError where a teacher's logits are not about what the data is about."""
    from potstill.models.heads import saved_head
    from potstill.tasks.labelled import label_order

    kind, labels = saved_head(folder)
    if kind != read.kind:
        way_out = "adapt it with task: mlm first" if read.kind == "mlm" else "fine-tune it on this task"
        has = "has no head" if kind == "embed" else f"has a head for {kind}"
        raise PotstillError("teacher.model", f"{has}, and a term reads logits of {read.kind}", way_out)
    if label_order(read.names, labels, "teacher.model") != list(range(len(read.names))):
        raise PotstillError("teacher.model", f"orders its labels otherwise than the data: {', '.join(labels)}", "fine-tune it on this data")


def _require_shown(recipe: recipes.Recipe, place: str) -> None:
    """Raise a PotstillError where a model computes attention by itself."""
    import transformers

    from potstill.models.recording import shows_attention
    from potstill.models.source import model_folder

    for name in (recipe.teacher.model if recipe.teacher else None, recipe.student.model):
        if name is None:
            continue
        config = config_of(model_folder(name))
        known = config.get("model_type") in transformers.CONFIG_MAPPING
        kind: Any = transformers.MODEL_MAPPING.get(transformers.CONFIG_MAPPING[config["model_type"]], None) if known else None
        if isinstance(kind, type) and not shows_attention(kind):
            raise PotstillError(
                place,
                f"a {config['model_type']} ({name}) computes attention by itself: nothing inside can be read",
                "use hidden_states or logits",
            )


def _require_precision(training: recipes.Training) -> None:
    """Raise a PotstillError where the device, or the precision on it, is not to be had here."""
    from potstill.training.precision import choose_device, choose_precision

    choose_precision(training.precision, choose_device(training.device))


def _refuse(place: str, problem: str, remedy: str) -> None:
    raise PotstillError(place, problem, remedy)


def _teacher_reads(terms: Sequence[TermSpec]) -> frozenset[Field]:
    return frozenset(name for term in terms if term.loss.needs_teacher for name in term.fields(1))


def _estimate(
    recipe: recipes.Recipe, read: Material | None, stages: Sequence[frozenset[Field]], teacher: dict[str, Any]
) -> CacheEstimate | None:
    """What the teacher's cache will come to; None where there is none to be made."""
    if recipe.teacher is None or not recipe.teacher.cache or recipe.task == recipes.MLM or not read or not any(stages):
        return None
    copies = _rows(recipe, read) // len(read.texts)
    return estimate_cache(recipe.teacher, read, copies, stages, width_of(teacher), heads_of(teacher), layers_of(teacher))
