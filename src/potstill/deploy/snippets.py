"""The lines by which other libraries read a bundle: one text each, which the card shows and the tests of consumers run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.machine.files import read_json
from potstill.runtime.folder import EMBED, MODEL, ONNX, QUANTIZED, TAGGING, read_config

PLACE = "path/to/this/folder"
EXAMPLES = ("A first sentence.", "Another one.")
PAIRS = (("The first of a pair.", "The second."),)
PYTHON, JAVASCRIPT = "python", "js"
# This package's own kinds of networks → the module that makes transformers know them.
NETWORKS = {"potstill-bert": "compact", "potstill-bilstm": "bilstm"}
STATIC = "potstill-static"  # one more, which only sentence-transformers reads as torch, by a module of its own


@dataclass(frozen=True)
class Snippet:
    """How one library reads a bundle.

    Attributes:
        title: of the library, and of the way into it where it has several.
        lines: a template of its code, which leaves its result in `vectors`, or of a head in `logits`. It is filled with the
            `Bundle`'s attributes and `texts`.
        language: PYTHON or JAVASCRIPT.
        quantized: whether it reads the int8 file where there is one. Else it reads the safetensors, or takes no file's name.
        pools: whether it makes the vector out of `last_hidden_state` by itself, and so needs that output.
        steps: whether it takes what stands before and behind the pooling out of the folder; read where it pools.
        any_pooling: whether it knows more poolings than mean and cls; read where it pools.
        unit: whether it scales vectors to unit length whatever the folder says.
        any_network: whether it reads a network that transformers does not know without this package.
        since: the first release of sentence-transformers that has this way of it; "" for one that every release has.
        light: whether the card of a folder without the torch model shows it.
        prompts: whether it puts the folder's default prompt before a text; elsewhere the lines do.
        on_card: whether the card shows it.
    """

    title: str
    lines: str
    language: str = PYTHON
    quantized: bool = True
    pools: bool = False
    steps: bool = False
    any_pooling: bool = False
    unit: bool = False
    any_network: bool = True
    since: str = ""
    light: bool = False
    prompts: bool = False
    on_card: bool = True


@dataclass(frozen=True)
class Bundle:
    """What a snippet must know of a bundle.

    Attributes:
        file: name of the ONNX file to be read.
        dimension: width of a vector.
        pad: number of the padding token.
        pooling: name of the pooling.
        normalize: whether vectors have unit length.
        plain: whether no step but unit length stands around the pooling.
        tokens: whether the graphs have a last_hidden_state.
        network: module of this package that teaches transformers the kind of network; "" where none has to.
        static: whether it is one vector a token, which transformers does not know and nobody has to teach it.
        own_pooling: whether the pooling is a module of this package, which sentence-transformers must be told to trust.
        prompt: belongs before every text; "" for none.
        release: the first one of sentence-transformers that reads the folder.
        head: EMBED for a model without one.
        graphs: where the ONNX files lie in the folder, with a slash behind; "" beside the tokenizer.
        path: of the folder, as the lines name it.
    """

    file: str
    dimension: int
    pad: int
    pooling: str
    normalize: bool
    plain: bool
    tokens: bool
    network: str
    static: bool
    own_pooling: bool
    prompt: str
    release: str
    head: str = EMBED
    graphs: str = f"{ONNX}/"
    path: str = PLACE

    @property
    def dtype(self) -> str:
        """transformers.js' name of the file."""
        return "q8" if self.file == QUANTIZED else "fp32"


def describe(folder: Path, file: str | None = None, path: str = PLACE) -> Bundle:
    """What snippets must know of a bundle, or of a folder that `export_onnx` wrote.

    Args:
        folder: where it is.
        file: MODEL or QUANTIZED; None for the latter where there is one.
        path: of the folder, as the lines are to name it.
    """
    from potstill.models.sentence_format import MODULES, OWN_TYPES
    from potstill.models.sentence_read import least_release, read

    config, layout = read_config(folder), read(folder)
    model_type = read_json(folder / "config.json").get("model_type")
    graphs = folder / ONNX if (folder / ONNX).is_dir() else folder
    modules = [row["type"] for row in read_json(folder / MODULES)] if (folder / MODULES).is_file() else []
    return Bundle(
        file=file or (QUANTIZED if (graphs / QUANTIZED).is_file() else MODEL),
        dimension=config.dimension,
        pad=config.pad_id,
        pooling=config.pooling,
        normalize=config.normalize,
        plain=layout.plain,
        tokens=not layout.reads_layers,
        network=NETWORKS.get(model_type, ""),
        static=model_type == STATIC,
        own_pooling=any(kind.startswith(OWN_TYPES) for kind in modules),
        prompt=config.prompt,
        release=least_release(folder),
        head=config.head,
        graphs="" if graphs == folder else f"{ONNX}/",
        path=path,
    )


