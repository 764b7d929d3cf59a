"""How the package is laid out: what lies in its root, what its folders say of themselves, and that no imports go in a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "potstill"
FOLDERS = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file())


def module_name(path: Path, package: Path) -> str:
    """The dotted name of a file; of an `__init__`, that of its folder."""
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(node: ast.AST) -> Iterator[tuple[str, str, int]]:
    """Each import at or below a node, inside functions too, as (module, name or "", line). Those for type checkers alone do not count."""
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        for child in node.orelse:
            yield from imports(child)
        return
    if isinstance(node, ast.Import):
        yield from ((alias.name, "", node.lineno) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: a relative import"
        yield from ((node.module or "", alias.name, node.lineno) for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from imports(child)


def import_graph(package: Path) -> dict[str, dict[str, int]]:
    """Each module of a package, and which of its modules it imports, on which line first."""
    files = {module_name(path, package): path for path in package.rglob("*.py")}
    graph: dict[str, dict[str, int]] = {name: {} for name in files}
    for name, path in files.items():
        for module, imported, line in imports(ast.parse(path.read_text(encoding="utf-8"))):
            target = f"{module}.{imported}" if f"{module}.{imported}" in files else module
            if target in files and target != name:
                graph[name].setdefault(target, line)
    return graph


def reached(graph: Mapping[str, Mapping[str, int]], start: str) -> set[str]:
    """All that can be reached from a node in one step or more."""
    found: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        node = ahead.pop()
        if node not in found:
            found.add(node)
            ahead += graph[node]
    return found


def circles(graph: Mapping[str, Mapping[str, int]]) -> list[tuple[str, ...]]:
    """The strongly connected components of more than one node, each sorted."""
    reach = {node: reached(graph, node) for node in graph}
    return sorted({tuple(sorted(other for other in reach[node] if node in reach[other])) for node in graph if node in reach[node]})


def module_circles(package: Path) -> list[str]:
    """Each import between modules that is part of a circle, as a line."""
    graph = import_graph(package)
    return [
        f"{name} line {line} imports {target}"
        for circle in circles(graph)
        for name in circle
        for target, line in graph[name].items()
        if target in circle
    ]


def folder_circles(package: Path) -> list[str]:
    """Each import between folders (and files of the root) that is part of a circle of them, as a line."""
    graph = import_graph(package)

    def place(module: str) -> str:
        return ".".join(module.split(".")[:2])

    between: dict[str, dict[str, int]] = {place(module): {} for module in graph}
    for name, targets in graph.items():
        for target in targets:
            if place(target) != place(name):
                between[place(name)][place(target)] = 0
    together = circles(between)
    return [
        f"{name} line {line} imports {target}"
        for circle in together
        for name, targets in graph.items()
        for target, line in targets.items()
        if place(name) != place(target) and {place(name), place(target)} <= set(circle)
    ]


def test_the_root_holds_four_files_and_folders() -> None:
    files = {path.name for path in PACKAGE.iterdir() if path.is_file() and not path.name.startswith(".")}
    assert files - {"py.typed"} == {"__init__.py", "errors.py", "registry.py", "results.py"}
    strays = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {*FOLDERS, "__pycache__"}
    assert not [name for name in strays if any((PACKAGE / name).rglob("*.py"))]


@pytest.mark.parametrize("file", sorted(PACKAGE.glob("*/**/__init__.py")), ids=lambda path: str(path.parent.relative_to(PACKAGE)))
def test_a_folder_says_in_one_sentence_what_it_is(file: Path) -> None:
    said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert said and said.endswith(".")
    assert "\n\n" not in said and not re.search(r"[.!?]\s", said), said


def test_the_architecture_draws_every_folder_and_no_other() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = re.search(r"^([ \t]*)src/potstill/.*\n((?:\1[ \t]+\S.*\n|[ \t]*\n)*)", text, re.MULTILINE)
    assert tree is not None, "no tree that begins with src/potstill/"
    lines = [line for line in tree[2].splitlines() if line.strip()]
    step = min(len(line) - len(line.lstrip()) for line in lines)
    drawn: set[str] = set()
    for line in lines:
        if len(line) - len(line.lstrip()) == step:  # deeper lines go on with a text, or draw what is in a folder
            names = re.match(r"\w+/(?:(?: | · | \| |, )\w+/)*", line.strip())  # one folder, or several beside each other
            drawn |= set(re.findall(r"\w+", names[0])) if names else set()
    assert sorted(drawn) == FOLDERS


def test_no_imports_go_in_a_circle_between_modules() -> None:
    assert module_circles(PACKAGE) == []


def test_no_imports_go_in_a_circle_between_folders() -> None:
    assert folder_circles(PACKAGE) == []


def write_package(folder: Path, files: dict[str, str]) -> Path:
    """A package named `house` of these modules, each by its path."""
    for name, code in files.items():
        path = folder / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    return folder / "house"


@pytest.mark.parametrize(
    ("files", "modules", "folders"),
    [
        # one way only
        ({"a/x.py": "from house.b.y import f\n", "b/y.py": "import os\n"}, [], []),
        # one of the two inside a function
        (
            {"a/x.py": "import house.a.y\n", "a/y.py": "def f():\n    from house.a import x\n"},
            ["house.a.x line 1 imports house.a.y", "house.a.y line 2 imports house.a.x"],
            [],
        ),
        # for type checkers alone; what runs without one counts
        (
            {
                "a/x.py": "from house.b.y import f\n",
                "b/y.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.a.x import f\n",
            },
            [],
            [],
        ),
        (
            {"a/x.py": "import house.a.y\n", "a/y.py": "if TYPE_CHECKING:\n    pass\nelse:\n    import house.a.x\n"},
            ["house.a.x line 1 imports house.a.y", "house.a.y line 4 imports house.a.x"],
            [],
        ),
        # folders that import each other through modules that do not
        (
            {"a/x.py": "import house.b.x\n", "b/x.py": "", "b/y.py": "import house.a.y\n", "a/y.py": ""},
            [],
            ["house.a.x line 1 imports house.b.x", "house.b.y line 1 imports house.a.y"],
        ),
        # of three
        (
            {"x.py": "import house.y\n", "y.py": "import house.z\n", "z.py": "import house.x\n", "w.py": "import house.x\n"},
            ["house.x line 1 imports house.y", "house.y line 1 imports house.z", "house.z line 1 imports house.x"],
            ["house.x line 1 imports house.y", "house.y line 1 imports house.z", "house.z line 1 imports house.x"],
        ),
    ],
)
def test_circles_are_found_and_named(tmp_path: Path, files: dict[str, str], modules: list[str], folders: list[str]) -> None:
    package = write_package(tmp_path, files)
    assert sorted(module_circles(package)) == modules
    assert sorted(folder_circles(package)) == folders
