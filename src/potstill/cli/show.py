"""What the command prints: tables that fit a terminal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.errors import PotstillError, did_you_mean
from potstill.registry import CLASSIFICATION, COST, MULTILABEL, REGRESSION, TAGGING, names, table
from potstill.runtime.folder import GATE, ONNX, STUDENT

if TYPE_CHECKING:
    from rich.console import Console

    from potstill.cli.quickstart import Answer
    from potstill.comparison.against import Comparison
    from potstill.comparison.published import LikeTable
    from potstill.demo.demo import Demo
    from potstill.report.gate import GateRow
    from potstill.results import Record
    from potstill.search.record import Search


@dataclass(frozen=True)
class Kind:
    """What `potstill list` can list.

    Attributes:
        title: what the help calls it.
        rows: makes name → meaning. What it imports waits until it is called.
    """

    title: str
    rows: Callable[[], dict[str, str]]


def _recipes() -> dict[str, str]:
    from potstill.recipe.file import shipped

    return {name: text.partition("\n")[0].lstrip("# ") for name, text in shipped().items()}


def _tasks() -> dict[str, str]:
    return table("tasks") | {COST: "parameters, bytes, latency, throughput, memory, in a fresh process"}


def _presets() -> dict[str, str]:
    from potstill.comparison.published import presets

    return presets()


RECIPES = "recipes"
COLUMNS = (CLASSIFICATION, REGRESSION, TAGGING, MULTILABEL, "mrpc", "cola", "rte", "sst2")  # tasks that many methods have
KINDS = {
    RECIPES: Kind(RECIPES, _recipes),
    "losses": Kind("losses", partial(names, "losses")),
    "layers": Kind("layer maps", partial(table, "layers")),
    "rules": Kind("layer rules", partial(table, "rules")),
    "poolings": Kind("poolings", partial(table, "poolings")),
    "tasks": Kind("tasks", _tasks),
    "presets": Kind("presets of `compare --like`", _presets),
}

SERVE = "python -m http.server --directory"


def listed(kind: str) -> None:
    """Print the names of a kind.

    On a terminal each has what it means beside it, and of the recipes a method is a row. Elsewhere a line is a name, but for
    the recipes with its meaning behind a tab, for programs to read.

    Args:
        kind: a name of KINDS.
    """
    from rich.console import Console

    rows, console = listing(kind), Console()
    if not console.is_terminal:
        print("\n".join(rows if kind == RECIPES else [f"{name}\t{meaning}" for name, meaning in rows.items()]))
    elif kind == RECIPES:
        _methods(list(rows), console)
    else:
        pairs(kind, list(rows.items()))


def _methods(recipes: Iterable[str], console: Console) -> None:
    """Print the recipes: one row a method, its tasks as columns; below them those of a task that few methods have."""
    from rich.table import Table

    tasks: dict[str, list[str]] = {}
    for method, _, task in (name.partition("/") for name in recipes):
        tasks.setdefault(method, []).append(task)
    table = Table(title=RECIPES, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", style="cyan", no_wrap=True)
    for task in COLUMNS:
        table.add_column(task, justify="center", no_wrap=True)
    for method, own in tasks.items():
        if set(own) & set(COLUMNS):
            table.add_row(method, *("●" if task in own else "" for task in COLUMNS))
    console.print(table)
    others = [f"{method}/{task}" for method, own in tasks.items() for task in own if task not in COLUMNS]
    console.print(f"\n[bold]others[/]  {', '.join(others)}", highlight=False)
    console.print("\nA name is METHOD/TASK: kd/classification. potstill show NAME prints the recipe.", highlight=False)


def ask(question: str, choices: Sequence[str]) -> str:
    """Put a question to the user at the terminal.

    Args:
        question: its words.
        choices: the answers to choose from; none: any, also an empty one.

    Returns:
        The answer without white space around it.
    """
    from rich.prompt import Prompt

    found = Prompt.ask(question, choices=list(choices)) if choices else Prompt.ask(question, default="", show_default=False)
    return found.strip()


def finished(folder: Path) -> None:
    """Print a run's table, and where its files are."""
    from rich.console import Console

    from potstill.report.headline import SMOKE
    from potstill.report.table import print_table
    from potstill.results import read_run

    run = read_run(folder)
    print_table([run], Console())
    if run.recipe.get("smoke"):
        print(f"\n{SMOKE}.")
    print(f"\nrun folder: {folder}\nreport: {folder / 'report.html'}")


