"""Encoders out of folders: transformers' own, sentence-transformers', a run's student, or a hub name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from potstill.errors import PotstillError, shown, warn
from potstill.models import heads, sentence_read
from potstill.models.encoder import EncoderModel
from potstill.models.pooling import CLS_POOLER, POOLINGS
from potstill.models.sentence_format import UNLIMITED
from potstill.models.source import library_reads, model_folder
from potstill.registry import EMBED, MLM
from potstill.runtime.folder import TOKENIZER
from potstill.runtime.tokens import require_room

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

TRIED = 4  # tokens of the text that a network is tried on


def load_encoder(
    name: str | Path,
    *,
    pooling: str | None = None,
    normalize: bool | None = None,
    max_length: int | None = None,
    head: str | None = None,
    labels: Sequence[str] = (),
    seed: int = 0,
    lm_head: bool = False,
) -> EncoderModel:
    """Load an encoder in eval mode, on the CPU, in fp32.

    Args:
        name: a transformers or sentence-transformers folder, a run folder, or a hub name.
        pooling: a name of models/pooling.py; default what the folder says, mean where it says nothing.
        normalize: whether vectors are scaled to unit length; default what the folder says, yes where it says nothing.
        max_length: tokens a text is cut to; default what the folder says, else what its tokenizer says, else 128. Never
            more than the network has positions for.
        head: the one to load: a name of heads.HEADS, or "embed" for none; default: the head for
            classification or tagging that the folder has. A head that the folder lacks is made anew.
        labels: with `head`, what a head that is made anew is to tell apart.
        seed: of a head that is made anew.
        lm_head: an encoder without a head that gets a language model's for its training; it is never saved.

    Raises:
        PotstillError: no model folder of that name (models/source.py says why); files that cannot be read; weights that
            are not those of the network (models/weights.py says why); a module, pooling or activation that this package
            does not know; no fast tokenizer, or one of another network; a network that is no encoder of texts.
    """
    from transformers.utils import logging

    folder = model_folder(str(name))
    layout = sentence_read.read(folder)
    logging.disable_progress_bar()
    kind = MLM if lm_head else head or heads.saved_kind(folder)
    way = pooling or layout.pooling or "mean"
    config = heads.load_config(folder)  # first, since the tokenizer's loader reads it too and would be blamed
    hf_tokenizer = load_tokenizer(folder)
    _settle_padding(folder, config, hf_tokenizer)
    _warn_of_another_family(folder, config)
    network = heads.load_network(folder, config, kind, labels, seed, pooler=kind == EMBED and way == CLS_POOLER)
    _require_rows(folder, network, hf_tokenizer)
    limit = position_limit(network)
    length = min(max_length or layout.max_length or _own_length(folder, hf_tokenizer) or 128, limit)
    if max_length is None:  # what a caller asks for is told where texts are tokenized, under the caller's name for it
        require_room(f"{folder}: max_length", hf_tokenizer.backend_tokenizer, length)
    states = try_network(network, str(folder))
    _warn_of_padding(folder, network)
    if way in POOLINGS and POOLINGS[way].layers != "last" and kind == EMBED:
        require_states(network, states, str(folder))
    model = EncoderModel(
        network,
        hf_tokenizer,
        pooling=way,
        normalize=normalize,
        max_length=length,
        layout=layout,
        head=EMBED if lm_head else None,
    )
    return model.eval()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """A folder's fast tokenizer.

    Raises:
        PotstillError: it has none, files of it cannot be read, or it fails on every text.
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    try:
        settings = folder / "tokenizer_config.json"
        with library_reads(settings if settings.is_file() else folder):
            found: Any = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
    except PotstillError:
        if (folder / TOKENIZER).is_file():
            with library_reads(folder / TOKENIZER):  # whether it is this file that is at fault
                Tokenizer.from_file(str(folder / TOKENIZER))
        raise
    if getattr(found, "backend_tokenizer", None) is None:
        raise PotstillError(folder, "has no fast tokenizer (tokenizer.json)", "save the model with one")
    if len(found.get_vocab()) <= len(found.all_special_tokens):  # transformers makes one where it finds no file of the pieces
        raise PotstillError(folder, "its tokenizer has no pieces beside special ones", "save the tokenizer again, with its vocabulary")
    with library_reads(folder / TOKENIZER, "fails on a text", "save the tokenizer again"):
        found.backend_tokenizer.encode("a", "b")  # its parts may name pieces that it does not have
        found.backend_tokenizer.encode("a")
    return found


