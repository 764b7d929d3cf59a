"""KL between the teacher's and the student's softened class (or token) distributions, times T²; of a score the squared difference."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, logsigmoid, mse_loss

from potstill.errors import PotstillError
from potstill.losses.base import Loss, one_of


class SoftTarget(Loss):
    """L = T² · 1/n · Σ_i KL( softmax(t_i/T) ‖ softmax(s_i/T) ). Source: Hinton, Vinyals & Dean 2015.

    i runs over the n texts, or over the n chosen tokens of the whole batch. The gradient of the KL falls like 1/T²;
    the factor T² restores it, so that a temperature (or its schedule) does not also change the term's weight. A soft
    cross-entropy differs from the KL only by the teacher's entropy and has the same gradient; the KL is 0 where both
    agree.

    One logit is the score of a regression, which has no distribution. There L = 1/n · Σ_i (t_i - s_i)², the mean squared
    difference of the two scores; T has no part in it, since T² · (t/T - s/T)² is that.

    Args:
        temperature: T > 0; a schedule may set the attribute at every step.
        scale_by_t2: False leaves T² out, as LRC-BERT's paper and TinyBERT's code do.
        reduction: "batchmean" divides by n alone; "element" by n · classes too, as PKD's released
            code does. "element" at T = 1 has the gradient of TinyBERT's released soft cross-entropy.
        tokens: which tokens of (b, l, ...) count: "real", or only the "labelled" ones.
        multilabel: classes that do not exclude each other: L sums over the classes the KL of two
            Bernoulli distributions with p = sigmoid(z/T), in place of the softmax.

    Raises:
        ValueError: a temperature that is not positive, or an unknown word.
    """

    reads = "logits"

    def __init__(
        self,
        temperature: float = 1.0,
        scale_by_t2: bool = True,
        reduction: str = "batchmean",
        tokens: str = "real",
        multilabel: bool = False,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature {temperature} must be above 0")
        self.temperature, self.scale_by_t2, self.multilabel = temperature, scale_by_t2, multilabel
        self.reduction = one_of("reduction", reduction, ("batchmean", "element"))
        self.tokens = one_of("tokens", tokens, ("real", "labelled"))

    def forward(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one batch.

        A PotstillError comes through where "labelled" tokens are asked for and the batch has no labels.

        Args:
            student: (b, classes), of a regression (b, 1), or (b, l, classes or vocabulary).
            teacher: likewise.
            batch: of tokens' logits `attention_mask` (b, l) is read, or with "labelled" `labels` (b, l).

        Returns:
            Scalar, at least 0; 0 where no token is chosen.

        Raises:
            PotstillError: the labels are several classes a text, and `multilabel` is not set.
        """
        if student.dim() == 2 and student.shape[1] == 1 and not self.multilabel:
            return mse_loss(student, teacher)
        if student.dim() == 3:
            chosen = self._tokens(batch)
            student, teacher = student[chosen], teacher[chosen]  # (n, classes)
        elif not self.multilabel and (labels := batch.get("labels")) is not None and labels.dim() == 2:
            raise PotstillError("soft_target", "the labels are of classes that do not exclude each other", "add multilabel: true")
        total = self._divergence(student / self.temperature, teacher / self.temperature)
        if self.scale_by_t2:
            total = total * self.temperature**2
        return total / max(1, student.numel() if self.reduction == "element" else len(student))

    def _tokens(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Which tokens count: (b, l), True where one does.

        Raises:
            PotstillError: "labelled" tokens, and the batch has no labels.
        """
        if self.tokens == "real":
            return batch["attention_mask"].bool()
        if "labels" not in batch:
            raise PotstillError("soft_target", "tokens: labelled, but the batch has no labels", "use tokens: real")
        return batch["labels"] != -100

    def _divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Σ over rows and classes; both (n, classes), already divided by T."""
        if not self.multilabel:
            return kl_div(log_softmax(student, dim=-1), log_softmax(teacher, dim=-1), reduction="sum", log_target=True)
        yes = kl_div(logsigmoid(student), logsigmoid(teacher), reduction="sum", log_target=True)
        no = kl_div(logsigmoid(-student), logsigmoid(-teacher), reduction="sum", log_target=True)
        return yes + no
