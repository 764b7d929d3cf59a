"""sentence-transformers' folder format: reading what a folder says, writing what ours says.

Written by hand in the form that every release since 2.7 reads: the library itself would write
class paths that only its newest major version knows.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from potstill.errors import PotstillError, shown
from potstill.machine.files import read_json
from potstill.models.pooling import MODES, POOLINGS, SEVERAL, WEIGHTED, pooling_named
from potstill.models.source import library_reads
from potstill.runtime.architecture import layers_of, width_of
from potstill.runtime.folder import COSINE, SIMILARITIES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MODULES, SETTINGS, CONFIG, WEIGHTS = "modules.json", "config_sentence_transformers.json", "config.json", "model.safetensors"
# What the module Transformer says of itself; the library takes the first of them that says anything.
TRANSFORMER_FILES = tuple(
    f"sentence_{name}_config.json" for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
LIBRARY, TYPES = "sentence_transformers.", "sentence_transformers.models"
OWN_TYPES = f"{__package__}.layer_pooling"
AGAIN = "fetch or save the model again, whole"
UNLIMITED = 1 << 20  # tokens: a length that no encoder has, by which transformers too says that there is no limit

TOKENS, VECTOR = "token_embeddings", "sentence_embedding"  # the library's names of what a module reads and writes
ON_TOKENS = {"module_input_name": TOKENS, "module_output_name": TOKENS}

# The activations that a Dense module may name, by class name; nothing is imported by a name out of a file.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    kind.__name__: kind
    for kind in (
        *(nn.Identity, nn.Tanh, nn.GELU, nn.ReLU, nn.SiLU, nn.Sigmoid, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.Mish),
        *(nn.ReLU6, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.LogSigmoid, nn.Softplus, nn.Softsign),
    )
}
# Keys of Pooling's configuration as every release reads them → names in pooling.MODES. All are always written.
POOLING_KEYS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# What Transformer may be told for transformers' own calls that changes no vector here: everything is loaded in fp32.
HARMLESS = {"trust_remote_code", "attn_implementation", "torch_dtype", "dtype", "use_safetensors", "low_cpu_mem_usage", "device_map"}
HARMLESS |= {"use_fast", "cache_dir", "revision", "token", "local_files_only", "add_pooling_layer", "output_hidden_states"}
MODALITY = {"method": "forward", "method_output_name": "last_hidden_state"}


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


# Reading


@dataclass
class _Way:
    """The steps of a folder so far."""

    folder: Path
    weights: Tensor | None = None
    token_steps: list[nn.Module] = field(default_factory=list)
    pooling: str | None = None
    dense: list[nn.Module] = field(default_factory=list)
    include_prompt: bool = True

    def add(self, place: Path, kind: str, config: Mapping[str, Any], *steps: nn.Module) -> None:
        """Put a module's steps behind the ones before it, on token vectors or on a text's vector, as it says.

        Raises:
            PotstillError: it stands where what it reads is not there yet, or reaches no vector any more.
        """
        reads = config.get("module_input_name", VECTOR)
        writes = config.get("module_output_name") or reads
        if reads != writes or reads not in (TOKENS, VECTOR):
            problem = f"a {kind} from {shown(reads)} to {shown(writes)} is not supported"
            raise PotstillError(place, problem, f"known: from {TOKENS} or {VECTOR} to the same")
        if (reads == TOKENS) != (self.pooling is None):
            where = "before" if self.pooling is None else "behind"
            problem = f"{place.name}, a {kind} on {reads}, {where} the pooling is not supported"
            raise PotstillError(self.folder / MODULES, problem, f"known: on {TOKENS} before it, on {VECTOR} behind it")
        (self.dense if self.pooling else self.token_steps).extend(steps)

    def pool(self, name: str, kind: str) -> None:
        """Take the pooling.

        Raises:
            PotstillError: there is one already.
        """
        if self.pooling is not None:
            raise PotstillError(self.folder / MODULES, f"a {kind} behind another pooling is not supported", "keep one of them")
        self.pooling = name


def read(folder: Path) -> Layout:
    """Read modules.json and what it names; an empty Layout for a plain transformers folder.

    Raises:
        PotstillError: a module, a pooling or an activation that this package does not know, or in an order that it does
            not; a setting that would change vectors and is not done; a file that cannot be read; weights that are not
            in safetensors.
    """
    if not (folder / MODULES).is_file():
        return Layout()
    rows = _rows(folder)
    settings = _object(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    of_pairs = settings.get("model_type") == "CrossEncoder"  # a network with a head, which has no way to vectors
    transformer = _transformer(folder, of_pairs) if rows[0][0] == "Transformer" else {}
    said = {"max_length": transformer.get("max_seq_length"), "lower_case": transformer.get("do_lower_case") or False}
    said |= _settings(folder / SETTINGS, settings)
    if of_pairs and said["default_prompt_name"] is not None:
        raise PotstillError(folder / SETTINGS, "a default prompt of a CrossEncoder is not supported", "set default_prompt_name to null")
    way = _Way(folder, pooling="mean" if rows[0][0] == "StaticEmbedding" else None)
    for kind, place in rows[1:]:
        KINDS[kind](way, place)
    if way.pooling is None and (way.token_steps or way.weights is not None):
        raise PotstillError(folder / MODULES, "has no Pooling, so that no text has a vector", "add one")
    return _layout(way, said.pop("truncate"), transformer, **said)


def _layout(way: _Way, truncate: int | None, transformer: Mapping[str, Any], **said: Any) -> Layout:
    """The Layout of a folder's steps and of all else that it says.

    Raises:
        PotstillError: its parts do not fit together.
    """
    config = _object(way.folder / CONFIG)
    if way.weights is not None:
        _require_layers(way, config, transformer)
        way.pooling, way.weights = _layers_named(way)
    if not way.include_prompt and said["default_prompt_name"] is not None:
        problem = "include_prompt: false beside a default prompt is not supported"
        raise PotstillError(way.folder / SETTINGS, problem, "set default_prompt_name to null, and put the prompt before texts yourself")
    if way.pooling is not None and width_of(config):
        width = width_behind(way.token_steps, width_of(config), way.folder / MODULES)
        width_behind(way.dense, pooling_named(way.pooling).width(width), way.folder / MODULES)
    dense = [*way.dense, *([] if truncate is None else [Truncate(truncate)])]
    return Layout(way.weights, way.token_steps, way.pooling, dense, include_prompt=way.include_prompt, **said)


def _rows(folder: Path) -> list[tuple[str, Path]]:
    """Each module of modules.json in the file's order, which is the library's: its kind, and where its files are.

    Raises:
        PotstillError: the file is no list of modules, or names one that this package does not know or that lies elsewhere.
    """
    file = folder / MODULES
    content = read_json(file)
    if not isinstance(content, list) or not content or not all(isinstance(row, dict) for row in content):
        raise PotstillError(file, f"holds {shown(content)}", "a list of objects is needed, each a module")
    names = [row["name"] for row in content if isinstance(row.get("name"), str)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise PotstillError(file, f"two modules have the name {shown(twice[0])}", "name each differently")
    found = []
    for number, row in enumerate(content):
        kind, path = row.get("type"), row.get("path")
        if not isinstance(kind, str) or not isinstance(path, str):
            raise PotstillError(file, f"module {number} is {shown(row)}", "it needs a type and a path, both texts")
        package, _, name = kind.rpartition(".")
        known = FIRST if number == 0 else tuple(KINDS)
        ours = package == OWN_TYPES if name == "LayerPooling" else kind.startswith(LIBRARY)
        if name not in known or not ours:
            problem = f"module {number} of kind {shown(name if kind.startswith(LIBRARY) else kind)} is not supported"
            raise PotstillError(file, problem, f"known there: {', '.join(known)}")
        if any(".." in kind_of(path).parts or kind_of(path).anchor for kind_of in (PurePosixPath, PureWindowsPath)):
            raise PotstillError(file, f"the path {shown(path)} leads out of the folder", AGAIN)
        if number == 0 and path not in ("", "."):
            problem = f"the network lies in {shown(path)}, as the earliest releases of sentence-transformers wrote it"
            raise PotstillError(file, problem, "load it with sentence-transformers and save it again")
        found.append((name, folder / path))
    return found


def _transformer(folder: Path, of_pairs: bool) -> dict[str, Any]:
    """What Transformer says of itself, with `max_seq_length` and `do_lower_case` checked.

    Args:
        folder: of the model.
        of_pairs: whether it is a CrossEncoder's, which has other outputs.

    Raises:
        PotstillError: it says something that changes vectors and is not done here.
    """
    objects = ((file, _object(file)) for file in (folder / name for name in TRANSFORMER_FILES) if file.is_file())
    file, config = next((found for found in objects if found[1]), (folder / TRANSFORMER_FILES[0], {}))
    for group in [key for key in config if key.endswith(("_args", "_kwargs")) and key != "processing_kwargs"]:
        told = config.pop(group) or {}
        if not isinstance(told, dict):
            raise PotstillError(file, f"{group} is {shown(told)}", "an object is needed")
        if group in ("tokenizer_args", "processor_kwargs") and "model_max_length" in told:
            config["max_seq_length"] = told.pop("model_max_length")  # the library takes it before the other
        if strange := [key for key in told if key not in HARMLESS]:
            raise PotstillError(file, f"{group}.{strange[0]} is {shown(told[strange[0]])}, which is not supported", "take it out")
        config |= {"output_hidden_states": told["output_hidden_states"]} if told.get("output_hidden_states") else {}
    config["max_seq_length"] = _length(file, config.get("max_seq_length"))
    if config.get("do_lower_case") not in (None, False, True):
        raise PotstillError(file, f"do_lower_case is {shown(config['do_lower_case'])}", "true or false is needed")
    plain = {"transformer_task": ("feature-extraction",), "module_output_name": (TOKENS,), "modality_config": ({"text": MODALITY},)}
    free = {"max_seq_length", "do_lower_case", "unpad_inputs", "output_hidden_states", *(plain if of_pairs else ())}
    for key in (key for key in config if key not in free):
        if config[key] and config[key] not in plain.get(key, ()):
            raise PotstillError(file, f"{key} is {shown(config[key])}, which is not supported", "take it out, or use another model")
    return config


def _settings(file: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Prompts, similarity and `truncate` of a folder.

    Raises:
        PotstillError: a value is none that it can have.
    """
    if content.get("model_type") not in (None, "SentenceTransformer", "CrossEncoder"):
        raise PotstillError(file, f"model_type is {shown(content['model_type'])}, which is not supported", "known: SentenceTransformer")
    prompts = content.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(prompt is None or isinstance(prompt, str) for prompt in prompts.values()):
        raise PotstillError(file, f"prompts is {shown(prompts)}", "an object is needed, from names to texts")
    default, truncate = content.get("default_prompt_name"), content.get("truncate_dim")
    # The library has these two without being told, as empty ones.
    if default is not None and (not isinstance(default, str) or default not in {"query", "document", *prompts}):
        raise PotstillError(file, f"default_prompt_name is {shown(default)}", f"prompts has: {', '.join(prompts) or 'none'}")
    similarity = content.get("similarity_fn_name") or COSINE
    if similarity not in SIMILARITIES:
        raise PotstillError(file, f"similarity_fn_name is {shown(similarity)}", f"known: {', '.join(SIMILARITIES)}")
    return {
        "prompts": {name: prompt or "" for name, prompt in prompts.items()} if any(prompts.values()) else {},
        "default_prompt_name": default if prompts.get(default) else None,
        "similarity": similarity,
        "truncate": None if truncate is None else _count(file, "truncate_dim", truncate),
    }


