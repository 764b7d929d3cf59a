"""A BiLSTM student as a transformers model, so that everything that takes one takes it.

Sources: Tang et al. 2019; Mukherjee & Awadallah 2019. Token table → dropout → BiLSTM layers; a text's vector is then
the greatest value of each dimension over its tokens. A classifier of pairs is siamese: both texts go through the same
layers, each by itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput

from potstill.models.pooling import max as max_pool

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}
SPREAD = 0.2  # standard deviation of a new table: that of word2vec's, which papers start from; BERT's 0.02 hardly moves a gate
# A direction's attribute in BiLSTMLayer → its name in files. Students were saved under these names before the attributes
# got theirs; transformers writes and reads files under them, so that any version reads a folder of any other.
SAVED_NAMES = {"forward_lstm": "ahead", "backward_lstm": "back"}


class BiLSTMConfig(PretrainedConfig):
    """Sizes of a BiLSTM student.

    Args:
        vocab_size: rows of the token table.
        hidden_size: width of a token's vector: both directions, so twice the width of one.
        num_hidden_layers: BiLSTM layers.
        embedding_size: width of the token table, and so of `hidden_states[0]`.
        dense_size: width of the layer between a text's features and the output.
        activation: of that layer: a name of ACTIVATIONS.
        dropout: probability behind the table, between layers and in front of the dense layer.
        siamese: whether texts come in pairs, told apart by token types.
        shared_first: whether both texts of a pair begin with the row's first token ([CLS]), as each would alone.
        pad_token_id: of the tokenizer.
        **kwargs: as PretrainedConfig has them.
    """

    model_type = "potstill-bilstm"

    def __init__(
        self,
        vocab_size: int = 30522,
        hidden_size: int = 600,
        num_hidden_layers: int = 1,
        embedding_size: int = 300,
        dense_size: int = 200,
        activation: str = "relu",
        dropout: float = 0.1,
        siamese: bool = False,
        shared_first: bool = True,
        pad_token_id: int = 0,
        **kwargs: Any,
    ) -> None:
        self.vocab_size, self.hidden_size, self.num_hidden_layers = vocab_size, hidden_size, num_hidden_layers
        self.embedding_size, self.dense_size, self.activation, self.dropout = embedding_size, dense_size, activation, dropout
        self.siamese, self.shared_first = siamese, shared_first
        self.type_vocab_size = 2 if siamese else 1
        kwargs.pop("type_vocab_size", None)
        super().__init__(**kwargs)
        self.pad_token_id = pad_token_id


class BiLSTMEmbeddings(nn.Module):
    """The token table and its dropout."""

    def __init__(self, config: BiLSTMConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Look up the tokens' vectors.

        Args:
            input_ids: (b, l).

        Returns:
            (b, l, embedding_size).
        """
        return self.dropout(self.word_embeddings(input_ids))


class BiLSTMLayer(nn.Module):
    """One LSTM that reads from the first token on and one that reads from the last; neither reads padding before a token.

    The backward LSTM reads each text reversed within its own length, so that padding comes last for it too. Packed
    sequences would give the same result more slowly.

    Args:
        inputs: width of what it reads.
        width: of each direction.
        dropout: probability in front of the layer. None: the embedding already applies dropout, and set_dropout must not
            add a second.
    """

    def __init__(self, inputs: int, width: int, dropout: float | None) -> None:
        super().__init__()
        self.dropout = nn.Identity() if dropout is None else nn.Dropout(dropout)
        self.forward_lstm = nn.LSTM(inputs, width, batch_first=True)
        self.backward_lstm = nn.LSTM(inputs, width, batch_first=True)
        # A checkpoint of a training is read by torch, which transformers' registry below does not reach.
        self.register_load_state_dict_pre_hook(_rename_saved)

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Run both directions.

        Args:
            states: (b, l, inputs), padding at the end.
            lengths: (b, 1), tokens of each text.

        Returns:
            (b, l, 2 · width), the forward direction first; 0 at padding.
        """
        states = self.dropout(states)
        positions = torch.arange(states.shape[1], device=states.device)[None]  # (1, l)
        real = (positions < lengths).unsqueeze(-1)
        if torch.onnx.is_in_onnx_export():
            return self._operator(states, lengths) * real
        turned = torch.where(positions < lengths, lengths - 1 - positions, positions)
        forwards, _ = self.forward_lstm(states)
        backwards, _ = self.backward_lstm(pick(states, turned))
        return torch.cat([forwards, pick(backwards, turned)], dim=-1) * real

    def _operator(self, states: Tensor, lengths: Tensor) -> Tensor:
        """The same by ONNX's own operator, which knows lengths and both directions; torch.export cannot trace an nn.LSTM of any length."""
        both = (self.forward_lstm, self.backward_lstm)
        inputs, recurrent, *biases = (
            torch.stack([_gates(getattr(one, name)) for one in both])  # (2, 4 · width, …)
            for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        )
        rows, steps, width = states.shape[0], states.shape[1], self.forward_lstm.hidden_size
        found = torch.onnx.ops.symbolic_multi_out(
            "LSTM",
            (states.transpose(0, 1), inputs, recurrent, torch.cat(biases, dim=1), lengths.squeeze(1).to(torch.int32)),
            {"hidden_size": width, "direction": "bidirectional"},
            dtypes=(states.dtype,) * 3,
            shapes=((steps, 2, rows, width), (2, rows, width), (2, rows, width)),
        )
        return found[0].permute(2, 0, 1, 3).flatten(2)


