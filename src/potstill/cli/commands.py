"""The command line, one function a command. Heavy imports wait until a command needs them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Optional, TextIO

import typer

from potstill import __version__
from potstill.cli import show, voice
from potstill.errors import refuse
from potstill.machine import processes
from potstill.machine.files import require_nameable
from potstill.runtime.folder import ENGINES, ONNXRUNTIME

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
TorchArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A run folder, a model folder (a bundle is one too), or a hub name; no ONNX alone.")
]


InputFormat = Annotated[
    Optional[str], typer.Option(help="Format of FILE: text, csv, tsv, jsonl or conll; default: by its ending, text for standard input.")
]


def _threads(threads: Optional[int]) -> Optional[int]:
    from potstill.machine.hardware import require_threads

    require_threads(threads)
    return threads


RayOption = Annotated[
    Optional[str],
    typer.Option(metavar="auto|ADDRESS", help="Share the work of a Ray cluster's machines; auto: of the one that this machine is in."),
]
ThreadsOption = Annotated[Optional[int], typer.Option(min=1, callback=_threads, help="Threads to pin; default: every core.")]
STOPPED = 130  # the status of a command that Ctrl-C ended, as a shell has it


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
    """Say what a recipe would do, or everything that is wrong with it. Nothing is trained."""
    from potstill.check.check import outline_recipe
    from potstill.recipe.file import read_recipe

    voice.begin()
    parsed = read_recipe(recipe, overrides or [])
    show.pairs(parsed.name, outline_recipe(parsed, recipe))


@app.command()
def init(
    csv: Annotated[
        Optional[list[str]],
        typer.Option("--csv", "--table", metavar="FILE", help="Texts with labels: .csv, .tsv, .jsonl, .parquet or a saved data set."),
    ] = None,
    conll: Annotated[Optional[list[str]], typer.Option(metavar="FILE", help="Tagged words: a word and its tag a line.")] = None,
    texts: Annotated[Optional[list[str]], typer.Option(metavar="FILE", help="Texts without labels, a line each or in a table.")] = None,
    pairs: Annotated[Optional[list[str]], typer.Option(metavar="FILE", help="Pairs of texts in a table: a query and its document.")] = None,
    text: Annotated[Optional[str], typer.Option(metavar="COLUMN", help="Column of the text.")] = None,
    text_pair: Annotated[Optional[str], typer.Option(metavar="COLUMN", help="Column of a pair's second text.")] = None,
    label: Annotated[Optional[str], typer.Option(metavar="COLUMN", help="Column of the label.")] = None,
    group: Annotated[Optional[str], typer.Option(metavar="COLUMN", help="Column: rows with the same value stay in one split.")] = None,
    kind: Annotated[
        Optional[str], typer.Option(help="classification, regression, multilabel, tagging; default: found by looking at the labels.")
    ] = None,
    labels: Annotated[
        Optional[str], typer.Option(metavar="A,B,…", help="The labels' names in the order of the teacher's LABEL_0, LABEL_1, ….")
    ] = None,
    teacher: Annotated[
        Optional[str], typer.Option(metavar="MODEL", help="A model fine-tuned on these labels; for texts without labels an encoder.")
    ] = None,
    student: Annotated[
        Optional[str], typer.Option(metavar="MODEL", help="The model that the student starts from; default: the recipe's.")
    ] = None,
    out: Annotated[Optional[Path], typer.Option(metavar="FILE", help="The recipe to write; default: NAME.yaml, after the data.")] = None,
) -> None:
    """Write a recipe for data of your own, and check it. At a terminal it asks for what is not given.

    Several files of one kind: the option again. Files called train, dev and test are these splits.
    """
    from potstill.cli.init import completed
    from potstill.cli.own_recipe import own_recipe
    from potstill.machine.files import kind_of_place, write_text

    voice.begin()
    data = {"csv": csv or [], "conll": conll or [], "texts": texts or [], "pairs": pairs or []}
    said = {"text": text, "text_pair": text_pair, "label": label, "group": group, "kind": kind, "teacher": teacher, "student": student}
    names = tuple(name.strip() for name in labels.split(",")) if labels else ()
    asks = show.ask if sys.stdin.isatty() and sys.stdout.isatty() else None
    if out is not None and kind_of_place(out) is not None:
        refuse(out, "is there already", "name another file with --out")
    found = own_recipe(completed(data, asks, labels=names, **said), out)
    file = out or Path(f"{found.name}.yaml")
    if kind_of_place(file) is not None:
        refuse(file, "is there already", "name another file with --out")
    write_text(file, found.text)
    show.pairs(str(file), [("like", found.base), *(("", reason) for reason in found.why), ("next", f"potstill train {file}")])


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
    ray: RayOption = None,
    workers: Annotated[Optional[int], typer.Option(min=1, help="With --ray: processes that train together; default: one.")] = None,
) -> None:
    """Run a recipe: teacher → student → ONNX → int8 → scores of the file that ships → report."""
    from potstill.results import run_folder
    from potstill.run.distil import distil

    if ray is None and workers is not None:
        refuse("--workers", "works only with --ray", "on one machine start several processes with torchrun")
    voice.begin(log)
    with _resumable():
        if ray is None:
            run = distil(recipe, overrides=overrides or [], out=out, resume=resume, smoke=smoke)
        else:
            from potstill.ray.train import train as on_ray

            processes.require_one("--ray")
            run = on_ray(recipe, address=ray, workers=workers or 1, overrides=overrides or [], out=out, resume=resume, smoke=smoke)
    if processes.is_main():
        show.finished(run_folder(run.name, out))


@app.command()
def cache(
    recipe: RecipeArgument,
    overrides: SetOption = None,
    ray: RayOption = None,
    workers: Annotated[Optional[int], typer.Option(min=1, help="With --ray: at once; default: one a GPU, else one a core.")] = None,
) -> None:
    """Write what a recipe's teacher says of its texts to disk, where `train` finds it; nothing is trained."""
    processes.require_one("cache")
    if ray is None and workers is not None:
        refuse("--workers", "works only with --ray", "without it this process does the work, on every core")
    voice.begin()
    if ray is None:
        from potstill.run.cache import cache_teacher

        found = cache_teacher(recipe, overrides or [])
    else:
        from potstill.ray.cache import cache_on

        found = cache_on(ray, recipe, overrides or [], workers)
    for kept in found:
        show.pairs(str(kept.place), [("texts", f"{kept.texts:,}"), ("kept", ", ".join(kept.fields)), ("next", f"potstill train {recipe}")])


