"""What this package can do with each family of encoders, tried on tiny models: the table of docs/architectures.md.

`make architectures` writes it anew.
"""

from __future__ import annotations

import copy
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import transformers
from torch.nn.functional import normalize
from transformers import AutoModelForSequenceClassification

from helpers.families import FAMILIES, LAYERS, build_family, save_family
from helpers.stages import spec
from potstill.deploy.gate import Limits
from potstill.deploy.onnx import export_onnx
from potstill.deploy.quantize import quantize_int8
from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel
from potstill.models.loading import load_encoder, require_states, try_network
from potstill.models.output import EMBEDDING, INSIDE, LOGITS, EncoderOutput, Field
from potstill.models.recording import prepare_inside
from potstill.objective.objective import Objective
from potstill.objective.sizes import Sizes, TermSpec
from potstill.runtime.tokens import TokenizedTexts, tokenize
from potstill.student.head_pruning import prune_heads
from potstill.student.low_rank import factor
from potstill.student.transformer import cut_student
from potstill.teacher.answers import LiveTeacher, prepare_teacher
from potstill.training.distillation import Distillation

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"
TEXTS = ["the river sees a cat", "owl", "a cat finds the river", "the village"]  # of unlike length, so that three have padding
CPU = torch.device("cpu")
LOOSE = Limits(
    max_drop=100, min_cosine_mean=0.8, min_cosine=-1, min_invariance=-1, min_agreement=0, max_error=100, min_speedup=0
)  # a network of random weights is no measure of what rounding costs


class Subject:
    """A family's tiny model.

    Args:
        name: of FAMILIES.
        folder: where its files are written.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    @cached_property
    def saved(self) -> Path:
        """Its folder."""
        return save_family(self.name, self.folder / "model")

    @cached_property
    def loaded(self) -> EncoderModel | PotstillError:
        """The model, or why it is refused."""
        try:
            return load_encoder(self.saved)
        except PotstillError as error:
            return error

    def model(self) -> EncoderModel:
        """A copy of the model. A PotstillError where it is refused."""
        if isinstance(self.loaded, PotstillError):
            raise self.loaded
        return copy.deepcopy(self.loaded)

    def tokens(self, model: EncoderModel) -> TokenizedTexts:
        """TEXTS in its pieces."""
        return tokenize(model.tokenizer, TEXTS, model.max_length)

    def inputs(self, model: EncoderModel) -> dict[str, torch.Tensor]:
        """TEXTS as one padded batch."""
        padded = self.tokens(model).pad(np.arange(len(TEXTS)), model.pad_id)
        return {key: torch.from_numpy(padded[key]) for key in ("input_ids", "attention_mask")}


def vectors(subject: Subject) -> None:
    """They are the mean of the last hidden states that transformers itself gives; a student learns them in two steps."""
    model = subject.model()
    inputs = subject.inputs(model)
    with torch.no_grad():
        states = build_family(subject.name)(**inputs).last_hidden_state
        found = model(**inputs).embedding
    mask = inputs["attention_mask"][..., None]
    torch.testing.assert_close(found, normalize((states * mask).sum(1) / mask.sum(1), dim=-1), atol=1e-5, rtol=0)
    _two_steps(subject, copy.deepcopy(model), model, [spec("embedding_cosine")])


def padding(subject: Subject) -> None:
    """A text's vector is the same alone and beside longer texts."""
    model = subject.model()
    together, alone = model.encode(TEXTS, batch_tokens=1 << 16), model.encode(TEXTS, batch_tokens=1)
    if np.abs(together - alone).max() > 1e-5:
        raise PotstillError("vectors", "a text's vector changes with the padding behind it", "")


def layers(subject: Subject) -> None:
    """A teacher's layer gives what it gives in the whole network."""
    network = subject.model().network
    require_states(network, try_network(network, "terms"), "terms")
    for number in range(LAYERS + 1):
        model, whole, wanted = subject.model(), subject.model(), [Field("hidden_states", number), Field("mean_states", number)]
        inputs = subject.inputs(model)
        with torch.no_grad():
            expected, found = whole(**inputs, reads=wanted), prepare_teacher(model, wanted)(**inputs, reads=wanted)
        for field in wanted:
            torch.testing.assert_close(found[field], expected[field], atol=1e-5, rtol=1e-5)


