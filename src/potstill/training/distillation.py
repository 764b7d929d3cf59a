"""Student and objective in one module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from potstill.models.encoder import EncoderModel
from potstill.models.output import EncoderOutput
from potstill.training.objective import Objective
from potstill.training.perturbation import Perturbation, embedding_module

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Distillation(nn.Module):
    """What the optimizer and the checkpoints see: the student, and the projections that are taught with it."""

    def __init__(self, student: EncoderModel, objective: Objective, perturbation: Perturbation | None = None) -> None:
        super().__init__()
        self.student, self.objective, self.perturbation = student, objective, perturbation

    def forward(
        self,
        batch: dict[str, Tensor],
        teacher: EncoderOutput | None,
        negatives: tuple[EncoderOutput, dict[str, Tensor]] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        inputs = {key: value for key, value in batch.items() if key in INPUTS}
        reads = self.objective.student_reads

        def compute(counts: bool) -> tuple[Tensor, dict[str, Tensor]]:
            # A loss with a memory must not learn the same batch twice.
            self.objective.train(counts and self.training)
            return self.objective(self.student(**inputs, reads=reads), teacher, batch, negatives)

        if self.perturbation is None or not self.training:
            return compute(True)
        return self.perturbation(embedding_module(self.student), batch["attention_mask"], compute)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Each tensor under its first name alone: safetensors refuses one memory under two names (a tied head, a shared projection)."""
        first = self._first_names()
        return {name: value for name, value in super().state_dict(*args, **kwargs).items() if first.get(name, name) == name}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        # Under all its names again: Trainer takes a name that is missing for a broken checkpoint.
        again = {name: state_dict[first] for name, first in self._first_names().items() if first in state_dict}
        return super().load_state_dict({**state_dict, **again}, strict, assign)

    def _first_names(self) -> dict[str, str]:
        """Of each name in the state the first name of the same tensor."""
        seen: dict[int, str] = {}
        return {name: seen.setdefault(id(value), name) for name, value in super().state_dict(keep_vars=True).items()}
