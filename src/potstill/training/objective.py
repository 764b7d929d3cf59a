"""The table of terms: pick fields and layers, project, weigh, sum, and report each part by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.losses.base import Loss
from potstill.models.output import INSIDE, LAYERED, EncoderOutput, Field
from potstill.training.processes import SHARE, whole_batch
from potstill.training.schedule import Schedule


@dataclass(frozen=True)
class TermSpec:
    """One row of the objective.

    Attributes:
        weight: over the stage's progress.
        pairs: (student layer, teacher layer) of a loss that reads layers; empty for others.
        project: "linear" takes the student's width to the teacher's with one matrix for each pair,
            "shared" with one for all, "none" not at all. "mlp" is a dense layer and tanh that keeps the
            width: the head that SimCSE trains with and leaves out afterwards.
        options: options of the loss that change with the stage's progress (a temperature).
    """

    name: str
    loss: Loss
    weight: Schedule = field(default_factory=Schedule)
    pairs: Sequence[tuple[int, int]] = ()
    project: str = "none"
    options: Mapping[str, Schedule] = field(default_factory=dict)

    @property
    def layered(self) -> bool:
        return self.loss.reads in LAYERED

    def fields(self, side: int) -> list[Field]:
        """What the loss reads of the student (side 0) or of the teacher (side 1)."""
        return [Field(self.loss.reads, pair[side]) for pair in self.pairs] if self.layered else [Field(self.loss.reads)]


@dataclass(frozen=True)
class Sizes:
    """Sizes of one side: of the pooled vectors, the hidden states, the logits.

    Attributes:
        pooled: of what the output layer reads; 0: as hidden states.
        inside: of queries, keys and values; 0: as hidden states.
    """

    embedding: int
    width: int
    logits: int = 0
    pooled: int = 0
    inside: int = 0

    def of(self, name: str) -> int:
        """The last axis of a field; 0 where it is no width that a projection could change."""
        whole = dict.fromkeys(INSIDE, self.inside or self.width) | {"attention_scores": 0}
        whole |= {"embedding": self.embedding, "logits": self.logits, "pooled": self.pooled or self.width}
        return whole.get(name, self.width)


class Objective(nn.Module):
    """L = Σ_k w_k · L_k(P_k(student), teacher).

    The projections, and what a loss has of its own, are parameters of this module: they are
    trained with the student and are never saved with it.

    Args:
        terms: the rows.
        student, teacher: sizes of both sides; no teacher where no term reads one.
        rows: texts of the training set.

    Raises:
        PotstillError: widths differ where a loss compares them and no projection is asked for.
    """

    def __init__(self, terms: Sequence[TermSpec], student: Sizes, teacher: Sizes | None = None, rows: int = 0) -> None:
        super().__init__()
        other = teacher or student
        for term in terms:
            check_widths(term, student, other)
        self.terms = list(terms)
        self.names = _distinct([term.name for term in terms])
        self.losses = nn.ModuleList(term.loss for term in terms)
        self.projections = nn.ModuleList(_projection(term, student, other) for term in terms)
        for term in terms:
            _build(term, student, other, rows)
        self.set_progress(0.0)

    def inherit(self, earlier: Objective) -> None:
        """Go on with what the same rows of an earlier stage were taught; modules are shared, so it may be trained after this call.

        LRC-BERT's W, taught by the first stage, is what its second stage begins with. A loss with maps or
        a memory of its own goes on with them where its options are the same: under others they would mean
        something else.
        """
        rows = _numbered(earlier.terms)
        for row, number in _numbered(self.terms).items():
            if row not in rows:
                continue
            self.projections[number] = earlier.projections[rows[row]]
            term, other = self.terms[number], earlier.terms[rows[row]]
            if _settings(term) == _settings(other) and _shapes(term.loss) == _shapes(other.loss):
                self.losses[number] = other.loss
                self.terms[number] = replace(term, loss=other.loss)

    @property
    def student_reads(self) -> frozenset[Field]:
        """All that the student has to compute."""
        return frozenset(field for term in self.terms for field in term.fields(0))

    @property
    def teacher_reads(self) -> frozenset[Field]:
        """All that the teacher has to compute, or a cache to hold."""
        return frozenset(field for term in self.terms if term.loss.needs_teacher for field in term.fields(1))

    @property
    def pool(self) -> int:
        """Rows of the training set to draw as negatives for a batch."""
        return max(_pool(term.loss) for term in self.terms)

    def set_progress(self, progress: float) -> None:
        """Take weights and scheduled options to where the stage is: 0 at its first step, 1 at its last."""
        self.weights = [term.weight(progress) for term in self.terms]
        for term in self.terms:
            for name, schedule in term.options.items():
                setattr(term.loss, name, schedule(progress))

    def projected(self, number: int, student: EncoderOutput) -> tuple[Tensor, ...]:
        """What term `number` reads of the student, one tensor a field, after the term's projection; fp32.

        Under autocast the projection is one more matrix of the student and multiplies as the others do: of
        every token it costs as much as a layer, in fp32 three to four times that.
        """
        project, fields = self.projections[number], tuple(student[field].float() for field in self.terms[number].fields(0))
        if isinstance(project, nn.ModuleList):
            return tuple(one(value).float() for one, value in zip(project, fields, strict=True))
        return fields

    def forward(
        self,
        student: EncoderOutput,
        teacher: EncoderOutput | None,
        batch: Mapping[str, Tensor],
        negatives: tuple[EncoderOutput, Mapping[str, Tensor]] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and each term's unweighted value (detached) by name.

        Args:
            negatives: the teacher's answers for `pool` other rows, and those rows' own part of the data.
        """
        parts = []
        projected = [self.projected(number, student) for number in range(len(self.terms))]
        # fp32 with autocast off: a cosine's squared norm and a KL's small numbers do not survive half precision.
        with torch.autocast(student[self.terms[0].fields(0)[0]].device.type, enabled=False):
            for ours, term, loss in zip(projected, self.terms, self.losses, strict=True):
                theirs: tuple[Tensor, ...] | None = None
                if loss.needs_teacher:
                    assert teacher is not None
                    theirs = tuple(teacher[field].float() for field in term.fields(1))
                own: Mapping[str, Any] = batch
                if negatives is not None and _pool(loss):
                    output, rows = negatives
                    own = {
                        **batch,
                        "negatives": tuple(output[field].float() for field in term.fields(1)),
                        "negatives_mask": output.mask,
                        **rows,
                    }
                whole = SHARE not in batch or loss.whole_batch
                if SHARE in batch and whole:
                    ours, theirs, own = whole_batch(ours, theirs, own)
                part = loss(ours, theirs, own) if term.layered else loss(ours[0], theirs[0] if theirs else None, own)
                parts.append(part if whole else part * batch[SHARE])
            total = torch.stack([weight * part for weight, part in zip(self.weights, parts, strict=True)]).sum()
        return total, {name: part.detach() for name, part in zip(self.names, parts, strict=True)}


