"""Measured fine-tuning runs of several libraries, from one table: which are stated in full, and what they did.

`other_runs.csv`, each row with its source. A row is predicted where all that a run needs is stated, in the row or in
the script that it names; every other one is left out for a reason. Scripts and versions:

- torchtune: the README's table of flags, torchtune 0.4.0, recipe `full_finetune_single_device` and, for LoRA,
  `llama3_2/3B_lora_single_device`; AdamW fused, as its recipes have it; peak of active memory.
- torchao: `benchmark_low_bit_adam.py`, which crops to 224 pixels; peak allocated.
- peft: `method_comparison/image-gen`; peak reserved while training, less what was reserved at the start.
- transformers: `perf_train_gpu_one`, used memory of the card after training, with a context of stated size.

Compiled runs are sources of their own: they are predicted as they run without torch.compile.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from public_runs import Asked, MeasuredRun, PublicCard

from eightgig.core.units import GIB, MIB
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.spec import WorkloadSpec

_TABLE = "other_runs.csv"
_PACKED_TOKENS = 4096
_LORA_3B = {
    "lora_attn_modules": ["q_proj", "v_proj", "output_proj"],
    "apply_lora_to_mlp": True,
    "lora_rank": 64,
    "lora_alpha": 128,
}
# In the table's order: each is done on top of those before it; LoRA is, without the optimizer in the backward pass.
_TORCHTUNE_STEPS = (
    "+ Packed Dataset",
    "+ Compile",
    "+ Chunked Cross Entropy",
    "+ Activation Checkpointing",
    "+ Fuse optimizer step into backward",
    "+ Activation Offloading",
)
_VARIES = "sequence lengths vary: the longest batch is not stated"
_TORCHTUNE_REASONS = {
    "": "optimizer and activation checkpointing are not stated",
    "Baseline": _VARIES,
    "+ 8-bit AdamW": "of which library the 8-bit optimizer is, is not stated",
    "QLoRA": "NF4 weights of torchao, which cannot be made without values",
}
_NEARLY_FULL = 0.94  # of a card: the allocator gives memory back to go on, or cuDNN's search takes what is left
_FIRST_SEGMENT_MIB = 2  # the one-element tensor that a measured context held
_CARDS = {
    "A100": PublicCard("A100 80 GB", "ampere", 79.2, float("inf")),
    "NVIDIA L40S": PublicCard("L40S", "ada", 44.4, float("inf")),
    "RTX 4070 Ti SUPER": PublicCard("RTX 4070 Ti SUPER", "ada", 15.6, float("inf")),
    # The table of generations begins with Turing; what differs (Tensor Cores for float32) Volta has not either.
    "Tesla V100-SXM2-16GB": PublicCard("V100", "turing", 15.78, float("inf")),
}


class LeftOutError(ValueError):
    """A row is not predicted; the message is the reason."""


class _Run(NamedTuple):
    factory: str
    arguments: dict[str, Any]
    steps: dict[str, Any]
    setting: str
    measure: Literal["allocated", "reserved"]
    compiled: bool = False
    beside_bytes: int = 0


def other_runs(folder: Path, library: str) -> Iterator[MeasuredRun]:
    """Yield a library's rows whose setting is full, in the table's order; nothing where there is no table."""
    for line in _lines(folder, library):
        try:
            yield _measured(line)
        except LeftOutError:
            continue


def left_out(folder: Path, library: str) -> dict[str, int]:
    """Return how many of a library's rows are not predicted, by reason."""
    counts: Counter[str] = Counter()
    for line in _lines(folder, library):
        try:
            _measured(line)
        except LeftOutError as reason:
            counts[f"{library}: {reason}"] += 1
    return dict(counts)


def _lines(folder: Path, library: str) -> Iterator[dict[str, str]]:
    path = folder / _TABLE
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            yield from (line for line in csv.DictReader(file) if _library(line) == library)


def _library(line: dict[str, str]) -> str:
    owner, _, _ = line["source"].removeprefix("github:").partition(" ")
    return {"pytorch/ao": "torchao"}.get(owner, owner.rpartition("/")[2])


def _measured(line: dict[str, str]) -> MeasuredRun:
    if line["oom"] == "True":
        raise LeftOutError("it ran out of memory")
    library = _library(line)
    run = _READERS[library](line)
    options = StepOptions(micro_batch=int(line["batch_size"]), **run.steps)
    workload = WorkloadSpec(factory=f"other_workloads:{run.factory}", options=run.arguments)
    source = f"{library}, compiled" if run.compiled else library
    asked = Asked(source, _CARDS[line["gpu"]], line["model"], workload, options, run.setting)
    return MeasuredRun(asked, _bytes(line), {}, run.beside_bytes, run.measure)


def _bytes(line: dict[str, str]) -> int:
    """Return what was measured; torchao's script divides by 1e9, whoever wrote GB otherwise is left out before."""
    units = {"bytes": 1, "GiB": GIB, "MB (NVML used // 1024**2 = MiB)": MIB, "GB (as written)": 10**9}
    return round(float(line["measured"]) * units[line["unit"]])


