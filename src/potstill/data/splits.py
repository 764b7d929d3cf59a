"""Which rows train a model, which choose between models, and which are reported: the rule for every labelled data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from potstill.data.labelled import Examples
from potstill.errors import PotstillError
from potstill.runtime.tokens import Text

SPLITS = ("train", "dev", "test")
SHARE, MOST = 10, 1000  # one row in ten is held out, and never more than a thousand
SEED = 0  # of the draw: the same rows in every run, whatever the run's own seed


@dataclass(frozen=True)
class LabelledData:
    """A labelled data set, whose splits are read when they are first asked for, each one once.

    The rule. The score that is reported is that of `test`, or of `dev` where there is no test file
    with labels, as in most of GLUE. Choosing (early stopping, the best checkpoint, a search) must not
    see the reported rows. It uses `dev` where `dev` is not reported. Else it uses rows drawn from
    `train`, and training does without them.

    Attributes:
        name: for errors.
        kind: of runtime.folder.HEADS.
        labels: the label set, in the order of the labels' numbers; [] for a regression.
        splits: those of SPLITS that exist with labels → the function that reads them.
        numbered: the same labels, in the order of the numbers by which a model without names for them means them; []
            where the data does not say.
    """

    name: str
    kind: str
    labels: list[str]
    splits: Mapping[str, Callable[[], Examples]]
    numbered: list[str] = field(default_factory=list)
    _examples: dict[str, Examples] = field(default_factory=dict, init=False, repr=False, compare=False)

    def reported(self) -> Examples:
        """The rows whose score is reported.

        A PotstillError comes through where there is neither `test` nor `dev`, or its file is malformed.
        """
        return self._read("test" if "test" in self.splits else "dev")

    def train_and_dev(self) -> tuple[Examples, Examples]:
        """The rows to train on, and the rows to choose by.

        A PotstillError comes through where there is no `train`, or a file is malformed.
        """
        train = self._read("train")
        return (train, self._read("dev")) if self._has_own_dev() else hold_out(train, self.name)

    def choosing(self) -> Examples:
        """The rows to choose by: the second of `train_and_dev`, without reading `train` where it is not needed."""
        return self._read("dev") if self._has_own_dev() else self.train_and_dev()[1]

    def _has_own_dev(self) -> bool:
        return "dev" in self.splits and "test" in self.splits

    def _read(self, split: str) -> Examples:
        if split not in self.splits:
            raise PotstillError(self.name, f"has no {split} split (there: {', '.join(self.splits)})", f"add a {split} file")
        if split not in self._examples:
            self._examples[split] = self.splits[split]()
        return self._examples[split]


def hold_out(examples: Examples, name: str) -> tuple[Examples, Examples]:
    """Draw a tenth of the rows, at most 1000, with a fixed seed.

    No text is on both sides: rows that repeat a drawn text are left out of the rest.

    Args:
        examples: to draw from.
        name: of the data set, for the error.

    Returns:
        The rest and the drawn rows, both in the order that they had.

    Raises:
        PotstillError: no row would be left in the rest.
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
