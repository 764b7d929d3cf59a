"""Whether both sides know the words of their texts, and what a vocabulary of the student's own saves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from potstill.corpus.coverage import warn_of_unknown
from potstill.corpus.read import Corpus
from potstill.errors import PotstillError
from potstill.student.pieces import strings_of, tokenizer_of


def check_coverage(corpus: Corpus, folder: Path, pieces: Sequence[str] | None, place: str) -> None:
    """Warn where a model does not know the words of the training texts.

    Args:
        corpus: the training texts.
        folder: the model's.
        pieces: instead of the folder's own.
        place: what the warning is about.
    """
    try:
        tokenizer = tokenizer_of(folder)
    except PotstillError:  # which is told where the model is loaded
        return
    if pieces is not None:
        from potstill.student.vocabulary import with_pieces

        tokenizer = with_pieces(tokenizer, pieces)
    warn_of_unknown(tokenizer, strings_of(corpus.texts), place)


def saved_by(pieces: Sequence[str], before: int, width: int) -> str:
    """What a smaller vocabulary saves, for the table of `potstill check`."""
    now, then = len(pieces) * width, before * width
    return (
        f"{len(pieces):,} pieces instead of {before:,}: embedding {now:,} parameters, {then - now:,} "
        f"({4 * (then - now) / 1e6:.1f} MB in fp32) fewer; the encoder stays as it is"
    )
