"""The data of a recipe: unlabelled texts or labelled rows, and more of the latter by augmentation."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from potstill import recipe as recipes
from potstill.data.readers import read_groups, read_texts
from potstill.errors import PotstillError, PotstillErrors, collect
from potstill.files import write_text
from potstill.models.source import model_folder

if TYPE_CHECKING:
    from potstill.models.encoder import EncoderModel

Row = TypeVar("Row", str, tuple[str, ...])
MINIMUM_TEXTS = 16  # fewer cannot be split into training and held-out texts that mean anything


@dataclass
class Material:
    """The data of a recipe, read.

    Attributes:
        texts: to train on: strings, pairs, or lists of words.
        held_out: to look at while exporting; of unlabelled texts also to measure agreement on.
        labels: of `texts`, as data.labelled.Examples has them; None of unlabelled texts.
        kind: of the student's head ("embed" for none), with the `names` of its labels.
        gold: the labels of `held_out`.
        groups: (n, v) numbers of texts that belong together: a text, its pair or again itself, and
            maybe a hard negative; None where no loss reads pairs.
        given: (n,) bool, of which texts the data knows the label; None: of all.
    """

    texts: list[Any]
    held_out: list[Any]
    labels: Any = None
    kind: str = "embed"
    names: list[str] = field(default_factory=list)
    gold: Any = None
    groups: Any = None
    given: Any = None


def read_material(recipe: recipes.Recipe) -> Material:
    """Read what a recipe trains on.

    Raises:
        PotstillErrors: everything wrong with it, at once.
    """
    return _labelled(recipe) if recipe.labelled else _unlabelled(recipe)


def augmented(material: Material, wanted: recipes.Augment, teacher: EncoderModel, folder: Path, seed: int) -> Material:
    """More rows of a labelled task: words replaced by others that may stand there, the label kept.

    What may replace a word is kept in the cache: it is slow to find and serves every student.

    Args:
        teacher: whose embedding table says which words are neighbours, unless a language model is asked.
        folder: the teacher's.
    """
    import numpy as np

    from potstill.data.augment import augment

    if wanted.model is None:
        settings = {"augment": "neighbours", "candidates": wanted.candidates}
        candidates: Any = kept("neighbours.json", folder, [], settings, lambda: _neighbours(teacher, wanted.candidates))
    else:
        sides = list(dict.fromkeys(side for text in material.texts for side in ([text] if isinstance(text, str) else text)))
        model = model_folder(wanted.model)
        settings = {"augment": "masked", "candidates": wanted.candidates}
        found = kept("masked.json", model, sides, settings, lambda: _masked(model, sides, wanted.candidates, teacher.device))
        candidates = dict(zip(sides, found, strict=True)).__getitem__
    rows = list(augment(material.texts, candidates, probability=wanted.probability, copies=wanted.copies, seed=seed))
    numbers = np.array([number for number, _ in rows])
    labels = material.labels[numbers]  # of an array: words that are tagged are never replaced
    given = np.diff(numbers, prepend=-1) > 0  # a row comes before its variants
    if material.given is not None:
        given &= material.given[numbers]
    return replace(material, texts=[text for _, text in rows], labels=labels, given=given)


def kept(name: str, folder: Path, texts: Sequence[str], settings: dict[str, Any], compute: Callable[[], Any]) -> Any:
    """What `compute` gives (JSON), out of the cache where it was made of the same model, texts and settings before."""
    from potstill.training.cache import cache_place

    file = cache_place(folder, texts, settings) / name
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    found = compute()
    write_text(file, json.dumps(found))
    return found


def _neighbours(teacher: EncoderModel, count: int) -> dict[str, list[str]]:
    from potstill.data.augment import embedding_neighbours

    pieces = teacher.hf_tokenizer.convert_ids_to_tokens(list(range(len(teacher.hf_tokenizer))))
    weight: Any = teacher.backbone.get_input_embeddings().weight
    return embedding_neighbours(weight.detach().float().cpu().numpy()[: len(pieces)], pieces, count, "neighbours")


def _masked(folder: Path, texts: Sequence[str], count: int, device: Any) -> list[list[list[str]]]:
    from potstill.models.candidates import masked_candidates
    from potstill.models.loading import load_encoder

    model = load_encoder(folder, kind="mlm").to(device)
    return masked_candidates(model.network, model.hf_tokenizer, texts, count, title="words in place")


def _unlabelled(recipe: recipes.Recipe) -> Material:
    for key in ("augment", "transfer"):
        if getattr(recipe.data, key):
            raise PotstillError(f"data.{key}", f"is for labelled tasks, and the task is {recipe.task}", "drop it")
    kind = "embed" if recipe.task == recipes.EMBED else "mlm"
    if _reads_pairs(recipe):
        groups, held_out = split_groups(gather_groups(recipe), recipe.data.held_out, recipe.training.seed)
        if len({group[1] for group in groups}) < 2:
            problem = f"{len(groups)} rows are left that share no text with the held-out ones, and nothing in them to tell apart"
            raise PotstillError("data", problem, "name more texts, or pairs with different second texts")
        numbers: dict[str, int] = {}
        rows = [[numbers.setdefault(text, len(numbers)) for text in group] for group in groups]
        return Material(list(numbers), held_out, kind=kind, groups=rows)
    if recipe.data.pairs:
        raise PotstillError("data.pairs", "are read by no term", "add the loss info_nce, or name them under `texts`")
    texts, held_out = split_texts(gather_texts(recipe), recipe.data.held_out, recipe.training.seed)
    return Material(texts, held_out, kind=kind)


def _reads_pairs(recipe: recipes.Recipe) -> bool:
    from potstill.losses.base import loss_class
    from potstill.registry import names

    used = {term.loss for stage in recipe.stages for term in stage.terms if term.weight != 0}
    return any(loss_class(name).reads_pairs for name in used & set(names("losses")))


def gather_groups(recipe: recipes.Recipe) -> list[tuple[str, ...]]:
    """What a contrastive loss holds together: a text with itself, under another dropout (SimCSE), and the rows of `pairs`.

    Raises:
        PotstillErrors: what is wrong with the sources, all at once.
    """
    groups: list[tuple[str, ...]] = []
    with collect() as attempt:
        if recipe.data.texts or not recipe.data.pairs:
            groups += [(text, text) for text in attempt(gather_texts, recipe) or ()]
        for source in recipe.data.pairs:
            groups += attempt(_rows_of, source, recipe) or []
    if len({len(group) for group in groups}) > 1:
        raise PotstillError("data.pairs", "some rows have a hard negative and some have none", "name as many columns everywhere")
    if len(groups) < MINIMUM_TEXTS:
        raise PotstillError("data", f"{len(groups)} different texts and pairs", f"name sources with at least {MINIMUM_TEXTS}")
    return groups


def _rows_of(source: recipes.TextSource, recipe: recipes.Recipe) -> list[tuple[str, ...]]:
    if source.columns is None:
        raise PotstillError(f"data.pairs: {source.path}", "has no columns", "name two, or three with a hard negative")
    path = _local(source, recipe)
    return read_groups(path, source.columns, format=source.format, split=source.split, limit=source.limit, seed=recipe.training.seed)


def _local(source: recipes.TextSource, recipe: recipes.Recipe) -> str | Path:
    """Where a source lies. A data set's hub name is no path under `dir`."""
    local = Path(recipe.data.dir) / source.path
    return source.path if source.format == "dataset" and not local.exists() else local


