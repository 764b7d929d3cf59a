"""A transformers network, its tokenizer and its pooling or head, saved so that other libraries read it too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from potstill.data.stored import StoredTexts
from potstill.data.stored_tokens import stored_tokens
from potstill.errors import PotstillError
from potstill.machine.distributed import main_first
from potstill.machine.files import write_aside
from potstill.machine.progress import progress
from potstill.machine.torch_threads import on_all_cores
from potstill.models import heads, sentence_write, tokenizer_format
from potstill.models.layout import Layout, Normalize, lower_cased, width_behind
from potstill.models.output import EMBEDDING, INSIDE, LOGITS, POOLED, STATES, EncoderOutput, Field
from potstill.models.pooling import CLS_POOLER, WEIGHTED, mean, pooler_of, pooling_named
from potstill.registry import EMBED, MLM
from potstill.runtime.batching import length_batches
from potstill.runtime.folder import TAGGING, TOKEN_TYPES, prompted
from potstill.runtime.tokens import Text, TokenizedTexts, by_word, cut_to, require_words, tokenize

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

ONLY_EMBEDDING, ONLY_LOGITS = frozenset({EMBEDDING}), frozenset({LOGITS})
# What passes between layers should stay in the processor's cache: BERT-base in bf16 encodes three times as
# fast with 1024 tokens a batch as with 16384. A GPU wants the opposite.
CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 1024, 65536


class EncoderModel(nn.Module):
    """A text encoder: a transformers network and the way from its hidden states to a vector, or one with a head.

    Args:
        network: an AutoModel, or a model with a head of models/heads.py.
        hf_tokenizer: its fast tokenizer. `tokenizer` is a bare copy of it, without padding, truncating
            to `max_length`; it is what every text goes through, so that torch and the runtime agree.
        pooling: a name of models/pooling.py; default the layout's, else mean. Of a model without a head, like all but
            `max_length`.
        normalize: whether vectors are scaled to unit length at the end; default the layout's, which is yes where it is
            silent.
        max_length: tokens a text is cut to, special tokens included; default the layout's, else 128.
        layout: what a sentence-transformers folder says; default nothing. Where another pooling than its own is asked
            for, its weights of layers are left out.
        head: "embed" for a network whose language-model head is for training alone; default: what the network is.

    Attributes:
        head: "embed" without one, else a name of heads.HEADS.
        labels: what the logits stand for, in their order; empty for "embed", "mlm" and "regression".
        pooling: name of the pooling.
        token_steps: what is done to token vectors before they are pooled.
        dense: what is done to vectors behind the pooling, named after its first kind: the checkpoints of a stopped run
            hold its tensors under that name.
        layer_weights: (layers + 1,) as Layout has them, or None.

    Raises:
        PotstillError: the pooling asks for layers that the network has not, or its vectors are not as wide as what
            stands behind it reads.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        hf_tokenizer: PreTrainedTokenizerFast,
        *,
        pooling: str | None = None,
        normalize: bool | None = None,
        max_length: int | None = None,
        layout: Layout | None = None,
        head: str | None = None,
    ) -> None:
        super().__init__()
        from tokenizers import Tokenizer

        self.network = network
        self.head = head or heads.kind_of(network)
        self.labels = heads.labels_of(network, self.head)
        layout = _settled(layout or Layout(pooling=pooling), pooling, normalize, network)
        max_length = max_length or layout.max_length or 128
        self.hf_tokenizer = hf_tokenizer = lower_cased(hf_tokenizer) if layout.lower_case else hf_tokenizer
        self.tokenizer = Tokenizer.from_str(hf_tokenizer.backend_tokenizer.to_str())
        cut_to(self.tokenizer, max_length, hf_tokenizer.truncation_side)
        self.pooling, self.max_length, self._said = str(layout.pooling), max_length, layout.without_steps()
        self._pool = pooling_named(self.pooling)
        self._pool.numbers(self.depth)  # told now, not at the first text
        self.token_steps = nn.Sequential(*layout.token_steps)
        self.dense = nn.Sequential(*layout.dense)
        self.layer_weights: nn.Parameter | None = None
        if layout.layer_weights is not None or self.pooling == WEIGHTED:
            count, told = self.depth + 1, layout.layer_weights
            fits = told is not None and len(told) == count  # a cut student has other layers
            self.layer_weights = nn.Parameter(told.detach().float().clone() if told is not None and fits else torch.ones(count))
        if self.head == EMBED:
            _ = self.dimension  # told now too

    @property
    def backbone(self) -> PreTrainedModel:
        """The network without its head."""
        return self.network.base_model  # type: ignore[return-value]

    @property
    def layers(self) -> nn.ModuleList:
        """The stack of layers, from layer 1 on. A PotstillError from `stack_place` comes through."""
        return getattr(*self.stack_place())

    def stack_place(self) -> tuple[nn.Module, str]:
        """The module that holds the stack of layers, and the stack's name in it.

        Raises:
            PotstillError: the network has no stack of that many layers of one kind, or several.
        """
        total = self.depth
        stacks = [
            (module, name) for module in self.backbone.modules() for name, child in module.named_children() if _is_stack(child, total)
        ]
        if len(stacks) != 1:
            raise PotstillError(
                f"model ({self.backbone.config.model_type})", f"has {len(stacks)} stacks of {total} layers", "use a plain encoder"
            )
        return stacks[0]

    @property
    def layout(self) -> Layout:
        """What a sentence-transformers folder has to say of it; its steps are the model's own, no copies."""
        weights = None if self.layer_weights is None else self.layer_weights.detach()
        steps = {"layer_weights": weights, "token_steps": list(self.token_steps), "pooling": self.pooling, "dense": list(self.dense)}
        return replace(self._said, **steps, max_length=self.max_length)  # type: ignore[arg-type]

    @property
    def normalize(self) -> bool:
        """Whether the last step scales vectors to unit length."""
        return self.layout.normalize

    @property
    def prompt(self) -> str:
        """What is put before every text; "" for nothing, and of a model with a head."""
        return self._said.prompt if self.head == EMBED else ""

    @property
    def dimension(self) -> int:
        """Width of the vectors that `encode` gives."""
        return width_behind(self.dense, self._pool.width(width_behind(self.token_steps, self.width, "pooling")), "pooling")

    @property
    def width(self) -> int:
        """Width of the hidden states."""
        return int(self.backbone.config.hidden_size)

    @property
    def depth(self) -> int:
        """Number of layers, also of a network whose layers are shared (ALBERT) or lie apart (XLM)."""
        return int(self.backbone.config.num_hidden_layers)

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""
        return int(self.backbone.config.num_attention_heads)

    @property
    def pad_id(self) -> int:
        """Number of the padding piece."""
        return int(self.backbone.config.pad_token_id or 0)

    @property
    def reads_types(self) -> bool:
        """Whether an exported graph needs token types: those of pairs, which an encoder without a head is not given."""
        return self.head != EMBED and self._has_types

    @property
    def _has_types(self) -> bool:
        """Whether the network is given token types: as in transformers, only where its tokenizer names them."""
        config = self.backbone.config
        # A siamese network of this package's own could not tell the texts apart without them.
        named = TOKEN_TYPES in self.hf_tokenizer.model_input_names or getattr(config, "siamese", False)
        return named and (getattr(config, "type_vocab_size", 0) or 0) > 1

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        reads: Iterable[Field] | None = None,
        logit_mask: Tensor | None = None,
    ) -> EncoderOutput:
        """Run a padded batch; compute only what `reads` names.

        Args:
            input_ids: (b, l) piece numbers.
            attention_mask: (b, l) 1 at real tokens.
            token_type_ids: (b, l), passed on where the network has token types.
            reads: fields to compute; default the embedding, or with a head the logits.
            logit_mask: (b, l) of a language model, True at the n tokens whose logits are computed; default all.

        Returns:
            The fields with the shapes that models/output.py gives; under a `logit_mask` the logits are (n, vocabulary).
        """
        wanted = frozenset(reads) if reads is not None else (ONLY_EMBEDDING if self.head == EMBED else ONLY_LOGITS)
        deep = EMBEDDING in wanted and self._reads_layers
        layered = deep or any(field.name in STATES for field in wanted)
        inside = [field for field in wanted if field.name in INSIDE]
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "return_dict": True}
        if token_type_ids is not None and self._has_types:
            inputs["token_type_ids"] = token_type_ids
        values: dict[Field, Tensor] = {}
        with self._recording(inside) as found:
            if LOGITS in wanted or POOLED in wanted:
                with heads.reading(self.network, POOLED in wanted) as pooled, heads.logits_at(self.network, logit_mask):
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
        """Pool in fp32, with what stands before the pooling and behind it.

        Args:
            states: every hidden state (b, l, d), the embedding output first; the last one alone will
                do for a pooling that reads no other.
            mask: (b, l) 1 at real tokens.

        Returns:
            (b, dimension).
        """
        weights = self.layer_weights
        if weights is not None and self._pool.reduce != WEIGHTED:  # the mean of all states is pooled as if it were the last one
            read: Sequence[Tensor] = [_mixed(states, weights)]
        elif self._pool.layers == "last":
            read = states[-1:]
        else:
            read = [states[number] for number in self._pool.numbers(len(states) - 1)]
        return self.dense(self._pool([self.token_steps(state) for state in read], mask, weights))

    @property
    def _reads_layers(self) -> bool:
        """Whether a vector is made of more than the last hidden state."""
        return self._pool.layers != "last" or self.layer_weights is not None

    def tokenize(self, texts: Sequence[Text], max_length: int | None = None, title: str = "") -> TokenizedTexts:
        """Texts in the tokenizer's pieces, with the prompt before each.

        Of texts that are mapped into memory the pieces are too, and are kept in the cache.

        A PotstillError from runtime.tokens.tokenize comes through.

        Args:
            texts: strings and pairs; or lists of words, all of them.
            max_length: tokens that each is cut to; default the model's.
            title: of a progress bar; none without one.
        """
        if isinstance(texts, StoredTexts):
            with main_first():
                return stored_tokens(texts, self.tokenizer, max_length or self.max_length, self.prompt, title)
        return tokenize(self.tokenizer, prompted(self.prompt, texts), max_length or self.max_length, title)

    def encode(self, texts: Sequence[str], batch_tokens: int | None = None, title: str = "") -> np.ndarray:
        """Compute the vectors of texts, in eval mode.

        Args:
            texts: n texts; the prompt is put before each, and they are sorted by length and batched.
            batch_tokens: padded tokens a batch at most; default by the device.
            title: of a progress bar; none without one.

        Returns:
            float32 (n, dimension), in the order of the texts.

        Raises:
            PotstillError: the model has a head and gives no vectors.
        """
        if self.head != EMBED:
            raise PotstillError(f"model ({self.head})", "has a head and gives no vectors", "predict with it, or encode with its backbone")
        tokens = self.tokenize(texts, title=title and "tokenize")
        vectors = np.zeros((len(tokens), self.dimension), dtype=np.float32)
        for rows, output in self.run(tokens, ONLY_EMBEDDING, batch_tokens, title):
            vectors[rows] = output.embedding.float().cpu().numpy()
        return vectors

    def predict(self, texts: Sequence[Text], batch_tokens: int | None = None, title: str = "") -> np.ndarray | list[np.ndarray]:
        """Compute the logits of texts, pairs or words to be tagged, in eval mode.

        A word's tag is read at its first piece; words beyond `max_length` are missing at the end.

        Args:
            texts: n of them.
            batch_tokens: padded tokens a batch at most; default by the device.
            title: of a progress bar; none without one.

        Returns:
            float32 (n, classes), in the order of the texts; of words to be tagged a list of (words, tags).

        Raises:
            PotstillError: the model has no head, or one of a language model.
        """
        if self.head in (EMBED, MLM):
            raise PotstillError(f"model ({self.head})", "has no classification head", "fine-tune it on a task first")
        if self.head == TAGGING:
            require_words(texts)
        tokens = self.tokenize(texts, title=title and "tokenize")
        found: list[np.ndarray] = [np.zeros(0, dtype=np.float32)] * len(tokens)
        for rows, output in self.run(tokens, ONLY_LOGITS, batch_tokens, title):
            logits = output.logits.float().cpu().numpy()
            for row, own in zip(rows, logits):
                words = None if tokens.words is None else tokens.words[tokens.offsets[row] : tokens.offsets[row + 1]]
                found[row] = own if words is None else by_word(words, own)
        if self.head == TAGGING:
            return found
        return np.stack(found) if found else np.zeros((0, max(1, len(self.labels))), dtype=np.float32)

    @torch.no_grad()
    def run(
        self, tokens: TokenizedTexts, reads: Iterable[Field], batch_tokens: int | None = None, title: str = "", hooked: bool = False
    ) -> Iterator[tuple[np.ndarray, EncoderOutput]]:
        """Run texts in batches of like length, in eval mode and without gradients; every row comes once.

        On the processor each of torch's threads computes batches of its own, which is faster than sharing the operators of one. Autocast
        holds in them too.

        Args:
            tokens: texts in the tokenizer's pieces.
            reads: fields to compute.
            batch_tokens: padded tokens a batch at most; default by the device.
            title: of a progress bar; none without one.
            hooked: whether hooks of the caller's see the batches, which then come one after the other.

        Yields:
            Row numbers (b,) and the output for them.
        """
        device, reads = self.device, frozenset(reads)
        batches = length_batches(tokens.lengths, batch_tokens or (CPU_BATCH_TOKENS if device.type == "cpu" else GPU_BATCH_TOKENS))

        def compute(rows: np.ndarray) -> tuple[np.ndarray, EncoderOutput]:
            batch = {key: torch.from_numpy(value).to(device) for key, value in tokens.pad(rows, self.pad_id).items()}
            with torch.no_grad():  # which holds for one thread, as much else of torch does
                return rows, self(**batch, reads=reads)

        # What hooks see they would see of all threads; and what a network writes into itself others would read.
        hooked = hooked or _changes_itself(self.network.config) or any(field == POOLED or field.name in INSIDE for field in reads)
        one_by_one = hooked or device.type != "cpu"
        found = (compute(rows) for rows in batches) if one_by_one else on_all_cores(compute, batches)
        was_training = self.training
        self.eval()
        try:
            with closing(found), progress(title, len(tokens)) as advance:  # whoever stops early waits for what has begun
                for rows, output in found:
                    yield rows, output
                    advance(len(rows))
        finally:
            self.train(was_training)

    @property
    def device(self) -> torch.device:
        """Where its parameters lie."""
        return next(self.parameters()).device

    def set_dropout(self, probability: float) -> None:
        """Set the dropout of every layer in training; the configuration, which later training starts from, keeps its own."""
        for module in self.network.modules():
            if isinstance(module, nn.Dropout):
                module.p = probability

    def parameter_counts(self) -> tuple[int, int]:
        """How many parameters it has; BERT's own pooler is left out where no vector reads it.

        Returns:
            (parameters of the embedding tables, all others).
        """
        tables = sum(p.numel() for module in self.modules() if isinstance(module, nn.Embedding) for p in module.parameters())
        unread = "network.pooler." if self.head == EMBED else " "
        total = sum(p.numel() for name, p in self.named_parameters() if not name.startswith(unread))
        return tables, total - tables

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files; texts are cut by them as the model cuts them."""
        tokenizer_format.write(folder, self.hf_tokenizer, self.tokenizer, self.max_length)

    def save(self, folder: str | Path) -> None:
        """Write a folder that potstill, transformers and sentence-transformers load, whole or not at all.

        A PotstillError from machine.files.write_aside comes through: the folder cannot be written.
        """
        with write_aside(folder) as aside:
            network = self.backbone if self.head == EMBED else self.network
            network.config.output_hidden_states = self.head == EMBED and self._reads_layers  # sentence-transformers asks it
            network.save_pretrained(aside)
            self.save_tokenizer(aside)
            if self.head == EMBED:
                sentence_write.write(aside, self.layout, self.depth, self.width)


def _changes_itself(config: PretrainedConfig) -> bool:
    """Whether a forward pass writes into the network: BigBird's choice of attention, and rotary positions that hang on the length."""
    rotary = str(getattr(config, "rope_parameters", ""))  # a dict, or one of each kind of layer
    return config.model_type == "big_bird" or any(kind in rotary for kind in ("dynamic", "longrope"))


