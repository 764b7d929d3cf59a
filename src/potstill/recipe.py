"""What a recipe may say. Read once, checked whole, never written to.

Only the pipeline reads these classes; every other part takes plain arguments. Names of losses,
tasks and poolings, and whether files exist, are checked by the pipeline, which knows the parts.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from potstill.errors import PotstillError, PotstillErrors, did_you_mean, shown
from potstill.registry import PACKAGE

RECIPES = PACKAGE / "recipes"
# Beside its own error PyYAML lets through what a value breaks: a date of month 99, a thousand nested brackets.
UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextSource(Part):
    """One source of unlabelled texts."""

    path: str
    format: Literal["text", "jsonl", "csv", "tsv", "dataset"] | None = Field(None, description="read off the file's name when absent")
    columns: list[int | str] | None = Field(None, description="of a table or of JSON lines; every column is a text. Default: all / `text`")
    split: str = "train"
    limit: Count | None = Field(None, description="keep this many texts, drawn with the run's seed")


class Data(Part):
    dir: str = Field(".", description="folder that `texts` and the tasks' files are under")
    texts: list[str | TextSource] = []
    held_out: Count = Field(1000, description="texts kept from training, to measure agreement with the teacher")


class Teacher(Part):
    model: str
    name: str | None = Field(None, description="what tables call it; default: the last part of `model`")
    pooling: str | None = Field(None, description="default: what the folder says, else mean")
    max_length: Count = 128
    cache: bool = True


class Student(Part):
    kind: Literal["transformer"] = "transformer"
    model: str | None = Field(None, description="the encoder that the student is cut from; default: the teacher")
    layers: Count | list[Count] | None = Field(None, description="how many layers, or which, counted from 1; default: all")
    rule: str = Field("uniform", description="which layers to keep when `layers` is a number")
    width: Count | None = None
    heads: Count | None = None
    ffn: Count | None = None
    pooling: str | None = None
    normalize: bool = True
    max_length: Count = 128

    @model_validator(mode="after")
    def _built_or_cut(self) -> Student:
        sizes = (self.width, self.heads, self.ffn)
        if any(size is not None for size in sizes):
            if not all(size is not None for size in sizes) or not isinstance(self.layers, int):
                raise ValueError("a student built small needs `layers` (a number), `width`, `heads` and `ffn`, all four")
            if self.width % self.heads:  # type: ignore[operator]
                raise ValueError(f"width {self.width} is not divisible by heads {self.heads}; choose a divisor")
        return self


class Term(Part):
    """One row of the objective; keys beyond these are the loss's own options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    loss: str
    weight: float = Field(1.0, allow_inf_nan=False)
    project: Literal["none", "linear"] = "none"


class Stage(Part):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    share: float = Field(1.0, gt=0, le=1, description="part of the run's steps")
    terms: list[Term] = Field(min_length=1)