@app.command()
def search(
    recipe: RecipeArgument,
    space: Annotated[Path, typer.Option(help="The file that says what to try (YAML: sampler, keys).")],
    overrides: SetOption = None,
    out: Annotated[Optional[Path], typer.Option(help="The folder of the search; default: runs/<name of the recipe>-search.")] = None,
    storage: Annotated[Optional[str], typer.Option(help="URL of a database that workers share; default: search.db in that folder.")] = None,
    workers: Annotated[
        Optional[int],
        typer.Option(min=1, help="Processes on this machine; default: one. With --ray: trials at once; default: as many as there is room."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a search that was stopped.")] = False,
    ray: RayOption = None,
    cores: Annotated[Optional[int], typer.Option(min=1, help="With --ray: cores of a trial; default: one.")] = None,
) -> None:
    """Try many settings of a recipe, choose by dev, train the best once more and only then read the tests."""
    from potstill.search.record import search_folder

    processes.require_one("search")
    if ray is None and cores is not None:
        refuse("--cores", "works only with --ray", "set OMP_NUM_THREADS for processes of this machine")
    voice.begin()
    given: dict[str, Any] = {"overrides": overrides or [], "out": out, "storage": storage, "resume": resume}
    with _resumable():
        if ray is None:
            from potstill.search.search import search as run

            record = run(recipe, space, workers=workers or 1, **given)
        else:
            from potstill.ray.search import search as on_ray

            record = on_ray(recipe, space, address=ray, cores=cores or 1, workers=workers, **given)
    show.trials(record, search_folder(record.name, out))


@app.command(name="list", help=f"List what ships: {', '.join(kind.title for kind in show.KINDS.values())}.")
def list_(
    kind: Annotated[str, typer.Argument(metavar="|".join(show.KINDS))] = "recipes",
) -> None:
    """List the names of a kind of show.KINDS, each with what it means."""
    show.listed(kind)


@app.command(name="show")
def show_(
    recipe: RecipeArgument,
    whole: Annotated[bool, typer.Option("--whole", help="With what it is `like` filled in; without remarks.")] = False,
) -> None:
    """Print a recipe as it ships, to be read, or copied and changed."""
    from potstill.recipe.file import find_recipe
    from potstill.recipe.file import whole as filled
    from potstill.recipe.yaml_text import dump

    print((dump(filled(recipe)) if whole else find_recipe(recipe)[1]).rstrip())


@app.command()
def evaluate(
    model: ModelArgument,
    tasks: Annotated[
        Optional[str],
        typer.Option(help="Names with commas between them (potstill list tasks); default: of a run what its recipe evaluates, else cost."),
    ] = None,
    data: Annotated[
        Optional[Path],
        typer.Option(help="Folder that holds senteval/, glue/ and retrieval/, or a run whose data is taken; default: of a run its own."),
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32 or int8 of an ONNX folder, or torch-int8; auto: the file that ships.")] = "auto",
    pooling: Annotated[Optional[str], typer.Option(help="Pooling of a torch model, instead of its own (potstill list poolings).")] = None,
    documents: Annotated[
        Optional[str],
        typer.Option(metavar="MODEL", help="For retrieval: the model that encodes the documents; the first MODEL encodes the queries."),
    ] = None,
    json: Annotated[Optional[Path], typer.Option(help="Write the record to this file.")] = None,
    threads: ThreadsOption = None,
    engine: Annotated[str, typer.Option(metavar="|".join(ENGINES), help="What runs an ONNX file.")] = ONNXRUNTIME,
) -> None:
    """Score a model, or the very file that a run ships, and measure what it costs."""
    from potstill.evaluation.evaluate import evaluate as run

    voice.begin()
    record = run(model, tasks, data, threads, precision=precision, pooling=pooling, documents=documents, engine=engine)
    if json is not None:
        from potstill.machine.files import write_text

        write_text(json, record.model_dump_json(indent=2) + "\n")
    show.record(record)


@app.command()
def export(
    model: TorchArgument,
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    int8: Annotated[bool, typer.Option("--int8", help="Add model_quantized.onnx, behind the quality gate (a run's own limits).")] = False,
    threads: ThreadsOption = None,
    only: Annotated[Optional[str], typer.Option(metavar="onnx", help="onnx: the ONNX files alone, without the torch model.")] = None,
    tables: Annotated[
        Optional[str],
        typer.Option(metavar="int8|int4", help="With --int8, embedding tables; int4: half as large. Default: as the run has it, or int8."),
    ] = None,
) -> None:
    """Export a model for every reader: for torch, and as ONNX with pooling and normalisation inside the graph."""
    from potstill.run.export import export as run

    voice.begin()
    show.exported(run(model, out, int8=int8, threads=threads, only=only, tables=tables))


@app.command()
def encode(
    model: ModelArgument,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Texts, one a line; .csv, .tsv, .jsonl or .parquet with text; .gz too; a URL that fsspec opens; - for standard input. "
            "Several with --ray.",
        ),
    ],
    out: Annotated[
        str, typer.Option(help="What to write: .npy, .parquet, .jsonl or .csv, a folder of shards (no ending), - for standard output.")
    ],
    threads: ThreadsOption = None,
    dimensions: Annotated[int | None, typer.Option(help="Keep only the first numbers of each vector, this many; default: all.")] = None,
    vectors: Annotated[str, typer.Option(help="Type of a vector's numbers: float32, int8, binary or ubinary.")] = "float32",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a broken encoding stopped.")] = False,
    input_format: InputFormat = None,
    output_format: Annotated[
        Optional[str], typer.Option(help="npy, parquet, jsonl, csv or shards; default: by the ending, jsonl for standard output.")
    ] = None,
    ray: RayOption = None,
    workers: Annotated[Optional[int], typer.Option(min=1, help="With --ray: at once; default: one a GPU, else one a core.")] = None,
    no_text: Annotated[bool, typer.Option("--no-text", help="With --ray: write ids and vectors alone.")] = False,
) -> None:
    """Turn every text of a file into a vector, in its order; memory does not grow with the file."""
    given: dict[str, Any] = {"dimensions": dimensions, "precision": vectors, "resume": resume}
    if ray is not None:
        from potstill.ray.encode import encode_on

        for option, value in (("--threads", threads), ("--input-format", input_format), ("--output-format", output_format)):
            if value is not None:
                refuse(option, "is not for --ray", "leave it out: --workers says how many share the cores, and names tell the forms")
        voice.begin()
        with _resumable():
            done = encode_on(ray, model, files, out, workers=workers, texts=not no_text, **given)
            show.pairs(out, [("vectors", f"{done.rows:,} × {done.width} {done.kind}"), ("shards", f"{done.shards:,}")])
        return
    if workers is not None or no_text or len(files) > 1:
        place = "--workers" if workers is not None else "--no-text" if no_text else "FILE"
        problem = "works only with --ray" if len(files) == 1 else f"{len(files)} files are for --ray"
        refuse(place, problem, "add --ray auto, or leave it out")
    from potstill.run.encode import encode_file

    voice.begin()
    with _standard_output(out) as stream, _resumable() if stream is None else nullcontext():
        done = encode_file(
            model, files[0], out, threads=threads, input_format=input_format, output_format=output_format, stream=stream, **given
        )
        show.pairs(out, [("vectors", f"{done.rows:,} × {done.width} {done.kind}")])


@app.command()
def demo(
    model: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, a bundle, or an exported ONNX folder.")],
    texts: Annotated[Path, typer.Option(help="What is searched: a text a line, or .jsonl, .csv, .tsv with text and maybe title.")],
    out: Annotated[Optional[Path], typer.Option(help="The folder to write; default: RUN-demo, beside the run.")] = None,
    questions: Annotated[Optional[Path], typer.Option(help="Examples that the page offers, one a line.")] = None,
    teacher: Annotated[
        Optional[str],
        typer.Option(metavar="MODEL", help="The model whose hits are shown beside; default: the run's teacher, where its folder exists."),
    ] = None,
    npm: Annotated[
        Optional[Path], typer.Option(help="A folder with transformers.js: what `npm pack` wrote, or node_modules; default: npm fetches it.")
    ] = None,
) -> None:
    """Write a page that searches texts by meaning in the browser, without a server of its own and without a network."""
    from potstill.demo.demo import write_demo

    voice.begin()
    show.demo(write_demo(model, texts, out, questions=questions, teacher=teacher, npm=npm))


@app.command()
def predict(
    model: ModelArgument,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Texts, one a line; .csv, .tsv, .jsonl or .ndjson with text and, for pairs, text_pair; "
            "to tag words, .jsonl or .ndjson with tokens, .conll with one word a line, or .txt with either words or texts. "
            "Each may end in .gz too; - for standard input.",
        ),
    ],
    out: Annotated[str, typer.Option(help="The file to write, one answer a text, in order: .jsonl or .csv; - for standard output.")],
    threads: ThreadsOption = None,
    input_format: InputFormat = None,
    output_format: Annotated[Optional[str], typer.Option(help="jsonl or csv; default: by the ending.")] = None,
) -> None:
    """Label, score or tag every text of a file with a model that has a head."""
    from potstill.run.predict import predict_file

    voice.begin()
    with _standard_output(out) as stream:
        done = predict_file(model, file, out, threads=threads, input_format=input_format, output_format=output_format, stream=stream)
        show.pairs(out, [("predictions", f"{done.rows:,}"), ("kind", done.head), ("labels", ", ".join(done.labels) or "a number")])


