"""The objective of a stage: the weighted sum of its terms, each a loss of certain fields, layers and projections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.losses.base import Loss
from potstill.machine.distributed import SHARE, gather_batch
from potstill.models.output import EncoderOutput, Field
from potstill.objective.sizes import Sizes, TermSpec, build_loss, check_widths, on_prefixes


class Objective(nn.Module):
    """L = Σ_k w_k · L_k(P_k(student), teacher).

    The projections, and what a loss has of its own, are parameters of this module: they are
    trained with the student and are never saved with it.

    Args:
        terms: the rows. Their losses are built here, so each row serves one objective.
        student: widths of the student.
        teacher: widths of the teacher; None where no term reads one.
        rows: texts of the training set.
        dimensions: of the student's vectors; each term that `on_prefixes` names is the mean of its loss on the whole vector
            and on the first so many of its dimensions (Kusupati et al. 2022, equation 1 with equal weights; with a linear map the
            first columns of the same matrix, their MRL-E).

    Attributes:
        terms: the rows.
        names: of the rows in a log; the second one of the same loss is `x-2`.
        losses: of the rows.
        projections: of the rows; the identity where a row has none.
        weights: of the rows, at the progress that was set last.

    Raises:
        PotstillError: widths differ where a loss compares them and no projection is asked for.
    """

    def __init__(
        self, terms: Sequence[TermSpec], student: Sizes, teacher: Sizes | None = None, rows: int = 0, dimensions: Sequence[int] = ()
    ) -> None:
        super().__init__()
        other = teacher or student
        for term in terms:
            check_widths(term, student, other)
        self.terms = list(terms)
        self.dimensions = [number for number in dimensions if number < student.embedding]
        self.names = _distinct([term.name for term in terms])
        self.losses = nn.ModuleList(term.loss for term in terms)
        self.projections = nn.ModuleList(_projection(term, student, other) for term in terms)
        for term in terms:
            build_loss(term, student, other, rows)
        self.set_progress(0.0)

    def inherit(self, earlier: Objective) -> None:
        """Take over the projections and losses that the same rows of an earlier stage have trained.

        LRC-BERT's second stage, for example, begins with the W that its first stage trained. A loss that has maps or
        a memory of its own is taken over only where its options are the same: under others they would mean
        something else. Modules are shared, so the earlier stage may also be trained after this call.

        Args:
            earlier: the objective of an earlier stage.
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
        """The fields that the student has to compute."""
        return frozenset(field for term in self.terms for field in term.fields(0))

    @property
    def teacher_reads(self) -> frozenset[Field]:
        """The fields that the teacher has to compute, or that a cache has to hold."""
        return frozenset(field for term in self.terms if term.loss.needs_teacher for field in term.fields(1))

    @property
    def pool(self) -> int:
        """Rows of the training set to draw as negatives for a batch; a term that wants fewer reads the first of them."""
        return max(term.loss.pool for term in self.terms)

    def set_progress(self, progress: float) -> None:
        """Set the weights and the scheduled options.

        Args:
            progress: of the stage: 0 at its first step, 1 at its last.
        """
        self.weights = [term.weight(progress) for term in self.terms]
        for term in self.terms:
            for name, schedule in term.options.items():
                setattr(term.loss, name, schedule(progress))

    def projected(self, number: int, student: EncoderOutput, dimensions: int | None = None) -> tuple[Tensor, ...]:
        """What a term reads of the student, after the term's projection.

        Under autocast the projection is computed in half precision, as the student's own matrices are: for every
        token it costs as much as a layer, and in fp32 three to four times that.

        Args:
            number: of the term.
            student: what the student computed.
            dimensions: how many of its vector's first dimensions the term reads; default all.

        Returns:
            One tensor a field, in fp32.
        """
        project, fields = self.projections[number], tuple(student[field].float() for field in self.terms[number].fields(0))
        if dimensions is not None:
            (vectors,) = fields
            vectors = vectors[:, :dimensions]
            if isinstance(project, nn.ModuleList):
                (linear,) = project
                vectors = nn.functional.linear(vectors, linear.get_parameter("weight")[:, :dimensions]).float()
            return (vectors,)
        if isinstance(project, nn.ModuleList):
            return tuple(one(value).float() for one, value in zip(project, fields, strict=True))
        return fields

    def _read(self, number: int, student: EncoderOutput) -> list[tuple[Tensor, ...]]:
        """What a term reads: the whole vector first, then its first dimensions."""
        shorter = self.dimensions if on_prefixes(self.terms[number]) else []
        return [self.projected(number, student), *(self.projected(number, student, count) for count in shorter)]

    def forward(
        self,
        student: EncoderOutput,
        teacher: EncoderOutput | None,
        batch: Mapping[str, Tensor],
        negatives: tuple[EncoderOutput, Mapping[str, Tensor]] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective of one batch.

        Args:
            student: what the student computed: `student_reads`.
            teacher: what the teacher computed: `teacher_reads`. None where no term reads a teacher.
            batch: as `Loss.forward` has it.
            negatives: the teacher's outputs for `pool` other rows of the training set, and what a batch holds of those
                rows (`negative_rows`, `negative_labels`).

        Returns:
            The weighted sum, and each term's unweighted value (detached) by name.
        """
        parts = []
        projected = [self._read(number, student) for number in range(len(self.terms))]
        # fp32 with autocast off: a cosine's squared norm and a KL's small numbers do not survive half precision.
        with torch.autocast(student[self.terms[0].fields(0)[0]].device.type, enabled=False):
            for read, term, loss in zip(projected, self.terms, self.losses, strict=True):
                theirs: tuple[Tensor, ...] | None = None
                if loss.needs_teacher:
                    assert teacher is not None
                    theirs = tuple(teacher[field].float() for field in term.fields(1))
                own: Mapping[str, Any] = {**batch, **_drawn(term, negatives)} if negatives is not None and term.loss.pool else batch
                whole = SHARE not in batch or loss.whole_batch
                found = []
                for ours in read:
                    given = gather_batch(ours, theirs, own) if SHARE in batch and whole else (ours, theirs, own)
                    found.append(_loss(term, loss, *given))
                part = torch.stack(found).mean() if len(found) > 1 else found[0]
                parts.append(part if whole else part * batch[SHARE])
            total = torch.stack([weight * part for weight, part in zip(self.weights, parts, strict=True)]).sum()
        return total, {name: part.detach() for name, part in zip(self.names, parts, strict=True)}


def _loss(term: TermSpec, loss: nn.Module, ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...] | None, batch: Mapping[str, Any]) -> Tensor:
    """What a loss gives for a batch.

    Raises:
        PotstillError: it is no scalar; a loss of the user's own has been through no contract test.
    """
    part: Any = loss(ours, theirs, batch) if term.layered else loss(ours[0], theirs[0] if theirs else None, batch)
    if not isinstance(part, Tensor) or part.dim():
        found = f"a tensor of shape {tuple(part.shape)}" if isinstance(part, Tensor) else f"a {type(part).__name__}"
        raise PotstillError(f"loss {term.name!r}", f"forward gives {found}, not a scalar tensor", "take the mean over the batch")
    return part


def _drawn(term: TermSpec, negatives: tuple[EncoderOutput, Mapping[str, Tensor]]) -> dict[str, Any]:
    """What a term reads of the drawn negatives: as many as its loss asks for, in whatever number they were drawn for others.

    The draw is in random order, so that its first rows are a draw of that size.
    """
    (output, rows), pool = negatives, term.loss.pool
    return {
        "negatives": tuple(output[field][:pool].float() for field in term.fields(1)),
        "negatives_mask": None if output.mask is None else output.mask[:pool],
        **{name: values[:pool] for name, values in rows.items()},
    }


def _row(term: TermSpec) -> tuple[object, ...]:
    """What two rows must share for one to take over the other's projection: everything but weights and options."""
    return (term.name, term.loss.reads, tuple(term.pairs), term.project)


def _numbered(terms: Sequence[TermSpec]) -> dict[tuple[object, int], int]:
    """Maps each term, duplicates counted, to its index."""
    rows = [_row(term) for term in terms]
    return {(row, rows[:number].count(row)): number for number, row in enumerate(rows)}


def _settings(term: TermSpec) -> tuple[frozenset[str], dict[str, object]]:
    """The names of the loss's options that follow a schedule, and the values of all others."""
    kept = {name: value for name, value in vars(term.loss).items() if not name.startswith("_") and name != "training"}
    return frozenset(term.options), {name: value for name, value in kept.items() if name not in term.options}


def _shapes(loss: Loss) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in loss.state_dict().items()}


def _projection(term: TermSpec, student: Sizes, teacher: Sizes) -> nn.Module:
    """One module for each pair of layers; with "shared" the same module for all."""
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
