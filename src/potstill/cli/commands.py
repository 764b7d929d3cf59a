"""The command line, one function a command. Heavy imports wait until a command needs them."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from potstill import __version__
from potstill.cli import show, voice
from potstill.errors import PotstillError, install, refuse
from potstill.machine import processes
from potstill.machine.files import is_full
from potstill.runtime.folder import TAGGING, TOKENIZER

if TYPE_CHECKING:
    from potstill.evaluation.subject import Subject
    from potstill.runtime.tokens import Text

app = typer.Typer(
    name="potstill",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _recipes(incomplete: str) -> list[str]:
    """What a shell may complete a recipe's name to; files complete themselves."""
    return [name for name in show.listing("recipes") if name.startswith(incomplete)]


RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A path, or a shipped name (potstill list recipes).", autocompletion=_recipes)
]
SetOption = Annotated[
    Optional[list[str]], typer.Option("--set", metavar="A.B=C", help="Override one value of the recipe; may be repeated.")
]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A run folder, a model folder, an exported ONNX folder, or a hub name.")
]


def _threads(threads: Optional[int]) -> Optional[int]:
    from potstill.machine.hardware import require_threads

    require_threads(threads)
    return threads


ThreadsOption = Annotated[Optional[int], typer.Option(min=1, callback=_threads, help="Threads to pin; default: every core.")]


