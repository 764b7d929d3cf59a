"""The generated pages of docs/reference/: keys of a recipe, losses, layer maps, poolings and commands, read off the code.

`make reference` writes them; tests/test_docs.py fails where a page is not what the code says.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer.models
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from potstill.cli.commands import app
from potstill.losses.base import LayerLoss, Loss
from potstill.models.layer_rules import IMPORTANCE, LAYER_RULES, RULES
from potstill.models.pooling import MODES, describe
from potstill.objective.layer_map import MAPS, layer_map
from potstill.recipe.part import TextSource
from potstill.recipe.recipe import Recipe
from potstill.registry import load, names
from potstill.search.space import Range, Space

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
NOTE = "This page is generated from the code by `make reference`. Do not edit it by hand.\n"
WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text", Any: "see right"}
DEPTHS = [(12, 6), (12, 4), (12, 3), (6, 3)]  # teacher, student: the examples of the layer tables
LARGE = 100_000  # larger limits only stop nonsense, and tell a reader nothing


def plain(text: str) -> str:
    """Words of a docstring as Markdown: signs of formulas stay signs, code stays code, paragraphs stay apart."""
    parts = re.split(r"(`[^`]*`)", text.strip())
    return "".join(part if part.startswith("`") else re.sub(r"([*_|\[\]<])", r"\\\1", part) for part in parts).replace("\\<", "&lt;")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [[" ".join(cell.split()) for cell in row] for row in rows]
    cells = [[re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in row] for row in cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in [list(heads), ["---"] * len(heads), *cells]) + "\n"


def sections(docstring: str | None) -> tuple[str, dict[str, str]]:
    """What a Google docstring says before its sections, and what it says of each argument or attribute."""
    text = inspect.cleandoc(docstring or "")
    before = re.split(r"^(?:Args|Attributes|Raises|Returns):$", text, maxsplit=1, flags=re.MULTILINE)[0].strip()
    found = re.search(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    said: dict[str, str] = {}
    for entry in re.split(r"\n(?= {4}\w[\w, ]*:)", "\n" + found[1])[1:] if found else []:
        keys, _, meaning = entry.strip().partition(":")
        said |= {key.strip(): " ".join(meaning.split()) for key in keys.split(",")}
    return before, said


def inherited(part: type) -> dict[str, str]:
    """What a class and those that it derives from say of each argument or attribute; the class itself has the last word."""
    own = [one for one in reversed(part.__mro__) if one.__module__.startswith("potstill.")]
    return {name: meaning for one in own for name, meaning in sections(one.__doc__)[1].items()}


def limits(metadata: Iterable[Any]) -> str:
    """The limits of a number."""
    found = []
    for one in metadata:
        for inner in one.metadata if isinstance(one, FieldInfo) else [one]:
            for sign, word in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
                limit = getattr(inner, sign, None)
                if isinstance(limit, (int, float)) and abs(limit) <= LARGE:
                    found.append(f"{word} {limit:g}")
    return f" {', '.join(found)}" if found else ""


def kind(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """A type as a user reads it."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return kind(inner[0], inner[1:])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(kind(each, metadata) for each in inner if each is not type(None)))
    if origin is list:
        return "list of " + re.sub(r"(number|text|mapping|list)\b", r"\1s", kind(inner[0]))
    if origin is dict:
        return "mapping"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "mapping"
    return WORDS.get(annotation, "text") + (limits(metadata) if annotation in (int, float) else "")


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The parts of a recipe that a type holds, in their order."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in typing.get_args(annotation) for model in models_in(inner)]


def default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "required"
    if value is None or value == []:
        return ""
    if isinstance(value, BaseModel):
        return "see below"
    return written(value)


