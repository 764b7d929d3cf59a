"""Whether the models that a recipe names are what it uses them as: loaded once, before any work, and looked at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.check.shapes import Sides
from potstill.check.teacher import check_head
from potstill.corpus.read import Corpus
from potstill.errors import PotstillError, collect
from potstill.recipe.recipe import EMBED, MLM, Recipe, Training
from potstill.recipe.student import TransformerStudent
from potstill.student.make import load_source

if TYPE_CHECKING:
    import torch

    from potstill.models.encoder import EncoderModel
    from potstill.objective.sizes import TermSpec
    from potstill.teacher.make import LoadedTeacher

Attempt = Callable[..., Any]
NOT_EXPORTED = ("canine", "longformer", "xlnet")  # torch.onnx makes no graph of them, or one for texts of one length
PLAIN = "name an encoder with a plain stack of layers, for example a BERT"


@dataclass(frozen=True)
class Models:
    """Both sides as a run will load them; None of a side that the recipe does not have, or that cannot be loaded.

    Attributes:
        loaded: the teacher.
        source: that the student is made of.
    """

    loaded: LoadedTeacher | None = None
    source: EncoderModel | None = None

    @property
    def teacher(self) -> EncoderModel | None:
        """The teacher's model."""
        return None if self.loaded is None else self.loaded.model


def load_models(recipe: Recipe, sides: Sides, corpus: Corpus, asked: Collection[str], attempt: Attempt) -> Models:
    """Load both sides. What is wrong with their folders, or with the teacher's head, is remembered by `attempt` (errors.collect).

    Args:
        recipe: the recipe.
        sides: the folders.
        corpus: what the recipe trains on.
        asked: names of the fields that terms read of the teacher.
        attempt: of `collect`.
    """
    loaded: LoadedTeacher | None = attempt(_teacher, recipe, sides.teacher_folder, corpus, asked) if sides.teacher_folder else None
    if sides.source_folder is None:
        return Models(loaded)
    same = sides.source_folder == sides.teacher_folder
    if same and loaded is None:  # the same mistakes again
        return Models()
    return Models(loaded, attempt(load_source, recipe, corpus, sides.source_folder, loaded.model if loaded is not None and same else None))


def choose_machine(training: Training, models: Models) -> tuple[torch.device, torch.dtype]:
    """The device and the precision of a run, chosen here and nowhere else.

    Args:
        training: the recipe's.
        models: that must run in the precision. `auto` is float32 where one of them cannot.

    Raises:
        PotstillError: there is no such device, the precision is not for it, or a model cannot run in it.
    """
    import torch

    from potstill.machine.precision import choose_device, choose_precision
    from potstill.models.loading import try_network

    device = choose_device(training.device)
    precision = choose_precision(training.precision, device)
    if precision == torch.float32:
        return device, precision
    for model in {id(model): model for model in (models.teacher, models.source) if model is not None}.values():
        try:
            try_network(model.network, f"model ({model.network.config.model_type})", precision)
        except PotstillError as error:
            if training.precision == "auto":
                return device, torch.float32
            name = str(precision).removeprefix("torch.")
            raise PotstillError("training.precision", f"in {name} {error.problem}", "set training.precision=fp32") from error
    return device, precision


