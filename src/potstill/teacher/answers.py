"""The teacher's answers for rows of the training texts: computed now, read from disk, or partly each. The same call."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.machine.precision import autocast
from potstill.models.encoder import EncoderModel, keep_layers
from potstill.models.output import EMBEDDING, LOGITS, POOLED, EncoderOutput, Field
from potstill.models.recording import prepare_inside
from potstill.runtime.tokens import TokenizedTexts


class Teacher(ABC):
    """Something that gives fields of a teacher for rows of the training texts.

    Attributes:
        reads: fields that it gives.
    """

    reads: frozenset[Field]

    @abstractmethod
    def __call__(self, rows: np.ndarray, device: torch.device, inputs: Mapping[str, Tensor] | None = None) -> EncoderOutput:
        """Answer for some rows.

        Args:
            rows: (b,) numbers of texts.
            device: where the output is wanted.
            inputs: padded tokens (b, l), to be read instead of the rows' own: a language model's teacher sees the masks
                that its student sees. An answer from disk cannot heed them.

        Returns:
            The fields `reads`, and the mask of their tokens.
        """

    def giving(self, reads: Iterable[Field]) -> Teacher:
        """The same teacher that gives no more than `reads`: a stage pays for what its own terms read."""
        narrowed = copy.copy(self)
        narrowed.reads = self.reads.intersection(reads)
        return narrowed


class MergedTeacher(Teacher):
    """Several teachers that answer as one, each with its own fields of the same texts: some from disk, some computed.

    Args:
        parts: no two with a field in common.
    """

    def __init__(self, parts: Sequence[Teacher]) -> None:
        self.parts = parts
        self.reads = frozenset(field for part in parts for field in part.reads)

    def __call__(self, rows: np.ndarray, device: torch.device, inputs: Mapping[str, Tensor] | None = None) -> EncoderOutput:
        """The fields of all parts together; a part of which nothing is read is not asked."""
        asked = [part.giving(self.reads) for part in self.parts]
        outputs = [part(rows, device, inputs) for part in asked if part.reads]
        return EncoderOutput(outputs[0].mask, {field: value for output in outputs for field, value in output.values.items()})


class OrderedTeacher(Teacher):
    """A teacher that gives its logits in the order of the data's labels.

    What lies on disk keeps the teacher's own order, whatever data it was asked about.

    Args:
        teacher: whose labels are in an order of their own.
        order: (C,) the position of each of the data's labels among the teacher's.
    """

    def __init__(self, teacher: Teacher, order: Sequence[int]) -> None:
        self.teacher, self.order, self.reads = teacher, list(order), teacher.reads

    def __call__(self, rows: np.ndarray, device: torch.device, inputs: Mapping[str, Tensor] | None = None) -> EncoderOutput:
        """What the teacher answers, its logits (b, C) or (b, l, C) with the columns put in order."""
        output = self.teacher.giving(self.reads)(rows, device, inputs)
        values = {field: value[..., self.order] if field == LOGITS else value for field, value in output.values.items()}
        return EncoderOutput(output.mask, values)


class AveragedTeacher(Teacher):
    """Several teachers of the same fields, whose answers are averaged: logits, or vectors.

    The mean of vectors of unit length is scaled to unit length again.

    Args:
        teachers: each gives all the fields, in the same shapes.
        unit: whether all of their vectors are of unit length.
    """

    def __init__(self, teachers: Sequence[Teacher], unit: bool) -> None:
        self.teachers, self.unit, self.reads = teachers, unit, teachers[0].reads

    def __call__(self, rows: np.ndarray, device: torch.device, inputs: Mapping[str, Tensor] | None = None) -> EncoderOutput:
        """The mean of what they answer: logits (b, C) or (b, l, C), vectors (b, d)."""
        outputs = [teacher.giving(self.reads)(rows, device, inputs) for teacher in self.teachers]
        values = {field: torch.stack([output[field].float() for output in outputs]).mean(0) for field in self.reads}
        if self.unit and EMBEDDING in values:
            values[EMBEDDING] = torch.nn.functional.normalize(values[EMBEDDING], dim=-1)
        return EncoderOutput(outputs[0].mask, values)


class LiveTeacher(Teacher):
    """Runs the model on every call. Frozen, in eval mode, without gradients.

    Args:
        model: the teacher, already on its device, prepared by `prepare_teacher`.
        texts: the training texts in the teacher's own pieces, row by row those that the student reads.
        reads: fields to compute.
        precision: what to autocast to.
    """

    def __init__(self, model: EncoderModel, texts: TokenizedTexts, reads: Iterable[Field], precision: torch.dtype = torch.float32) -> None:
        self.model, self.texts, self.reads, self.precision = model.eval().requires_grad_(False), texts, frozenset(reads), precision

    @torch.no_grad()
    def __call__(self, rows: np.ndarray, device: torch.device, inputs: Mapping[str, Tensor] | None = None) -> EncoderOutput:
        """Run the model on the rows' own tokens, or on `inputs` where these are given."""
        if inputs is None:
            inputs = {key: torch.from_numpy(value).to(device) for key, value in self.texts.pad(rows, self.model.pad_id).items()}
        with autocast(device, self.precision):
            return self.model(**inputs, reads=self.reads)


def prepare_teacher(model: EncoderModel, reads: Iterable[Field]) -> EncoderModel:
    """Make a teacher ready to give some fields, and drop the layers above the highest one that is read.

    A PotstillError from `prepare_inside` comes through: a field from inside attention of a network that does not show it.

    Args:
        model: it is changed in place.
        reads: fields that it will give.

    Returns:
        The same model.
    """
    reads = list(reads)
    prepare_inside(model.network, reads)
    if not {EMBEDDING, LOGITS, POOLED} & set(reads):
        # At least one layer: a stack of none is no model to transformers.
        _keep_lowest(model, max([1, *(field.layer or 0 for field in reads)]))
    return model


def _keep_lowest(model: EncoderModel, count: int) -> None:
    """Drop the layers above some, which give what they gave; none where they are shared or lie apart (ALBERT, XLM)."""
    try:
        parent, _ = model.stack_place()
    except PotstillError:
        return
    # What stands above the stack (in ModernBERT and Megatron-BERT) would normalise the layer that is now the last, which it
    # does not in the whole model. It is known by its class: Megatron-BERT calls it `ln`.
    above = any("norm" in type(child).__name__.lower() for module in (model.backbone, parent) for child in module.children())
    keep_layers(model, range(1, min(count + above, model.depth) + 1))
