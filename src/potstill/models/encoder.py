"""A transformers network, its tokenizer and its pooling or head, saved so that other libraries read it too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from potstill.data.batches import TokenizedTexts, tokenize
from potstill.data.labelled import Text
from potstill.errors import PotstillError
from potstill.files import write_aside
from potstill.models import heads, sentence_format
from potstill.models.output import EMBEDDING, INSIDE, LOGITS, POOLED, EncoderOutput, Field
from potstill.models.pooling import CLS_POOLER, WEIGHTED, mean, pooler_of, pooling_named
from potstill.progress import progress
from potstill.runtime.batching import length_batches
from potstill.runtime.tokens import by_word

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

ONLY_EMBEDDING, ONLY_LOGITS = frozenset({EMBEDDING}), frozenset({LOGITS})
STATES = frozenset({"hidden_states", "cls_states", "mean_states"})
# What passes between layers should stay in the processor's cache: BERT-base in bf16 encodes three times as
# fast with 1024 tokens a batch as with 16384. A GPU wants the opposite.
CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 1024, 65536


class EncoderModel(nn.Module):
    """A text encoder: a transformers network with a pooling and a normalisation, or with a head.

    Args:
        network: an AutoModel, or a model with a head that models/heads.py knows.
        hf_tokenizer: its fast tokenizer. `tokenizer` is a bare copy of it, without padding, truncating
            to `max_length`; it is what every text goes through, so that torch and the runtime agree.
        pooling: a name of models/pooling.py; of a model without a head, like the next two.
        normalize: whether vectors are scaled to unit length.
        max_length: tokens a text is cut to, special tokens included.
        dense: layers between pooling and normalisation, as some sentence-transformers folders have.
        layer_weights: (layers + 1,) of the pooling "weighted"; default: all the same.
        kind: "embed" for a network whose language-model head is for training alone; default: what the network is.

    Attributes:
        kind: "embed" without a head, else a name of heads.HEADS.
        labels: what the logits stand for, in their order; empty for "embed", "mlm" and "regression".
    """

    def __init__(
        self,
        network: PreTrainedModel,
        hf_tokenizer: PreTrainedTokenizerFast,
        *,
        pooling: str = "mean",
        normalize: bool = True,
        max_length: int = 128,
        dense: Sequence[nn.Module] = (),
        layer_weights: Tensor | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__()
        from tokenizers import Tokenizer

        self.network = network
        self.kind = kind or heads.kind_of(network)
        self.labels = heads.labels_of(network, self.kind)
        self.hf_tokenizer = hf_tokenizer
        self.tokenizer = Tokenizer.from_str(hf_tokenizer.backend_tokenizer.to_str())
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length)
        if pooling == CLS_POOLER:
            pooling, dense = "cls", pooler_of(network)
        self.pooling, self.normalize, self.max_length = pooling, normalize, max_length
        self._pool = pooling_named(pooling)
        self._pool.numbers(int(network.config.num_hidden_layers))  # told now, not at the first text
        self.dense = nn.Sequential(*dense)
        self.layer_weights: nn.Parameter | None = None
        if pooling == WEIGHTED:
            count = int(network.config.num_hidden_layers) + 1
            fits = layer_weights is not None and len(layer_weights) == count  # a cut student has other layers
            found = layer_weights.detach().float().clone() if layer_weights is not None and fits else torch.ones(count)
            self.layer_weights = nn.Parameter(found)

    @property
    def backbone(self) -> PreTrainedModel:
        """The network without its head."""
        return self.network.base_model  # type: ignore[return-value]

    @property
    def layers(self) -> nn.ModuleList:
        """The stack of layers, from layer 1 on.

        Raises:
            PotstillError: the network has not exactly one.
        """
        return getattr(*self.stack_place())

    def stack_place(self) -> tuple[nn.Module, str]:
        """The module that holds the stack of layers, and its name there."""
        total = int(self.backbone.config.num_hidden_layers)
        stacks = [
            (module, name) for module in self.backbone.modules() for name, child in module.named_children() if _is_stack(child, total)
        ]
        if len(stacks) != 1:
            raise PotstillError(
                f"model ({self.backbone.config.model_type})", f"has {len(stacks)} stacks of {total} layers", "use a plain encoder"
            )
        return stacks[0]

    @property
    def dimension(self) -> int:
        """Width of the vectors that `encode` gives."""
        widths = [module.out_features for module in self.dense if isinstance(module, nn.Linear)]
        return int(widths[-1] if widths else self._pool.width(self.width))

    @property
    def width(self) -> int:
        """Width of the hidden states."""
        return int(self.backbone.config.hidden_size)

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""
        return int(self.backbone.config.num_attention_heads)

    @property
    def pad_id(self) -> int:
        return int(self.backbone.config.pad_token_id or 0)

    @property
    def reads_types(self) -> bool:
        """Whether an exported graph needs token types: those of pairs, which an encoder without a head is not given."""
        return self.kind != "embed" and self._has_types

    @property
    def _has_types(self) -> bool:
        return (getattr(self.backbone.config, "type_vocab_size", 0) or 0) > 1

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        reads: Iterable[Field] | None = None,
        answered: Tensor | None = None,
    ) -> EncoderOutput:
        """Run a padded batch; compute only what `reads` names.

        Args:
            input_ids: (b, l) piece numbers.
            attention_mask: (b, l) 1 at real tokens.
            token_type_ids: (b, l), passed on where the network has token types.
            reads: default the embedding, or with a head the logits.
            answered: (b, l) of a language model: at which tokens logits are wanted, (n, vocabulary); default all, (b, l, vocabulary).
        """
        wanted = frozenset(reads) if reads is not None else (ONLY_EMBEDDING if self.kind == "embed" else ONLY_LOGITS)
        deep = EMBEDDING in wanted and self._pool.layers != "last"
        layered = deep or any(field.name in STATES for field in wanted)
        inside = [field for field in wanted if field.name in INSIDE]
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "return_dict": True}
        if token_type_ids is not None and self._has_types:
            inputs["token_type_ids"] = token_type_ids
        values: dict[Field, Tensor] = {}
        with self._recording(inside) as found:
            if LOGITS in wanted or POOLED in wanted:
                with heads.reading(self.network, POOLED in wanted) as pooled, heads.answering_at(self.network, answered):
                    output = self.network(**inputs, output_hidden_states=layered)
                values |= dict(zip((LOGITS, POOLED), (output.logits, *pooled)))
            else:
                output = self.backbone(**inputs, output_hidden_states=layered)
        values |= found
        if EMBEDDING in wanted:
            values[EMBEDDING] = self.embed(output.hidden_states if deep else (output.last_hidden_state,), attention_mask)
        for field in wanted:
            if field.name in STATES:
                values[field] = _state(output.hidden_states[field.layer], field.name, attention_mask)
        return EncoderOutput(attention_mask, values)

    def _recording(self, wanted: Sequence[Field]) -> AbstractContextManager[dict[Field, Tensor]]:
        if not wanted:
            return nullcontext({})
        from potstill.models.recording import recording

        return recording(self.layers, wanted)

    def embed(self, states: Sequence[Tensor], mask: Tensor) -> Tensor:
        """Pool and normalise in fp32: a half-precision norm overflows at 65504.

        Args:
            states: every hidden state (b, l, d), the embedding output first; the last one alone will
                do for a pooling that reads no other.
        """
        read = states[-1:] if self._pool.layers == "last" else [states[number] for number in self._pool.numbers(len(states) - 1)]
        vectors = self.dense(self._pool(read, mask, self.layer_weights))
        return nn.functional.normalize(vectors.float(), dim=-1) if self.normalize else vectors

    def encode(self, texts: Sequence[str], batch_tokens: int | None = None, title: str = "") -> np.ndarray:
        """Vectors of `texts`, in their order: float32 (n, dimension).

        Texts are sorted by length and batched to at most `batch_tokens` padded tokens, in eval
        mode. With a `title` a progress bar is shown.

        Raises:
            PotstillError: the model has a head and gives no vectors.
        """
        if self.kind != "embed":
            raise PotstillError(f"model ({self.kind})", "has a head and gives no vectors", "predict with it, or encode with its backbone")
        tokens = tokenize(self.tokenizer, texts, self.max_length)
        vectors = np.zeros((len(tokens), self.dimension), dtype=np.float32)
        for rows, output in self.run(tokens, ONLY_EMBEDDING, batch_tokens, title):
            vectors[rows] = output.embedding.float().cpu().numpy()
        return vectors

    def predict(self, texts: Sequence[Text], batch_tokens: int | None = None, title: str = "") -> np.ndarray | list[np.ndarray]:
        """Logits of `texts` (or of pairs), in their order: float32 (n, classes); of words to be tagged a list of (words, tags).

        A word's tag is read at its first piece; words beyond `max_length` are missing at the end.

        Raises:
            PotstillError: the model has no head, or one of a language model.
        """
        if self.kind in ("embed", "mlm"):
            raise PotstillError(f"model ({self.kind})", "has no classification head", "fine-tune it on a task first")
        tokens = tokenize(self.tokenizer, texts, self.max_length)
        found: list[np.ndarray] = [np.zeros(0, dtype=np.float32)] * len(tokens)
        for rows, output in self.run(tokens, ONLY_LOGITS, batch_tokens, title):
            logits = output.logits.float().cpu().numpy()
            for row, own in zip(rows, logits):
                words = None if tokens.words is None else tokens.words[tokens.offsets[row] : tokens.offsets[row + 1]]
                found[row] = own if words is None else by_word(words, own)
        if self.kind == "tagging":
            return found
        return np.stack(found) if found else np.zeros((0, max(1, len(self.labels))), dtype=np.float32)

    @torch.no_grad()
    def run(
        self, tokens: TokenizedTexts, reads: Iterable[Field], batch_tokens: int | None = None, title: str = ""
    ) -> Iterator[tuple[np.ndarray, EncoderOutput]]:
        """Yield (row numbers, output) of batches of like length, in eval mode; every row comes once."""
        batch_tokens = batch_tokens or (CPU_BATCH_TOKENS if self.device.type == "cpu" else GPU_BATCH_TOKENS)
        was_training = self.training
        self.eval()
        try:
            with progress(title, len(tokens)) as advance:
                for rows in length_batches(tokens.lengths, batch_tokens):
                    batch = {key: torch.from_numpy(value).to(self.device) for key, value in tokens.pad(rows, self.pad_id).items()}
                    yield rows, self(**batch, reads=reads)
                    advance(len(rows))
        finally:
            self.train(was_training)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def set_dropout(self, probability: float) -> None:
        """Dropout of every layer while training; the configuration, which later training starts from, keeps its own."""
        for module in self.network.modules():
            if isinstance(module, nn.Dropout):
                module.p = probability

    def parameter_counts(self) -> tuple[int, int]:
        """(parameters of the embedding tables, all others). BERT's own pooler is left out where no vector reads it."""
        tables = sum(p.numel() for module in self.modules() if isinstance(module, nn.Embedding) for p in module.parameters())
        unread = "network.pooler." if self.kind == "embed" else " "
        total = sum(p.numel() for name, p in self.named_parameters() if not name.startswith(unread))
        return tables, total - tables

    def save(self, folder: str | Path) -> None:
        """Write a folder that potstill, transformers and sentence-transformers load, whole or not at all."""
        with write_aside(folder) as aside:
            network = self.backbone if self.kind == "embed" else self.network
            network.config.output_hidden_states = self.kind == "embed" and self._pool.layers != "last"  # sentence-transformers asks it
            network.save_pretrained(aside)
            self.hf_tokenizer.model_max_length = self.max_length
            self.hf_tokenizer.save_pretrained(aside)
            if self.kind == "embed":
                sentence_format.write(aside, self)


def _state(tokens: Tensor, name: str, mask: Tensor) -> Tensor:
    """(b, l, d) → the same, the first token's (b, d), or the mean over real tokens (b, d)."""
    if name == "hidden_states":
        return tokens
    return tokens[:, 0] if name == "cls_states" else mean(tokens, mask)


def _is_stack(module: nn.Module, total: int) -> bool:
    return isinstance(module, nn.ModuleList) and len(module) == total and len({type(layer) for layer in module}) <= 1