def main() -> None:
    """Run the command that `sys.argv` names.

    A PotstillError is printed as one line for each mistake and ends with status 2, as do a package that is not installed,
    a full disk, and a system that starts no more threads.

    Raises:
        ModuleNotFoundError: a module of this package is missing, which is a bug.
        Exception: any other bug.
    """
    if processes.count() == 1:  # torchrun has signals of its own
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was written aside is cleared away
    try:
        with _one_voice():
            app()
    except PotstillError as error:
        voice.failed(error)
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "potstill":
            raise
        print(f"error: this needs {error.name}, which is not installed; {install('train')}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        said = _of_the_machine(error)
        if said is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        sys.exit(2)


def _of_the_machine(error: Exception) -> Optional[str]:
    """What to say of an error that is no bug, since the machine has no more to give; None: it may well be a bug."""
    if "can't start new thread" in str(error):
        return "threads: the system starts no more of them; end other programs, or raise `ulimit -u`"
    if is_full(error):
        return f"{getattr(error, 'filename', None) or tempfile.gettempdir()}: no space is left on the disk; free some"
    return None


def _one_voice() -> AbstractContextManager[None]:
    """Under torchrun, a context in which a mistake that all processes make is told once."""
    if processes.count() == 1:
        return nullcontext()
    from potstill.machine.distributed import one_voice

    return one_voice()


def _version(asked: bool) -> None:
    """Print the version and end, where it is asked for.

    Raises:
        Exit: where it is.
    """
    if asked:
        print(f"potstill {__version__}")
        raise typer.Exit


@app.callback()
def potstill(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and end.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors alone: no progress, no warnings.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Let the libraries speak too, and show where an error arose.")] = False,
) -> None:
    """Distil a BERT-sized encoder into a small, fast one, and score the very file that ships."""
    voice.choose(quiet=quiet, verbose=verbose and not quiet)
    if quiet and verbose:
        refuse("--quiet", "is given with --verbose", "drop one of them")


@app.command()
def check(recipe: RecipeArgument, overrides: SetOption = None) -> None:
    """Say what a recipe would do, or everything that is wrong with it, before any work."""
    from potstill.check.check import outline_recipe
    from potstill.recipe.file import read_recipe

    _quiet()
    parsed = read_recipe(recipe, overrides or [])
    show.pairs(parsed.name, outline_recipe(parsed, recipe))


@app.command()
def train(
    recipe: RecipeArgument,
    overrides: SetOption = None,
    out: Annotated[Optional[Path], typer.Option(help="The run folder; default: runs/<name of the recipe>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a broken run stopped.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Try every step on a few dozen rows, in runs/<name>-smoke; its scores mean nothing.")
    ] = False,
    log: Annotated[Optional[Path], typer.Option(metavar="FILE", help="Append progress, warnings and errors to this file.")] = None,
) -> None:
    """Run a recipe: teacher → student → ONNX → int8 → scores of the file that ships → report."""
    from potstill.results import run_folder
    from potstill.run.distil import distil

    _quiet(log)
    with _resumable():
        run = distil(recipe, overrides=overrides or [], out=out, resume=resume, smoke=smoke)
    if processes.is_main():
        show.finished(run_folder(run.name, out))


@app.command()
def search(
    recipe: RecipeArgument,
    space: Annotated[Path, typer.Option(help="The file that says what to try (YAML: sampler, keys).")],
    overrides: SetOption = None,
    out: Annotated[Optional[Path], typer.Option(help="The folder of the search; default: runs/<name of the recipe>-search.")] = None,
    storage: Annotated[Optional[str], typer.Option(help="URL of a database that workers share; default: search.db in that folder.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a search that was stopped.")] = False,
) -> None:
    """Try many settings of a recipe, choose by dev, train the best once more and only then read the tests."""
    from potstill.search.record import search_folder
    from potstill.search.search import search as run

    processes.require_one("search")
    _quiet()
    with _resumable():
        record = run(recipe, space, overrides=overrides or [], out=out, storage=storage, workers=workers, resume=resume)
    show.trials(record, search_folder(record.name, out))


@app.command(name="list", help=f"List what ships: {', '.join(kind.title for kind in show.KINDS.values())}.")
def list_(
    kind: Annotated[str, typer.Argument(metavar="|".join(show.KINDS))] = "recipes",
) -> None:
    """List the names of a kind of show.KINDS, each with what it means."""
    show.pairs(kind, list(show.listing(kind).items()))


@app.command()
def evaluate(
    model: ModelArgument,
    tasks: Annotated[str, typer.Option(help="Names with commas between them, `cost` among them (potstill list tasks).")] = "cost",
    data: Annotated[Path, typer.Option(help="Folder that holds senteval/, glue/ and retrieval/.")] = Path(),
    precision: Annotated[str, typer.Option(help="fp32 or int8 of an ONNX folder, torch-int8; auto: what ships.")] = "auto",
    pooling: Annotated[Optional[str], typer.Option(help="Of a torch model, instead of its own (potstill list poolings).")] = None,
    documents: Annotated[
        Optional[str], typer.Option(metavar="MODEL", help="Of retrieval: encodes the documents; the first MODEL then encodes the queries.")
    ] = None,
    json: Annotated[Optional[Path], typer.Option(help="Write the record to this file.")] = None,
    threads: ThreadsOption = None,
) -> None:
    """Score a model, or the very file that a run ships, and measure what it costs."""
    from potstill.evaluation.evaluate import evaluate as run

    _quiet()
    names = [task.strip() for task in tasks.split(",") if task.strip()]
    record = run(model, names, data, threads, precision=precision, pooling=pooling, documents=documents)
    if json is not None:
        from potstill.machine.files import write_text

        write_text(json, record.model_dump_json(indent=2) + "\n")
    show.record(record)


@app.command()
def export(
    model: ModelArgument,
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    int8: Annotated[bool, typer.Option("--int8", help="Add model_quantized.onnx, behind the quality gate (a run's own limits).")] = False,
    threads: ThreadsOption = None,
    only: Annotated[Optional[str], typer.Option(metavar="onnx", help="onnx: the ONNX files alone, without the torch model.")] = None,
) -> None:
    """Export a model for every reader: for torch, and as ONNX with pooling and normalisation inside the graph."""
    from potstill.run.export import export as run

    _quiet()
    folder = run(model, out, int8=int8, threads=threads, only=only)
    weights = sorted(path for kind in ("*.safetensors", "*.onnx") for path in folder.rglob(kind))
    show.pairs(str(folder), [(path.relative_to(folder).as_posix(), f"{path.stat().st_size / 1e6:,.1f} MB") for path in weights])


@app.command()
def encode(
    model: ModelArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Texts, one a line (.gz too).")],
    out: Annotated[Path, typer.Option(help="The .npy file to write: one row a line of FILE.")],
    threads: ThreadsOption = None,
    dimensions: Annotated[int | None, typer.Option(help="Keep the first so many of each vector; default: all.")] = None,
    vectors: Annotated[str, typer.Option(help="Of a vector's numbers: float32, int8, binary or ubinary.")] = "float32",
) -> None:
    """Turn every line of a file into a vector."""
    import numpy as np

    from potstill.data.files.lines import read_lines
    from potstill.evaluation.subject import open_subject
    from potstill.machine.files import write_aside
    from potstill.runtime.decode import require_finite
    from potstill.runtime.vectors import cut, quantize, require_dimensions

    _quiet()
    texts = [line for _, line in read_lines(file)]
    subject = open_subject(model, threads=threads)
    width = require_dimensions(model, dimensions, subject.dimension)
    quantize(np.zeros((1, width), dtype=np.float32), vectors)  # what is wrong with it is told before the work
    whole = subject.encode(texts, "encode")
    require_finite(whole, model, "vectors")
    found = quantize(cut(whole, width, subject.unit), vectors)
    with write_aside(out) as aside, aside.open("wb") as stream:
        np.save(stream, found)
    show.pairs(str(out), [("vectors", f"{found.shape[0]:,} × {found.shape[1]} {found.dtype}")])


@app.command()
def predict(
    model: ModelArgument,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Texts, one a line; .csv, .tsv, .jsonl or .ndjson with text and, for pairs, text_pair; "
            "to tag words, .jsonl or .ndjson with tokens, .conll with one word a line, or .txt with either words or texts. "
            "Each may end in .gz too.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The .jsonl file to write: one object a text, in the file's order.")],
    threads: ThreadsOption = None,
) -> None:
    """Label, score or tag every text of a file with a model that has a head."""
    from json import dumps

    from potstill.data.files.inputs import read_file
    from potstill.evaluation.subject import open_subject
    from potstill.machine.files import write_text
    from potstill.runtime.decode import answers, require_finite

    _quiet()
    subject = open_subject(model, threads=threads)
    if subject.predict is None:
        refuse(model, "has no head: it gives vectors, no labels", "use `potstill encode`, or name a model that was fine-tuned")
    texts = read_file(file, subject.head)
    if subject.head == TAGGING:
        texts = _split(texts, subject)
    logits = subject.run(texts, "predict")
    require_finite(logits, model, "logits")
    found = answers(subject.head, subject.labels, logits, texts)
    write_text(out, "".join(dumps(answer, ensure_ascii=False) + "\n" for answer in found))
    show.pairs(str(out), [("predictions", f"{len(found):,}"), ("kind", subject.head), ("labels", ", ".join(subject.labels) or "a number")])


