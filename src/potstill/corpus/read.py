"""The data of a recipe: unlabelled texts or labelled rows, and more of the latter by augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from potstill.data.files.texts import read_groups, read_texts
from potstill.errors import PotstillError, collect, refuse
from potstill.machine.files import kind_of_place
from potstill.models.source import model_folder
from potstill.recipe.part import TextSource
from potstill.recipe.recipe import EMBED, MLM, Recipe
from potstill.runtime.folder import CLASSIFICATION, TAGGING
from potstill.tasks.labelled import LabelledSet, labelled_set

Row = TypeVar("Row", str, tuple[str, ...])
LEAST_HELD_OUT = 3  # texts whose pairs have an order, which agreement with the teacher compares
MINIMUM_TEXTS = 16  # fewer cannot be split into training and held-out texts that mean anything


@dataclass
class Corpus:
    """The data of a recipe, read.

    Attributes:
        texts: to train on: strings, pairs, or lists of words.
        held_out: to look at while exporting; of unlabelled texts also to measure agreement on.
        labels: of `texts`, as data.labelled.Examples has them; None of unlabelled texts.
        kind: of the student's head ("embed" for none), with the `names` of its labels.
        gold: the labels of `held_out`.
        groups: (n, v) numbers of texts that belong together: a text, its pair or again itself, and
            maybe a hard negative; None where no loss reads pairs.
        has_label: (n,) bool, of which texts the data knows the label; None: of all.
        numbered: as in data.splits.LabelledData.
    """

    texts: list[Any]
    held_out: list[Any]
    labels: Any = None
    kind: str = EMBED
    names: list[str] = field(default_factory=list)
    gold: Any = None
    groups: Any = None
    has_label: Any = None
    numbered: list[str] = field(default_factory=list)


def read_corpus(recipe: Recipe, own: LabelledSet | None = None) -> Corpus:
    """Read what a recipe trains on.

    Args:
        own: the data set of the recipe's labelled task, where it is open already.

    Raises:
        PotstillError: what is wrong with it; of several sources everything at once.
    """
    if not recipe.labelled:
        return _unlabelled(recipe)
    for key in ("texts", "pairs"):
        if getattr(recipe.data, key):
            raise PotstillError(f"data.{key}", f"are not read by the labelled task {recipe.task}", "drop them, or set task: embed")
    return _labelled(recipe, own or labelled_set(recipe.task, recipe.data.dir, recipe.data.labels or ()))


def _unlabelled(recipe: Recipe) -> Corpus:
    for key in ("augment", "transfer", "labels"):
        if getattr(recipe.data, key):
            raise PotstillError(f"data.{key}", f"is for labelled tasks, and the task is {recipe.task}", "drop it")
    kind = EMBED if recipe.task == EMBED else MLM
    if _reads_pairs(recipe):
        groups, held_out = split_groups(gather_groups(recipe), recipe.data.held_out, recipe.training.seed)
        if len({group[1] for group in groups}) < 2:
            problem = f"{len(groups)} rows are left that share no text with the held-out ones, and nothing in them to tell apart"
            raise PotstillError("data", problem, "name more texts, or pairs with different second texts")
        numbers: dict[str, int] = {}
        rows = [[numbers.setdefault(text, len(numbers)) for text in group] for group in groups]
        return Corpus(list(numbers), held_out, kind=kind, groups=rows)
    if recipe.data.pairs:
        raise PotstillError("data.pairs", "are read by no term", "add the loss info_nce, or name them under `texts`")
    texts, held_out = split_texts(gather_texts(recipe), recipe.data.held_out, recipe.training.seed)
    return Corpus(texts, held_out, kind=kind)


def _reads_pairs(recipe: Recipe) -> bool:
    from potstill.losses.base import loss_class
    from potstill.registry import is_own, names

    known, found = names("losses"), False
    for name in {term.loss for stage in recipe.stages for term in stage.terms if term.active}:
        if name in known or is_own(name):
            with suppress(PotstillError):  # which the check of the terms tells
                found = found or loss_class(name).reads_pairs
    return found


def gather_groups(recipe: Recipe) -> list[tuple[str, ...]]:
    """What a contrastive loss holds together: a text with itself, under another dropout (SimCSE), and the rows of `pairs`.

    Raises:
        PotstillError: what is wrong with the sources, all at once; or too few texts.
    """
    groups: list[tuple[str, ...]] = []
    with collect() as attempt:
        if recipe.data.texts or not recipe.data.pairs:
            groups += [(text, text) for text in attempt(gather_texts, recipe) or ()]
        for source in recipe.data.pairs:
            groups += attempt(_paired_texts, source, recipe) or []
    if len({len(group) for group in groups}) > 1:
        raise PotstillError("data.pairs", "some rows have a hard negative and some have none", "name as many columns everywhere")
    if len(groups) < MINIMUM_TEXTS:
        raise PotstillError("data", f"{len(groups)} different texts and pairs", f"name sources with at least {MINIMUM_TEXTS}")
    return groups


def _paired_texts(source: TextSource, recipe: Recipe) -> list[tuple[str, ...]]:
    if source.columns is None:
        raise PotstillError(f"data.pairs: {source.path}", "has no columns", "name two, or three with a hard negative")
    path = _local(source, recipe)
    return read_groups(path, source.columns, format=source.format, split=source.split, limit=source.limit, seed=recipe.training.seed)


def _local(source: TextSource, recipe: Recipe) -> str | Path:
    """Where a source lies. A data set's hub name is no path under `dir`."""
    local = Path(recipe.data.dir) / source.path
    return source.path if source.format == "dataset" and kind_of_place(local) is None else local


def _labelled(recipe: Recipe, own: LabelledSet) -> Corpus:
    data = own.training()
    if recipe.data.augment is not None and (recipe.teacher is None or data.kind == TAGGING):
        raise PotstillError("data.augment", "needs a teacher, and a task whose labels are not one a word", "drop it")
    if recipe.data.augment is not None and recipe.data.augment.model is not None:
        model_folder(recipe.data.augment.model)
    train = data.train
    if recipe.data.limit is not None and recipe.data.limit < len(train):
        train = train.take(np.sort(np.random.default_rng(recipe.training.seed).choice(len(train), recipe.data.limit, replace=False)))
        if data.kind == CLASSIFICATION and np.ptp(train.labels) == 0:
            drawn = f"the {len(train)} drawn have one label, {data.labels[int(train.labels[0])]!r}"
            raise PotstillError("data.limit", drawn, "at least two classes are needed to learn from: keep more rows")
    corpus = Corpus(
        list(train.texts),
        list(data.dev.texts),
        train.labels,
        data.kind,
        data.labels,
        data.dev.labels,
        numbered=data.numbered,
    )
    return _with_transfer(corpus, recipe) if recipe.data.transfer else corpus


def _with_transfer(corpus: Corpus, recipe: Recipe) -> Corpus:
    """The labelled rows and behind them the texts, or pairs, of `data.transfer`, labelled -100: nowhere.

    Raises:
        PotstillError: no teacher, or a task of another kind; and what is wrong with the sources, all at once.
    """
    if recipe.teacher is None or corpus.kind != CLASSIFICATION:
        raise PotstillError("data.transfer", "needs a teacher, and a task of classes that exclude each other", "drop it")
    pairs = isinstance(corpus.texts[0], tuple)
    more: list[Any] = []
    with collect() as attempt:
        for entry in recipe.data.transfer:
            source = TextSource(path=entry) if isinstance(entry, str) else entry
            if pairs and len(source.columns or ()) != 2:
                problem = f"has not two columns, and {recipe.task} is of pairs"
                attempt(refuse, f"data.transfer: {source.path}", problem, "name its two `columns`")
            else:
                more += attempt(_paired_texts, source, recipe) if pairs else attempt(gather_texts, recipe, [source]) or ()
    known = set(corpus.texts)
    more = [text for text in dict.fromkeys(more) if text not in known]
    labels = np.concatenate([corpus.labels, np.full(len(more), -100, dtype=np.int64)])
    return replace(corpus, texts=[*corpus.texts, *more], labels=labels, has_label=labels != -100)


def gather_texts(recipe: Recipe, sources: Sequence[str | TextSource] | None = None) -> list[str]:
    """Texts of every source, each once.

    Args:
        sources: default the recipe's training texts.

    Raises:
        PotstillError: what is wrong with the sources, all at once; or too few texts.
    """
    found: dict[str, None] = {}
    with collect() as attempt:
        for entry in recipe.data.texts if sources is None else sources:
            source = TextSource(path=entry) if isinstance(entry, str) else entry
            found.update(dict.fromkeys(attempt(_texts_of, source, recipe) or ()))
    if len(found) < MINIMUM_TEXTS:
        raise PotstillError("data.texts", f"{len(found)} different texts", f"name sources with at least {MINIMUM_TEXTS}")
    return list(found)


def _texts_of(source: TextSource, recipe: Recipe) -> list[str]:
    path, seed = _local(source, recipe), recipe.training.seed
    return list(read_texts(path, format=source.format, columns=source.columns, split=source.split, limit=source.limit, seed=seed))


def split_groups(groups: Sequence[tuple[str, ...]], held_out: int, seed: int) -> tuple[list[tuple[str, ...]], list[str]]:
    """(training groups, held-out texts): as split_texts, and no text of a training group is held out."""
    kept, out = split_texts(groups, held_out, seed)
    texts = list(dict.fromkeys(text for group in out for text in group))
    gone = set(texts)
    return [group for group in kept if gone.isdisjoint(group)], texts


def split_texts(texts: Sequence[Row], held_out: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Keep a tenth of the texts from training, at most `held_out`; of a small set 3 at least, which agreement needs.

    Returns:
        (training texts, held-out texts), both in the files' order.
    """
    count = max(LEAST_HELD_OUT, min(held_out, len(texts) // 10))
    chosen = np.zeros(len(texts), dtype=bool)
    chosen[np.random.default_rng(seed).choice(len(texts), count, replace=False)] = True
    return [text for text, out in zip(texts, chosen, strict=True) if not out], [
        text for text, out in zip(texts, chosen, strict=True) if out
    ]