def check_use(recipe: Recipe, models: Models, stages: Sequence[Sequence[TermSpec] | None], place: str) -> None:
    """Raise PotstillErrors where a model has no layers to be cut or read in the way that the recipe does.

    Vectors and logits need none: any encoder that transformers loads gives them.

    Args:
        recipe: the recipe.
        models: both sides.
        stages: terms of each stage; None where something else is wrong with them.
        place: of the recipe.
    """
    from potstill.models.loading import require_states, try_network
    from potstill.models.output import INSIDE, LAYERED

    states: dict[int, int] = {}
    with collect() as attempt:
        if recipe.teacher is not None and recipe.teacher.others:
            attempt(_require_means, recipe, stages, place)
        if models.source is not None and isinstance(recipe.student, TransformerStudent):
            remedy = f"{PLAIN}, as student.model; this one can teach by its vectors and logits"
            attempt(_require_stack, models.source, f"{place}: student", "a student is cut from them or built like them", remedy)
            attempt(_require_export, recipe, models.source, place)
        if models.teacher is not None and any(stage.dual for stage in recipe.stages):
            attempt(_require_stack, models.teacher, f"{place}: teacher.model", "they are taught along one by one", PLAIN)
        for stage, terms in zip(recipe.stages, stages):
            for number, term in enumerate(terms or ()):
                where = f"{place}: stages.{stage.name}.terms.{number}"
                sides = [models.source if isinstance(recipe.student, TransformerStudent) else None, models.teacher]
                for model in sides[: 2 if term.loss.needs_teacher else 1]:
                    if model is not None and term.loss.reads in INSIDE:
                        attempt(_require_stack, model, where, f"{term.name} reads what is inside them", "use embedding or logits")
                    if model is not None and term.loss.reads in LAYERED:
                        states[id(model)] = states.get(id(model)) or try_network(model.network, where)
                        attempt(require_states, model.network, states[id(model)], where)


def _teacher(recipe: Recipe, folder: Path, corpus: Corpus, asked: Collection[str]) -> LoadedTeacher:
    from potstill.models.output import EMBEDDING
    from potstill.models.source import model_folder
    from potstill.teacher.make import LoadedTeacher

    assert recipe.teacher is not None
    others = [model_folder(name) for name in recipe.teacher.others]
    for each, name in zip((folder, *others), (recipe.teacher.model, *recipe.teacher.others)) if recipe.task != EMBED else ():
        check_head(recipe, each, corpus, asked, f"teacher.models: {name}" if others else "teacher.model")
    found = LoadedTeacher(recipe.teacher, folder, corpus.numbered, others, recipe.task)
    for teacher in found.all:  # now, and for the whole run
        if teacher.model.dimension != found.model.dimension and EMBEDDING.name in asked:
            widths = f"{teacher.model.dimension} wide, and those of the first {found.model.dimension}"
            raise PotstillError("teacher.models", f"vectors of {teacher.folder.name} are {widths}: no mean", "name models of one width")
    return found


def _require_means(recipe: Recipe, stages: Sequence[Sequence[TermSpec] | None], place: str) -> None:
    """Check that several teachers are read by what has a mean: logits and vectors.

    Raises:
        PotstillError: a term reads something else, or they are language models, of which one is taught along or sees masks.
    """
    from potstill.models.output import EMBEDDING, LOGITS

    if recipe.task == MLM:
        raise PotstillError(f"{place}: teacher.models", "several language models are not averaged", "name one as teacher.model")
    for stage, terms in zip(recipe.stages, stages):
        for number, term in enumerate(terms or ()):
            if term.loss.needs_teacher and term.loss.reads not in (EMBEDDING.name, LOGITS.name):
                raise PotstillError(
                    f"{place}: stages.{stage.name}.terms.{number}",
                    f"{term.name} reads {term.loss.reads}, which of several teachers have no mean",
                    "use terms of logits or embedding, or one teacher",
                )


def _require_stack(model: EncoderModel, place: str, why: str, remedy: str) -> None:
    """Check that a model has one plain stack of layers.

    Raises:
        PotstillError: it has none, or several.
    """
    config = model.network.config
    if not config.num_hidden_layers:
        raise PotstillError(place, f"a {config.model_type} has no layers, and {why}", remedy)
    try:
        model.stack_place()
    except PotstillError as error:
        problem = f"the {config.num_hidden_layers} layers of this {config.model_type} are shared or lie apart, and {why}"
        raise PotstillError(place, problem, remedy) from error


def _require_export(recipe: Recipe, source: EncoderModel, place: str) -> None:
    """Check that a student of a source can be exported where the recipe wants it.

    Raises:
        PotstillError: it is of a family that cannot.
    """
    kind = source.network.config.model_type
    if recipe.export.onnx and kind in NOT_EXPORTED:
        raise PotstillError(f"{place}: export.onnx", f"a {kind} cannot be exported by torch.onnx", "set export.onnx=false")
