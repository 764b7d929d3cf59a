"""What the documents show works as it stands there, and what they say of the code is so."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main
import yaml

import potstill
from helpers.reference import PAGES
from potstill.cli.commands import app
from potstill.cli.show import KINDS
from potstill.losses.base import Loss
from potstill.recipe.file import checked, read_recipe
from potstill.recipe.recipe import Data, Export, Int8, Stage, Teacher, Term, Training
from potstill.recipe.student import BiLSTMStudent, StaticStudent, TransformerStudent
from potstill.registry import names
from potstill.search.space import Space

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "potstill"
MADE = [f"docs/reference/{name}" for name in PAGES]
GUIDES = ["README.md", *(f"docs/{name}.md" for name in ("index", "methods", "faq"))]
GUIDES += sorted({file.relative_to(ROOT).as_posix() for file in (ROOT / "docs").glob("*/*.md")} - {*MADE})
OURS = [*GUIDES, *MADE, "docs/architecture.md", "CHANGELOG.md"]
LONGEST = 160  # letters of a line, but in tables and code

# A part of a recipe → what its keys may be.
KEYS = {
    "data": {*Data.model_fields},
    "teacher": {*Teacher.model_fields},
    "student": {*TransformerStudent.model_fields, *BiLSTMStudent.model_fields, *StaticStudent.model_fields},
    "training": {*Training.model_fields},
    "export": {*Export.model_fields},
    "export.int8": {*Int8.model_fields},
    "stages[]": {*Stage.model_fields},
    "terms[]": {*Term.model_fields},
}


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def fenced(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", read(document), re.DOTALL | re.MULTILINE)


def inline_code(document: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", read(document), flags=re.DOTALL | re.MULTILINE))


def commands(document: str) -> list[list[str]]:
    """The words of each call of `potstill` in a document: indented lines and code in a sentence, each without its remark."""
    lines = [line.strip() for line in read(document).splitlines() if line.startswith("    ")]
    return [shlex.split(line, comments=True) for line in [*lines, *inline_code(document)] if line.startswith("potstill ")]


def anchors(document: Path) -> set[str]:
    """What a link may name behind # in a Markdown file, as GitHub derives it from the headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_loss_of_the_document_is_one():
    code = re.search(r"```python\n(.*?)```", read("docs/add_a_loss.md"), re.DOTALL)
    assert code is not None
    namespace: dict = {"__name__": "embedding_l1"}
    exec(compile(code[1].replace("from __future__ import annotations\n", ""), "add_a_loss.md", "exec"), namespace)
    (kind,) = [value for value in namespace.values() if isinstance(value, type) and issubclass(value, Loss) and value is not Loss]
    assert kind(margin=0.5)(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.25]]), {}).item() == pytest.approx(0.25)
    with pytest.raises(ValueError, match="margin"):
        kind(margin=-1)


@pytest.mark.parametrize("document", GUIDES)
def test_the_recipes_and_spaces_of_a_document_read(document: str, tmp_path: Path):
    for number, content in enumerate(fenced(document, "yaml")):
        if "sampler:" in content:
            checked(Space, yaml.safe_load(content), document)
            continue
        (tmp_path / f"{number}.yaml").write_text(content, encoding="utf-8")
        read_recipe(str(tmp_path / f"{number}.yaml"))


@pytest.mark.parametrize("document", GUIDES)
def test_the_commands_of_a_document_exist(document: str):
    known: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for _, name, *words in commands(document):
        assert name in known, name
        options = {option for parameter in known[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, (name, words)
        if name == "list" and words:
            assert words[0] in KINDS
        if name in ("check", "train", "search") and words and not words[0].endswith(".yaml"):  # what `init` writes: tests/cli/test_init.py
            read_recipe(words[0], [value for option, value in pairwise(words) if option == "--set"])


@pytest.mark.parametrize("document", GUIDES)
def test_the_keys_that_a_document_names_are_in_a_recipe(document: str):
    for code in inline_code(document):
        place, dot, key = re.split("[:=]", code)[0].rpartition(".")
        if dot and place in KEYS:
            assert key in KEYS[place], code


@pytest.mark.parametrize("document", GUIDES)
def test_the_python_of_a_document_is_python_and_its_names_are_public(document: str):
    used = set(re.findall(r"\bpotstill\.(\w+)\(", read(document)))
    for code in fenced(document, "python"):
        imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom) and node.module == "potstill"]
        used |= {alias.name for node in imports for alias in node.names}
    assert used <= set(potstill.__all__)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_is_made_says_what_the_code_says(name: str):
    assert read(f"docs/reference/{name}") == PAGES[name](), "run `make reference`"