def exported(folder: Path) -> None:
    """Print the weights of an exported folder, and what the int8 gate said of each setting that it tried."""
    from potstill.report.gate import gate_table

    weights = sorted(path for kind in ("*.safetensors", "*.onnx") for path in folder.rglob(kind))
    pairs(str(folder), [(path.relative_to(folder).as_posix(), f"{path.stat().st_size / 1e6:,.1f} MB") for path in weights])
    for file in sorted(folder.rglob(GATE)):
        table = gate_table(json.loads(file.read_text(encoding="utf-8")))
        print()
        pairs("int8 gate", [(row.setting, _verdict(row, table.columns)) for row in table.rows])


def _verdict(row: GateRow, columns: Iterable[tuple[str, str]]) -> str:
    """Whether a setting passed the gate, why not, and its figures."""
    from potstill.report.numbers import MISSING

    figures = [f"{title} ({unit}) {cell}" for (title, unit), (cell, _) in zip(columns, row.cells) if cell != MISSING]
    return f"{'passed' if row.passed else f'failed ({row.why})'}: {', '.join(figures)}"


def compared(comparison: Comparison, table: LikeTable | None, written: Mapping[str, Path | None]) -> None:
    """Print runs side by side, or a publication's table with them in it, and where the files are.

    Args:
        comparison: the runs.
        table: the publication's table; None: of no publication.
        written: what a file is → the file; None: not written.
    """
    from rich.console import Console

    from potstill.comparison.published import print_like
    from potstill.comparison.sheet import print_sheet

    if table is None:
        print_sheet(comparison, Console())
    else:
        print_like(table, Console())
    places = [f"{what}: {path}" for what, path in written.items() if path is not None]
    if places:
        print("\n" + "\n".join(places))


