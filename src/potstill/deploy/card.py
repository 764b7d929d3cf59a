"""The README.md that travels with a model: what it is, how to load it, what it scores."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from potstill.machine.files import write_text
from potstill.report.majority import majority_answer, majority_score
from potstill.report.scores import primary_metric, primary_score, task_title
from potstill.runtime.folder import (
    CLASSIFICATION,
    CONFIG,
    EMBED,
    MODEL,
    MULTILABEL,
    ONNX,
    QUANTIZED,
    README,
    REGRESSION,
    TAGGING,
    read_config,
)

TEMPLATE = Path(__file__).parent / "card.md.j2"

RUNTIMES = ("onnx", "transformers.js")  # what the Hub is asked for by whoever looks for a model that needs no torch
# Head → the Hub's pipeline_tag, a further tag, what the card calls the model.
MLM = "mlm"  # never exported: it teaches, or starts, another student
KINDS = {
    EMBED: ("sentence-similarity", "sentence-embeddings", "A sentence encoder"),
    CLASSIFICATION: ("text-classification", "", "A classifier of texts"),
    MULTILABEL: ("text-classification", "multi-label", "A classifier of texts that may have several labels"),
    REGRESSION: ("text-classification", "regression", "A model that gives a text a number"),
    TAGGING: ("token-classification", "", "A tagger of words"),
    MLM: ("fill-mask", "", "A masked language model"),
}


def write_card(
    folder: str | Path,
    *,
    name: str,
    teacher: str | None,
    records: Sequence[Mapping[str, Any]] = (),
    kind: str = EMBED,
    tuned: bool = False,
    aligned: bool = False,
    origin: str | None = None,
    base: str | None = None,
) -> None:
    """Write the model card, README.md, into the folder of a student (torch), of an export (ONNX), or into a bundle of both.

    Its front matter holds the scores of the folder's own model in the form that the Hub reads, model-index.

    Args:
        folder: holds the model.
        name: of the model.
        teacher: its name; None for a model that was trained without one. Of a path only the last part is told: the rest
            is the user's own business.
        records: results.Record as plain dicts; each is a row of the table of scores. Behind them stands what one answer to
            everything scores, where they tell it.
        kind: "embed", "mlm", or what the head does.
        tuned: whether the int8 file's weights were trained on under the rounding.
        aligned: whether the vectors lie in the teacher's space.
        origin: name of the model that was exported as it is; None for a student.
        base: what the recipe calls the model that the weights descend from. The front matter tells it, or `origin`, where it is
            a name on the Hub.
    """
    from huggingface_hub import ModelCard, ModelCardData

    from potstill.models.sentence_read import least_release

    folder = Path(folder)
    bundle = (folder / ONNX / MODEL).is_file()
    graphs = folder / ONNX if bundle else folder
    exported, quantized = (graphs / MODEL).is_file(), (graphs / QUANTIZED).is_file()
    pipeline, tag, what = KINDS[kind]
    results = _results(records, "int8" if quantized else "onnx" if exported else "student", pipeline)
    data = ModelCardData(
        library_name="onnxruntime" if exported and not bundle else "sentence-transformers" if kind == EMBED else "transformers",
        pipeline_tag=pipeline,
        tags=[entry for entry in (tag, "distillation" if teacher else "", *(RUNTIMES if exported else ()), "potstill") if entry],
        base_model=_on_hub(base or origin),
        model_name=name if results else None,
        eval_results=results or None,
    )
    threads = {record["cost"]["threads"] for record in records if record.get("cost")}
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        name=_escaped(name),
        what=what,
        taught=bool(teacher),
        origin=bool(origin),
        source=_escaped(_last_part(named)) if (named := teacher or origin) else "the encoder that it started from",
        kind=kind,
        exported=exported,
        bundle=bundle,
        quantized=quantized,
        **(_readers(folder, kind, bundle) if exported else {}),
        release=least_release(folder),
        prompt=_escaped(json.dumps(prompt, ensure_ascii=False)) if (prompt := _prompt(folder)) else "",
        file="sentences.conll" if kind == TAGGING else "texts.csv",
        tuned=tuned and exported,
        aligned=aligned,
        rows=_rows(records),
        threads=threads.pop() if len(threads) == 1 else None,
    )
    write_text(folder / README, f"{card}\n")


def _prompt(folder: Path) -> str:
    """What a model's folder puts before every text; "" for nothing."""
    if (folder / CONFIG).is_file():
        return read_config(folder).prompt
    from potstill.models.sentence_read import read

    return read(folder).prompt


