"""The table of terms: pick the fields, project, weigh, sum, and report each part by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.losses.base import Loss
from potstill.models.output import EncoderOutput


@dataclass(frozen=True)
class TermSpec:
    """One row of the objective: a loss, its weight, and whether a linear projection takes the student's width to the teacher's."""

    name: str
    loss: Loss
    weight: float = 1.0
    project: bool = False


class Objective(nn.Module):
    """L = Σ_k w_k · L_k(P_k(student), teacher).

    The projections are parameters of this module: they are trained with the student and are
    never saved with it.

    Args:
        terms: the rows.
        student_width, teacher_width: last axis of the pooled vectors.

    Raises:
        PotstillError: widths differ where a loss compares them and no projection is asked for.
    """

    def __init__(self, terms: Sequence[TermSpec], student_width: int, teacher_width: int) -> None:
        super().__init__()
        for term in terms:
            check_widths(term, student_width, teacher_width)
        self.terms = list(terms)
        self.names = _distinct([term.name for term in terms])
        self.losses = nn.ModuleList(term.loss for term in terms)
        self.projections = nn.ModuleList(
            nn.Linear(student_width, teacher_width, bias=False) if term.project else nn.Identity() for term in terms
        )

    @property
    def reads(self) -> frozenset[str]:
        """Fields that some term reads: all that a model has to compute and a cache to hold."""
        return frozenset(term.loss.reads for term in self.terms)

    def forward(self, student: EncoderOutput, teacher: EncoderOutput, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and each term's unweighted value (detached) by name."""
        # fp32 with autocast off: a cosine's squared norm and a KL's small numbers do not survive half precision.
        with torch.autocast(_field(student, self.terms[0].loss.reads).device.type, enabled=False):
            parts = [
                loss(project(_field(student, term.loss.reads).float()), _field(teacher, term.loss.reads).float(), batch)
                for term, loss, project in zip(self.terms, self.losses, self.projections, strict=True)
            ]
            total = torch.stack([term.weight * part for term, part in zip(self.terms, parts, strict=True)]).sum()
        return total, {name: part.detach() for name, part in zip(self.names, parts, strict=True)}


def check_widths(term: TermSpec, student_width: int, teacher_width: int, place: str = "terms") -> None:
    """Raise a PotstillError where `term` compares vectors of different widths without a projection."""
    if term.loss.same_width and not term.project and student_width != teacher_width:
        raise PotstillError(
            f"{place}: {term.name}",
            f"the student's vectors have {student_width} dimensions, the teacher's {teacher_width}",
            "add project: linear",
        )


def _field(output: EncoderOutput, name: str) -> Tensor:
    value = getattr(output, name)
    if not isinstance(value, Tensor):
        raise TypeError(f"a loss reads {name!r}, which the model did not give")
    return value


def _distinct(names: Sequence[str]) -> list[str]:
    """Give the second term of the same loss the name `x-2`, so that both are seen in a log."""
    return [name if names[:i].count(name) == 0 else f"{name}-{names[:i].count(name) + 1}" for i, name in enumerate(names)]