def _rename_saved(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Give the tensors of a layer, saved before its attributes got their names, the names that they have now."""
    for name, saved in SAVED_NAMES.items():
        for key in [key for key in state if key.startswith(f"{prefix}{saved}.")]:
            state[f"{prefix}{name}.{key.removeprefix(f'{prefix}{saved}.')}"] = state.pop(key)


class BiLSTMPreTrainedModel(PreTrainedModel):
    """What a BiLSTM with and without a head share: configuration, and how weights are drawn."""

    config_class = BiLSTMConfig
    base_model_prefix = "bilstm"

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=SPREAD)


class BiLSTMModel(BiLSTMPreTrainedModel):
    """The stack without a head.

    The tokens of a pair are in the row's order, each with the vector that it has in its own text.
    """

    def __init__(self, config: BiLSTMConfig) -> None:
        super().__init__(config)
        self.embeddings = BiLSTMEmbeddings(config)
        inputs = [config.embedding_size] + [config.hidden_size] * (config.num_hidden_layers - 1)
        # Each layer has the dropout in front of it; the first one's is the table's own.
        self.layer = nn.ModuleList(
            BiLSTMLayer(size, config.hidden_size // 2, config.dropout if number else None) for number, size in enumerate(inputs)
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The token table."""
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: Any) -> None:
        """Replace the token table.

        Args:
            value: another one.
        """
        self.embeddings.word_embeddings = value

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Compute the tokens' states and the texts' vectors.

        Args:
            input_ids: (b, l), padding at the end.
            attention_mask: (b, l), 1 at real tokens.
            token_type_ids: (b, l), 1 in the second text of a pair; read by a siamese network alone.
            output_hidden_states: whether the embedding output and every layer's output are given too.
            return_dict: not read; transformers passes it.

        Returns:
            last_hidden_state (b, l, hidden_size), and pooler_output: the greatest value of each dimension
            over a text's tokens, (b, hidden_size); of a siamese network (b, 2 · hidden_size).
        """
        embedded = self.embeddings(input_ids)
        if self.config.siamese:
            types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            sides = Sides(attention_mask, types, self.config.shared_first)
            states, lengths = sides.apart(embedded), sides.lengths
        else:
            states, lengths = embedded, attention_mask.sum(1, keepdim=True)
        seen = [embedded]
        for layer in self.layer:
            states = layer(states, lengths)
            if output_hidden_states or layer is self.layer[-1]:
                seen.append(sides.together(states) if self.config.siamese else states)
        mask = torch.arange(states.shape[1], device=states.device)[None] < lengths
        vectors = torch.where(lengths > 0, max_pool(states, mask), 0.0)
        if self.config.siamese:
            rows = input_ids.shape[0]
            vectors = torch.cat([vectors[:rows], vectors[rows:]], dim=-1)
        return BaseModelOutputWithPooling(
            last_hidden_state=seen[-1], pooler_output=vectors, hidden_states=tuple(seen) if output_hidden_states else None
        )


class BiLSTMForSequenceClassification(BiLSTMPreTrainedModel):
    """[u], or of pairs [u; v; |u - v|; u ⊙ v] → dropout → dense → activation → output.

    u and v are the greatest values of each dimension over the tokens of the first and of the second text.
    Source: Tang et al. 2019, section 3.2.
    """

    def __init__(self, config: BiLSTMConfig) -> None:
        super().__init__(config)
        self.bilstm = BiLSTMModel(config)
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(config.hidden_size * (4 if config.siamese else 1), config.dense_size)
        self.activation = ACTIVATIONS[config.activation]()
        self.classifier = nn.Linear(config.dense_size, config.num_labels)  # type: ignore[arg-type]  # a head has labels
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Compute the logits.

        Args:
            input_ids: as BiLSTMModel has it, like the following ones.
            attention_mask: (b, l).
            token_type_ids: (b, l).
            output_hidden_states: whether the states are given too.
            return_dict: not read; transformers passes it.

        Returns:
            logits (b, labels), and hidden_states where they are asked for.
        """
        output = self.bilstm(input_ids, attention_mask, token_type_ids, output_hidden_states)
        features = output.pooler_output
        if self.config.siamese:
            first, second = features[:, : self.config.hidden_size], features[:, self.config.hidden_size :]
            features = torch.cat([first, second, (first - second).abs(), first * second], dim=-1)
        return SequenceClassifierOutput(
            logits=self.classifier(self.activation(self.dense(self.dropout(features)))), hidden_states=output.hidden_states
        )