def _labelled(recipe: recipes.Recipe) -> Material:
    import numpy as np

    from potstill.tasks.labelled import training_data

    for key in ("texts", "pairs"):
        if getattr(recipe.data, key):
            raise PotstillError(f"data.{key}", f"are not read by the labelled task {recipe.task}", "drop them, or set task: embed")
    data = training_data(recipe.task, recipe.data.dir)
    if recipe.data.augment is not None and (recipe.teacher is None or data.kind == "tagging"):
        raise PotstillError("data.augment", "needs a teacher, and a task whose labels are not one a word", "drop it")
    if recipe.data.augment is not None and recipe.data.augment.model is not None:
        model_folder(recipe.data.augment.model)
    train = data.train
    if recipe.data.limit is not None and recipe.data.limit < len(train):
        train = train.take(np.sort(np.random.default_rng(recipe.training.seed).choice(len(train), recipe.data.limit, replace=False)))
        if data.kind == "classification" and np.ptp(train.labels) == 0:
            drawn = f"the {len(train)} drawn have one label, {data.labels[int(train.labels[0])]!r}"
            raise PotstillError("data.limit", drawn, "at least two classes are needed to learn from: keep more rows")
    material = Material(list(train.texts), list(data.dev.texts), train.labels, data.kind, data.labels, data.dev.labels)
    return _with_transfer(material, recipe) if recipe.data.transfer else material


