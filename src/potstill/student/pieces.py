"""The pieces of a student with a vocabulary of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from potstill.corpus.read import Corpus, gather_texts
from potstill.errors import PotstillError
from potstill.machine.cache import cached_json
from potstill.machine.files import read_json
from potstill.recipe.recipe import Recipe

TOKENIZER = "tokenizer.json"


def own_pieces(recipe: Recipe, corpus: Corpus, folder: Path) -> list[str] | None:
    """The pieces that a recipe's student is to have.

    They are kept in the cache, since training them is not the same twice: so every student of the
    same texts has the same ones, and a resumed run those that it began with.

    Args:
        recipe: its student's vocabulary counts.
        corpus: whose texts the pieces are taken from, where the recipe names no other texts.
        folder: the source's.

    Returns:
        The pieces in the order of their numbers; None where the student keeps its source's.

    Raises:
        PotstillError: a source without tokenizer.json. One from below comes through: it is broken or not WordPiece, or
            the size is too small.
    """
    wanted = recipe.student.vocabulary
    if wanted is None:
        return None
    from potstill.student.vocabulary import trained, trimmed

    tokenizer = tokenizer_of(folder)
    if tokenizer is None:
        raise PotstillError(
            folder, f"has no {TOKENIZER}, out of which a smaller vocabulary is made", "save the model with a fast tokenizer"
        )
    texts = _strings(gather_texts(recipe, wanted.texts) if wanted.texts else corpus.texts)

    def pieces() -> list[str]:
        return trimmed(tokenizer, texts, wanted.size) if wanted.method == "trim" else trained(tokenizer, texts, wanted.size or 0)

    return cached_json("vocabulary.json", folder, texts, {"vocabulary": wanted.method, "size": wanted.size}, pieces)


def tokenizer_of(folder: Path) -> dict[str, Any] | None:
    """A folder's tokenizer.json; None where it has none. A PotstillError from `read_json` comes through: it is broken."""
    file = folder / TOKENIZER
    return read_json(file) if file.is_file() else None


def _strings(rows: Sequence[Any]) -> list[str]:
    """Each side of a pair, and the words of a text that is given as words, by themselves."""
    return [text for row in rows for text in ([row] if isinstance(row, str) else row)]
