"""Which device a stage runs on, and in which precision its models multiply."""

from __future__ import annotations

import os

import torch

from potstill.errors import PotstillError
from potstill.machine import processes
from potstill.machine.hardware import bf16_is_faster

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(wanted: str = "auto") -> torch.device:
    """The device that a recipe asks for. Of several processes each has a GPU of its own.

    Args:
        wanted: "cpu", "cuda", or "auto": the GPU where there is one, else the processor.

    Raises:
        PotstillError: a GPU is asked for and torch sees none, or fewer than there are processes.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise PotstillError("training.device", "cuda is asked for and torch sees no GPU", "set it to auto or cpu")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and processes.count() > 1:
        own, there = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if own >= there:
            raise PotstillError(
                "training.device",
                f"{own + 1} or more processes and {there} GPUs",
                f"give torchrun --nproc-per-node {there}, or set it to cpu",
            )
        torch.cuda.set_device(own)
        return torch.device("cuda", own)
    return torch.device(wanted)


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """What to autocast to, float32 for not at all.

    `auto` is never fp16, whose gradients need a scaler and whose activations end at 65504.

    Args:
        wanted: a name of DTYPES, or "auto": bf16 where the device is faster in it, else fp32.
        device: that the models run on.

    Raises:
        PotstillError: fp16 without a GPU. Trainer would take it there, and train in fp32 without a word.
    """
    if wanted == "fp16" and device.type == "cpu":
        raise PotstillError(
            "training.precision", "fp16 is asked for, and its gradient scaler needs a GPU", "set it to auto, bf16 or fp32, or use a GPU"
        )
    if wanted != "auto":
        return DTYPES[wanted]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = bf16_is_faster()
    return torch.bfloat16 if fast else torch.float32


def trained_on(device: torch.device, precision: torch.dtype) -> dict[str, str]:
    """What a run was trained on, for its record: the GPU's name or "cpu", and the precision of its products."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {"device": name, "precision": next(key for key, dtype in DTYPES.items() if dtype == precision)}


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Autocast to `precision` on `device`; of float32 a context that does nothing."""
    enabled = precision != torch.float32
    return torch.autocast(device.type, dtype=precision if enabled else None, enabled=enabled)
