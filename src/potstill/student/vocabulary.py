"""A smaller WordPiece vocabulary for a student: a source's, trimmed to what texts use, or a new one trained on them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.machine.progress import progress
from potstill.models.encoder import EncoderModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PREFIX = "##"  # of a piece that goes on a word
CHUNK = 4096  # texts a call


def trimmed(tokenizer: Mapping[str, Any], texts: Sequence[str], size: int | None = None) -> list[str]:
    """The pieces of a vocabulary that texts use, or so many of the most frequent.

    Special tokens stay, and so does every single character that is printable ASCII or part of a
    piece that stays, so that a word of known characters never becomes unknown. Without a `size` the
    texts are cut as before: what greedy search chose is there, and nothing else is longer. Where
    the texts use fewer than `size`, the vocabulary's first other pieces make it up: those of a
    WordPiece vocabulary are in the order of their frequency where it was made, so that common words
    which the texts happen not to hold stay whole for the texts that come later.

    A PotstillError from below comes through: the tokenizer is not of type WordPiece; the size is below what stays.

    Args:
        tokenizer: as the library tokenizers writes it to JSON.
        texts: what it is to be trimmed to.
        size: how many pieces to keep; default all that are used and no more.

    Returns:
        Pieces in the order of the vocabulary.
    """
    vocabulary = _wordpiece(tokenizer)
    counts = _counts(tokenizer, texts, len(vocabulary))
    used = {piece for piece, number in vocabulary.items() if counts[number]}
    characters = set().union(*(piece.removeprefix(PREFIX) for piece in used)) | {chr(code) for code in range(33, 127)}
    fixed = {piece for piece in vocabulary if piece.removeprefix(PREFIX) in characters} | set(_specials(tokenizer))
    if size is not None:
        _require_room(size, len(fixed), "characters that stay")
        ordered = sorted(used - fixed, key=lambda piece: (-counts[vocabulary[piece]], vocabulary[piece]))
        unused = (piece for piece in vocabulary if piece not in used and piece not in fixed and _is_word(piece))
        others = sorted(unused, key=lambda piece: vocabulary[piece])
        used = set([*ordered, *others][: size - len(fixed)])
    return sorted(used | fixed, key=lambda piece: vocabulary.get(piece, 1 << 40))


def _is_word(piece: str) -> bool:
    """Whether a piece may be part of a text: no place kept free for others ([unused7]), no lone character of another script."""
    return len(piece.removeprefix(PREFIX)) > 1 and not (piece.startswith("[") and piece.endswith("]"))


def trained(tokenizer: Mapping[str, Any], texts: Sequence[str], size: int) -> list[str]:
    """A WordPiece vocabulary trained on texts as a tokenizer cleans and splits them.

    The trainer decides between equally frequent pairs by chance: whoever needs the same pieces again keeps them.

    A PotstillError from below comes through: the tokenizer is not of type WordPiece; the size is below the special tokens
    and the characters of the texts.

    Args:
        tokenizer: as the library tokenizers writes it to JSON.
        texts: what it is trained on.
        size: how many pieces there are to be at most.

    Returns:
        The special tokens in the tokenizer's order, then the others by name.
    """
    from tokenizers import Tokenizer, models, trainers

    vocabulary, specials = _wordpiece(tokenizer), _specials(tokenizer)
    learner = Tokenizer.from_str(json.dumps(tokenizer))
    learner.model = models.WordPiece(unk_token=tokenizer["model"]["unk_token"])  # type: ignore[assignment]
    learner.train_from_iterator(
        (list(part) for part in _parts(texts)),
        trainers.WordPieceTrainer(vocab_size=size, special_tokens=specials, show_progress=False),
        length=len(texts),
    )
    pieces = set(learner.get_vocab()) - set(specials)
    # The trainer takes every character, at a word's start and within words, whatever the size.
    _require_room(size, len(specials) + len(pieces), "the characters of the texts")
    return sorted(specials, key=lambda piece: vocabulary.get(piece, 1 << 40)) + sorted(pieces)


def with_pieces(tokenizer: Mapping[str, Any], pieces: Sequence[str]) -> dict[str, Any]:
    """The same tokenizer over other pieces; the tokens that it adds around a text are renumbered too.

    Args:
        tokenizer: as the library tokenizers writes it to JSON; it is left as it is.
        pieces: numbered from 0 in their order, its special tokens among them.
    """
    numbers = {piece: number for number, piece in enumerate(pieces)}
    changed = copy.deepcopy(dict(tokenizer))
    changed["model"]["vocab"] = numbers
    for added in changed["added_tokens"]:
        added["id"] = numbers[added["content"]]
    around = changed.get("post_processor") or {}
    for name in ("cls", "sep"):  # BERT's and RoBERTa's own processors
        if name in around:
            around[name] = [around[name][0], numbers[around[name][0]]]
    for special in (around.get("special_tokens") or {}).values():  # a template's
        special["ids"] = [numbers[token] for token in special["tokens"]]
    return changed


def with_tokenizer(source: EncoderModel, tokenizer: Mapping[str, Any]) -> EncoderModel:
    """`source` over another WordPiece vocabulary; its network is changed in place.

    A piece that both have keeps its row, and its row and bias in a language model's head. A new one begins
    as the mean of the rows of the pieces that the source cuts it into.

    A PotstillError from below comes through: the source's tokenizer is not of type WordPiece.

    Args:
        source: what it is made of; no longer usable itself.
        tokenizer: of the result, as the library tokenizers writes it to JSON.
    """
    from tokenizers import Tokenizer

    network: Any = source.network
    padding = None if network.config.pad_token_id is None else source.tokenizer.id_to_token(source.pad_id)
    _set_rows(source, pieces_of(tokenizer))
    hf_tokenizer: PreTrainedTokenizerFast = copy.deepcopy(source.hf_tokenizer)
    hf_tokenizer._tokenizer = Tokenizer.from_str(json.dumps(tokenizer))
    padding = hf_tokenizer.pad_token or padding  # a tokenizer may not say which piece it is, where the network does
    network.config.pad_token_id = hf_tokenizer._tokenizer.token_to_id(padding) if padding else None
    return EncoderModel(network, hf_tokenizer, layout=source.layout, head=source.head)


def with_second_table(source: EncoderModel, pieces: Sequence[str]) -> int:
    """Give a language model the pieces of another vocabulary beside its own, numbered after them.

    The second table's rows begin as `with_tokenizer` makes them. A PotstillError from below comes through: the source's
    tokenizer is not of type WordPiece.

    Args:
        source: its network is changed in place, its tokenizer is not.
        pieces: of the other vocabulary, in the order of their numbers.

    Returns:
        How many pieces are its own, which is the number of the other vocabulary's first piece.
    """
    own = int(source.network.config.vocab_size)
    _set_rows(source, pieces, keep=True)
    return own


def pieces_of(tokenizer: Mapping[str, Any]) -> list[str]:
    """The pieces of a tokenizer in the order of their numbers.

    Args:
        tokenizer: as the library tokenizers writes it to JSON.
    """
    return [piece for piece, _ in sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])]


def _set_rows(source: EncoderModel, pieces: Sequence[str], keep: bool = False) -> None:
    """Make the table, and a language model's head with it, that of `pieces`; with `keep` append them to the rows that are there."""
    tokenizer = json.loads(source.hf_tokenizer.backend_tokenizer.to_str())
    before, network = _wordpiece(tokenizer), cast(Any, source.network)
    table: Tensor = network.get_input_embeddings().weight.detach().clone()
    head = network.get_output_embeddings()
    bias = head.bias.detach().clone() if head is not None and getattr(head, "bias", None) is not None else None
    output = head.weight.detach().clone() if head is not None and head.weight is not network.get_input_embeddings().weight else None
    unknown = before[tokenizer["model"]["unk_token"]]
    parts = [[number] for number in range(len(table))] if keep else []
    parts += [[before[piece]] if piece in before else _cut(piece, before) or [unknown] for piece in pieces]
    network.resize_token_embeddings(len(parts), mean_resizing=False)
    with torch.no_grad():
        network.get_input_embeddings().weight.copy_(torch.stack([table[part].mean(0) for part in parts]))
        if output is not None:  # a matrix of its own
            network.get_output_embeddings().weight.copy_(torch.stack([output[part].mean(0) for part in parts]))
        if bias is not None:
            network.get_output_embeddings().bias.copy_(torch.stack([bias[part].mean() for part in parts]))


