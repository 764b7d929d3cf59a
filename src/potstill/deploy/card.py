"""The README.md that travels with a model: what it is, how to load it, what it scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from potstill.files import write_text
from potstill.runtime.folder import CLASSIFICATION, EMBED, MODEL, MULTILABEL, QUANTIZED, README, REGRESSION, TAGGING

HEADER = """\
---
library_name: {library}
pipeline_tag: {pipeline}
tags:
{tags}
---

# {name}

{what}, {origin} with potstill.

## Use

"""

# Kind of a model → (pipeline_tag, a further tag, what the card calls it).
MLM = "mlm"  # never exported: it teaches, or starts, another student
KINDS = {
    EMBED: ("sentence-similarity", "sentence-embeddings", "A sentence encoder"),
    CLASSIFICATION: ("text-classification", "", "A classifier of texts"),
    MULTILABEL: ("text-classification", "multi-label", "A classifier of texts that may have several labels"),
    REGRESSION: ("text-classification", "regression", "A model that gives a text a number"),
    TAGGING: ("token-classification", "", "A tagger of words"),
    MLM: ("fill-mask", "", "A masked language model"),
}

MLM_USE = """\
```python
from transformers import pipeline

fill = pipeline("fill-mask", "path/to/this/folder")
```

"""

ONNX_USE = """\
With potstill (onnxruntime, tokenizers and numpy; no torch):

```python
from potstill import Encoder

encoder = Encoder("path/to/this/folder")
vectors = encoder.encode(["A first sentence.", "Another one."])
```

With transformers.js; pooling{normalised} is inside the graph:

```js
import {{ AutoModel, AutoTokenizer }} from "@huggingface/transformers";

const tokenizer = await AutoTokenizer.from_pretrained(folder);
const model = await AutoModel.from_pretrained(folder, {{ subfolder: "", dtype: "{dtype}" }});
const inputs = await tokenizer(texts, {{ padding: true, truncation: true }});
const {{ sentence_embedding }} = await model(inputs);
```

"""

ONNX_HEAD_USE = """\
With potstill (onnxruntime, tokenizers and numpy; no torch):

```python
from potstill import Encoder

model = Encoder("path/to/this/folder")
answers = model.classify({example})
logits = model.predict({example})
```

For a whole file: `potstill predict path/to/this/folder {file} --out predictions.jsonl`

With transformers.js; the labels are in config.json:

```js
import {{ AutoModelFor{auto}Classification, AutoTokenizer }} from "@huggingface/transformers";

const tokenizer = await AutoTokenizer.from_pretrained(folder);
const model = await AutoModelFor{auto}Classification.from_pretrained(folder, {{ subfolder: "", dtype: "{dtype}" }});
const {{ logits }} = await model(await tokenizer(texts, {{ padding: true, truncation: true }}));
```

"""

TORCH_HEAD_USE = """\
```python
from transformers import pipeline

model = pipeline("{pipeline}", model="path/to/this/folder"{options})
answers = model("A text.")
```

For a whole file: `potstill predict path/to/this/folder {file} --out predictions.jsonl`

"""

# What transformers' pipeline has to be told: it picks one label otherwise, or bends a number into 0 … 1.
OPTIONS = {MULTILABEL: ", top_k=None", REGRESSION: ', function_to_apply="none"'}

TORCH_USE = """\
```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
vectors = model.encode(["A first sentence.", "Another one."])
```

"""

TUNED = """\
## The two files

`model.onnx` holds the student as it was taught. `model_quantized.onnx` holds its weights after some more
training under int8 rounding: rounded as they were, they lost too much. Its vectors or logits were held
against those of `model.onnx`.

"""

LICENCE = """\
## Licence

