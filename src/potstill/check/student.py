"""What a recipe's student cannot be: heads and fields that its kind does not have, terms that do not reach what a stage trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from potstill.check.shapes import Pooled, Sides, vector_width
from potstill.corpus.read import Corpus
from potstill.errors import PotstillError, collect, refuse, warn
from potstill.recipe.recipe import EMBED, Recipe, Stage
from potstill.recipe.student import BiLSTMStudent, StaticStudent, TransformerStudent
from potstill.registry import MLM
from potstill.results import RESULTS_FILE
from potstill.runtime.architecture import width_of
from potstill.runtime.folder import STUDENT, TAGGING

if TYPE_CHECKING:
    from potstill.objective.sizes import TermSpec


def check_kind(recipe: Recipe, read: Corpus | None, source: dict[str, Any], pooled: Pooled, place: str) -> None:
    """Raise PotstillErrors where the recipe asks of a BiLSTM, or of a static student, what it is not.

    Args:
        read: None where the data is not known.
        source, pooled: the configuration of the model that the student takes its pieces from, and how it is pooled.
    """
    student = recipe.student
    if isinstance(student, StaticStudent):
        widest = vector_width(pooled, width_of(source))
        with collect() as attempt:
            if recipe.task != EMBED or recipe.masks:
                problem = "a static student gives vectors of texts and has no head"
                attempt(refuse, f"{place}: student.kind", problem, "use a transformer or a bilstm")
            if widest and student.width > widest:
                problem = f"the source's vectors have {widest} dimensions, and {student.width} are asked"
                attempt(refuse, f"{place}: student.width", problem, f"ask for {widest} at most")
        return
    with collect() as attempt:
        bilstm = isinstance(student, BiLSTMStudent)
        given = {"teacher": recipe.teacher.pooling if recipe.teacher else None, "student": None if bilstm else student.pooling}
        for side, pooling in given.items():
            if recipe.labelled and pooling is not None:
                problem = f"{pooling} is for vectors, and a head of {recipe.task} reads what its own architecture gives it"
                attempt(refuse, f"{place}: {side}.pooling", problem, "drop it, or set task: embed")
        if recipe.labelled and not student.normalize:
            problem = f"false is for vectors, and a head of {recipe.task} gives none"
            attempt(refuse, f"{place}: student.normalize", problem, "drop it, or set task: embed")
        if not isinstance(student, BiLSTMStudent):
            return
        kind = "a language model" if recipe.masks else "words to be tagged" if read is not None and read.kind == TAGGING else None
        if kind is not None:
            attempt(refuse, f"{place}: student.kind", f"a bilstm has no head for {kind}", "use a transformer")
        widest = int(source.get("embedding_size") or width_of(source))
        if student.table == "pca" and widest and student.embedding > widest:
            attempt(
                refuse,
                f"{place}: student.embedding",
                f"{student.embedding} is wider than the source's token table of {widest}, which student.table: pca cuts",
                f"take {widest} at most, or set student.table to random",
            )
        if recipe.task == EMBED:
            attempt(_require_pooling, student, f"{place}: student.pooling")
        elif student.pooling not in ("max", None):
            problem = f"{student.pooling} is for vectors, and before its head a bilstm takes the greatest value over the tokens"
            attempt(refuse, f"{place}: student.pooling", problem, "drop it, or set task: embed")


def check_start(recipe: Recipe, sides: Sides, place: str) -> None:
    """Check that a start which was distilled before is used: a student with a width of its own is built anew, with random weights.

    A model of no run that is no wider than the student is told in a PotstillWarning: it may be a start, or only an architecture.

    Args:
        recipe: the recipe.
        sides: both sides' folders and configurations.
        place: of the recipe.

    Raises:
        PotstillError: the student of another run is named beside sizes.
    """
    student, folder = recipe.student, sides.source_folder
    if not isinstance(student, TransformerStudent) or student.width is None or student.model is None or recipe.teacher is None:
        return
    if folder is None or folder == sides.teacher_folder:
        return
    width = width_of(sides.source)
    problem = f"{student.model} is {width} wide, and student.width: {student.width} builds a student anew, with none of its weights"
    remedy = "set student.layers, width, heads and ffn to null to start from it"
    if folder.name == STUDENT and (folder.parent / RESULTS_FILE).is_file():
        raise PotstillError(f"{place}: student.model", problem, f"{remedy}, or drop student.model")
    if width and width <= student.width:
        warn(f"{place}: student.model", problem, remedy)


def check_align(recipe: Recipe, stages: Sequence[Sequence[TermSpec] | None], place: str) -> None:
    """Check that a student that is to lie in its teacher's space has vectors, one teacher, and a term that pulls it there.

    Args:
        recipe: the recipe.
        stages: terms of each stage; None where something else is wrong with them.
        place: of the recipe.

    Raises:
        PotstillError: it has not.
    """
    if recipe.student.align is None:
        return
    where = f"{place}: student.align"
    if recipe.task != EMBED:
        raise PotstillError(where, f"is for vectors, and the task {recipe.task} gives none", "drop it, or set task: embed")
    if recipe.teacher is None:
        raise PotstillError(where, "needs a teacher, and the recipe has none", "name one, or drop it")
    if recipe.teacher.others:
        raise PotstillError(where, "several teachers share no space that a document could lie in", "name one as teacher.model, or drop it")
    if any(terms is None for terms in stages):
        return
    trained = [term for stage, terms in zip(recipe.stages, stages) if stage.share != 0 for term in terms or ()]
    pulls = [term for term in trained if term.loss.reads == "embedding" and term.loss.needs_teacher and term.loss.same_width]
    if trained and not pulls:
        problem = "no term compares the student's vector with the teacher's own, so that nothing pulls it there"
        raise PotstillError(where, problem, "add {loss: embedding_cosine}, or drop it")


def check_reach(recipe: Recipe, stage: Stage, terms: Sequence[TermSpec], layers: int, kind: str, pooling: str, place: str) -> None:
    """Raise PotstillErrors where terms read what the student does not have, or nothing of what the stage trains.

    Args:
        layers: of the student.
        kind: of its head, "embed" for none; "" where it is not known.
        pooling: by which its vectors come out of its layers; "" where it is not known, or a layer of its own stands behind it.
    """
    from potstill.recipe.recipe import top_layers

    here = f"{place}: stages.{stage.name}"
    with collect() as attempt:
        if stage.train in ("head", "output") and kind in (EMBED, MLM):
            attempt(refuse, f"{here}.train", f"{stage.train} is of a labelled task", "name top:<layers>, or all")
        if top_layers(stage.train) > layers:
            way_out = f"name top:{layers} at most, or all" if layers else "drop train"
            attempt(refuse, f"{here}.train", f"{stage.train} of a student of {layers} layers", way_out)
        if stage.perturbation and stage.train != "all":
            attempt(refuse, f"{here}.train", "perturb moves the token vectors, which no gradient reaches", "train all, or drop perturb")
        for number, term in enumerate(terms):
            attempt(_check_term, recipe, stage, term, layers, kind, pooling, f"{here}.terms.{number}")


def _check_term(recipe: Recipe, stage: Stage, term: TermSpec, layers: int, kind: str, pooling: str, where: str) -> None:
    from potstill.models.output import INSIDE
    from potstill.models.pooling import POOLINGS

    student, reads = recipe.student, term.loss.reads
    if reads == "pooled" and kind in (EMBED, MLM, TAGGING):
        raise PotstillError(where, f"{term.name} reads what a text's logits are made of, and there are none", "use cls or mean states")
    if isinstance(student, BiLSTMStudent):
        if reads in INSIDE:
            raise PotstillError(where, f"{term.name} reads {reads}, and a bilstm has no attention", "use hidden states or logits")
        if student.embedding != student.hidden and any(ours == 0 for ours, _ in term.pairs):
            problem = f"{term.name} reads layer 0, which is {student.embedding} wide, beside layers of {student.hidden}"
            raise PotstillError(where, problem, f"set student.embedding to {student.hidden}, or leave layer 0 out")
    if stage.train == "all":
        return
    read = POOLINGS[pooling].numbers(layers) if reads == "embedding" and pooling in POOLINGS else [ours for ours, _ in term.pairs]
    if not _reached(stage.train, reads, max(read, default=None), layers):
        raise PotstillError(where, f"{term.name} reads {reads}, and train: {stage.train} leaves all of it as it is", "train more")


def _reached(train: str, reads: str, highest: int | None, layers: int) -> bool:
    """Whether a gradient of what a term reads, of states those of layer `highest`, reaches what is trained."""
    from potstill.recipe.recipe import top_layers

    if highest is not None:
        return highest > layers - top_layers(train)
    return not (train == "output" and reads == "pooled")


def _require_pooling(student: BiLSTMStudent, place: str) -> None:
    """Check how a BiLSTM is pooled.

    Raises:
        PotstillError: the pooling asks for a BERT's pooler, or puts the token table beside layers of another width.
    """
    from potstill.models.pooling import CLS_POOLER, POOLINGS

    if student.pooling == CLS_POOLER:
        raise PotstillError(place, f"{CLS_POOLER} is a BERT's, and a bilstm has no pooler", "take max or mean")

    pooling = POOLINGS.get(student.pooling or "")
    if pooling is not None and student.embedding != student.hidden and 0 in pooling.numbers(student.layers, place):
        problem = f"{pooling.name} reads layer 0, which is {student.embedding} wide, beside layers of {student.hidden}"
        raise PotstillError(place, problem, f"set student.embedding to {student.hidden}, or take max or mean")