def unfit(snippet: Snippet, bundle: Bundle) -> str:
    """Why a library does not come to the bundle's vectors; "" where it does."""
    if not snippet.any_network and bundle.static and snippet.quantized:
        return "never opens the ONNX file of a static model"  # sentence-transformers takes the torch weights without a word
    if not snippet.any_network and (bundle.network or bundle.static):
        return "does not know this kind of network"
    if not snippet.pools:
        return ""
    if not bundle.tokens:
        return "pools the last layer, and the vector is made of several"
    if not snippet.any_pooling and bundle.pooling not in ("mean", "cls"):
        return "cannot be told of this pooling"
    if not snippet.steps and not bundle.plain:
        return "cannot be told of the layers around the pooling"
    if snippet.unit and not bundle.normalize:
        return "scales vectors to unit length, which this model does not"
    return ""


def render(snippet: Snippet, bundle: Bundle, texts: Sequence[str] | Sequence[tuple[str, str]] = EXAMPLES) -> str:
    """The lines for a bundle.

    Args:
        snippet: of SNIPPETS or HEAD_SNIPPETS.
        bundle: what is read.
        texts: what is read; pairs for a head alone.
    """
    from jinja2 import Environment, StrictUndefined

    from potstill.models.sentence_format import later

    def literal(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    given: dict[str, Any] = {name: getattr(bundle, name) for name in (*Bundle.__dataclass_fields__, "dtype")}
    given["release"] = later(bundle.release, snippet.since or bundle.release)
    if bundle.head == EMBED:
        listed = literal(list(texts))
        if bundle.prompt and not snippet.prompts:
            each = f"[{literal(bundle.prompt)} + text for text in {listed}]"
            listed = each if snippet.language == PYTHON else f"{listed}.map((text) => {literal(bundle.prompt)} + text)"
        given["texts"] = listed
    else:
        given["firsts"] = literal([text if isinstance(text, str) else text[0] for text in texts])
        given["seconds"] = literal([text[1] for text in texts if not isinstance(text, str)]) if not isinstance(texts[0], str) else ""
        given["auto"] = f"AutoModelFor{'Token' if bundle.head == TAGGING else 'Sequence'}Classification"
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters["literal"] = literal
    return environment.from_string(snippet.lines).render(given).strip()


BATCH = """\
tokenizer = Tokenizer.from_file("{{ path }}/tokenizer.json")  # cuts texts to the model's length
tokenizer.enable_padding(pad_id={{ pad }})
batch = tokenizer.encode_batch({{ texts }})
inputs = {
    "input_ids": np.array([text.ids for text in batch], dtype=np.int64),
    "attention_mask": np.array([text.attention_mask for text in batch], dtype=np.int64),
    "token_type_ids": np.array([text.type_ids for text in batch], dtype=np.int64),
}
"""

SNIPPETS = {
    "sentence-transformers": Snippet(
        "sentence-transformers",
        """\
from sentence_transformers import SentenceTransformer  # {{ release }} or later
{% if network %}

import potstill.models.{{ network }}  # the network's kind
{% endif %}

model = SentenceTransformer("{{ path }}"{{ ", trust_remote_code=True" if own_pooling }})
vectors = model.encode({{ texts }})
""",
        quantized=False,
        prompts=True,
    ),
    "sentence-transformers-onnx": Snippet(
        "sentence-transformers, on onnxruntime",
        """\
from sentence_transformers import SentenceTransformer  # {{ release }} or later

model = SentenceTransformer("{{ path }}", backend="onnx", model_kwargs={"file_name": "{{ file }}"})
vectors = model.encode({{ texts }})
""",
        pools=True,
        steps=True,
        any_pooling=True,
        any_network=False,
        since="3.2",
        prompts=True,
    ),
    "potstill": Snippet(
        "potstill (onnxruntime, tokenizers and numpy; no torch)",
        """\
from potstill import Encoder

encoder = Encoder("{{ path }}")
vectors = encoder.encode({{ texts }})
""",
        light=True,
        prompts=True,
    ),
    "onnxruntime": Snippet(
        "onnxruntime alone",
        """\
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

"""
        + BATCH
        + """\
session = onnxruntime.InferenceSession("{{ path }}/{{ graphs }}{{ file }}", providers=["CPUExecutionProvider"])
wanted = {entry.name for entry in session.get_inputs()}
(vectors,) = session.run(["sentence_embedding"], {name: ids for name, ids in inputs.items() if name in wanted})
""",
        light=True,
    ),
    "openvino": Snippet(
        "OpenVINO",
        """\
import numpy as np
import openvino
from tokenizers import Tokenizer

"""
        + BATCH
        + """\
# Without the hint it computes in bf16 on processors that have it.
model = openvino.compile_model("{{ path }}/{{ graphs }}{{ file }}", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
wanted = {entry.any_name for entry in model.inputs}
vectors = model({name: ids for name, ids in inputs.items() if name in wanted})["sentence_embedding"]
""",
    ),
    "fastembed": Snippet(
        "fastembed",
        """\
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

TextEmbedding.add_custom_model(
    model="my/encoder",
    pooling=PoolingType.DISABLED,  # it is inside the graph
    normalization=False,
    sources=ModelSource(hf="my/encoder"),
    dim={{ dimension }},
    model_file="onnx/{{ file }}",
)
model = TextEmbedding("my/encoder", specific_model_path="{{ path }}")
vectors = list(model.embed({{ texts }}))
""",
    ),
    "txtai": Snippet(
        "txtai",
        """\
from txtai import Embeddings

embeddings = Embeddings(path="{{ path }}")
vectors = embeddings.batchtransform({{ texts }})
""",
        quantized=False,
        pools=True,
        unit=True,
        any_network=False,
    ),
    "transformers.js-node": Snippet(
        "transformers.js in node",
        """\
import { AutoModel, AutoTokenizer } from "@huggingface/transformers";

const tokenizer = await AutoTokenizer.from_pretrained("{{ path }}");
const model = await AutoModel.from_pretrained("{{ path }}", { {{ 'subfolder: "", ' if not graphs }}dtype: "{{ dtype }}" });
const inputs = tokenizer({{ texts }}, { padding: true, truncation: true });
const { sentence_embedding } = await model(inputs);
const vectors = sentence_embedding.tolist();
""",
        language=JAVASCRIPT,
        light=True,
    ),
    "transformers.js-pipeline": Snippet(
        "transformers.js, its pipeline",
        """\
import { pipeline } from "@huggingface/transformers";

const extract = await pipeline("feature-extraction", "{{ path }}", { dtype: "{{ dtype }}" });
const output = await extract({{ texts }}, { pooling: "{{ pooling }}", normalize: {{ normalize | lower }} });
const vectors = output.tolist();
""",
        language=JAVASCRIPT,
        pools=True,
    ),
    "transformers.js-browser": Snippet(
        "transformers.js in the browser",
        """\
// From npm's @huggingface/transformers and onnxruntime-web: transformers.min.js beside the page, the latter's dist/ in wasm/.
import { AutoModel, AutoTokenizer, env } from "./transformers.min.js";

env.allowRemoteModels = false;
env.allowLocalModels = true;
env.localModelPath = "/";
env.backends.onnx.wasm.wasmPaths = "/wasm/";
const tokenizer = await AutoTokenizer.from_pretrained("{{ path }}");
const model = await AutoModel.from_pretrained("{{ path }}", { dtype: "{{ dtype }}", device: "wasm" });
const inputs = tokenizer({{ texts }}, { padding: true, truncation: true });
const { sentence_embedding } = await model(inputs);
const vectors = sentence_embedding.tolist();
""",
        language=JAVASCRIPT,
    ),
    "transformers": Snippet(
        "transformers",
        """\
import torch
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{{ path }}")
model = AutoModel.from_pretrained("{{ path }}").eval()
inputs = tokenizer({{ texts }}, padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    states = model(**inputs).last_hidden_state
{% if pooling == "cls" %}
vectors = states[:, 0]
{% else %}
mask = inputs["attention_mask"][..., None]
vectors = (states * mask).sum(1) / mask.sum(1)
{% endif %}
{% if normalize %}
vectors = torch.nn.functional.normalize(vectors, dim=1)
{% endif %}
""",
        quantized=False,
        pools=True,
        any_network=False,
        on_card=False,
    ),
    "langchain": Snippet(
        "langchain",
        """\
from langchain_huggingface import HuggingFaceEmbeddings

model = HuggingFaceEmbeddings(model_name="{{ path }}")
vectors = model.embed_documents({{ texts }})
""",
        quantized=False,
        prompts=True,
        on_card=False,
    ),
    "llama-index": Snippet(
        "llama-index",
        """\
from llama_index.embeddings.huggingface import HuggingFaceEmbedding

model = HuggingFaceEmbedding("{{ path }}", normalize={{ normalize }})
vectors = model.get_text_embedding_batch({{ texts }})
""",
        quantized=False,
        prompts=True,
        on_card=False,
    ),
    "llama-index-onnx": Snippet(
        "llama-index, on onnxruntime",
        """\
from llama_index.embeddings.huggingface_optimum import OptimumEmbedding

model = OptimumEmbedding(folder_name="{{ path }}", pooling="{{ pooling }}", normalize={{ normalize }})
vectors = model.get_text_embedding_batch({{ texts }})
""",
        quantized=False,
        pools=True,
        any_network=False,
        on_card=False,
    ),
}
HEAD_SNIPPETS = {
    "transformers.js-head": Snippet(
        "transformers.js; the labels are in config.json",
        """\
import { {{ auto }}, AutoTokenizer } from "@huggingface/transformers";

const tokenizer = await AutoTokenizer.from_pretrained("{{ path }}");
const model = await {{ auto }}.from_pretrained("{{ path }}", { {{ 'subfolder: "", ' if not graphs }}dtype: "{{ dtype }}" });
const options = { {{ "text_pair: " ~ seconds ~ ", " if seconds }}padding: true, truncation: true };
const { logits } = await model(tokenizer({{ firsts }}, options));
""",
        language=JAVASCRIPT,
        light=True,
    ),
}
