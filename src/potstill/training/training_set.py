"""What a stage learns from, row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from potstill.data.alignment import Segments
from potstill.data.mixed import MaskedMix
from potstill.runtime.tokens import TokenizedTexts


@dataclass(frozen=True)
class TrainingSet:
    """Texts with their labels, or with the way to mask them.

    Attributes:
        texts: in the student's pieces.
        labels: of the rows, as Loss.forward describes them; a list where each text has one for
            each token; None where the data has none.
        masking: of a language model: padded ids and a generator → (masked ids, labels).
        masked_beside: whether a batch holds the masked texts, as `masked_ids`, beside the plain ones.
        groups: (n, v) numbers of `texts` that belong together, for a contrastive loss: a row is
            then a group, and a batch holds first texts, then second ones, then third ones.
        mixed: the same texts as the teacher of dual training reads them.
        segments: of each token, where a teacher of another vocabulary is compared token by token.
    """

    texts: TokenizedTexts
    labels: np.ndarray | Sequence[np.ndarray] | None = None
    masking: Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]] | None = None
    masked_beside: bool = False
    groups: np.ndarray | None = None
    segments: Segments | None = None
    mixed: MaskedMix | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(rows,) tokens of each row's longest text."""
        return self.texts.lengths if self.groups is None else self.texts.lengths[self.groups].max(1)

    def batch(self, rows: np.ndarray, pad_id: int, seed: int, number: int = 0) -> dict[str, np.ndarray]:
        """Make a batch of some rows.

        What is drawn at random depends on `seed`, `number` and the first row alone. So a text is masked
        differently in every epoch, each of several processes masks its rows of a batch differently, and
        a resumed run draws what an unbroken one does.

        Args:
            rows: (b,) numbers of rows.
            pad_id: of the padding token.
            seed: of the run.
            number: of the batch in the stage's plan.

        Returns:
            `input_ids`, `attention_mask` and where there are pairs `token_type_ids`, each (b, l); `rows` (b,), the numbers of
            the texts; where the data has them `labels`, `masked_ids` (b, l), `segments` (b, l), `views` (how many texts a
            group has; b is then groups · views, view after view), and what MaskedMix.batch gives.
        """
        views = {}
        if self.groups is not None:
            rows, views = self.groups[rows].T.ravel(), {"views": np.array(self.groups.shape[1])}
        batch = {**self.texts.pad(rows, pad_id), "rows": rows, **views}
        if self.segments is not None:
            batch["segments"] = self.segments.pad(rows)
        if self.masking is not None:
            name = "masked_ids" if self.masked_beside else "input_ids"
            batch[name], batch["labels"] = self.masking(batch["input_ids"], np.random.default_rng([seed, number, *rows[:1]]))
        if self.mixed is not None:
            batch |= self.mixed.batch(rows, np.random.default_rng([seed, number, *rows[:1], 1]))
        if self.labels is not None:
            batch["labels"] = self.labels_of(rows)
        return batch

    def labels_of(self, rows: np.ndarray) -> np.ndarray:
        """The labels of some rows.

        Args:
            rows: (b,) numbers of texts.

        Returns:
            (b, …); of labels for each token (b, longest), -100 where a token has none.
        """
        assert self.labels is not None
        if isinstance(self.labels, np.ndarray):
            return self.labels[rows]
        padded = np.full((len(rows), int(self.texts.lengths[rows].max(initial=0))), -100, dtype=np.int64)
        for number, row in enumerate(rows):
            padded[number, : len(self.labels[row])] = self.labels[row]
        return padded
