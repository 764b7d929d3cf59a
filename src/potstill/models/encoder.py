"""Backbone + pooling, loaded and saved so that transformers and sentence-transformers read it too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from potstill.data.batches import tokenize
from potstill.errors import PotstillError
from potstill.files import write_aside
from potstill.models import sentence_format
from potstill.models.output import EncoderOutput
from potstill.models.pooling import pooling_function
from potstill.models.source import model_folder
from potstill.progress import progress
from potstill.runtime.batching import length_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

EMBEDDING = frozenset({"embedding"})
# What passes between layers should stay in the processor's cache: BERT-base in bf16 encodes three times as
# fast with 1024 tokens a batch as with 16384. A GPU wants the opposite.
CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 1024, 65536


class EncoderModel(nn.Module):
    """A text encoder: a transformers backbone, a pooling, a normalisation.

    Args:
        backbone: gives `last_hidden_state` (b, l, d).
        hf_tokenizer: its fast tokenizer. `tokenizer` is a bare copy of it, without padding, truncating
            to `max_length`; it is what every text goes through, so that torch and the runtime agree.
        pooling: a name of models/pooling.py.
        normalize: whether vectors are scaled to unit length.
        max_length: tokens a text is cut to, special tokens included.
        dense: layers between pooling and normalisation, as some sentence-transformers folders have.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        hf_tokenizer: PreTrainedTokenizerFast,
        *,
        pooling: str = "mean",
        normalize: bool = True,
        max_length: int = 128,
        dense: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        from tokenizers import Tokenizer

        self.backbone = backbone
        self.hf_tokenizer = hf_tokenizer
        self.tokenizer = Tokenizer.from_str(hf_tokenizer.backend_tokenizer.to_str())
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length)
        self.pooling, self.normalize, self.max_length = pooling, normalize, max_length
        self._pool = pooling_function(pooling)
        self.dense = nn.Sequential(*dense)

    @property
    def dimension(self) -> int:
        """Width of the vectors that `encode` gives."""
        widths = [module.out_features for module in self.dense if isinstance(module, nn.Linear)]
        return int(widths[-1] if widths else self.backbone.config.hidden_size)

    @property
    def pad_id(self) -> int:
        return int(self.backbone.config.pad_token_id or 0)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, reads: Iterable[str] = EMBEDDING) -> EncoderOutput:
        """Run a padded batch; compute only what `reads` names.

        Args:
            input_ids: (b, l) piece numbers.
            attention_mask: (b, l) 1 at real tokens.
            reads: fields of EncoderOutput.
        """
        reads = frozenset(reads)
        output = self.backbone(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states="hidden_states" in reads, return_dict=True
        )
        return EncoderOutput(
            mask=attention_mask,
            embedding=self.embed(output.last_hidden_state, attention_mask) if "embedding" in reads else None,
            hidden_states=output.hidden_states if "hidden_states" in reads else None,
        )

    def embed(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Pool and normalise in fp32: a half-precision norm overflows at 65504. (b, l, d) → (b, d)."""
        vectors = self.dense(self._pool(tokens.float(), mask))
        return nn.functional.normalize(vectors.float(), dim=-1) if self.normalize else vectors

    @torch.no_grad()
    def encode(self, texts: Sequence[str], batch_tokens: int | None = None, title: str = "") -> np.ndarray:
        """Vectors of `texts`, in their order: float32 (n, dimension).

        Texts are sorted by length and batched to at most `batch_tokens` padded tokens, in eval
        mode. With a `title` a progress bar is shown.
        """
        batch_tokens = batch_tokens or (CPU_BATCH_TOKENS if self.device.type == "cpu" else GPU_BATCH_TOKENS)
        tokens = tokenize(self.tokenizer, texts, self.max_length)
        vectors = np.zeros((len(tokens), self.dimension), dtype=np.float32)
        was_training = self.training
        self.eval()
        try:
            with progress(title, len(tokens)) as advance:
                for rows in length_batches(tokens.lengths, batch_tokens):
                    batch = {key: torch.from_numpy(value).to(self.device) for key, value in tokens.pad(rows, self.pad_id).items()}
                    vectors[rows] = self(**batch).embedding.float().cpu().numpy()
                    advance(len(rows))
        finally:
            self.train(was_training)
        return vectors

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def set_dropout(self, probability: float) -> None:
        """Dropout of every layer while training; the configuration, which later training starts from, keeps its own."""
        for module in self.backbone.modules():
            if isinstance(module, nn.Dropout):
                module.p = probability

    def parameter_counts(self) -> tuple[int, int]:
        """(parameters of the embedding tables, all others). BERT's own pooler, which no vector reads, is left out."""
        tables = sum(p.numel() for module in self.modules() if isinstance(module, nn.Embedding) for p in module.parameters())
        total = sum(p.numel() for name, p in self.named_parameters() if not name.startswith("backbone.pooler."))
        return tables, total - tables

    def save(self, folder: str | Path) -> None:
        """Write a folder that potstill, transformers and sentence-transformers load, whole or not at all."""
        if len(self.dense):
            raise PotstillError(folder, "an encoder with dense layers after its pooling cannot be saved", "cut a student from it instead")
        with write_aside(folder) as aside:
            self.backbone.save_pretrained(aside)
            self.hf_tokenizer.model_max_length = self.max_length
            self.hf_tokenizer.save_pretrained(aside)
            sentence_format.write(aside, self.dimension, self.pooling, self.normalize, self.max_length)


def load_encoder(
    name: str | Path, *, pooling: str | None = None, normalize: bool | None = None, max_length: int | None = None
) -> EncoderModel:
    """Load an encoder in eval mode, on the CPU, in fp32.

    Args:
        name: a transformers or sentence-transformers folder, or a hub name.
        pooling, normalize, max_length: instead of what the folder says. A plain transformers
            folder says nothing: mean, normalised, 128.

    Raises:
        PotstillError: see models/source.py; or a part that this package does not know.
    """
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    folder = model_folder(str(name))
    layout = sentence_format.read(folder)
    logging.disable_progress_bar()
    try:
        backbone = AutoModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False)
        hf_tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise PotstillError(name, f"cannot be loaded: {str(error).splitlines()[0]}", "check that it is an encoder, saved whole") from error
    if getattr(hf_tokenizer, "backend_tokenizer", None) is None:
        raise PotstillError(name, "has no fast tokenizer (tokenizer.json)", "save the model with one")
    length = max_length or layout.max_length or 128
    model = EncoderModel(
        backbone,
        hf_tokenizer,  # type: ignore[arg-type]  # a fast one, as was just seen
        pooling=pooling or layout.pooling or "mean",
        normalize=layout.normalize if normalize is None else normalize,
        max_length=min(length, position_limit(backbone)),
        dense=layout.dense,
    )
    return model.eval()


def position_limit(backbone: PreTrainedModel) -> int:
    """Tokens that the backbone has positions for."""
    limit = getattr(backbone.config, "max_position_embeddings", None) or 1 << 20
    # RoBERTa and MPNet number positions from padding_idx + 1, so that many rows of the table are never used.
    offset = backbone.config.pad_token_id + 1 if backbone.config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet") else 0
    return int(limit - offset)
