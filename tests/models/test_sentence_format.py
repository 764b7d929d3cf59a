"""sentence-transformers' folders: what is written, and what is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel
from potstill.models.layout import Layout, Normalize, lower_cased
from potstill.models.loading import load_encoder
from potstill.models.sentence_read import read
from potstill.models.sentence_write import write

TYPES = "sentence_transformers.models"
WEIGHTS = {"linear.weight": torch.ones(8, 32), "linear.bias": torch.zeros(8)}
DENSE = {"in_features": 32, "out_features": 8, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}


@pytest.fixture
def folder(tiny_encoder_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny encoder's folder with a Pooling, a Dense and a Normalize, that a test may break."""
    place = Path(shutil.copytree(tiny_encoder_dir, tmp_path / "folder"))
    place_module(place, 2, "Dense", DENSE, WEIGHTS)
    shutil.rmtree(place / "2_Normalize")
    rows = [
        {"idx": number, "name": str(number), "path": f"{number}_{kind}" if number else "", "type": f"{TYPES}.{kind}"}
        for number, kind in enumerate(("Transformer", "Pooling", "Dense", "Normalize"))
    ]
    put(place / "modules.json", rows)
    return place


def place_module(folder: Path, number: int, kind: str, config: Any, tensors: dict[str, torch.Tensor] | None = None) -> None:
    place = folder / f"{number}_{kind}"
    place.mkdir()
    put(place / "config.json", config)
    if tensors:
        save_file(tensors, place / "model.safetensors")


def put(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content))


def changed(file: str, **more: Any) -> Callable[[Path], None]:
    """Put keys into a file that holds an object, or into a new one."""

    def change(folder: Path) -> None:
        before = json.loads((folder / file).read_text()) if (folder / file).is_file() else {}
        put(folder / file, before | more)

    return change


def rows(*kinds: str, **more: Any) -> Callable[[Path], None]:
    """Modules in that order behind the first, with the files that the folder has of their kinds; `more` changes the second."""

    def change(folder: Path) -> None:
        places = {path.name.partition("_")[2]: path.name for path in folder.iterdir() if path.is_dir()}
        found = [{"idx": 0, "name": "0", "path": "", "type": f"{TYPES}.Transformer"}]
        for number, kind in enumerate(kinds, start=1):
            found.append({"idx": number, "name": str(number), "path": places.get(kind, kind), "type": f"{TYPES}.{kind}"})
        if more:
            found[1] |= more
        put(folder / "modules.json", found)

    return change