None is chosen here. The weights descend from {source} and from the texts that it was {made} on: look at
their terms, then state yours.
"""


def write_card(
    folder: str | Path,
    *,
    name: str,
    teacher: str | None,
    records: Sequence[Mapping[str, Any]] = (),
    normalize: bool = True,
    kind: str = EMBED,
    tuned: bool = False,
) -> None:
    """Write README.md into the folder of a student (torch) or of an export (ONNX).

    Args:
        name: of the model.
        teacher: its name; of a path only the last part is told, for the rest is the user's own
            business. None of a model that was trained without one.
        records: results.Record as plain dicts; the scores' table has a row for each.
        normalize: whether vectors have unit length.
        kind: "embed", or what the head does.
        tuned: whether the int8 file's weights were trained on under the rounding.
    """
    folder = Path(folder)
    exported = (folder / MODEL).is_file()
    source = _last_part(teacher) if teacher else "the encoder that it started from"
    pipeline, tag, what = KINDS[kind]
    library = "onnxruntime" if exported else ("sentence-transformers" if kind == EMBED else "transformers")
    text = HEADER.format(
        library=library,
        pipeline=pipeline,
        tags="\n".join(f"- {entry}" for entry in (tag, "distillation" if teacher else "") if entry) or "- potstill",
        name=name,
        what=what,
        origin=f"distilled from {source}" if teacher else "fine-tuned",
    )
    text += _use(folder, kind, exported, normalize) + (TUNED if tuned and exported else "") + _scores(records)
    write_text(folder / README, text + LICENCE.format(source=source, made="distilled" if teacher else "fine-tuned"))


def _use(folder: Path, kind: str, exported: bool, normalize: bool) -> str:
    dtype = "q8" if (folder / QUANTIZED).is_file() else "fp32"
    if kind == EMBED:
        return ONNX_USE.format(dtype=dtype, normalised=" and normalisation" if normalize else "") if exported else TORCH_USE
    if kind == MLM:
        return MLM_USE
    file = "sentences.conll" if kind == TAGGING else "texts.csv"
    if not exported:
        return TORCH_HEAD_USE.format(pipeline=KINDS[kind][0], options=OPTIONS.get(kind, ""), file=file)
    example = '["The words of a text .".split()]' if kind == TAGGING else '["A text.", ("The first of a pair.", "The second.")]'
    return ONNX_HEAD_USE.format(example=example, file=file, auto="Token" if kind == TAGGING else "Sequence", dtype=dtype)


def _scores(records: Sequence[Mapping[str, Any]]) -> str:
    """Models × tasks, each task by the first number that it reports, with size and speed where they were measured."""
    scores = [record.get("scores") or {} for record in records]
    tasks = list(dict.fromkeys(task for row in scores for task in row if _primary(row[task]) is not None))
    if not records:
        return ""
    heads = ["Model", *tasks, "Parameters", "MB", "Sentences/s"]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for record, row in zip(records, scores, strict=True):
        cost = record.get("cost") or {}
        cells = [str(record.get("name", ""))]
        cells += [_number(_primary(row.get(task)), "{:.2f}") for task in tasks]
        megabytes = cost["bytes"] / 1e6 if "bytes" in cost else None
        cells += [_number(cost.get("parameters"), "{:,.0f}"), _number(megabytes, "{:.1f}")]
        cells.append(_number(cost.get("sentences_per_second"), "{:,.0f}"))
        lines.append(cells)
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    threads = sorted({record["cost"]["threads"] for record in records if record.get("cost")})
    note = f"\nSpeed with {threads[0]} threads of one machine, mixed lengths.\n" if len(threads) == 1 else ""
    return f"## Scores\n\n{table}\n{note}\n"


def _primary(score: Any) -> float | None:
    """A task lists its primary figure first."""
    if not isinstance(score, Mapping):
        return None
    return next((float(value) for value in score.values() if isinstance(value, (int, float))), None)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _last_part(name: str) -> str:
    """A hub name as it is; of a path the last folder's name."""
    path = Path(name)
    return path.name if path.is_absolute() or len(path.parts) > 2 or name.startswith((".", "~")) else name
