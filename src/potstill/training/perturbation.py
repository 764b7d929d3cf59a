"""Gradient perturbation: a gradient step on the student's embedding output before the step that counts (LRC-BERT)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel

Computed = tuple[Tensor, dict[str, Tensor]]
RATIO = "perturbation"  # among the terms, and in the log: how far the embedding output was moved, by its own length


@dataclass(frozen=True)
class Perturbation:
    """emb' = emb + ε · ∂L/∂emb, then the loss at emb' (Fu et al. 2021, LRC-BERT: gradient perturbation).

    The gradient is a constant to the second pass. Both passes draw the same dropout and compare with the same teacher
    output. The gradient of a mean over the batch shrinks as the batch grows; neither a gradient scaler's factor nor the
    number of batches that are accumulated to a step changes it.

    Attributes:
        epsilon: ε.
        normalize: "none": ε times the gradient, as the paper writes it. "l2": each text's gradient is first scaled to length 1
            (FGM, Miyato et al. 2017). "relative": to the length of its embedding output, of which the step is then the share ε.
    """

    epsilon: float = 1.0
    normalize: str = "none"

    def __call__(
        self, embeddings: nn.Module, mask: Tensor, compute: Callable[[bool], Computed], scale: float = 1.0, parts: int = 1
    ) -> Computed:
        """Compute the loss at the perturbed embedding output.

        Args:
            embeddings: the student's module whose output (b, l, d) is perturbed.
            mask: (b, l) 1 at real tokens; padding is left alone.
            compute: one pass of the student and the objective; told whether it is the one that counts.
            scale: the loss is multiplied by it before the backward pass, in which small gradients would become 0 in half
                precision, and the gradient divided by it afterwards.
            parts: factor by which the given loss exceeds the batch loss.

        Returns:
            What the second `compute` gives: the loss and its parts, and beside them RATIO: the step's length by that of the
            embedding output, in the mean over the texts. The loss is not multiplied by `scale`.
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
        lengths = (seen[0].detach().float() * mask.unsqueeze(-1)).flatten(1).norm(dim=1).clamp(min=1e-12)  # (b,)
        if self.normalize != "none":
            wanted = lengths if self.normalize == "relative" else torch.ones_like(lengths)
            step = step * (wanted / step.flatten(1).norm(dim=1).clamp(min=1e-12))[:, None, None]
        # In half precision a gradient may overflow: such a batch is taken as it is. Under a scaler the
        # second pass, at the same scale, then mostly overflows too, and the scaler skips the step.
        step = self.epsilon * torch.where(torch.isfinite(step).all(), step, torch.zeros_like(step))

        def add(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
            return output + step.to(output.dtype)

        hook = embeddings.register_forward_hook(add)
        try:
            loss, terms = compute(True)
        finally:
            hook.remove()
        return loss, {**terms, RATIO: (step.flatten(1).norm(dim=1) / lengths).mean()}


def embedding_module(student: EncoderModel, place: str = "perturb") -> nn.Module:
    """The module that gives the embedding output, after its normalisation and dropout.

    Args:
        student: any encoder.
        place: what the error names.

    Raises:
        PotstillError: the model keeps it elsewhere.
    """
    module = getattr(student.backbone, "embeddings", None)
    if not isinstance(module, nn.Module):
        raise PotstillError(
            place, f"a {student.backbone.config.model_type} has no module `embeddings`", "drop `perturb`, or use a BERT-like student"
        )
    return module
