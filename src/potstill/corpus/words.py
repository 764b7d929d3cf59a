"""Which words of a text may be replaced, and which pieces of a vocabulary are words."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Words that carry grammar, negation or quantity: a replaced one changes what is claimed and not how it is put.
STOP_WORDS = frozenset(
    """
    a an the this that these those some any each every either neither both all no none such same other another
    i me my mine myself you your yours yourself yourselves he him his himself she her hers herself it its itself
    we us our ours ourselves they them their theirs themselves one who whom whose which what whatever whoever
    am is are was were be been being have has had having do does did doing done can could may might must shall
    should will would ought let
    and or but nor so yet if unless because since although though while whereas whether as than then else
    of at by for with about against between among into through during before after above below to from up down
    in out on off over under upon within without toward towards across along around behind beside beyond near per via
    not never nothing nobody nowhere again further once here there when where why how however also too very more
    most less least few many much several only just even still already ever always own now
    ain aren couldn didn doesn don hadn hasn haven isn mightn mustn needn shan shouldn wasn weren wouldn
    ll ve re st nd rd th
    """.split()
)
# Letters alone, with no digit or underscore on either side, and no part of a contraction ("don't"); the owner in
# "the dog's tail" is a word, though.
CONTINUES = "##"  # WordPiece's mark
_WORD = re.compile(r"(?<!\w)(?<!\w['’])[^\W\d_]{2,}(?!\w)(?!['’](?!s\b)\w)")


def replaceable(text: str) -> list[tuple[int, int]]:
    """(start, end) of every word of `text` that augmentation may replace.

    Such a word has two letters or more and nothing but letters, and is not a stop word.
    """
    return [match.span() for match in _WORD.finditer(text) if match.group().lower() not in STOP_WORDS]


def whole_words(pieces: Sequence[str | None]) -> dict[int, str]:
    """The pieces of a vocabulary that are whole words and may replace another word: number → word.

    WordPiece marks the pieces that continue a word (`##ing`). Byte-level BPE and SentencePiece mark
    the pieces that begin one (`Ġriver`, `▁river`), so there only marked pieces are words. Numbers,
    signs, special tokens, single letters and stop words are left out.

    Args:
        pieces: the vocabulary, in the order of the numbers; None for a number without a piece.
    """
    # The commonest mark: what another kind marks with may be a piece like any other, as RoBERTa's "##" is, of Markdown.
    counts = {mark: sum(piece.startswith(mark) for piece in pieces if piece) for mark in (CONTINUES, "Ġ", "▁")}
    commonest = max(counts, key=lambda mark: counts[mark])
    marker = "" if commonest == CONTINUES or not counts[commonest] else commonest
    words = {number: piece[len(marker) :] for number, piece in enumerate(pieces) if piece and piece.startswith(marker)}
    return {
        number: word
        for number, word in words.items()
        if len(word) > 1
        and word.isalpha()
        and word.lower() not in STOP_WORDS
        # Byte-level BPE spells what is not ASCII in stand-in letters.
        and (marker != "Ġ" or word.isascii())
    }
