"""What a sentence-transformers folder says, as a Layout; what would change vectors and is not done is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from potstill.errors import PotstillError, shown
from potstill.machine.files import read_json
from potstill.models.layout import Layout, Truncate, width_behind
from potstill.models.pooling import POOLINGS, WEIGHTED, pooling_named
from potstill.models.sentence_format import (
    AGAIN,
    CONFIG,
    LIBRARY,
    MODULES,
    OLDEST,
    OWN_TYPES,
    RELEASES,
    SETTINGS,
    TOKENS,
    TRANSFORMER_FILES,
    UNLIMITED,
    later,
)
from potstill.models.sentence_modules import KINDS, Way, count_in, object_in
from potstill.runtime.architecture import layers_of, width_of
from potstill.runtime.folder import COSINE, SIMILARITIES

FIRST = ("Transformer", "StaticEmbedding")
# What Transformer may be told for transformers' own calls that changes no vector here: everything is loaded in fp32.
HARMLESS = {"trust_remote_code", "attn_implementation", "torch_dtype", "dtype", "use_safetensors", "low_cpu_mem_usage", "device_map"}
HARMLESS |= {"use_fast", "cache_dir", "revision", "token", "local_files_only", "add_pooling_layer", "output_hidden_states"}
MODALITY = {"method": "forward", "method_output_name": "last_hidden_state"}


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
    settings = object_in(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    of_pairs = settings.get("model_type") == "CrossEncoder"  # a network with a head, which has no way to vectors
    transformer = _transformer(folder, of_pairs) if rows[0][0] == "Transformer" else {}
    said = {"max_length": transformer.get("max_seq_length"), "lower_case": transformer.get("do_lower_case") or False}
    said |= _settings(folder / SETTINGS, settings)
    if of_pairs and said["default_prompt_name"] is not None:
        raise PotstillError(folder / SETTINGS, "a default prompt of a CrossEncoder is not supported", "set default_prompt_name to null")
    way = Way(folder, pooling="mean" if rows[0][0] == "StaticEmbedding" else None)
    for kind, place in rows[1:]:
        KINDS[kind](way, place)
    if way.pooling is None and (way.token_steps or way.weights is not None):
        raise PotstillError(folder / MODULES, "has no Pooling, so that no text has a vector", "add one")
    return _layout(way, said.pop("truncate"), transformer, **said)


def least_release(folder: Path) -> str:
    """The first release of sentence-transformers that comes to the vectors of a folder that this package wrote.

    A PotstillError of `read` comes through.
    """
    said: set[str] = set(object_in(folder / SETTINGS)) if (folder / SETTINGS).is_file() else set()
    for kind, place in _rows(folder) if (folder / MODULES).is_file() else []:
        keys = object_in(place / CONFIG) if place != folder and (place / CONFIG).is_file() else {}
        said |= {kind, *keys, *(f"{kind}.{key}" for key in keys)}
    return later(OLDEST, *(release for name, release in RELEASES.items() if name in said))


def _layout(way: Way, truncate: int | None, transformer: Mapping[str, Any], **said: Any) -> Layout:
    """The Layout of a folder's steps and of all else that it says.

    Raises:
        PotstillError: its parts do not fit together.
    """
    config = object_in(way.folder / CONFIG)
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
    objects = ((file, object_in(file)) for file in (folder / name for name in TRANSFORMER_FILES) if file.is_file())
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
        "truncate": None if truncate is None else count_in(file, "truncate_dim", truncate),
    }


def _require_layers(way: Way, config: Mapping[str, Any], transformer: Mapping[str, Any]) -> None:
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


def _layers_named(way: Way) -> tuple[str | None, Tensor | None]:
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


def _length(file: Path, value: Any) -> int | None:
    """`max_seq_length`; None where there is none, or one beyond every encoder.

    Raises:
        PotstillError: it is no number of tokens.
    """
    length = None if value is None else count_in(file, "max_seq_length", value)
    return length if length is not None and length < UNLIMITED else None
