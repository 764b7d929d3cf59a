"""torch's own dynamic int8: the weights of every Linear are rounded once, its inputs anew in every call.

Nothing is calibrated, so this is what most reports of int8 measure, and what the file behind the gate
is set against. It runs on the CPU under torch alone and cannot be exported. Source:
torch.ao.quantization.quantize_dynamic.

What to know of its figures:

- One scale serves a whole weight matrix (greatest weight / 127.5), so one outlier costs every row.
- The inputs' range is the batch's, padding included: a text's vector moves with its neighbours.
- The range is 0 … 127 on x86 and 0 … 255 on ARM: scores differ between machines.
- A table that a Linear is tied to stays fp32 and the Linear gets an int8 copy.
"""

from __future__ import annotations

import json
import warnings

import torch
from torch import nn

from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel

SCALE = ".scale"  # behind a weight's name: what one step of it is worth, fp32
# As safetensors calls the types that a saved encoder has.
_TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.int8: "I8", torch.bool: "BOOL"}


def quantize_linears(model: EncoderModel) -> EncoderModel:
    """Replace every Linear of the model's network, in place, by one of int8 weights.

    Dense layers that a sentence-transformers folder has behind the pooling stay fp32: they are small, and
    nothing after them evens out what rounding costs.

    Args:
        model: on the CPU, in fp32.

    Raises:
        PotstillError: this build of torch cannot.
    """
    try:
        from torch.ao.quantization import quantize_dynamic
    except ImportError as error:  # announced: it goes over to torchao
        raise PotstillError("torch-int8", f"torch {torch.__version__} has no dynamic int8 any more", "use int8, the ONNX file") from error
    if torch.backends.quantized.engine == "none":
        raise PotstillError("torch-int8", f"torch {torch.__version__} was built without int8 kernels", "use int8, the ONNX file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_dynamic(model.network.eval(), {nn.Linear}, dtype=torch.qint8, inplace=True)
    return model


def stored_bytes(network: nn.Module, int8: bool = True) -> int:
    """Bytes of the safetensors file that would hold a network: of each Linear int8 weights and a scale, all else as it is.

    Only names, types and shapes are read, so a network on the meta device will do. A pickled state would say
    more: torch packs its int8 weights in objects of its own.

    Args:
        network: not quantised yet.
        int8: False: of the network as it is.
    """
    linears = {f"{name}.weight" for name, module in network.named_modules() if int8 and isinstance(module, nn.Linear)}
    tensors: list[tuple[str, torch.dtype, list[int]]] = []
    seen: set[int] = set()
    for name, tensor in network.state_dict(keep_vars=True).items():
        if name in linears:
            tensors += [(name, torch.int8, list(tensor.shape)), (name + SCALE, torch.float32, [])]
        elif id(tensor) not in seen:  # tied tensors are kept once
            tensors.append((name, tensor.dtype, list(tensor.shape)))
            seen.add(id(tensor))
    return _file_bytes(tensors)


def _file_bytes(tensors: list[tuple[str, torch.dtype, list[int]]]) -> int:
    """8 bytes that say how long the head is, the head (JSON, filled up to a multiple of 8), the tensors end to end, the widest first."""
    head: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, kind, shape in sorted(tensors, key=lambda each: (-each[1].itemsize, each[0])):
        start, end = end, end + torch.Size(shape).numel() * kind.itemsize
        head[name] = {"dtype": _TYPES.get(kind, str(kind)), "shape": shape, "data_offsets": [start, end]}
    length = len(json.dumps(head, separators=(",", ":")).encode())
    return 8 + length + -length % 8 + end
