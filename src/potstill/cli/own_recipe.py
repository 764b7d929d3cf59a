"""The recipe that `potstill init` writes: like the first of the recommended ones that passes the check on this data."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from potstill.cli.init import PAIRS, TEXTS, WORDS, Wanted, option
from potstill.data.files.formats import stem_of
from potstill.data.files.own_files import SHARE, first_labels, own_files
from potstill.data.splits import LabelledData
from potstill.errors import PotstillError
from potstill.machine.files import kind_of_place
from potstill.recipe.file import KINDS, LIKE, checked, laid_over, parse_recipe, whole
from potstill.recipe.recipe import Data, Recipe, own_name
from potstill.recipe.yaml_text import dump_inline, load
from potstill.registry import CLASSIFICATION, EMBED, MLM, MULTILABEL, REGRESSION, TAGGING

SPLIT_OF = {"train": "train", "dev": "dev", "valid": "dev", "validation": "dev", "test": "test"}  # a file's name → its split
FEW = 20  # whole numbers: so many different ones are classes, more are a score
READ = 2000  # rows that show what kind their labels are of
BAR = "|"
Part = dict[str, Any]


@dataclass(frozen=True)
class Written:
    """A recipe that passed the check.

    Attributes:
        name: of the recipe.
        base: the shipped recipe that it is like.
        why: it is like that one, and differs from it as it does: a line each.
        text: its YAML, with remarks.
        recipe: the same, read.
    """

    name: str
    base: str
    why: list[str]
    text: str
    recipe: Recipe


def own_recipe(said: Wanted, out: Path | None = None) -> Written:
    """Find the first recipe for this data and these models that passes the check.

    Args:
        said: what the user wants, all of it.
        out: the file that is named for the recipe; None: none is.

    Raises:
        PotstillError: something is wrong with the data, or with a model; or no recipe passes: what is wrong with the plainest,
            and of a model that only a recipe names, which one that is.
    """
    from potstill.check.check import check_recipe

    folder, files = _placed(said.files)
    name = own_name(said.files[0])
    data: Part = {"dir": folder}
    if said.labelled:
        said, found, why = _labelled(said, name, data, files)
        again = f"--teacher runs/{name}-teacher" + (f" --out {out.with_stem(f'{out.stem}-student')}" if out is not None else "")
        tries = _labelled_tries(said, found, f"then distil it: the same command with {again}")
        task: Part = {"task": f"{said.kind}/{name}"}
    else:
        why, data = [], data | _unlabelled(said, files)
        tries = _unlabelled_tries(said)
        task = _searches(folder)
    refused: PotstillError | None = None
    for base, over, reasons in tries:
        told = [*why, *reasons, *([f"not as that recipe has it: {str(refused).splitlines()[0]}"] if refused else [])]
        called = f"{name}-teacher" if base.startswith("finetune/") else name
        text = _text(said, base, {"name": called, **task, "data": data, **over}, told)
        content = load(text)
        recipe = parse_recipe(laid_over(whole(content.pop(LIKE)), content), f"the recipe like {base}")
        try:
            check_recipe(recipe, f"the recipe like {base}")
        except PotstillError as error:
            refused, shipped = error, (base, recipe)
            continue
        return Written(called, base, told, text, recipe)
    assert refused is not None
    _refuse(refused, said, *shipped)


def _refuse(error: PotstillError, said: Wanted, base: str, recipe: Recipe) -> NoReturn:
    """Say why no recipe passes.

    Args:
        error: what is wrong with the last one.
        said: what the user wants.
        base: the shipped recipe that the last one is like.
        recipe: the last one.

    Raises:
        PotstillError: always: `error`, or, where a model is wrong that `base` alone names, that and the options that name another.
    """
    sides = {recipe.student.model: "--student MODEL"}
    if recipe.teacher is None:
        sides[recipe.student.model] += " or --teacher MODEL"
    else:
        sides[recipe.teacher.model] = "--teacher MODEL"
    if error.place not in sides or error.place in (said.teacher, said.student):
        raise error
    problem = f"the recipe {base} brings this model in: {error.problem}"
    raise PotstillError(error.place, problem, f"name another with {sides[error.place]}; {error.remedy}")


def _placed(files: Sequence[str]) -> tuple[str, list[str]]:
    """The folder that all files lie in, and how they are called from there."""
    folders = {str(Path(file).parent) for file in files}
    return (folders.pop(), [Path(file).name for file in files]) if len(folders) == 1 else (".", list(files))


def _labelled(said: Wanted, name: str, data: Part, files: list[str]) -> tuple[Wanted, LabelledData, list[str]]:
    """Put labelled data into `data`; what the user wants with the kind of the labels, the data read, and what is to be said of it.

    Raises:
        PotstillError: something is wrong in the files.
    """
    splits = [SPLIT_OF.get(stem_of(file).lower()) for file in files]
    if len(files) > 1 and all(splits) and len(set(splits)) == len(splits):
        data["file"] = dict(zip(splits, files))
    else:
        data["file"] = files[0] if len(files) == 1 else files
    usual = ("tokens", "tags") if said.kind == TAGGING else ("text", "label")
    named = {"text": said.text, "text_pair": said.text_pair, "label": said.label}
    data |= {key: column for key, column in named.items() if column is not None and (key, column) not in zip(("text", "label"), usual)}
    if said.labels:
        data["labels"] = list(said.labels)
    told = []
    if said.form == WORDS:
        said = replace(said, kind=TAGGING)
    elif said.kind is None:
        kind, reason = _kind_of(first_labels(checked(Data, data, "init: data"), READ), said.label or "label")
        said, told = replace(said, kind=kind), [reason]
    if not isinstance(data["file"], dict) and all(kind_of_place(file) != "a folder" for file in said.files):  # which has splits maybe
        data["split"] = {"dev": SHARE, "test": SHARE}
    if said.group is not None:
        data.setdefault("split", {})["group"] = said.group
    assert said.kind is not None
    try:
        return said, own_files(said.kind, name, checked(Data, data, "init: data")), told
    except PotstillError as error:
        if said.kind != CLASSIFICATION or isinstance(data["file"], dict):
            raise
        data.setdefault("split", {})["stratify"] = False
        try:
            found = own_files(said.kind, name, checked(Data, data, "init: data"))
        except PotstillError:
            raise error from None
        return said, found, [*told, f"rows are parted without regard to their labels: {error.problem}"]


def _kind_of(labels: list[Any], column: str) -> tuple[str, str]:
    """The kind of labels, and why.

    Raises:
        PotstillError: nearly every row has a label of its own, which is then none.
    """
    if any(isinstance(label, list) or BAR in str(label) for label in labels):
        return MULTILABEL, f"some labels are several, in a list or with {BAR} between them: multilabel (else --kind)"
    different = {str(label).strip() for label in labels if label is not None} - {""}  # who reads them all tells of missing ones
    numbers = [_number(label) for label in different]
    if all(number is not None for number in numbers) and (
        len(different) > FEW or any(number is not None and not number.is_integer() for number in numbers)
    ):
        return REGRESSION, f"the labels are {len(different):,} different numbers: regression (else --kind)"
    if len(labels) > FEW and len(different) > len(labels) / 2:
        problem = f"{column!r} has {len(different):,} different values in {len(labels):,} rows"
        raise PotstillError(option("label"), problem, "name the column of the labels, or say what they are with --kind")
    return CLASSIFICATION, f"{len(different):,} different labels, one a row: classification (else --kind)"


def _number(label: str) -> float | None:
    try:
        return float(label)
    except ValueError:
        return None


def _labelled_tries(said: Wanted, data: LabelledData, again: str) -> Iterator[tuple[str, Part, list[str]]]:
    """Shipped recipes, the best first, what is laid over each, and why; `again` is what comes after a recipe that makes a teacher."""
    from potstill.check.shapes import config_of
    from potstill.models.source import model_folder
    from potstill.runtime.architecture import layers_of

    if said.teacher is None:
        student = {"student": {"model": said.student}} if said.student else {}
        yield f"finetune/{said.kind}", student, [f"no teacher is named, so this recipe makes one; {again}"]
        return
    folder = model_folder(said.teacher)
    lacking = _lacks(folder, data)
    if lacking:
        over = {"student": {"model": said.teacher}}
        yield f"finetune/{said.kind}", over, [f"{said.teacher} {lacking}, so this recipe fine-tunes it first; {again}"]
        return
    base, teacher = f"recommended/{said.kind}", {"teacher": {"model": said.teacher}}
    why = [f"{said.teacher} knows these labels, and a student learns of it and of them"]
    own: Part = {"model": said.student} if said.student else {}
    yield base, teacher | ({"student": own} if own else {}), why
    plain = {"vocabulary": None, "embedding_rank": None}
    yield base, teacher | {"student": own | plain}, [*why, "the student keeps its whole vocabulary"]
    if said.student is None:
        half = max(1, layers_of(config_of(folder)) // 2)
        yield (
            base,
            teacher | {"student": {"model": None, "layers": half} | plain},
            [*why, f"the student is cut from the teacher: {half} of its layers"],
        )


def _lacks(folder: Path, data: LabelledData) -> str:
    """What a model lacks to teach the labels of the data; "" for nothing. One that has labels without names is not said to lack them."""
    from potstill.models.heads import saved_head
    from potstill.tasks.labelled import same_labels

    kind, labels = saved_head(folder)
    if kind in (EMBED, MLM):
        return "has no head for labels"
    if kind != data.kind:
        return f"has a head for {kind}"
    unnamed = all(label.startswith("LABEL_") for label in labels) and len(labels) == len(data.labels)
    return "" if kind == REGRESSION or unnamed or same_labels(data.labels, labels, data.numbered) else "was trained on other labels"


def _unlabelled(said: Wanted, files: list[str]) -> Part:
    """Texts without labels as `data` of a recipe names them."""
    if said.form == PAIRS:
        return {"texts": [], "pairs": [{"path": file, "columns": [said.text, said.text_pair]} for file in files]}
    return {"texts": files if said.text is None else [{"path": file, "columns": [said.text]} for file in files]}


def _unlabelled_tries(said: Wanted) -> Iterator[tuple[str, Part, list[str]]]:
    """As `_labelled_tries`."""
    from potstill.check.shapes import config_of
    from potstill.models.source import model_folder
    from potstill.runtime.architecture import layers_of

    base = "recommended/embed" if said.form == TEXTS else "recommended/pairs"
    shipped = whole(base)
    over: Part = {"teacher": {"model": said.teacher}} if said.teacher else {}
    student: Part = {"model": said.student} if said.student else {}
    source = said.student or said.teacher
    layers = int(shipped["student"]["layers"])
    if source and layers_of(config_of(model_folder(source))) < layers:
        layers = student["layers"] = layers_of(config_of(model_folder(source)))
    over |= {"student": student} if student else {}
    what = "texts without labels" if said.form == TEXTS else "pairs of texts"
    why = f"{what}: {layers} layers of {said.student or 'the teacher'} learn the teacher's vectors"
    yield base, over, [why]
    projected = copy.deepcopy(shipped["stages"])
    for term in projected[0]["terms"]:
        term |= {"project": "linear"} if term["loss"] == "embedding_cosine" else {}
        term |= {"weight": 10.0} if term["loss"] == "similarity_mse" else {}  # as in embed/mpnet-to-3-layers
    yield base, over | {"stages": projected}, [f"{why} through a projection"]


def _searches(folder: str) -> Part:
    """What is scored of a search encoder: the search tasks that lie beside its texts."""
    found = sorted(path.stem for path in (Path(folder) / "retrieval").glob("*.jsonl"))
    return {"evaluate": [*(f"retrieval/{name}" for name in found), "cost"]} if found else {}


REMARKS = {
    "task": "its test rows are scored, and what it costs; evaluate: [TASK, …, cost] for others",
    "evaluate": "the search tasks in retrieval/",
    "split": "drawn by a fixed seed: the same rows in every run",
    "student": "its size; see docs/howto/students.md",
    "texts": "a tenth, at most 1,000, is held out",
}


def _text(said: Wanted, base: str, content: Part, why: list[str]) -> str:
    """A recipe as YAML with remarks.

    Args:
        said: what the user wants.
        base: the shipped recipe that it is like.
        content: what is laid over that one.
        why: the recipe is as it is.
    """
    what = KINDS.get(said.kind or "", "texts without labels" if said.form == TEXTS else "pairs of texts")
    lines = [f"# Your own data: {what}. potstill init wrote it, and it passed `potstill check`.", *(f"#   {reason}" for reason in why)]
    lines += [f"# {base} explains what it does: potstill show {base}", f"{LIKE}: {base}"]
    for key, value in content.items():
        if key == "data":
            lines.append("data:")
            lines += [_line(f"  {inner}", each, inner) for inner, each in value.items()]
        else:
            lines.append(_line(key, value, key))
    training = whole(base)["training"]
    shown = {key: training[key] for key in ("epochs", "batch_size", "learning_rate") if key in training}
    return "\n".join([*lines, f"# training: {dump_inline(shown)}   # as it stands there; without the # it is yours to change"]) + "\n"


def _line(key: str, value: Any, name: str) -> str:
    return f"{key}: {dump_inline(value)}" + (f"   # {REMARKS[name]}" if name in REMARKS and value else "")