def _torchtune(line: dict[str, str]) -> _Run:
    step = line["setting"].partition("cumulative step: ")[2].partition(" (")[0]
    if line["gpu"].startswith("8x"):
        raise LeftOutError("sharded over eight cards")
    if step in _TORCHTUNE_REASONS:
        raise LeftOutError(_TORCHTUNE_REASONS[step])
    lora = step == "LoRA"
    done = set(_TORCHTUNE_STEPS if lora else _TORCHTUNE_STEPS[: _TORCHTUNE_STEPS.index(step) + 1])
    arguments = {
        "network": "lora_llama3_2_3b" if lora else "llama3_2_3b",
        "adapters": _LORA_3B if lora else {},
        "tokens": _PACKED_TOKENS,
        "chunked_loss": "+ Chunked Cross Entropy" in done,
    }
    steps = {
        "optimizer": "AdamW",
        "optimizer_kernel": "fused",
        "clips_gradients": False,
        "activation_checkpointing": "full" if "+ Activation Checkpointing" in done else "none",
        "offload": "+ Activation Offloading" in done,
        "optimizer_in_backward": "+ Fuse optimizer step into backward" in done and not lora,
    }
    return _Run("torchtune_model", arguments, steps, step, "allocated", compiled="+ Compile" in done)


def _torchao(line: dict[str, str]) -> _Run:
    setting, optimizer = line["setting"], line["optimizer"]
    if "not stated" in line["batch_size"]:
        raise LeftOutError("batch size and sequence length are not stated")
    if "offload" in setting.lower() and "no offload" not in setting:
        raise LeftOutError("the optimizer's state is in the machine's memory")
    if "4-bit" in optimizer or "FP8" in optimizer:
        raise LeftOutError("an optimizer with 4-bit or FP8 state")
    giant = "vit_giant" in line["model"]
    steps = {
        "precision": "bf16" if "AMP" in line["precision"] else "fp32",
        "weights": "fp32" if "AMP" in line["precision"] else "bf16",
        "optimizer": "adamw8bit" if "8-bit" in optimizer else "AdamW",
        "optimizer_kernel": "fused",
        "clips_gradients": False,
        "activation_checkpointing": "full" if giant else "none",  # its ablations are of the same run
    }
    network = {"network": "vit_giant_patch14_dinov2" if giant else "vit_huge_patch14_224", "side": 224}
    compiled = "compiled" in setting
    said = f"{'full BF16' if giant else optimizer}{', compiled' if compiled else ''}"
    return _Run("vision_model", network, steps, said, "allocated", compiled)


def _peft(line: dict[str, str]) -> _Run:
    if "MetaMathQA" in line["source"]:
        raise LeftOutError(_VARIES)
    name, _, rest = line["setting"].partition("; ")
    stated, _, flags = rest.partition("}; ")
    trainable = int(re.findall(r"trainable=(\d+)", flags)[0])
    adapter = json.loads(stated + "}")
    if adapter["peft_type"] not in _WHOLLY_STATED:
        raise LeftOutError("an adapter with settings beside rank and targets, which are not stated")
    steps = {"optimizer": "AdamW", "zero_grad": "before_backward"}
    arguments = {"side": 512, "adapter": adapter, "trainable": trainable}
    return _Run("flux_with_peft", arguments, steps, name.partition("/")[0], "reserved")


# What the rows state of an adapter is all that decides the memory of one of LoRA's; the others have more settings.
_WHOLLY_STATED = ("LORA",)


def _transformers(line: dict[str, str]) -> _Run:
    context = int(re.findall(r"context alone (\d+) MiB", line["baseline"])[0]) - _FIRST_SEGMENT_MIB
    optimizers = {"Adafactor": "transformers.optimization:Adafactor", "bnb Adam8bit": "adamw8bit"}
    # Of Adafactor, as the Trainer makes it.
    arguments = {"scale_parameter": False, "relative_step": False} if line["optimizer"] == "Adafactor" else {}
    steps = {
        "precision": "fp16" if "fp16" in line["precision"] else "fp32",
        "optimizer_arguments": arguments,
        "optimizer": optimizers.get(line["optimizer"], "AdamW"),
        "optimizer_kernel": "plain",  # transformers' own AdamW, the default of its Trainer in 2022
        "accumulates": True,  # torch 1 filled gradients with zeros: they live through the next step too
        "activation_checkpointing": "full" if "checkpointing" in line["setting"] else "none",
    }
    said = line["setting"].removeprefix("HF Trainer, ")
    return _Run("bert_large", {"tokens": 512}, steps, said, "reserved", beside_bytes=context * MIB)


def _mmsegmentation(_: dict[str, str]) -> _Run:
    raise LeftOutError("the batch size is not stated")


def _lambdal(line: dict[str, str]) -> _Run:
    used, memory = float(line["measured"]), int(line["gpu_memory_gib"].removesuffix("_MiB"))
    if used > _NEARLY_FULL * memory:
        raise LeftOutError("at the card's limit")
    raise LeftOutError("network, data and cuDNN's search are a script's, which is not stated")


_READERS: dict[str, Callable[[dict[str, str]], _Run]] = {
    "torchtune": _torchtune,
    "torchao": _torchao,
    "peft": _peft,
    "transformers": _transformers,
    "mmsegmentation": _mmsegmentation,
    "deeplearning-benchmark": _lambdal,
}
LIBRARIES = tuple(_READERS)
"""Whose runs the table has."""