def written(value: object) -> str:
    """A value as a recipe has it."""
    return "" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`".replace("'", "")


def keys(model: type[BaseModel]) -> str:
    """The table of one part's keys."""
    rows, said = [], inherited(model)
    for name, field in model.model_fields.items():
        meaning = (field.description or said.get(name, "")).removesuffix(".")
        rows.append((f"`{field.alias or name}`", kind(field.annotation, field.metadata), default(field), plain(meaning)))
    return table(("key", "value", "default", "meaning"), rows)


def places(model: type[BaseModel], place: str, found: dict[type[BaseModel], list[str]]) -> None:
    """Collect each part of a recipe with the places where it may stand, in the order of the keys."""
    for name, field in model.model_fields.items():
        for inner in models_in(field.annotation):
            listed = "[]" if "list[" in str(field.annotation) else ""
            here = f"{place}{name}{listed}"
            new = inner not in found
            if here not in found.setdefault(inner, []):
                found[inner].append(here)
            if new:
                places(inner, f"{here}.", found)


def recipe_page() -> str:
    parts = {Recipe: [""]}
    places(Recipe, "", parts)
    text = ["# Recipe keys\n", NOTE, "An empty default means: nothing, or what the last column says.\n"]
    for model, where in parts.items():
        of = model.model_fields["kind"].default if "kind" in model.model_fields else None
        title = "A recipe" if model is Recipe else "A source of texts" if model is TextSource else f"`{where[0]}`"
        text.append(f"## {title}{f', kind {of}' if of else ''}\n")
        text.append(plain(sections(model.__doc__)[0]) + "\n")
        if len(where) > 1:
            text.append("It may stand at: " + ", ".join(f"`{place}`" for place in where) + ".\n")
        text.append(keys(model))
    text += ["## The file of a search\n", plain(sections(Space.__doc__)[0]) + "\n", keys(Space)]
    text += ["### A range\n", plain(sections(Range.__doc__)[0]) + "\n", keys(Range)]
    return "\n".join(text)


def loss_page() -> str:
    found = names("losses")
    text = ["# Losses\n", NOTE]
    text.append("A term of a recipe names one of these losses. The options of a loss are further keys of its term.\n")
    text.append(table(("loss", "what it compares"), ((f"[`{name}`](#{name})", plain(said)) for name, said in found.items())))
    for name in found:
        loss = load("losses", name, Loss, "reference")
        about, options = sections(loss.__doc__)[0], inherited(loss)
        reads = getattr(loss, "reads", None)
        text.append(f"## `{name}`\n\n{plain(about)}\n")
        facts = [f"It reads `{reads}`."] if isinstance(reads, str) else []
        facts += ["Its term takes `layers`." if issubclass(loss, LayerLoss) else "", "" if loss.needs_teacher else "It needs no teacher."]
        text.append(" ".join(fact for fact in facts if fact) + "\n")
        rows = []
        for option, parameter in inspect.signature(loss).parameters.items():
            value = "required" if parameter.default is parameter.empty else written(parameter.default)
            rows.append((f"`{option}`", value, plain(options.get(option, "").removesuffix("."))))
        text.append(table(("option", "default", "meaning"), rows) if rows else "It has no options.\n")
    return "\n".join(line for line in text if line.strip())


def layer_page() -> str:
    heads = [f"{teacher} → {student}" for teacher, student in DEPTHS]

    def chosen(choose: Callable[[int, int], list[int]]) -> list[str]:
        return [" ".join(map(str, choose(student, teacher))) for teacher, student in DEPTHS]

    rules = [
        (f"`{name}`", plain(said), *(chosen(LAYER_RULES[name].choose) if name != IMPORTANCE else [""] * len(DEPTHS)))
        for name, said in RULES.items()
    ]
    maps = []
    for name, said in MAPS.items():
        pairs = [", ".join(f"{ours}←{theirs}" for ours, theirs in layer_map(name, student, teacher)) for teacher, student in DEPTHS[-2:]]
        maps.append((f"`{name}`", plain(said), *pairs))
    return "\n".join(
        [
            "# Layer rules and layer maps\n",
            NOTE,
            "## Rules\n",
            "`student.rule` says which layers the student keeps. M is the number of its layers, N that of its source.\n",
            table(("rule", "which layers", *heads), rules),
            "## Maps\n",
            "A term's `layers` says which teacher layer teaches which student layer. 3←12: teacher layer 12 teaches student layer 3.\n"
            "Layer 0 is the embedding output. A list of teacher layers, or a list of pairs [student layer, teacher layer], does as well.\n",
            table(("map", "which layers", *heads[-2:]), maps),
            "Papers: PKD is Sun et al. 2019, DistilBERT Sanh et al. 2019, TinyBERT Jiao et al. 2020, MiniLM Wang et al. 2020.\n",
        ]
    )


def pooling_page() -> str:
    papers = {name: found[1] for name, one in MODES.items() if (found := re.search(r"Source: (.*)\.$", one.__doc__ or "", re.MULTILINE))}
    rows = [(f"`{name}`", plain(said), papers.get(name, "")) for name, said in describe().items()]
    return "\n".join(
        [
            "# Poolings\n",
            NOTE,
            "A pooling makes one vector of a text's token vectors. `student.pooling` and `teacher.pooling` name one.\n",
            table(("pooling", "what it computes", "paper"), rows),
            "Poolings of the last layer may be joined by `+`, for example `mean+max`. Their vectors then stand one after the other.\n",
            "SimCSE's paper takes the embedding output for the first layer, its code takes layer 1. `mean_first_last` is the paper's,\n"
            "`mean_layer1_last` the code's.\n",
        ]
    )


def command_rows(callback: Callable[..., Any]) -> list[tuple[str, str, str, str]]:
    """Of each argument and option of a command: how it is written, its value, its default, its meaning."""
    hints = typing.get_type_hints(callback, include_extras=True)
    rows = []
    for name, parameter in inspect.signature(callback).parameters.items():
        annotation, info = typing.get_args(hints[name])[:2]
        told = [one for one in (info.default, *(info.param_decls or ())) if isinstance(one, str) and one.startswith("-")]
        value = info.metavar or (
            "" if annotation is bool else kind(annotation).upper().replace("WHOLE ", "").replace("LIST OF TEXTS", "TEXT")
        )
        value = value.replace("|", " or ")  # a bar ends a cell
        meaning = plain(info.help or "")
        if isinstance(info, typer.models.ArgumentInfo):
            rows.append((f"`{value}`", "", "required" if parameter.default is parameter.empty else "", meaning))
            continue
        given = "required" if parameter.default is parameter.empty else "" if parameter.default is False else written(parameter.default)
        rows.append(
            (", ".join(f"`{one}`" for one in told or [f"--{name.replace('_', '-')}"]), f"`{value}`" if value else "", given, meaning)
        )
    return rows


def cli_page() -> str:
    text = ["# Commands\n", NOTE, "`potstill COMMAND --help` prints the same in a terminal.\n"]
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        about = command.help or inspect.cleandoc(command.callback.__doc__ or "")
        rows = command_rows(command.callback)
        given = " ".join(row[0].strip("`") for row in rows if not row[0].startswith("`-"))
        usage = " ".join(
            word for word in ("potstill", name, given, "[OPTIONS]" if any(row[0].startswith("`-") for row in rows) else "") if word
        )
        text += [
            f"## `potstill {name}`\n\n{plain(about)}\n",
            f"    {usage}\n",
            table(("argument or option", "value", "default", "meaning"), rows),
        ]
    return "\n".join(text)


PAGES: dict[str, Callable[[], str]] = {
    "recipe.md": recipe_page,
    "losses.md": loss_page,
    "layers.md": layer_page,
    "poolings.md": pooling_page,
    "cli.md": cli_page,
}

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