def attention(subject: Subject) -> None:
    """What is recorded is what transformers' weights are the softmax of, and changes no vector; three losses learn from it."""
    model, plain = subject.model(), subject.model()
    inputs = subject.inputs(model)
    wanted = [Field(name, number) for name in sorted(INSIDE) for number in range(1, LAYERS + 1)]
    prepare_inside(model.network, wanted)
    plain.network.set_attn_implementation("eager")
    with torch.no_grad():
        output, expected = model(**inputs, reads=[EMBEDDING, *wanted]), plain(**inputs)
        weights = plain.backbone(**inputs, output_attentions=True).attentions
    torch.testing.assert_close(output.embedding, expected.embedding, atol=1e-6, rtol=0)
    real = inputs["attention_mask"].bool()
    for number, theirs in enumerate(weights, start=1):
        scores = output[Field("attention_scores", number)]
        assert torch.isfinite(scores).all() and scores.std() > 1e-3
        # Where they are 0 the network's own mask was: padding, or tokens beyond the window.
        ours = scores.masked_fill(theirs == 0, float("-inf")).softmax(-1)
        torch.testing.assert_close(ours.transpose(1, 2)[real], theirs.transpose(1, 2)[real], atol=1e-5, rtol=0)
        assert {output[Field(name, number)].shape[:2] for name in INSIDE - {"attention_scores"}} == {real.shape}
    relations = [spec("relation", pairs=[(1, LAYERS)], heads=2, of=name) for name in ("queries", "keys", "values")]
    terms = [spec("attention_mse", pairs=[(1, LAYERS)]), spec("attention_kl", pairs=[(1, LAYERS)]), *relations]
    student = copy.deepcopy(plain)
    _two_steps(subject, student, plain, terms)


def logits(subject: Subject) -> None:
    """Those of a classification head are transformers' own."""
    try:
        folder = save_family(subject.name, subject.folder / "head", AutoModelForSequenceClassification, num_labels=3)
    except ValueError as error:  # transformers has no such class
        raise PotstillError("logits", "transformers has no class of it with a head for classification", "") from error
    model = load_encoder(folder)
    assert (model.head, len(model.labels)) == ("classification", 3)
    inputs = subject.inputs(model)
    theirs = build_family(subject.name, AutoModelForSequenceClassification, num_labels=3)
    with torch.no_grad():
        expected = theirs(**inputs).logits
        found = prepare_teacher(model, [LOGITS])(**inputs, reads=[LOGITS]).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def cut(subject: Subject) -> None:
    """Its last layer alone learns from both, and is the same when saved and loaded again."""
    source = subject.model()
    student = cut_student(source, [LAYERS], max_length=source.max_length)
    _two_steps(subject, student, source, [spec("embedding_cosine"), spec("hidden_mse", pairs=[(1, LAYERS)])])
    student.save(subject.folder / "cut")
    again = load_encoder(subject.folder / "cut")
    assert len(again.layers) == 1 and again.max_length == student.max_length
    np.testing.assert_allclose(again.encode(TEXTS), student.encode(TEXTS), atol=1e-6, rtol=0)  # by another way of computing attention


def heads(subject: Subject) -> None:
    """One head of two is left out."""
    model = subject.model()
    prune_heads(model, 1, subject.tokens(model))
    assert model.heads == 1 and np.isfinite(model.encode(TEXTS)).all()


def ranks(subject: Subject) -> None:
    """Token table and feed-forward matrices become products of two thin ones."""
    model = subject.model()
    before = sum(model.parameter_counts())
    factor(model, embedding=4, ffn=4)
    assert sum(model.parameter_counts()) < before and np.isfinite(model.encode(TEXTS)).all()


def export(subject: Subject) -> None:
    """The ONNX file gives what torch gives, to 1e-4; deploy/onnx.py itself compares them."""
    export_onnx(subject.model(), subject.folder / "onnx", TEXTS)


def int8(subject: Subject) -> None:
    """The exported graph can be rounded and run."""
    if not (subject.folder / "onnx").is_dir():
        export(subject)
    quantize_int8(subject.folder / "onnx", texts=TEXTS * 4, limits=LOOSE, threads=1)


#: Columns of the table, and what each tries: it returns where the family can, and raises a PotstillError where it is refused.
FAST: dict[str, Callable[[Subject], None]] = {
    "vectors": vectors,
    "padding": padding,
    "layers": layers,
    "attention": attention,
    "logits": logits,
    "cut": cut,
    "heads": heads,
    "ranks": ranks,
}
SLOW: dict[str, Callable[[Subject], None]] = {"export": export, "int8": int8}
MEANING = {
    "vectors": "a teacher of vectors; they are those that transformers itself gives",
    "padding": "a text's vector does not hang on the texts beside it",
    "layers": "a teacher of hidden states, layer by layer",
    "attention": "queries, keys, values and attention scores can be read, of teacher and student (TinyBERT, MiniLM, MiniLMv2)",
    "logits": "a teacher of a classification head's logits",
    "cut": "a student that keeps some of the layers (`student.layers`)",
    "heads": "a student of fewer heads (`student.keep_heads`)",
    "ranks": "a student of thin matrices (`student.embedding_rank`, `student.ffn_rank`)",
    "export": "an ONNX file that gives what torch gives",
    "int8": "that file rounded to int8",
}


