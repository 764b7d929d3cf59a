"""Encoders out of folders: transformers' own, sentence-transformers', a run's student, or a hub name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from potstill.errors import PotstillError
from potstill.models import heads, sentence_format
from potstill.models.encoder import EncoderModel
from potstill.models.source import model_folder
from potstill.registry import EMBED, MLM

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
        PotstillError: no model folder of that name (models/source.py says why); files that cannot be read; a module,
            pooling or activation that this package does not know; no fast tokenizer.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging

    folder = model_folder(str(name))
    layout = sentence_format.read(folder)
    logging.disable_progress_bar()
    try:
        network = heads.load_network(folder, MLM if lm_head else head or heads.saved_kind(folder), labels, seed)
        hf_tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise PotstillError(name, f"cannot be loaded: {str(error).splitlines()[0]}", "check that it is an encoder, saved whole") from error
    if getattr(hf_tokenizer, "backend_tokenizer", None) is None:
        raise PotstillError(name, "has no fast tokenizer (tokenizer.json)", "save the model with one")
    model = EncoderModel(
        network,
        hf_tokenizer,  # type: ignore[arg-type]  # a fast one, as was just seen
        pooling=pooling or layout.pooling or "mean",
        normalize=layout.normalize if normalize is None else normalize,
        max_length=min(max_length or layout.max_length or _own_length(hf_tokenizer) or 128, position_limit(network)),
        dense=layout.dense,
        layer_weights=layout.layer_weights,
        head=EMBED if lm_head else None,
    )
    return model.eval()


def position_limit(network: PreTrainedModel) -> int:
    """Tokens that the network has positions for."""
    config = network.config
    limit = getattr(config, "max_position_embeddings", None) or 1 << 20
    # RoBERTa and MPNet number positions from padding_idx + 1, so that many rows of the table are never used.
    offset = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet") else 0
    return int(limit - offset)


def _own_length(hf_tokenizer: PreTrainedTokenizerBase) -> int | None:
    """What a saved tokenizer says of its model's length; transformers' stand-in for silence is a huge number."""
    length = int(hf_tokenizer.model_max_length)
    return length if length < 1 << 20 else None
