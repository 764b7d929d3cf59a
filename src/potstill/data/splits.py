"""Which rows train a model, which choose between models, and which are reported: the rule for every labelled data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from potstill.data.labelled import Examples, Text
from potstill.errors import PotstillError

SPLITS = ("train", "dev", "test")
SHARE, MOST = 10, 1000  # one row in ten is held out, and never more than a thousand
SEED = 0  # of the draw: the same rows in every run, whatever the run's own seed


@dataclass(frozen=True)
class LabelledData:
    """A labelled data set on disk, read split by split when asked.

    The rule. Reported is `test`, or `dev` where there is no test file with labels (as in most of
    GLUE). Choosing (early stopping, the best checkpoint, a search) must not see what is reported: it
    uses `dev` where dev is not reported itself, else rows drawn from `train`, which training then
    does without.

    Attributes:
        name: for errors.
        kind: of data.labelled.KINDS.
        labels: the label set, in the order of the numbers; [] for a regression.
        splits: train, dev, test, whichever there are with labels → reads it.
    """

    name: str
    kind: str
    labels: list[str]
    splits: Mapping[str, Callable[[], Examples]]

    def reported(self) -> Examples:
        """Raises PotstillError when there is neither test nor dev."""
        return self._read("test" if "test" in self.splits else "dev")

    def train_and_dev(self) -> tuple[Examples, Examples]:
        """Rows to train on and rows to choose by. Raises PotstillError when there are none."""
        train = self._read("train")
        return (train, self._read("dev")) if self._has_own_dev() else hold_out(train, self.name)

    def choosing(self) -> Examples:
        """The second of `train_and_dev`, without reading more than it needs."""
        return self._read("dev") if self._has_own_dev() else self.train_and_dev()[1]

    def _has_own_dev(self) -> bool:
        return "dev" in self.splits and "test" in self.splits

    def _read(self, split: str) -> Examples:
        if split not in self.splits:
            raise PotstillError(self.name, f"has no {split} split (there: {', '.join(self.splits)})", f"add a {split} file")
        return self.splits[split]()


def hold_out(examples: Examples, name: str) -> tuple[Examples, Examples]:
    """Draw a tenth, at most 1000 rows, with a fixed seed: (what stays, what was drawn), both in the order they had.

    No text is on both sides: rows that repeat a drawn text go from what stays.

    Args:
        name: for the error.

    Raises:
        PotstillError: nothing would stay.
    """
    count = min(MOST, max(1, len(examples) // SHARE))
    drawn = np.sort(np.random.default_rng(SEED).permutation(len(examples))[:count])
    taken = {_key(examples.texts[row]) for row in drawn}
    rest = [row for row, text in enumerate(examples.texts) if _key(text) not in taken]
    if not rest:
        raise PotstillError(
            name, "the train split holds one text only, so none can be held out for choosing", "add rows, or a dev and a test file"
        )
    return examples.take(rest), examples.take(drawn)


def _key(text: Text) -> str | tuple[str, ...]:
    return text if isinstance(text, str) else tuple(text)
