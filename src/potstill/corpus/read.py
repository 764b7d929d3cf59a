"""The data of a recipe: unlabelled texts or labelled rows, and more of the latter by augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from glob import has_magic
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from potstill.corpus.edited import edited_copies
from potstill.data.files.texts import files_behind, raw_texts, read_groups, read_texts
from potstill.data.stored import TEXTS, Gathering, StoredTexts
from potstill.errors import PotstillError, collect, refuse
from potstill.machine.cache import named_place
from potstill.machine.files import kind_of_place, write_aside
from potstill.models.source import model_folder
from potstill.recipe.part import TextSource
from potstill.recipe.recipe import EMBED, MLM, Recipe
from potstill.runtime.folder import CLASSIFICATION, TAGGING
from potstill.tasks.labelled import LabelledSet, recipe_set

Row = TypeVar("Row", str, tuple[str, ...])
Stamp = list[Any]  # path, bytes, times of the last change of content and of the entry, and inode of a file
LEAST_HELD_OUT = 3  # texts whose pairs have an order, which agreement with the teacher compares
LARGE = 1 << 24  # bytes of the files, above which texts are not held in memory: some 200,000 sentences
MINIMUM_TEXTS = 16  # fewer cannot be split into training and held-out texts that mean anything


@dataclass
class Corpus:
    """The data of a recipe, read.

    Attributes:
        texts: to train on: strings, pairs, or lists of words. Of large files they lie in one that is mapped into memory.
        held_out: to look at while exporting; of unlabelled texts also to measure agreement on.
        labels: of `texts`, as data.labelled.Examples has them; None of unlabelled texts.
        kind: of the student's head ("embed" for none), with the `names` of its labels.
        gold: the labels of `held_out`.
        groups: (n, v) numbers of texts that belong together: a text, its pair or again itself, and
            maybe a hard negative; None where no loss reads pairs.
        has_label: (n,) bool, of which texts the data knows the label; None: of all.
        numbered: as in data.splits.LabelledData.
    """

    texts: Sequence[Any]
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
    for key in ("texts", "pairs", "edits"):
        if getattr(recipe.data, key):
            raise PotstillError(f"data.{key}", f"are not read by the labelled task {recipe.task}", "drop them, or set task: embed")
    return _labelled(recipe, own or recipe_set(recipe))


def _unlabelled(recipe: Recipe) -> Corpus:
    for key in ("augment", "transfer", "labels"):
        if getattr(recipe.data, key):
            raise PotstillError(f"data.{key}", f"is for labelled tasks, and the task is {recipe.task}", "drop it")
    if recipe.data.file is not None:
        raise PotstillError(
            "data.file", f"is for tasks with labels, and the task is {recipe.task}", "name it under data.texts, or data.pairs"
        )
    kind = EMBED if recipe.task == EMBED else MLM
    pairs = _reads_pairs(recipe)
    if recipe.data.edits and (kind == MLM or pairs):
        told = "beside a loss of pairs" if pairs else f"by the task {recipe.task}"
        raise PotstillError("data.edits", f"are not read {told}", "drop it: they are for a teacher's vectors")
    if pairs:
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
    if recipe.data.edits:  # all texts are in memory then
        texts = [*texts, *edited_copies(texts, recipe.data.edits, recipe.training.seed, held_out)]
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
    return source.path if source.format == "dataset" and kind_of_place(local) is None and not has_magic(source.path) else local


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


def gather_texts(recipe: Recipe, sources: Sequence[str | TextSource] | None = None) -> Sequence[str]:
    """Texts of every source, each once: a list, or where the files are LARGE one that is mapped into memory.

    Args:
        sources: default the recipe's training texts.

    Raises:
        PotstillError: what is wrong with the sources, all at once; or too few texts.
    """
    entries = recipe.data.texts if sources is None else sources
    named = [TextSource(path=entry) if isinstance(entry, str) else entry for entry in entries]
    stamps = [_stamps_of(source, recipe) for source in named]
    if sum(size for files in stamps for _, size, *_ in files) > LARGE:
        found = _stored(recipe, named, stamps)
    else:
        texts: dict[str, None] = {}
        with collect() as attempt:
            for source in named:
                texts.update(dict.fromkeys(attempt(_texts_of, source, recipe) or ()))
        found = list(texts)
    if len(found) < MINIMUM_TEXTS:
        raise PotstillError("data.texts", f"{len(found)} different texts", f"name sources with at least {MINIMUM_TEXTS}")
    return found


def _stored(recipe: Recipe, sources: Sequence[TextSource], stamps: list[list[Stamp]]) -> Sequence[str]:
    """The texts of the sources, read once into the cache; they are read again where a file is another one since, as its stamp says.

    Raises:
        PotstillError: what is wrong with the sources, all at once; or a file was changed while it was read.
    """
    seed = recipe.training.seed
    read = [[*files, source.model_dump(exclude={"path"})] for files, source in zip(stamps, sources)]
    folder = named_place("texts", {"format": 1, "sources": read, "seed": seed if any(source.limit for source in sources) else None})
    if not (folder / TEXTS).is_file():
        with write_aside(folder) as aside:
            aside.mkdir()
            gathering = Gathering(aside)
            with collect() as attempt:
                for source in sources:
                    attempt(_gather, gathering, source, recipe)
            gathering.finish()
            for source, before in zip(sources, stamps):
                if _stamps_of(source, recipe) != before:
                    raise PotstillError(source.path, "was changed while it was read", "start again when it is whole")
    return StoredTexts(folder)


def _gather(gathering: Gathering, source: TextSource, recipe: Recipe) -> None:
    path = _local(source, recipe)
    texts = raw_texts(path, format=source.format, columns=source.columns, split=source.split)
    gathering.add(path, texts, source.limit, recipe.training.seed)


def _stamps_of(source: TextSource, recipe: Recipe) -> list[Stamp]:
    """What tells whether a file is the one that was read; nothing of what cannot be opened, which the reader says."""
    found = []
    with suppress(PotstillError, OSError):
        for file in files_behind(_local(source, recipe), source.format, source.split):
            stat = file.stat()
            found.append([str(file.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino])
    return found


def _texts_of(source: TextSource, recipe: Recipe) -> list[str]:
    path, seed = _local(source, recipe), recipe.training.seed
    return list(read_texts(path, format=source.format, columns=source.columns, split=source.split, limit=source.limit, seed=seed))


def split_groups(groups: Sequence[tuple[str, ...]], held_out: int, seed: int) -> tuple[list[tuple[str, ...]], list[str]]:
    """(training groups, held-out texts): as split_texts, and no text of a training group is held out."""
    kept, out = split_texts(groups, held_out, seed)
    texts = list(dict.fromkeys(text for group in out for text in group))
    gone = set(texts)
    return [group for group in kept if gone.isdisjoint(group)], texts


def split_texts(texts: Sequence[Row], held_out: int, seed: int) -> tuple[Sequence[Row], list[Row]]:
    """Keep a tenth of the texts from training, at most `held_out`; of a small set 3 at least, which agreement needs.

    Returns:
        (training texts, held-out texts), both in the files' order.
    """
    count = max(LEAST_HELD_OUT, min(held_out, len(texts) // 10))
    rows = np.random.default_rng(seed).choice(len(texts), count, replace=False)
    if isinstance(texts, StoredTexts):
        rows.sort()
        return texts.without(rows), [texts[row] for row in rows]
    chosen = np.zeros(len(texts), dtype=bool)
    chosen[rows] = True
    return [text for text, out in zip(texts, chosen, strict=True) if not out], [
        text for text, out in zip(texts, chosen, strict=True) if out
    ]
