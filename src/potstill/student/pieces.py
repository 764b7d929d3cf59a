"""The tokenizer of a model's folder without its weights, and the pieces of a student with a vocabulary of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from potstill.corpus.read import Corpus, gather_texts
from potstill.data.stored import StoredTexts
from potstill.machine.cache import cached_json
from potstill.machine.files import read_json
from potstill.recipe.recipe import Recipe
from potstill.runtime.folder import TOKENIZER

CUTTING = ("normalizer", "pre_tokenizer", "model", "added_tokens")  # parts of a tokenizer that decide a text's pieces


def own_pieces(recipe: Recipe, corpus: Corpus, folder: Path) -> list[str] | None:
    """The pieces that a recipe's student is to have.

    They are kept in the cache, since training them is not the same twice: so every student of the
    same texts has the same ones, and a resumed run those that it began with. A PotstillError from
    below comes through: the source has no fast tokenizer, a broken one or one that is not WordPiece,
    or the size is too small.

    Args:
        recipe: its student's vocabulary counts.
        corpus: whose texts the pieces are taken from, where the recipe names no other texts.
        folder: the source's.

    Returns:
        The pieces in the order of their numbers; None where the student keeps its source's.
    """
    wanted = recipe.student.vocabulary
    if wanted is None:
        return None
    from potstill.student.vocabulary import trained, trimmed

    tokenizer = tokenizer_of(folder)
    texts = strings_of(gather_texts(recipe, wanted.texts) if wanted.texts else corpus.texts)

    def pieces() -> list[str]:
        return trimmed(tokenizer, texts, wanted.size) if wanted.method == "trim" else trained(tokenizer, texts, wanted.size or 0)

    settings = {"vocabulary": wanted.method, "size": wanted.size, **_reading(tokenizer, folder / TOKENIZER)}
    if wanted.method == "trim" and wanted.size is not None:
        settings["made_up"] = True  # to the size; earlier releases kept fewer where the texts used fewer
    return cached_json("vocabulary.json", folder, texts, settings, pieces)


def tokenizer_of(folder: Path) -> dict[str, Any]:
    """A folder's tokenizer as its model reads texts, as the library tokenizers writes it to JSON.

    It is the tokenizer that is loaded: tokenizer_config.json or sentence-transformers' files may ask for another reading
    than tokenizer.json, and there may be no tokenizer.json. A PotstillError from below comes through: the folder has no
    fast one, or a broken one.
    """
    from potstill.models import sentence_read
    from potstill.models.layout import lower_cased
    from potstill.models.loading import load_tokenizer

    loaded = load_tokenizer(folder)
    if sentence_read.read(folder).lower_case:
        loaded = lower_cased(loaded)
    return json.loads(loaded.backend_tokenizer.to_str())


def strings_of(rows: Sequence[Any]) -> Sequence[str]:
    """Each side of a pair, and the words of a text that is given as words, by themselves."""
    if isinstance(rows, StoredTexts):
        return rows
    return [text for row in rows for text in ([row] if isinstance(row, str) else row)]


def _reading(tokenizer: dict[str, Any], file: Path) -> dict[str, str]:
    """What the cache is told of a tokenizer that does not read texts as its file says; nothing of one that does.

    The cache knows a model by the digests of its files.
    """
    own, written = ({part: one.get(part) for part in CUTTING} for one in (tokenizer, read_json(file) if file.is_file() else {}))
    return {} if own == written else {"tokenizer": hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()}
