"""From torch to ONNX, with pooling and normalisation or the head in the graph, checked on texts before anything is kept.

The graph holds standard operators only, so that every runtime reads it. Measured on a BERT of 3
layers of width 384: onnxruntime.transformers' fused operators (attention, skip + normalisation) are
slower on the CPU than these, by 11 % in fp32 and 30 % in int8.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.deploy.portable import make_portable
from potstill.deploy.quiet import quiet
from potstill.errors import PotstillError
from potstill.machine.files import require_space, write_aside
from potstill.machine.progress import progress
from potstill.machine.signals import uninterrupted
from potstill.models.source import library_reads
from potstill.runtime.encoder import Encoder, Logits
from potstill.runtime.folder import (
    ATTENTION_MASK,
    CONFIG,
    EMBED,
    HEADS,
    INPUT_IDS,
    MODEL,
    OUTPUT,
    TAGGING,
    TOKEN_TYPES,
    TOKEN_VECTORS,
    ExportConfig,
)
from potstill.runtime.folder import LOGITS as LOGITS_OUTPUT
from potstill.runtime.tokens import Text, suited

if TYPE_CHECKING:
    from potstill.models.encoder import EncoderModel

TOLERANCE = 1e-4  # greatest difference of a component between torch and onnxruntime, both fp32
CHECKED = 64  # texts of the caller's that are compared; beside them the awkward ones below
LIMIT = 2_000_000_000  # a protobuf file ends there


def export_onnx(model: EncoderModel, folder: str | Path, texts: Sequence[Text], *, teacher: str | None = None) -> Path:
    """Export a model to a folder, whole or not at all. A folder exported earlier is replaced.

    The folder holds model.onnx, potstill.json, and tokenizer and configuration (labels in it) under the names that
    transformers.js and others look for. The graph's inputs are input_ids and attention_mask, and token_type_ids where
    the model tells a pair's texts apart by them: each (batch, length) int64, both sizes free. Its outputs are
    sentence_embedding (batch, d), and behind it last_hidden_state (batch, length, d) where the vector is made of the last
    layer alone; or logits of a head: (batch, classes), for tagging (batch, length, tags).

    Args:
        model: stays as it is.
        folder: where to write.
        texts: some on which torch and onnxruntime are compared, alone and in batches. For tagging, plain ones are split
            at spaces.
        teacher: its name, for potstill.json.

    Returns:
        `folder`.

    Raises:
        PotstillError: `folder` holds something else; the model has parts that cannot be exported, or is too large; or
            the outputs of torch and onnxruntime differ by more than TOLERANCE.
    """
    folder = Path(folder)
    if model.head not in (EMBED, *HEADS):
        raise PotstillError(folder, f"a model with the head {model.head!r} is not exported", "fine-tune it on a task first")
    require_replaceable(folder)
    size = 4 * sum(model.parameter_counts())
    if size > LIMIT:
        raise PotstillError(folder, f"the model takes {size / 1e9:.1f} GB and one ONNX file holds 2", "export a smaller student")
    require_space(folder, 2 * size, "the export")
    # A copy, for the caller's may be on a GPU, in half precision or in training.
    plain = copy.deepcopy(model).cpu().float().eval()
    # Written out, attention becomes fewer operators than the fused form taken apart again.
    plain.network.set_attn_implementation("eager")
    with write_aside(folder) as aside, progress("ONNX", 2, "steps") as advance:
        aside.mkdir()
        _write_graph(plain, aside / MODEL, str(folder))
        _write_description(plain, aside, teacher)
        advance(1, "checking against torch")
        _check(plain, aside, texts, str(folder))
        advance(1)
    return folder


def require_replaceable(folder: Path) -> None:
    """Check that an export to `folder` replaces nothing but an earlier export.

    Raises:
        PotstillError: it is a file, or a folder that holds something else.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / CONFIG).is_file()):
        raise PotstillError(folder, "exists and is no exported folder", "choose another place, or remove it")


