"""What `distil` is given in memory, written into the run folder and named by a recipe, which then repeats the run."""

from __future__ import annotations

import copy
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.data.files.given import LABEL, class_names, labelled_rows, texts_given
from potstill.data.splits import SPLITS
from potstill.errors import PotstillError, did_you_mean, shown, warn
from potstill.evaluation.given import write_rows
from potstill.machine.files import kind_of_place, write_text
from potstill.models.given import called, name_of, save_given
from potstill.models.source import model_folder
from potstill.recipe.file import content_of
from potstill.recipe.recipe import Recipe
from potstill.registry import COST, EMBED, MLM
from potstill.runtime.folder import CLASSIFICATION, HEADS, MULTILABEL, REGRESSION

if TYPE_CHECKING:
    from potstill.models.given import Model

GIVEN = "given"  # in the run folder
TASK = "given"  # the last part of the name of a labelled task whose rows are given
VALIDATION = "validation"  # what data sets of Hugging Face's call dev


@dataclass(frozen=True)
class Given:
    """Parts of a recipe in memory, or by name. None: as the recipe has it.

    Attributes:
        teacher, student: models; the student's is the one that it is cut from.
        texts: texts; with labels also pairs, lists of words, rows with a label, or a mapping of splits to such.
        labels: one for each text, or the name of the rows' field that holds them.
        layers: of the student.
    """

    teacher: Model | None = None
    student: Model | None = None
    texts: Any = None
    labels: Any = None
    layers: int | Sequence[int] | None = None

    @property
    def anything(self) -> bool:
        """Whether any part is given."""
        return any(part is not None for part in (self.teacher, self.student, self.texts, self.labels, self.layers))

    def sketch(self, recipe: Recipe | Mapping[str, Any] | str | Path | None, out: str | Path | None) -> dict[str, Any]:
        """A recipe of the name and the settings that the run will have; data and models in it stand for those given.

        Args:
            recipe: that the parts are put into; None for the one that suits them.
            out: the run folder, whose name the run has where there is no recipe.

        Raises:
            PotstillError: there is neither a recipe nor all that one is made of, or a text stands for a recipe's name.
        """
        if recipe is None and (self.teacher is None or self.texts is None):
            missing = "a teacher" if self.teacher is None else "texts"
            raise PotstillError("distil", f"neither a recipe nor {missing} is given", "give a recipe, or teacher, texts and layers")
        if recipe is None and self.student is None and self.layers is None:
            raise PotstillError("distil", "nothing says how small the student is to be", "give layers=3, or the student's model")
        content = self._base(recipe, EMBED if self.labels is None else CLASSIFICATION, out)
        if self.labels is not None:
            content["task"] = f"{CLASSIFICATION}/{TASK}"
        if self.teacher is not None:
            content["teacher"] = {"model": GIVEN}
        return content

    def written(self, recipe: Recipe | Mapping[str, Any] | str | Path | None, folder: Path, out: str | Path | None) -> dict[str, Any]:
        """The recipe with all parts in it; what is in memory is written into the run folder.

        Args:
            recipe: as in `sketch`.
            folder: of the run.
            out: as in `sketch`.

        Raises:
            PotstillError: a model, a text or a label is none, or they do not go together.
        """
        place = folder / GIVEN
        teacher = self._model(self.teacher, place, "teacher")
        kind = EMBED if self.texts is None else self._kind(recipe, teacher.get("model"))
        content = self._base(recipe, kind, out)
        if teacher:
            kept = {key: value for key, value in (content.get("teacher") or {}).items() if key not in ("model", "models", "name")}
            content["teacher"] = {**kept, **teacher}
        student = dict(content.get("student") or {})
        if self.student is not None:
            student["model"] = self._model(self.student, place, "student")["model"]
        if self.layers is not None:
            student["layers"] = self.layers if isinstance(self.layers, int) else list(self.layers)
        content["student"] = student
        if self.labels is not None and self.texts is None:
            raise PotstillError("labels", "are given, and no texts", "give texts=[…] too")
        if self.texts is not None and kind in HEADS:
            self._put_rows(content, kind, place)
        elif self.texts is not None:
            needless = f"and {'the teacher' if recipe is None else 'the recipe'} has no use for them"
            way_out = "give a teacher that was fine-tuned on the task, or a recipe with a task that has labels"
            if self.labels is not None:
                raise PotstillError("labels", f"are given, {needless}", way_out)
            if self._put_texts(content, place):
                warn("texts", f"have labels, {needless}", f"to learn from them {way_out}")
        return content

    def _kind(self, recipe: Recipe | Mapping[str, Any] | str | Path | None, teacher: str | None) -> str:
        """What the texts are for: a kind of labels, or EMBED; by the recipe's task, without a recipe by the teacher's head."""
        from potstill.models.heads import saved_kind

        if recipe is None:
            return saved_kind(model_folder(str(teacher)))
        task = str(content_of(recipe).get("task", EMBED))
        family = task.partition("/")[0]
        if task in (EMBED, MLM) or family in HEADS:
            return EMBED if task in (EMBED, MLM) else family
        return REGRESSION if task == "glue/stsb" else CLASSIFICATION

    def _base(self, recipe: Recipe | Mapping[str, Any] | str | Path | None, kind: str, out: str | Path | None) -> dict[str, Any]:
        """The recipe as plain data; of none the shipped one for the kind of teacher, named after the run folder."""
        if recipe is not None:
            return copy.deepcopy(content_of(recipe))
        if kind == EMBED:
            content = content_of("embed/python-docs" if self.student is None else "embed/mpnet-to-3-layers")
            content["training"].pop("select", None)
            content["data"] = {"dir": "."}
            content["evaluate"] = [COST]
        else:
            known = f"recommended/{CLASSIFICATION if kind == MULTILABEL else kind}"
            content = content_of("kd/mrpc" if self.student is None else known)
            if kind == MULTILABEL:
                for term in (term for stage in content["stages"] for term in stage["terms"] if term["loss"] == "soft_target"):
                    term["multilabel"] = True
        name = Path(out).name if out is not None else ""
        content["name"] = name if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", name) else "distilled"
        return content

    def _model(self, model: Model | None, place: Path, side: str) -> dict[str, str]:
        """A side's model, as a recipe names it; what is in memory is saved."""
        if model is None:
            return {}
        if (name := name_of(model, side)) is not None:
            return {"model": name}
        return {"model": str(save_given(model, place, side)), "name": called(model)}

    def _put_texts(self, content: dict[str, Any], place: Path) -> bool:
        """Put unlabelled texts into a recipe, written as JSON lines, or the file that holds them.

        Returns:
            Whether there are labels beside the texts that are given, which are left out.

        Raises:
            PotstillError: a text stands where a file's name is wanted, or no text is given.
        """
        data, labelled = dict(content.get("data") or {}), False
        if isinstance(self.texts, (str, os.PathLike)):
            if kind_of_place(os.fspath(self.texts)) is None:
                raise PotstillError("texts", f"{shown(str(self.texts))} is no file", "name a file of texts, or give a list of them")
            file = Path(self.texts)
        else:
            rows = list(self.texts) if isinstance(self.texts, Iterator) else self.texts
            file = _write_texts(_some(texts_given(rows), "texts", "text"), place)
            labelled = any(isinstance(row, Mapping) and LABEL in row for row in rows)
        folder = str(data.get("dir") or ".")
        data["texts"] = [os.path.relpath(file, folder) if kind_of_place(folder) == "a folder" else str(file.absolute())]
        content["data"] = data
        return labelled

    def _put_rows(self, content: dict[str, Any], kind: str, place: Path) -> None:
        """Put labelled rows into a recipe, written as the data of a task of the user's own."""
        task, splits = f"{kind}/{TASK}", _splits(self.texts)
        places = {split: "texts" if split == "train" else split for split in splits}
        rows = {split: _some(labelled_rows(given, self.labels, places[split]), places[split], "row") for split, given in splits.items()}
        own = place / f"rows-{hashlib.sha256(repr(rows).encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
        for split, found in rows.items():
            write_rows(task, split, found, own)
        data = {key: value for key, value in (content.get("data") or {}).items() if key not in ("texts", "pairs", "transfer")}
        names = class_names(splits["train"], self.labels if isinstance(self.labels, str) else None)
        content["data"] = {**data, "dir": str(own), **({"labels": names} if names and kind == CLASSIFICATION else {})}
        content["task"], content["evaluate"] = task, [task, COST]


def _some(found: list[Any], place: str, what: str) -> list[Any]:
    """What was given, once it is known not to be nothing.

    Raises:
        PotstillError: it is.
    """
    if not found:
        raise PotstillError(place, "is empty", f"give at least one {what}")
    return found


def _splits(texts: Any) -> dict[str, Any]:
    """Split → what is given of it.

    Raises:
        PotstillError: a mapping has other keys than splits, or no rows to train on.
    """
    if not isinstance(texts, Mapping):
        return {"train": texts}
    found = {"dev" if key == VALIDATION else str(key): value for key, value in texts.items()}
    for key in found:
        if key not in SPLITS:
            raise PotstillError("texts", f"has a part {key!r}", did_you_mean(key, [*SPLITS, VALIDATION]))
    if "train" not in found:
        raise PotstillError("texts", f"has no part 'train' (there: {', '.join(map(str, texts))})", "give rows to train on")
    return found


def _write_texts(texts: Sequence[str], place: Path) -> Path:
    import json

    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    file = place / f"texts-{hashlib.sha256(lines.encode()).hexdigest()[:12]}.jsonl"
    if not file.is_file():
        write_text(file, lines)
    return file