def _readers(folder: Path, kind: str, bundle: bool) -> dict[str, Any]:
    """Which libraries read an exported folder, for the template.

    Args:
        folder: of the export or the bundle.
        kind: of the model's head.
        bundle: whether the torch model is there too.

    Returns:
        `readers`: title, language and lines of each that comes to the model's outputs; `others`: title of each that does
        not, and why.
    """
    from potstill.deploy.snippets import EXAMPLES, HEAD_SNIPPETS, PAIRS, SNIPPETS, describe, render, unfit

    described = describe(folder)
    given = EXAMPLES if kind in (EMBED, TAGGING) else PAIRS
    table = SNIPPETS if kind == EMBED else HEAD_SNIPPETS
    shown = [snippet for snippet in table.values() if (snippet.on_card if bundle else snippet.light)]
    return {
        "readers": [(each.title, each.language, render(each, described, given)) for each in shown if not unfit(each, described)],
        "others": [(each.title, why) for each in shown if (why := unfit(each, described))],
    }


def _on_hub(name: str | None) -> str | None:
    """A name that only the Hub can mean, owner and model; None for any other."""
    return name if name and re.fullmatch(r"[\w.-]+/[\w.-]+", name) and name[0] not in ".~" and not Path(name).exists() else None


def _results(records: Sequence[Mapping[str, Any]], role: str, pipeline: str) -> list[Any]:
    """The primary score of every task of the model with that role."""
    from huggingface_hub import EvalResult

    own = next((record.get("scores") or {} for record in records if record.get("role") == role), {})
    return [
        EvalResult(
            task_type=pipeline,
            dataset_type=task,
            dataset_name=task_title(task),
            metric_type=str(primary_metric(scores)),
            metric_value=round(score, 2),
        )
        for task, scores in own.items()
        if (score := primary_score(scores)) is not None
    ]


def _rows(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A heading and a row for each model: its primary score of every task, size and speed where they were measured."""
    if not records:
        return []
    scores = [{task: primary_score(each) for task, each in (record.get("scores") or {}).items()} for record in records]
    tasks = list(dict.fromkeys(task for row in scores for task, score in row.items() if score is not None))
    rows = [["Model", *map(_escaped, tasks), "Parameters", "MB", "Sentences/s"]]
    for record, row in zip(records, scores, strict=True):
        cost = record.get("cost") or {}
        megabytes = cost["bytes"] / 1e6 if "bytes" in cost else None
        rows.append(
            [
                _escaped(str(record.get("name", ""))),
                *(_number(row.get(task), "{:.2f}") for task in tasks),
                _number(cost.get("parameters"), "{:,.0f}"),
                _number(megabytes, "{:.1f}"),
                _number(cost.get("sentences_per_second"), "{:,.0f}"),
            ]
        )
    return rows + _majority_rows(records, tasks, len(rows[0]))


def _majority_rows(records: Sequence[Mapping[str, Any]], tasks: Sequence[str], width: int) -> list[list[str]]:
    """The row of one answer to everything; none where no record tells what it scores."""
    found: dict[str, Mapping[str, Any]] = {}
    for record in records:
        for task, own in (record.get("scores") or {}).items():
            if task in tasks and majority_score(own) is not None:
                found.setdefault(task, own)
    if not found:
        return []
    answers = {majority_answer(own) for own in found.values()}
    name = f"always “{answers.pop()}”, no model" if len(answers) == 1 and "" not in answers else "always the most frequent answer, no model"
    scores = [_number(majority_score(found[task]) if task in found else None, "{:.2f}") for task in tasks]
    return [[_escaped(name), *scores, *[""] * (width - 1 - len(scores))]]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _escaped(text: str) -> str:
    """A name as Markdown must get it: on one line, without markup."""
    return re.sub(r"([\\`*_\[\]<>|&~#])", r"\\\1", " ".join(text.split()))


def _last_part(name: str) -> str:
    """A Hub name as it is; of a path the last folder's name."""
    path = Path(name)
    return path.name if path.is_absolute() or len(path.parts) > 2 or name.startswith((".", "~")) else name
