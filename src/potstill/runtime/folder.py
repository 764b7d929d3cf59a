"""The files of an exported folder, and its configuration, potstill.json, read with every value checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.errors import PotstillError, did_you_mean, shown
from potstill.machine.files import kind_of_place, write_text
from potstill.machine.places import place_of_model, refuse_model
from potstill.registry import CLASSIFICATION as CLASSIFICATION
from potstill.registry import EMBED as EMBED
from potstill.registry import MULTILABEL as MULTILABEL
from potstill.registry import REGRESSION as REGRESSION
from potstill.registry import TAGGING as TAGGING

if TYPE_CHECKING:
    from potstill.runtime.tokens import Text

MODEL = "model.onnx"
QUANTIZED = "model_quantized.onnx"
TOKENIZER = "tokenizer.json"
CONFIG = "potstill.json"
README = "README.md"
GATE = "gate.json"  # what the int8 gate measured, beside the file that passed it
# A run folder's exported folder, its torch model, and both in one. In a bundle too the graphs lie in ONNX.
ONNX, STUDENT, BUNDLE = "onnx", "student", "bundle"

INPUT_IDS, ATTENTION_MASK, TOKEN_TYPES = "input_ids", "attention_mask", "token_type_ids"
OUTPUT = "sentence_embedding"
TOKEN_VECTORS = "last_hidden_state"  # the second output of an encoder, for readers that pool themselves
LOGITS = "logits"  # the output of a model with a head

HEADS = (CLASSIFICATION, MULTILABEL, REGRESSION, TAGGING)

COSINE = "cosine"
SIMILARITIES = (COSINE, "dot", "euclidean", "manhattan")  # how vectors are compared, by sentence-transformers' names

ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"
ENGINES = (ONNXRUNTIME, OPENVINO)  # what can run a folder's graph

FORMAT = 1
FILES = {"auto": (QUANTIZED, MODEL), "fp32": (MODEL,), "int8": (QUANTIZED,)}
AGAIN = "export the model again"
# How every graph of this package names its nodes and weights, after torch's modules; within so many bytes of its file.
NODES, HEADING = b"model.network.", 1 << 16


@dataclass(frozen=True)
class ExportConfig:
    """The content of potstill.json: what the graph does not say.

    Attributes:
        max_length: tokens that a text is cut to, special tokens included.
        dimension: width of a sentence embedding, or of what a head reads.
        parameters: of the whole model.
        embedding_parameters: those of them in the embedding tables.
        head: EMBED for none, or one of HEADS. In the file it is called `task`.
        labels: names in the order of the logits; none for EMBED and REGRESSION.
        pooling: for the reader: it is inside the graph. Of EMBED only.
        normalize: likewise.
        pad_id: token id of padding. MPNet and RoBERTa count positions by it, so it must be right.
        teacher: name of the model that taught this one, if any.
        prompts: texts to put before a text, by name. Of EMBED only, like the next two; the file has all three only where
            they say something.
        default_prompt_name: the one that is put before every text; None for none.
        similarity: one of SIMILARITIES.
    """

    max_length: int
    dimension: int
    parameters: int
    embedding_parameters: int
    head: str = EMBED
    labels: list[str] = field(default_factory=list)
    pooling: str = ""
    normalize: bool = False
    pad_id: int = 0
    teacher: str | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity: str = COSINE

    @property
    def prompt(self) -> str:
        """What is put before every text; "" for nothing."""
        return self.prompts.get(self.default_prompt_name or "", "")

    @property
    def outputs(self) -> int:
        """Numbers that the graph gives for a text, or for a token where the head is TAGGING."""
        return self.dimension if self.head == EMBED else len(self.labels) or 1

    def write(self, folder: Path) -> None:
        """Write `folder`/potstill.json, whole or not at all."""
        content = {"format": FORMAT, **asdict(self)}
        content["task"] = content.pop("head")
        unsaid = {"pooling", "normalize"} if self.head != EMBED else {"labels"}
        unsaid |= {name for name, silent in SILENT.items() if content[name] == silent}
        write_text(folder / CONFIG, json.dumps({key: value for key, value in content.items() if key not in unsaid}, indent=2) + "\n")


SILENT: dict[str, Any] = {"teacher": None, "prompts": {}, "default_prompt_name": None, "similarity": COSINE}  # what need not be said
# Field of potstill.json → (its type, the least it can be, the most): more than any model has, and still no more than memory holds.
FIELDS: dict[str, tuple[type, int, int]] = {
    "max_length": (int, 1, 1 << 31),
    "dimension": (int, 1, 1 << 20),
    "parameters": (int, 0, 1 << 60),
    "embedding_parameters": (int, 0, 1 << 60),
    "pad_id": (int, 0, 1 << 31),
}
EMBED_FIELDS: dict[str, tuple[type, int, int]] = {"pooling": (str, 0, 0), "normalize": (bool, 0, 0)}


def exported_folder(path: str | Path) -> Path:
    """`path` where it is an exported folder or a bundle, its onnx/ where it is a run folder; it may lie in POTSTILL_MODELS.

    Raises:
        PotstillError: it is neither, or a bundle without its potstill.json, or the onnx/ of a bundle.
    """
    folder = place_of_model(path)
    kind, way_out = kind_of_place(folder), "name a folder that `potstill export` or `potstill train` wrote"
    if kind is None:
        refuse_model(path, "no such folder", way_out)
    if kind != "a folder":
        raise PotstillError(path, f"is {kind}", way_out)
    require_whole(folder)
    for place in (folder, folder / ONNX):
        if any((place / file).is_file() for file in (CONFIG, MODEL, QUANTIZED)):
            bundle = place.absolute().parent
            if place == folder and not (place / CONFIG).is_file() and place.absolute().name == ONNX and (bundle / CONFIG).is_file():
                raise PotstillError(path, "holds the graphs of a bundle alone", f"name the bundle, {bundle}")
            return place
    raise PotstillError(path, f"holds neither {MODEL} nor a run's {ONNX}/", way_out)


def require_whole(folder: Path) -> None:
    """Check that a folder whose onnx/ this package wrote is not read as another model because its potstill.json is missing.

    A folder of the hub with an onnx/ of its own passes, and so does a run folder, whose onnx/ has its own potstill.json.

    Raises:
        PotstillError: it is a bundle without potstill.json.
    """
    if (folder / CONFIG).is_file() or (folder / ONNX / CONFIG).is_file() or not (folder / "config.json").is_file():
        return
    for name in FILES["auto"]:
        if (folder / ONNX / name).is_file():
            with open(folder / ONNX / name, "rb") as stream:
                ours = NODES in stream.read(HEADING)
            if ours:
                raise PotstillError(
                    folder / CONFIG, f"no such file, and {ONNX}/{name} is not read without it", f"{AGAIN}, or copy all of it"
                )


def model_file(folder: Path, precision: str = "auto") -> Path:
    """The .onnx file to load.

    Args:
        folder: an exported one, or a bundle.
        precision: "fp32", "int8", or "auto", which is int8 where there is such a file.

    Raises:
        PotstillError: the precision is unknown, or the folder has no such file.
    """
    if precision not in FILES:
        raise PotstillError("precision", f"unknown value {shown(precision)}", did_you_mean(str(precision), FILES))
    places = (folder, folder / ONNX)
    for name in FILES[precision]:
        for place in places:
            if (place / name).is_file():
                return place / name
    others = ("fp32", "int8")
    other = next((key for key in others if key != precision and any((place / FILES[key][0]).is_file() for place in places)), None)
    remedy = f"choose precision {other!r}, or {AGAIN}" if other else AGAIN
    raise PotstillError(folder, f"has no {' or '.join(FILES[precision])}", remedy)


def require_engine(engine: str) -> None:
    """Check that there is such an engine.

    Raises:
        PotstillError: it is none of ENGINES.
    """
    if engine not in ENGINES:
        raise PotstillError("engine", f"unknown value {shown(engine)}", did_you_mean(str(engine), ENGINES))


def read_config(path: str | Path) -> ExportConfig:
    """Read potstill.json of an exported folder, or of a run's.

    Raises:
        PotstillError: there is no such folder or file, or a value in it is not what it must be.
    """
    file = exported_folder(path) / CONFIG
    if not file.is_file():
        raise PotstillError(file, "no such file", AGAIN)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError: not JSON, not UTF-8
        raise PotstillError(file, f"is not JSON ({error})", AGAIN) from error
    if not isinstance(content, dict):
        raise PotstillError(file, f"must hold an object, holds {shown(content)}", AGAIN)
    _require(file, content, "format", content.get("format") == FORMAT, f"must be {FORMAT}")
    task = content.get("task")
    _require(file, content, "task", task in (EMBED, *HEADS), f"must be one of {', '.join((EMBED, *HEADS))}")
    values: dict[str, Any] = {"head": task, "labels": _labels(file, content)}
    for name, (kind, least, most) in (FIELDS | (EMBED_FIELDS if task == EMBED else {})).items():
        value: Any = content.get(name)
        # type() and not isinstance: True is an int to Python.
        _require(file, content, name, type(value) is kind, f"must be {kind.__name__}")
        if kind is int:
            _require(file, content, name, value >= least, f"must be at least {least}")
            _require(file, content, name, value <= most, f"must be at most {most:,}")
        values[name] = value
    teacher = content.get("teacher")
    _require(file, content, "teacher", teacher is None or isinstance(teacher, str), "must be text")
    return ExportConfig(**values, teacher=teacher, **(_reading(file, content) if task == EMBED else {}))


def _reading(file: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Prompts and similarity, each as an encoder has it that says nothing of it."""
    found: dict[str, Any] = {name: content.get(name, silent) for name, silent in SILENT.items() if name != "teacher"}
    prompts, default = found["prompts"], found["default_prompt_name"]
    texts = isinstance(prompts, dict) and all(isinstance(prompt, str) for prompt in prompts.values())
    _require(file, content, "prompts", texts, "must be an object, from names to texts")
    named = default is None or (isinstance(default, str) and default in prompts)
    _require(file, content, "default_prompt_name", named, "must be null or a name that prompts has")
    _require(file, content, "similarity", found["similarity"] in SIMILARITIES, f"must be one of {', '.join(SIMILARITIES)}")
    return found


def prompted(prompt: str, texts: Sequence[Text]) -> Sequence[Text]:
    """Texts with a prompt before each, of a pair before its first text."""
    if not prompt:
        return texts
    return [prompt + text if isinstance(text, str) else (prompt + text[0], text[1]) for text in texts]


def _labels(file: Path, content: dict[str, Any]) -> list[str]:
    task, labels = content["task"], content.get("labels", [])
    named = isinstance(labels, list) and all(isinstance(label, str) and label for label in labels) and len(set(labels)) == len(labels)
    _require(file, content, "labels", named, "must be a list of different names")
    if task in (EMBED, REGRESSION):
        _require(file, content, "labels", not labels, f"must be empty where the task is {task}")
    else:
        _require(file, content, "labels", bool(labels), f"must not be empty where the task is {task}")
    return list(labels)


def _require(file: Path, content: dict[str, Any], name: str, holds: bool, rule: str) -> None:
    if not holds:
        found = f"is {shown(content[name])}" if name in content else "is missing"
        raise PotstillError(file, f"{name} {found} and {rule}", f"{AGAIN}, with this version")
