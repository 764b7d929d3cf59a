"""The modules of a sentence-transformers folder, read one by one into the way from a text to its vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from potstill.errors import PotstillError, shown
from potstill.machine.files import read_json
from potstill.models.layout import Normalize, ResidualDense
from potstill.models.pooling import MODES, SEVERAL, pooling_named
from potstill.models.sentence_format import ACTIVATIONS, AGAIN, CONFIG, MODULES, POOLING_KEYS, TOKENS, VECTOR, WEIGHTS
from potstill.models.source import library_reads


@dataclass
class Way:
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


def _read_layer_weights(way: Way, place: Path) -> None:
    """Take a WeightedLayerPooling: (layers + 1,) weights, 0 for the layers below its first.

    Raises:
        PotstillError: it stands behind what it would undo, or its files are not right.
    """
    if way.pooling is not None or way.token_steps or way.weights is not None:
        raise PotstillError(way.folder / MODULES, "WeightedLayerPooling must stand right behind Transformer", "put it there")
    config = _config(place)
    start = count_in(place / CONFIG, "layer_start", config.get("layer_start", 4), least=0)
    total = count_in(place / CONFIG, "num_hidden_layers", config.get("num_hidden_layers", 12))
    weights = _tensors(place, {"layer_weights": (total + 1 - start,)})["layer_weights"]
    if not float(weights.sum()):
        raise PotstillError(place / WEIGHTS, "layer_weights have the sum 0, by which they are divided", AGAIN)
    way.weights = torch.cat([torch.zeros(start), weights])


def _read_pooling(way: Way, place: Path) -> None:
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


def _read_layer_pooling(way: Way, place: Path) -> None:
    """Take this package's own pooling of several layers.

    Raises:
        PotstillError: there is no pooling of that name.
    """
    way.pool(pooling_named(str(_config(place).get("pooling")), str(place / CONFIG)).name, "LayerPooling")


def _read_dense(way: Way, place: Path) -> None:
    """Take a Dense: a linear layer with its activation, and with what goes in added where it says so.

    Raises:
        PotstillError: an activation that this package does not know, or files that are not right.
    """
    config, file = _config(place), place / CONFIG
    path = config.get("activation_function", "torch.nn.Tanh")
    activation = path.rpartition(".")[2] if isinstance(path, str) and path.startswith("torch.nn.") else None
    if activation not in ACTIVATIONS:
        raise PotstillError(file, f"activation {shown(path)} is not supported", f"known: of torch.nn {', '.join(ACTIVATIONS)}")
    width, out = (count_in(file, key, config.get(key)) for key in ("in_features", "out_features"))
    bias, residual = bool(config.get("bias", True)), bool(config.get("use_residual", False))
    shapes: dict[str, tuple[int, ...]] = {"linear.weight": (out, width)} | ({"linear.bias": (out,)} if bias else {})
    shapes |= {"residual.weight": (out, width)} if residual and width != out else {}
    tensors = {key.removeprefix("linear."): value for key, value in _tensors(place, shapes).items()}
    layer = ResidualDense(width, out, bias, ACTIVATIONS[activation]()) if residual else nn.Linear(width, out, bias=bias)
    layer.load_state_dict(tensors)
    way.add(place, "Dense", config, layer, *([] if residual else [ACTIVATIONS[activation]()]))


def _read_layer_norm(way: Way, place: Path) -> None:
    """Take a LayerNorm."""
    width = count_in(place / CONFIG, "dimension", _config(place).get("dimension"))
    tensors = _tensors(place, {"norm.weight": (width,), "norm.bias": (width,)})
    layer = nn.LayerNorm(width)
    layer.load_state_dict({key.removeprefix("norm."): value for key, value in tensors.items()})
    way.add(place, "LayerNorm", {}, layer)


def _read_normalize(way: Way, place: Path) -> None:
    """Take a Normalize. Its folder may be missing: what is empty does not come along from the hub."""
    way.add(place, "Normalize", _config(place) if (place / CONFIG).is_file() else {}, Normalize())


KINDS: dict[str, Callable[[Way, Path], None]] = {
    "WeightedLayerPooling": _read_layer_weights,
    "Pooling": _read_pooling,
    "LayerPooling": _read_layer_pooling,
    "Dense": _read_dense,
    "LayerNorm": _read_layer_norm,
    "Normalize": _read_normalize,
    "Dropout": lambda way, place: None,  # it does nothing but in training, where a student has its own
}


def object_in(file: Path) -> dict[str, Any]:
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
    return object_in(place / CONFIG)


def count_in(file: Path, key: str, value: Any, least: int = 1) -> int:
    """A whole number out of a file.

    Raises:
        PotstillError: it is none, or less than it can be.
    """
    if type(value) is not int or value < least:  # type() and not isinstance: True is an int to Python
        raise PotstillError(file, f"{key} is {shown(value)}", f"a whole number of at least {least} is needed")
    return value


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