def check_widths(term: TermSpec, student: Sizes, teacher: Sizes, place: str = "terms") -> None:
    """Raise a PotstillError where `term` compares vectors of different widths without a projection."""
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


def _row(term: TermSpec) -> tuple[object, ...]:
    """What makes two rows the same to a projection: everything but weights and options."""
    return (term.name, term.loss.reads, tuple(term.pairs), term.project)


def _numbered(terms: Sequence[TermSpec]) -> dict[tuple[object, int], int]:
    """Each row, the second of two that are the same told from the first, and its number."""
    rows = [_row(term) for term in terms]
    return {(row, rows[:number].count(row)): number for number, row in enumerate(rows)}


def _settings(term: TermSpec) -> tuple[frozenset[str], dict[str, object]]:
    """The options of a row's loss that move, and what the others are."""
    kept = {name: value for name, value in vars(term.loss).items() if not name.startswith("_") and name != "training"}
    return frozenset(term.options), {name: value for name, value in kept.items() if name not in term.options}


def _shapes(loss: Loss) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in loss.state_dict().items()}


def check_term(term: TermSpec, student: Sizes, teacher: Sizes, rows: int = 0, place: str = "terms") -> None:
    """Raise a PotstillError for what an Objective would refuse, without the memory that it would take.

    Args:
        rows: 0 where the training set is not known yet: what depends on it is then left open.
    """
    check_widths(term, student, teacher, place)
    if not rows:
        return
    try:
        with torch.device("meta"):
            _build(term, student, teacher, rows)
    except PotstillError as error:
        raise PotstillError(f"{place}: {error.place}", error.problem, error.remedy) from error


def _build(term: TermSpec, student: Sizes, teacher: Sizes, rows: int) -> None:
    ours, theirs = student.of(term.loss.reads), teacher.of(term.loss.reads)
    term.loss.build(ours if term.project in ("none", "mlp") else theirs, theirs, max(1, len(term.pairs)), rows)


def _pool(loss: nn.Module) -> int:
    """Rows of the training set that a loss wants as negatives."""
    pool = getattr(loss, "pool", 0)
    return pool if isinstance(pool, int) else 0


def _projection(term: TermSpec, student: Sizes, teacher: Sizes) -> nn.Module:
    """One module for each pair of layers; a shared one is the same module again and again."""
    count = max(1, len(term.pairs))
    if term.project == "none":
        return nn.Identity()
    if term.project == "mlp":
        width = student.of(term.loss.reads)
        return nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(count))

    def linear() -> nn.Linear:
        return nn.Linear(student.of(term.loss.reads), teacher.of(term.loss.reads), bias=False)

    shared = linear()
    return nn.ModuleList([shared] * count if term.project == "shared" else [shared, *(linear() for _ in range(count - 1))])


def _distinct(names: Sequence[str]) -> list[str]:
    """Give the second term of the same loss the name `x-2`, so that both are seen in a log."""
    return [name if names[:i].count(name) == 0 else f"{name}-{names[:i].count(name) + 1}" for i, name in enumerate(names)]
