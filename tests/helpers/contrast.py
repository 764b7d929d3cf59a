"""A working folder for contrastive training: texts, a search task, a tiny encoder, and a recipe."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

WORDS = "river village cat owl house tree stone boat night snow ship lamp door hill road song".split()
TEXTS = [f"the {a} sees {'the old ' * (number % 3)}{b}" for number, a in enumerate(WORDS) for b in WORDS[:6]]


def working_folder(
    folder: Path, patch: pytest.MonkeyPatch, encoder: Path, *, steps: int, student: dict[str, Any], training: dict[str, Any], **data: Any
) -> Path:
    """Enter a folder and write recipe.yaml and all that it names; paths in it are relative.

    Args:
        folder: an empty one.
        patch: undoes it.
        encoder: the folder of the model that the student is cut from.
        steps: of the recipe's only stage.
        student, training: of the recipe; model, precision and the dev task are added.
        data: more keys of the recipe's data.
    """
    patch.chdir(folder)
    patch.setenv("POTSTILL_CACHE", "cache")
    patch.setenv("HF_HUB_OFFLINE", "1")
    Path("data/retrieval").mkdir(parents=True)
    Path("data/texts.txt").write_text("\n".join(TEXTS) + "\n")
    questions = [{"query": f"the {a} and the {b}", "document": f"{b} was seen by {a}"} for a, b in zip(WORDS, WORDS[3:])]
    Path("data/retrieval/words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    shutil.copytree(encoder, "encoder")
    recipe = {
        "name": "simcse",
        "data": {"dir": "data", "texts": ["texts.txt"], **data},
        "student": {"model": "encoder", "normalize": False, **student},
        "training": {"select": "retrieval/words", "precision": "fp32", **training},
        "stages": [{"name": "simcse", "steps": steps, "terms": [{"loss": "info_nce", "project": "mlp"}]}],
        "evaluate": ["retrieval/words"],
        "export": {"onnx": False},
    }
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder
