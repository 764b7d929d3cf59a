"""Which part of a student a stage trains: gradual unfreezing, from the output down (Howard & Ruder 2018, ULMFiT, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from potstill.models import heads
from potstill.models.encoder import EncoderModel
from potstill.recipe.recipe import top_layers


@contextmanager
def training_only(student: EncoderModel, part: str) -> Iterator[None]:
    """Within the block only a part of the student has gradients; dropout stays on in all of it.

    A PotstillError from heads.output_layer comes through: the output is asked for and there is none.

    Args:
        student: it is changed in place, and as it was after the block.
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