def answers(found: Iterable[Answer]) -> None:
    """Print questions, what a search encoder found for each, and below it what its teacher found first."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    console.print("\n[bold]Three questions, answered by the exported file without torch[/]")
    for answer in found:
        console.print(f"\n[bold]{escape(answer.question)}[/]", highlight=False)
        hits = [("", hit) for hit in answer.found] + [("teacher  ", hit) for hit in answer.taught[:1]]
        for who, (name, line, cosine) in hits:
            console.print(
                f"  {who}{cosine:.2f}  [cyan]{escape(name)}[/]  {escape(line)}", highlight=False, overflow="ellipsis", no_wrap=True
            )


def demo(written: Demo) -> None:
    """Print what a page for the browser holds, and how it is opened."""
    beside = written.teacher or (f"not at hand: {written.missing}; name it with --teacher" if written.missing else "none")
    sizes = f"{written.bytes / 1e6:,.1f} MB, of them {written.weights / 1e6:,.1f} MB the model"
    pairs(str(written.folder), [("texts", f"{written.texts:,}"), ("teacher", beside), ("size", sizes)])
    print(f"\n{SERVE} {shlex.quote(str(written.folder))}\nNow open http://localhost:8000")


def next_steps(run: Path, documents: Path, questions: Path) -> None:
    """Print what can be looked at after the quickstart: the report, and a page that searches.

    Args:
        run: the run folder.
        documents: what the page is to search.
        questions: what it is to offer.
    """
    page = run.with_name("demo")
    command = shlex.join(["potstill", "demo", str(run), "--texts", str(documents), "--questions", str(questions), "--out", str(page)])
    print(f"\nNow open {run / 'report.html'}, or search in the browser:\n\n  {command}\n  {SERVE} {shlex.quote(str(page))}")


def trials(search: Search, folder: Path) -> None:
    """Print the trials of a search, the best first, and where its files are."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from potstill.report.names import key_names, value_title
    from potstill.report.scores import task_title
    from potstill.search.charts import settings_title
    from potstill.search.record import OWN

    names = key_names(list(search.space["keys"]))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("settings", overflow="fold")
    for title in (task_title(search.score), *(["p50 ms"] if "latency" in search.objectives else []), "s"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for trial in (ranked := search.ranked()):
        cells = ["–" if trial.score is None else f"{trial.score:.2f}"]
        cells += ["–" if trial.latency_ms is None else f"{trial.latency_ms:.2f}"] if "latency" in search.objectives else []
        state = "chosen" if trial.number == search.best else "front" if trial.number in search.front else trial.state
        said = [search.said(trial), f"{state}: {trial.why}" if trial.why else "" if state == "complete" else state]
        style = "bold" if trial.number == search.best else None
        title, words = settings_title(search, trial, names), ", ".join(filter(None, said))
        table.add_row(str(trial.number), escape(title), *cells, f"{trial.seconds:.0f}", escape(words), style=style)
    if all(search.said(trial) != OWN for trial in ranked):
        own = ", ".join(f"{names[key]} {value_title(value)}" for key, value in search.base.items() if value is not None)
        table.add_row("–", escape(own), *["–"] * (len(table.columns) - 3), f"{OWN}, not tried")
    Console().print(table)
    if search.at_majority:
        print("\nThe chosen run is no better than one answer to everything.")
    print(f"\nbest run: {folder / 'best'}\nreport: {folder / 'report.html'}")


def pairs(title: str, rows: list[tuple[str, str]]) -> None:
    """Print a title, and below it names and what they mean, one a line."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


def record(record: Record) -> None:
    """Print the scores and the costs of one model; below a labelled task's score what one answer to everything has."""
    from potstill.report.majority import majority_answer, majority_score
    from potstill.report.rows import always

    rows = [("file", _scored(record))]
    rows += [] if record.documents is None else [("queries by", record.model), ("documents by", record.documents)]
    for task, scores in record.scores.items():
        measures = {key: value for key, value in scores.items() if isinstance(value, float)}
        constant = {key: value for key in measures if (value := majority_score(scores, key)) is not None}
        rows.append((task, _figures(measures)))
        if constant:  # of a labelled task
            rows.append((f"  {always(majority_answer(scores))}", _figures(constant)))
    if record.cost is not None:
        cost = record.cost
        rows += [
            ("parameters", f"{cost.embedding_parameters / 1e6:.1f} M embedding + {cost.encoder_parameters / 1e6:.1f} M encoder"),
            ("weights", f"{cost.bytes / 1e6:.1f} MB"),
            ("latency", f"p50 {cost.latency_p50_ms:.2f} ms, p95 {cost.latency_p95_ms:.2f} ms at batch 1, {cost.threads} threads"),
            ("throughput", f"{cost.sentences_per_second:,.0f} sentences/s of mixed length"),
            ("peak memory", f"{cost.peak_memory_mb:,.0f} MB"),
        ]
    pairs(record.name, rows)


def _scored(record: Record) -> str:
    """The file that was scored, where it lies in the folder that was named, and what it is."""
    from potstill.report.shape import at_home
    from potstill.results import CONVERTED, ROLES

    part = ONNX if record.format == "onnx" else STUDENT
    home = at_home(record.model)
    names = [f"{part}/{name}" if (home / part / name).is_file() else name for name in record.files]
    kind = ROLES[record.role] if record.role in CONVERTED else "torch model"
    return f"{', '.join(names)} ({kind})" if names else kind


def _figures(measures: Mapping[str, float]) -> str:
    return "  ".join(f"{key} {value:.2f}" for key, value in measures.items())


def listing(kind: str) -> dict[str, str]:
    """List a kind.

    Args:
        kind: a name of KINDS.

    Returns:
        Every name of the kind → what it is.

    Raises:
        PotstillError: no such kind.
    """
    if kind not in KINDS:
        raise PotstillError("list", f"unknown kind {kind!r}", did_you_mean(kind, KINDS))
    return KINDS[kind].rows()
