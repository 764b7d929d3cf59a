"""Unlabelled texts edited in one thing, which the teacher places like any other text: what near sentences differ in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from potstill.data.edits import EDITS


def edited_copies(texts: Sequence[str], share: float, seed: int, apart: Iterable[str] = ()) -> list[str]:
    """New texts, each a given one with a negation, another number, another order, or an opposite.

    Texts are taken in a random order. Of the edits that a text allows, it gets the kind that is rarest so far.

    Args:
        texts: different ones.
        share: new texts to each given one, at most 1; fewer are made where fewer texts allow an edit.
        seed: of the order.
        apart: what must not be made: texts that are held out.

    Returns:
        Different texts, none of which was given.
    """
    wanted, known, made = round(share * len(texts)), {*texts, *apart}, list[str]()
    kinds: Counter[str] = Counter({kind: 0 for kind in EDITS})
    for number in np.random.default_rng(seed).permutation(len(texts)):
        if len(made) >= wanted:
            break
        found = {kind: edit(texts[number]) for kind, edit in EDITS.items()}
        allowed = [kind for kind, new in found.items() if new is not None and new not in known]
        if allowed:
            kind = min(allowed, key=kinds.__getitem__)
            kinds[kind] += 1
            made.append(str(found[kind]))
            known.add(made[-1])
    return made
