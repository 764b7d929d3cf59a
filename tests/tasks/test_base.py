from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from potstill.errors import PotstillError
from potstill.tasks.base import load_task, task_names


def test_names() -> None:
    names = task_names()
    sets = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "mnli-mm", "qnli", "rte", "wnli")
    assert set(names) == {
        *(f"sts/{variant}" for variant in ("12", "13", "14", "15", "16", "stsb", "stsb-dev")),
        *(f"glue/{variant}{dev}" for variant in sets for dev in ("", "-dev")),
        "retrieval/captions",
        *(f"near/{variant}" for variant in ("all", "negation", "number", "order", "word")),
        *(f"{family}/<name>" for family in ("retrieval", "classification", "multilabel", "regression", "tagging", "mteb")),
    }
    assert all(names.values())


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sts/stbs", "did you mean 'sts/stsb'"),  # a misspelt variant
        ("stsb", "did you mean 'sts/stsb'"),  # no family
        ("xyz", "known:.*sts/12"),  # nothing like it
        ("sts", "sts/"),  # a family alone
        ("", "known:"),  # no name
    ],
)
def test_unknown_name(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(PotstillError, match=f"tasks: unknown task '{name}'; .*{hint}"):
        load_task(name, tmp_path)


def test_the_tasks_of_a_package_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(PotstillError, match=r"tasks: 'mteb/STS12' needs the package mteb, which is not installed; pip install .*\[mteb\]"):
        load_task("mteb/STS12", tmp_path)


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from potstill.tasks.base import task_names; task_names(); "
        "print({'torch', 'scipy', 'sklearn', 'datasets', 'transformers', 'mteb'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