def _require_layers(way: _Way, config: Mapping[str, Any], transformer: Mapping[str, Any]) -> None:
    """Check that a WeightedLayerPooling gets the layers that it weighs.

    Raises:
        PotstillError: the network has another number of layers, or does not give them.
    """
    assert way.weights is not None
    if layers_of(config) and layers_of(config) + 1 != len(way.weights):
        problem = f"WeightedLayerPooling weighs {len(way.weights)} hidden states, and the network has {layers_of(config) + 1}"
        raise PotstillError(way.folder / MODULES, problem, AGAIN)
    if not (config.get("output_hidden_states") or transformer.get("output_hidden_states")):
        problem = "does not say output_hidden_states: true, without which sentence-transformers leaves WeightedLayerPooling out"
        raise PotstillError(way.folder / CONFIG, problem, f"say it, or take the module out of {MODULES}")


def _layers_named(way: _Way) -> tuple[str | None, Tensor | None]:
    """The pooling that a WeightedLayerPooling and the Pooling behind it make together, and the weights where its name does not say them."""
    assert way.weights is not None
    weights = way.weights
    chosen = torch.nonzero(weights).flatten().tolist()
    same = bool((weights[chosen] == weights[chosen[0]]).all())
    last = chosen == [len(weights) - 1]
    # A mean over tokens and one over layers may change places; nothing else may, and a step between them neither.
    if same and (last or not way.token_steps) and (len(chosen) == 1 or way.pooling == "mean"):
        for name in (name for name, pooling in POOLINGS.items() if pooling.reduce == way.pooling):
            try:
                if POOLINGS[name].numbers(len(weights) - 1) == chosen:
                    return name, None
            except PotstillError:  # a name that asks for more layers than there are
                continue
        if last:
            return way.pooling, None
    return (WEIGHTED if way.pooling == "mean" and not way.token_steps else way.pooling), weights