class Training(Part):
    epochs: Positive = 1
    batch_size: Count = 64
    batch_tokens: Count = Field(16384, description="padded tokens a batch holds at most, whatever batch_size says")
    learning_rate: Positive = 1e-4
    warmup: float = Field(0.05, ge=0, lt=1, description="part of the steps in which the rate rises from 0")
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = Field(0.01, ge=0, allow_inf_nan=False)
    max_grad_norm: Positive = 1.0
    dropout: float | None = Field(None, ge=0, lt=1, description="the student's while it is taught; default: as its configuration has it")
    seed: int = Field(13, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    evaluations: Count = Field(10, description="times in the run that a checkpoint is scored and kept")
    select: str = Field("agreement", description="the best checkpoint by agreement with the teacher on held-out texts, or by a dev task")


class Int8(Part):
    """Limits of the gate, all against the fp32 ONNX file."""

    max_drop: float = Field(0.5, ge=0, description="points that the gate's task score may lose")
    min_cosine_mean: float = Field(0.98, le=1)
    min_cosine: float = Field(0.90, le=1)
    min_invariance: float = Field(0.98, le=1, description="cosine of a text encoded alone and in a padded batch, at least")
    min_speedup: float = Field(1.0, ge=0, description="throughput on this machine over the fp32 file's")


class Export(Part):
    onnx: bool = True
    int8: bool | Int8 = True

    @property
    def limits(self) -> Int8 | None:
        return (Int8() if self.int8 else None) if isinstance(self.int8, bool) else self.int8


class Recipe(Part):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    task: Literal["embed"] = "embed"
    data: Data
    teacher: Teacher
    student: Student
    training: Training = Training()
    stages: list[Stage] = Field(min_length=1)
    evaluate: list[str] = ["cost"]
    export: Export = Export()

    @model_validator(mode="after")
    def _shares(self) -> Recipe:
        total = sum(stage.share for stage in self.stages)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the stages' shares add up to {total:g}; they must add up to 1")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("two stages have the same name; give each its own")
        return self


def shipped() -> dict[str, Path]:
    """Recipes inside the package: `<method>/<task>` → file."""
    return {path.relative_to(RECIPES).with_suffix("").as_posix(): path for path in sorted(RECIPES.rglob("*.yaml"))}


def find(name: str) -> Path:
    """The file of a recipe: a path, or a shipped name."""
    path = Path(name)
    if len(name) < 1024 and path.is_file():
        return path
    known = shipped()
    if name in known:
        return known[name]
    raise PotstillError(name[:100], "no such recipe file, and no shipped recipe of that name", did_you_mean(name, known))


def read(name: str, overrides: tuple[str, ...] | list[str] = ()) -> Recipe:
    """Read a recipe (path or shipped name), apply `a.b=c` overrides, check it whole.

    Raises:
        PotstillErrors: everything wrong in it, at once.
    """
    path = find(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PotstillError(path, f"cannot be read ({error.strerror})", "check its permissions") from error
    except UNREADABLE as error:
        raise PotstillError(path, f"is not YAML ({error})", "mend that line") from error
    if not isinstance(content, dict):
        raise PotstillError(path, f"holds {type(content).__name__}, not a mapping", "start from a shipped recipe: potstill list recipes")
    for override in overrides:
        content = _override(content, override)
    return check(content, str(path))


def check(content: dict[str, Any], place: str = "recipe") -> Recipe:
    """Make a Recipe of plain data, or raise PotstillErrors with every problem, its path, value and way out."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        details = [(_location(detail["loc"]), detail) for detail in error.errors()]
        # Of a union pydantic reports every member; only the one that got deepest is what was meant.
        deepest = [
            (location, detail)
            for location, detail in details
            if not any(other != location and other[: len(location)] == location for other, _ in details)
        ]
        raise PotstillErrors([_explain(place, location, detail) for location, detail in deepest]) from None


def resolved(recipe: Recipe) -> str:
    """The recipe with every default written out, as YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _override(content: dict[str, Any], override: str) -> dict[str, Any]:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise PotstillError(f"--set {override}", "is not of the form a.b=c", "for example --set training.epochs=2")
    try:
        value = yaml.safe_load(text)
    except UNREADABLE as error:
        raise PotstillError(f"--set {override}", f"the value is not YAML ({error})", "quote it") from error
    if isinstance(value, str):
        value = _number(value)
    content = copy.deepcopy(content)
    place: Any = content
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(place, list):
            if not key.isdecimal() or int(key) >= len(place):
                raise PotstillError(f"--set {override}", f"{'.'.join(keys[:depth])} is a list of {len(place)}", "give a position from 0")
            index: Any = int(key)
        elif isinstance(place, dict):
            index = key
            if not last and not isinstance(place.get(key), (dict, list)):
                place[key] = {}
        else:
            raise PotstillError(f"--set {override}", f"{'.'.join(keys[:depth])} is {shown(place)}, it has no parts", "name an existing key")
        if last:
            place[index] = value
        else:
            place = place[index]
    return content


def _number(text: str) -> str | float:
    # YAML 1.1 reads 1e-4 as a string (it wants 1.0e-4); nobody who types it means one.
    try:
        return float(text)
    except ValueError:
        return text


def _location(parts: tuple[int | str, ...]) -> list[int | str]:
    """Keys and positions of an error, without the names of types that pydantic puts among them."""
    types = ("str", "int", "bool", "constrained-int", "TextSource", "Int8")
    return [part for part in parts if not (isinstance(part, str) and (part in types or part.startswith(("function-", "list["))))]


def _explain(place: str, location: list[int | str], detail: Any) -> PotstillError:
    """One pydantic error as the user should read it."""
    where = f"{place}: {'.'.join(map(str, location))}" if location else place
    kind, value = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        key = str(detail["loc"][-1])
        parents = location[:-1] if location[-1:] == [key] else location
        return PotstillError(f"{place}: {'.'.join(map(str, [*parents, key]))}", "unknown key", did_you_mean(key, _keys_at(parents)))
    if kind == "missing":
        return PotstillError(where, "is missing", "add it")
    if kind == "value_error":
        return PotstillError(where, str(detail["ctx"]["error"]))
    if kind == "literal_error":
        return PotstillError(where, f"{shown(value)} is not among {detail['ctx']['expected']}")
    return PotstillError(where, f"{shown(value)}: {detail['msg'][0].lower()}{detail['msg'][1:]}")


def _keys_at(location: list[Any]) -> list[str]:
    """Keys that a recipe may have at `location`, found by walking the models' fields."""
    models: list[type[BaseModel]] = [Recipe]
    for part in location:
        if isinstance(part, str):
            models = [inner for model in models if part in model.model_fields for inner in _models_in(model.model_fields[part].annotation)]
    return [name for model in models for name in model.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in _models_in(inner)]
