"""The pieces of a student with a vocabulary of its own, and whether teacher and student know their texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from potstill import recipe as recipes
from potstill.data.coverage import warn_of_unknown
from potstill.errors import PotstillError
from potstill.files import read_json
from potstill.material import Material, gather_texts, kept

TOKENIZER = "tokenizer.json"


def own_pieces(recipe: recipes.Recipe, material: Material, folder: Path) -> list[str] | None:
    """The student's pieces, in the order of their numbers; None where it keeps its source's.

    They are kept in the cache, since training them is not the same twice: so every student of the
    same texts has the same ones, and a resumed run those that it began with.

    Args:
        folder: the source's.

    Raises:
        PotstillError: see models/vocabulary.py; or a source without tokenizer.json.
    """
    wanted = recipe.student.vocabulary
    if wanted is None:
        return None
    from potstill.models.vocabulary import trained, trimmed

    tokenizer = tokenizer_of(folder)
    if tokenizer is None:
        raise PotstillError(
            folder, f"has no {TOKENIZER}, out of which a smaller vocabulary is made", "save the model with a fast tokenizer"
        )
    texts = _strings(gather_texts(recipe, wanted.texts) if wanted.texts else material.texts)

    def pieces() -> list[str]:
        return trimmed(tokenizer, texts, wanted.size) if wanted.method == "trim" else trained(tokenizer, texts, wanted.size or 0)

    return kept("vocabulary.json", folder, texts, {"vocabulary": wanted.method, "size": wanted.size}, pieces)


def check_coverage(material: Material, folder: Path, pieces: Sequence[str] | None, place: str) -> None:
    """Warn where a model does not know the words of the training texts.

    Args:
        pieces: instead of the folder's own.
    """
    tokenizer = tokenizer_of(folder)
    if tokenizer is not None and pieces is not None:
        from potstill.models.vocabulary import with_pieces

        tokenizer = with_pieces(tokenizer, pieces)
    if tokenizer is not None:
        warn_of_unknown(tokenizer, _strings(material.texts), place)


def saved_by(pieces: Sequence[str], before: int, width: int) -> str:
    """What a smaller vocabulary saves, for the table of `potstill check`."""
    now, then = len(pieces) * width, before * width
    return (
        f"{len(pieces):,} pieces instead of {before:,}: embedding {now:,} parameters, {then - now:,} "
        f"({4 * (then - now) / 1e6:.1f} MB in fp32) fewer; the encoder stays as it is"
    )


def tokenizer_of(folder: Path) -> dict[str, Any] | None:
    """A folder's tokenizer.json; None where it has none.

    Raises:
        PotstillError: it is broken.
    """
    file = folder / TOKENIZER
    return read_json(file) if file.is_file() else None


def _strings(rows: Sequence[Any]) -> list[str]:
    """Each side of a pair, and the words of a text that is given as words, by themselves."""
    return [text for row in rows for text in ([row] if isinstance(row, str) else row)]