@app.command()
def compare(
    names: Annotated[Optional[list[str]], typer.Argument(metavar="[RUN|MODEL]...", help="Run folders; with --like models too.")] = None,
    baseline: Annotated[
        Optional[list[str]],
        typer.Option(metavar="RUN", help="A baseline run without distillation; may be repeated; default: found among the runs."),
    ] = None,
    html: Annotated[Optional[Path], typer.Option(help="The page to write.")] = None,
    csv: Annotated[Optional[Path], typer.Option(help="The table to write with every digit.")] = None,
    markdown: Annotated[Optional[Path], typer.Option(help="The table to write as Markdown.")] = None,
    like: Annotated[Optional[str], typer.Option(help="A publication whose figures stand beside them (potstill list presets).")] = None,
    data: Annotated[Optional[Path], typer.Option(help="With --like: the tasks' folder, to score models and to time all of them.")] = None,
    threads: ThreadsOption = None,
) -> None:
    """Compare runs with the baseline without distillation, or with the figures of a publication. Seeds are one row."""
    from potstill.comparison.compare import compare as run

    voice.begin()
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
    require_nameable(out)
    console = Console()
    voice.begin()
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
    show.next_steps(run, *steps.write_documents(data))


@contextmanager
def _standard_output(out: str) -> Iterator[Optional[TextIO]]:
    """Standard output for the results alone where `out` is "-", else None. All that is said to the user then goes to standard error.

    Raises:
        Exit: with status 141, as a shell has it, where whoever reads it has stopped reading.
    """
    if out != "-":
        yield None
        return
    stream = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="")
    try:
        with redirect_stdout(sys.stderr):
            yield stream
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still in the buffer has no reader
        raise typer.Exit(141) from None
    finally:
        stream.detach()


@contextmanager
def _resumable() -> Iterator[None]:
    """On Ctrl-C, say how to go on.

    Raises:
        Exit: with the status STOPPED, where the block was interrupted.
    """
    try:
        yield
    except KeyboardInterrupt:
        if processes.is_main():
            print("stopped; the same command with --resume takes it up", file=sys.stderr)
        raise typer.Exit(STOPPED) from None
