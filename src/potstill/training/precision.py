"""Where bf16 pays: on processors and GPUs that multiply in it."""

from __future__ import annotations

import torch

from potstill.errors import PotstillError
from potstill.results import cpu_flags


def choose_device(wanted: str = "auto") -> torch.device:
    """`auto` is the GPU where there is one, else the processor.

    Raises:
        PotstillError: a GPU is asked for and torch sees none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise PotstillError("training.device", "cuda is asked for and torch sees no GPU", "set it to auto or cpu")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to autocast to bf16: asked for, or `auto` where the hardware has it.

    A processor without bf16 instructions emulates them, several times slower than fp32.
    """
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def autocast(device: torch.device, bf16: bool) -> torch.autocast:
    """Autocast to bf16 on `device`, or a context that does nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)
