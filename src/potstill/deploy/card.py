"""The README.md that travels with a model: what it is, how to load it, what it scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from potstill.files import write_text
from potstill.runtime.folder import MODEL, QUANTIZED, README

HEADER = """\
---
library_name: {library}
pipeline_tag: sentence-similarity
tags:
- sentence-embeddings
- distillation
---

# {name}

A sentence encoder, distilled from {teacher} with potstill.

## Use

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

TORCH_USE = """\
```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
vectors = model.encode(["A first sentence.", "Another one."])
```

"""

LICENCE = """\
## Licence

None is chosen here. The weights descend from {teacher} and from the texts that it was distilled on: look at
their terms, then state yours.
"""


def write_card(folder: str | Path, *, name: str, teacher: str, records: Sequence[Mapping[str, Any]] = (), normalize: bool = True) -> None:
    """Write README.md into the folder of a student (torch) or of an export (ONNX).

    Args:
        name: of the model.
        teacher: its name; of a path only the last part is told, for the rest is the user's own business.
        records: results.Record as plain dicts; the scores' table has a row for each.
        normalize: whether vectors have unit length.
    """
    folder = Path(folder)
    exported = (folder / MODEL).is_file()
    teacher = _last_part(teacher)
    use = TORCH_USE
    if exported:
        dtype = "q8" if (folder / QUANTIZED).is_file() else "fp32"
        use = ONNX_USE.format(dtype=dtype, normalised=" and normalisation" if normalize else "")
    library = "onnxruntime" if exported else "sentence-transformers"
    text = HEADER.format(library=library, name=name, teacher=teacher) + use + _scores(records) + LICENCE.format(teacher=teacher)
    write_text(folder / README, text)


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
