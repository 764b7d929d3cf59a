"""Arguments that sentence-transformers' encode takes and `Encoder.encode` does not: which values are right here, and what to do instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from potstill.errors import PotstillError, shown


class Same(TypedDict, total=False):
    """Arguments of sentence-transformers' encode, each with the only values that say what `Encoder.encode` does.

    One more, `normalize`, is what other libraries call `normalize_embeddings`; see `unit_wanted`.
    """

    convert_to_numpy: Literal[True]
    convert_to_tensor: Literal[False]
    output_value: Literal["sentence_embedding"]
    device: Literal["cpu"] | None
    prompt: None
    prompt_name: None
    truncate_dim: None
    pool: None
    chunk_size: None
    normalize: bool


_SAME: dict[str, tuple[tuple[Any, ...], str]] = {
    "convert_to_numpy": ((True,), "take the rows of the array one by one"),
    "convert_to_tensor": ((False,), "torch.from_numpy(encode(texts))"),
    "output_value": (("sentence_embedding",), "use the torch model with sentence-transformers"),
    "device": ((None, "cpu"), "leave it out: the model runs on the CPU"),
    "prompt": ((None,), "put it before each text"),
    "prompt_name": ((None,), "put that prompt before each text"),
    "truncate_dim": ((None,), "Encoder(path, dimensions=...)"),
    "pool": ((None,), "leave it out: threads=... of Encoder says how many cores it takes"),
    "chunk_size": ((None,), "leave it out: it divides texts among the processes of a pool"),
    "normalize": ((True, False), "give True or False"),
}
"""Name of an argument → the values of `Same`, and the way to what other values ask for."""


def require_same(given: Mapping[str, Any]) -> None:
    """Check arguments that `Encoder.encode` takes only for the sake of calls written for sentence-transformers.

    Args:
        given: argument → value.

    Raises:
        PotstillError: a value asks for what is not done here.
        TypeError: sentence-transformers has no such argument either, or it is one that nothing here stands for.
    """
    for name, value in given.items():
        if name not in _SAME:
            raise TypeError(f"encode() got an unexpected keyword argument {name!r}")
        values, instead = _SAME[name]
        if not any(value is known or (isinstance(value, str) and value == known) for known in values):
            raise PotstillError("encode", f"{name} is {shown(value)}, which it cannot do", instead)


def unit_wanted(given: Mapping[str, Any], normalize_embeddings: bool, own: bool) -> bool:
    """Whether vectors are to have unit length, by `normalize_embeddings` or by its other name, `normalize`.

    Args:
        given: checked by `require_same`.
        normalize_embeddings: as given; False leaves the model's own vectors as they are.
        own: whether these have unit length.

    Raises:
        PotstillError: `normalize` is False, and they would have it all the same.
    """
    if given.get("normalize") is False and (own or normalize_embeddings):
        whose = "the model's vectors have" if own else "normalize_embeddings asks for"
        raise PotstillError("encode", f"normalize is False, and {whose} unit length", "leave it out")
    return normalize_embeddings or bool(given.get("normalize"))
