"""A gradient step on the student's embedding output before the step that counts (LRC-BERT)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel

Computed = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class Perturbation:
    """emb' = emb + ε · ∂L/∂emb, then the loss at emb' (Fu et al. 2021, LRC-BERT: gradient perturbation).

    The gradient is a constant to the second pass; both passes draw the same dropout, and share
    what the teacher said. Of a mean over the batch it shrinks with the batch; neither a gradient
    scaler's factor nor the number of batches that are added up to a step is in it.

    Attributes:
        epsilon: ε.
        normalize: "none", or "l2": each text's gradient is first scaled to length 1 (FGM).
    """

    epsilon: float = 1.0
    normalize: str = "none"

    def __call__(
        self, embeddings: nn.Module, mask: Tensor, compute: Callable[[bool], Computed], scale: float = 1.0, parts: int = 1
    ) -> Computed:
        """The loss at the perturbed embedding output.

        Args:
            embeddings: the student's module whose output (b, l, d) is perturbed.
            mask: (b, l) 1 at real tokens; padding is left alone.
            compute: one pass of the student and the objective; told whether it is the one that counts.
            scale: the loss is multiplied by it on the gradient's way through half precision, where
                small ones would become 0, and the gradient divided by it at the end.
            parts: the loss is that many times the batch's own.
        """
        seen: list[Tensor] = []

        def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
            seen.append(output)

        devices = [mask.device] if mask.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # so that the second pass draws the dropout of the first
            hook = embeddings.register_forward_hook(keep)
            try:
                loss, _ = compute(False)
            finally:
                hook.remove()
            with torch.autocast(mask.device.type, enabled=False):  # else what was multiplied in fp32 goes backwards in half precision
                (gradient,) = torch.autograd.grad(loss * scale, seen[0])
        step = gradient.float() / (scale * parts) * mask.unsqueeze(-1)  # (b, l, d)
        if self.normalize == "l2":
            step = step / step.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None]
        # In half precision a gradient may overflow: such a batch is taken as it is. Under a scaler the
        # second pass, at the same scale, then mostly overflows too, and the scaler skips the step.
        step = self.epsilon * torch.where(torch.isfinite(step).all(), step, torch.zeros_like(step))

        def add(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
            return output + step.to(output.dtype)

        hook = embeddings.register_forward_hook(add)
        try:
            return compute(True)
        finally:
            hook.remove()


def embedding_module(student: EncoderModel, place: str = "perturb") -> nn.Module:
    """The module that gives the embedding output, after its normalisation and dropout.

    Raises:
        PotstillError: the model keeps it elsewhere.
    """
    module = getattr(student.backbone, "embeddings", None)
    if not isinstance(module, nn.Module):
        raise PotstillError(
            place, f"a {student.backbone.config.model_type} has no module `embeddings`", "drop `perturb`, or use a BERT-like student"
        )
    return module