def content(file: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(text)

    return change


def tensors(**found: torch.Tensor) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        save_file({name.replace("_", ".", 1): tensor for name, tensor in found.items()}, folder / "2_Dense" / "model.safetensors")

    return change


def weighted(
    start: int, count: int, states: bool = True, *, last: bool = False, total: int = 4, value: float = 1.0
) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        settings = {"word_embedding_dimension": 32, "layer_start": start, "num_hidden_layers": total}
        place_module(folder, 9, "WeightedLayerPooling", settings, {"layer_weights": torch.full((count,), value)})
        changed("config.json", output_hidden_states=states)(folder)
        rows(*(["Pooling", "WeightedLayerPooling"] if last else ["WeightedLayerPooling", "Pooling"]))(folder)

    return change


def test_the_folder_that_the_cases_break_is_whole(folder: Path) -> None:
    layout = read(folder)
    assert (layout.pooling, [type(step).__name__ for step in layout.dense]) == ("mean", ["Linear", "Tanh", "Normalize"])
    assert (layout.max_length, layout.prompts, layout.similarity, layout.notes()) == (64, {}, "cosine", [])


BERT, SETTINGS = "sentence_bert_config.json", "config_sentence_transformers.json"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        # modules.json that is no list of objects, and one that cannot be read
        (content("modules.json", "[]"), r"modules.json: holds \[\]; a list of objects is needed"),
        (content("modules.json", "{}"), r"modules.json: holds {}; a list of objects is needed"),
        (content("modules.json", '["a"]'), r"modules.json: holds \['a'\]; a list of objects is needed"),
        (content("modules.json", "nonsense"), "modules.json: cannot be read"),
        (content("modules.json", "[" * 100_000), "modules.json: cannot be read"),
        (content("modules.json", '[{"idx": 0}]'), "modules.json: module 0 is {'idx': 0}; it needs a type and a path"),
        # modules of other kinds; of another package, whatever their names; where they cannot be
        *((rows("Pooling", kind), f"module 2 of kind '{kind}' is not supported") for kind in ("CNN", "LSTM", "BoW", "Router", "Asym")),
        (rows("CLIPModel"), "module 1 of kind 'CLIPModel' is not supported"),
        (rows("Pooling", type="custom_st.Pooling"), "module 1 of kind 'custom_st.Pooling' is not supported"),
        (rows("Pooling", type="potstill.models.other.LayerPooling"), "module 1 of kind 'potstill.models.other.LayerPooling' is not"),
        (rows("Transformer"), "module 1 of kind 'Transformer' is not supported"),
        (content("modules.json", json.dumps([{"type": f"{TYPES}.Pooling", "path": ""}])), "module 0 of kind 'Pooling' is not supported"),
        # paths
        (rows("Pooling", path="../folder/1_Pooling"), "the path '../folder/1_Pooling' leads out of the folder"),
        (rows("Pooling", path="/1_Pooling"), "the path '/1_Pooling' leads out of the folder"),
        (rows("Pooling", path="..\\\\1_Pooling"), "leads out of the folder"),
        (rows("Pooling", path="7_Pooling"), "7_Pooling: no such folder, and modules.json names it"),
        (rows("Pooling", name="0"), "two modules have the name '0'"),
        (
            content("modules.json", json.dumps([{"type": f"{TYPES}.Transformer", "path": "0_Transformer"}])),
            "the network lies in '0_Transformer', as the earliest releases",
        ),
        # orders
        (rows("Normalize", "Pooling"), "modules.json: Normalize, a Normalize on sentence_embedding, before the pooling is not supported"),
        (rows("Dense", "Pooling"), "2_Dense, a Dense on sentence_embedding, before the pooling is not supported"),
        (rows("Pooling", "Pooling"), "two modules|behind another pooling"),
        (changed("2_Dense/config.json", module_input_name="token_embeddings"), "2_Dense, a Dense on token_embeddings, behind the pooling"),
        (changed("2_Dense/config.json", module_output_name="elsewhere"), "a Dense from 'sentence_embedding' to 'elsewhere' is not"),
        # Pooling
        (changed("1_Pooling/config.json", pooling_mode="median"), "1_Pooling/config.json: pooling median is not supported"),
        (changed("1_Pooling/config.json", pooling_mode_median_tokens=True), "pooling pooling_mode_median_tokens is not supported"),
        (changed("1_Pooling/config.json", pooling_mode=["mean", 3]), r"pooling mean\+3 is not supported"),
        (changed("1_Pooling/config.json", squeeze=True), "1_Pooling/config.json: 'squeeze' is not known"),
        (content("1_Pooling/config.json", "[]"), r"1_Pooling/config.json: holds \[\]; an object is needed"),
        # Dense
        (changed("2_Dense/config.json", activation_function="torch.nn.Softmax"), "activation 'torch.nn.Softmax' is not supported"),
        (changed("2_Dense/config.json", activation_function="mine.Tanh"), "activation 'mine.Tanh' is not supported"),
        (changed("2_Dense/config.json", activation_function=None), "activation None is not supported"),
        (changed("2_Dense/config.json", out_features="8"), "out_features is '8'; a whole number of at least 1 is needed"),
        (changed("2_Dense/config.json", out_features=10**15), r"linear.weight has the shape \(8, 32\), and config.json beside it says"),
        (changed("2_Dense/config.json", in_features=16), r"linear.weight has the shape \(8, 32\)"),
        (changed("2_Dense/config.json", bias=False), "has linear.bias, which config.json beside it does not say"),
        (changed("2_Dense/config.json", use_residual=True), "has no residual.weight"),
        (lambda folder: (folder / "2_Dense" / "model.safetensors").unlink(), "2_Dense: has no model.safetensors"),
        (content("2_Dense/model.safetensors", "nonsense"), "2_Dense/model.safetensors: cannot be read"),
        (tensors(linear_weight=torch.full((8, 32), float("nan")), linear_bias=torch.zeros(8)), "linear.weight holds NaN or infinity"),
        # widths that do not fit
        (
            lambda folder: changed("2_Dense/config.json", in_features=16)(folder)
            or tensors(linear_weight=torch.ones(8, 16), linear_bias=torch.zeros(8))(folder),
            "modules.json: a Dense layer reads vectors of 16 numbers and gets 32",
        ),
        # WeightedLayerPooling: of another depth, not given the layers, behind the pooling, with weights that cannot be
        (weighted(0, 4, total=3), "weighs 4 hidden states, and the network has 5"),
        (weighted(0, 5, states=False), "config.json: does not say output_hidden_states: true"),
        (weighted(0, 5, last=True), "WeightedLayerPooling must stand right behind Transformer"),
        (weighted(0, 5, value=0.0), "layer_weights have the sum 0"),
        (weighted(9, 1), "layer_weights has the shape"),
        (weighted(-1, 6), "layer_start is -1"),
        # what Transformer says of itself
        *((changed(BERT, max_seq_length=length), f"max_seq_length is {length!r}; a whole") for length in ("256", 0, -1, 2.5, True)),
        (changed(BERT, do_lower_case="false"), "do_lower_case is 'false'; true or false is needed"),
        (changed(BERT, transformer_task="fill-mask"), "transformer_task is 'fill-mask', which is not supported"),
        (changed(BERT, module_output_name="sentence_embedding"), "module_output_name is 'sentence_embedding'"),
        (changed(BERT, modality_config={"text": {"method": "forward", "method_output_name": "pooler_output"}}), "modality_config is"),
        (changed(BERT, processing_kwargs={"text": {"max_length": 8}}), "processing_kwargs is"),
        (changed(BERT, query_length=16), "query_length is 16, which is not supported"),
        (changed(BERT, tokenizer_name_or_path="elsewhere"), "tokenizer_name_or_path is 'elsewhere'"),
        (changed(BERT, tokenizer_args={"do_lower_case": True}), "tokenizer_args.do_lower_case is True, which is not supported"),
        (changed(BERT, processor_kwargs={"model_max_length": "9"}), "max_seq_length is '9'"),
        (changed(BERT, config_kwargs={"num_hidden_layers": 1}), "config_kwargs.num_hidden_layers is 1"),
        (changed(BERT, model_args=["dtype"]), r"model_args is \['dtype'\]; an object is needed"),
        (content(BERT, "[1]"), r"sentence_bert_config.json: holds \[1\]"),
        # what the whole says of itself
        *((changed(SETTINGS, model_type=kind), f"model_type is '{kind}'") for kind in ("SparseEncoder", "MultiVectorEncoder")),
        (changed(SETTINGS, prompts=["query: "]), r"prompts is \['query: '\]; an object is needed"),
        (changed(SETTINGS, prompts={"query": 3}), "prompts is {'query': 3}"),
        (changed(SETTINGS, prompts={"a": "b"}, default_prompt_name="c"), "default_prompt_name is 'c'; prompts has: a"),
        (changed(SETTINGS, default_prompt_name=["a"]), r"default_prompt_name is \['a'\]"),
        *((changed(SETTINGS, truncate_dim=size), f"truncate_dim is {size!r}; a whole number") for size in ("8", 0, -8, True)),
        (changed(SETTINGS, similarity_fn_name="maxsim"), "similarity_fn_name is 'maxsim'; known: cosine, dot, euclidean, manhattan"),
        (changed(SETTINGS, similarity_fn_name=["dot"]), r"similarity_fn_name is \['dot'\]"),
        (content(SETTINGS, "nonsense"), "config_sentence_transformers.json: cannot be read"),
        # a prompt whose tokens are to be left out
        (
            lambda folder: changed("1_Pooling/config.json", include_prompt=False)(folder)
            or changed(SETTINGS, prompts={"a": "b"}, default_prompt_name="a")(folder),
            "include_prompt: false beside a default prompt is not supported",
        ),
        # a way to nowhere
        (
            lambda folder: changed("2_Dense/config.json", module_input_name="token_embeddings")(folder) or rows("Dense")(folder),
            "modules.json: has no Pooling",
        ),
    ],
)  # fmt: skip
def test_what_is_not_done_is_refused_by_name(change: Callable[[Path], Any], said: str, folder: Path) -> None:
    change(folder)
    with pytest.raises(PotstillError, match=said) as caught:
        read(folder)
    assert str(caught.value).startswith(str(folder)) and "\n" not in str(caught.value)
    assert caught.value.remedy