def _wordpiece(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    kind = tokenizer["model"].get("type")
    if kind != "WordPiece":
        raise PotstillError(
            "student.vocabulary", f"the source's tokenizer is of type {kind}", "only WordPiece can be made smaller; drop it"
        )
    return tokenizer["model"]["vocab"]


def _specials(tokenizer: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([*(added["content"] for added in tokenizer["added_tokens"]), tokenizer["model"]["unk_token"]]))


def _require_room(size: int, needed: int, what: str) -> None:
    if size < needed:
        raise PotstillError("student.vocabulary.size", f"{size} is less than the special tokens and {what}", f"take at least {needed}")


def _counts(tokenizer: Mapping[str, Any], texts: Sequence[str], size: int) -> np.ndarray:
    """(size,) how often each piece is used."""
    from tokenizers import Tokenizer

    cutter = Tokenizer.from_str(json.dumps(tokenizer))
    cutter.no_truncation()
    cutter.no_padding()
    counts = np.zeros(max(size, cutter.get_vocab_size()), dtype=np.int64)
    with progress("pieces", len(texts)) as advance:
        for part in _parts(texts):
            ids = [np.array(encoding.ids, dtype=np.int64) for encoding in cutter.encode_batch_fast(list(part))]
            counts += np.bincount(np.concatenate(ids), minlength=len(counts))
            advance(len(part))
    return counts


def _parts(texts: Sequence[str]) -> Iterable[Sequence[str]]:
    whole = iter(texts)
    while part := list(islice(whole, CHUNK)):
        yield part


def _cut(piece: str, vocabulary: Mapping[str, int]) -> list[int]:
    """Numbers of the longest pieces from left to right that make up `piece`; none where a character is missing."""
    prefix, rest = (PREFIX, piece[len(PREFIX) :]) if piece.startswith(PREFIX) else ("", piece)
    found: list[int] = []
    while rest:
        end = next((end for end in range(len(rest), 0, -1) if prefix + rest[:end] in vocabulary), 0)
        if not end:
            return []
        found.append(vocabulary[prefix + rest[:end]])
        prefix, rest = PREFIX, rest[end:]
    return found
