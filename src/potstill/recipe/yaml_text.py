"""YAML as recipes, `--set` and search spaces are written in it: YAML 1.1, with the floats of YAML 1.2."""

from __future__ import annotations

import re
from typing import Any

import yaml

# Beside its own error PyYAML lets through what a value breaks: a date of month 99, a thousand nested brackets.
UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)

# YAML 1.1 asks a float for a point before its exponent and a sign in it, so that PyYAML reads 1e-4 as a string; YAML 1.2
# takes it as the float that whoever types it means. A quoted scalar asks no resolver and stays a string.
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$|[-+]\.[0-9]+$")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the floats of YAML 1.2."""


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which quotes every string that `_Loader` would read as something else."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def load(text: str) -> Any:
    """The value that a YAML text holds. Raises one of UNREADABLE where it is not YAML."""
    return yaml.load(text, _Loader)  # a subclass of SafeLoader


def dump(content: Any) -> str:
    """Plain data as YAML in block style, keys in the order given. `load` reads it back to equal data."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def dump_inline(value: Any) -> str:
    """A value as YAML on one line, in ASCII. `load` reads it back to an equal value."""
    # Within a list a scalar gets neither a line break nor an end-of-document mark.
    return yaml.dump([value], Dumper=_Dumper, sort_keys=False, default_flow_style=True, width=float("inf")).rstrip("\n")[1:-1]