def test_a_cross_encoder_s_network_is_read_and_has_no_way_to_vectors(folder: Path) -> None:
    changed(SETTINGS, model_type="CrossEncoder")(folder)
    changed(BERT, transformer_task="sequence-classification", module_output_name="scores", max_seq_length=16)(folder)
    rows()(folder)
    layout = read(folder)
    assert (layout.pooling, layout.max_length, list(layout.dense)) == (None, 16, [])
    changed(SETTINGS, prompts={"a": "b"}, default_prompt_name="a")(folder)
    with pytest.raises(PotstillError, match="a default prompt of a CrossEncoder is not supported"):
        read(folder)


def test_what_is_said_beside_the_modules_is_told(folder: Path) -> None:
    prompts = {"query": "query: ", "passage": "passage: ", "text": ""}
    changed(SETTINGS, prompts=prompts, default_prompt_name="query", truncate_dim=4, similarity_fn_name="dot")(folder)
    changed(BERT, do_lower_case=True)(folder)
    layout = read(folder)
    assert (layout.prompt, layout.truncated, layout.normalize, layout.lower_case) == ("query: ", 4, True, True)
    assert layout.notes() == [
        "the prompt 'query: ' before every text",
        "prompt passage is not used",
        "texts in lower case",
        "vectors cut to 4 dimensions",
        "vectors are to be compared by dot",
    ]
    changed(SETTINGS, default_prompt_name=None)(folder)
    assert read(folder).notes()[0] == "prompts query, passage are not used"