def _read_layer_weights(way: _Way, place: Path) -> None:
    """Take a WeightedLayerPooling: (layers + 1,) weights, 0 for the layers below its first.

    Raises:
        PotstillError: it stands behind what it would undo, or its files are not right.
    """
    if way.pooling is not None or way.token_steps or way.weights is not None:
        raise PotstillError(way.folder / MODULES, "WeightedLayerPooling must stand right behind Transformer", "put it there")
    config = _config(place)
    start = _count(place / CONFIG, "layer_start", config.get("layer_start", 4), least=0)
    total = _count(place / CONFIG, "num_hidden_layers", config.get("num_hidden_layers", 12))
    weights = _tensors(place, {"layer_weights": (total + 1 - start,)})["layer_weights"]
    if not float(weights.sum()):
        raise PotstillError(place / WEIGHTS, "layer_weights have the sum 0, by which they are divided", AGAIN)
    way.weights = torch.cat([torch.zeros(start), weights])


def _read_pooling(way: _Way, place: Path) -> None:
    """Take a Pooling.

    Raises:
        PotstillError: it says something that this package does not know.
    """
    config, file = _config(place), place / CONFIG
    told = config.get("pooling_mode")
    if told is None:  # in the library's order, whatever that of the file; without any it is the mean
        active = {POOLING_KEYS.get(key, key) for key, value in config.items() if key.startswith("pooling_mode_") and value}
        modes: list[Any] = sorted(active, key=list(MODES).index) if active <= set(MODES) else list(active - set(MODES))
    else:
        modes = told if isinstance(told, list) else [told]
    modes = modes or ["mean"]
    if not all(isinstance(mode, str) and mode in MODES for mode in modes):
        raise PotstillError(file, f"pooling {'+'.join(map(str, modes))} is not supported", f"known: {', '.join(MODES)}")
    known = {"embedding_dimension", "word_embedding_dimension", "pooling_mode", "include_prompt", *POOLING_KEYS}
    if strange := [key for key in config if key not in known]:
        raise PotstillError(file, f"{shown(strange[0])} is not known", f"known: {', '.join(sorted(known))}")
    way.include_prompt = bool(config.get("include_prompt", True))
    way.pool(SEVERAL.join(modes), "Pooling")


def _read_layer_pooling(way: _Way, place: Path) -> None:
    """Take this package's own pooling of several layers.

    Raises:
        PotstillError: there is no pooling of that name.
    """
    way.pool(pooling_named(str(_config(place).get("pooling")), str(place / CONFIG)).name, "LayerPooling")


def _read_dense(way: _Way, place: Path) -> None:
    """Take a Dense: a linear layer with its activation, and with what goes in added where it says so.

    Raises:
        PotstillError: an activation that this package does not know, or files that are not right.
    """
    config, file = _config(place), place / CONFIG
    path = config.get("activation_function", "torch.nn.Tanh")
    activation = path.rpartition(".")[2] if isinstance(path, str) and path.startswith("torch.nn.") else None
    if activation not in ACTIVATIONS:
        raise PotstillError(file, f"activation {shown(path)} is not supported", f"known: of torch.nn {', '.join(ACTIVATIONS)}")
    width, out = (_count(file, key, config.get(key)) for key in ("in_features", "out_features"))
    bias, residual = bool(config.get("bias", True)), bool(config.get("use_residual", False))
    shapes: dict[str, tuple[int, ...]] = {"linear.weight": (out, width)} | ({"linear.bias": (out,)} if bias else {})
    shapes |= {"residual.weight": (out, width)} if residual and width != out else {}
    tensors = {key.removeprefix("linear."): value for key, value in _tensors(place, shapes).items()}
    layer = ResidualDense(width, out, bias, ACTIVATIONS[activation]()) if residual else nn.Linear(width, out, bias=bias)
    layer.load_state_dict(tensors)
    way.add(place, "Dense", config, layer, *([] if residual else [ACTIVATIONS[activation]()]))


