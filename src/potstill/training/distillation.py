"""A student and its objective in one module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from potstill.machine.distributed import SHARE
from potstill.machine.processes import count
from potstill.models.encoder import EncoderModel
from potstill.models.output import LOGITS, EncoderOutput, Field
from potstill.objective.objective import Objective
from potstill.teacher.aligned import by_segment
from potstill.training.perturbation import Perturbation, embedding_module

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Distillation(nn.Module):
    """What the optimizer and the checkpoints see: the student, and the projections that are taught with it.

    Args:
        student: to be trained.
        objective: what it minimises, with its projections.
        perturbation: of the embedding output in training; None for none.
        cached_tokens: padded tokens whose activations are kept for the backward pass; None for all. A larger batch is run
            in pieces whose activations are dropped and computed again, with the same dropout, in the backward pass, so
            that memory does not grow with the batch (Gao et al. 2021, "Scaling deep contrastive learning batch size under
            memory limited setup": gradient caching).
    """

    def __init__(
        self, student: EncoderModel, objective: Objective, perturbation: Perturbation | None = None, cached_tokens: int | None = None
    ) -> None:
        super().__init__()
        self.student, self.objective, self.perturbation, self.cached_tokens = student, objective, perturbation, cached_tokens

    def forward(
        self,
        batch: dict[str, Tensor],
        teacher: EncoderOutput | None,
        negatives: tuple[EncoderOutput, dict[str, Tensor]] | None = None,
        scale: float = 1.0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of a batch.

        Args:
            batch: as TrainingSet.batch gives it, in tensors.
            teacher: its output for the same texts; None where no term needs one.
            negatives: the teacher's output for other texts, and their rows and labels; None where no term needs them.
            scale: what the caller will multiply the loss by before its backward pass; a perturbation's own needs the same.

        Returns:
            The objective's loss, not scaled, and its parts by the terms' names.
        """
        inputs = {key: value for key, value in batch.items() if key in INPUTS}
        reads = self.objective.student_reads
        logit_mask = self._logit_mask(batch)
        masked = {} if logit_mask is None else {"logit_mask": logit_mask}

        def compute(counts: bool) -> tuple[Tensor, dict[str, Tensor]]:
            # A loss with a memory must not learn the same batch twice.
            self.objective.train(counts and self.training)
            if "masked_ids" not in batch or LOGITS not in reads:
                return self._compare(self._read({**inputs, **masked}, reads), teacher, batch, negatives, logit_mask)
            # The vectors are of the texts as they are, the guesses of the texts with holes.
            plain = self._read(inputs, reads - {LOGITS}) if reads - {LOGITS} else EncoderOutput(inputs["attention_mask"], {})
            guesses = self._read({**inputs, **masked, "input_ids": batch["masked_ids"]}, frozenset({LOGITS}))
            return self._compare(EncoderOutput(plain.mask, {**plain.values, **guesses.values}), teacher, batch, negatives, logit_mask)

        if self.perturbation is None or not self.training:
            return compute(True)
        # The perturbation is of the whole batch's mean loss; this process's is made for the mean over processes, count() times that.
        several = count() if SHARE in batch else 1
        return self.perturbation(embedding_module(self.student), batch["attention_mask"], compute, scale, several)

    def _compare(
        self,
        student: EncoderOutput,
        teacher: EncoderOutput | None,
        batch: dict[str, Tensor],
        negatives: tuple[EncoderOutput, dict[str, Tensor]] | None,
        logit_mask: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective's loss and parts; with different vocabularies, both sides are averaged over shared segments first."""
        if "segments" in batch:
            student = by_segment(student, batch["segments"])
            assert student.mask is not None
            batch = {**batch, "attention_mask": student.mask}
        if logit_mask is not None:  # the labelled tokens of all texts, as one text of theirs
            student = EncoderOutput(student.mask, {**student.values, LOGITS: student.logits[None]})
            batch = {**batch, "labels": batch["labels"][logit_mask][None]}
        return self.objective(student, teacher, batch, negatives)

    def _logit_mask(self, batch: dict[str, Tensor]) -> Tensor | None:
        """(b, l) mask of the labelled tokens where no term reads other logits; None for a batch shared between processes."""
        readers = [term.loss for term in self.objective.terms if Field(term.loss.reads) == LOGITS]
        shared = SHARE in batch and any(term.loss.whole_batch for term in self.objective.terms)
        if not readers or shared or "labels" not in batch or not all(loss.labelled_tokens for loss in readers):
            return None
        return batch["labels"] != -100

    def _read(self, inputs: dict[str, Tensor], reads: frozenset[Field]) -> EncoderOutput:
        """What is read of the student, in pieces where the batch is large."""
        mask = inputs["attention_mask"]
        # A perturbation's hook is gone when the gradient comes: its passes cannot be made again.
        if self.cached_tokens is None or mask.numel() <= self.cached_tokens or self.perturbation is not None or not self.training:
            return self.student(**inputs, reads=reads)
        fields = list(reads)

        def piece(values: dict[str, Tensor]) -> tuple[Tensor, ...]:
            output = self.student(**values, reads=reads)
            return tuple(output[field] for field in fields)

        size = max(1, self.cached_tokens // mask.shape[1])
        starts = range(0, len(mask), size)
        found = [
            checkpoint(piece, {key: value[start : start + size] for key, value in inputs.items()}, use_reentrant=False) for start in starts
        ]
        return EncoderOutput(mask, {field: torch.cat(parts) for field, parts in zip(fields, zip(*found, strict=True), strict=True)})

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Each tensor under its first name alone: safetensors refuses one memory under two names (a tied head, a shared projection).

        Args:
            *args: as nn.Module has them.
            **kwargs: likewise.
        """
        first = self._first_names()
        return {name: value for name, value in super().state_dict(*args, **kwargs).items() if first.get(name, name) == name}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load what `state_dict` gave.

        Args:
            state_dict: each tensor under its first name.
            strict: as nn.Module has it.
            assign: likewise.

        Returns:
            Names that are missing, and names that nothing has.
        """
        # Under all its names again: Trainer takes a name that is missing for a broken checkpoint.
        again = {name: state_dict[first] for name, first in self._first_names().items() if first in state_dict}
        return super().load_state_dict({**state_dict, **again}, strict, assign)

    def _first_names(self) -> dict[str, str]:
        """Of each name in the state the first name of the same tensor."""
        seen: dict[int, str] = {}
        return {name: seen.setdefault(id(value), name) for name, value in super().state_dict(keep_vars=True).items()}