LATER = ("pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken")


def test_a_usual_model_s_files_are_what_they_always_were(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    model = load_encoder(tiny_encoder_dir)
    layout = Layout(pooling="mean", dense=[torch.nn.Linear(32, 8), torch.nn.Tanh(), Normalize()])
    EncoderModel(model.network, model.hf_tokenizer, layout=layout, max_length=48).save(tmp_path / "saved")
    files = {path.relative_to(tmp_path / "saved").as_posix() for path in (tmp_path / "saved").rglob("*")}
    network = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    own = {"1_Pooling", "1_Pooling/config.json", "2_Dense", "2_Dense/config.json", "2_Dense/model.safetensors", "3_Normalize"}
    assert files == network | own | {"modules.json", "sentence_bert_config.json"}

    def text(name: str) -> str:
        return (tmp_path / "saved" / name).read_text()

    assert text("sentence_bert_config.json") == '{\n  "max_seq_length": 48,\n  "do_lower_case": false\n}\n'
    pooling = {"word_embedding_dimension": 32} | dict.fromkeys(("pooling_mode_mean_tokens",), True)
    pooling |= dict.fromkeys(("pooling_mode_cls_token", "pooling_mode_max_tokens", *LATER), False)
    assert text("1_Pooling/config.json") == json.dumps(pooling, indent=2) + "\n"
    assert text("2_Dense/config.json") == json.dumps(DENSE, indent=2) + "\n"
    kinds = ("Transformer", "Pooling", "Dense", "Normalize")
    modules = [
        {"idx": number, "name": str(number), "path": f"{number}_{kind}" if number else "", "type": f"{TYPES}.{kind}"}
        for number, kind in enumerate(kinds)
    ]
    assert text("modules.json") == json.dumps(modules, indent=2) + "\n"


def test_only_where_the_library_has_no_word_of_old_it_is_told_in_a_new_one(tmp_path: Path) -> None:
    of_two = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True, "pooling_mode_max_tokens": False}
    for name, settings in {
        "cls+mean": of_two | dict.fromkeys(LATER, False),
        "mean+cls": {"pooling_mode": ["mean", "cls"]},
        "mean+mean": {"pooling_mode": ["mean", "mean"]},
    }.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name, Layout(pooling=name, max_length=8), layers=2, width=4)
        assert json.loads((tmp_path / name / "1_Pooling" / "config.json").read_text()) == {"word_embedding_dimension": 4} | settings


def test_lower_case_comes_before_all_that_the_tokenizer_does(tiny_encoder_dir: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.normalizers import NFD, Replace, Sequence
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_file(str(tiny_encoder_dir / "tokenizer.json"))
    for before in (None, NFD(), Sequence([Replace("R", "the "), NFD()])):
        backend.normalizer = before  # type: ignore[assignment]
        own = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
        found = lower_cased(own)
        assert found.tokenize("RIVER") == ["river"]
        assert own.tokenize("RIVER") != ["river"]  # left as it is
        assert lower_cased(found) is found
