"""One row of the objective, the sizes of both sides, and whether they fit."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from potstill.errors import PotstillError
from potstill.losses.base import Loss
from potstill.models.output import FIELDS, LAYERED, Field
from potstill.objective.schedule import Schedule


@dataclass(frozen=True)
class TermSpec:
    """One row of the objective.

    Attributes:
        name: of the loss.
        loss: the loss itself, not built yet; an Objective builds it.
        weight: over the stage's progress.
        pairs: (student layer, teacher layer) of a loss that reads layers; empty for others.
        project: how the student's vectors are projected. "linear" takes the student's width to the teacher's with one
            matrix for each pair, "shared" with one for all pairs; "none" does not project. "mlp" is a dense layer and
            tanh that keeps the width: the head that SimCSE trains with and leaves out afterwards.
        options: options of the loss that change with the stage's progress, such as a temperature.
    """

    name: str
    loss: Loss
    weight: Schedule = field(default_factory=Schedule)
    pairs: Sequence[tuple[int, int]] = ()
    project: str = "none"
    options: Mapping[str, Schedule] = field(default_factory=dict)

    @property
    def layered(self) -> bool:
        """Whether the loss reads layers, and so gets a tuple of tensors."""
        return self.loss.reads in LAYERED

    def fields(self, side: int) -> list[Field]:
        """What the loss reads of one side.

        Args:
            side: 0 for the student, 1 for the teacher.
        """
        return [Field(self.loss.reads, pair[side]) for pair in self.pairs] if self.layered else [Field(self.loss.reads)]


@dataclass(frozen=True)
class Sizes:
    """Widths of what one side gives.

    Attributes:
        embedding: of the pooled vectors.
        width: of the hidden states.
        logits: number of logits; 0 without a head.
        pooled: of what the output layer reads; 0 where it is that of the hidden states.
        inside: of queries, keys and values; 0 where it is that of the hidden states.
    """

    embedding: int
    width: int
    logits: int = 0
    pooled: int = 0
    inside: int = 0

    def of(self, name: str) -> int:
        """The last axis of a field.

        Args:
            name: of the field, as models/output.py has it.

        Returns:
            The width; 0 for attention scores, whose last axis is the length of the batch.
        """
        widths = {"embedding": self.embedding, "logits": self.logits, "heads": 0}
        widths |= {"hidden": self.width, "inside": self.inside or self.width, "pooled": self.pooled or self.width}
        return widths[FIELDS[name].width]


def check_widths(term: TermSpec, student: Sizes, teacher: Sizes, place: str = "terms") -> None:
    """Check that the widths of both sides go with a term's loss and projection.

    Args:
        term: the row.
        student: widths of the student.
        teacher: widths of the teacher.
        place: where the recipe has its terms, for errors.

    Raises:
        PotstillError: a projection of a field that has no width to project, or a loss that compares vectors of
            different widths without one.
    """
    ours, theirs = student.of(term.loss.reads), teacher.of(term.loss.reads)
    if term.project != "none" and (not ours or term.loss.reads == "logits"):
        raise PotstillError(f"{place}: {term.name}", f"{term.loss.reads} have no width to project", "drop `project`")
    if term.loss.needs_teacher and term.loss.same_width and term.project in ("none", "mlp") and ours and theirs and ours != theirs:
        if term.loss.reads == "logits":
            raise PotstillError(
                f"{place}: {term.name}", f"the student has {ours} logits, the teacher {theirs}", "fine-tune the teacher on this task"
            )
        raise PotstillError(
            f"{place}: {term.name}", f"the student's vectors have {ours} dimensions, the teacher's {theirs}", "add project: linear"
        )


def on_prefixes(term: TermSpec) -> bool:
    """Whether a term is computed on the first dimensions of the student's vector, too, where a student is taught so.

    It is where it compares cosines within the batch, or vectors behind a linear map, of which the first columns are taken. A loss that
    compares number by number needs all of them, and a head of the objective's own (mlp) reads them all.
    """
    compares_numbers = term.loss.needs_teacher and term.loss.same_width
    return term.loss.reads == "embedding" and (term.project == "linear" or (term.project == "none" and not compares_numbers))


def check_term(term: TermSpec, student: Sizes, teacher: Sizes, rows: int = 0, place: str = "terms") -> None:
    """Check that an Objective will take a term, without the memory that this would cost.

    The term stays as it is: what is built is a copy, on the meta device. A PotstillError from `check_widths` comes
    through.

    Args:
        term: the row.
        student: widths of the student.
        teacher: widths of the teacher.
        rows: texts of the training set. 0 where it is not known yet: only the widths are checked then.
        place: where the recipe has its terms, for errors.

    Raises:
        PotstillError: the loss refuses its options for these sizes.
    """
    check_widths(term, student, teacher, place)
    if not rows:
        return
    try:
        with torch.device("meta"):
            build_loss(replace(term, loss=copy.deepcopy(term.loss)), student, teacher, rows)
    except PotstillError as error:
        raise PotstillError(f"{place}: {error.place}", error.problem, error.remedy) from error


def build_loss(term: TermSpec, student: Sizes, teacher: Sizes, rows: int) -> None:
    """Build a term's loss in place, for what it gets after the term's projection.

    A PotstillError from the loss comes through: it refuses its options for these sizes.

    Args:
        term: the row.
        student: widths of the student.
        teacher: widths of the teacher.
        rows: texts of the training set.
    """
    ours, theirs = student.of(term.loss.reads), teacher.of(term.loss.reads)
    term.loss.build(ours if term.project in ("none", "mlp") else theirs, theirs, max(1, len(term.pairs)), rows)