def _split(texts: list[Text], subject: Subject) -> list[Text]:
    """Texts to be tagged as lists of words, split as the model's tokenizer splits them."""
    if all(isinstance(text, list) for text in texts):
        return texts
    from potstill.runtime.tokens import load_tokenizer, words_of

    if subject.format == "onnx":
        tokenizer = load_tokenizer(subject.path / TOKENIZER, 1 << 20)
    else:
        from potstill.models import loading

        tokenizer = loading.load_tokenizer(subject.path).backend_tokenizer
    return [words_of(tokenizer, text) if isinstance(text, str) else text for text in texts]


@app.command()
def compare(
    names: Annotated[Optional[list[str]], typer.Argument(metavar="[RUN|MODEL]...", help="Run folders; with --like models too.")] = None,
    baseline: Annotated[
        Optional[list[str]],
        typer.Option(metavar="RUN", help="The same student without distillation, may be repeated; default: found among the runs."),
    ] = None,
    html: Annotated[Optional[Path], typer.Option(help="The page to write.")] = None,
    csv: Annotated[Optional[Path], typer.Option(help="The table to write with every digit.")] = None,
    markdown: Annotated[Optional[Path], typer.Option(help="The table to write as Markdown.")] = None,
    like: Annotated[Optional[str], typer.Option(help="A publication whose figures stand beside them (potstill list presets).")] = None,
    data: Annotated[Optional[Path], typer.Option(help="With --like: the tasks' folder, to score models and to time all of them.")] = None,
    threads: ThreadsOption = None,
) -> None:
    """Set runs side by side, seeds as one, against the same student without distillation, and beside what a publication says."""
    from potstill.comparison.compare import compare as run

    _quiet()
    comparison, table = run(names or [], html, baseline=baseline or [], csv=csv, markdown=markdown, like=like, data=data, threads=threads)
    show.compared(comparison, table, {"report": html, "csv": csv, "markdown": markdown})


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="The folder to work in.")] = Path("runs/quickstart"),
    overrides: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a broken run stopped.")] = False,
) -> None:
    """Distil a search encoder for this machine's Python documentation, offline, in minutes."""
    from rich.console import Console

    from potstill.cli import quickstart as steps

    processes.require_one("quickstart")
    console = Console()
    _quiet()
    steps.teacher_folder()  # checked before anything is collected
    console.print("[bold]teacher[/]   the real all-MiniLM-L6-v2, checksum right")
    data, run = out / "data", out / "run"
    if not (resume and steps.is_collected(data)):
        if run.exists() and not resume:
            refuse(run, "holds a run already", "add --resume, choose another --out, or delete it")
        docs = steps.collect(data, seed=13)
        console.print(
            f"[bold]texts[/]     {docs.sentences:,} sentences of docstrings and pydoc topics\n"
            f"[bold]task[/]      find a docstring's rest by its first line: {docs.held_out:,} held out of {docs.documents:,}"
        )
    with _resumable():
        steps.train(data, run, overrides=tuple(overrides or ()), resume=resume)
    show.finished(run)
    show.answers(steps.answer(run, data))
    print(f"\nNow open {run / 'report.html'}")


@contextmanager
def _resumable() -> Iterator[None]:
    """On Ctrl-C, say how to go on.

    Raises:
        Exit: with status 130, where the block was interrupted.
    """
    try:
        yield
    except KeyboardInterrupt:
        if processes.is_main():
            print("stopped; the same command with --resume takes it up", file=sys.stderr)
        raise typer.Exit(130) from None


def _quiet(log: Optional[Path] = None) -> None:
    """Keep the libraries' notices off the screen, and lines of progress on it or in a file; errors still come through."""
    voice.begin(log)
