"""The record that a search leaves: every trial, what was chosen, and the chosen run's test scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from potstill.machine.files import write_text
from potstill.results import Role, Strict, run_folder

SEARCH_FILE = "search.json"
OWN = "the recipe"


def search_folder(name: str, out: Path | None) -> Path:
    """Give `out`, or without one the default folder of a search of the recipe of that name."""
    return run_folder(f"{name}-search", out)


class Trial(Strict):
    """One run of the recipe with some of its values replaced."""

    number: int
    settings: dict[str, Any] = Field(description="key → value; a key that is not here has the recipe's own value")
    role: Literal["base", "single", "combined", ""] = Field(
        "", description="of one factor at a time: the recipe as it is, one changed value, or the best of each"
    )
    state: Literal["complete", "pruned", "failed"]
    score: float | None = Field(None, description="best dev score; of a pruned trial the best until then")
    latency_ms: float | None = None
    seconds: float = 0.0
    curve: list[tuple[int, float]] = Field([], description="(step, dev score)")
    why: str = Field("", description="why a failed trial failed")
    tests: dict[str, float] = Field({}, description="test task → primary score, where the space asks for it; it chose nothing")
    same_as: int | None = Field(None, description="an earlier trial with the same settings, whose result this is")


class Step(Strict):
    """The chosen run's student at one of its evaluations."""

    step: int
    dev: float
    scores: dict[str, float] = Field(description="test task → primary score")


class Search(Strict):
    """Everything about one search: the content of search.json."""

    name: str
    seed: int
    created: str
    sampler: str
    objectives: list[str]
    score: str = Field(description="the task on dev, or `agreement`, that everything was chosen by")
    space: dict[str, Any] = Field(description="as the file has it")
    base: dict[str, Any] = Field(description="the recipe's own value of each searched key, where it has one")
    recipe: dict[str, Any]
    trials: list[Trial]
    best: int = Field(description="number of the chosen trial")
    front: list[int] = Field([], description="of two objectives the trials that no other beats in both")
    steps: list[Step] = Field([], description="of the chosen run")
    shipped: Role = Field(description="of the file that the chosen run ships")
    tests: dict[str, float] = Field({}, description="test task → primary score of the file that ships")
    at_majority: bool = Field(False, description="whether that file is no better than one answer to everything in every test")
    versions: dict[str, str] = Field({}, description="of the libraries that decide a number")

    @property
    def chosen(self) -> Trial:
        """The trial of number `best`."""
        return next(trial for trial in self.trials if trial.number == self.best)

    def said(self, trial: Trial) -> str:
        """What a trial is called beside its number: "the recipe" where it has the recipe's own values; "" where it is one of many."""
        named = {"base": OWN, "combined": "best of each"}.get(trial.role, "")
        own = all(trial.settings.get(key, self.base.get(key)) == self.base.get(key) for key in self.space["keys"])
        return named or (OWN if own else "")

    def ranked(self) -> list[Trial]:
        """Sort the trials: the complete ones, the best score first, then the pruned and the failed ones."""
        return sorted(self.trials, key=lambda trial: (trial.state != "complete", trial.score is None, -(trial.score or 0)))

    def write(self, folder: Path) -> None:
        """Write the record to search.json in `folder`. A PotstillError comes through where that cannot be written."""
        write_text(folder / SEARCH_FILE, self.model_dump_json(indent=2) + "\n")
