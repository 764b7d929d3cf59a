"""The one error that a user is meant to read, and the helpers that word it."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class PotstillError(Exception):
    """A mistake in what came from outside: a recipe, a file, a model, a machine.

    Its text is one line: the place, what is wrong there (with the value), and the way out.
    The command line prints it and exits with status 2; anything else is a bug and keeps its
    traceback.
    """

    def __init__(self, place: object, problem: str, remedy: str = "") -> None:
        self.place, self.problem, self.remedy = str(place), problem, remedy
        line = f"{self.place}: {problem}" + (f"; {remedy}" if remedy else "")
        super().__init__(" ".join(line.split()))


class PotstillWarning(UserWarning):
    """Something from outside that is likely a mistake and stops nothing; the command line prints it as one line."""


class NoSpace(PotstillError):
    """The disk is full: nothing is wrong with what was asked, and the next thing asked will meet the same."""


class PotstillErrors(PotstillError):
    """Several mistakes found in one reading, reported together, one line each, and each once."""

    def __init__(self, errors: Sequence[PotstillError]) -> None:
        self.errors = list({str(error): error for error in errors}.values())  # two readers of one file find the same
        Exception.__init__(self, "\n".join(str(error) for error in self.errors))


@contextmanager
def collect() -> Iterator[Callable[..., Any]]:
    """Within the block `attempt(function, *arguments)` gives the function's value, or None and remembers what was wrong.

    Raises:
        PotstillErrors: at the block's end, everything that was wrong (a single one as itself).
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
    if errors:
        raise errors[0] if len(errors) == 1 else PotstillErrors(errors)


def warn(place: object, problem: str, remedy: str = "") -> None:
    """Say a PotstillWarning, worded as an error is."""
    warnings.warn(str(PotstillError(place, problem, remedy)), PotstillWarning, stacklevel=3)


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` when something known is close, else the list of what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(value, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names)}" if names else "nothing is known here"


def shown(value: object, limit: int = 60) -> str:
    """A value as an error shows it: its repr, cut so that the line stays a line."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
