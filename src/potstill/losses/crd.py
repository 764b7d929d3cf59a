"""Contrastive distillation of sentence vectors: InfoNCE, or the two-sided NCE over a memory of all texts (CoDIR, CRD)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from potstill.errors import PotstillError
from potstill.losses._labels import one_class
from potstill.losses._negatives import check_pool
from potstill.losses.base import Loss, Tensors, one_of
from potstill.machine import processes

READS = {"mean": "mean_states", "cls": "cls_states"}


class CRD(Loss):
    """The student's vector must single out the teacher's vector of the same text among others. Source: CoDIR (Sun et al. 2020).

    The mapped layers are concatenated, (b, layers·d), and each side has its own linear map to
    `dim`: z = W·h/‖W·h‖. W_s and W_t are trained with the student and never saved with it.

    "infonce" (the paper): L = mean_i -log softmax of z_s·z_t/τ among 1 + K teacher vectors.
    "nce" (the released code, after Tian et al. 2020): with P = exp(z·m/τ)/Z over rows m of a
    memory of n training texts, L = -mean_i [log P⁺/(P⁺+K/n+ε) + Σ_k log (K/n)/(P_k+K/n+ε)], the
    mean of the student against the teacher's memory and the reverse. P⁺ is that of the text's own
    stored row. Z is n times the mean score of the first training batch and is then kept. Everything is
    computed in log space.

    The memory is initialised uniformly in ±√(3/dim). After a training batch was scored, its rows are
    updated: m ← unit(momentum·m + (1 - momentum)·z). Memory and Z are buffers: they are in
    a checkpoint's state dict, without which a resumed run would score against noise.

    Args:
        form: "infonce" or "nce".
        negatives: "memory", `count` a text drawn from it with replacement, never its own row; or
            "batch", the other texts of the batch ("infonce" alone; a batch of one text gives 0).
        count: K, with "memory".
        temperature: τ > 0.
        dim: of both maps' output.
        momentum: of the memory's update, in [0, 1).
        other_labels: only texts of another class are negatives. The memory knows a text's class
            from the text's first batch on; until then the text counts as one of another class.
        tokens: "mean" over real tokens (the paper) or "cls" (what the released code ends up with).

    Raises:
        ValueError: an unknown word, a number out of its range, or "nce" without the memory.
    """

    same_width = False
    whole_batch = True
    memory: Tensor
    classes: Tensor
    log_z: Tensor

    def __init__(
        self,
        form: str = "infonce",
        negatives: str = "memory",
        count: int = 100,
        temperature: float = 0.07,
        dim: int = 128,
        momentum: float = 0.5,
        other_labels: bool = False,
        tokens: str = "mean",
    ) -> None:
        super().__init__()
        self.form = one_of("form", form, ("infonce", "nce"))
        self.negatives = one_of("negatives", negatives, ("memory", "batch") if form == "infonce" else ("memory",))
        self.reads = READS[one_of("tokens", tokens, tuple(READS))]
        if not temperature > 0 or not 0 <= momentum < 1 or count < 1 or dim < 1:
            raise ValueError("temperature must be above 0, momentum in [0, 1), count and dim 1 or more")
        self.count, self.temperature, self.dim, self.momentum = count, temperature, dim, momentum
        self.other_labels = other_labels

    def build(self, student_width: int, teacher_width: int, layers: int, rows: int) -> None:
        """Make both maps and the memory.

        A PotstillError from `check_pool` comes through: the training set has too few texts.

        Args:
            student_width: last axis of the student's tensors.
            teacher_width: last axis of the teacher's tensors.
            layers: number of pairs of layers, which are concatenated.
            rows: number of texts of the training set, and so of the memory's rows.

        Raises:
            PotstillError: form "nce" with several processes.
        """
        if self.form == "nce" and processes.count() > 1:  # Z is measured over negatives that each process draws for itself
            raise PotstillError("crd.form", "nce cannot be trained by several processes", "use form: infonce, or start it without torchrun")
        self.student_map = nn.Linear(layers * student_width, self.dim, bias=False)
        self.teacher_map = nn.Linear(layers * teacher_width, self.dim, bias=False)
        if self.negatives == "memory":
            check_pool("crd.count", self.count, rows)
            edge = math.sqrt(3 / self.dim)  # rows of about unit length
            sides = 2 if self.form == "nce" else 1  # the teacher's vectors, then the student's
            self.register_buffer("memory", torch.empty(sides, rows, self.dim).uniform_(-edge, edge))
            self.register_buffer("classes", torch.full((rows if self.other_labels else 0,), -1))
            self.register_buffer("log_z", torch.full((2,), float("nan")))  # NaN: not measured yet

    def forward(self, student: Tensors, teacher: Tensors, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one batch; in training the memory then takes the batch's vectors.

        A PotstillError from `draw` comes through: see there.

        Args:
            student: (b, d_s) for each pair of layers.
            teacher: (b, d_t) for each pair of layers.
            batch: `rows` (b,) is read, and with `other_labels` also `labels` (b,).

        Returns:
            Scalar.
        """
        s = normalize(self.student_map(torch.cat(student, dim=-1)), dim=-1)  # (b, dim)
        t = normalize(self.teacher_map(torch.cat(teacher, dim=-1)), dim=-1)
        if self.negatives == "batch":
            return self._in_batch(s, t, batch)
        rows = batch["rows"]
        drawn = self.draw(rows, batch.get("labels"))  # (b, K)
        if self.form == "infonce":
            loss = info_nce((s * t).sum(-1), _scores(s, self.memory[0], drawn), self.temperature)
        else:
            loss = torch.stack([self._side(side, z, rows, drawn) for side, z in enumerate((s, t))]).mean()
        if self.training:
            self._remember(rows, t, s)
        return loss

    @torch.no_grad()
    def draw(self, rows: Tensor, labels: Tensor | None) -> Tensor:
        """Draw the negatives of each text, uniformly and with replacement.

        They are drawn among all rows but the text's own; with `other_labels` among those of other classes.
        A PotstillError from `one_class` comes through: with `other_labels` the texts do not have one class each.

        Args:
            rows: (b,) the texts' own rows.
            labels: (b,) their classes, read with `other_labels` alone.

        Returns:
            (b, K) rows of the memory.

        Raises:
            PotstillError: every text of the training set is of one class, so that a text has no negative.
        """
        n = self.memory.shape[1]
        if not self.other_labels:
            order, start, size = torch.arange(n, device=rows.device), rows, torch.ones_like(rows)
        else:
            labels = one_class(labels, "crd")
            if self.training:
                self.classes[rows] = labels
            by_class, order = self.classes.sort()
            start = torch.searchsorted(by_class, labels)
            size = torch.searchsorted(by_class, labels, right=True) - start
            if (size == n).any():
                raise PotstillError("crd.other_labels", "every training text is of one class", "leave it out")
        # Sorted by class, what a text may not draw is one block: draw among the rest and step over it.
        place = (torch.rand(len(rows), self.count, device=rows.device) * (n - size)[:, None]).long()
        place = torch.minimum(place, (n - size)[:, None] - 1)  # fp32 may round up to the end
        return order[place + size[:, None] * (place >= start[:, None])]

    def _in_batch(self, s: Tensor, t: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        allowed = batch["rows"][:, None] != batch["rows"]  # (b, b)
        if self.other_labels:
            labels = one_class(batch.get("labels"), "crd")
            allowed = allowed & (labels[:, None] != labels)
        scores = s @ t.T  # (b, b)
        return info_nce(scores.diagonal(), scores.masked_fill(~allowed, -float("inf")), self.temperature)

    def _side(self, side: int, z: Tensor, rows: Tensor, drawn: Tensor) -> Tensor:
        """NCE of one side's z against the memory of the other; the first training batch fixes its Z."""
        memory = self.memory[side]
        positive = (z * memory[rows]).sum(-1) / self.temperature  # (b,)
        negative = _scores(z, memory, drawn) / self.temperature  # (b, K)
        log_z = self.log_z[side]
        if log_z.isnan():
            log_z = log_partition(positive, negative, len(memory))
            if self.training:
                self.log_z[side] = log_z
        return nce(positive - log_z, negative - log_z, len(memory))

    @torch.no_grad()
    def _remember(self, rows: Tensor, *vectors: Tensor) -> None:
        for memory, z in zip(self.memory, vectors):
            memory[rows] = normalize(self.momentum * memory[rows] + (1 - self.momentum) * z, dim=-1).to(memory.dtype)


def _scores(z: Tensor, memory: Tensor, drawn: Tensor) -> Tensor:
    """(b, dim), (n, dim), (b, K) → (b, K)."""
    return (memory[drawn] @ z.unsqueeze(-1)).squeeze(-1)


def info_nce(positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """Mean of -log softmax at the positive.

    Args:
        positive: (b,) cosines.
        negative: (b, K) cosines, -inf where a negative does not count.
        temperature: τ, which the cosines are divided by.

    Returns:
        Scalar, at least 0.
    """
    scores = torch.cat([positive[:, None], negative], dim=1) / temperature  # (b, 1 + K)
    return -scores.log_softmax(dim=-1)[:, 0].mean()


@torch.no_grad()
def log_partition(positive: Tensor, negative: Tensor, n: int) -> Tensor:
    """The logarithm of Z = n · mean of exp(score) over all scores.

    Args:
        positive: (b,) cosines/τ.
        negative: (b, K) cosines/τ.
        n: rows of the memory.

    Returns:
        Scalar.
    """
    scores = torch.cat([positive, negative.flatten()])
    return scores.logsumexp(0) - math.log(len(scores)) + math.log(n)


def nce(positive: Tensor, negative: Tensor, n: int, eps: float = 1e-7) -> Tensor:
    """The NCE of one direction, -mean_i [log P⁺/(P⁺+K/n+ε) + Σ_k log (K/n)/(P_k+K/n+ε)].

    Args:
        positive: (b,) log P⁺.
        negative: (b, K) log P_k.
        n: rows of the memory.
        eps: ε, which keeps the quotients away from 0/0.

    Returns:
        Scalar.
    """
    noise = negative.shape[1] / n  # K · P_n
    base = torch.full_like(positive, math.log(noise + eps))
    kept = positive - torch.logaddexp(positive, base)
    rejected = math.log(noise) - torch.logaddexp(negative, base[:, None])
    return -(kept + rejected.sum(-1)).mean()