def answers(name: str, columns: Iterable[str], folder: Path) -> dict[str, str]:
    """What a family can do: column → "yes", or the words that it is refused with. Any error but a PotstillError comes through.

    Args:
        name: of FAMILIES.
        columns: of FAST or SLOW.
        folder: an empty one, for its files.
    """
    transformers.logging.set_verbosity_error()
    subject = Subject(name, folder)
    found = {}
    for column in columns:
        try:
            (FAST | SLOW)[column](subject)
            found[column] = "yes"
        except PotstillError as error:
            found[column] = _words(error, subject)
    return found


def _words(error: PotstillError, subject: Subject) -> str:
    """A refusal without what is this machine's or this tiny model's: its folder, the size of a difference."""
    place = "" if str(subject.folder) in error.place else f"{error.place}: "
    words = f"{place}{error.problem}" + (f"; {error.remedy}" if error.remedy else "")
    words = re.sub(r"\d\.\de[-+]\d\d(?= between)", "more", " ".join(words.split()))
    words = re.sub(r"(torch\.onnx|exported graph) \(.*\)", r"\1", words)  # in torch's and onnxruntime's own words
    return words.replace(str(subject.folder), "…").replace("|", "\\|")


def _two_steps(subject: Subject, student: EncoderModel, teacher: EncoderModel, terms: Sequence[TermSpec]) -> None:
    """Two steps of training a student, whose weights all stay finite and some of whose move."""
    widths = [Sizes(model.dimension, model.width) for model in (student, teacher)]
    objective = Objective(list(terms), *widths)
    data = subject.tokens(student)
    prepare_inside(student.network, objective.student_reads, "eager")
    taught = LiveTeacher(prepare_teacher(copy.deepcopy(teacher), objective.teacher_reads), data, objective.teacher_reads)
    distillation = Distillation(student.train().requires_grad_(True), objective)
    optimizer = torch.optim.SGD(distillation.parameters(), lr=0.01)
    before = [parameter.detach().clone() for parameter in student.parameters()]
    for rows in (np.array([0, 1]), np.array([2, 3])):
        batch = {key: torch.from_numpy(value) for key, value in data.pad(rows, student.pad_id).items()}
        output: EncoderOutput = taught(rows, CPU)
        with torch.random.fork_rng(devices=[]):  # of dropout
            torch.manual_seed(0)
            loss, _ = distillation(batch, output)
        assert torch.isfinite(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    student.eval()
    assert all(torch.isfinite(parameter).all() for parameter in student.parameters())
    assert any(not torch.equal(*pair) for pair in zip(before, student.parameters(), strict=True))


def rows_of(page: str) -> dict[str, dict[str, str]]:
    """The table of a page: family → column → "yes", or the words of the refusal."""
    notes = dict(re.findall(r"^(\d+)\. (.*)$", page, re.MULTILINE))
    lines = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in page.splitlines() if line.startswith("| ")]
    head, *body = lines
    return {
        row[0].strip("`"): {
            column: cell if cell == "yes" else notes[cell.removeprefix("no ")].replace("NAME", row[0].strip("`"))
            for column, cell in zip(head[1:], row[1:], strict=True)
        }
        for row in body
    }


def page_of(rows: dict[str, dict[str, str]]) -> str:
    """The page with a table: family → column → "yes", or the words of the refusal, which become notes below it."""
    columns = list(MEANING)
    notes: dict[str, int] = {}

    def cell(name: str, words: str) -> str:
        return "yes" if words == "yes" else f"no {notes.setdefault(words.replace(name, 'NAME'), len(notes) + 1)}"

    table = [f"| `{name}` | " + " | ".join(cell(name, row[column]) for column in columns) + " |" for name, row in sorted(rows.items())]
    return "\n".join(
        [
            "# Architectures",
            "",
            "What works with which family of encoders, by transformers' name of it (`model_type`). "
            "Each cell was tried on a tiny model with",
            f"random weights, under transformers {transformers.__version__.rpartition('.')[0]}; `make architectures` tries all and writes",
            "this page. A number leads to the reason below: the words of the refusal, where there is one.",
            "",
            *(f"- **{column}**: {meaning}." for column, meaning in MEANING.items()),
            "",
            "| family | " + " | ".join(columns) + " |",
            "|---" * (len(columns) + 1) + "|",
            *table,
            "",
            "Why not (NAME stands for the family's):",
            "",
            *(f"{number}. {words}" for words, number in notes.items()),
            "",
        ]
    )


def main(names: Sequence[str]) -> None:
    """Try some families, or all where none is named, and write the page; the others' rows stay as they are."""
    rows = rows_of(PAGE.read_text(encoding="utf-8")) if names else {}
    for name in names or FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = answers(name, MEANING, Path(folder))
    PAGE.write_text(page_of(rows), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
