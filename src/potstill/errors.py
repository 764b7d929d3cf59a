"""Errors and warnings that are written for users, and the helpers that word and collect them."""

from __future__ import annotations

import difflib
import shlex
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

LONG = 100  # letters; no name in a recipe is longer
LONG_REMEDY, MOST_NAMES = 1000, 1000  # letters, and names, that an error lists
MANY = 20  # mistakes of one kind that are told; more of them help nobody


class PotstillError(Exception):
    """A mistake in what came from outside: a recipe, a file, a model, a machine.

    Its text is one line that every terminal can print: the place, the problem with the offending value, and the remedy.
    The command line prints it and exits with status 2. Any other exception is a bug and keeps its traceback.

    Attributes:
        place: where the mistake is: a file and its line, or the path of a key.
        problem: what is wrong there.
        remedy: what the user can do about it; "" where nothing is known.
    """

    def __init__(self, place: object, problem: str, remedy: str = "") -> None:
        self.place, self.problem, self.remedy = str(place), problem, remedy
        line = f"{self.place}: {problem}" + (f"; {remedy}" if remedy else "")
        super().__init__(printable(" ".join(line.split())))

    def __reduce__(self) -> tuple[Any, ...]:
        """How it is sent from one process to another."""
        return type(self), (self.place, self.problem, self.remedy)


class PotstillWarning(UserWarning):
    """Something from outside that is likely a mistake and does not stop the work. The command line prints it as one line."""


class DiskFull(PotstillError):
    """The disk is full. Nothing is wrong with the request itself, and the next request will fail in the same way."""


class PotstillErrors(PotstillError):
    """Several mistakes that are reported together, one line each. Equal lines are reported once.

    Attributes:
        errors: the mistakes, in the order in which they were found.
        place: the place of the first.
        problem: everything else in one line, so that a handler that reports `place` and `problem` anew loses nothing.
        remedy: always "", since each remedy stands behind its own problem.
    """

    def __init__(self, errors: Sequence[PotstillError]) -> None:
        self.errors = list({str(error): error for error in errors}.values())  # two readers of one file find the same
        super().__init__(self.errors[0].place, "; ".join(map(str, self.errors)).removeprefix(f"{self.errors[0].place}: "))
        self.args = ("\n".join(map(str, self.errors)),)

    def __reduce__(self) -> tuple[Any, ...]:
        """How it is sent from one process to another."""
        return type(self), (self.errors,)


@contextmanager
def collect() -> Iterator[Callable[..., Any]]:
    """Report every mistake of a block together instead of the first alone.

    Yields:
        `attempt`. `attempt(function, *arguments)` returns the function's value. Where the function raises a
        PotstillError, `attempt` keeps the error for the end of the block and returns None.

    Raises:
        PotstillErrors: at the end of the block, if `attempt` kept more than one error. A single one is raised as it is.
    """
    errors: list[PotstillError] = []

    def attempt(function: Callable[..., Any], *arguments: object) -> Any:
        try:
            return function(*arguments)
        except PotstillErrors as several:
            errors.extend(several.errors)
        except PotstillError as error:
            errors.append(error)
        return None

    yield attempt
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise PotstillErrors(errors)


def refuse(place: object, problem: str, remedy: str = "") -> NoReturn:
    """Raise a PotstillError, where a call is wanted instead of a statement: `attempt(refuse, place, problem)`.

    Raises:
        PotstillError: always, with the arguments as given.
    """
    raise PotstillError(place, problem, remedy)


def warn(place: object, problem: str, remedy: str = "") -> None:
    """Issue a PotstillWarning whose text has the form of a PotstillError."""
    warnings.warn(str(PotstillError(place, problem, remedy)), PotstillWarning, stacklevel=3)


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """The remedy for an unknown name.

    Args:
        value: the unknown name.
        known: the names that exist.

    Returns:
        `did you mean 'x'?` where a known name is close, else the list of the known names, as much as fits on a line.
    """
    names = sorted(name[:LONG] for name in islice(known, MOST_NAMES))
    # Of a text of a million letters the comparison would take minutes, and no name is like it.
    close = difflib.get_close_matches(value, names, n=1, cutoff=0.6) if len(value) <= LONG else []
    if close:
        return f"did you mean {close[0]!r}?"
    listed = f"known: {', '.join(names)}" if names else "nothing is known here"
    return listed if len(listed) <= LONG_REMEDY else f"{listed[:LONG_REMEDY]}…"


def unknown(what: str, name: str, known: Iterable[str], place: object) -> PotstillError:
    """The error for a name that nothing has. It is returned and not raised, so that it can be collected.

    Args:
        what: the kind of thing that was named: "rule", "pooling".
        name: the unknown name.
        known: the names that exist.
        place: where the name stands.
    """
    return PotstillError(place, f"unknown {what} {shown(name)}", did_you_mean(name, known))


def shown(value: object, limit: int = 60) -> str:
    """The repr of a value, cut to `limit` characters so that an error stays readable on one line."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than some thousand digits
        text = f"a {type(value).__name__} of too many digits"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def printable(text: str) -> str:
    """A text with every character that cannot be printed (control characters, halves of surrogate pairs) written as its escape."""
    return text if text.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def install(extra: str) -> str:
    """The command that installs what an extra of this package needs, as a remedy.

    Args:
        extra: a name of pyproject.toml's optional dependencies.

    Returns:
        In a clone it names the clone, which pip does not find by the package's name; elsewhere the package.
    """
    source = Path(__file__).resolve().parents[1]
    root = source.parent
    if source.name != "src" or not (root / "constraints.txt").is_file():
        return f"pip install 'potstill[{extra}]'"
    return f"pip install -e {shlex.quote(f'{root}[{extra}]')} -c {shlex.quote(str(root / 'constraints.txt'))}"
