"""Which part of a student a stage trains: gradual unfreezing, from the output down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from potstill.models import heads
from potstill.models.encoder import EncoderModel


@contextmanager
def training_only(student: EncoderModel, part: str) -> Iterator[None]:
    """Within the block only a part of the student has gradients; dropout stays on in all of it.

    Args:
        part: "output", the layer that gives the logits; "head", all that stands on the backbone, with a
            BERT's pooler; "top:<n>", the head and the n highest layers; "all".
    """
    if part == "all":
        yield
        return
    before = {parameter: parameter.requires_grad for parameter in student.parameters()}
    student.requires_grad_(False)
    try:
        if part == "output":
            heads.output_layer(student.network).requires_grad_()
        else:
            for layer in student.layers[len(student.layers) - top_layers(part) :]:
                layer.requires_grad_()
            inside = {id(parameter) for name, parameter in student.backbone.named_parameters() if not name.startswith("pooler.")}
            for parameter in student.parameters():
                if id(parameter) not in inside:
                    parameter.requires_grad_()
        yield
    finally:
        for parameter, had in before.items():
            parameter.requires_grad_(had)


def top_layers(part: str) -> int:
    """How many layers of the stack a part names: 0 of "output" and "head"."""
    return int(part.partition(":")[2] or 0)