def _read_layer_norm(way: _Way, place: Path) -> None:
    """Take a LayerNorm."""
    width = _count(place / CONFIG, "dimension", _config(place).get("dimension"))
    tensors = _tensors(place, {"norm.weight": (width,), "norm.bias": (width,)})
    layer = nn.LayerNorm(width)
    layer.load_state_dict({key.removeprefix("norm."): value for key, value in tensors.items()})
    way.add(place, "LayerNorm", {}, layer)


def _read_normalize(way: _Way, place: Path) -> None:
    """Take a Normalize. Its folder may be missing: what is empty does not come along from the hub."""
    way.add(place, "Normalize", _config(place) if (place / CONFIG).is_file() else {}, Normalize())


FIRST = ("Transformer", "StaticEmbedding")
KINDS: dict[str, Callable[[_Way, Path], None]] = {
    "WeightedLayerPooling": _read_layer_weights,
    "Pooling": _read_pooling,
    "LayerPooling": _read_layer_pooling,
    "Dense": _read_dense,
    "LayerNorm": _read_layer_norm,
    "Normalize": _read_normalize,
    "Dropout": lambda way, place: None,  # it does nothing but in training, where a student has its own
}


def _object(file: Path) -> dict[str, Any]:
    """The content of a JSON file that holds an object.

    Raises:
        PotstillError: it cannot be read, or holds something else.
    """
    content = read_json(file)
    if not isinstance(content, dict):
        raise PotstillError(file, f"holds {shown(content)}", "an object is needed")
    return content


def _config(place: Path) -> dict[str, Any]:
    """The configuration of a module.

    Raises:
        PotstillError: its folder or its configuration is missing or broken.
    """
    if not place.is_dir():
        raise PotstillError(place, f"no such folder, and {MODULES} names it", AGAIN)
    return _object(place / CONFIG)