class Sides:
    """The two texts of each row of pairs, each as a row by itself, and back.

    Args:
        mask: (b, l), 1 at the rows' real tokens.
        types: (b, l), 0 in the first text and 1 in the second, which comes after all of the first.
        shared_first: whether the second text too begins with the row's first token.
    """

    def __init__(self, mask: Tensor, types: Tensor, shared_first: bool) -> None:
        second = (mask * types).sum(1, keepdim=True)
        first = mask.sum(1, keepdim=True) - second
        self.more = 1 if shared_first else 0
        self.types, self.first = types, first
        self.lengths = torch.cat([first, second + self.more])  # (2b, 1)

    def apart(self, values: Tensor) -> Tensor:
        """Each text as a row by itself.

        Args:
            values: (b, l, d).

        Returns:
            (2b, longest text, d): the first texts, then the second ones. A row is valid up to its `lengths`.
        """
        # An exported graph keeps l: its operator stops at the longest text by itself.
        longest = values.shape[1] if torch.onnx.is_in_onnx_export() else int(self.lengths.max())
        positions = torch.arange(longest, device=values.device)[None]
        places = (positions + self.first - self.more).clamp(max=values.shape[1] - 1)
        if self.more:
            places = torch.where(positions == 0, 0, places)
        return torch.cat([values[:, :longest], pick(values, places)])

    def together(self, values: Tensor) -> Tensor:
        """The opposite of `apart`.

        Args:
            values: (2b, longest text, d).

        Returns:
            (b, l, d), in the rows' order.
        """
        positions = torch.arange(self.types.shape[1], device=values.device)[None]
        second = (positions - self.first + self.more).clamp(min=0)
        rows = torch.arange(self.first.shape[0], device=values.device)[:, None]  # (b, 1)
        last = values.shape[1] - 1
        return torch.where(
            self.types.unsqueeze(-1) == 1,
            values[rows + self.first.shape[0], second.clamp(max=last)],
            values[rows, positions.clamp(max=last)],
        )


def pick(values: Tensor, places: Tensor) -> Tensor:
    """Take the values at other places of the same row.

    Args:
        values: (b, l, d).
        places: (b, m) numbers below l.

    Returns:
        (b, m, d).
    """
    return values.gather(1, places.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


def _gates(values: Tensor) -> Tensor:
    """Turn torch's order of the gates (input, forget, cell, output) into ONNX's (input, output, forget, cell), along axis 0."""
    order = torch.tensor([0, 3, 1, 2], device=values.device)
    return values.unflatten(0, (4, -1)).index_select(0, order).flatten(0, 1)


AutoConfig.register(BiLSTMConfig.model_type, BiLSTMConfig)
AutoModel.register(BiLSTMConfig, BiLSTMModel)
AutoModelForSequenceClassification.register(BiLSTMConfig, BiLSTMForSequenceClassification)
register_checkpoint_conversion_mapping(
    BiLSTMConfig.model_type, [WeightRenaming(f".{saved}.", f".{name}.") for name, saved in SAVED_NAMES.items()]
)
