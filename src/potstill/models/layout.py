"""The way from a text to its vector: what is done to token vectors, the pooling, what is done behind it, and how texts are read."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from potstill.errors import PotstillError, shown
from potstill.models.pooling import pooling_named
from potstill.runtime.folder import COSINE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Normalize(nn.Module):
    """Vectors scaled to unit length, in fp32: a half-precision norm overflows at 65504."""

    def forward(self, vectors: Tensor) -> Tensor:
        """(…, d) → the same shape."""
        return nn.functional.normalize(vectors.float(), dim=-1)


class ResidualDense(nn.Linear):
    """A linear layer and its activation, with what goes in added to what comes out.

    Args:
        width: of what goes in.
        out: of what comes out; where it differs, a linear map of what goes in is added.
        bias: whether the layer has one.
        activation: of the layer.
    """

    def __init__(self, width: int, out: int, bias: bool, activation: nn.Module) -> None:
        super().__init__(width, out, bias=bias)
        self.activation = activation
        self.residual = nn.Identity() if width == out else nn.Linear(width, out, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """(…, width) → (…, out)."""
        return self.activation(super().forward(vectors)) + self.residual(vectors)


class Truncate(nn.Module):
    """The first numbers of vectors. It is no module of a folder: the library cuts what the last module gives.

    Args:
        width: how many numbers stay at most.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, vectors: Tensor) -> Tensor:
        """(…, d) → (…, width), or as it is where d is less."""
        return vectors[..., : self.width]


@dataclass(frozen=True)
class Layout:
    """The way from a text to its vector, as a folder says it; the steps in the order in which they are taken.

    Attributes:
        layer_weights: (layers + 1,) of the pooling "weighted". With another pooling, the weights of the hidden states
            whose mean is then pooled. None: the pooling reads the states that its name says.
        token_steps: what is done to token vectors before they are pooled.
        pooling: a name of models/pooling.py; None where the folder is silent.
        dense: what is done to vectors behind the pooling: linear layers with their activations behind them, Normalize,
            LayerNorm, Truncate.
        max_length: tokens a text is cut to; None where the folder is silent.
        lower_case: whether texts are read in lower case, whatever the tokenizer does.
        prompts: texts to put before a text, by name.
        default_prompt_name: the one that is put before every text; None for none.
        include_prompt: whether the tokens of a prompt are pooled too.
        similarity: how vectors are to be compared: one of SIMILARITIES.
    """

    layer_weights: Tensor | None = None
    token_steps: Sequence[nn.Module] = ()
    pooling: str | None = None
    dense: Sequence[nn.Module] = (Normalize(),)
    max_length: int | None = None
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    include_prompt: bool = True
    similarity: str = COSINE

    @property
    def truncated(self) -> int | None:
        """Numbers that vectors are cut to, None where they are not."""
        return self.dense[-1].width if self.dense and isinstance(self.dense[-1], Truncate) else None

    @property
    def normalize(self) -> bool:
        """Whether the last step scales vectors to unit length; what cuts them comes behind it."""
        steps = [step for step in self.dense if not isinstance(step, Truncate)]
        return bool(steps) and isinstance(steps[-1], Normalize)

    @property
    def prompt(self) -> str:
        """What is put before every text; "" for nothing."""
        return self.prompts.get(self.default_prompt_name or "", "")

    @property
    def reads_layers(self) -> bool:
        """Whether a vector is made of more than the last hidden state."""
        return self.layer_weights is not None or pooling_named(self.pooling or "mean").layers != "last"

    @property
    def plain(self) -> bool:
        """Whether it asks for no more than a pooling and, at the end, unit length; of the words in texts nothing changes."""
        kinds = [type(step) for step in self.dense]
        return not (self.token_steps or self.lower_case) and self.layer_weights is None and kinds in ([], [Normalize])

    def normalized(self, wanted: bool) -> Layout:
        """The same with vectors that are, or are not, scaled to unit length at the end; they are cut behind that as before."""
        if wanted == self.normalize:
            return self
        steps = [step for step in self.dense if not isinstance(step, Truncate)]
        cut = [step for step in self.dense if isinstance(step, Truncate)]
        while not wanted and steps and isinstance(steps[-1], Normalize):
            steps.pop()
        return replace(self, dense=[*steps, *([Normalize()] if wanted else []), *cut])

    def without_steps(self) -> Layout:
        """What it says of texts and of comparing vectors, for a model with steps of its own."""
        kept = Layout(include_prompt=self.include_prompt, lower_case=self.lower_case, similarity=self.similarity)
        return replace(kept, prompts=self.prompts, default_prompt_name=self.default_prompt_name)

    def notes(self) -> list[str]:
        """What a folder says beside its modules: what is done because of it, and which prompts nobody uses."""
        unused = [name for name, prompt in self.prompts.items() if prompt and name != self.default_prompt_name]
        found = [f"the prompt {shown(self.prompt)} before every text"] if self.prompt else []
        if unused:
            found.append(f"prompt{'s' * (len(unused) > 1)} {', '.join(unused)} {'are' if len(unused) > 1 else 'is'} not used")
        found += ["texts in lower case"] if self.lower_case else []
        found += [f"vectors cut to {self.truncated} dimensions"] if self.truncated else []
        return found + ([f"vectors are to be compared by {self.similarity}"] if self.similarity != COSINE else [])


def width_behind(steps: Iterable[nn.Module], width: int, place: object) -> int:
    """Width of what comes out of steps.

    Args:
        steps: of a Layout.
        width: of what goes into the first.
        place: what an error names.

    Raises:
        PotstillError: a step reads another width than the one before it gives.
    """
    for step in steps:
        reads = step.in_features if isinstance(step, nn.Linear) else step.normalized_shape[0] if isinstance(step, nn.LayerNorm) else width
        if reads != width:
            name = "LayerNorm" if isinstance(step, nn.LayerNorm) else "Dense"
            problem = f"a {name} layer reads vectors of {reads} numbers and gets {width}"
            raise PotstillError(place, problem, "take the pooling and the layers that were trained together")
        width = step.out_features if isinstance(step, nn.Linear) else min(step.width, width) if isinstance(step, Truncate) else width
    return width


def lower_cased(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A tokenizer that lower-cases texts before it does anything else with them; itself where it does so already.

    Args:
        tokenizer: it is left as it is.
    """
    from tokenizers.normalizers import Lowercase
    from tokenizers.normalizers import Sequence as Steps

    own: Any = tokenizer.backend_tokenizer.normalizer
    steps = list(own) if isinstance(own, Steps) else [] if own is None else [own]  # type: ignore[call-overload]
    if any(isinstance(step, Lowercase) for step in steps):
        return tokenizer
    changed = copy.deepcopy(tokenizer)
    changed.backend_tokenizer.normalizer = Steps([Lowercase(), *steps])  # type: ignore[assignment]
    return changed