def _with_transfer(material: Material, recipe: recipes.Recipe) -> Material:
    """The labelled rows and behind them the texts, or pairs, of `data.transfer`, labelled -100: nowhere."""
    import numpy as np

    if recipe.teacher is None or material.kind != "classification":
        raise PotstillError("data.transfer", "needs a teacher, and a task of classes that exclude each other", "drop it")
    pairs = isinstance(material.texts[0], tuple)
    more: list[Any] = []
    with collect() as attempt:
        for entry in recipe.data.transfer:
            source = recipes.TextSource(path=entry) if isinstance(entry, str) else entry
            if pairs and len(source.columns or ()) != 2:
                attempt(_refuse_columns, source, recipe.task)
            else:
                more += attempt(_rows_of, source, recipe) if pairs else attempt(gather_texts, recipe, [source]) or ()
    known = set(material.texts)
    more = [text for text in dict.fromkeys(more) if text not in known]
    labels = np.concatenate([material.labels, np.full(len(more), -100, dtype=np.int64)])
    return replace(material, texts=[*material.texts, *more], labels=labels, given=labels != -100)


def _refuse_columns(source: recipes.TextSource, task: str) -> None:
    raise PotstillError(f"data.transfer: {source.path}", f"has not two columns, and {task} is of pairs", "name its two `columns`")


def gather_texts(recipe: recipes.Recipe, sources: Sequence[str | recipes.TextSource] | None = None) -> list[str]:
    """Texts of every source, each once.

    Args:
        sources: default the recipe's training texts.

    Raises:
        PotstillErrors: what is wrong with the sources, all at once.
    """
    found: dict[str, None] = {}
    errors = []
    for entry in recipe.data.texts if sources is None else sources:
        source = recipes.TextSource(path=entry) if isinstance(entry, str) else entry
        try:
            found.update(
                dict.fromkeys(
                    read_texts(
                        _local(source, recipe),
                        format=source.format,
                        columns=source.columns,
                        split=source.split,
                        limit=source.limit,
                        seed=recipe.training.seed,
                    )
                )
            )
        except PotstillError as error:
            errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else PotstillErrors(errors)
    if len(found) < MINIMUM_TEXTS:
        raise PotstillError("data.texts", f"{len(found)} different texts", f"name sources with at least {MINIMUM_TEXTS}")
    return list(found)


def split_groups(groups: Sequence[tuple[str, ...]], held_out: int, seed: int) -> tuple[list[tuple[str, ...]], list[str]]:
    """(training groups, held-out texts): as split_texts, and no text of a training group is held out."""
    kept, out = split_texts(groups, held_out, seed)
    texts = list(dict.fromkeys(text for group in out for text in group))
    gone = set(texts)
    return [group for group in kept if gone.isdisjoint(group)], texts


def split_texts(texts: Sequence[Row], held_out: int, seed: int) -> tuple[list[Row], list[Row]]:
    """(training texts, held-out texts), in the files' order; at most a tenth is held out, at least 8."""
    import numpy as np

    count = max(8, min(held_out, len(texts) // 10))
    chosen = np.zeros(len(texts), dtype=bool)
    chosen[np.random.default_rng(seed).choice(len(texts), count, replace=False)] = True
    return [text for text, out in zip(texts, chosen, strict=True) if not out], [
        text for text, out in zip(texts, chosen, strict=True) if out
    ]
