"""Docstrings of Python source files, which are parsed and never imported or run."""

from __future__ import annotations

import ast
import importlib.util
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from potstill.machine.progress import progress

# Neither documentation nor of this package: tests, copies of other packages, compiled things.
SKIPPED_FOLDERS = {"test", "tests", "idle_test", "_vendor", "vendored", "site-packages", "dist-packages", "lib-dynload", "__pycache__"}

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
# Statements that may hold definitions. Functions inside functions are nobody's documentation.
_HOLDERS = (ast.Module, ast.ClassDef, ast.If, ast.Try, ast.ExceptHandler, ast.With)


@dataclass(frozen=True)
class Docstring:
    """One docstring.

    Attributes:
        name: what it documents: `module.Class.method`.
        text: the docstring without its indentation.
    """

    name: str
    text: str


def collect_docstrings(packages: Sequence[str] | None = None) -> Iterator[Docstring]:
    """Yield the docstrings of modules, classes and functions, file by file in a fixed order.

    Args:
        packages: import names of top-level packages. One that is not installed is left out. None: the
            Python standard library.
    """
    if packages is None:
        roots = [(Path(sysconfig.get_paths()["stdlib"]), "")]
    else:
        roots = [(folder, f"{name}.") for name in packages if (folder := _folder_of(name)) is not None]
    for root, prefix in roots:
        files = sorted(_sources(root))
        with progress(f"docstrings of {prefix[:-1] or 'Python'}", len(files), "files") as advance:
            for file in files:
                yield from _docstrings_of(file, prefix + ".".join(file.relative_to(root).with_suffix("").parts))
                advance(1)


def python_topics() -> list[str]:
    """The language reference as `help()` has it, one text a topic; empty where this Python lacks it."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return []
    return [topics[name] for name in sorted(topics)]


def _folder_of(package: str) -> Path | None:
    # Of a top-level name, find_spec looks for the files and runs nothing.
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else None


def _sources(folder: Path) -> Iterator[Path]:
    try:
        entries = list(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.is_dir():
            if entry.name.isidentifier() and entry.name not in SKIPPED_FOLDERS:
                yield from _sources(entry)
        elif entry.suffix == ".py" and not entry.name.startswith("test_"):
            yield entry


def _docstrings_of(file: Path, name: str) -> Iterator[Docstring]:
    try:
        with warnings.catch_warnings():
            # Other people's "\d" in plain strings is no concern of whoever runs this.
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    yield from _documented(tree, name.removesuffix(".__init__"))


def _documented(node: ast.AST, name: str) -> Iterator[Docstring]:
    if isinstance(node, (ast.Module, *_DEFINITIONS)) and (text := ast.get_docstring(node)):
        yield Docstring(name, text)
    if isinstance(node, _HOLDERS):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, _DEFINITIONS):
                yield from _documented(child, f"{name}.{child.name}")
            elif isinstance(child, _HOLDERS):
                yield from _documented(child, name)
