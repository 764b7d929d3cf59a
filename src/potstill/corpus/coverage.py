"""Whether a vocabulary knows the words of a corpus."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from potstill.errors import shown, warn

SAMPLE = 2000  # texts that are looked at
LIMIT = 0.01  # share of unknown tokens above which a corpus is of another script or language


def warn_of_unknown(tokenizer: Mapping[str, Any], texts: Sequence[str], place: str) -> float:
    """Warn where a vocabulary does not know more than LIMIT of a corpus's tokens.

    Args:
        tokenizer: as the library tokenizers writes it to JSON. One without an unknown token knows everything.
        texts: the corpus, of which at most SAMPLE texts are read.
        place: what the warning is about.

    Returns:
        The share of unknown tokens, from 0 to 1.
    """
    from tokenizers import Tokenizer

    cutter = Tokenizer.from_str(json.dumps(tokenizer))
    cutter.no_padding()
    unknown = _unknown(tokenizer["model"])
    number = cutter.token_to_id(unknown) if unknown is not None else None
    sample = list(texts[:: max(1, len(texts) // SAMPLE)])[:SAMPLE]
    if number is None or not sample:
        return 0.0
    found = [encoding.ids for encoding in cutter.encode_batch_fast(sample, add_special_tokens=False)]
    share = sum(ids.count(number) for ids in found) / max(1, sum(map(len, found)))
    if share > LIMIT:
        worst = sorted(zip(found, sample), key=lambda pair: -pair[0].count(number) / max(1, len(pair[0])))[:3]
        examples = ", ".join(shown(text, 40) for _, text in worst)
        warn(place, f"{share:.1%} of the texts' tokens are {unknown}, as in {examples}", "take a vocabulary of their script, or train one")
    return share


def _unknown(model: Mapping[str, Any]) -> str | None:
    """The piece that stands for what a model of a tokenizer does not know; None where it knows everything."""
    if model.get("byte_fallback"):
        return None
    if model.get("unk_id") is not None:  # SentencePiece's Unigram has its number
        return str(model["vocab"][model["unk_id"]][0])
    return model.get("unk_token")