def position_limit(network: PreTrainedModel) -> int:
    """Tokens that the network has positions for; UNLIMITED where it counts none."""
    limit = getattr(network.config, "max_position_embeddings", None) or UNLIMITED
    for name, module in network.base_model.named_modules():
        # RoBERTa, MPNet and others number positions from padding's number + 1, so that rows of the table are never used.
        padding = getattr(module, "padding_idx", None) if name.endswith("position_embeddings") else None
        if padding is not None:
            limit -= padding + 1
    return int(limit) if limit > 0 else UNLIMITED  # XLNet's is -1


def require_texts(network: PreTrainedModel, place: str) -> None:
    """Check that a network is an encoder of texts.

    Raises:
        PotstillError: it reads no numbers of pieces, or has a decoder that waits for some.
    """
    taken = inspect.signature(type(network.base_model).forward).parameters
    kind = network.config.model_type
    if "input_ids" not in taken:
        raise PotstillError(place, f"a {kind} reads no texts", "name an encoder of texts, for example a BERT")
    if "decoder_input_ids" in taken:
        raise PotstillError(place, f"a {kind} has a decoder beside its encoder", "name an encoder alone, for example a BERT")


@torch.no_grad()
def try_network(network: PreTrainedModel, place: str, precision: torch.dtype = torch.float32) -> int:
    """Run a network on a short text, with padding, as texts will come to it.

    Args:
        network: on the CPU, in eval mode.
        place: what errors name.
        precision: what to autocast to.

    Returns:
        How many hidden states it gives that are as long as the text: one more than it has layers, or else a layer's
        number says nothing.

    Raises:
        PotstillError: it is no encoder of texts, or fails.
    """
    from potstill.machine.precision import autocast

    require_texts(network, place)
    length = min(TRIED, position_limit(network))
    padding = int(network.config.pad_token_id or 0)
    ids = torch.full((1, length), 1 if padding == 0 else 0)
    mask = torch.ones_like(ids)
    ids[0, 1:][-1:], mask[0, 1:][-1:] = padding, 0
    kind = type(network.base_model).__name__
    with library_reads(place, f"a {kind} does not run on a text of {length} tokens", "name another encoder, for example a BERT"):
        with autocast(torch.device("cpu"), precision):
            output = network.base_model(input_ids=ids, attention_mask=mask, output_hidden_states=True, return_dict=True)
    width = int(network.config.hidden_size)
    if getattr(output, "last_hidden_state", None) is None or output.last_hidden_state.shape != (1, length, width):
        raise PotstillError(
            place, f"a {kind} gives no vector of width {width} for each token", "name an encoder of texts, for example a BERT"
        )
    return sum(state.shape == (1, length, width) for state in output.hidden_states or ())


def require_states(network: PreTrainedModel, states: int, place: str) -> None:
    """Check that each of a network's layers can be read.

    Args:
        network: that was tried.
        states: as `try_network` found them.
        place: what errors name.

    Raises:
        PotstillError: there are more hidden states than layers, or fewer.
    """
    layers = int(network.config.num_hidden_layers)
    if states != layers + 1:
        problem = f"a {network.config.model_type} of {layers} layers gives {states} hidden states, so that its layers cannot be told apart"
        raise PotstillError(place, problem, "read its last layer, vectors or logits")


