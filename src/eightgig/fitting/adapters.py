"""LoRA and QLoRA as peft and bitsandbytes do them, on networks without values."""

from typing import TYPE_CHECKING, Any

from eightgig.fitting.libraries import needed

if TYPE_CHECKING:
    from torch import nn


def check_libraries(task: str) -> None:
    """Check, before anything is read, that what a task asks for is installed.

    Raises:
        ConfigurationError: peft or bitsandbytes is not.
    """
    if task in ("lora", "qlora"):
        needed("peft", "LoRA")
    if task == "qlora":
        needed("bitsandbytes", "QLoRA")


def with_adapters(module: "nn.Module", *, rank: int, four_bits: bool, dtype: str) -> "nn.Module":
    """Return a network of transformers with peft's LoRA beside all its linear layers but the head.

    Args:
        module: frozen by this.
        rank: of the matrices.
        four_bits: whether the linear layers are held in NF4, doubly quantized, as QLoRA's recipes have it; embeddings,
            norms and the head stay as they are.
        dtype: that weights of 4 bits are made whole in.
    """
    if four_bits:
        module = _in_four_bits(module, dtype)
    import peft

    _takes_gradients(module)
    adapters = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    return peft.get_peft_model(module, adapters)


def _in_four_bits(module: Any, dtype: str) -> Any:
    import torch
    from transformers import BitsAndBytesConfig
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
    head = module.get_output_embeddings()
    kept = [name for name, part in module.named_modules() if part is head] or ["lm_head"]
    module = replace_with_bnb_linear(module, modules_to_not_convert=kept, quantization_config=how)
    module.is_loaded_in_4bit = True  # which peft asks
    return module


def _takes_gradients(module: Any) -> None:
    """Let what enters the blocks want gradients, as recomputed blocks of frozen weights need it."""
    if hasattr(module, "enable_input_require_grads"):
        module.enable_input_require_grads()