def _write_graph(model: EncoderModel, file: Path, place: str) -> None:
    import onnx
    import torch

    from potstill.models.output import EMBEDDING, LOGITS

    field = EMBEDDING if model.head == EMBED else LOGITS
    # Of a vector out of several layers whoever pools the last one makes another vector.
    tokens = model.head == EMBED and not model.layout.reads_layers
    outputs = [OUTPUT if model.head == EMBED else LOGITS_OUTPUT, *([TOKEN_VECTORS] if tokens else [])]

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
        ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
            if not tokens:
                return self.model(input_ids, attention_mask, token_type_ids, reads=[field])[field]
            found = self.model.backbone(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=False, return_dict=True)
            return self.model.embed([found.last_hidden_state], attention_mask), found.last_hidden_state

    # Sizes of one would be taken as fixed; a row with padding, because a full mask may be optimised away.
    length = min(11, model.max_length)
    ids = torch.full((3, length), model.pad_id, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, length // 2 :] = 0
    inputs = {INPUT_IDS: ids, ATTENTION_MASK: mask} | ({TOKEN_TYPES: 1 - mask} if model.reads_types else {})
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    problem = f"a {type(model.network).__name__} cannot be exported by torch.onnx"
    with uninterrupted(), library_reads(place, problem, "export a BERT or MPNet encoder"):
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                Graph().eval(),
                tuple(inputs.values()),
                dynamo=True,
                input_names=list(inputs),
                output_names=outputs,
                dynamic_shapes=dict.fromkeys(inputs, free),
                verbose=False,
            )
            assert program is not None
            if any(node.op_type == "LSTM" for node in program.model.graph):
                from onnxscript.optimizer import fold_constants

                # Its weights in the operator's order of gates, not put in order in every call.
                fold_constants(program.model, input_size_limit=LIMIT, output_size_limit=LIMIT)
    with quiet():
        written = program.model_proto
        make_portable(written)
        onnx.save(written, str(file))


def _write_description(model: EncoderModel, folder: Path, teacher: str | None) -> None:
    # Readers choose the class by it, and a network that was never saved does not have it yet.
    model.network.config.architectures = [type(model.network).__name__]
    model.network.config.save_pretrained(folder)
    model.save_tokenizer(folder)
    embedding, encoder = model.parameter_counts()
    layout = model.layout
    of_vectors: dict[str, Any] = {
        "pooling": model.pooling,
        "normalize": layout.normalize and layout.truncated is None,  # what is cut has no unit length any more
        "prompts": dict(layout.prompts),
        "default_prompt_name": layout.default_prompt_name,
        "similarity": layout.similarity,
    }
    ExportConfig(
        max_length=model.max_length,
        dimension=model.dimension,
        parameters=embedding + encoder,
        embedding_parameters=embedding,
        head=model.head,
        labels=model.labels,
        pad_id=model.pad_id,
        teacher=teacher,
        **(of_vectors if model.head == EMBED else {}),
    ).write(folder)


def _check(model: EncoderModel, folder: Path, texts: Sequence[Text], place: str) -> None:
    """Compare torch and onnxruntime on texts.

    Raises:
        PotstillError: they differ, or onnxruntime does not run the graph on a text, as where the conversion fixed a size.
    """
    encoder = Encoder(folder, precision="fp32")
    for checked in _samples(suited(texts[:CHECKED], model.head), model.head, model.max_length):
        expected = model.encode(checked) if model.head == EMBED else model.predict(checked)
        # A budget of one token puts every text in a batch of its own.
        for batch, found in (("in batches", _run(encoder, checked, place)), ("alone", _run(encoder, checked, place, batch_tokens=1))):
            difference = _difference(found, expected)
            if not difference <= TOLERANCE:  # so that NaN fails too
                raise PotstillError(
                    place,
                    f"texts {batch} differ by {difference:.1e} between torch and onnxruntime, {TOLERANCE:.0e} are allowed",
                    "report it, with the model",
                )


def _run(encoder: Encoder, texts: Sequence[Any], place: str, **settings: Any) -> Logits:
    try:
        return encoder.run(texts, **settings)
    except PotstillError as error:  # its place is a folder that is renamed when all is well
        raise PotstillError(place, error.problem, "export a BERT or MPNet encoder") from error


def _samples(texts: Sequence[Text], kind: str, max_length: int) -> list[list[Any]]:
    """The caller's texts and awkward ones: a single word, an empty text, one that is cut. Each list is of one form, as torch takes them."""
    if kind == TAGGING:
        given = [list(words) for words in texts]
        every = [word for words in given for word in words] + ["word"]
        return [[*given, ["word"], [], every * (1 + max_length // len(every))]]
    firsts = [text if isinstance(text, str) else text[0] for text in texts]
    long = " ".join([*firsts, "word"] * (1 + max_length // (len(firsts) + 1)))
    alone = [*firsts, "word", "", long]
    if kind == EMBED:
        return [alone]
    # A text that came without a second one gets its neighbour, so that pairs are checked in any case.
    pairs = [(text, firsts[number - 1]) if isinstance(text, str) else text for number, text in enumerate(texts)]
    return [alone, [*pairs, ("word", ""), ("", "word"), (long, "word"), (long, long)]]


def _difference(found: Logits, expected: Logits) -> float:
    """Greatest difference of two numbers, divided by the greatest number where that is above 1."""
    if [len(rows) for rows in found] != [len(rows) for rows in expected]:
        return float("inf")  # other words tagged
    a, b = (np.concatenate([np.ravel(rows) for rows in side]) for side in (found, expected))
    return float(np.abs(a - b).max(initial=0)) / max(1.0, float(np.abs(b).max(initial=0)))
