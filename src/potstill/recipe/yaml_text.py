"""YAML as recipes, `--set` and search spaces are written in it: YAML 1.1, with the floats of YAML 1.2, and nothing that hides a mistake."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import yaml
from yaml.constructor import ConstructorError

from potstill.errors import shown

# YAML 1.1 asks a float for a point before its exponent and a sign in it, so that PyYAML reads 1e-4 as a string; YAML 1.2
# takes it as the float that whoever types it means. A quoted scalar asks no resolver and stays a string.
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$|[-+]\.[0-9]+$")

DIGITS = 1000  # of a number at most; Python itself writes none of some thousand
VALUES = 100_000  # that a text may hold, those counted again that an alias repeats
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_TOO_LARGE = 10**DIGITS
_LONG = f"a number of more than {DIGITS:,} digits"


class NotYaml(ValueError):
    """A text that is not YAML, or not such YAML as a recipe may be.

    Attributes:
        problem: what is wrong.
        line: where, from 1; None: in the whole of it.
    """

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem if line is None else f"{problem}, line {line}")
        self.problem, self.line = problem, line


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the floats of YAML 1.2. It refuses keys that stand twice, and tags that a value does not fit."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node.

        Raises:
            ConstructorError: its tag does not fit; PyYAML lets through whatever its own conversions raise.
        """
        try:
            value = super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError):
            _fail(node, _LONG if _is_long(node) else f"{_written(node)} is no {node.tag.removeprefix(_TAG)}")
        if isinstance(value, int) and abs(value) >= _TOO_LARGE:
            _fail(node, _LONG)
        return value

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put the pairs of what a mapping is merged with (`<<`) before its own.

        Raises:
            ConstructorError: merged again and again they are more than any recipe holds.
        """
        super().flatten_mapping(node)
        if len(node.value) > VALUES:
            _fail(node, f"a mapping of more than {VALUES:,} keys")

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node.

        Raises:
            ConstructorError: a key stands twice, of which PyYAML would take the second.
        """
        seen: dict[tuple[str, str], int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else []:
            name = (key.tag, str(key.value)) if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE else None
            if name in seen:
                _fail(key, f"the key {_written(key)} stands twice, first in line {seen[name]}")
            if name is not None:
                seen[name] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which quotes every string that `_Loader` would read as something else."""


def _written(node: yaml.Node) -> str:
    """A node as the text has it."""
    return shown(node.value) if isinstance(node, yaml.ScalarNode) else f"a {getattr(node, 'id', 'value')}"


def _is_long(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and len(node.value) > DIGITS


def _fail(node: yaml.Node, problem: str) -> NoReturn:
    raise ConstructorError(None, None, problem, node.start_mark)


def _refuse(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    """Refuse a tag."""
    _fail(node, f"a recipe has no values of the kind {shown(node.tag.removeprefix(_TAG))}")


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+.0123456789"))
for _name in ("binary", "omap", "pairs", "set"):
    _Loader.add_constructor(_TAG + _name, _refuse)
_Loader.add_constructor(None, _refuse)  # any tag that YAML itself does not have


def load(text: str) -> Any:
    """The value that a YAML text holds.

    Raises:
        NotYaml: it is not YAML; a key stands twice in it; or its aliases make more of it than any recipe holds.
    """
    try:
        value = yaml.load(text, _Loader)  # a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise NotYaml(problem or "unreadable", None if mark is None else mark.line + 1) from error
    except (yaml.YAMLError, ValueError) as error:  # a ValueError: the escape of a character that there is not
        raise NotYaml(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise NotYaml("it is nested too deep") from error
    _require_small(value)
    return value


def _require_small(value: Any) -> None:
    """Check how many values there are if each alias is written out.

    PyYAML repeats what an alias names without a copy. A few lines of aliases of aliases would be milliards of values to
    whatever walks through them.

    Raises:
        NotYaml: there are too many, or a value holds itself.
    """
    sizes: dict[int, int] = {}  # of the lists and mappings; 0 while one is being counted

    def size(one: Any) -> int:
        if not isinstance(one, (list, Mapping)):
            return 1
        known = sizes.get(id(one))
        if known == 0:
            raise NotYaml("an alias names what holds it")
        if known is None:
            sizes[id(one)] = 0
            known = sizes[id(one)] = 1 + sum(map(size, _parts(one)))
        return known

    if size(value) > VALUES:
        raise NotYaml(f"it holds more than {VALUES:,} values")


def _parts(value: list[Any] | Mapping[Any, Any]) -> Iterator[Any]:
    yield from value.values() if isinstance(value, Mapping) else value


def dump(content: Any) -> str:
    """Plain data as YAML in block style, keys in the order given. `load` reads it back to equal data."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def dump_inline(value: Any) -> str:
    """A value as YAML on one line, in ASCII. `load` reads it back to an equal value."""
    # Within a list a scalar gets neither a line break nor an end-of-document mark.
    return yaml.dump([value], Dumper=_Dumper, sort_keys=False, default_flow_style=True, width=float("inf")).rstrip("\n")[1:-1]