def _settle_padding(folder: Path, config: PretrainedConfig, hf_tokenizer: PreTrainedTokenizerFast) -> None:
    """Give a configuration without a padding piece its tokenizer's, else that of its family. RoBERTa's positions count by it.

    Raises:
        PotstillError: it is no number of a piece.
    """
    if getattr(config, "pad_token_id", None) is None:
        own = hf_tokenizer.pad_token_id
        with library_reads(folder / "config.json"):
            config.pad_token_id = type(config)().pad_token_id if own is None else own
    padding, pieces = config.pad_token_id, int(getattr(config, "vocab_size", 0) or UNLIMITED)
    if padding is not None and not (type(padding) is int and 0 <= padding < pieces):
        problem = f"pad_token_id is {shown(padding)}, and there are {pieces} pieces"
        raise PotstillError(folder / "config.json", problem, "name the padding piece")


def _warn_of_another_family(folder: Path, config: PretrainedConfig) -> None:
    """Warn where config.json names two families. A BERT's weights fit a RoBERTa, whose positions count from another number."""
    import transformers

    named = str((config.architectures or [""])[0])
    family = getattr(getattr(getattr(transformers, named, None), "config_class", None), "model_type", config.model_type)
    if family != config.model_type:
        problem = f"architectures names a {named}, and model_type {config.model_type}, as which it is read"
        warn(folder / "config.json", problem, "mend the one that is wrong")


@torch.no_grad()
def _warn_of_padding(folder: Path, network: PreTrainedModel) -> None:
    """Warn where a text's vectors hang on the padding behind it, as those of FNet, ConvBERT and Nystromformer do."""
    length, padding = min(2 * TRIED, position_limit(network)), int(network.config.pad_token_id or 0)
    ids = torch.full((1, length), 1 if padding == 0 else 0)
    mask = torch.ones_like(ids)
    ids[0, length // 2 :], mask[0, length // 2 :] = padding, 0
    alone, padded = (
        network.base_model(input_ids=ids[:, :count], attention_mask=mask[:, :count], return_dict=True).last_hidden_state[:, : length // 2]
        for count in (length // 2, length)
    )
    if float((alone - padded).abs().max()) > 1e-3 * max(1.0, float(alone.abs().max())):
        problem = f"a {network.config.model_type} gives a text other vectors beside longer ones, whose padding it reads"
        warn(folder, problem, "take another encoder, for example a BERT, or texts of one length")


def _require_rows(folder: Path, network: PreTrainedModel, hf_tokenizer: PreTrainedTokenizerFast) -> None:
    """Check that each of the tokenizer's pieces has a row in the token table. Rows beyond them are padding.

    Raises:
        PotstillError: one has none.
    """
    if not isinstance(getattr(network.config, "vocab_size", None), int):
        return  # it has no such table: CANINE hashes characters
    table: Any = network.get_input_embeddings()
    rows, pieces = int(table.weight.shape[0]), max(hf_tokenizer.get_vocab().values(), default=-1) + 1
    around = max(hf_tokenizer.backend_tokenizer.encode("a", "b").ids, default=0)
    if around >= max(rows, pieces):
        raise PotstillError(folder / TOKENIZER, f"puts the piece {around} around a text, and has {pieces:,}", "save the tokenizer again")
    if pieces > rows:
        problem = f"the tokenizer has {pieces:,} pieces, and the token table {rows:,} rows"
        raise PotstillError(folder, problem, "call resize_token_embeddings and save the model, or use its original tokenizer")


def _own_length(folder: Path, hf_tokenizer: PreTrainedTokenizerFast) -> int | None:
    """What a saved tokenizer says of its model's length; transformers' stand-in for silence is a huge number.

    Raises:
        PotstillError: it is no length.
    """
    length = hf_tokenizer.model_max_length
    if not isinstance(length, (int, float)) or isinstance(length, bool) or not length >= 1:
        raise PotstillError(folder / "tokenizer_config.json", f"model_max_length is {shown(length)}", "a number of tokens is needed")
    return int(length) if length < UNLIMITED else None
