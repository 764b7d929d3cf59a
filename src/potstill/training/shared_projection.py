"""A student's weights compared with its teacher's, layer by layer, through projections that all layers share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from potstill.errors import PotstillError

DIRECTIONS = ("up", "down")


class SharedProjection(nn.Module):
    """The mean squared distance between a teacher's weights and a student's (Zhao et al. 2019 v1, "shared projections").

        down: ‖U_d θ_t V_d − θ_s‖²     up: ‖θ_t − U_u θ_s V_u‖²

    summed over all matrices and vectors of all pairs of layers, and divided by how many numbers that
    are. One U and one V serve every axis of the hidden states, another pair the feed-forward's
    inner axis; a vector (bias, normalisation) is projected on its one axis. `nn.Linear` keeps (out,
    in): U acts on what goes out. Gradients reach both sides and the projections.

    Args:
        student: its layers.
        teacher: its layers, as many as the student's and of the same architecture.
        direction: a name of DIRECTIONS: "down" projects the teacher's weights, "up" the student's.

    Raises:
        PotstillError: other numbers of layers; or layers with other parts.
    """

    def __init__(self, student: Sequence[nn.Module], teacher: Sequence[nn.Module], direction: str) -> None:
        super().__init__()
        if len(student) != len(teacher):
            raise PotstillError(
                "stages: dual.project",
                f"the student has {len(student)} layers and the teacher {len(teacher)}, and weights are projected layer by layer",
                "give the student as many, or set project: none",
            )
        self.direction = direction
        self.left, self.right = nn.ParameterDict(), nn.ParameterDict()
        for _, ours, theirs in _pairs(student, teacher):
            for own, other, place in zip(ours.shape, theirs.shape, (self.left, self.right)):
                key, size = _key(own, other), (own, other) if direction == "down" else (other, own)
                if key not in place:
                    # Orthogonal: at U = V = 0 the product form stands still.
                    place[key] = nn.Parameter(nn.init.orthogonal_(torch.empty(size if place is self.left else size[::-1])))

    def forward(self, student: Sequence[nn.Module], teacher: Sequence[nn.Module]) -> Tensor:
        """Compute the distance; the arguments are the layers that the class was made with, with their weights of now.

        Args:
            student: its layers.
            teacher: its layers.

        Returns:
            A scalar in fp32.
        """
        total, count = torch.zeros((), device=next(student[0].parameters()).device), 0
        with torch.autocast(total.device.type, enabled=False):
            for _, ours, theirs in _pairs(student, teacher):
                source, target = (theirs, ours) if self.direction == "down" else (ours, theirs)
                left = self.left[_key(ours.shape[0], theirs.shape[0])]
                if source.dim() == 2:  # multiplied in the cheaper order, which differs between the two halves of the feed-forward
                    moved = torch.linalg.multi_dot((left, source, self.right[_key(ours.shape[1], theirs.shape[1])]))
                else:
                    moved = left @ source
                total = total + (moved - target).square().sum()
                count += target.numel()
        return total / count


def _key(own: int, other: int) -> str:
    return f"{own}-{other}"


def _pairs(student: Sequence[nn.Module], teacher: Sequence[nn.Module]) -> list[tuple[str, Tensor, Tensor]]:
    """(name, the student's, the teacher's) of every parameter of every pair of layers.

    Raises:
        PotstillError: a layer of the teacher lacks a part of the student's.
    """
    found: list[tuple[str, Tensor, Tensor]] = []
    for ours, theirs in zip(student, teacher, strict=True):
        parameters = dict(theirs.named_parameters())
        for name, value in ours.named_parameters():
            if name not in parameters or parameters[name].dim() != value.dim():
                raise PotstillError(
                    "stages: dual.project", f"the teacher's layers have no {name} like the student's", "build the student from the teacher"
                )
            found.append((name, value, parameters[name]))
    return found