def _mixed(states: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Hidden states (b, l, d) and a weight for each → their weighted mean (b, l, d), in fp32."""
    return torch.einsum("k,kbld->bld", weights / weights.sum(), torch.stack([state.float() for state in states]))


def _settled(layout: Layout, pooling: str | None, normalize: bool | None, network: PreTrainedModel) -> Layout:
    """A layout with the pooling and the normalisation that are asked for, each as it is where None is.

    Raises:
        PotstillError: a pooling of several layers, where only the last one's token vectors are what the layout's steps read.
    """
    if pooling == CLS_POOLER:
        dense = [*pooler_of(network), *([Normalize()] if layout.normalize else [])]
        layout = replace(layout.without_steps(), pooling="cls", dense=dense, max_length=layout.max_length)
    elif pooling not in (None, layout.pooling):
        layout = replace(layout, pooling=pooling, layer_weights=None)
    layout = replace(layout, pooling=layout.pooling or "mean")
    if layout.token_steps and pooling_named(layout.pooling or "").layers != "last":
        problem = f"{layout.pooling} reads several layers, and the model changes the last one's token vectors before they are pooled"
        raise PotstillError("pooling", problem, "choose mean, cls or max")
    return layout if normalize is None else layout.normalized(normalize)


def _state(tokens: Tensor, name: str, mask: Tensor) -> Tensor:
    """(b, l, d) → the same, the first token's (b, d), or the mean over real tokens (b, d)."""
    if name == "hidden_states":
        return tokens
    return tokens[:, 0] if name == "cls_states" else mean(tokens, mask)


def _is_stack(module: nn.Module, total: int) -> bool:
    return isinstance(module, nn.ModuleList) and len(module) == total and len({type(layer) for layer in module}) <= 1


def keep_layers(model: EncoderModel, layers: Sequence[int]) -> None:
    """Drop every layer of a model but some, in place.

    A PotstillError from `stack_place` comes through: the network has no one stack of layers.

    Args:
        model: its configuration is changed with it.
        layers: numbers from 1 of those that stay, in the order in which they will stand.
    """
    parent, name = model.stack_place()
    stack = getattr(parent, name)
    setattr(parent, name, nn.ModuleList(stack[layer - 1] for layer in layers))
    keep_listed(model.backbone.config, layers)  # the head's too: it is one object


def keep_listed(config: PretrainedConfig, layers: Sequence[int]) -> None:
    """Make a configuration that of some layers alone: their number, and every list that has an entry for each layer.

    Args:
        config: it is changed in place.
        layers: numbers from 1 of those that stay, in the order in which they will stand.
    """
    for key in listed(config):
        setattr(config, key, [getattr(config, key)[layer - 1] for layer in layers])
    config.num_hidden_layers = len(layers)
    types = getattr(config, "layer_types", None)
    if types and hasattr(config, "global_attn_every_n_layers"):  # an older word for it, which older readers go by
        is_global = [kind == "full_attention" for kind in types]
        fits = [every for every in range(1, len(types) + 1) if is_global == [n % every == 0 for n in range(len(types))]]
        if fits:
            config.global_attn_every_n_layers = fits[0]
        else:
            del config.global_attn_every_n_layers


def listed(config: PretrainedConfig) -> list[str]:
    """Names of a configuration's lists that have an entry for each layer.

    ModernBERT has `layer_types` (which layers attend locally), Longformer `attention_window`.
    """
    # As long as the stack only by chance.
    of_others = {"architectures", "eos_token_id", "languages", "pos_att_type", "type_vocab_sizes", "vocab_list"}
    total = int(config.num_hidden_layers)
    return [key for key, value in vars(config).items() if isinstance(value, (list, tuple)) and len(value) == total and key not in of_others]
