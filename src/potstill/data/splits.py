"""Which rows train a model, which choose between models, and which are reported: the rule for every labelled data set."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from unicodedata import category, normalize

import numpy as np
from numpy.typing import NDArray

from potstill.data.labelled import Examples
from potstill.errors import PotstillError, shown, warn
from potstill.runtime.folder import CLASSIFICATION
from potstill.runtime.tokens import Text

SPLITS = ("train", "dev", "test")
SHARE, MOST = 10, 1000  # one row in ten is held out, and never more than a thousand
LISTED = 5  # labels that a warning names
SEED = 0  # of the draw: the same rows in every run, whatever the run's own seed


@dataclass(frozen=True)
class LabelledData:
    """A labelled data set, whose splits are read when they are first asked for, each one once.

    The rule. The score that is reported is that of `test`, or of `dev` where there is no test file
    with labels, as in most of GLUE. Choosing (early stopping, the best checkpoint, a search) must not
    see the reported rows. It uses `dev` where `dev` is not reported. Else it uses rows drawn from
    `train`, and training does without them.

    Of one label a text, rows that are scored or chosen by and have but one label are told in a PotstillWarning, since no
    score of them says anything of another label; so are labels that no training row has.

    Attributes:
        name: for errors.
        kind: of runtime.folder.HEADS.
        labels: the label set, in the order of the labels' numbers; [] for a regression.
        splits: those of SPLITS that exist with labels → the function that reads them.
        numbered: the same labels, in the order of the numbers by which a model without names for them means them; []
            where the data does not say.
        draw: (train, name) → the rows to train on, and the rows to choose by where no file has these; both in their order.
    """

    name: str
    kind: str
    labels: list[str]
    splits: Mapping[str, Callable[[], Examples]]
    numbered: list[str] = field(default_factory=list)
    draw: Callable[[Examples, str], tuple[Examples, Examples]] = field(default_factory=lambda: hold_out)
    _examples: dict[str, Examples] = field(default_factory=dict, init=False, repr=False, compare=False)
    _told: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def reported(self) -> Examples:
        """The rows whose score is reported.

        A PotstillError comes through where there is neither `test` nor `dev`, or its file is malformed.
        """
        return self._of_several_labels(self._read("test" if "test" in self.splits else "dev"), "that are scored")

    def train_and_dev(self) -> tuple[Examples, Examples]:
        """The rows to train on, and the rows to choose by.

        A PotstillError comes through where there is no `train`, a file is malformed, or one label is left to train on.
        """
        train = self._read("train")
        train, dev = (train, self._read("dev")) if self._has_own_dev() else self.draw(train, self.name)
        self._require_several_labels(train)
        return train, self._of_several_labels(dev, "to choose by")

    def choosing(self) -> Examples:
        """The rows to choose by: the second of `train_and_dev`, without reading `train` where it is not needed."""
        own = self._read("dev") if self._has_own_dev() else self.draw(self._read("train"), self.name)[1]
        return self._of_several_labels(own, "to choose by")

    def _has_own_dev(self) -> bool:
        return "dev" in self.splits and "test" in self.splits

    def _require_several_labels(self, train: Examples) -> None:
        """Check what is left to train on, after rows to choose by were drawn from it.

        Raises:
            PotstillError: all of its rows have the same one label of several.
        """
        if self.kind != CLASSIFICATION or len(self.labels) < 2:
            return
        counts = np.bincount(np.asarray(train.labels), minlength=len(self.labels))
        if np.count_nonzero(counts) == 1:
            problem = f"all {len(train)} rows that are left to train on are labelled {shown(self.labels[int(counts.argmax())])}"
            raise PotstillError(self.name, problem, "add rows of the other labels, or a dev and a test file")
        absent = [shown(label) for label, count in zip(self.labels, counts) if not count]
        if absent:
            several = f"{', '.join(absent[:LISTED])}{f' and {len(absent) - LISTED} more' if len(absent) > LISTED else ''}"
            problem = f"{len(train)} rows to train on for {len(self.labels)} labels, and none is labelled {several}"
            self._tell(problem, "add such rows, or leave out what cannot be learnt")

    def _of_several_labels(self, examples: Examples, what: str) -> Examples:
        """The rows; a warning where they have one label of several."""
        if self.kind == CLASSIFICATION and len(self.labels) > 1 and len(examples):
            found = np.unique(np.asarray(examples.labels))
            if len(found) == 1:
                problem = f"all {len(examples)} rows {what} are labelled {shown(self.labels[int(found[0])])}"
                self._tell(problem, "add rows of the other labels: as it is, one answer to everything is right")
        return examples

    def _tell(self, problem: str, remedy: str) -> None:
        """Warn of it once, however often the rows are asked for."""
        if problem not in self._told:
            self._told.add(problem)
            warn(self.name, problem, remedy)

    def tell_repeats(self) -> None:
        """Count the rows of dev and test whose text a split before has too, as `near_key` takes them for the same, and warn of them.

        All splits are read. A PotstillError comes through where a file is malformed.
        """
        before: set[Any] = set()
        told = []
        for split in (split for split in SPLITS if split in self.splits):
            keys = [near_key(text) for text in self._read(split).texts]
            if repeated := sum(key in before for key in keys):
                told.append(f"{repeated:,} of {len(keys):,} rows of {split}")
            before.update(keys)
        if told:
            problem = f"{' and '.join(told)} repeat a text of an earlier split, but for capitals, punctuation and spaces"
            self._tell(problem, "their score says too much: take such rows out")

    def _read(self, split: str) -> Examples:
        if split not in self.splits:
            raise PotstillError(self.name, f"has no {split} split (there: {', '.join(self.splits)})", f"add a {split} file")
        if split not in self._examples:
            self._examples[split] = self.splits[split]()
        return self._examples[split]


def part_rows(
    texts: Sequence[Text],
    shares: Mapping[str, float],
    name: str,
    *,
    groups: Sequence[str | None] | None = None,
    strata: NDArray[Any] | None = None,
    labels: Sequence[str] = (),
) -> dict[str, NDArray[np.int64]]:
    """Draw the rows of several parts with a fixed seed, and leave the rest to train on.

    Rows of one group are in one part; without groups, rows whose texts `near_key` takes for the same.

    Args:
        texts: of all rows.
        shares: part → its share of the rows, together below 1.
        name: of the rows, for errors.
        groups: what each row belongs to; None: the same text.
        strata: (n,) the number of each row's class, each of which has its share of every part; None: all rows alike.
        labels: names of the classes.

    Returns:
        The numbers of the rows of "train" and of every part, in their order.

    Raises:
        PotstillError: a part has no row of some class, since there are too few rows, or too few groups, to be parted so.
    """
    members: dict[Any, list[int]] = {}
    for row, text in enumerate(texts):
        members.setdefault(near_key(text) if groups is None else groups[row], []).append(row)
    units = [list(rows) for rows in members.values()]
    classes = np.zeros(len(texts), dtype=np.int64) if strata is None else np.unique(strata, return_inverse=True)[1]
    order = np.random.default_rng(SEED).permutation(len(units))
    draw = _by_quota if groups is None else _by_balance
    part_of = draw([units[unit] for unit in order], classes, list(shares.values()))
    _require_all(
        classes if strata is None else strata, part_of, shares, name, "group" if groups else "text", labels if strata is not None else ()
    )
    return {part: np.flatnonzero(part_of == position) for position, part in enumerate(["train", *shares], start=-1)}


def _by_quota(units: Sequence[list[int]], classes: NDArray[Any], shares: Sequence[float]) -> NDArray[np.int64]:
    """The part of each row, -1 for none: of each class the first units that fit into a part's share, which is a row at least.

    Args:
        units: rows that stay together, nearly always a single one.
        classes: (n,) of the rows; a unit's is that of most of its rows.
        shares: of the parts.
    """
    part_of = np.full(len(classes), -1)
    of_class: dict[int, list[list[int]]] = {}
    for rows in units:
        of_class.setdefault(int(np.bincount(classes[rows]).argmax()) if len(rows) > 1 else int(classes[rows[0]]), []).append(rows)
    for number, size in enumerate(np.bincount(classes)):
        own = of_class.get(number, [])
        for position, share in enumerate(shares):
            room, left = max(1, round(share * int(size))), []
            for rows in own:
                if len(rows) <= room:
                    part_of[rows] = position
                    room -= len(rows)
                else:
                    left.append(rows)
            own = left
    return part_of


def _by_balance(units: Sequence[list[int]], classes: NDArray[Any], shares: Sequence[float]) -> NDArray[np.int64]:
    """The part of each row, -1 for none: each unit, the largest first, goes where it brings all counts nearest to the shares.

    The distance is Pearson's chi-squared of the counts of rows by part and class.

    Args:
        units: rows that stay together, any number of them.
        classes: (n,) of the rows.
        shares: of the parts.
    """
    part_of = np.full(len(classes), -1)
    wanted = np.outer([1 - sum(shares), *shares], np.bincount(classes))  # (1 + parts, classes)
    had = np.zeros_like(wanted)
    for rows in sorted(units, key=len, reverse=True):
        more = np.bincount(classes[rows], minlength=wanted.shape[1])
        change = (((had + more - wanted) ** 2 - (had - wanted) ** 2) / wanted).sum(axis=1)
        best = int(change.argmin())
        had[best] += more
        part_of[rows] = best - 1
    return part_of


def _require_all(
    classes: NDArray[Any], part_of: NDArray[Any], shares: Mapping[str, float], name: str, unit: str, labels: Sequence[str]
) -> None:
    """Check that every part, that to train on among them, has rows of every class.

    Raises:
        PotstillError: one has none.
    """
    parts = ["train", *shares]
    lacking = [number for number in np.unique(classes) if len(np.unique(part_of[classes == number])) < len(parts)]
    if lacking and not labels:
        problem = f"{len(classes)} rows of too few different {unit}s for {', '.join(parts)}"
        raise PotstillError(name, problem, "add rows, or give each part a file")
    if lacking:
        told = ", ".join(f"{shown(labels[number])} ({np.sum(classes == number)} rows)" for number in lacking[:LISTED])
        more = f" and {len(lacking) - LISTED} more" if len(lacking) > LISTED else ""
        problem = f"too few rows of different {unit}s to have some in each of {', '.join(parts)}: {told}{more}"
        raise PotstillError(name, problem, "add rows of it, leave the label out, or set data.split.stratify=false")


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
    drawn = _drawn(len(examples))
    taken = {_key(examples.texts[row]) for row in drawn}
    rest = [row for row, text in enumerate(examples.texts) if _key(text) not in taken]
    if not rest:
        raise PotstillError(
            name, "the train split holds one text only, so none can be held out for choosing", "add rows, or a dev and a test file"
        )
    return examples.take(rest), examples.take(drawn)


def hold_out_sentences(examples: Examples, name: str) -> tuple[Examples, Examples]:
    """Draw a tenth of the whole sentences, at most 1000, with a fixed seed, where rows are sentences and phrases of these.

    A row is a phrase where its words stand, in this order and next to each other, in a longer one. Phrases of a drawn sentence are on
    neither side: whoever learnt them has read the sentence in pieces.

    Args:
        examples: to draw from; single texts.
        name: of the data set, for the error.

    Returns:
        The rest, and the drawn sentences, both in the order that they had.

    Raises:
        PotstillError: no row would be left in the rest.
    """
    words = [str(text).casefold().split() for text in examples.texts]
    phrases: set[str] = set()
    whole = []
    for row in sorted(range(len(words)), key=lambda row: -len(words[row])):
        if " ".join(words[row]) not in phrases:
            whole.append(row)
            phrases.update(_phrases(words[row]))
    sentences = np.sort(whole)
    drawn = sentences[_drawn(len(sentences))]
    taken = {phrase for row in drawn for phrase in _phrases(words[row])}
    rest = [row for row, own in enumerate(words) if " ".join(own) not in taken]
    if not rest:
        problem = "the train split holds the phrases of one sentence only, so none can be held out for choosing"
        raise PotstillError(name, problem, "add rows, or a dev and a test file")
    return examples.take(rest), examples.take(drawn)


def _drawn(count: int) -> NDArray[np.int64]:
    """A tenth of so many numbers, at least one and at most MOST, in their order."""
    return np.sort(np.random.default_rng(SEED).permutation(count)[: min(MOST, max(1, count // SHARE))])


def _phrases(words: Sequence[str]) -> Iterator[str]:
    """All that stands in it next to each other, itself too."""
    return (" ".join(words[start:end]) for start in range(len(words)) for end in range(start + 1, len(words) + 1))


def near_key(text: Text) -> Any:
    """What two texts have in common that differ in nothing but capitals, punctuation, spaces and forms of one character.

    Of a text of punctuation alone it is that text.
    """
    if not isinstance(text, str):
        return tuple(near_key(each) for each in text)
    plain = normalize("NFKC", text).casefold()
    return " ".join(plain.translate(_punctuation()).split()) or plain.strip()


@cache
def _punctuation() -> dict[int, str]:
    """Every character of punctuation → a space, for str.translate."""
    return {code: " " for code in range(sys.maxunicode + 1) if category(chr(code)).startswith("P")}


def _key(text: Text) -> str | tuple[str, ...]:
    return text if isinstance(text, str) else tuple(text)