def _count(file: Path, key: str, value: Any, least: int = 1) -> int:
    """A whole number out of a file.

    Raises:
        PotstillError: it is none, or less than it can be.
    """
    if type(value) is not int or value < least:  # type() and not isinstance: True is an int to Python
        raise PotstillError(file, f"{key} is {shown(value)}", f"a whole number of at least {least} is needed")
    return value


def _length(file: Path, value: Any) -> int | None:
    """`max_seq_length`; None where there is none, or one beyond every encoder.

    Raises:
        PotstillError: it is no number of tokens.
    """
    length = None if value is None else _count(file, "max_seq_length", value)
    return length if length is not None and length < UNLIMITED else None


def _tensors(place: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of a module, in fp32.

    Args:
        place: its folder.
        shapes: of the tensors that it must have, by name.

    Raises:
        PotstillError: its weights are not in safetensors, are not these, or hold NaN or infinity.
    """
    file = place / WEIGHTS
    if not file.is_file():
        raise PotstillError(place, f"has no {WEIGHTS}", "save the module with safetensors")
    with library_reads(file):
        found = load_file(file)
    if strange := sorted(found.keys() ^ shapes.keys()):
        problem = f"has {strange[0]}, which {CONFIG} beside it does not say" if strange[0] in found else f"has no {strange[0]}"
        raise PotstillError(file, problem, AGAIN)
    for name, shape in shapes.items():
        if tuple(found[name].shape) != shape:
            raise PotstillError(file, f"{name} has the shape {tuple(found[name].shape)}, and {CONFIG} beside it says {shape}", AGAIN)
        if not found[name].float().isfinite().all():
            raise PotstillError(file, f"{name} holds NaN or infinity", AGAIN)
    return {name: tensor.float() for name, tensor in found.items()}


# Writing

Module = tuple[str, dict[str, Any], dict[str, Tensor]]  # the library's class, its configuration, its weights


def write(folder: Path, layout: Layout, layers: int, width: int) -> None:
    """Add sentence-transformers' files to a folder that holds a transformers model.

    Args:
        folder: of the model.
        layout: with a pooling and a `max_length`.
        layers: of the network; one without any is written as a StaticEmbedding.
        width: of its hidden states.
    """
    modules: list[Module] = []
    if layers:  # a StaticEmbedding's pooling is its own
        pooled = width_behind(layout.token_steps, width, folder)
        modules = _weighted_module(layout, layers, width) + _step_modules(layout.token_steps, ON_TOKENS)
        modules.append(_pooling_module(layout, layers, pooled))
    modules += _step_modules(layout.dense, {})
    first = "Transformer" if layers else "StaticEmbedding"
    rows = [{"idx": 0, "name": "0", "path": "", "type": f"{TYPES}.{first}"}]
    for number, (kind, settings, tensors) in enumerate(modules, start=1):
        place = folder / f"{number}_{kind}"
        place.mkdir()
        if settings:
            _write(place / CONFIG, settings)
        if tensors:
            save_file(tensors, place / WEIGHTS)
        types = OWN_TYPES if kind == "LayerPooling" else TYPES
        rows.append({"idx": number, "name": str(number), "path": place.name, "type": f"{types}.{kind}"})
    _write(folder / MODULES, rows)
    if layers:
        _write(folder / TRANSFORMER_FILES[0], {"max_seq_length": layout.max_length, "do_lower_case": layout.lower_case})
    if layout.prompts or layout.truncated or layout.similarity != COSINE:
        said = {"prompts": dict(layout.prompts), "default_prompt_name": layout.default_prompt_name, "similarity_fn_name": layout.similarity}
        _write(folder / SETTINGS, said | ({"truncate_dim": layout.truncated} if layout.truncated else {}))


def _weighted_module(layout: Layout, layers: int, width: int) -> list[Module]:
    """The module before all others that makes one hidden state of several, or takes one that is not the last; none where it is not needed.

    What the library's own modules cannot say (the greatest value of several layers, layers one after the other) is a
    LayerPooling, for which this package must be installed where the folder is loaded.
    """
    pooling = pooling_named(layout.pooling or "")
    if _of_own_kind(layout, layers) or (pooling.layers == "last" and layout.layer_weights is None):
        return []
    weights = layout.layer_weights
    if weights is None:
        weights = torch.tensor([float(number in pooling.numbers(layers)) for number in range(layers + 1)])
    settings = {"word_embedding_dimension": width, "layer_start": 0, "num_hidden_layers": layers}
    return [("WeightedLayerPooling", settings, {"layer_weights": weights.detach().cpu().contiguous()})]


def _pooling_module(layout: Layout, layers: int, width: int) -> Module:
    """The pooling of token vectors of `width`."""
    pooling = pooling_named(layout.pooling or "")
    if _of_own_kind(layout, layers):
        return "LayerPooling", {"pooling": layout.pooling, "embedding_dimension": pooling.width(width)}, {}
    chosen = ["mean"] if pooling.reduce == WEIGHTED else pooling.reduce.split(SEVERAL)
    settings: dict[str, Any] = {key: mode in chosen for key, mode in POOLING_KEYS.items()}
    if chosen != [mode for mode in MODES if mode in chosen]:  # an order that only newer releases can be told
        settings = {"pooling_mode": chosen}
    return "Pooling", {"word_embedding_dimension": width} | settings | ({} if layout.include_prompt else {"include_prompt": False}), {}


def _of_own_kind(layout: Layout, layers: int) -> bool:
    """Whether the pooling is one that sentence-transformers has no module for."""
    pooling = pooling_named(layout.pooling or "")
    return pooling.reduce == "concat" or (pooling.reduce == "max" and len(pooling.numbers(layers)) > 1)


def _step_modules(steps: Sequence[nn.Module], told: Mapping[str, Any]) -> list[Module]:
    """Steps as the library's modules.

    Args:
        steps: of a Layout; what follows a linear layer and is no module of its own is its activation.
        told: what each has to be told of what it reads and writes.
    """
    found: list[Module] = []
    for step, behind in zip(steps, [*steps[1:], None]):
        write_step = next((WRITERS[kind] for kind in WRITERS if isinstance(step, kind)), None)
        if write_step is not None:
            kind, settings, tensors = write_step(step, behind)
            found.append((kind, settings | dict(told), {name: value.detach().cpu().contiguous() for name, value in tensors.items()}))
    return found


def _write_dense(step: Any, behind: nn.Module | None) -> Module:
    own = isinstance(step, ResidualDense)
    activation: nn.Module = step.activation if own else behind if type(behind).__name__ in ACTIVATIONS and behind else nn.Identity()
    settings = {
        "in_features": step.in_features,
        "out_features": step.out_features,
        "bias": step.bias is not None,
        "activation_function": f"{type(activation).__module__}.{type(activation).__name__}",
    }
    tensors = {name if name.startswith("residual.") else f"linear.{name}": value for name, value in step.state_dict().items()}
    return "Dense", settings | ({"use_residual": True} if own else {}), tensors


def _write_layer_norm(step: Any, behind: nn.Module | None) -> Module:
    return "LayerNorm", {"dimension": step.normalized_shape[0]}, {f"norm.{name}": value for name, value in step.state_dict().items()}


def _write_normalize(step: nn.Module, behind: nn.Module | None) -> Module:
    return "Normalize", {}, {}


# Kind of step → (the step, the one behind it) as a module. An activation is part of the Dense before it.
WRITERS: dict[type[nn.Module], Callable[[Any, nn.Module | None], Module]] = {
    nn.Linear: _write_dense,
    nn.LayerNorm: _write_layer_norm,
    Normalize: _write_normalize,
}


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