@pytest.mark.parametrize("document", [*OURS, "docs/results.md", "docs/add_a_loss.md", "docs/architectures.md", "docs/consumers.md"])
def test_the_links_of_a_document_lead_somewhere(document: str):
    for target in re.findall(r"\]\(([^)\s]+)\)", read(document)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            file = (ROOT / document).parent / path if path else ROOT / document
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


def test_the_readme_has_no_link_that_leads_nowhere_away_from_the_repository():
    """An index of packages shows the README by itself: a path into the repository is no link there. A picture has words."""
    text = read("README.md")
    for words, picture in re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", text):
        assert len(words) > 20 and picture.startswith("docs/images/") and (ROOT / picture).stat().st_size < 150_000
    targets = re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)|(?:src|href)=[\"']([^\"']+)", re.sub(r"!\[.*\)", "", text), re.MULTILINE)
    assert [one for found in targets for one in found if one and not one.startswith(("https://", "#"))] == []
    for file in re.findall(r"`(docs/[\w/]+\.md)`", read("README.md")):
        assert (ROOT / file).is_file(), file


@pytest.mark.parametrize("document", OURS)
def test_the_lines_of_a_document_are_not_long(document: str):
    prose = re.sub(r"^```.*?^```", "", read(document), flags=re.DOTALL | re.MULTILINE).splitlines()
    assert not [line for line in prose if len(line) > LONGEST and not line.startswith(("|", "    "))]


def tree() -> Iterator[tuple[Path, str]]:
    """(folder or file, what is said of it) of each entry in the tree of docs/architecture.md."""
    drawn = re.search(r"^    src/potstill/\n((?: {6}.*\n)+)", read("docs/architecture.md"), re.MULTILINE)
    assert drawn is not None
    parent = PACKAGE
    for entry in re.split(r"\n(?= {6,8}\w)", "\n" + drawn[1])[1:]:
        name, _, said = entry.strip().partition(" ")
        nested = entry.startswith(" " * 8)
        place = parent / name if nested else PACKAGE / name
        parent = parent if nested else place
        yield place, " ".join(said.split())


def test_the_tree_says_of_every_folder_what_it_says_itself_and_names_every_file():
    drawn = dict(tree())
    assert {place for place in drawn if place.suffix} == set(PACKAGE.glob("*.py"))
    folders = {place: said for place, said in drawn.items() if not place.suffix}
    assert set(folders) == {file.parent for file in PACKAGE.glob("*/**/__init__.py")}
    for folder, said in folders.items():
        docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
        sentence = " ".join(docstring.partition("\n\n")[0].split())
        assert said.startswith(sentence), f"{folder.name}: {sentence}"
        parts = [part.partition(": ")[0] for part in said.removeprefix(sentence).split("; ") if ": " in part]
        named = {name.strip() for part in parts for name in part.split(",") if not name.endswith("/")}
        files = {file.stem for file in folder.glob("*.py") if not file.stem.startswith("__")}
        assert named == files - (set(names("losses")) if folder.name == "losses" else set()), folder.name


def test_the_floors_are_those_that_are_checked():
    layers = re.search(r"^layers = \[\n(.*?)^\]", read("pyproject.toml"), re.DOTALL | re.MULTILINE)
    assert layers is not None
    floors = [line.replace("potstill.", "") for line in re.findall(r'"(.*)"', layers[1])]
    assert "".join(f"    {floor}\n" for floor in floors) in read("docs/architecture.md")


def test_a_fact_is_where_the_table_says():
    rows = re.findall(r"^\| .* \| `([\w/]+\.py)` \| (.*) \|$", read("docs/architecture.md"), re.MULTILINE)
    assert len(rows) > 10
    for file, defined in rows:
        path = (ROOT if file.startswith("tests/") else PACKAGE) / file
        code = path.read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)`", defined):
            assert re.search(rf"^ *(?:class |def )?(?:\w+, )*{name}\b(?:, \w+)*(?: =|:|\()", code, re.MULTILINE), f"{file}: {name}"


def test_the_files_that_the_architecture_names_exist():
    named = set(re.findall(r"`([\w/]+\.py)`", read("docs/architecture.md")))
    assert named and not [file for file in named if not (PACKAGE / file).is_file() and not (ROOT / file).is_file()]


def test_the_modules_that_must_not_move_are_there():
    must = read("docs/architecture.md").partition("## What must not move")[2].partition("\n## ")[0]
    modules = re.findall(r"`(potstill\.\w+\.\w+)`", must)
    assert len(modules) > 3
    assert [module for module in modules if importlib.util.find_spec(module) is None] == []
